//! Convolution as a matrix product over strips of neighbouring outputs: `subgroup_strip`.
//!
//! The loop is that of [`super::subgroup`], but a lane's outputs are neighbours on x, and the rows of a step are all x taps of a channel.
//! So an input is loaded once for all outputs and taps that meet it: 13 loads for 4 outputs of 7 taps at stride 2, where a product over
//! columns takes 28. A step is all channels of a tap on z and y, so first layers, whose one to four channels would leave a
//! step of a product mostly empty, pay for no padding.

use super::cost::{Operations, cheapest_first};
use super::plan::{Packing, Step};
use super::product::{Blocks, Loads, Operands, Product};
use super::subgroup::{self, Reads, SubgroupTile};
use super::{Context, Parts};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::limits::DeviceLimits;
use crate::tensor_desc::MAX_ELEMENTS;

/// The most input channels of a group: with more, products over columns waste little.
const MAX_CHANNELS: u32 = 4;

/// The most multiplications of four channels that a turn of the loop is written out as: compile time grows with them.
const MAX_PRODUCTS: u64 = 384;

/// The most inputs from the first to the last of a strip: so many past the end of an axis are still a number of 32 bits.
const MAX_SPAN: u64 = 1 << 24;

/// The inputs that the taps of a strip meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    /// Taps on x.
    pub taps: u32,
    stride: u32,
    dilation: u32,
    /// Rows of weights of a channel.
    pub rows: u32,
}

impl Strip {
    fn new(geometry: &Geometry, tile: &SubgroupTile) -> Self {
        let taps = geometry.kernel[2];
        Self { taps, stride: geometry.stride[2], dilation: geometry.dilation[2], rows: taps.next_multiple_of(tile.chunk()) }
    }

    /// Which input the tap of an output meets, counted from the first one that the strip sees.
    pub fn offset(&self, tap: u32, output: u32) -> u32 {
        output * self.stride + tap * self.dilation
    }

    /// Rows of a step.
    pub fn block_k(&self, geometry: &Geometry) -> u32 {
        geometry.group_in() * self.rows
    }

    /// The most iterations of an invocation's loops: a step for each tap on z and y, and a turn for each channel.
    pub fn iterations(&self, geometry: &Geometry) -> u64 {
        let steps = u64::from(geometry.kernel[0]) * u64::from(geometry.kernel[1]);
        steps * (u64::from(geometry.group_in()) + 1) + 2 * u64::from(self.taps) + 16
    }

    /// All of them, in order.
    pub fn offsets(&self, outputs: u32) -> Vec<u32> {
        let all = (0..self.taps).flat_map(|tap| (0..outputs).map(move |output| self.offset(tap, output)));
        let mut offsets: Vec<u32> = all.collect();
        offsets.sort_unstable();
        offsets.dedup();
        offsets
    }
}

/// Why the layer has no strips.
pub(super) fn supports(context: &Context) -> Result<(), String> {
    let product = Product::new(context, Operands::Strip)?;
    let geometry = &product.geometry;
    if geometry.input_dilation != [1; 3] {
        return Err("a transposed convolution with a stride uses other taps at each phase".into());
    }
    if geometry.group_in() > MAX_CHANNELS || geometry.group_out() < 4 {
        let (group_in, group_out) = (geometry.group_in(), geometry.group_out());
        return Err(format!(
            "a group has {group_in} input and {group_out} output channels, but first layers have at most {MAX_CHANNELS} and at least 4"
        ));
    }
    if geometry.kernel[2] == 1 {
        return Err("the last axis has one tap, which has nothing to share".into());
    }
    subgroup::supports(context.limits)
}

/// Why a tile does not take the layer.
pub(super) fn supports_tile(context: &Context, tile: &SubgroupTile) -> Result<(), String> {
    supports(context)?;
    tile.check_lanes(context.limits)?;
    if tile.split_k != 1 {
        return Err("the few terms of a first layer are not summed in slices".into());
    }
    fits(context.geometry, tile)
}

fn fits(geometry: &Geometry, tile: &SubgroupTile) -> Result<(), String> {
    let [taps, stride, dilation] = [geometry.kernel[2], geometry.stride[2], geometry.dilation[2]].map(u64::from);
    let products = taps * u64::from(tile.block_m / 4 * tile.thread_n);
    if products > MAX_PRODUCTS {
        return Err(format!(
            "{taps} taps on the last axis are {products} products a turn, but at most {MAX_PRODUCTS} are written out"
        ));
    }
    let span = u64::from(tile.thread_n - 1) * stride + (taps - 1) * dilation;
    if span > MAX_SPAN {
        return Err(format!("a strip of {} outputs spans {span} inputs, more than {MAX_SPAN}", tile.thread_n));
    }
    let rows = u64::from(geometry.group_in()) * taps.next_multiple_of(u64::from(tile.chunk()));
    if rows * u64::from(tile.block_m) > MAX_ELEMENTS as u64 {
        return Err(format!("a panel of {rows} rows of weights has more elements than kernels can index"));
    }
    Ok(())
}

/// The tiles that fit a layer, the cheapest first.
pub(super) fn tiles(context: &Context) -> Result<Vec<(Operations, SubgroupTile)>, String> {
    let product = Product::new(context, Operands::Strip)?;
    let tiles = subgroup::table(context.limits).into_iter().filter(|tile| fits(&product.geometry, tile).is_ok());
    Ok(cheapest_first(context.limits.class, tiles.map(|tile| (cost(&product, context.limits, &tile), tile))))
}

/// What it does.
fn cost(product: &Product, limits: &DeviceLimits, tile: &SubgroupTile) -> Operations {
    use Operations as Of;
    let geometry = &product.geometry;
    let strip = Strip::new(geometry, tile);
    let [block_m, thread_n, chunk, taps, rows] =
        [tile.block_m, tile.thread_n, tile.chunk(), strip.taps, strip.rows].map(f64::from);
    let per_channel = Of::LOAD4 * (rows / chunk)
        + Of::LOAD * strip.offsets(tile.thread_n).len() as f64
        + Of::BROADCAST * (block_m * taps)
        + Of::FMA * (block_m * thread_n * taps);
    let steps = f64::from(geometry.kernel[0]) * f64::from(geometry.kernel[1]);
    // A 7x7 stem on lavapipe, against a product over columns: 2.3 times as fast on Mesa 22.3.6, a quarter slower on 25.0.7, which spills.
    // So it stands behind that by the guess, and wins where it is measured.
    let per_thread = (per_channel * f64::from(geometry.group_in()) + Of::LOAD) * (2.0 * steps);
    Of::total(limits, tile.workgroups(product), f64::from(tile.invocations()), per_thread)
}

/// Blocks of the result in all groups: the rows of outputs end in strips that are not full.
pub(super) fn blocks(geometry: &Geometry, tile: &SubgroupTile) -> u64 {
    let [z, y, x] = geometry.output;
    let strips = [geometry.batch, z, y, x.div_ceil(tile.thread_n)].map(u64::from).iter().product::<u64>();
    let rows = u64::from(geometry.group_out().div_ceil(tile.block_m)) * u64::from(geometry.groups);
    rows * strips.div_ceil(u64::from(tile.lanes))
}

pub(super) fn plan(context: &Context, tile: &SubgroupTile) -> Result<Parts> {
    let product = Product::new(context, Operands::Strip).expect("the layer was accepted");
    let strip = Strip::new(&product.geometry, tile);
    let rows = strip.rows;
    let block_k = strip.block_k(&product.geometry);
    let label = format!("conv_strip {} {tile}", product.dtype);
    let blocks = Blocks { block: [tile.block_m, tile.thread_n * tile.lanes, block_k], columns: tile.thread_n, split_k: 1 };
    let kernel = product.kernel(label, tile.invocations(), blocks, Loads::One).constant("ROWS", rows);
    let step: Step = subgroup::looped(kernel, &product, context.limits, tile, &Reads::Strip(strip))?;
    Ok(Parts { steps: vec![step], packing: Packing::Strips { block_m: tile.block_m, rows }, workspace: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_a_strip_are_loaded_once() {
        let strip = |taps, stride, dilation| Strip { taps, stride, dilation, rows: taps };
        assert_eq!(strip(7, 2, 1).offsets(4), (0..13).collect::<Vec<_>>());
        assert_eq!(strip(3, 1, 2).offsets(2), [0, 1, 2, 3, 4, 5]);
        assert_eq!(strip(2, 4, 1).offsets(2), [0, 1, 4, 5]);
        assert_eq!(strip(3, 2, 1).offset(2, 1), 4);
    }
}
