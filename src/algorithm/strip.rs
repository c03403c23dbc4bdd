//! Convolution as a matrix product over strips of neighbouring outputs: `subgroup_strip`.
//!
//! The loop is that of [`super::subgroup`], but a lane's outputs are neighbours on x, or lie as far apart as taps do, and a turn is the x
//! taps of a channel, all of them or a segment. So an input is loaded once for all outputs and taps that meet it: 10 loads for 8 outputs of
//! 3 taps, where a product over columns takes 24. Where loads are dear, as on lavapipe, a 3x3 layer of few channels is faster by it than by
//! Winograd's fewer products, and as exact as the definition. Neighbours of a row that begins at a multiple of 4 are one load for four. A
//! step is all channels of a tap on z and y, so first layers, whose one to four channels would leave a step of a product mostly empty, pay
//! for no padding. Of a transposed convolution with a stride a strip is outputs of one phase.
//!
//! A patch is strips of several rows: a turn is all taps on y and x of a channel, and an input is loaded once for all rows of outputs too,
//! 36 loads for 16 outputs of 3x3 taps instead of 54. For layers with few channels to a group, where loads are most of the time.

use super::cost::{Operations, cheapest_first};
use super::patch::{Overlap, RowFours};
use super::plan::{Packing, Step};
use super::product::{Blocks, Loads, Operands, Product, few_weights};
use super::subgroup::{self, Reads, SubgroupTile};
use super::{Context, Parts};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::Stores;
use crate::limits::{DeviceClass, DeviceLimits};
use crate::tensor_desc::MAX_ELEMENTS;

/// Output channels and outputs of a strip to choose from on a class of devices.
fn sizes(class: DeviceClass) -> &'static [[u32; 2]] {
    match class {
        // Sizes of networks are multiples of 7 or of 4; outputs at a multiple of 4 are stored by fours. 32x8 is by turns a little faster
        // than 32x7 and a third slower, 16x7 and 16x8 up to 40 % slower than 32x4.
        DeviceClass::Software => {
            &[[32, 7], [32, 4], [32, 2], [16, 4], [8, 16], [8, 14], [8, 8], [8, 7], [8, 4], [4, 16], [4, 14], [4, 7]]
        }
        DeviceClass::Integrated | DeviceClass::Discrete => subgroup::sizes(class),
    }
}

/// Output channels, rows and columns of the patches to choose from.
const PATCHES: [[u32; 3]; 6] = [[4, 4, 4], [4, 4, 7], [4, 7, 4], [8, 4, 4], [8, 2, 7], [16, 2, 4]];

/// The most output channels to a group of layers that patches are for, and the fewest input channels: of 32 output channels they are slower
/// than strips by a fifth, and of one to three input channels, where stores are most of the time, by a tenth to a half.
const PATCH_CHANNELS_OUT: u32 = 16;
const PATCH_CHANNELS_IN: u32 = 4;

/// The patches of a layer on a device. Where a load is no loop over lanes it is written out for each, about a kilobyte in all, and those of
/// a patch fill the instructions' cache: on Mesa 25.0.7 patches take 1.1 to 1.4 times as long as strips, on 22.3.6 0.6 to 0.9. Rows two
/// inputs apart share too little. No GPU has been measured.
fn patches(limits: &DeviceLimits, geometry: &Geometry) -> Vec<SubgroupTile> {
    let few = geometry.group_out() <= PATCH_CHANNELS_OUT && geometry.group_in() >= PATCH_CHANNELS_IN;
    let overlap = Overlap::of(geometry, 1);
    if limits.class == DeviceClass::Software && limits.loops_over_lanes && few && overlap.share == 1 {
        subgroup::table(limits, &PATCHES)
    } else {
        Vec::new()
    }
}

/// The most that a turn of the loop is written out as: multiplications of four channels, and loads, which are about six times as long.
/// Compile time grows with it, and longer turns are slower: 7x7 taps at stride 2 of 32x4 outputs, 302, by 45 % on Mesa 25.0.7; 3x3 at
/// stride 2 of 32x7, 258, by 44 %; ten taps at stride 5 of 8x4, 230, by 42 % on Mesa 22.3.6. 3x3 at stride 1 of 32x7, 222, are the fastest.
const MAX_TURN: u64 = 225;

/// The same of a patch, on devices where a load is a short text. On Mesa 22.3.6 5x5 taps of 4x4x4 outputs, 784, are ready after 0.6 s, and 7x7,
/// 1384, are slower than strips; 9x9 of 4x7x4, 3348, are faster, but are ready after 4 s.
const MAX_PATCH_TURN: u64 = 800;

/// So many products are as long as a load.
const LOAD: u64 = 6;

/// The most inputs from the first to the last of a strip: so many past the end of an axis are still a number of 32 bits.
const MAX_SPAN: u64 = 1 << 24;

/// The inputs that the taps of a strip meet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    /// The most taps on x of a phase, and the fewest.
    taps: u32,
    least: u32,
    /// Those of a turn; the last segment of an axis may have fewer.
    segment: u32,
    /// Rows of taps of a turn: one, or all where a lane has several rows of outputs.
    tap_rows: u32,
    /// Rows and columns of outputs.
    outputs: [u32; 2],
    /// How its outputs lie, on y and on x.
    overlaps: [Overlap; 2],
    /// Which inputs of a row are loaded four at a time.
    fours: RowFours,
    /// Rows of weights of a channel and a segment.
    pub rows: u32,
}

impl Strip {
    /// With as few segments as turns may be long.
    fn new(geometry: &Geometry, tile: &SubgroupTile) -> Self {
        let taps = geometry.phase_taps()[2];
        let least = geometry.least_phase_taps()[2];
        let tap_rows = if tile.rows > 1 { geometry.phase_taps()[1] } else { 1 };
        let of = |segment: u32| Self {
            taps,
            least,
            segment,
            tap_rows,
            outputs: [tile.rows, tile.columns()],
            overlaps: [1, 2].map(|axis| Overlap::of(geometry, axis)),
            // Those of all segments lie alike.
            fours: if segment == taps || segment.is_multiple_of(4) {
                RowFours::new(geometry, tile.columns(), geometry.stride[2], segment)
            } else {
                RowFours::NONE
            },
            rows: (tap_rows * segment).next_multiple_of(tile.chunk()),
        };
        if tile.rows > 1 {
            return of(taps);
        }
        let longest = (1..=taps).take_while(|&segment| of(segment).turn(tile) <= MAX_TURN).last().unwrap_or(1);
        of(taps.div_ceil(taps.div_ceil(longest)))
    }

    /// How long a turn of the loop is.
    fn turn(&self, tile: &SubgroupTile) -> u64 {
        u64::from(self.turn_taps()) * u64::from(tile.block_m / 4 * tile.thread_n) + LOAD * self.inputs()
    }

    fn segments(&self) -> u32 {
        self.taps.div_ceil(self.segment)
    }

    /// Taps that all segments have, and all phases.
    fn least_taps(&self) -> u32 {
        (self.least - (self.segments() - 1) * self.segment) * self.tap_rows
    }

    /// Which input the tap of an output meets, counted in dilations on y and on x from the first one that the strip sees.
    fn offset(&self, tap: u32, output: u32) -> [u32; 2] {
        let [taps, outputs] = [(tap, self.segment), (output, self.outputs[1])].map(|(number, row)| [number / row, number % row]);
        [0, 1].map(|axis| outputs[axis] * self.overlaps[axis].share + taps[axis])
    }

    /// Taps of a turn.
    pub fn turn_taps(&self) -> u32 {
        self.tap_rows * self.segment
    }

    /// Steps: segments of all taps on z and y, in the phase that has the most.
    fn steps(&self, geometry: &Geometry) -> u64 {
        let [z, y, _] = geometry.phase_taps();
        u64::from(z) * u64::from(y / self.tap_rows) * u64::from(self.segments())
    }

    /// Their mean over the phases.
    fn mean_steps(&self, geometry: &Geometry) -> f64 {
        let taps = |axis: usize| f64::from(geometry.kernel[axis]) / f64::from(geometry.tap_step()[axis]);
        taps(0) * taps(1) / f64::from(self.tap_rows) * f64::from(self.segments())
    }

    /// The most iterations of an invocation's loops: the steps, a turn for each channel, and the stores.
    pub fn iterations(&self, geometry: &Geometry, tile: &SubgroupTile) -> u64 {
        let turns = self.steps(geometry) * (u64::from(geometry.group_in()) + 1);
        geometry.first_taps() + turns + u64::from(tile.block_m * tile.thread_n) + 16
    }

    /// How many they are.
    fn inputs(&self) -> u64 {
        let on = |axis: usize, taps: u32| {
            let [last, share, taps] = [self.outputs[axis] - 1, self.overlaps[axis].share, taps].map(u64::from);
            last * taps.min(share) + taps
        };
        on(0, self.tap_rows) * on(1, self.segment)
    }

    /// All of them, in order.
    fn offsets(&self) -> Vec<[u32; 2]> {
        let outputs = self.outputs[0] * self.outputs[1];
        let all = (0..self.turn_taps()).flat_map(|tap| (0..outputs).map(move |output| self.offset(tap, output)));
        let mut offsets: Vec<[u32; 2]> = all.collect();
        offsets.sort_unstable();
        offsets.dedup();
        offsets
    }

    /// The first of each load.
    fn firsts(&self) -> Vec<[u32; 2]> {
        let mut offsets = self.offsets();
        offsets.retain(|&[_, x]| !self.fours.has(x) || self.fours.begins_at(x));
        offsets
    }

    /// The text that finds them for all channels of a step, each where there is one.
    pub fn finding(&self) -> String {
        let mut offsets = self.firsts();
        let found = |[y, x]: [u32; 2]| {
            format!(
                "        let met_{y}_{x} = meets_input(row_{y}, {x});\n\
                 \x20       let from_{y}_{x} = first_input(row_{y}, {x}, met_{y}_{x});\n"
            )
        };
        let inputs: String = offsets.iter().copied().map(found).collect();
        offsets.dedup_by_key(|[y, _]| *y);
        let rows: String = offsets.iter().map(|[y, _]| format!("        let row_{y} = input_row({y});\n")).collect();
        rows + &inputs
    }

    /// The text that loads those of a channel.
    pub fn loading(&self) -> String {
        let one =
            |[y, x]: [u32; 2]| format!("            let input_{y}_{x} = masked(fetched(from_{y}_{x} + step), met_{y}_{x});\n");
        let four = |[y, x]: [u32; 2]| {
            let load =
                format!("            let four_{y}_{x} = select(vec4<f32>(), load_input_4(from_{y}_{x} + step), met_{y}_{x});\n");
            load + &RowFours::lanes(x)
                .map(|(input, lane)| format!("            let input_{y}_{input} = four_{y}_{x}.{lane};\n"))
                .collect::<String>()
        };
        self.firsts().into_iter().map(|first| if self.fours.has(first[1]) { four(first) } else { one(first) }).collect()
    }

    /// The one that the tap of an output meets. Of the last segment, or of a phase, taps may be missing: their weights are 0, but 0 times
    /// infinity is not.
    pub fn element(&self, tap: u32, output: u32) -> String {
        let [y, x] = self.offset(tap, output);
        let lacks = tap >= self.least_taps();
        if lacks { format!("select(input_{y}_{x}, Operand(), lacks({tap}))") } else { format!("input_{y}_{x}") }
    }
}

/// Why the layer has no strips.
pub(super) fn supports(context: &Context) -> Result<(), String> {
    let product = Product::new(context, Operands::Strip)?;
    let geometry = &product.geometry;
    if geometry.tap_step() != geometry.input_dilation {
        return Err("a stride and a dilation of a transposed convolution share a factor: some outputs meet no input".into());
    }
    if geometry.phase_taps()[2] == 1 {
        return Err("the last axis has one tap, which has nothing to share".into());
    }
    subgroup::supports(context.limits)
}

/// Why a tile does not take the layer.
pub(super) fn supports_tile(context: &Context, tile: &SubgroupTile) -> Result<(), String> {
    supports(context)?;
    tile.check_lanes(context.limits)?;
    if tile.rows == 0 || tile.thread_n == 0 || !tile.thread_n.is_multiple_of(tile.rows) {
        return Err(format!("{} outputs are not {} rows", tile.thread_n, tile.rows));
    }
    if tile.split_k != 1 {
        return Err("strips are not summed in slices".into());
    }
    if tile.half != 0 {
        return Err("strips are multiplied in f32 only".into());
    }
    fits(context.geometry, tile)
}

/// Strips, or patches, of all rows of a phase.
fn strips(geometry: &Geometry, tile: &SubgroupTile) -> u64 {
    let [z, y, x] = geometry.phase_output();
    let on = |axis: usize, outputs: u32, tile: u32| Overlap::of(geometry, axis).blocks(outputs, tile);
    let rows = if tile.rows == 1 { u64::from(y) } else { on(1, y, tile.rows) };
    [geometry.batch.into(), z.into(), rows, on(2, x, tile.columns())].into_iter().fold(1, u64::saturating_mul)
}

fn fits(geometry: &Geometry, tile: &SubgroupTile) -> Result<(), String> {
    if tile.rows > 1 {
        has_patches(geometry)?;
    }
    let strip = Strip::new(geometry, tile);
    let turn = strip.turn(tile);
    if tile.rows > 1 && turn > MAX_PATCH_TURN {
        return Err(format!("a turn of the loop would be {turn} products and loads long, and may be {MAX_PATCH_TURN}"));
    }
    if geometry.is_phased() && strip.segments() > 1 {
        return Err(format!("the {} taps of a phase are more than a turn of the loop is written out for", strip.taps));
    }
    for (axis, taps) in [strip.tap_rows, strip.taps].into_iter().enumerate() {
        let outputs = strip.outputs[axis];
        let [last, share, taps, step] =
            [outputs - 1, strip.overlaps[axis].share, taps, geometry.source_step()[axis + 1]].map(u64::from);
        let span = (last * share + taps - 1) * step;
        if span > MAX_SPAN {
            let axis = ["y", "x"][axis];
            return Err(format!("the {outputs} outputs of a strip on {axis} span {span} inputs, more than {MAX_SPAN}"));
        }
    }
    let count = strips(geometry, tile);
    if count > i32::MAX as u64 - u64::from(tile.lanes) {
        return Err(format!("{count} strips are more than kernels can index"));
    }
    let rows = u64::from(geometry.group_in()) * u64::from(strip.rows);
    if rows * u64::from(tile.block_m) > MAX_ELEMENTS as u64 {
        return Err(format!("a panel of {rows} rows of weights has more elements than kernels can index"));
    }
    Ok(())
}

/// Why the layer has no patches of several rows.
fn has_patches(geometry: &Geometry) -> Result<(), String> {
    let [_, y, x] = geometry.phase_taps();
    if geometry.is_phased() {
        return Err("patches do not know the phases of transposed convolutions with a stride".into());
    }
    if y == 1 {
        return Err("the rows of a patch share nothing where an axis has one tap".into());
    }
    // Long before so many are too many to count.
    if u64::from(y) * u64::from(x) > MAX_PATCH_TURN {
        return Err(format!("a patch has a turn of all {y}x{x} taps, and {MAX_PATCH_TURN} are the most"));
    }
    Ok(())
}

/// The tiles that fit a layer, the cheapest first.
pub(super) fn tiles(context: &Context) -> Result<Vec<(Operations, SubgroupTile)>, String> {
    let product = Product::new(context, Operands::Strip)?;
    let strips = subgroup::table(context.limits, sizes(context.limits.class));
    let tiles = strips.into_iter().chain(patches(context.limits, &product.geometry));
    // Strips of many outputs are for groups of few channels: measured, 14x14 by 8x14 takes up to 1.5 times as long as by 32x4.
    let long = |tile: &SubgroupTile| tile.thread_n > 8 && tile.rows == 1 && product.geometry.group_out() > 8;
    let tiles = tiles.filter(|tile| fits(&product.geometry, tile).is_ok() && !long(tile));
    Ok(cheapest_first(context.limits.class, tiles.map(|tile| (cost(&product, context.limits, &tile), tile))))
}

/// What it does.
fn cost(product: &Product, limits: &DeviceLimits, tile: &SubgroupTile) -> Operations {
    use Operations as Of;
    let geometry = &product.geometry;
    let strip = Strip::new(geometry, tile);
    let [block_m, thread_n, chunk, taps, rows] =
        [tile.block_m, tile.thread_n, tile.chunk(), strip.turn_taps(), strip.rows].map(f64::from);
    // Inputs that are loaded four at a time are priced as each by itself: so the prices were fitted, which otherwise prefer 16x4 wherever it has
    // fours. It takes 1.2 to 1.5 times as long as 32x7 then (9x9 taps, three channels).
    let loads = Of::LOAD * strip.inputs() as f64;
    let per_channel =
        Of::LOAD4 * (rows / chunk) + loads + Of::BROADCAST * (block_m * taps) + Of::FMA * (block_m * thread_n * taps);
    let stores = Of::stores(block_m * thread_n, stores(product, tile) != Stores::One);
    // Where its inputs are is found once for all channels of a step, which takes about as long as loading them once.
    let step = per_channel * f64::from(geometry.group_in()) + Of::ADDRESS + loads;
    let per_thread = step * strip.mean_steps(geometry) + stores;
    Of::total(limits, tile.workgroups(product), f64::from(tile.invocations()), per_thread)
}

/// How outputs of a strip are stored; by columns where these are neighbours in a row, all of them outputs, at a multiple of 4.
fn stores(product: &Product, tile: &SubgroupTile) -> Stores {
    let geometry = &product.geometry;
    let whole = tile.columns().is_multiple_of(4) && geometry.output[2].is_multiple_of(4);
    product.stores(whole && Overlap::of(geometry, 2).spread == 1 && !geometry.is_phased())
}

/// Blocks of the result in all groups and phases: the rows of outputs end in strips that are not full.
pub(super) fn blocks(product: &Product, tile: &SubgroupTile) -> u64 {
    product.bands(tile.block_m) * strips(&product.geometry, tile).div_ceil(u64::from(tile.lanes))
}

pub(super) fn plan(context: &Context, tile: &SubgroupTile) -> Result<Parts> {
    let product = Product::new(context, Operands::Strip).expect("the layer was accepted");
    let strip = Strip::new(&product.geometry, tile);
    let (segment, rows) = (strip.segment, strip.rows);
    let label = format!("conv_strip {} {tile}", product.dtype);
    let stores = stores(&product, tile);
    let block = [tile.block_m, tile.thread_n * tile.lanes, rows];
    let few_weights = few_weights(context.limits.class);
    let blocks = Blocks { block, padded_k: 1, columns: tile.thread_n, half: 0, split_k: 1, stores, few_weights };
    let kernel = product
        .kernel(label, tile.invocations(), blocks, if strip.fours.is_none() { Loads::One } else { Loads::FourOfRow })
        .constant("SPREAD", strip.overlaps[1].spread)
        .constant("SPREAD_Y", if tile.rows == 1 { 1 } else { strip.overlaps[0].spread })
        .constant("ROWS", tile.rows)
        .flag("PHASED", product.geometry.is_phased())
        .constant("SEGMENTS", strip.segments())
        .constant("SEGMENT_TAPS", segment)
        .fragment(include_str!("../../shaders/lib/blocks.wgsl"));
    let step: Step = subgroup::looped(kernel, &product, context.limits, tile, &Reads::Strip(strip), stores)?;
    Ok(Parts {
        steps: vec![step],
        packing: Packing::Strips { block_m: tile.block_m, taps: strip.turn_taps(), rows, step: product.geometry.tap_step()[2] },
        workspace: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    #[test]
    fn kernels_of_many_taps_are_cut_into_segments_that_a_turn_holds() {
        let tile = |block_m, thread_n| SubgroupTile::from_numbers(&[block_m, thread_n, 8]).unwrap();
        for (line, tile, segment, segments, least) in [
            ("conv 1x64x56x56 o64 k3x3 p1x1 f32", tile(32, 7), 3, 1, 3),
            ("conv 1x3x224x224 o64 k7x7 s2x2 p3x3 f32", tile(32, 4), 4, 2, 3),
            ("conv 1x3x227x227 o96 k11x11 s4x4 f32", tile(32, 4), 4, 3, 3),
            ("conv 1x3x224x224 o768 k16x16 s16x16 f32", tile(32, 4), 4, 4, 4),
            ("conv 1x4x1000000 o8 k300000 f32", tile(32, 4), 5, 60_000, 5),
        ] {
            let problem: crate::Problem = line.parse().unwrap();
            let strip = Strip::new(&Geometry::new(&problem).unwrap(), &tile);
            assert_eq!((strip.segment, strip.segments(), strip.least_taps()), (segment, segments, least), "{line}");
            assert!(strip.turn(&tile) <= MAX_TURN, "{line}");
        }
    }

    #[test]
    fn patches_are_texts_and_refused_where_they_do_not_fit() {
        let limits = DeviceLimits { class: DeviceClass::Software, subgroup: Some(8), ..Default::default() };
        for text in ["subgroup_strip(4x7x4,8)", "subgroup_strip(4x2x16,8)", "subgroup_strip(16x2x4,8)", "subgroup_strip(8x8x1,8)"]
        {
            assert_eq!(text.parse::<Algorithm>().unwrap().to_string(), text);
        }
        for size in
            ["4x4294967295x4", "4x1x7", "4x9x1", "4x8x5", "4x2x17", "4x2x0", "6x2x2", "4294967292x2x2", "0x2x2", "4x2x2x2"]
        {
            let text = format!("subgroup_strip({size},8)");
            assert!(text.parse::<Algorithm>().is_err(), "{text}");
            let text = format!("subgroup_gemm({size},8)");
            assert!(text.parse::<Algorithm>().is_err(), "{text}");
        }
        let tile = SubgroupTile::strip_from_numbers(&[4, 4, 4, 8]).unwrap();
        let strange = [SubgroupTile { rows: 0, ..tile }, SubgroupTile { rows: 3, ..tile }, SubgroupTile { thread_n: 0, ..tile }];
        let plain = "conv 1x4x9x9 o4 k3x3 f32".parse().unwrap();
        for algorithm in strange.map(Algorithm::SubgroupStrip).into_iter().chain([Algorithm::SubgroupGemm(tile)]) {
            let error = algorithm.plan(&plain, &limits).unwrap_err().to_string();
            assert!(error.contains("rows"), "{algorithm}: {error}");
        }
        for (line, text, why) in [
            ("conv_transpose 1x4x9x9 o4 k4x4 s2x2 f32", "subgroup_strip(4x4x4,8)", "phases"),
            ("conv 1x4x9x9 o4 k1x3 f32", "subgroup_strip(4x4x4,8)", "one tap"),
            ("conv 1x4x90x90 o4 k31x31 f32", "subgroup_strip(4x2x1,8)", "31x31"),
            ("conv 1x4x90x90 o4 k9x9 f32", "subgroup_strip(4x4x4,8)", "2160"),
            ("conv 1x1x2x600000000 o1 k2x300000000 s1x300000000 f32", "subgroup_strip(4x2x16,8)", "300000000"),
            ("conv 1x4x1x2 o4 k2x2 p16777216x0 d16777216x1 f32", "subgroup_strip(4x4x4,8)", "67108864"),
            // Dilations that make so many strips of one output that their numbers have more than 31 bits.
            ("conv 1x4x1x1 o4 k2x2 p16384x32768 d32768x65536 f32", "subgroup_strip(4x4x4,8)", "2147483648 strips"),
            ("conv 1x4x512x1 o4 k1x2 p0x2097152 d1x4194304 f32", "subgroup_strip(8x4,8)", "2147483648 strips"),
        ] {
            let error = text.parse::<Algorithm>().unwrap().plan(&line.parse().unwrap(), &limits).unwrap_err().to_string();
            assert!(error.contains(why), "{line} by {text}: {error}");
        }
    }

    #[test]
    fn inputs_of_a_strip_are_loaded_once() {
        let of = |[tap_rows, taps]: [u32; 2], stride, dilation, outputs| Strip {
            taps,
            least: taps,
            segment: taps,
            tap_rows,
            outputs,
            overlaps: [Overlap::new(stride, dilation); 2],
            fours: RowFours::NONE,
            rows: taps * tap_rows,
        };
        let strip = |taps, stride, dilation, outputs| of([1, taps], stride, dilation, [1, outputs]);
        let columns =
            |strip: Strip| strip.offsets().into_iter().map(|[y, x]| if y == 0 { x } else { u32::MAX }).collect::<Vec<_>>();
        assert_eq!(columns(strip(7, 2, 1, 4)), (0..13).collect::<Vec<_>>());
        assert_eq!(columns(strip(3, 1, 1, 8)), (0..10).collect::<Vec<_>>());
        assert_eq!(columns(strip(2, 4, 1, 2)), [0, 1, 4, 5]);
        assert_eq!(strip(3, 2, 1, 4).offset(2, 1), [0, 4]);
        // Outputs that lie as far apart as the taps do: 16 by 16, or 2 by 2 where every third input is skipped anyway.
        assert_eq!(columns(strip(3, 1, 16, 4)), [0, 1, 2, 3, 4, 5]);
        assert_eq!(columns(strip(3, 3, 2, 2)), [0, 1, 2, 3, 4, 5]);
        // Patches: the second output of the second row meets its last tap two dilations further on both axes.
        assert_eq!(of([3, 3], 1, 1, [2, 2]).offset(8, 3), [3, 3]);
        assert_eq!(of([3, 3], 1, 1, [4, 4]).offsets().len(), 36);
        assert_eq!(of([3, 2], 2, 1, [2, 2]).offset(3, 3), [3, 3]);
        for (taps, stride, dilation, outputs) in [
            ([1, 7], 2, 1, [1, 4]),
            ([1, 3], 1, 16, [1, 8]),
            ([1, 2], 4, 1, [1, 3]),
            ([1, 3], 3, 2, [1, 2]),
            ([1, 1], 1, 1, [1, 1]),
            ([3, 3], 1, 1, [4, 7]),
            ([3, 2], 2, 1, [2, 4]),
            ([2, 5], 3, 2, [3, 3]),
        ] {
            let strip = of(taps, stride, dilation, outputs);
            assert_eq!(strip.inputs(), strip.offsets().len() as u64, "{strip:?}");
        }
    }
}
