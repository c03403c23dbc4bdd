//! [`Product`]: a convolution as a matrix product, whatever loop computes it.
//!
//! For each group and each phase of a transposed convolution: `C[m, n] = sum over k of A[m, k] B[k, n]` with `m` the group's output
//! channels, `n` batch items and output positions, `k` taps and input channels. `A` is the weights in panels; `B` is the input, read
//! through addresses that the operand fragment computes (implicit GEMM; Chetlur et al., "cuDNN", 2014), or as it lies.

use super::Context;
use super::cost::Operations;
use super::plan::Packing;
use crate::desc::Epilogue;
use crate::geometry::Geometry;
use crate::kernel::{GeometryMode, Kernel, Slot, Stores, vectors};
use crate::layout::Layout;
use crate::limits::DeviceClass;
use crate::problem::Layer;
use crate::tensor_desc::DType;

/// A matrix product: its shape, and where its operands and results lie.
pub(super) struct Product {
    /// The convolution that the kernel sees.
    pub geometry: Geometry,
    /// How `B` is addressed.
    pub operands: Operands,
    /// The elements of `A` and `B`.
    pub dtype: DType,
    /// The elements of `C`.
    pub result: DType,
    /// Whether sizes are constants.
    pub mode: GeometryMode,
    /// What is done to the sums.
    pub epilogue: Epilogue,
    /// Where `B` is.
    pub input: Slot,
    /// Where `C` goes.
    pub output: Slot,
    /// The buffer of the workspace in which the slices of its sums may be.
    pub slices: usize,
}

impl Product {
    /// The layer as a product, or why it is none.
    pub fn new(context: &Context, operands: Operands) -> Result<Self, String> {
        let Layer::Conv(desc) = context.problem.layer else { return Err("the layer is not a convolution".into()) };
        Ok(Self {
            geometry: operands.geometry(context.geometry)?,
            operands,
            dtype: context.dtype(),
            result: context.dtype(),
            mode: context.mode,
            epilogue: desc.epilogue,
            input: Slot::Input,
            output: Slot::Output,
            slices: 0,
        })
    }

    /// Blocks of rows of the result in all groups and phases.
    pub fn bands(&self, block_m: u32) -> u64 {
        let rows = u64::from(self.geometry.group_out().div_ceil(block_m)) * u64::from(self.geometry.groups);
        self.geometry.phases().iter().fold(rows, |bands, &count| bands * u64::from(count))
    }

    /// Blocks of columns of the result.
    pub fn column_blocks(&self, block_n: u32) -> u64 {
        let places = self.geometry.phase_output().into_iter().map(u64::from).product::<u64>();
        (u64::from(self.geometry.batch) * places).div_ceil(u64::from(block_n))
    }

    /// Blocks of the result in all groups and phases.
    pub fn blocks(&self, block_m: u32, block_n: u32) -> u64 {
        self.bands(block_m) * self.column_blocks(block_n)
    }

    /// Steps of `block_k` channels that each block takes of one of `split_k` slices; of a transposed convolution the mean over its
    /// phases.
    pub fn k_tiles(&self, block_k: u32, split_k: u32) -> f64 {
        let phases: f64 = self.geometry.phases().iter().map(|&count| f64::from(count)).product();
        let tiles = self.geometry.taps() as f64 / phases * f64::from(self.geometry.group_in().div_ceil(block_k));
        if split_k == 1 { tiles } else { (tiles / f64::from(split_k)).ceil() }
    }

    /// The most steps of `block_k` channels of a tap, in any phase.
    pub fn most_k_tiles(&self, block_k: u32) -> u64 {
        let taps: u64 = self.geometry.phase_taps().iter().map(|&taps| u64::from(taps)).product();
        taps * u64::from(self.geometry.group_in().div_ceil(block_k))
    }

    /// The most iterations of all loops of an invocation that takes `per_step` of them for `block_k` channels of a tap, and one of
    /// `split_k` slices of all.
    pub fn iterations(&self, block_k: u32, split_k: u32, per_step: u64) -> u64 {
        let steps = self.most_k_tiles(block_k).div_ceil(u64::from(split_k));
        steps.saturating_mul(per_step).saturating_add(self.geometry.first_taps())
    }

    /// Whether four rows of `B` are neighbours in memory, and a group has a whole number of such fours.
    pub fn has_vectors(&self) -> bool {
        self.geometry.input_layout == Layout::ChannelsLast && self.geometry.group_in().is_multiple_of(4)
    }

    /// Whether four neighbouring columns of `B` are neighbours in memory, at a multiple of 4: those of the input as it lies.
    pub fn has_column_vectors(&self) -> bool {
        self.operands == Operands::Plain
            && self.geometry.input_layout == Layout::ChannelsFirst
            && self.geometry.input_plane().is_multiple_of(4)
    }

    /// Whether four neighbouring columns are four neighbouring outputs of each channel, at a multiple of 4. Pictures, which have up to four
    /// channels, are written texel by texel.
    pub fn stores_columns(&self) -> bool {
        let geometry = &self.geometry;
        geometry.output_layout == Layout::ChannelsFirst
            && geometry.output_plane().is_multiple_of(4)
            && !geometry.is_phased()
            && geometry.out_channels > 4
    }

    /// Whether four neighbouring rows are four neighbouring outputs of each column, at a multiple of 4: channels are last, or all there is of
    /// an item.
    pub fn stores_channels(&self) -> bool {
        let geometry = &self.geometry;
        let last = geometry.output_layout == Layout::ChannelsLast || geometry.output_plane() == 1;
        last && geometry.group_out().is_multiple_of(4) && geometry.out_channels > 4
    }

    /// How sums of a device's loop are stored, of which `columns` says whether it has columns by fours.
    pub fn stores(&self, columns: bool) -> Stores {
        if self.stores_channels() {
            Stores::Channels
        } else if columns && self.stores_columns() {
            Stores::Columns
        } else {
            Stores::One
        }
    }

    /// A kernel with the constants of a loop: blocks, and which bounds nothing passes, which leave out of the compiled text what would be
    /// tested for every element. What is tested for every store and every step is known only where sizes are constants.
    pub fn with_blocks(&self, kernel: Kernel, blocks: Blocks) -> Kernel {
        let Blocks { block: [block_m, block_n, block_k], padded_k, columns, split_k, few_weights, .. } = blocks;
        let geometry = &self.geometry;
        let known = self.mode == GeometryMode::Constant;
        kernel
            .constant("BLOCK_M", block_m)
            .constant("BLOCK_N", block_n)
            .constant("BLOCK_K", block_k)
            .constant("COLUMNS", columns)
            .constant("SPLIT_K", split_k)
            .constant("PADDED_K", padded_k)
            .constant("FEW_WEIGHTS", few_weights)
            .flag("WHOLE_M", known && geometry.group_out().is_multiple_of(block_m))
            .flag("WHOLE_STEPS", known && geometry.group_in().is_multiple_of(block_k))
            .flag("WHOLE_K", geometry.group_in().is_multiple_of(padded_k))
            .flag("ALL_INPUTS", self.operands == Operands::Implicit && meets_inputs_only(geometry))
            .fragment(include_str!("../../shaders/lib/slice.wgsl"))
            .fragment(include_str!("../../shaders/lib/block.wgsl"))
    }

    /// A kernel with the operands and everything around them; the loop is still to be added.
    pub fn kernel(&self, label: String, invocations: u32, blocks: Blocks, loads: Loads) -> Kernel {
        let kernel = self.with_blocks(Kernel::new(label, self.result, invocations), blocks);
        let kernel = match loads {
            Loads::Four | Loads::FourColumns | Loads::FourOfMatrix => kernel
                .binding("input", vectors(self.dtype), self.input)
                .fragment(include_str!("../../shaders/lib/operand_4.wgsl")),
            Loads::Matrix => kernel.input_of("array<f16>", self.input).fragment(include_str!("../../shaders/lib/operand.wgsl")),
            Loads::FourOfRow => kernel.input_in_fours(self.input).fragment(include_str!("../../shaders/lib/operand.wgsl")),
            Loads::One => kernel.input(self.input).fragment(include_str!("../../shaders/lib/operand.wgsl")),
        };
        let numbers = match loads {
            Loads::Matrix | Loads::FourOfMatrix => "alias Number = f16;",
            _ if blocks.half == 0 => include_str!("../../shaders/lib/floats.wgsl"),
            _ => include_str!("../../shaders/lib/halves.wgsl"),
        };
        let kernel = kernel.binding("weights", vectors(self.dtype), Slot::Weights).fragment(numbers);
        let kernel = match blocks.stores {
            Stores::One => kernel.fragment(include_str!("../../shaders/lib/finish.wgsl")),
            Stores::Columns | Stores::Channels => kernel,
        };
        let kernel = self.operands.add_to(kernel.with_geometry(&self.geometry, self.mode));
        match blocks.split_k {
            1 => kernel.with_epilogue(&self.epilogue, self.output, blocks.stores),
            _ if blocks.stores != Stores::One => kernel
                .written("partial", "array<vec4<f32>>", Slot::Workspace(self.slices))
                .fragment(include_str!("../../shaders/lib/slice_store_4.wgsl")),
            _ => kernel
                .written("partial", "array<f32>", Slot::Workspace(self.slices))
                .fragment(include_str!("../../shaders/lib/slice_store.wgsl")),
        }
    }
}

/// What a loop takes of the operands.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    /// Rows and columns of the result, and terms of one step; over strips those of a channel.
    pub block: [u32; 3],
    /// The rows of a tap's weights are a multiple of this: zeros behind them make them one.
    pub padded_k: u32,
    /// Loads of an invocation along n, of a column each or of four.
    pub columns: u32,
    /// Products of a run in f16; 0 where all is in f32.
    pub half: u32,
    /// Slices of the sum.
    pub split_k: u32,
    /// How sums are stored.
    pub stores: Stores,
    /// Of a group with at most so many weights blocks that share columns follow one another, and not those that share rows.
    pub few_weights: u32,
}

/// So many weights of a group a core's cache holds, so that it is the input that should be read once only: half of the smallest second level
/// cache of today's CPUs. GPUs, whose workgroups run side by side, have not been measured.
pub(super) fn few_weights(class: DeviceClass) -> u32 {
    match class {
        DeviceClass::Software => 64 << 10,
        DeviceClass::Integrated | DeviceClass::Discrete => 0,
    }
}

/// Whether every output sees an input at every tap: no padding, and no phases of which some have fewer columns.
fn meets_inputs_only(geometry: &Geometry) -> bool {
    !geometry.is_phased()
        && (0..3).all(|axis| {
            let last = u64::from(geometry.output[axis] - 1) * u64::from(geometry.stride[axis])
                + u64::from(geometry.kernel[axis] - 1) * u64::from(geometry.dilation[axis]);
            geometry.pad_begin[axis] == 0 && last < u64::from(geometry.input[axis])
        })
}

/// What a load of `B` brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loads {
    /// An element.
    One,
    /// Four rows that are neighbours in memory.
    Four,
    /// Four columns that are neighbours in memory, all of them or none.
    FourColumns,
    /// An element, or four neighbours of a row that begin at a multiple of 4.
    FourOfRow,
    /// An element in f16, for cooperative matrices.
    Matrix,
    /// Four rows in f16 that are neighbours in memory, for cooperative matrices.
    FourOfMatrix,
}

/// Which matrix product a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Addresses from taps and positions.
    Implicit,
    /// The input is the operand.
    Plain,
    /// Addresses from strips, or patches, of outputs; the taps of a turn of each channel are rows of a step.
    Strip,
}

impl Operands {
    /// The geometry that the kernel sees, or why there is none.
    fn geometry(self, geometry: &Geometry) -> Result<Geometry, String> {
        match self {
            Operands::Implicit | Operands::Strip => Ok(geometry.clone()),
            Operands::Plain => plain(geometry).ok_or_else(|| {
                let grouped = if is_grouped_last(geometry) { "; with channels last in one group only" } else { "" };
                format!("the layer is neither a 1x1 convolution at stride 1 without padding nor fully connected{grouped}")
            }),
        }
    }

    /// The kernel with what finds the operands; it has its geometry.
    pub fn add_to(self, kernel: Kernel) -> Kernel {
        let phase = include_str!("../../shaders/lib/phase.wgsl");
        match self {
            Operands::Implicit => kernel.fragment(phase).fragment(include_str!("../../shaders/conv_gemm_operands.wgsl")),
            Operands::Plain => kernel.fragment(include_str!("../../shaders/matmul_operands.wgsl")),
            Operands::Strip => kernel.fragment(phase).fragment(include_str!("../../shaders/conv_strip_operands.wgsl")),
        }
    }

    pub fn packing(self, [block_m, padded_k]: [u32; 2]) -> Packing {
        Packing::Panels { block_m, padded_k, flat: self == Operands::Plain }
    }

    /// What finding the inputs of a column takes in each step.
    pub fn address(self) -> Operations {
        match self {
            Operands::Implicit | Operands::Strip => Operations::ADDRESS,
            Operands::Plain => Operations::FMA,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Operands::Implicit => "conv_gemm",
            Operands::Plain => "matmul",
            Operands::Strip => "conv_strip",
        }
    }
}

/// The layer as a 1x1 convolution over one axis, where it is one: a kernel of one tap, or a kernel as large as the input.
fn plain(geometry: &Geometry) -> Option<Geometry> {
    let unpadded = geometry.pad_begin == [0; 3] && geometry.pad_end == [0; 3] && !geometry.is_phased();
    let plane = geometry.input_plane() as u32;
    if unpadded && geometry.kernel == [1; 3] && geometry.stride == [1; 3] && geometry.output == geometry.input {
        return Some(Geometry { input: [1, 1, plane], output: [1, 1, plane], ..geometry.clone() });
    }
    if unpadded && geometry.kernel == geometry.input && geometry.output == [1; 3] && geometry.dilation == [1; 3] {
        // Channels and taps of a group are one run of memory, in the input as in the weights; with channels last those of all groups are.
        if is_grouped_last(geometry) {
            return None;
        }
        let in_channels = geometry.in_channels.checked_mul(plane)?;
        return Some(Geometry { in_channels, input: [1; 3], kernel: [1; 3], ..geometry.clone() });
    }
    None
}

/// Whether the inputs of a group are not one run of memory.
fn is_grouped_last(geometry: &Geometry) -> bool {
    geometry.input_layout == Layout::ChannelsLast && geometry.groups > 1
}
