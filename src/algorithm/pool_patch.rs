//! Pooling in register patches: sliding windows of any rank, stride and dilation.
//!
//! What a pooling costs is loads, and its windows overlap. An invocation walks down the outputs of some columns; it loads a row of
//! inputs once for all of them, reduces it along x, and joins that to what the windows that see it have found. A window that is too
//! large for registers belongs to `pool` and `pool_tree`.

use super::cost::{Operations, cheapest_first};
use super::patch::{Overlap, PatchTile, RowFours};
use super::{Context, Parts, pool};
use crate::desc::{PoolDesc, PoolKind};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{VALUE_1, VALUE_4, vectors};
use crate::layout::Layout;
use crate::limits::DeviceClass;
use crate::problem::Layer;

const WORKGROUP: u32 = 64;

/// The most elements that the windows of a row of outputs see where windows share rows, or that they see of a row: larger patches are not measured.
const MAX_SEEN: u64 = 176;

/// The most columns of a row: Mesa unrolls no loop of many more turns, and an array that is indexed by a variable lies in memory. Measured on
/// averages: 24 are fast on 22.3.6 and 25.0.7, 26 take five times as long on the first, 27 twice on the second.
const MAX_COLUMNS: u64 = 24;

/// The most elements that all columns of a maximum combine from a row, for the same reason. Measured: 24 with positions, and 32
/// without, take ten times as long as they should; sums are shorter, and have no such limit.
const MAX_JOINS: u32 = 20;

/// The most columns of a patch of four channels, which takes four times the registers. Measured on both versions of lavapipe: four columns
/// of 3x3 at stride 2 take 1.2 to 1.5 times as long as two, and of 2x2x2 1.2 to 1.4 times.
pub(super) const MAX_FOURS: u32 = 2;

/// The most elements of a window, where windows share no rows, that a compiler unrolls.
const MAX_UNROLLED: u64 = 49;

/// The most rows of a window that a loop without such copies goes through.
const MAX_ROWS: u64 = 4096;

const TILES: [[u32; 2]; 13] =
    [[1, 1], [1, 2], [1, 4], [1, 8], [4, 1], [8, 1], [14, 1], [4, 2], [14, 2], [4, 4], [7, 4], [8, 4], [14, 4]];

/// The windows of one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    outputs: u32,
    kernel: u32,
    stride: u32,
    overlap: Overlap,
}

impl Axis {
    fn new(geometry: &Geometry, axis: usize) -> Self {
        // Adaptive windows that are accepted here are as far apart as they are long.
        let stride = if geometry.adaptive { geometry.kernel[axis] } else { geometry.stride[axis] };
        let overlap = Overlap::new(stride, geometry.dilation[axis]);
        Self { outputs: geometry.output[axis], kernel: geometry.kernel[axis], stride, overlap }
    }

    /// Loaded inputs between the windows of two neighbours.
    fn step(self) -> u32 {
        self.overlap.share.min(self.kernel)
    }

    /// Inputs that `tile` outputs see.
    fn span(self, tile: u32) -> u64 {
        u64::from(tile - 1) * u64::from(self.step()) + u64::from(self.kernel)
    }

    /// Inputs of a window that none before it has seen, where there is one before it.
    fn fresh(self, tile: u32) -> u32 {
        if tile > 1 { self.step() } else { self.kernel }
    }
}

/// A tile on a layer.
struct Patch {
    z: Axis,
    y: Axis,
    x: Axis,
    tile: PatchTile,
}

impl Patch {
    fn new(geometry: &Geometry, tile: PatchTile) -> Self {
        let [z, y, x] = [0, 1, 2].map(|axis| Axis::new(geometry, axis));
        Self { z, y, x, tile }
    }

    /// The most windows that see a row: one, unless neighbours share some.
    fn open(&self) -> u32 {
        self.y.kernel.div_ceil(self.y.fresh(self.tile.y))
    }

    /// Elements of the rows of a window, if the next one shares some, or of one row.
    fn seen(&self) -> u64 {
        let rows = if self.open() > 1 { u64::from(self.y.kernel) } else { 1 };
        rows * self.x.span(self.tile.x)
    }

    /// Which inputs of a row are loaded four at a time.
    fn fours(&self, geometry: &Geometry) -> RowFours {
        if self.tile.channels > 1 {
            return RowFours::NONE;
        }
        RowFours::new(geometry, self.tile.x, self.x.stride, self.x.kernel)
    }

    fn fits(&self, context: &Context) -> bool {
        let maximum = matches!(context.problem.layer, Layer::Pool(PoolDesc { kind: PoolKind::Max { .. }, .. }));
        let joins = self.tile.x * self.x.kernel;
        // What a row and its windows take of registers. Measured on Mesa 22.3.6, which its arrays tell: two columns of 9x9 take twice as long as
        // one, and of 7x7 as long; of four channels, on 25.0.7 too, two columns of 5x5 take 1.6 times as long as one, and are faster of 3x3.
        let room = u64::from(joins) * u64::from(self.y.kernel) * u64::from(self.tile.channels);
        let spills = self.tile.channels == 4 || (maximum && context.limits.loops_over_lanes);
        let tall = spills && self.tile.x > 1 && room > 100;
        let fours = self.tile.channels == 1 || has_fours(context);
        // Windows that see a row move up by one in a loop that has to be unrolled.
        let shifts = u64::from(self.open()) <= MAX_COLUMNS;
        !tall
            && fours
            && shifts
            && self.seen() <= MAX_SEEN
            && self.x.span(self.tile.x) <= MAX_COLUMNS
            && (self.tile.x == 1 || !maximum || joins <= MAX_JOINS)
            && u64::from(self.y.kernel) * u64::from(self.z.kernel) <= MAX_ROWS
    }

    fn invocations(&self, geometry: &Geometry) -> u64 {
        let channels = u64::from(geometry.out_channels / self.tile.channels);
        let planes = u64::from(geometry.batch) * channels * u64::from(geometry.output[0]);
        planes * self.y.overlap.blocks(self.y.outputs, self.tile.y) * self.x.overlap.blocks(self.x.outputs, self.tile.x)
    }

    fn workgroups(&self, geometry: &Geometry) -> u64 {
        self.invocations(geometry).div_ceil(u64::from(WORKGROUP))
    }
}

/// Whether four channels are neighbours, of which nobody wants positions.
fn has_fours(context: &Context) -> bool {
    let geometry = context.geometry;
    let last = geometry.input_layout == Layout::ChannelsLast && geometry.out_channels.is_multiple_of(4);
    last && context.problem.indices().is_none()
}

pub(super) fn supports(context: &Context) -> Result<(), String> {
    pool::supports(context)?;
    let geometry = context.geometry;
    if geometry.adaptive && (0..3).any(|axis| !geometry.input[axis].is_multiple_of(geometry.output[axis])) {
        return Err("adaptive windows of different sizes share no rows".into());
    }
    let [z, y, x] = geometry.kernel;
    if !Patch::new(geometry, PatchTile { y: 1, x: 1, channels: 1 }).fits(context) {
        return Err(format!("a {z}x{y}x{x} window does not fit registers"));
    }
    Ok(())
}

pub(super) fn tiles(context: &Context) -> Vec<(Operations, PatchTile)> {
    let fours = TILES.iter().filter_map(|&[y, x]| PatchTile::from_numbers(&[y, x, 4], MAX_FOURS));
    let tiles = TILES.iter().filter_map(|numbers| PatchTile::from_numbers(numbers, MAX_FOURS)).chain(fours);
    let fitting = tiles.filter(|&tile| {
        let patch = Patch::new(context.geometry, tile);
        // Outputs below one another that share no rows gain nothing by being many.
        patch.fits(context) && (tile.y == 1 || patch.open() > 1)
    });
    cheapest_first(context.limits.class, fitting.map(|tile| (cost(context, tile), tile)))
}

/// What it does.
fn cost(context: &Context, tile: PatchTile) -> Operations {
    use Operations as Of;
    let geometry = context.geometry;
    let patch = Patch::new(geometry, tile);
    let slices = f64::from(patch.z.kernel);
    let (rows, columns) = (patch.y.span(tile.y) as f64, patch.fours(geometry).loads(patch.x.span(tile.x) as f64));
    let outputs = f64::from(tile.y * tile.x);
    // Neighbouring invocations read so far apart: a GPU fetches as many sectors for them.
    let scatter = match context.limits.class {
        DeviceClass::Software => 1.0,
        DeviceClass::Integrated | DeviceClass::Discrete => (f64::from(tile.x) * f64::from(patch.x.stride)).min(8.0).sqrt(),
    };
    // A turn of a loop that is not unrolled costs what it does in `pool`, and a single output shares nothing.
    let long = u64::from(patch.y.kernel) * patch.x.span(tile.x) > MAX_UNROLLED;
    let rolled = outputs == 1.0 || (patch.open() == 1 && long);
    let per_load = scatter * if rolled { 1.5 } else { 1.0 };
    let joined = slices * rows * f64::from(tile.x * patch.x.kernel) + outputs * f64::from(patch.y.kernel);
    let channels = f64::from(tile.channels);
    let load = if tile.channels == 4 { Of::LOAD4 } else { Of::LOAD };
    let stores = Of::stores(outputs * channels, tile.channels == 4 && geometry.output_layout == Layout::ChannelsLast);
    let per_thread = load * (slices * rows * columns * per_load) + Of::LOAD * 4.0 + stores + Of::FMA * (3.0 * joined * channels);
    let total = Of::total(context.limits, patch.workgroups(geometry), f64::from(WORKGROUP), per_thread);
    // Rows of several slices do not come in the order of positions, and comparing those too leaves the registers: measured on lavapipe,
    // 3 to 5 times slower than `pool`.
    if context.problem.indices().is_some() && patch.z.kernel > 1 { total * 8.0 } else { total }
}

/// Whether no window leaves the input, so that nothing has to be left out or counted.
fn is_whole(geometry: &Geometry) -> bool {
    geometry.adaptive
        || (0..3).all(|axis| {
            let start = i64::from(geometry.output[axis] - 1) * i64::from(geometry.stride[axis]);
            let last = start + i64::from(geometry.kernel[axis] - 1) * i64::from(geometry.dilation[axis]);
            let (begin, end) = (i64::from(geometry.pad_begin[axis]), geometry.pad_end[axis]);
            begin <= 0 && end >= 0 && last - begin < i64::from(geometry.input[axis])
        })
}

/// What a kernel loads and stores, and how: one output, four neighbours, or four that lie in as many planes.
fn stored(context: &Context, tile: PatchTile, by_fours: bool) -> (pool::Types, &'static str) {
    const ONE: &str = "\
fn put(at: i32, found: f32) {
    output[at] = Elem(found);
}";
    const LAST: &str = "\
fn put(at: i32, found: vec4<f32>) {
    put_output_4(u32(at) / 4, vec4<Elem>(found));
}";
    const FIRST: &str = "\
fn put(at: i32, found: vec4<f32>) {
    let step = output_channel_step();
    output[at] = Elem(found.x);
    output[at + step] = Elem(found.y);
    output[at + 2 * step] = Elem(found.z);
    output[at + 3 * step] = Elem(found.w);
}";
    let fours = vectors(context.dtype());
    match (tile.channels, context.geometry.output_layout) {
        (1, _) if by_fours => (pool::Types { input: fours, ..pool::Types::ONE }, ONE),
        (1, _) => (pool::Types::ONE, ONE),
        (_, Layout::ChannelsLast) => (pool::Types { input: fours, output: fours, fours: true }, LAST),
        (_, Layout::ChannelsFirst) => (pool::Types { input: fours, output: "array<Elem>", fours: true }, FIRST),
    }
}

pub(super) fn plan(context: &Context, tile: &PatchTile) -> Result<Parts> {
    let geometry = context.geometry;
    let patch = Patch::new(geometry, *tile);
    if !patch.fits(context) {
        let why = match tile.channels {
            4 if !has_fours(context) => "takes fours of channels that are last, without positions, and those are not",
            _ => "needs more registers than it may for",
        };
        return Err(crate::Error::unsupported("algorithm", format!("pool_patch({tile}) {why} `{}`", context.problem)));
    }
    let Patch { z, y, x, .. } = patch;
    let fours = patch.fours(geometry);
    let (types, put) = stored(context, *tile, !fours.is_none());
    let kernel = pool::kernel(context, &format!("pool_patch {tile}"), types, WORKGROUP)?
        .constant("KERNEL_Z", z.kernel)
        .constant("KERNEL_Y", y.kernel)
        .constant("KERNEL_X", x.kernel)
        .constant("STRIDE_Z", z.stride)
        .constant("STRIDE_Y", y.stride)
        .constant("STRIDE_X", x.stride)
        .constant("CHANNELS", tile.channels)
        .constant("TILE_Y", tile.y)
        .constant("TILE_X", tile.x)
        .constant("SPREAD_Y", y.overlap.spread)
        .constant("SPREAD_X", x.overlap.spread)
        .constant("SHARE_Y", y.overlap.share)
        .constant("SHARE_X", x.overlap.share)
        .constant("STEP_X", x.step())
        .constant("COLUMNS", i64::try_from(x.span(tile.x)).expect("it fits registers"))
        .constant("FRESH", y.fresh(tile.y))
        .constant("OPEN", patch.open())
        .flag("INDEXED", context.problem.indices().is_some())
        .flag("WHOLE", is_whole(geometry))
        .fragment(put)
        .fragment(include_str!("../../shaders/lib/blocks.wgsl"))
        .fragment(include_str!("../../shaders/lib/patch.wgsl"))
        .fragment(include_str!("../../shaders/pool_patch.wgsl"));
    let mut kernel = if fours.is_none() {
        let value = if tile.channels == 4 { VALUE_4 } else { VALUE_1 };
        kernel.fragment(value).fragment(include_str!("../../shaders/lib/pool_row.wgsl"))
    } else {
        let kernel = kernel.constant("BEFORE", fours.before).constant("FOURS", fours.count);
        kernel.fragment(include_str!("../../shaders/lib/pool_row_fours.wgsl"))
    };
    let [tile_y, tile_x, open] = [tile.y, tile.x, patch.open()].map(u64::from);
    // Elements of a row, and of the windows in it; windows moved up, and joined to the row.
    let per_row = u64::from(z.kernel) * (x.span(tile.x) + tile_x * (u64::from(x.kernel) + 2) + 4) + open * (tile_x + 3);
    // A window counted and stored.
    let per_window = u64::from(y.kernel) + tile_x + 2;
    let counted = tile_x * u64::from(x.kernel) + u64::from(z.kernel);
    kernel.iterations = y.span(tile.y) * per_row + tile_y * per_window + counted + 64;
    pool::parts(kernel, patch.workgroups(geometry), context.limits)
}
