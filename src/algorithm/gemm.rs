//! Convolution as a tiled matrix product through workgroup memory: `gemm` and `matmul`, and the operands that they share with
//! the kernels of [`super::subgroup`].
//!
//! `gemm` builds its second operand on the fly (implicit GEMM; Chetlur et al., "cuDNN", 2014). Groups, stride, dilation, padding
//! modes, phases of transposed convolutions and three spatial axes are all in the operand's addresses, so one loop serves them
//! all. `matmul` is the case without addresses: 1x1 convolutions and fully connected layers.

use std::fmt;

use super::cost::{Costs, cheapest_first};
use super::plan::{Packing, Step, fold};
use super::{Context, Parts};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::problem::Layer;
use crate::tensor_desc::DType;

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
}

impl fmt::Display for GemmTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_m, block_n, block_k, thread_m, thread_n } = self;
        write!(f, "{block_m}x{block_n}x{block_k},{thread_m}x{thread_n}")
    }
}

impl GemmTile {
    pub(super) fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[block_m, block_n, block_k, thread_m, thread_n] = numbers else { return None };
        let tile = Self { block_m, block_n, block_k, thread_m, thread_n };
        tile.fits().then_some(tile)
    }

    /// Invocations of a workgroup.
    pub fn invocations(&self) -> u32 {
        (self.block_m / self.thread_m) * (self.block_n / self.thread_n)
    }

    /// Bytes of the two operand tiles.
    pub fn workgroup_bytes(&self) -> u32 {
        (self.block_m + self.block_n) * self.block_k * 4
    }

    /// Whether the kernel's assumptions hold (its `const_assert`s).
    fn fits(&self) -> bool {
        let Self { block_m, block_n, block_k, thread_m, thread_n } = *self;
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

/// The order and choice of tiles; each device takes those that fit its limits, the cheapest first.
const TILES: [[u32; 5]; 11] = [
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
];

/// Which matrix product a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Addresses from taps and positions.
    Implicit,
    /// The input is the operand.
    Plain,
}

impl Operands {
    /// The geometry that the kernel sees, or why there is none.
    pub fn geometry(self, geometry: &Geometry) -> Result<Geometry, String> {
        match self {
            Operands::Implicit => Ok(geometry.clone()),
            Operands::Plain => plain(geometry)
                .ok_or_else(|| "the layer is neither a 1x1 convolution at stride 1 without padding nor fully connected".into()),
        }
    }

    pub fn fragment(self) -> &'static str {
        match self {
            Operands::Implicit => include_str!("../../shaders/conv_gemm_operands.wgsl"),
            Operands::Plain => include_str!("../../shaders/matmul_operands.wgsl"),
        }
    }

    pub fn packing(self, block_m: u32, block_k: u32) -> Packing {
        Packing::Panels { block_m, block_k, flat: self == Operands::Plain }
    }

    pub fn label(self) -> &'static str {
        match self {
            Operands::Implicit => "conv_gemm",
            Operands::Plain => "matmul",
        }
    }
}

/// The layer as a 1x1 convolution over one axis, where it is one: a kernel of one tap, or a kernel as large as the input.
fn plain(geometry: &Geometry) -> Option<Geometry> {
    let unpadded = geometry.pad_begin == [0; 3] && geometry.pad_end == [0; 3] && geometry.input_dilation == [1; 3];
    let plane = geometry.input_plane() as u32;
    if unpadded && geometry.kernel == [1; 3] && geometry.stride == [1; 3] && geometry.output == geometry.input {
        return Some(Geometry { input: [1, 1, plane], output: [1, 1, plane], ..geometry.clone() });
    }
    if unpadded && geometry.kernel == geometry.input && geometry.output == [1; 3] && geometry.dilation == [1; 3] {
        // Channels and taps of a group are one run of memory, in the input as in the weights.
        let in_channels = geometry.in_channels.checked_mul(plane)?;
        return Some(Geometry { in_channels, input: [1; 3], kernel: [1; 3], ..geometry.clone() });
    }
    None
}

/// Blocks of the result in all groups and phases.
pub(super) fn blocks(geometry: &Geometry, block_m: u32, block_n: u32) -> u64 {
    let columns: u64 = u64::from(geometry.batch) * geometry.phase_output().iter().map(|&size| u64::from(size)).product::<u64>();
    let phases: u64 = geometry.phases().iter().map(|&count| u64::from(count)).product();
    u64::from(geometry.group_out().div_ceil(block_m)) * columns.div_ceil(u64::from(block_n)) * u64::from(geometry.groups) * phases
}

/// Steps of `block_k` channels that each block takes; of a transposed convolution the mean over its phases.
pub(super) fn k_tiles(geometry: &Geometry, block_k: u32) -> f64 {
    let phases: f64 = geometry.phases().iter().map(|&count| f64::from(count)).product();
    geometry.taps() as f64 / phases * f64::from(geometry.group_in().div_ceil(block_k))
}

/// Why neither kernel can take the layer.
pub(super) fn supports(context: &Context, operands: Operands) -> Result<(), String> {
    let Layer::Conv(_) = context.problem.layer else { return Err("the layer is not a convolution".into()) };
    operands.geometry(context.geometry).map(|_| ())
}

/// The tiles that fit a device, the cheapest first.
pub(super) fn tiles(context: &Context, operands: Operands) -> Vec<(f64, GemmTile)> {
    let Ok(geometry) = operands.geometry(context.geometry) else { return Vec::new() };
    let limits = context.limits;
    let fit =
        |tile: &GemmTile| tile.invocations() <= limits.workgroup_invocations && tile.workgroup_bytes() <= limits.workgroup_bytes;
    let tiles = TILES.iter().filter_map(|numbers| GemmTile::from_numbers(numbers)).filter(fit);
    cheapest_first(tiles.map(|tile| (cost(&geometry, limits, &tile), tile)))
}

/// Estimated time.
fn cost(geometry: &Geometry, limits: &DeviceLimits, tile: &GemmTile) -> f64 {
    let costs = Costs::of(limits.class);
    let [block_m, block_n, block_k, thread_m, thread_n] =
        [tile.block_m, tile.block_n, tile.block_k, tile.thread_m, tile.thread_n].map(f64::from);
    let threads = f64::from(tile.invocations());
    let load_a = block_m * block_k / 4.0 / threads * (costs.load4 + costs.shared4);
    let load_b = block_n * block_k / threads * (costs.load + costs.shared);
    let multiply = block_k * (thread_m / 4.0 * costs.shared4 + thread_n * costs.shared + thread_m * thread_n * costs.fma);
    let per_thread = k_tiles(geometry, tile.block_k) * (load_a + load_b + multiply + 2.0 * costs.barrier);
    costs.total(limits, blocks(geometry, tile.block_m, tile.block_n), threads, per_thread)
}

/// A kernel with the operands and everything around them; the loop is still to be added.
pub(super) fn kernel(
    context: &Context,
    operands: Operands,
    label: String,
    invocations: u32,
    blocks: [u32; 3],
    columns: u32,
) -> Kernel {
    let geometry = operands.geometry(context.geometry).expect("the layer was accepted");
    let [block_m, block_n, block_k] = blocks;
    let weights = if context.dtype() == DType::F16 { "array<vec4<f16>>" } else { "array<vec4<f32>>" };
    Kernel::new(label, context.dtype(), invocations)
        .constant("BLOCK_M", block_m)
        .constant("BLOCK_N", block_n)
        .constant("BLOCK_K", block_k)
        .constant("COLUMNS", columns)
        .binding("input", "array<Elem>", Slot::Input)
        .binding("weights", weights, Slot::Weights)
        .with_geometry(&geometry, context.mode)
        .with_epilogue(context.epilogue())
        .fragment(operands.fragment())
}

pub(super) fn plan(context: &Context, operands: Operands, tile: &GemmTile) -> Result<Parts> {
    let GemmTile { block_m, block_n, block_k, thread_m, thread_n } = *tile;
    let geometry = operands.geometry(context.geometry).expect("the layer was accepted");
    let label = format!("{} {} {tile}", operands.label(), context.dtype());
    let columns = (block_n / tile.invocations()).max(1);
    let mut kernel = kernel(context, operands, label, tile.invocations(), [block_m, block_n, block_k], columns)
        .constant("THREAD_M", thread_m)
        .constant("THREAD_N", thread_n)
        .fragment(include_str!("../../shaders/gemm_tile.wgsl"));
    kernel.workgroup_bytes = tile.workgroup_bytes();
    let grid = fold(blocks(&geometry, block_m, block_n), context.limits.workgroups)?;
    Ok(Parts { steps: vec![Step { kernel, grid }], packing: operands.packing(block_m, block_k), workspace: Vec::new() })
}
