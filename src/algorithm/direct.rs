//! Convolution by its definition: the fallback that takes everything, and on the device the oracle of the rest.

use super::cost::Operations;
use super::plan::{Packing, Step};
use super::{Context, Parts};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot, Stores};
use crate::problem::Layer;

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

pub(super) fn supports(context: &Context) -> Result<(), String> {
    match context.problem.layer {
        Layer::Conv(_) => Ok(()),
        Layer::Pool(_) => Err("the layer is not a convolution".into()),
    }
}

/// What it does.
pub(super) fn cost(context: &Context) -> Operations {
    let phases: f64 = context.geometry.phases().iter().map(|&count| f64::from(count)).product();
    let products = context.geometry.reduction() as f64 / phases;
    let per_thread = (Operations::LOAD * 2.0 + Operations::ADDRESS + Operations::FMA) * products + Operations::STORE;
    let workgroups = context.geometry.output_elements().div_ceil(u64::from(WORKGROUP));
    Operations::total(context.limits, workgroups, f64::from(WORKGROUP), per_thread)
}

/// Each loop takes one more iteration to find its end, and a driver may count one more to leave it.
fn iterations(geometry: &Geometry) -> u64 {
    let [z, y, x] = geometry.kernel.map(u64::from);
    let per_channel = [z * y * (x + 2), z * (y + 2), z + 4].iter().fold(0, |sum: u64, &count| sum.saturating_add(count));
    u64::from(geometry.group_in()).saturating_mul(per_channel).saturating_add(geometry.first_taps())
}

pub(super) fn plan(context: &Context) -> Result<Parts> {
    let kernel = Kernel::new(format!("conv_direct {}", context.dtype()), context.dtype(), WORKGROUP)
        .input(Slot::Input)
        .binding("weights", "array<Elem>", Slot::Weights)
        .with_geometry(context.geometry, context.mode)
        .with_epilogue(context.epilogue(), Slot::Output, Stores::One)
        .iterations(iterations(context.geometry))
        .fragment(include_str!("../../shaders/conv_direct.wgsl"));
    let step = Step::new(kernel, context.geometry.output_elements().div_ceil(u64::from(WORKGROUP)), context.limits)?;
    Ok(Parts { steps: vec![step], packing: Packing::Rows, workspace: Vec::new() })
}
