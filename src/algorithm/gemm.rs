//! The loop of a matrix product through workgroup memory: `gemm` and `matmul`.
//!
//! A workgroup brings a tile of each operand into workgroup memory and multiplies from there; an invocation holds a tile of the result
//! in registers. The loop knows no convolution: groups, stride, dilation, padding modes, phases of transposed convolutions and three
//! spatial axes are all in the addresses of the operands ([`super::product`]).

use std::fmt;

use super::cost::{Operations, cheapest_first};
use super::plan::{Step, fold};
use super::product::{Blocks, Loads, Product};
use super::split_k::{self, Slices};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::limits::{DeviceClass, DeviceLimits};

/// The tile of a matrix product through workgroup memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemmTile {
    /// Output channels of a workgroup.
    pub block_m: u32,
    /// Output positions of a workgroup.
    pub block_n: u32,
    /// Input channels of one step.
    pub block_k: u32,
    /// Output channels of an invocation, a multiple of 4.
    pub thread_m: u32,
    /// Output positions of an invocation.
    pub thread_n: u32,
    /// Pairs of operand tiles: with 2 the next step's operands are loaded while this one's are multiplied.
    pub buffers: u32,
    /// Slices of the sum over k, added by a second dispatch where there are several.
    pub split_k: u32,
}

impl fmt::Display for GemmTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_m, block_n, block_k, thread_m, thread_n, buffers, split_k } = self;
        write!(
            f,
            "{block_m}x{block_n}x{block_k},{thread_m}x{thread_n}{}{}",
            if *buffers == 1 { "" } else { ",b2" },
            Slices(*split_k)
        )
    }
}

impl GemmTile {
    pub(super) fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[block_m, block_n, block_k, thread_m, thread_n] = numbers else { return None };
        let tile = Self { block_m, block_n, block_k, thread_m, thread_n, buffers: 1, split_k: 1 };
        tile.fits().then_some(tile)
    }

    /// Parses what `Display` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sizes, split_k) = split_k::parse(text)?;
        let (sizes, buffers) = sizes.strip_suffix(",b2").map_or((sizes, 1), |sizes| (sizes, 2));
        Some(Self { buffers, split_k, ..Self::from_numbers(&split_k::numbers(sizes)?)? })
    }

    /// Invocations of a workgroup.
    pub fn invocations(&self) -> u32 {
        (self.block_m / self.thread_m) * (self.block_n / self.thread_n)
    }

    /// Bytes of the operand tiles.
    pub fn workgroup_bytes(&self) -> u32 {
        (self.block_m + self.block_n) * self.block_k * 4 * self.buffers
    }

    /// Iterations of an invocation's loops for each step; those over its own rows and columns are unrolled. A loop over nothing takes
    /// one too, and some compilers unroll some of the others: this is the most there can be.
    fn iterations(&self) -> u64 {
        let loaders = self.invocations().min(self.block_n);
        let columns = self.block_n / loaders;
        let load_a = (self.block_k * self.block_m / 4).div_ceil(self.invocations()) + 1;
        let load_b = self.block_k * loaders / self.invocations() * (columns + 2) + 1;
        // From memory to registers, and from there to the tiles.
        u64::from(self.buffers * (load_a + load_b) + (columns + 1) + (self.block_k + 1) + 1)
    }

    /// Workgroups of a product.
    fn workgroups(&self, product: &Product) -> u64 {
        product.blocks(self.block_m, self.block_n) * u64::from(self.split_k)
    }

    pub(super) fn blocks(&self) -> Blocks {
        let columns = (self.block_n / self.invocations()).max(1);
        Blocks { block: [self.block_m, self.block_n, self.block_k], columns, split_k: self.split_k }
    }

    /// Whether the kernel's assumptions hold (its `const_assert`s).
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
        self.invocations() <= 1024
            && self.invocations().is_multiple_of(loaders)
            && block_n % loaders == 0
            && block_k % (self.invocations() / loaders) == 0
            && u64::from(block_m + block_n) * u64::from(block_k) <= 1 << 20
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
            [64, 64, 16, 8, 4],
            [64, 64, 8, 4, 4],
            [128, 32, 16, 8, 4],
            [32, 128, 16, 4, 8],
            [32, 64, 16, 4, 4],
            [32, 32, 16, 4, 4],
            [64, 4, 16, 4, 1],
            [16, 64, 8, 4, 4],
            [8, 128, 8, 4, 4],
            [4, 256, 4, 4, 4],
        ],
    }
}

/// Tiles with two buffers, for GPUs: software has no latency to hide, and waits for nobody at a barrier.
const DOUBLE: [[u32; 5]; 4] = [[128, 128, 8, 8, 8], [128, 64, 8, 8, 8], [64, 64, 16, 8, 4], [64, 64, 8, 4, 4]];

/// The tiles that fit a device, the cheapest first.
pub(super) fn tiles(product: &Product, limits: &DeviceLimits) -> Vec<(Operations, GemmTile)> {
    let fit =
        |tile: &GemmTile| tile.invocations() <= limits.workgroup_invocations && tile.workgroup_bytes() <= limits.workgroup_bytes;
    let single = table(limits.class).iter().filter_map(|numbers| GemmTile::from_numbers(numbers));
    let double = DOUBLE.iter().filter(|_| limits.class != DeviceClass::Software);
    let double = double.filter_map(|numbers| Some(GemmTile { buffers: 2, ..GemmTile::from_numbers(numbers)? }));
    let tiles = double.chain(single).filter(fit);
    let sliced = tiles.flat_map(|tile| {
        let cost = |split_k: u32| cost(product, limits, &GemmTile { split_k, ..tile });
        let choices = split_k::choices(product, limits, tile.block_k, tile.iterations(), tile.workgroups(product), cost);
        choices.into_iter().map(move |(cost, split_k)| (cost, GemmTile { split_k, ..tile }))
    });
    split_k::that_pay(cheapest_first(limits.class, sliced), |tile| tile.split_k)
}

/// Puts what one load brought into the tile of `B`.
const PUT_ONE: &str = "fn put_b(at: i32, row: Number) {\n    tile_b[at] = row;\n}";

/// Puts four rows into it.
const PUT_FOUR: &str = "\
fn put_b(at: i32, rows: vec4<f32>) {
    tile_b[at] = rows.x;
    tile_b[at + BLOCK_N] = rows.y;
    tile_b[at + 2 * BLOCK_N] = rows.z;
    tile_b[at + 3 * BLOCK_N] = rows.w;
}";

/// Whether the input is loaded by four rows.
fn vectors(product: &Product, tile: &GemmTile) -> bool {
    product.has_vectors() && tile.block_k.is_multiple_of(4)
}

/// What it does.
fn cost(product: &Product, limits: &DeviceLimits, tile: &GemmTile) -> Operations {
    use Operations as Of;
    let [block_m, block_n, block_k, thread_m, thread_n] =
        [tile.block_m, tile.block_n, tile.block_k, tile.thread_m, tile.thread_n].map(f64::from);
    let threads = f64::from(tile.invocations());
    let load_a = (Of::LOAD4 + Of::SHARED4) * (block_m * block_k / 4.0 / threads);
    let load = if vectors(product, tile) { Of::LOAD4 * 0.25 } else { Of::LOAD };
    let load_b = (load + Of::SHARED) * (block_n * block_k / threads);
    let per_k = Of::SHARED4 * (thread_m / 4.0) + Of::SHARED * thread_n + Of::FMA * (thread_m * thread_n);
    let columns = product.operands.address() * f64::from(tile.blocks().columns);
    let barriers = Of::BARRIER * if tile.buffers == 1 { 2.0 } else { 1.0 };
    let per_step = load_a + load_b + columns + per_k * block_k + barriers;
    let per_thread = per_step * product.k_tiles(tile.block_k, tile.split_k) + Of::STORE * (thread_m * thread_n);
    Of::total(limits, tile.workgroups(product), threads, per_thread) + split_k::cost(product, limits, tile.split_k)
}

/// The dispatches.
pub(super) fn steps(product: &Product, limits: &DeviceLimits, tile: &GemmTile) -> Result<Vec<Step>> {
    let label = format!("{} {} {tile}", product.operands.label(), product.dtype);
    let loads = if vectors(product, tile) { Loads::Four } else { Loads::One };
    let step = looped(product.kernel(label, tile.invocations(), tile.blocks(), loads), product, limits, tile, loads)?;
    split_k::steps(product, limits, step, tile.split_k)
}

/// The dispatch of a kernel that has its operands and its arithmetic, and gets the loop.
pub(super) fn looped(kernel: Kernel, product: &Product, limits: &DeviceLimits, tile: &GemmTile, loads: Loads) -> Result<Step> {
    let (rows, put_b) = if loads == Loads::Four { (4, PUT_FOUR) } else { (1, PUT_ONE) };
    let mut kernel = kernel
        .constant("ROWS", rows)
        .constant("BUFFERS", tile.buffers)
        .constant("THREAD_M", tile.thread_m)
        .constant("THREAD_N", tile.thread_n)
        .iterations(product.iterations(tile.block_k, tile.split_k, tile.iterations()))
        .fragment(put_b)
        .fragment(include_str!("../../shaders/gemm_tile.wgsl"));
    kernel.workgroup_bytes = tile.workgroup_bytes();
    Ok(Step { kernel, grid: fold(tile.workgroups(product), limits.workgroups)? })
}
