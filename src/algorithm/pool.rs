//! Pooling: one invocation for each output, or, where windows are large, one workgroup.

use super::cost::Operations;
use super::plan::{Packing, Step};
use super::{Context, Parts};
use crate::desc::{IndexOrder, PoolDesc, PoolKind};
use crate::error::{Error, Result};
use crate::kernel::{FOUR, Kernel, ONE, Slot};
use crate::limits::{DeviceClass, DeviceLimits};
use crate::problem::Layer;

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// Elements that an invocation of the tree takes in one iteration.
const UNROLLED: u32 = 8;

/// The most outputs on an axis of an adaptive pooling: the kernel multiplies two numbers below this in 32 bits.
const MAX_ADAPTIVE: u32 = 65_535;

pub(super) fn supports(context: &Context) -> Result<(), String> {
    let Layer::Pool(_) = context.problem.layer else { return Err("the layer is not a pooling".into()) };
    if context.geometry.adaptive && context.geometry.output.iter().any(|&size| size > MAX_ADAPTIVE) {
        return Err(format!("an adaptive pooling has at most {MAX_ADAPTIVE} outputs on an axis"));
    }
    Ok(())
}

pub(super) fn supports_tree(context: &Context) -> Result<(), String> {
    supports(context)?;
    let taps = context.geometry.taps();
    // On a GPU a few lanes that idle cost less than loads that wait for one another, one by one.
    let least = match context.limits.class {
        DeviceClass::Software => WORKGROUP,
        DeviceClass::Integrated | DeviceClass::Discrete => WORKGROUP / 2,
    };
    if taps < u64::from(least) {
        return Err(format!("a window of {taps} elements leaves most of a workgroup's {WORKGROUP} invocations idle"));
    }
    Ok(())
}

/// What one invocation for each output does.
pub(super) fn cost(context: &Context) -> Operations {
    let per_thread = Operations::LOAD * (1.5 * context.geometry.taps() as f64 + 3.0) + Operations::STORE;
    let workgroups = context.geometry.output_elements().div_ceil(u64::from(WORKGROUP));
    Operations::total(context.limits, workgroups, f64::from(WORKGROUP), per_thread)
}

/// What one workgroup for each output does.
pub(super) fn tree_cost(context: &Context) -> Operations {
    use Operations as Of;
    let elements = context.geometry.taps().div_ceil(u64::from(WORKGROUP)) as f64;
    let steps = f64::from(WORKGROUP.ilog2());
    // Each element's coordinates come from its number by division.
    let per_thread = (Of::LOAD + Of::ADDRESS * 3.0) * elements + Of::LOAD * 4.0 + (Of::BARRIER + Of::SHARED * 3.0) * steps;
    Operations::total(context.limits, context.geometry.output_elements(), f64::from(WORKGROUP), per_thread)
}

/// What a pooling's kernel loads and stores.
pub(super) struct Types {
    pub input: &'static str,
    pub output: &'static str,
    /// Whether it computes four elements at a time.
    pub fours: bool,
}

impl Types {
    /// An element at a time.
    pub const ONE: Self = Self { input: "array<Elem>", output: "array<Elem>", fours: false };
}

/// A kernel with all that poolings have in common.
pub(super) fn kernel(context: &Context, name: &str, types: Types, workgroup: u32) -> Result<Kernel> {
    let Layer::Pool(PoolDesc { kind, .. }) = context.problem.layer else { unreachable!("the layer was accepted") };
    let geometry = context.geometry;
    let (number, count_padding, divisor, norm) = match kind {
        PoolKind::Max { .. } => (0, false, 0, 1.0),
        PoolKind::Average { count_include_pad, divisor_override } => (1, count_include_pad, divisor_override.unwrap_or(0), 1.0),
        PoolKind::Lp { p } => (2, false, 0, p),
    };
    let divisor = i32::try_from(divisor)
        .map_err(|_| Error::unsupported("divisor_override", format!("is {divisor}, more than 2^31 - 1")))?;
    let indices = context.problem.indices();
    let order = indices.map_or(0, IndexOrder::number);
    let [end_z, end_y, end_x] = geometry.pad_end;
    let (name, tile) = name.split_once(' ').unwrap_or((name, ""));
    let label = format!("{name} {} {tile}", context.dtype());
    let kernel = Kernel::new(label.trim_end().into(), context.dtype(), workgroup)
        .constant("KIND", number)
        .constant("DIVISOR", divisor)
        .constant("INDEX_ORDER", order)
        .flag("COUNT_PADDING", count_padding)
        .flag("ADAPTIVE", geometry.adaptive)
        .float("NORM", norm)
        .binding("input", types.input, Slot::Input)
        .written("output", types.output, Slot::Output)
        .with_geometry(geometry, context.mode)
        .fragment(format!("const PAD_END: vec3<i32> = vec3<i32>({end_z}, {end_y}, {end_x});"))
        .fragment(if types.fours { FOUR } else { ONE })
        .fragment(include_str!("../../shaders/lib/pool_window.wgsl"));
    Ok(match indices {
        None => kernel.fragment("fn store_index(index: i32, plane: i32, at: Number) {}"),
        Some(_) => kernel
            .written("indices", "array<i32>", Slot::Indices)
            .fragment("fn store_index(index: i32, plane: i32, at: i32) {\n    indices[index] = index_of(plane, at);\n}"),
    })
}

/// A pooling is one dispatch.
pub(super) fn parts(kernel: Kernel, workgroups: u64, limits: &DeviceLimits) -> Result<Parts> {
    Ok(Parts { steps: vec![Step::new(kernel, workgroups, limits)?], packing: Packing::None, workspace: Vec::new() })
}

pub(super) fn plan(context: &Context) -> Result<Parts> {
    let geometry = context.geometry;
    let mut kernel = kernel(context, "pool", Types::ONE, WORKGROUP)?.fragment(include_str!("../../shaders/pool.wgsl"));
    let [window_z, window_y, window_x] = geometry.kernel.map(u64::from);
    kernel.iterations = window_z * (window_y * (window_x + 2) + 2) + 8;
    let workgroups = geometry.output_elements().div_ceil(u64::from(WORKGROUP));
    parts(kernel, workgroups, context.limits)
}

pub(super) fn plan_tree(context: &Context) -> Result<Parts> {
    let geometry = context.geometry;
    let mut kernel = kernel(context, "pool_tree", Types::ONE, WORKGROUP)?.fragment(include_str!("../../shaders/pool_tree.wgsl"));
    kernel.iterations = geometry.taps().div_ceil(u64::from(WORKGROUP * UNROLLED)) * 2 + 16;
    kernel.workgroup_bytes = 8 * WORKGROUP;
    parts(kernel, geometry.output_elements(), context.limits)
}
