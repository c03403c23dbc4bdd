//! Depthwise convolution in register patches: one input channel to a group, any channel multiplier, kernel, stride and dilation.
//!
//! Nothing is shared between channels, so a matrix product would be one row high. What can be saved is loads: an invocation
//! computes a patch of outputs of one channel, whose windows overlap.

use std::fmt;

use super::cost::{Operations, cheapest_first};
use super::patch::Overlap;
use super::plan::{Packing, Step, fold};
use super::{Context, Parts};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot};
use crate::problem::Layer;

/// The outputs that an invocation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DepthwiseTile {
    /// Rows of the patch.
    pub y: u32,
    /// Columns of the patch.
    pub x: u32,
}

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// The most inputs of a row that an invocation holds in registers.
const MAX_SPAN: u32 = 64;

/// The most products of an invocation that the compiler is asked to unroll: compile time grows with them.
const MAX_UNROLLED: u32 = 1024;

const TILES: [[u32; 2]; 8] = [[1, 1], [1, 4], [1, 8], [2, 2], [4, 4], [7, 4], [4, 7], [7, 7]];

impl fmt::Display for DepthwiseTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.y, self.x)
    }
}

impl DepthwiseTile {
    pub(super) fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[y, x] = numbers else { return None };
        ((1..=16).contains(&y) && (1..=16).contains(&x)).then_some(Self { y, x })
    }

    /// Inputs that the patch sees on an axis, in steps of the dilation.
    fn span(self, geometry: &Geometry, axis: usize) -> u64 {
        let tile = u64::from(if axis == 1 { self.y } else { self.x });
        (tile - 1) * u64::from(overlap(geometry, axis).share) + u64::from(geometry.kernel[axis])
    }
}

fn overlap(geometry: &Geometry, axis: usize) -> Overlap {
    Overlap::new(geometry.stride[axis], geometry.dilation[axis])
}

pub(super) fn supports(context: &Context) -> Result<(), String> {
    let Layer::Conv(_) = context.problem.layer else { return Err("the layer is not a convolution".into()) };
    let geometry = context.geometry;
    if geometry.group_in() != 1 {
        return Err(format!("groups have {} input channels, but depthwise means 1", geometry.group_in()));
    }
    if geometry.input_dilation != [1; 3] {
        return Err("a transposed convolution with a stride uses other taps at each phase".into());
    }
    if geometry.kernel[2] > MAX_SPAN || u64::from(geometry.kernel[1]) * u64::from(geometry.kernel[2]) > u64::from(MAX_UNROLLED) {
        return Err(format!("a {}x{} kernel does not fit registers", geometry.kernel[1], geometry.kernel[2]));
    }
    Ok(())
}

fn fits(geometry: &Geometry, tile: DepthwiseTile) -> bool {
    let unrolled = u64::from(tile.y * tile.x) * u64::from(geometry.kernel[1]) * u64::from(geometry.kernel[2]);
    tile.span(geometry, 2) <= u64::from(MAX_SPAN) && unrolled <= u64::from(MAX_UNROLLED)
}

pub(super) fn tiles(context: &Context) -> Vec<(Operations, DepthwiseTile)> {
    let tiles = TILES.iter().filter_map(|numbers| DepthwiseTile::from_numbers(numbers));
    let fitting = tiles.filter(|&tile| fits(context.geometry, tile));
    cheapest_first(context.limits.class, fitting.map(|tile| (cost(context, tile), tile)))
}

/// Invocations in all.
fn invocations(geometry: &Geometry, tile: DepthwiseTile) -> u64 {
    let blocks = |axis: usize, tile: u32| overlap(geometry, axis).blocks(geometry.output[axis], tile);
    let planes = u64::from(geometry.batch) * u64::from(geometry.out_channels) * u64::from(geometry.output[0]);
    planes * blocks(1, tile.y) * blocks(2, tile.x)
}

/// What it does.
fn cost(context: &Context, tile: DepthwiseTile) -> Operations {
    use Operations as Of;
    let geometry = context.geometry;
    let loads = tile.span(geometry, 1) as f64 * tile.span(geometry, 2) as f64;
    let taps = f64::from(geometry.kernel[1]) * f64::from(geometry.kernel[2]);
    let outputs = f64::from(tile.y * tile.x);
    // A load with its bounds costs about half a load more; weights are loaded once for each row of the patch.
    let per_slice = Of::LOAD * (1.5 * loads + f64::from(tile.y) * taps) + Of::FMA * (outputs * taps);
    let per_thread = per_slice * f64::from(geometry.kernel[0]) + Of::LOAD * outputs;
    let workgroups = invocations(geometry, tile).div_ceil(u64::from(WORKGROUP));
    Of::total(context.limits, workgroups, f64::from(WORKGROUP), per_thread)
}

pub(super) fn plan(context: &Context, tile: &DepthwiseTile) -> Result<Parts> {
    let geometry = context.geometry;
    if !fits(geometry, *tile) {
        return Err(crate::Error::unsupported(
            "algorithm",
            format!("depthwise({tile}) needs more registers than it may for `{}`", context.problem),
        ));
    }
    let kernel = Kernel::new(format!("conv_depthwise {} {tile}", context.dtype()), context.dtype(), WORKGROUP)
        .constant("KERNEL_Z", geometry.kernel[0])
        .constant("KERNEL_Y", geometry.kernel[1])
        .constant("KERNEL_X", geometry.kernel[2])
        .constant("TILE_Y", tile.y)
        .constant("TILE_X", tile.x)
        .constant("SPREAD_Y", overlap(geometry, 1).spread)
        .constant("SPREAD_X", overlap(geometry, 2).spread)
        .constant("SHARE_Y", overlap(geometry, 1).share)
        .constant("SHARE_X", overlap(geometry, 2).share)
        .binding("input", "array<Elem>", Slot::Input)
        .binding("weights", "array<Elem>", Slot::Weights)
        .with_geometry(geometry, context.mode)
        .with_epilogue(context.epilogue(), Slot::Output)
        .iterations(
            u64::from(geometry.kernel[0])
                * (tile.span(geometry, 1) * (tile.span(geometry, 2) + 8) + geometry.taps().min(1 << 20)),
        )
        .fragment(include_str!("../../shaders/lib/blocks.wgsl"))
        .fragment(include_str!("../../shaders/lib/patch.wgsl"))
        .fragment(include_str!("../../shaders/conv_depthwise.wgsl"));
    let grid = fold(invocations(geometry, *tile).div_ceil(u64::from(WORKGROUP)), context.limits.workgroups)?;
    Ok(Parts { steps: vec![Step { kernel, grid }], packing: Packing::Rows, workspace: Vec::new() })
}
