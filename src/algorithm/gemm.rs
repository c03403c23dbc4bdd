//! The loops of a matrix product without subgroups: `gemm` and `matmul`.
//!
//! A workgroup brings a tile of each operand into workgroup memory and multiplies from there; an invocation holds a tile of the result
//! in registers. Where a group has few output channels, workgroup memory brings nothing, as one invocation has them all: then it loads
//! what it multiplies itself, and a workgroup may have several groups. The loops know no convolution: groups, stride, dilation, padding
//! modes, phases of transposed convolutions and three spatial axes are all in the addresses of the operands ([`super::product`]).

use std::fmt;

use super::cost::{Operations, cheapest_first};
use super::half::{self, Runs};
use super::plan::Step;
use super::product::{Blocks, Loads, Product};
use super::split_k::{self, Slices};
use crate::error::Result;
use crate::kernel::{Kernel, Stores};
use crate::limits::{DeviceClass, DeviceLimits};

/// The tile of a matrix product, through workgroup memory or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemmTile {
    /// Output channels of a workgroup; without operand tiles `thread_m` for each of its bands, of one group or of several.
    pub block_m: u32,
    /// Output positions of a workgroup.
    pub block_n: u32,
    /// Input channels of one step.
    pub block_k: u32,
    /// Output channels of an invocation, a multiple of 4.
    pub thread_m: u32,
    /// Output positions of an invocation.
    pub thread_n: u32,
    /// Pairs of operand tiles: with 2 the next step's operands are loaded while this one's are multiplied; with 0 there is no workgroup
    /// memory, and an invocation loads what it multiplies.
    pub buffers: u32,
    /// Products of a run that is summed in f16 before it is added in f32: 4 or 8, or 0, where all is in f32.
    pub half: u32,
    /// Slices of the sum over k, added by a second dispatch where there are several.
    pub split_k: u32,
}

impl fmt::Display for GemmTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_m, block_n, block_k, thread_m, thread_n, buffers, half, split_k } = self;
        let buffers = if *buffers == 1 { String::new() } else { format!(",b{buffers}") };
        write!(f, "{block_m}x{block_n}x{block_k},{thread_m}x{thread_n}{buffers}{}{}", Runs(*half), Slices(*split_k))
    }
}

impl GemmTile {
    /// A tile of these sizes and so many pairs of operand tiles, where the kernel's assumptions hold.
    fn from_numbers(numbers: &[u32], buffers: u32) -> Option<Self> {
        let &[block_m, block_n, block_k, thread_m, thread_n] = numbers else { return None };
        let tile = Self { block_m, block_n, block_k, thread_m, thread_n, buffers, half: 0, split_k: 1 };
        tile.fits().then_some(tile)
    }

    /// Parses what `Display` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sizes, split_k) = split_k::parse(text)?;
        let (sizes, half) = half::parse(sizes)?;
        let buffered = [(",b0", 0), (",b2", 2)].into_iter().find_map(|(end, buffers)| Some((sizes.strip_suffix(end)?, buffers)));
        let (sizes, buffers) = buffered.unwrap_or((sizes, 1));
        let tile = Self { half, split_k, ..Self::from_numbers(&split_k::numbers(sizes)?, buffers)? };
        (tile.block_k.is_multiple_of(tile.run()) && (half == 0 || buffers > 0)).then_some(tile)
    }

    /// Whether the product and the device are ones for the tile.
    pub(super) fn supports(&self, product: &Product, limits: &DeviceLimits) -> Result<(), String> {
        if self.half > 0 && self.buffers == 0 {
            return Err("tiles without workgroup memory multiply in f32 only".into());
        }
        half::supports(product.dtype, limits, self.half)?;
        split_k::supports(product, limits, self.split_k)
    }

    /// Products of a run: all of a step, where all is in f32.
    fn run(&self) -> u32 {
        if self.half == 0 { self.block_k } else { self.half }
    }

    /// Invocations of a workgroup.
    pub fn invocations(&self) -> u32 {
        (self.block_m / self.thread_m) * (self.block_n / self.thread_n)
    }

    /// Bytes of the operand tiles.
    pub fn workgroup_bytes(&self) -> u32 {
        (self.block_m + self.block_n) * self.block_k * if self.half == 0 { 4 } else { 2 } * self.buffers
    }

    /// Iterations of an invocation's loops for each step; those over its own rows and columns are unrolled. A loop over nothing takes
    /// one too, and some compilers unroll some of the others: this is the most there can be.
    fn iterations(&self) -> u64 {
        if self.buffers == 0 {
            return u64::from((self.thread_n + 1) + (self.block_k + 1) + 1);
        }
        let loaders = self.invocations().min(self.block_n);
        let columns = self.block_n / loaders;
        let load_a = (self.block_k * self.block_m / 4).div_ceil(self.invocations()) + 1;
        let load_b = self.block_k * loaders / self.invocations() * (columns + 2) + 1;
        // From memory to registers, and from there to the tiles.
        let runs = 2 * self.block_k / self.run() + 1;
        u64::from(self.buffers * (load_a + load_b) + (columns + 1) + (self.block_k + runs) + 1)
    }

    /// Output channels of a panel of weights, and so of what an index of the operands' `locate()` stands for: those of a workgroup, or of
    /// one of its bands.
    fn panel_m(&self) -> u32 {
        if self.buffers == 0 { self.thread_m } else { self.block_m }
    }

    /// Output channels and input channels of a panel of weights.
    pub(super) fn panel(&self) -> [u32; 2] {
        [self.panel_m(), self.block_k]
    }

    /// Workgroups of a product.
    fn workgroups(&self, product: &Product) -> u64 {
        let bands = product.bands(self.panel_m()) * u64::from(self.split_k);
        bands.div_ceil(u64::from(self.block_m / self.panel_m())) * product.column_blocks(self.block_n)
    }

    pub(super) fn blocks(&self, stores: Stores, loads: Loads) -> Blocks {
        let columns = if self.buffers == 0 { self.thread_n } else { (self.block_n / columns(loads) / self.invocations()).max(1) };
        let Self { block_n, block_k, half, split_k, .. } = *self;
        Blocks { block: [self.panel_m(), block_n, block_k], padded_k: block_k, columns, half, split_k, stores, few_weights: 0 }
    }

    /// Whether the kernel's assumptions hold: its `const_assert`s, and that invocations load the rows of a step without a rest.
    fn fits(&self) -> bool {
        let Self { block_m, block_n, block_k, thread_m, thread_n, .. } = *self;
        let sizes = [block_m, block_n, block_k, thread_m, thread_n];
        if sizes.iter().any(|&size| size == 0 || size > 1024)
            || thread_m % 4 != 0
            || block_m % thread_m != 0
            || block_n % thread_n != 0
        {
            return false;
        }
        let loaders = self.invocations().min(block_n);
        let loads =
            self.invocations().is_multiple_of(loaders) && block_n % loaders == 0 && block_k % (self.invocations() / loaders) == 0;
        self.invocations() <= 1024 && (self.buffers == 0 || loads) && u64::from(block_m + block_n) * u64::from(block_k) <= 1 << 20
    }
}

/// The tiles to choose from on a class of devices; a device takes those that fit its limits.
fn table(class: DeviceClass) -> &'static [[u32; 5]] {
    match class {
        // Two cores gain nothing by large workgroups, and more accumulators than 16 registers of 8 lanes spill.
        DeviceClass::Software => &[
            [64, 64, 16, 8, 4],
            [64, 64, 8, 4, 4],
            [32, 64, 16, 4, 4],
            [32, 32, 16, 4, 4],
            [64, 4, 16, 4, 1],
            [16, 64, 8, 4, 4],
            [8, 128, 8, 4, 4],
            [4, 256, 4, 4, 4],
        ],
        // 128 to 256 invocations of up to 64 accumulators, and the same shapes smaller for layers that would not fill the device.
        DeviceClass::Integrated | DeviceClass::Discrete => &[
            [128, 128, 8, 8, 8],
            [128, 64, 8, 8, 8],
            [64, 128, 8, 8, 8],
            // Of the first layer's one to four channels.
            [64, 128, 4, 8, 8],
            [64, 64, 16, 8, 4],
            [64, 64, 8, 4, 4],
            [128, 32, 8, 8, 4],
            [32, 128, 8, 4, 8],
            [32, 64, 16, 4, 4],
            [32, 32, 16, 4, 4],
            [64, 4, 16, 4, 1],
            [16, 64, 8, 4, 4],
            [8, 128, 8, 4, 4],
            [4, 256, 4, 4, 4],
        ],
    }
}

/// Pairs of operand tiles: a GPU waits for each load of a step that it does not multiply something meanwhile; software has no latency to
/// hide, and waits for nobody at a barrier.
fn buffers(class: DeviceClass) -> u32 {
    match class {
        DeviceClass::Software => 1,
        DeviceClass::Integrated | DeviceClass::Discrete => 2,
    }
}

/// The most output channels of a group for which tiles without workgroup memory are offered: above, an invocation would load again what
/// others loaded.
const FEW: u32 = 16;

/// Output channels and positions of an invocation, bands of a workgroup, and invocations of a band, without workgroup memory: many columns
/// of few groups, or several groups where columns are few too.
const REGISTERS: [[u32; 4]; 5] = [[4, 4, 2, 32], [4, 4, 8, 8], [8, 4, 2, 32], [8, 4, 8, 8], [8, 8, 4, 16]];

/// The tiles without workgroup memory for a product of few output channels to a group.
fn registers(product: &Product) -> impl Iterator<Item = GemmTile> {
    let (group_in, group_out) = (product.geometry.group_in(), product.geometry.group_out());
    // Starting a step takes about as long as four of its rows.
    let cost = |block_k: &u32| u64::from(group_in.div_ceil(*block_k)) * u64::from(block_k + 4);
    let block_k = [1, 2, 4, 8].into_iter().min_by_key(cost).expect("four steps to choose from");
    let offered = REGISTERS.iter().filter(move |[thread_m, ..]| group_out <= FEW && (*thread_m == 4 || group_out > 4));
    offered.filter_map(move |&[thread_m, thread_n, bands, threads]| {
        GemmTile::from_numbers(&[bands * thread_m, threads * thread_n, block_k, thread_m, thread_n], 0)
    })
}

/// The tiles that fit a device, the cheapest first.
pub(super) fn tiles(product: &Product, limits: &DeviceLimits) -> Vec<(Operations, GemmTile)> {
    let fit =
        |tile: &GemmTile| tile.invocations() <= limits.workgroup_invocations && tile.workgroup_bytes() <= limits.workgroup_bytes;
    let buffered = table(limits.class).iter().filter_map(|numbers| GemmTile::from_numbers(numbers, buffers(limits.class)));
    let with_runs =
        |tile: GemmTile| half::choices(product.dtype, limits, tile.block_k).map(move |half| GemmTile { half, ..tile });
    let tiles = buffered.flat_map(with_runs).chain(registers(product)).filter(fit);
    let sliced = tiles.flat_map(|tile| {
        let cost = |split_k: u32| cost(product, limits, &GemmTile { split_k, ..tile });
        let choices = split_k::choices(product, limits, tile.block_k, tile.iterations(), tile.workgroups(product), cost);
        choices.into_iter().map(move |(cost, split_k)| (cost, GemmTile { split_k, ..tile }))
    });
    split_k::that_pay(cheapest_first(limits.class, sliced), |tile| tile.split_k)
}

/// How many rows of `B` a load brings, and how they, or the columns, are put into a tile.
fn rows(loads: Loads) -> (u32, &'static str) {
    const ONE: &str = "\
fn put_b(buffer: i32, row: i32, column: i32, b: Number) {
    put_number(buffer, row, column, b);
}";
    const FOUR: &str = "\
fn put_b(buffer: i32, row: i32, column: i32, rows: Operand) {
    put_number(buffer, row, column, rows.x);
    put_number(buffer, row + 1, column, rows.y);
    put_number(buffer, row + 2, column, rows.z);
    put_number(buffer, row + 3, column, rows.w);
}";
    const COLUMNS: &str = "\
fn put_b(buffer: i32, row: i32, column: i32, columns: Operand) {
    let run = u32(column) / 4u;
    tile_b[buffer][row][run / u32(THREADS_N)][run % u32(THREADS_N)][0] = columns.x;
    tile_b[buffer][row][run / u32(THREADS_N)][run % u32(THREADS_N)][1] = columns.y;
    tile_b[buffer][row][run / u32(THREADS_N)][run % u32(THREADS_N)][2] = columns.z;
    tile_b[buffer][row][run / u32(THREADS_N)][run % u32(THREADS_N)][3] = columns.w;
}";
    match loads {
        Loads::Four => (4, FOUR),
        Loads::FourColumns => (1, COLUMNS),
        Loads::One | Loads::FourOfRow | Loads::Matrix | Loads::FourOfMatrix => (1, ONE),
    }
}

/// What is done with sums that are stored together, and how many they are.
fn finish_together(stores: Stores) -> (u32, &'static str) {
    const ONE: &str = "\
fn finish_together(sums: array<Sum, TOGETHER>, column: i32, terms: i32, channel: i32, index: i32) {
    finish(sums[0], column, terms, channel, index);
}";
    const FOUR: &str = "\
fn finish_together(sums: array<Sum, TOGETHER>, column: i32, terms: i32, channel: i32, index: i32) {
    store_4(vec4<f32>(sums[0], sums[1], sums[2], sums[3]), channel, index);
}";
    if stores == Stores::One { (1, ONE) } else { (4, FOUR) }
}

/// One of those rows, where they stay in registers.
fn row_of(loads: Loads) -> &'static str {
    match loads {
        Loads::Four => "fn row_of(rows: vec4<f32>, number: i32) -> f32 {\n    return rows[number];\n}",
        _ => "fn row_of(row: Number, number: i32) -> Number {\n    return row;\n}",
    }
}

/// How sums are stored; by columns where an invocation has fours of neighbours, which it also reads from its tile at once.
fn stores(product: &Product, tile: &GemmTile) -> Stores {
    product.stores(tile.buffers > 0 && tile.thread_n.is_multiple_of(4))
}

/// What a load of the input brings: four channels where those are neighbours, or four columns where these are and an invocation reads
/// its columns from the tile by fours.
fn loads(product: &Product, tile: &GemmTile) -> Loads {
    let groups = tile.block_n / 4;
    let evenly = groups > 0 && tile.invocations().max(groups).is_multiple_of(tile.invocations().min(groups));
    if product.has_vectors() && tile.block_k.is_multiple_of(4) {
        Loads::Four
    } else if product.has_column_vectors() && stores(product, tile) == Stores::Columns && evenly {
        Loads::FourColumns
    } else {
        Loads::One
    }
}

/// Columns that a load brings.
fn columns(loads: Loads) -> u32 {
    if loads == Loads::FourColumns { 4 } else { 1 }
}

/// What it does.
fn cost(product: &Product, limits: &DeviceLimits, tile: &GemmTile) -> Operations {
    use Operations as Of;
    let [block_m, block_n, block_k, thread_m, thread_n] =
        [tile.block_m, tile.block_n, tile.block_k, tile.thread_m, tile.thread_n].map(f64::from);
    let threads = f64::from(tile.invocations());
    let loads = loads(product, tile);
    let load = if loads == Loads::One { Of::LOAD } else { Of::LOAD4 * 0.25 };
    let columns = product.operands.address() * f64::from(tile.blocks(Stores::One, loads).columns);
    let products = half::product(limits.class, tile.half) * (thread_m * thread_n);
    let per_step = match tile.buffers {
        0 => (Of::LOAD4 * (thread_m / 4.0) + load * thread_n + products) * block_k,
        buffers => {
            let load_a = (Of::LOAD4 + Of::SHARED4) * (block_m * block_k / 4.0 / threads);
            let load_b = (load + Of::SHARED) * (block_n * block_k / threads);
            let per_k = Of::SHARED4 * (thread_m / 4.0) + Of::SHARED * thread_n + products;
            load_a + load_b + per_k * block_k + Of::BARRIER * if buffers == 1 { 2.0 } else { 1.0 }
        }
    };
    let stores = Of::stores(thread_m * thread_n, stores(product, tile) != Stores::One);
    let per_thread = (per_step + columns) * product.k_tiles(tile.block_k, tile.split_k) + stores;
    Of::total(limits, tile.workgroups(product), threads, per_thread) + split_k::cost(product, limits, tile.split_k)
}

/// The dispatches.
pub(super) fn steps(product: &Product, limits: &DeviceLimits, tile: &GemmTile) -> Result<Vec<Step>> {
    let label = format!("{} {} {tile}", product.operands.label(), product.dtype);
    let loads = loads(product, tile);
    let blocks = tile.blocks(stores(product, tile), loads);
    let step = looped(product.kernel(label, tile.invocations(), blocks, loads), product, limits, tile, blocks, loads)?;
    split_k::steps(product, limits, step, tile.split_k)
}

/// The dispatch of a kernel that has its operands and its arithmetic, and gets the loop.
pub(super) fn looped(
    kernel: Kernel,
    product: &Product,
    limits: &DeviceLimits,
    tile: &GemmTile,
    blocks: Blocks,
    loads: Loads,
) -> Result<Step> {
    let (rows, put_b) = rows(loads);
    let (together, finish_together) = finish_together(blocks.stores);
    let kernel = kernel
        .constant("ROWS", rows)
        .constant("THREAD_M", tile.thread_m)
        .constant("THREAD_N", tile.thread_n)
        .constant("TOGETHER", together)
        .flag("CHANNELS_TOGETHER", blocks.stores == Stores::Channels)
        .iterations(product.iterations(tile.block_k, tile.split_k, tile.iterations()));
    let mut kernel = match tile.buffers {
        0 => kernel
            .constant("BANDS", tile.block_m / tile.thread_m)
            .fragment(row_of(loads))
            .fragment(finish_together)
            .fragment(include_str!("../../shaders/gemm_registers.wgsl")),
        buffers => kernel
            .constant("BUFFERS", buffers)
            .constant("LOADED_COLUMNS", columns(loads))
            .constant("QUAD", if blocks.stores == Stores::Columns { 4 } else { 1 })
            .constant("RUN", tile.run())
            .fragment(put_b)
            .fragment(finish_together)
            .fragment(include_str!("../../shaders/gemm_tile.wgsl")),
    };
    kernel.workgroup_bytes = tile.workgroup_bytes();
    Step::new(kernel, tile.workgroups(product), limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Problem};

    #[test]
    fn tiles_without_workgroup_memory_print_parse_and_plan() {
        for tile in
            ["gemm(16x64x4,4x4,b0)", "matmul(8x256x8,8x4,b0,k2)", "winograd(2,gemm,4x256x4,4x4,b0)", "gemm(12x20x3,4x4,b0)"]
        {
            assert_eq!(tile.parse::<Algorithm>().unwrap().to_string(), tile);
        }
        for bad in ["gemm(16x64x4,4x4,b1)", "gemm(16x64x4,3x4,b0)", "gemm(1024x1024x4,4x4,b0)", "gemm(16x64x4,4x4,k2,b0)"] {
            assert!(bad.parse::<Algorithm>().is_err(), "{bad}");
        }
        // Five groups of four channels are one workgroup of four bands and one of one.
        let problem: Problem = "conv 1x20x5x5 o20 k3x3 p1x1 g5 f32".parse().unwrap();
        let tile: Algorithm = "gemm(16x64x4,4x4,b0)".parse().unwrap();
        let plan = tile.plan(&problem, &DeviceLimits::default()).unwrap();
        assert_eq!((plan.steps[0].grid, plan.steps[0].kernel.workgroup_bytes), ([2, 1, 1], 0));
        assert_eq!(plan.packed_elements(), 5 * 9 * 4 * 4);
    }

    #[test]
    fn tiles_without_workgroup_memory_are_for_few_output_channels_to_a_group() {
        let offered = |line: &str| {
            let problem: Problem = line.parse().unwrap();
            let candidates = Algorithm::candidates(&problem, &DeviceLimits::default()).unwrap().algorithms;
            candidates.into_iter().filter(|algorithm| algorithm.to_string().contains(",b0")).count()
        };
        assert!(offered("conv 1x128x56x56 o128 k3x3 p1x1 g32 f32") > 0 && offered("conv 1x64x56x56 o3 k1x1 f32") > 0);
        assert_eq!(offered("conv 1x64x56x56 o64 k3x3 p1x1 f32"), 0);
    }
}
