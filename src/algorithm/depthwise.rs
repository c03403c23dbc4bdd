//! Depthwise convolution in register patches: one input channel to a group, any channel multiplier, kernel, stride and dilation.
//!
//! Nothing is shared between channels, so a matrix product would be one row high. What can be saved is loads: an invocation walks down a
//! patch of outputs of one channel. Each row of inputs is loaded once, for all columns of the patch and for all rows of outputs that see
//! it: those are the sums that it holds, and they move on by one when the oldest is finished. The walk over a small patch is written out
//! for GPUs, which then load all rows ahead.
//!
//! Outputs of an invocation lie `spread` apart, so that inputs of neighbours are a whole number (`share`) of dilations apart and are
//! shared whatever the dilation is. Sums and inputs have names in the text: compilers leave long loops as they are, and arrays that those
//! index in memory, where a 7x7 kernel was eight times slower on lavapipe.

use std::fmt::{self, Write as _};

use super::cost::{Operations, cheapest_first};
use super::patch::Overlap;
use super::plan::{Packing, Step, fold};
use super::{Context, Parts};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, MAIN, Slot, vectors};
use crate::layout::Layout;
use crate::limits::DeviceClass;
use crate::problem::Layer;

/// The outputs that an invocation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DepthwiseTile {
    /// Rows of the patch.
    pub y: u32,
    /// Columns of the patch.
    pub x: u32,
    /// Channels that are computed at once: 1, or 4 where channels are last.
    pub channels: u32,
}

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// The most inputs of a row that an invocation holds in registers.
const MAX_SPAN: u64 = 64;

/// The most products, and the most loads, that are written out: compile time grows with them.
const MAX_PRODUCTS: u64 = 1024;
const MAX_LOADS: u64 = 256;

/// The most columns of a patch of four channels: its sums, inputs and weights stay in registers.
const MAX_COLUMNS: u32 = 4;

const TILES: [[u32; 2]; 11] = [[1, 1], [1, 4], [2, 2], [4, 4], [7, 4], [7, 7], [14, 4], [14, 7], [14, 8], [28, 4], [28, 8]];

/// Patches for GPUs besides, whose neighbours load neighbours.
const NARROW: [[u32; 2]; 3] = [[4, 1], [8, 1], [4, 2]];

/// The most loads of a walk that is written out for a GPU, so that a row need not wait for the one before.
const MAX_AHEAD: u64 = 96;

impl fmt::Display for DepthwiseTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.y, self.x)?;
        if self.channels == 1 { Ok(()) } else { write!(f, ",{}", self.channels) }
    }
}

impl DepthwiseTile {
    pub(super) fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let (y, x, channels) = match *numbers {
            [y, x] => (y, x, 1),
            [y, x, 4] if x <= MAX_COLUMNS => (y, x, 4),
            _ => return None,
        };
        ((1..=64).contains(&y) && (1..=16).contains(&x)).then_some(Self { y, x, channels })
    }

    /// Inputs of a row that the patch sees, in steps of the dilation.
    fn span(self, geometry: &Geometry) -> u64 {
        u64::from(self.x - 1) * u64::from(overlap(geometry, 2).share) + u64::from(geometry.kernel[2])
    }

    /// Rows of the patch that a plane has.
    fn rows_of_outputs(self, geometry: &Geometry) -> u32 {
        self.y.min(geometry.output[1].div_ceil(overlap(geometry, 1).spread))
    }

    /// Rows of inputs that are loaded between two rows of outputs: not those that a long stride steps over.
    fn rows(geometry: &Geometry) -> u32 {
        overlap(geometry, 1).share.min(geometry.kernel[1])
    }

    /// Rows of outputs that one row of inputs may meet.
    fn live(geometry: &Geometry) -> u32 {
        geometry.kernel[1].div_ceil(overlap(geometry, 1).share)
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
    if !fits(geometry, DepthwiseTile { y: 1, x: 1, channels: 1 }) {
        return Err(format!("a {}x{} kernel does not fit registers", geometry.kernel[1], geometry.kernel[2]));
    }
    Ok(())
}

/// Whether four channels of an input are neighbours that four channels of the output are made from.
fn has_vectors(geometry: &Geometry) -> bool {
    geometry.input_layout == Layout::ChannelsLast && geometry.group_out() == 1 && geometry.in_channels.is_multiple_of(4)
}

fn fits(geometry: &Geometry, tile: DepthwiseTile) -> bool {
    let taps = u64::from(geometry.kernel[1]) * u64::from(geometry.kernel[2]);
    let span = tile.span(geometry);
    let loads = taps + u64::from(DepthwiseTile::rows(geometry)) * span;
    let channels = tile.channels == 1 || has_vectors(geometry);
    channels && span <= MAX_SPAN && u64::from(tile.x) * taps <= MAX_PRODUCTS && loads <= MAX_LOADS
}

pub(super) fn tiles(context: &Context) -> Vec<(Operations, DepthwiseTile)> {
    let narrow = if is_software(context) { &[] } else { NARROW.as_slice() };
    let scalar = TILES.iter().chain(narrow).filter_map(|numbers| DepthwiseTile::from_numbers(numbers));
    let vectors = TILES.iter().filter_map(|&[y, x]| DepthwiseTile::from_numbers(&[y, x, 4]));
    let fitting = scalar.chain(vectors).filter(|&tile| fits(context.geometry, tile));
    cheapest_first(context.limits.class, fitting.map(|tile| (cost(context, tile), tile)))
}

fn is_software(context: &Context) -> bool {
    context.limits.class == DeviceClass::Software
}

/// Whether all rows of a patch are written out, and not turns of a loop.
fn is_written_out(context: &Context, tile: DepthwiseTile) -> bool {
    let geometry = context.geometry;
    let steps = u64::from(tile.rows_of_outputs(geometry) + DepthwiseTile::live(geometry) - 1);
    let loads = steps * u64::from(DepthwiseTile::rows(geometry)) * tile.span(geometry) * u64::from(tile.channels);
    !is_software(context) && geometry.kernel[0] == 1 && loads <= MAX_AHEAD
}

/// Invocations in all.
fn invocations(geometry: &Geometry, tile: DepthwiseTile) -> u64 {
    let blocks = |axis: usize, tile: u32| overlap(geometry, axis).blocks(geometry.output[axis], tile);
    let planes = u64::from(geometry.batch) * u64::from(geometry.out_channels) * u64::from(geometry.output[0]);
    planes * blocks(1, tile.y) * blocks(2, tile.x) / u64::from(tile.channels)
}

/// Whether four outputs are stored at once: neighbours in a row, all of them outputs, at a multiple of 4. Stores of one are checked and
/// masked one by one, which takes twice as long on lavapipe. A picture, whose texels are stored one by one, has no second channel here.
fn stores_four(geometry: &Geometry, tile: DepthwiseTile) -> bool {
    let in_row = geometry.output_layout == Layout::ChannelsFirst && overlap(geometry, 2).spread == 1;
    let whole = tile.x.is_multiple_of(4) && geometry.output[2].is_multiple_of(4);
    tile.channels == 1 && in_row && whole && geometry.out_channels > 1
}

/// What it does.
fn cost(context: &Context, tile: DepthwiseTile) -> Operations {
    use Operations as Of;
    let geometry = context.geometry;
    let slices = f64::from(geometry.kernel[0]);
    let taps = f64::from(geometry.kernel[1]) * f64::from(geometry.kernel[2]);
    let rows = tile.rows_of_outputs(geometry);
    let steps = f64::from(rows + DepthwiseTile::live(geometry) - 1);
    let inputs = f64::from(DepthwiseTile::rows(geometry)) * tile.span(geometry) as f64;
    // A slice's weights stay in registers where there is one slice. Bounds cost about a tenth of a load.
    let weights = if slices > 1.0 { steps * taps * slices } else { taps };
    let (load, channels) = (if tile.channels == 4 { Of::LOAD4 } else { Of::LOAD }, f64::from(tile.channels));
    let stores = Of::stores(f64::from(rows * tile.x), stores_four(geometry, tile));
    let others = Of::LOAD * weights + stores + Of::FMA * (steps * slices * f64::from(tile.x) * taps);
    // With channels last, what neighbouring invocations load one by one lies a row of channels apart: measured on lavapipe, twice as
    // long for the whole layer.
    let scattered = tile.channels == 1 && geometry.input_layout == Layout::ChannelsLast;
    let scatter = match (scattered, is_software(context)) {
        (true, _) => 2.5,
        (false, true) => 1.0,
        // A GPU fetches as many sectors for neighbours as the loads of one lie apart.
        (false, false) => (f64::from(tile.x) * f64::from(geometry.stride[2])).min(8.0).sqrt(),
    };
    let per_thread = load * (1.1 * scatter * steps * slices * inputs) + others * channels;
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
        .constant("CHANNELS", tile.channels);
    let kernel = match tile.channels {
        4 => kernel.binding("input", vectors(context.dtype()), Slot::Input),
        _ => kernel.input(Slot::Input),
    };
    let kernel = kernel.binding("weights", "array<Elem>", Slot::Weights).with_geometry(geometry, context.mode);
    let kernel = match stores_four(geometry, *tile) {
        true => kernel.with_epilogue_of_4(context.epilogue(), Slot::Output),
        false => kernel.with_epilogue(context.epilogue(), Slot::Output),
    };
    let kernel = kernel
        .iterations(u64::from(tile.y + DepthwiseTile::live(geometry)) * (u64::from(geometry.kernel[0]) + 1))
        .fragment(include_str!("../../shaders/lib/blocks.wgsl"))
        .fragment(lanes)
        .fragment(include_str!("../../shaders/lib/patch.wgsl"))
        .fragment(include_str!("../../shaders/conv_depthwise.wgsl"))
        .fragment(main_function(geometry, *tile, is_written_out(context, *tile)));
    let grid = fold(invocations(geometry, *tile).div_ceil(u64::from(WORKGROUP)), context.limits.workgroups)?;
    Ok(Parts { steps: vec![Step { kernel, grid }], packing: Packing::Rows, workspace: Vec::new() })
}

/// The walk: `sum_a_j` is the sum of column `j` of the output row that began `a` steps ago, `v_i` the input `i` of a row.
fn main_function(geometry: &Geometry, tile: DepthwiseTile, written_out: bool) -> String {
    let last = DepthwiseTile::live(geometry) - 1;
    let mut text = String::from(MAIN);
    text += "    @builtin(local_invocation_id) local_id: vec3<u32>,\n\
         ) {\n\
         \x20   let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);\n\
         \x20   let place = patch_of(index);\n\
         \x20   if (index < 0 || place.item >= g.batch) {\n\
         \x20       return;\n\
         \x20   }\n\
         \x20   let at = place.at * g.stride - g.pad_begin;\n";
    for (age, j) in (0..=last).flat_map(|age| (0..tile.x).map(move |j| (age, j))) {
        text += &format!("    var sum_{age}_{j} = Lanes();\n");
    }
    if geometry.kernel[0] == 1 {
        text += &weights(geometry, "");
    }
    let body = step(geometry, tile, written_out);
    if written_out {
        for step in 0..tile.rows_of_outputs(geometry) + last {
            text += &format!("    {{\n        let step = {step};\n{body}    }}\n");
        }
    } else {
        text += "    let outputs = min(TILE_Y, (g.output.y - place.at.y + SPREAD_Y - 1) / SPREAD_Y); // rows of the patch\n";
        text += &format!("    for (var step = 0; step < outputs + {last}; step += 1) {{\n{body}    }}\n");
    }
    text + "}\n"
}

/// The weights of a slice, whose first one's number begins with this.
fn weights(geometry: &Geometry, slice: &str) -> String {
    let taps = 0..geometry.kernel[1] * geometry.kernel[2];
    taps.map(|tap| format!("    let w_{tap} = weight_at(place.channel, {slice}{tap});\n")).collect()
}

/// A step of the walk: the next rows of inputs, and the row of outputs that they finish.
fn step(geometry: &Geometry, tile: DepthwiseTile, written_out: bool) -> String {
    let [slices, kernel_y, kernel_x] = geometry.kernel;
    let [share_y, share_x] = [1, 2].map(|axis| overlap(geometry, axis).share);
    let (live, rows, span) = (DepthwiseTile::live(geometry), DepthwiseTile::rows(geometry), tile.span(geometry));
    let last = live - 1;
    let all = |age: u32| (0..tile.x).map(move |j| (age, j));
    let mut text = String::new();
    let mut line = |text_line: String| {
        let _ = writeln!(text, "        {text_line}"); // writing to a String cannot fail
    };
    if slices > 1 {
        line(format!("for (var z = 0; z < {slices}; z += 1) {{"));
        line(weights(geometry, &format!("z * {} + ", kernel_y * kernel_x)));
    } else {
        line("{".into());
        line("let z = 0;".into());
    }
    for part in 0..rows {
        let at_y = format!("at.y + (step * {share_y} + {part}) * g.dilation.y");
        line(format!("let row_{part} = input_row(place, at.x + z * g.dilation.x, {at_y});"));
        for i in 0..span {
            line(format!("let v_{part}_{i} = input_at(row_{part}, at.z + {i} * g.dilation.z);"));
        }
        for age in 0..live {
            let tap_y = part + age * share_y;
            for tap_x in (0..kernel_x).filter(|_| tap_y < kernel_y) {
                let weight = tap_y * kernel_x + tap_x;
                for (age, j) in all(age) {
                    let value = j * share_x + tap_x;
                    line(format!("sum_{age}_{j} = fma(w_{weight}, v_{part}_{value}, sum_{age}_{j});"));
                }
            }
        }
    }
    line("}".into());
    line(format!("let y = place.at.y + (step - {last}) * SPREAD_Y;"));
    // Before that, the oldest sums are those of rows above the patch. Without a loop, which ends with the patch, some rows may be below it.
    let above = if written_out { " && y < g.output.y" } else { "" };
    line(format!("if (step >= {last}{above}) {{"));
    line("    let row = output_row(place, y);".into());
    let (width, store) = match (stores_four(geometry, tile), tile.channels) {
        (true, _) => (4, "store_4"),
        (false, 1) => (1, "store"),
        (false, _) => (1, "store_lanes"),
    };
    for j in (0..tile.x).step_by(width as usize) {
        let sums = (j..j + width).map(|j| format!("sum_{last}_{j}")).collect::<Vec<_>>().join(", ");
        let sums = if width == 1 { sums } else { format!("vec4<f32>({sums})") };
        line(format!("    let x_{j} = place.at.z + {j} * SPREAD_X;"));
        line(format!("    if (x_{j} < g.output.z) {{"));
        line(format!("        {store}({sums}, place.channel, row + x_{j} * output_step());"));
        line("    }".into());
    }
    line("}".into());
    for (age, j) in (0..live).rev().flat_map(all) {
        let next = if age > 0 { format!("sum_{}_{j}", age - 1) } else { "Lanes()".into() };
        line(format!("sum_{age}_{j} = {next};"));
    }
    text
}
