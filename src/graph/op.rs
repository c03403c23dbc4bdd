//! [`Op`]: what a node of a graph computes. A closed vocabulary, that of ONNX with its attributes; the meaning of each, for shapes
//! and for numbers, stands in `ops/`.
//!
//! Operands that ONNX gives as inputs (axes, shapes, pads) are inputs here too, and must be constant where a shape depends on them.

use super::attributes::{
    Binary, ConvOp, PadMode, Reduce, Resize, SampleMode, SamplePadding, SoftmaxKind, Stage, Unary, Variadic,
};
use crate::activation::Activation;
use crate::desc::{Epilogue, PoolDesc};
use crate::value::{ElementType, Value};

/// What a node computes.
///
/// The comment of each variant lists its inputs, optional ones in brackets, and its outputs where there is more than one. An absent
/// optional input is `None` in the node's list. Axes may be negative: they count from the end.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Convolution, transposed or not. `x, weight, [bias], [residual], [slope]`; weights in ONNX's order, see [`ConvDesc`](crate::ConvDesc).
    Conv(ConvOp),
    /// Pooling. `x` gives `y, [indices as int64]`.
    Pool(PoolDesc),
    /// Puts the elements of a max pooling back where they were, zeros elsewhere. `x, indices, [output shape]`.
    MaxUnpool {
        /// Size of the pooling's window.
        kernel: Vec<usize>,
        /// Its stride; empty is 1 on each axis.
        stride: Vec<usize>,
        /// Its padding, all beginnings and then all ends; empty is none.
        pads: Vec<usize>,
    },
    /// `alpha * A' B' + beta * C`. `a, b, [c]`, `c` broadcast in one direction.
    Gemm {
        /// Factor of the product.
        alpha: f32,
        /// Factor of `c`.
        beta: f32,
        /// Whether `a` is transposed.
        trans_a: bool,
        /// Whether `b` is transposed.
        trans_b: bool,
    },
    /// A fully connected layer over the last axis, `activation(x W' + bias ..)`. `x, weight [out, in], [bias], [residual], [slope]`.
    Linear(Epilogue),
    /// Matrix product as numpy's `matmul`: batches broadcast, vectors are rows or columns. `a, b`.
    MatMul,

    /// A function of one number with parameters. `x`; not one that [has slopes](Activation::has_slope): `prelu` is [`Binary::Prelu`].
    Activation(Activation),
    /// A function of one number. `x`.
    Unary(Unary),
    /// A function of two numbers, broadcast. `a, b`.
    Binary(Binary),
    /// A function of any count of numbers, broadcast. `x..`.
    Variadic(Variadic),
    /// `condition ? a : b`, broadcast. `condition, a, b`.
    Where,
    /// `min(max(x, low), high)`. `x, [low], [high]`, both scalars.
    Clip,
    /// The same numbers as another type. `x`.
    Cast(ElementType),
    /// The same numbers as the type of the second input. `x, target`.
    CastLike,

    /// Functions of elements applied one after the other, which a pass made one node; every stage has the result's shape. `x..`
    Fused(Vec<Stage>),

    /// `(x - mean) / sqrt(variance + epsilon) * scale + shift`, of each channel. `x, scale, shift, mean, variance`; in training
    /// `y, running mean, running variance`.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
        /// Of the running statistics: `momentum * old + (1 - momentum) * new`.
        momentum: f32,
        /// Whether mean and variance are those of the input.
        training: bool,
    },
    /// As [`Op::BatchNorm`] with the statistics of each item and channel. `x, scale, shift`.
    InstanceNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalisation over all axes from `axis` on. `x, scale, [shift]` gives `y, [mean], [1 / standard deviation]`.
    LayerNorm {
        /// The first axis normalised over.
        axis: i64,
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x / sqrt(mean(x^2) + epsilon) * scale` over all axes from `axis` on. `x, scale`.
    RmsNorm {
        /// The first axis normalised over.
        axis: i64,
        /// Added to the mean square.
        epsilon: f32,
    },
    /// Normalisation over groups of channels. `x, scale, shift`, both of them one number for each channel or for each group.
    GroupNorm {
        /// Groups of channels.
        groups: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// `(x - mean) / (standard deviation + 1e-9)` over axes. `x`.
    MeanVarianceNorm {
        /// The axes.
        axes: Vec<i64>,
    },
    /// `x / norm` along an axis, 0 where the norm is 0. `x`.
    LpNorm {
        /// The axis.
        axis: i64,
        /// Order of the norm: 1 or 2.
        p: u32,
    },
    /// Local response normalisation across channels (Krizhevsky et al., 2012): `x / (bias + alpha/size * sum of squares)^beta`. `x`.
    Lrn {
        /// Channels in the window.
        size: usize,
        /// Factor of the mean square.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// Added to the mean square.
        bias: f32,
    },
    /// Softmax and its kin. `x`.
    Softmax {
        /// Which.
        kind: SoftmaxKind,
        /// The axis.
        axis: i64,
        /// Whether all axes from `axis` on count as one: opsets before 13.
        flatten: bool,
    },
    /// Reduction over axes. `x, [axes]`; without axes over all of them.
    Reduce {
        /// What is computed.
        kind: Reduce,
        /// Whether reduced axes stay with length 1.
        keep_dims: bool,
        /// Whether an absent or empty list of axes means that nothing is reduced.
        noop_with_empty_axes: bool,
    },
    /// The index of the greatest or least element along an axis, as int64. `x`.
    ArgReduce {
        /// Whether of the least.
        min: bool,
        /// The axis.
        axis: i64,
        /// Whether the axis stays with length 1.
        keep_dims: bool,
        /// Whether the last of equals counts, and not the first.
        last: bool,
    },

    /// The input. `x`.
    Identity,
    /// Dropout, which does nothing in inference. `x, [ratio], [training mode]` gives `y, [mask]`.
    Dropout,
    /// Puts inputs behind each other along an axis. `x..`.
    Concat {
        /// The axis.
        axis: i64,
    },
    /// Cuts along an axis. `x, [lengths]` gives as many outputs as the node has.
    Split {
        /// The axis.
        axis: i64,
    },
    /// Cuts out, with steps. `x, starts, ends, [axes], [steps]`.
    Slice,
    /// Adds elements around. `x, pads, [value], [axes]`; negative pads cut off.
    Pad(PadMode),
    /// Two axes: those before `axis` as one, the rest as the other. `x`.
    Flatten {
        /// The first axis of the second part.
        axis: i64,
    },
    /// Another shape. `x, shape`; -1 is what remains, 0 is the input's size unless `allow_zero`.
    Reshape {
        /// Whether 0 means 0.
        allow_zero: bool,
    },
    /// Another order of axes. `x`; empty is the reverse.
    Transpose {
        /// Output axis `i` is input axis `permutation[i]`.
        permutation: Vec<usize>,
    },
    /// Takes away axes of length 1. `x, [axes]`.
    Squeeze,
    /// Puts in axes of length 1. `x, axes`.
    Unsqueeze,
    /// Broadcasts, in both directions. `x, shape`.
    Expand,
    /// Repeats along each axis. `x, repeats`.
    Tile,
    /// Slices of an axis by index. `x, indices`. An index outside of the axis is an error; where only the device has it, what it stands for is
    /// NaN, or 0 among integers.
    Gather {
        /// The axis.
        axis: i64,
    },
    /// Blocks of the channel axis become space. `x`.
    DepthToSpace {
        /// Edge of a block.
        block: usize,
        /// Whether channels are outermost (ONNX's `CRD`), and not blocks (`DCR`).
        channels_first: bool,
    },
    /// Blocks of space become channels. `x`.
    SpaceToDepth {
        /// Edge of a block.
        block: usize,
    },
    /// Resampling. `x, [roi], [scales], [sizes]`.
    Resize(Resize),
    /// Cuts or pads around the centre to a shape. `x, shape`.
    CenterCropPad {
        /// The axes of `shape`; empty is all.
        axes: Vec<i64>,
    },

    /// The shape as a list of int64. `x`.
    Shape {
        /// The first axis.
        start: i64,
        /// One past the last axis; `None` is all.
        end: Option<i64>,
    },
    /// The number of elements. `x`.
    Size,
    /// One number everywhere. `shape`.
    ConstantOfShape {
        /// A value of one element.
        value: Value,
    },
    /// `start, start + step, ..` before the limit. `start, limit, step`.
    Range,

    /// `saturate(round(x / scale) + zero point)`. `x, scale, [zero point]`.
    QuantizeLinear {
        /// The axis of per-axis scales.
        axis: i64,
        /// Elements of a block along the axis; 0 is none.
        block: usize,
        /// The type without a zero point.
        output: ElementType,
    },
    /// `(x - zero point) * scale`. `x, scale, [zero point]`.
    DequantizeLinear {
        /// The axis of per-axis scales.
        axis: i64,
        /// Elements of a block along the axis; 0 is none.
        block: usize,
    },
    /// Quantisation to u8 over the range of the input. `x` gives `y, scale, zero point`.
    DynamicQuantizeLinear,
    /// Convolution of quantised numbers. `x, x scale, x zero, w, w scale, w zero, y scale, y zero, [bias]`.
    QLinearConv(ConvOp),
    /// Convolution of integers. `x, w, [x zero], [w zero]` gives int32.
    ConvInteger(ConvOp),
    /// Matrix product of quantised numbers. `a, a scale, a zero, b, b scale, b zero, y scale, y zero`.
    QLinearMatMul,
    /// Matrix product of integers. `a, b, [a zero], [b zero]` gives int32.
    MatMulInteger,

    /// Samples at positions of a flow field in [-1, 1]. `x, grid`.
    GridSample {
        /// How between elements.
        mode: SampleMode,
        /// What is outside.
        padding: SamplePadding,
        /// Whether -1 and 1 are the centres of the outermost elements, and not their edges.
        align_corners: bool,
    },
    /// Means or maxima of bilinear samples over regions (He et al., Mask R-CNN, 2017). `x, regions, batch indices`.
    RoiAlign {
        /// Whether the greatest sample counts, and not the mean.
        max: bool,
        /// Rows and columns of the output.
        output: [usize; 2],
        /// Samples of each bin on each axis; 0 is as many as it has elements.
        sampling_ratio: usize,
        /// From the regions' coordinates to the input's.
        spatial_scale: f32,
        /// Whether coordinates are shifted by half an element.
        half_pixel: bool,
    },
    /// Convolution with an offset for each tap (Dai et al., 2017). `x, weight, offset, [bias], [mask]`.
    DeformConv {
        /// Stride, dilation, padding, groups.
        conv: ConvOp,
        /// Groups of channels that share offsets.
        offset_groups: usize,
    },
    /// Sums columns into an image, the transpose of gathering windows. `x, image shape, block shape`.
    Col2Im {
        /// Distance of two taps; empty is 1.
        dilation: Vec<usize>,
        /// Padding, all beginnings and then all ends; empty is none.
        pads: Vec<usize>,
        /// Step of the window; empty is 1.
        stride: Vec<usize>,
    },
    /// A depthwise causal convolution over one axis that carries its last inputs along. `x, weight, [bias], [state]` gives
    /// `y, new state`.
    CausalConvWithState {
        /// Applied to the sums.
        activation: Activation,
    },
}

impl Op {
    /// Whether what it gives are floats rounded to the steps of a quantisation.
    pub(crate) fn rounds_to_steps(&self) -> bool {
        match self {
            Op::QuantizeLinear { .. } => true,
            Op::Fused(stages) => stages.last().is_some_and(|stage| stage.op.rounds_to_steps()),
            _ => false,
        }
    }
}
