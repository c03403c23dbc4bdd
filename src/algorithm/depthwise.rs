//! Convolution in register patches of one output channel: depthwise layers with any channel multiplier, kernel, stride and dilation, and
//! layers whose groups have one, two or three output channels.
//!
//! Nothing is shared between channels, so a matrix product would be one row high. What can be saved is loads: an invocation walks down a
//! patch of outputs of one channel. Each row of inputs is loaded once, by fours where rows begin at multiples of 4, for all columns of the
//! patch and for all rows of outputs that see it: those are the sums that it holds, and they move on by one when the oldest is finished.
//! The walk over a small patch is written out for GPUs, which then load all rows ahead.
//!
//! What a step sums comes in slices: input channels, taps on z and, of a kernel that does not fit registers, single rows of taps or parts
//! of them. The patches of a transposed convolution are those of one phase each, which is a convolution with fewer taps.
//!
//! Outputs of an invocation lie `spread` apart, so that inputs of neighbours are a whole number (`share`) of dilations apart and are
//! shared whatever the dilation is. Sums and inputs have names in the text: compilers leave long loops as they are, and arrays that those
//! index in memory, where a 7x7 kernel was eight times slower on lavapipe.

use std::fmt::Write as _;

use super::cost::{Operations, cheapest_first};
use super::patch::{Overlap, PatchTile, RowFours};
use super::plan::{Packing, Step};
use super::{Context, Parts};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, MAIN, Slot, Stores, vectors};
use crate::layout::Layout;
use crate::limits::DeviceClass;
use crate::problem::Layer;

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// The most outputs from the first of a patch to the last, on an axis: so many past the end are still a number of 32 bits.
const MAX_FAR: u64 = 1 << 24;

/// The most inputs of a row that an invocation holds in registers.
const MAX_SPAN: u64 = 64;

/// The most products, and the most loads, that are written out: compile time grows with them. 13x13 taps take 2.2 s on Mesa 25.0.7, and 15x15,
/// which no longer fit, 3.2 s.
const MAX_PRODUCTS: u64 = 1024;
const MAX_LOADS: u64 = 230;

/// The most output channels of a group that has several input channels: products of matrices have tiles at least four high.
const MAX_GROUP_OUT: u32 = 3;

/// The most columns of a patch of four channels: its sums, inputs and weights stay in registers.
pub(super) const MAX_FOURS: u32 = 4;

const TILES: [[u32; 2]; 11] = [[1, 1], [1, 4], [2, 2], [4, 4], [7, 4], [7, 7], [14, 4], [14, 7], [14, 8], [28, 4], [28, 8]];

/// Patches for GPUs besides, whose neighbours load neighbours.
const NARROW: [[u32; 2]; 3] = [[4, 1], [8, 1], [4, 2]];

/// The most loads of a walk that is written out for a GPU, so that a row need not wait for the one before.
const MAX_AHEAD: u64 = 96;

/// Rows of a patch that a plane has.
fn rows_of_outputs(geometry: &Geometry, tile: PatchTile) -> u32 {
    tile.y.min(geometry.phase_output()[1].div_ceil(overlap(geometry, 1).spread))
}

fn overlap(geometry: &Geometry, axis: usize) -> Overlap {
    Overlap::of(geometry, axis)
}

/// What a patch sums at once of each of its rows: a part of the taps of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    /// Taps on y: all, or one.
    rows: u32,
    /// Taps on x: all, or a part, of which the last may have fewer.
    columns: u32,
    /// Slices: input channels, taps on z, parts of the taps on y, and on x.
    count: [u32; 4],
}

impl Slice {
    /// The largest that fits registers.
    fn new(geometry: &Geometry, tile: PatchTile) -> Option<Self> {
        let [z, y, x] = geometry.phase_taps();
        let wide = u64::from(tile.x - 1) * u64::from(overlap(geometry, 2).share);
        let of = |rows: u32, columns: u32| {
            let count = [geometry.group_in(), z, y.div_ceil(rows), x.div_ceil(columns)];
            Self { rows, columns, count }
        };
        let whole = of(y, x);
        let (taps, span) = (u64::from(y) * u64::from(x), wide + u64::from(x));
        let loads = taps + u64::from(whole.rows_of_inputs(geometry)) * span;
        if span <= MAX_SPAN && u64::from(tile.x) * taps <= MAX_PRODUCTS && loads <= MAX_LOADS {
            return Some(whole);
        }
        // A row of taps, or parts of one that are as long as each other, but for the last.
        let room = MAX_SPAN.checked_sub(wide)?.min((MAX_LOADS - wide) / 2).min(MAX_PRODUCTS / u64::from(tile.x));
        let longest = u32::try_from(room).ok().filter(|&room| room > 0)?;
        Some(of(1, x.div_ceil(x.div_ceil(longest))))
    }

    fn slices(&self) -> u64 {
        self.count.iter().map(|&count| u64::from(count)).product()
    }

    /// Which of them a loop goes through. It also leaves out the only tap on z where some phases have none.
    fn loops(&self, geometry: &Geometry) -> [bool; 4] {
        let [channels, z, y, x] = self.count.map(|count| count > 1);
        [channels, z || geometry.kernel[0] < geometry.tap_step()[0], y, x]
    }

    /// Whether there is one, and no loop.
    fn is_alone(&self, geometry: &Geometry) -> bool {
        !self.loops(geometry).contains(&true)
    }

    /// Inputs of a row that the patch sees, in steps of the dilation.
    fn span(&self, geometry: &Geometry, tile: PatchTile) -> u64 {
        u64::from(tile.x - 1) * u64::from(overlap(geometry, 2).share) + u64::from(self.columns)
    }

    /// Which of them are loaded four at a time: where parts of a row of taps take turns, their inputs begin anywhere.
    fn fours(&self, geometry: &Geometry, tile: PatchTile) -> RowFours {
        if tile.channels > 1 || self.count[3] > 1 {
            return RowFours::NONE;
        }
        RowFours::new(geometry, tile.x, geometry.stride[2], self.columns)
    }

    /// Rows of inputs that are loaded between two rows of outputs: not those that a long stride steps over.
    fn rows_of_inputs(&self, geometry: &Geometry) -> u32 {
        overlap(geometry, 1).share.min(self.rows)
    }

    /// Rows of outputs that one row of inputs may meet.
    fn live(&self, geometry: &Geometry) -> u32 {
        self.rows.div_ceil(overlap(geometry, 1).share)
    }

    /// Whether all slices, or all phases, have this tap on y.
    fn has_row(&self, geometry: &Geometry, tap: u32) -> bool {
        self.count[2] > 1 || tap < geometry.least_phase_taps()[1]
    }

    /// The same of a tap on x.
    fn has_column(&self, geometry: &Geometry, tap: u32) -> bool {
        (self.count[3] - 1) * self.columns + tap < geometry.least_phase_taps()[2]
    }
}

pub(super) fn supports(context: &Context) -> Result<(), String> {
    let Layer::Conv(_) = context.problem.layer else { return Err("the layer is not a convolution".into()) };
    let geometry = context.geometry;
    let (group_in, group_out) = (geometry.group_in(), geometry.group_out());
    if group_in > 1 && group_out > MAX_GROUP_OUT {
        let why = format!(
            "groups have {group_in} input and {group_out} output channels, but it is for 1, or for at most {MAX_GROUP_OUT}"
        );
        return Err(why);
    }
    if group_in > 1 && geometry.taps() == 1 {
        return Err("one tap of several channels has no inputs to share".into());
    }
    if geometry.tap_step() != geometry.input_dilation {
        return Err("a stride and a dilation of a transposed convolution share a factor: some outputs meet no input".into());
    }
    Ok(())
}

/// Whether four channels of an input are neighbours that four channels of the output are made from.
fn has_vectors(geometry: &Geometry) -> bool {
    let alone = geometry.group_in() == 1 && geometry.group_out() == 1;
    geometry.input_layout == Layout::ChannelsLast && alone && geometry.in_channels.is_multiple_of(4)
}

/// What a tile sums at once, if it takes the layer.
fn slice_of(geometry: &Geometry, tile: PatchTile) -> Option<Slice> {
    let channels = tile.channels == 1 || has_vectors(geometry);
    let far = |axis: usize, outputs: u32| u64::from(overlap(geometry, axis).spread) * u64::from(outputs);
    let counted = far(1, tile.y).max(far(2, tile.x)) <= MAX_FAR && invocations(geometry, tile) <= i32::MAX as u64;
    (channels && counted).then(|| Slice::new(geometry, tile)).flatten()
}

pub(super) fn tiles(context: &Context) -> Vec<(Operations, PatchTile)> {
    let narrow = if is_software(context) { &[] } else { NARROW.as_slice() };
    let scalar = TILES.iter().chain(narrow).filter_map(|numbers| PatchTile::from_numbers(numbers, MAX_FOURS));
    let vectors = TILES.iter().filter_map(|&[y, x]| PatchTile::from_numbers(&[y, x, 4], MAX_FOURS));
    let fitting = scalar.chain(vectors).filter_map(|tile| Some((cost(context, tile, &slice_of(context.geometry, tile)?), tile)));
    cheapest_first(context.limits.class, fitting)
}

fn is_software(context: &Context) -> bool {
    context.limits.class == DeviceClass::Software
}

/// Whether all rows of a patch are written out, and not turns of a loop.
fn is_written_out(context: &Context, tile: PatchTile, slice: &Slice) -> bool {
    let geometry = context.geometry;
    let steps = u64::from(rows_of_outputs(geometry, tile) + slice.live(geometry) - 1);
    let loads = steps * u64::from(slice.rows_of_inputs(geometry)) * slice.span(geometry, tile) * u64::from(tile.channels);
    context.limits.overlaps_loads() && slice.is_alone(geometry) && loads <= MAX_AHEAD
}

/// Invocations in all, or as many as 64 bits count.
fn invocations(geometry: &Geometry, tile: PatchTile) -> u64 {
    let outputs = geometry.phase_output();
    let blocks = |axis: usize, tile: u32| overlap(geometry, axis).blocks(outputs[axis], tile);
    let planes = [geometry.batch, geometry.out_channels / tile.channels, outputs[0]].map(u64::from);
    let factors = planes.into_iter().chain(geometry.phases().map(u64::from)).chain([blocks(1, tile.y), blocks(2, tile.x)]);
    factors.fold(1, u64::saturating_mul)
}

/// How outputs are stored: four channels at once, or neighbours in a row, all of them outputs, at a multiple of 4. A picture, whose texels
/// are stored one by one, has no second channel in a row here, and no more than four.
fn stores(geometry: &Geometry, tile: PatchTile) -> Stores {
    let first = geometry.output_layout == Layout::ChannelsFirst;
    let whole = tile.x.is_multiple_of(4) && geometry.output[2].is_multiple_of(4);
    let in_row = first && whole && overlap(geometry, 2).spread == 1 && !geometry.is_phased();
    match tile.channels {
        4 if !first && geometry.out_channels > 4 => Stores::Channels,
        1 if in_row && geometry.out_channels > 1 => Stores::Columns,
        _ => Stores::One,
    }
}

/// What it does.
fn cost(context: &Context, tile: PatchTile, slice: &Slice) -> Operations {
    use Operations as Of;
    let geometry = context.geometry;
    let slices = slice.slices() as f64;
    let taps = f64::from(slice.rows) * f64::from(slice.columns);
    let rows = rows_of_outputs(geometry, tile);
    let steps = f64::from(rows + slice.live(geometry) - 1);
    let inputs = f64::from(slice.rows_of_inputs(geometry)) * slice.fours(geometry, tile).loads(slice.span(geometry, tile) as f64);
    // A slice's weights stay in registers where there is one slice. Bounds cost about a tenth of a load.
    let weights = if slices > 1.0 { steps * taps * slices } else { taps };
    let (load, channels) = (if tile.channels == 4 { Of::LOAD4 } else { Of::LOAD }, f64::from(tile.channels));
    let stores = Of::stores(f64::from(rows * tile.x), stores(geometry, tile) != Stores::One);
    // Its phase, and where the phase begins.
    let start = Of::ADDRESS * if geometry.is_phased() { 4.0 } else { 0.0 };
    let others = start + stores + Of::FMA * (steps * slices * f64::from(tile.x) * taps);
    // With channels last, what neighbouring invocations load one by one lies a row of channels apart: measured on lavapipe, twice as
    // long for the whole layer.
    let scattered = tile.channels == 1 && geometry.input_layout == Layout::ChannelsLast;
    let scatter = match (scattered, is_software(context)) {
        (true, _) => 2.5,
        (false, true) => 1.0,
        // A GPU fetches as many sectors for neighbours as the loads of one lie apart.
        (false, false) => (f64::from(tile.x) * f64::from(geometry.stride[2])).min(8.0).sqrt(),
    };
    let per_thread = load * (1.1 * scatter * steps * slices * inputs + weights) + others * channels;
    let workgroups = invocations(geometry, tile).div_ceil(u64::from(WORKGROUP));
    Of::total(context.limits, workgroups, f64::from(WORKGROUP), per_thread)
}

pub(super) fn plan(context: &Context, tile: &PatchTile) -> Result<Parts> {
    let geometry = context.geometry;
    let slice = slice_of(geometry, *tile).ok_or_else(|| {
        crate::Error::unsupported(
            "algorithm",
            format!("depthwise({tile}) needs more registers, or indices, than it may for `{}`", context.problem),
        )
    })?;
    let lanes = if tile.channels == 4 {
        include_str!("../../shaders/lib/lanes_4.wgsl")
    } else {
        include_str!("../../shaders/lib/lanes_1.wgsl")
    };
    let kernel = Kernel::new(format!("conv_depthwise {} {tile}", context.dtype()), context.dtype(), WORKGROUP)
        .constant("TILE_Y", tile.y)
        .constant("TILE_X", tile.x)
        .constant("SPREAD_Y", overlap(geometry, 1).spread)
        .constant("SPREAD_X", overlap(geometry, 2).spread)
        .constant("CHANNELS", tile.channels)
        .flag("PHASED", geometry.is_phased());
    let vectors = vectors(context.dtype());
    let (kernel, weights) = match tile.channels {
        4 => (kernel.binding("input", vectors, Slot::Input), vectors),
        _ if slice.fours(geometry, *tile).is_none() => (kernel.input(Slot::Input), "array<Elem>"),
        _ => {
            let kernel = kernel.input_in_fours(Slot::Input);
            (kernel.fragment(include_str!("../../shaders/lib/row_fours.wgsl")), "array<Elem>")
        }
    };
    let kernel = kernel.binding("weights", weights, Slot::Weights);
    let kernel = kernel.with_geometry(geometry, context.mode);
    let stores = stores(geometry, *tile);
    let kernel = kernel.with_epilogue(context.epilogue(), Slot::Output, stores);
    let kernel = match stores {
        Stores::One if tile.channels == 4 => kernel.fragment(include_str!("../../shaders/lib/store_lanes.wgsl")),
        _ => kernel,
    };
    let kernel = kernel
        .iterations(iterations(geometry, *tile, &slice))
        .fragment(include_str!("../../shaders/lib/blocks.wgsl"))
        .fragment(lanes)
        .fragment(include_str!("../../shaders/lib/patch.wgsl"))
        .fragment(include_str!("../../shaders/lib/phase.wgsl"))
        .fragment(include_str!("../../shaders/conv_depthwise.wgsl"))
        .fragment(main_function(geometry, *tile, &slice, is_written_out(context, *tile, &slice)));
    let step = Step::new(kernel, invocations(geometry, *tile).div_ceil(u64::from(WORKGROUP)), context.limits)?;
    let packing = if tile.channels == 4 { Packing::Fours } else { Packing::Rows };
    Ok(Parts { steps: vec![step], packing, workspace: Vec::new() })
}

/// The most iterations of an invocation's loops: to find the first taps of a phase, the steps, and the slices of each.
fn iterations(geometry: &Geometry, tile: PatchTile, slice: &Slice) -> u64 {
    let nested = slice.count.iter().rev().fold(0, |inner, &count| u64::from(count) * (inner + 1));
    geometry.first_taps() + u64::from(tile.y + slice.live(geometry)) * (nested + 1)
}

/// The walk: `sum_a_j` is the sum of column `j` of the output row that began `a` steps ago, `v_r_i` the input `i` of a row.
fn main_function(geometry: &Geometry, tile: PatchTile, slice: &Slice, written_out: bool) -> String {
    let last = slice.live(geometry) - 1;
    let mut text = String::from(MAIN);
    text += "    @builtin(local_invocation_id) local_id: vec3<u32>,\n\
         ) {\n\
         \x20   let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);\n\
         \x20   if (index < 0) {\n\
         \x20       return;\n\
         \x20   }\n\
         \x20   let place = patch_with(index);\n\
         \x20   let ends = output_ends();\n\
         \x20   if (place.item >= g.batch || place.at.x >= ends.x) {\n\
         \x20       return;\n\
         \x20   }\n\
         \x20   let at = first_source(place.at);\n\
         \x20   let taps = tap_counts();\n";
    for (age, j) in (0..=last).flat_map(|age| (0..tile.x).map(move |j| (age, j))) {
        text += &format!("    var sum_{age}_{j} = Lanes();\n");
    }
    if slice.is_alone(geometry) {
        text += &weights(geometry, slice, ["0"; 4]);
    }
    let body = step(geometry, tile, slice, written_out);
    if written_out {
        for step in 0..rows_of_outputs(geometry, tile) + last {
            text += &format!("    {{\n        let step = {step};\n{body}    }}\n");
        }
    } else {
        text += "    let outputs = min(TILE_Y, (ends.y - place.at.y + SPREAD_Y - 1) / SPREAD_Y); // rows of the patch\n";
        text += &format!("    for (var step = 0; step < outputs + {last}; step += 1) {{\n{body}    }}\n");
    }
    text + "}\n"
}

/// The weights of the slice that these say: an input channel of the group, and the first taps on z, y and x. Which of them it has, too.
fn weights(geometry: &Geometry, slice: &Slice, [channel, z, y, x]: [&str; 4]) -> String {
    let [_, step_y, step_x] = geometry.tap_step();
    let mut text = format!("    let w = first_weight(place.channel, {channel}, vec3<i32>({z}, {y}, {x}));\n");
    for (row, column) in (0..slice.rows).flat_map(|row| (0..slice.columns).map(move |column| (row, column))) {
        let tap = u64::from(row * step_y) * u64::from(geometry.kernel[2]) + u64::from(column * step_x);
        text += &format!("    let w_{row}_{column} = weight_lanes(w + {tap});\n");
    }
    for row in (0..slice.rows).filter(|&row| !slice.has_row(geometry, row)) {
        text += &format!("    let has_row_{row} = {y} + {row} < taps.y;\n");
    }
    for column in (0..slice.columns).filter(|&column| !slice.has_column(geometry, column)) {
        text += &format!("    let has_column_{column} = {x} + {column} < taps.z;\n");
    }
    text
}

/// A step of the walk: the next rows of inputs, and the row of outputs that they finish.
fn step(geometry: &Geometry, tile: PatchTile, slice: &Slice, written_out: bool) -> String {
    let [share_y, share_x] = [1, 2].map(|axis| overlap(geometry, axis).share);
    let (live, rows, span) = (slice.live(geometry), slice.rows_of_inputs(geometry), slice.span(geometry, tile));
    let last = live - 1;
    let all = |age: u32| (0..tile.x).map(move |j| (age, j));
    let mut text = String::new();
    let mut line = |text_line: String| {
        let _ = writeln!(text, "        {text_line}"); // writing to a String cannot fail
    };
    // The first of each slice on each of its axes, whose loops are only where there are several.
    let loops = [("c", "g.group_in", 1), ("z", "taps.x", 1), ("y", "taps.y", slice.rows), ("x", "taps.z", slice.columns)];
    let looped = slice.loops(geometry);
    for (name, end, by) in (0..4).filter(|&number| looped[number]).map(|number| loops[number]) {
        line(format!("for (var {name} = 0; {name} < {end}; {name} += {by}) {{"));
    }
    line("{".into());
    let first: [&str; 4] = std::array::from_fn(|number| if looped[number] { loops[number].0 } else { "0" });
    if !slice.is_alone(geometry) {
        line(weights(geometry, slice, first));
    }
    let [channel, z, y, x] = first;
    let fours = slice.fours(geometry, tile);
    for part in 0..rows {
        let at_y = format!("at.y + (step * {share_y} + {part} + {y}) * g.source_step.y");
        line(format!("let row_{part} = input_row(place, {channel}, at.x + {z} * g.source_step.x, {at_y});"));
        for first in fours.firsts() {
            line(format!("let four_{part}_{first} = inputs_at(row_{part}, at.z + {first});"));
            for (i, lane) in RowFours::lanes(first) {
                line(format!("let v_{part}_{i} = four_{part}_{first}.{lane};"));
            }
        }
        for i in (0..span).filter(|&i| !fours.has(i)) {
            line(format!("let v_{part}_{i} = input_at(row_{part}, at.z + ({i} + {x}) * g.source_step.z);"));
        }
        for age in 0..live {
            let tap_y = part + age * share_y;
            for tap_x in (0..slice.columns).filter(|_| tap_y < slice.rows) {
                let has = [
                    (!slice.has_row(geometry, tap_y)).then(|| format!("has_row_{tap_y}")),
                    (!slice.has_column(geometry, tap_x)).then(|| format!("has_column_{tap_x}")),
                ];
                let has = has.into_iter().flatten().collect::<Vec<_>>().join(" && ");
                for (age, j) in all(age) {
                    let value = j * share_x + tap_x;
                    let sum = format!("fma(w_{tap_y}_{tap_x}, v_{part}_{value}, sum_{age}_{j})");
                    let sum = if has.is_empty() { sum } else { format!("select(sum_{age}_{j}, {sum}, {has})") };
                    line(format!("sum_{age}_{j} = {sum};"));
                }
            }
        }
    }
    line("}".into());
    for _ in looped.into_iter().filter(|&looped| looped) {
        line("}".into());
    }
    line(format!("let y = place.at.y + (step - {last}) * SPREAD_Y;"));
    // Before that, the oldest sums are those of rows above the patch. Without a loop, which ends with the patch, some rows may be below it.
    let above = if written_out { " && y < ends.y" } else { "" };
    line(format!("if (step >= {last}{above}) {{"));
    line("    let row = output_row(place, y);".into());
    let (width, store) = match stores(geometry, tile) {
        Stores::Columns => (4, "store_4"),
        Stores::Channels => (1, "store_4"),
        Stores::One if tile.channels == 1 => (1, "store"),
        Stores::One => (1, "store_lanes"),
    };
    for j in (0..tile.x).step_by(width as usize) {
        let sums = (j..j + width).map(|j| format!("sum_{last}_{j}")).collect::<Vec<_>>().join(", ");
        let sums = if width == 1 { sums } else { format!("vec4<f32>({sums})") };
        line(format!("    let x_{j} = place.at.z + {j} * SPREAD_X;"));
        line(format!("    if (x_{j} < ends.z) {{"));
        line(format!("        {store}({sums}, place.channel, row + output_column(x_{j}));"));
        line("    }".into());
    }
    line("}".into());
    for (age, j) in (0..live).rev().flat_map(all) {
        let next = if age > 0 { format!("sum_{}_{j}", age - 1) } else { "Lanes()".into() };
        line(format!("sum_{age}_{j} = {next};"));
    }
    text
}
