//! Convolution as a matrix product through subgroup broadcasts: `subgroup_gemm` and `subgroup_matmul`.
//!
//! Each lane owns `thread_n` output positions and all `block_m` output channels of its subgroup. One load of a lane brings four
//! *different* weights; [`subgroupBroadcast`](https://www.w3.org/TR/WGSL/#subgroup-builtin-functions) with a constant lane hands
//! them round. There is no workgroup memory and no barrier: where loads are dear and broadcasts cheap, as on lavapipe, this is
//! twice as fast as the product through workgroup memory.
//!
//! The lanes are part of the text, so a device must give every kernel the same, known subgroup size.

use std::fmt::{self, Write as _};

use super::cost::{Operations, cheapest_first};
use super::half::{self, Runs};
use super::plan::Step;
use super::product::{Blocks, Loads, Operands, Product, few_weights};
use super::split_k::{self, Slices};
use super::strip::{self, Strip};
use super::subgroup_store::{Found, column_at, ending};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, MAIN, Stores};
use crate::limits::{DeviceClass, DeviceLimits};

/// The tile of a matrix product through subgroup broadcasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubgroupTile {
    /// Output channels of a subgroup, a multiple of 4.
    pub block_m: u32,
    /// Output positions of a lane.
    pub thread_n: u32,
    /// In how many rows they lie, where they are a patch of a plane; 1 where they are not.
    pub rows: u32,
    /// Lanes of a subgroup; the kernel is wrong on any other size.
    pub lanes: u32,
    /// Products of a run that is summed in f16 before it is added in f32: 4 or 8, or 0, where all is in f32.
    pub half: u32,
    /// Slices of the sum over k, added by a second dispatch where there are several.
    pub split_k: u32,
}

/// Subgroups of a workgroup: enough that starting a workgroup costs little.
const SUBGROUPS: u32 = 4;

/// The most outputs of a patch.
const PATCH_OUTPUTS: u32 = 32;

/// Input channels of a step, where eight chunks are no more; the last of a tap has fewer. Steps are turns of a loop around a loop, which
/// costs a copy of all sums: measured on lavapipe, 1x1 layers of 256 channels take 3 to 18 % less time in steps of 64 than in steps of 8.
const STEP: u32 = 64;

/// Output channels and positions of a lane to choose from on a class of devices.
pub(super) fn sizes(class: DeviceClass) -> &'static [[u32; 2]] {
    match class {
        // Loads are dear and accumulators cheap; 32x6 and 32x8 are no faster.
        DeviceClass::Software => &[[32, 4], [32, 2], [16, 4], [32, 1], [16, 2], [8, 4], [4, 4], [4, 1]],
        // Not measured: half of the registers that a lane may have.
        DeviceClass::Integrated | DeviceClass::Discrete => &[[32, 2], [16, 4], [64, 1], [32, 1], [16, 2], [8, 4], [4, 4]],
    }
}

impl fmt::Display for SubgroupTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_m, thread_n, rows, lanes, half, split_k } = self;
        match rows {
            1 => write!(f, "{block_m}x{thread_n},{lanes}{}{}", Runs(*half), Slices(*split_k)),
            _ => write!(f, "{block_m}x{rows}x{},{lanes}", self.columns()),
        }
    }
}

impl SubgroupTile {
    pub(super) fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[block_m, thread_n, lanes] = numbers else { return None };
        let sound = block_m > 0 && block_m % 4 == 0 && (1..=16).contains(&thread_n) && (4..=128).contains(&lanes);
        (sound && (lanes * 4) % block_m == 0).then_some(Self { block_m, thread_n, rows: 1, lanes, half: 0, split_k: 1 })
    }

    /// The tile of a strip, or of a patch, which has rows: `[block_m, rows, columns, lanes]`.
    pub(super) fn strip_from_numbers(numbers: &[u32]) -> Option<Self> {
        match *numbers {
            [block_m, rows @ 2..=8, columns @ 1..=16, lanes] if rows * columns <= PATCH_OUTPUTS => {
                Some(Self { thread_n: rows * columns, rows, ..Self::from_numbers(&[block_m, 1, lanes])? })
            }
            _ => Self::from_numbers(numbers),
        }
    }

    /// Outputs of a row of a patch.
    pub(super) fn columns(&self) -> u32 {
        self.thread_n / self.rows.max(1)
    }

    /// Parses what `Display` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sizes, split_k) = split_k::parse(text)?;
        let (sizes, half) = half::parse(sizes)?;
        Some(Self { half, split_k, ..Self::from_numbers(&split_k::numbers(sizes)?)? })
    }

    /// Whether the device's subgroups are those that the tile was made for.
    pub(super) fn check_lanes(&self, limits: &DeviceLimits) -> Result<(), String> {
        match limits.subgroup {
            Some(lanes) if lanes == self.lanes => Ok(()),
            lanes => Err(format!("the tile is for subgroups of {}, but the device has {lanes:?}", self.lanes)),
        }
    }

    /// Whether the product and the device are ones for the tile.
    pub(super) fn supports(&self, product: &Product, limits: &DeviceLimits) -> Result<(), String> {
        self.check_lanes(limits)?;
        if self.rows != 1 {
            return Err(format!("the columns of a product are no patch of {} rows", self.rows));
        }
        half::supports(product.dtype, limits, self.half)?;
        split_k::supports(product, limits, self.split_k)
    }

    /// Output positions of a subgroup.
    fn block_n(&self) -> u32 {
        self.thread_n * self.lanes
    }

    /// Rows of the weights that one load of a whole subgroup brings.
    pub(super) fn chunk(&self) -> u32 {
        self.lanes * 4 / self.block_m
    }

    /// Input channels of one step: the same for all layers, so that one kernel serves many of them.
    fn block_k(&self) -> u32 {
        self.chunk() * (STEP / self.chunk()).max(8).next_multiple_of(self.unrolled())
    }

    /// Chunks of one turn of the loop.
    fn chunks(&self, geometry: &Geometry) -> u32 {
        if geometry.group_in() <= self.chunk() { 1 } else { self.unrolled() }
    }

    /// Input channels of one turn of the loop, of which zeros make those of a tap a multiple.
    pub(super) fn turn(&self, geometry: &Geometry) -> u32 {
        self.chunk() * self.chunks(geometry)
    }

    /// Invocations of a workgroup.
    pub(super) fn invocations(&self) -> u32 {
        self.lanes * SUBGROUPS
    }

    pub(super) fn blocks(&self, product: &Product) -> Blocks {
        Blocks {
            block: [self.block_m, self.block_n(), self.block_k()],
            padded_k: self.turn(&product.geometry),
            columns: self.thread_n,
            half: self.half,
            split_k: self.split_k,
            stores: Stores::One,
            few_weights: 0,
        }
    }

    /// How sums are stored; by columns where a lane's four are neighbours. Not on a GPU, where it is not measured: there lanes load side by
    /// side as long as the columns of one lane do not.
    fn stores(&self, product: &Product, limits: &DeviceLimits) -> Stores {
        product.stores(limits.class == DeviceClass::Software && self.thread_n == 4 && self.split_k == 1)
    }

    /// Workgroups of a product.
    pub(super) fn workgroups(&self, product: &Product) -> u64 {
        let blocks = match product.operands {
            Operands::Strip => strip::blocks(product, self),
            Operands::Implicit | Operands::Plain => product.blocks(self.block_m, self.block_n()),
        };
        (blocks * u64::from(self.split_k)).div_ceil(u64::from(SUBGROUPS))
    }

    /// The most input channels that a step walks, with zeros: those of a whole one, or all of a tap.
    fn step_rows(&self, geometry: &Geometry) -> u32 {
        self.block_k().min(geometry.group_in().next_multiple_of(self.turn(geometry)))
    }

    /// The most iterations of an invocation's loops for each step.
    fn iterations(&self, geometry: &Geometry) -> u64 {
        u64::from(self.step_rows(geometry) / self.turn(geometry) + self.thread_n + 4)
    }

    /// Chunks of a turn, where there are as many: turns of a single row wait for its loads, and a run ends with its turn.
    fn unrolled(&self) -> u32 {
        self.half.max(2).div_ceil(self.chunk())
    }
}

/// Why no kernel of this file can run on a device.
pub(super) fn supports(limits: &DeviceLimits) -> Result<(), String> {
    match limits.subgroup {
        None => Err("the device does not give every kernel the same, known subgroup size".into()),
        Some(lanes)
            if sizes(limits.class)
                .iter()
                .all(|&[block_m, thread_n]| SubgroupTile::from_numbers(&[block_m, thread_n, lanes]).is_none()) =>
        {
            Err(format!("there is no tile for subgroups of {lanes}"))
        }
        Some(_) => Ok(()),
    }
}

/// The tiles of these sizes that fit a device.
pub(super) fn table<const N: usize>(limits: &DeviceLimits, sizes: &[[u32; N]]) -> Vec<SubgroupTile> {
    let Some(lanes) = limits.subgroup.filter(|lanes| lanes * SUBGROUPS <= limits.workgroup_invocations) else {
        return Vec::new();
    };
    let tile = |size: &[u32; N]| SubgroupTile::strip_from_numbers(&[size.as_slice(), &[lanes]].concat());
    sizes.iter().filter_map(tile).collect()
}

/// The same with their slices, the cheapest first.
pub(super) fn tiles(product: &Product, limits: &DeviceLimits) -> Vec<(Operations, SubgroupTile)> {
    let rows = product.geometry.group_in().next_multiple_of(4);
    let with_runs =
        |tile: SubgroupTile| half::choices(product.dtype, limits, rows).map(move |half| SubgroupTile { half, ..tile });
    let sliced = table(limits, sizes(limits.class)).into_iter().flat_map(with_runs).flat_map(|tile| {
        let cost = |split_k: u32| cost(product, limits, &SubgroupTile { split_k, ..tile });
        let iterations = tile.iterations(&product.geometry);
        let choices = split_k::choices(product, limits, tile.block_k(), iterations, tile.workgroups(product), cost);
        choices.into_iter().map(move |(cost, split_k)| (cost, SubgroupTile { split_k, ..tile }))
    });
    split_k::that_pay(cheapest_first(limits.class, sliced), |tile| tile.split_k)
}

/// Whether the input is loaded by four rows.
fn vectors(product: &Product, tile: &SubgroupTile) -> bool {
    product.has_vectors() && tile.chunk().is_multiple_of(4)
}

/// Whether it is loaded by four columns.
pub(super) fn loads_columns(product: &Product, limits: &DeviceLimits, tile: &SubgroupTile) -> bool {
    tile.stores(product, limits) == Stores::Columns && product.has_column_vectors()
}

/// What it does.
fn cost(product: &Product, limits: &DeviceLimits, tile: &SubgroupTile) -> Operations {
    use Operations as Of;
    let [block_m, thread_n, chunk] = [tile.block_m, tile.thread_n, tile.chunk()].map(f64::from);
    // Four columns at once are priced as each by itself: so the prices were fitted, which otherwise prefer 16x4 to 32x4, which takes 0.8 of its
    // time (24 to 144 channels). A quarter of four loads is as much.
    let load = if vectors(product, tile) { Of::LOAD4 * 0.25 } else { Of::LOAD };
    let multiply = half::product(limits.class, tile.half) * (block_m * thread_n);
    let per_row = Of::LOAD4 * chunk.recip() + load * thread_n + Of::BROADCAST * block_m + multiply;
    // The last step of a tap has fewer rows; the longest slice may have none of those.
    let (group_in, turn) = (product.geometry.group_in(), tile.turn(&product.geometry));
    let rows = match tile.split_k {
        1 => f64::from(group_in.next_multiple_of(turn)) / f64::from(group_in.div_ceil(tile.block_k())),
        _ => f64::from(tile.step_rows(&product.geometry)),
    };
    let per_step = per_row * rows + product.operands.address() * thread_n;
    let stores = Of::stores(block_m * thread_n, tile.stores(product, limits) != Stores::One);
    let per_thread = per_step * product.k_tiles(tile.block_k(), tile.split_k) + stores;
    Of::total(limits, tile.workgroups(product), f64::from(tile.invocations()), per_thread)
        + split_k::cost(product, limits, tile.split_k)
}

/// The dispatches.
pub(super) fn steps(product: &Product, limits: &DeviceLimits, tile: &SubgroupTile) -> Result<Vec<Step>> {
    let label = format!("{}_subgroup {} {tile}", product.operands.label(), product.dtype);
    let stores = tile.stores(product, limits);
    let (loads, reads) = if vectors(product, tile) {
        (Loads::Four, Reads::Four)
    } else if loads_columns(product, limits, tile) {
        (Loads::FourColumns, Reads::FourColumns)
    } else {
        (Loads::One, Reads::One)
    };
    let blocks = Blocks { stores, few_weights: few_weights(limits.class), ..tile.blocks(product) };
    let kernel = product.kernel(label, tile.invocations(), blocks, loads);
    let step = looped(kernel, product, limits, tile, &reads, stores)?;
    split_k::steps(product, limits, step, tile.split_k)
}

/// What the loop loads of B.
pub(super) enum Reads {
    /// An element of each of a lane's columns.
    One,
    /// Four rows of each.
    Four,
    /// An element of each four of them, which are neighbours: one address for four loads. 1x1 layers, and Winograd's products, take a tenth
    /// less time by it on lavapipe; 32x8, which then loads less for each product, is up to 12 % faster or 7 % slower, and takes twice as long to
    /// compile.
    FourColumns,
    /// The inputs of a strip, which is all columns of a lane.
    Strip(Strip),
}

/// The most iterations of an invocation's loops, and the chunks of a turn of the inner one.
fn extent(product: &Product, tile: &SubgroupTile, reads: &Reads) -> (u64, u32) {
    if let Reads::Strip(strip) = reads {
        return (strip.iterations(&product.geometry, tile), strip.rows / tile.chunk());
    }
    let stores = u64::from(tile.block_m * tile.thread_n);
    let steps = product.iterations(tile.block_k(), tile.split_k, tile.iterations(&product.geometry));
    (steps + stores, tile.chunks(&product.geometry))
}

/// The dispatch of a kernel that has its operands and its arithmetic, and gets the loop.
pub(super) fn looped(
    kernel: Kernel,
    product: &Product,
    limits: &DeviceLimits,
    tile: &SubgroupTile,
    reads: &Reads,
    stores: Stores,
) -> Result<Step> {
    let (iterations, chunks) = extent(product, tile, reads);
    let mut kernel = kernel
        .constant("SUBGROUPS", SUBGROUPS)
        .constant("LANES", tile.lanes)
        .constant("CHUNK", tile.chunk())
        .iterations(iterations)
        .fragment(main_function(tile, chunks, reads, stores, Found::on(limits)));
    kernel.subgroups = true;
    Step::new(kernel, tile.workgroups(product), limits)
}

/// The loop, written out because broadcasts need constant lanes: sums of four channels at position `j` are `sum_{channel/4}_{j}`.
fn main_function(tile: &SubgroupTile, chunks: u32, reads: &Reads, stores: Stores, found: Found) -> String {
    let vectors = tile.block_m / 4;
    let mut text = String::from(
        "// A subgroup computes BLOCK_M x BLOCK_N of C: a lane owns COLUMNS columns, and all BLOCK_M rows of each.\n\
         // weights: rows of BLOCK_M, of which a subgroup loads CHUNK rows at a time, four numbers to a lane.\n",
    );
    text += MAIN;
    text += "    @builtin(subgroup_id) subgroup: u32,\n\
         \x20   @builtin(subgroup_invocation_id) lane_index: u32,\n\
         ) {\n\
         \x20   let lane = i32(lane_index);\n\
         \x20   if (!locate(workgroup_index(id, count) * SUBGROUPS + i32(subgroup))) {\n\
         \x20       return;\n\
         \x20   }\n";
    let mut line = |text_line: String| {
        let _ = writeln!(text, "{text_line}"); // writing to a String cannot fail
    };
    line(match reads {
        Reads::Strip(_) => "    set_strip(block_n * LANES + lane);".into(),
        Reads::FourColumns => {
            let column = column_at(stores, "4 * j");
            format!("    for (var j = 0; j < COLUMNS / 4; j += 1) {{\n        set_column(j, {column});\n    }}")
        }
        _ => format!("    for (var j = 0; j < COLUMNS; j += 1) {{\n        set_column(j, {});\n    }}", column_at(stores, "j")),
    });
    for j in 0..tile.thread_n {
        line(format!("    var column_{j} = 0;"));
        for i in 0..vectors {
            line(format!("    var sum_{i}_{j} = Sums();"));
        }
    }
    line("    var terms = 0;".into());
    line("    let tiles = slice_tiles();".into());
    line("    for (var tile = tiles.x; tile < tiles.y; tile += 1) {".into());
    line("        begin_k_tile(tile);".into());
    line("        var panel_at = panel_start() + lane;".into());
    match reads {
        Reads::Strip(strip) => {
            // Compilers of software adapters leave in a loop what is the same in all its turns.
            line(strip.finding().trim_end().into());
            line("        for (var channel = 0; channel < g.group_in; channel += 1) {".into());
            line("            let step = channel * input_channel_step();".into());
        }
        _ => {
            line("        let end = select(min(BLOCK_K, rows), BLOCK_K, WHOLE_STEPS);".into());
            line("        var row = 0;".into());
            line(format!("        for (; row < end; row += {chunks} * CHUNK) {{"));
        }
    }
    for chunk in 0..chunks {
        line(format!("            let four_{chunk} = widened(weights_4(u32(panel_at + {chunk} * LANES)));"));
    }
    line(format!("            panel_at += {chunks} * LANES;"));
    // The rows that are no padding.
    let rows = match reads {
        Reads::Strip(strip) => {
            line(strip.loading().trim_end().into());
            strip.turn_taps()
        }
        _ => chunks * tile.chunk(),
    };
    for k in 0..rows {
        for j in 0..tile.thread_n {
            let [first, quad] = [k, j].map(|number| number - number % 4);
            let [row, column] = [k, j].map(|number| ["x", "y", "z", "w"][(number % 4) as usize]);
            if matches!(reads, Reads::Four) && k == first {
                line(format!("            let fours_{k}_{j} = load_b(row + {k}, {j});"));
            }
            if matches!(reads, Reads::FourColumns) && j == quad {
                line(format!("            let fours_{k}_{j} = load_b(row + {k}, {});", j / 4));
            }
            let element = match reads {
                Reads::One => format!("load_b(row + {k}, {j})"),
                Reads::Four => format!("fours_{first}_{j}.{row}"),
                Reads::FourColumns => format!("fours_{k}_{quad}.{column}"),
                Reads::Strip(strip) => strip.element(k, j),
            };
            line(format!("            let b_{k}_{j} = {element};"));
            line(format!("            column_{j} += column_term(b_{k}_{j});"));
        }
    }
    // All rows of four sums before the next four: they stay in registers for so long. Of a strip's rows two at a time: with all of them
    // Mesa 25 spills the weights. Of a patch, which has more taps and more outputs, two outputs at a time.
    let (together, beside) = match reads {
        Reads::Strip(_) if tile.rows > 1 => (rows, 2),
        Reads::Strip(_) if rows > 3 => (2, tile.thread_n),
        _ if tile.half > 0 => (tile.half, tile.thread_n),
        _ => (rows, tile.thread_n),
    };
    for (first, i) in (0..rows).step_by(together as usize).flat_map(|first| (0..vectors).map(move |i| (first, i))) {
        let runs = 0..if tile.half == 0 { 0 } else { tile.thread_n };
        let run = |j: u32| if tile.half == 0 { format!("sum_{i}_{j}") } else { format!("run_{first}_{i}_{j}") };
        runs.clone().for_each(|j| line(format!("            var {} = begun(sum_{i}_{j});", run(j))));
        let taps = first..rows.min(first + together);
        for (from, k) in (0..tile.thread_n).step_by(beside as usize).flat_map(|from| taps.clone().map(move |k| (from, k))) {
            if from == 0 {
                let (chunk, lane) = (k / tile.chunk(), k % tile.chunk() * vectors + i);
                line(format!("            let a_{k}_{i} = subgroupBroadcast(four_{chunk}, {lane}u);"));
            }
            (from..tile.thread_n.min(from + beside))
                .for_each(|j| line(format!("            {0} = multiply(a_{k}_{i}, b_{k}_{j}, {0});", run(j))));
        }
        runs.for_each(|j| line(format!("            sum_{i}_{j} = ended({}, sum_{i}_{j});", run(j))));
    }
    line("        }".into());
    if !matches!(reads, Reads::Strip(_)) {
        line("        terms += row;".into());
    }
    line("    }".into());
    text + &ending(tile, reads, stores, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Context;
    use crate::kernel::GeometryMode;
    use crate::{Algorithm, Problem};

    #[test]
    fn steps_of_few_channels_are_counted_as_short_as_they_are() {
        let limits = DeviceLimits {
            class: DeviceClass::Software,
            subgroup: Some(8),
            loop_iterations: 65_536,
            parallelism: 2,
            ..Default::default()
        };
        for (line, most) in [
            // 961 taps of two turns for three channels; 1,024 of one.
            ("conv 1x3x64x64 o32 k31x31 p15x15 f32", 961 * (2 + 8) + 200),
            ("conv 1x1x16000 o64 k1024 s512 f32", 1024 * (1 + 8) + 200),
            // Two steps: of 32 turns and of two.
            ("conv 1x67x6x6 o37 k1x1 f32", 2 * (32 + 8) + 200),
        ] {
            let problem: Problem = line.parse().unwrap();
            let plan = "subgroup_gemm(32x4,8)".parse::<Algorithm>().unwrap().plan(&problem, &limits).unwrap();
            assert!(plan.steps[0].kernel.iterations <= most, "{line}: {}", plan.steps[0].kernel.iterations);
        }
    }

    #[test]
    fn a_slice_costs_as_much_as_its_longest() {
        let limits = DeviceLimits { class: DeviceClass::Software, subgroup: Some(8), parallelism: 2, ..Default::default() };
        let problem: Problem = "conv 1x65x4x4 o32 k1x1 f32".parse().unwrap();
        let geometry = &Geometry::new(&problem).unwrap();
        let context = Context { problem: &problem, geometry, limits: &limits, mode: GeometryMode::Uniform };
        let product = Product::new(&context, Operands::Plain).unwrap();
        let tile = SubgroupTile::from_numbers(&[32, 4, 8]).unwrap();
        let broadcasts = |split_k: u32| cost(&product, &limits, &SubgroupTile { split_k, ..tile }).broadcast;
        // Slices of 64 channels and of one; a turn is two.
        assert_eq!(broadcasts(1) * 64.0, broadcasts(2) * 66.0);
    }

    #[test]
    fn layers_that_differ_in_channels_are_one_text() {
        let limits = DeviceLimits { class: DeviceClass::Software, subgroup: Some(8), parallelism: 2, ..Default::default() };
        for (algorithm, kernel) in
            [("subgroup_matmul(32x4,8)", "k1x1"), ("subgroup_gemm(32x4,8)", "k3x3 p1x1"), ("subgroup_strip(32x4,8)", "k3x3 p1x1")]
        {
            let text = |channels: u32| {
                let problem: Problem = format!("conv 1x{channels}x28x28 o128 {kernel} f32 bias relu").parse().unwrap();
                let plan = algorithm.parse::<Algorithm>().unwrap().plan(&problem, &limits).unwrap();
                plan.steps[0].kernel.wgsl()
            };
            let first = text(96);
            // More weights than a cache holds, and a step that is not whole.
            assert!([64, 528, 1024, 130].into_iter().all(|channels| text(channels) == first), "{algorithm}");
        }
    }
}
