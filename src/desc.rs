//! What the user says about a layer: [`ConvDesc`], [`PoolDesc`] and their parts. Plain data; [`Geometry`](crate::Geometry) checks it.

use crate::activation::Activation;
use crate::error::Result;
use crate::layout::Layout;
use crate::spatial::Spatial;

/// How much is added around the input before the kernel slides over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Padding {
    /// So many elements before and behind each axis. For a transposed convolution: so many outputs cropped.
    Explicit {
        /// Elements before the first one.
        begin: Spatial,
        /// Elements behind the last one.
        end: Spatial,
    },
    /// None; ONNX's `VALID`.
    Valid,
    /// Such that `output = ceil(input / stride)`, an odd element at the end; ONNX's `SAME_UPPER`.
    SameUpper,
    /// Such that `output = ceil(input / stride)`, an odd element at the beginning; ONNX's `SAME_LOWER`.
    SameLower,
}

impl From<Spatial> for Padding {
    fn from(both: Spatial) -> Self {
        Padding::Explicit { begin: both, end: both }
    }
}

macro_rules! padding_from_array {
    ($($rank:literal)*) => {$(
        /// The same number on both sides of each axis.
        impl From<[usize; $rank]> for Padding {
            fn from(both: [usize; $rank]) -> Self {
                Spatial::from(both).into()
            }
        }
        /// `(begin, end)` for each axis.
        impl From<[(usize, usize); $rank]> for Padding {
            fn from(sides: [(usize, usize); $rank]) -> Self {
                Padding::Explicit { begin: sides.map(|side| side.0).into(), end: sides.map(|side| side.1).into() }
            }
        }
    )*};
}
padding_from_array!(1 2 3);

/// What the padding of a convolution holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The input mirrored at its border elements, which are not repeated: `c b | a b c | b a`.
    Reflect,
    /// The border element: `a a | a b c | c c`.
    Replicate,
    /// The input repeated: `b c | a b c | a b`.
    Circular,
}

/// Where a second tensor of the output's shape is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Residual {
    /// Nothing is added.
    #[default]
    None,
    /// `activation(conv + bias + residual)`, as in ResNet.
    BeforeActivation,
    /// `activation(conv + bias) + residual`
    AfterActivation,
}

/// What a convolution kernel does to its sums before it stores them: `y = activation(sum + bias [+ residual]) [+ residual]`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Epilogue {
    /// Whether one number for each output channel is added.
    pub bias: bool,
    /// Whether and where a tensor of the output's shape is added.
    pub residual: Residual,
    /// The function applied.
    pub activation: Activation,
}

/// A convolution, or a transposed one, over 1, 2 or 3 spatial axes.
///
/// For each batch item `n`, output channel `o` of group `g` and output position `p`:
///
/// ```text
/// y[n,o,p] = sum over c of the group's input channels and taps t of  w[o, c, t] * x[n, c, p*stride + t*dilation - padding]
/// ```
///
/// A transposed convolution is the gradient of this one with respect to its input: `y[n,o, i*stride + t*dilation - padding]
/// += w[c, o, t] * x[n, c, i]`.
///
/// # Shapes
/// Input `[n, in_channels, spatial..]`; weights `[out_channels, in_channels/groups, kernel..]`, transposed
/// `[in_channels, out_channels/groups, kernel..]`; output `[n, out_channels, spatial'..]` with, on each axis,
/// `(input + begin + end - dilation*(kernel-1) - 1) / stride + 1`, transposed
/// `(input-1)*stride - begin - end + dilation*(kernel-1) + 1 + output_padding`.
///
/// # Examples
/// ```
/// use wgconv::{Activation, ConvDesc, Epilogue};
/// let stem = ConvDesc {
///     stride: [2, 2].into(),
///     padding: [3, 3].into(),
///     epilogue: Epilogue { bias: true, activation: Activation::Relu, ..Default::default() },
///     ..ConvDesc::new(3, 64, [7, 7])
/// };
/// assert_eq!(stem.dilation, [1, 1].into());
/// ```
///
/// Sources: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016); ONNX operators Conv and
/// ConvTranspose; PyTorch `Conv1d` to `ConvTranspose3d`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvDesc {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Size of the kernel, in taps.
    pub kernel: Spatial,
    /// Step of the kernel over the input; transposed: step of the input over the output.
    pub stride: Spatial,
    /// Distance of two taps; 1 is dense.
    pub dilation: Spatial,
    /// Elements around the input; transposed: outputs cropped.
    pub padding: Padding,
    /// What stands in the padding. A transposed convolution knows only [`PaddingMode::Zeros`].
    pub padding_mode: PaddingMode,
    /// Channels fall into so many groups that do not see each other; 1 is dense, `in_channels` is depthwise.
    pub groups: usize,
    /// Whether this is a transposed convolution.
    pub transposed: bool,
    /// Outputs added at the end of each axis of a transposed convolution, less than `max(stride, dilation)`; else 0.
    pub output_padding: Spatial,
    /// What is done to the sums.
    pub epilogue: Epilogue,
    /// How the output and the residual lie in memory; `None`: as the input does.
    pub output_layout: Option<Layout>,
}

impl ConvDesc {
    /// A dense convolution with stride 1, dilation 1, no padding, no bias and no activation.
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Spatial>) -> Self {
        let kernel = kernel.into();
        let rank = kernel.rank();
        Self {
            in_channels,
            out_channels,
            kernel,
            stride: Spatial::splat(rank, 1),
            dilation: Spatial::splat(rank, 1),
            padding: Spatial::splat(rank, 0).into(),
            padding_mode: PaddingMode::Zeros,
            groups: 1,
            transposed: false,
            output_padding: Spatial::splat(rank, 0),
            epilogue: Epilogue::default(),
            output_layout: None,
        }
    }

    /// A transposed convolution with the same defaults as [`ConvDesc::new`].
    pub fn transposed(in_channels: usize, out_channels: usize, kernel: impl Into<Spatial>) -> Self {
        Self { transposed: true, ..Self::new(in_channels, out_channels, kernel) }
    }

    /// A fully connected layer: a convolution whose kernel is the whole input, given as `[n, in_features, 1]`.
    pub fn linear(in_features: usize, out_features: usize) -> Self {
        Self::new(in_features, out_features, [1])
    }

    /// The shape that the weights must have, for any groups that divide the channels.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where `groups` does not divide the channels.
    pub fn weight_shape(&self) -> Result<Vec<usize>> {
        self.check_groups()?;
        let channels = if self.transposed {
            [self.in_channels, self.out_channels / self.groups]
        } else {
            [self.out_channels, self.in_channels / self.groups]
        };
        Ok(channels.iter().chain(self.kernel.as_slice()).copied().collect())
    }
}

/// What a pooling computes over each window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PoolKind {
    /// The greatest element. Padding never wins; a NaN does.
    Max {
        /// Whether, and in which numbering, the positions of the greatest elements are a second output.
        indices: Option<IndexOrder>,
    },
    /// The mean.
    Average {
        /// Whether padding counts in the divisor: positions inside `[-begin, input + end)`.
        count_include_pad: bool,
        /// A divisor in place of the count.
        divisor_override: Option<usize>,
    },
    /// `(sum |x|^p)^(1/p)`
    Lp {
        /// The order of the norm, greater than 0.
        p: f32,
    },
}

/// How a max pooling numbers positions. Ties go to the first position in row-major order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IndexOrder {
    /// Row-major within the channel's own un-padded plane: PyTorch's.
    Plane,
    /// Row-major within the whole input tensor: ONNX's `storage_order = 0`.
    Tensor,
    /// Within the whole input tensor, each plane counted with its first spatial axis fastest: ONNX's `storage_order = 1`.
    TensorColumnMajor,
}

impl IndexOrder {
    /// Its number in shaders.
    pub(crate) fn number(self) -> i32 {
        match self {
            IndexOrder::Plane => 0,
            IndexOrder::Tensor => 1,
            IndexOrder::TensorColumnMajor => 2,
        }
    }
}

/// Which inputs each output of a pooling sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolWindow {
    /// A window of this size, sliding with the description's stride, padding, dilation and ceil mode.
    Sliding(Spatial),
    /// The whole plane; one output for each channel.
    Global,
    /// Output `o` of `out` on an axis of length `in` sees `floor(o*in/out) .. ceil((o+1)*in/out)`: PyTorch's rule.
    Adaptive(Spatial),
}

/// A pooling over 1, 2 or 3 spatial axes.
///
/// # Shapes
/// Input `[n, c, spatial..]`, output `[n, c, spatial'..]` with, on each axis, `(input + begin + end - dilation*(kernel-1) - 1) / stride + 1`,
/// rounded down, or up under `ceil_mode` and then less one if the last window would start beyond the input and its first padding.
///
/// # Examples
/// ```
/// use wgconv::PoolDesc;
/// let pool = PoolDesc { stride: [2, 2].into(), padding: [1, 1].into(), ..PoolDesc::max([3, 3]) };
/// let head = PoolDesc::global_average();
/// ```
///
/// Sources: PyTorch `MaxPool1d` to `AdaptiveAvgPool3d`; ONNX operators MaxPool, AveragePool, LpPool and the global ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolDesc {
    /// What is computed.
    pub kind: PoolKind,
    /// Over which windows. The fields below are for sliding windows, and at their defaults otherwise.
    pub window: PoolWindow,
    /// Step of the window; `[1]` for global and adaptive windows.
    pub stride: Spatial,
    /// Distance of two elements of the window; 1 is dense.
    pub dilation: Spatial,
    /// Padding around the input. It never holds a value: it only shifts windows, and counts under `count_include_pad`.
    pub padding: Padding,
    /// Whether the output size is rounded up.
    pub ceil_mode: bool,
    /// How the output and its indices lie in memory; `None`: as the input does. Positions are numbered the same in both.
    pub output_layout: Option<Layout>,
}

impl PoolDesc {
    /// The numbering of the positions that are a second output, if they are.
    pub(crate) fn indices(&self) -> Option<IndexOrder> {
        match self.kind {
            PoolKind::Max { indices } => indices,
            PoolKind::Average { .. } | PoolKind::Lp { .. } => None,
        }
    }

    fn sliding(kind: PoolKind, kernel: Spatial) -> Self {
        let rank = kernel.rank();
        Self {
            kind,
            window: PoolWindow::Sliding(kernel),
            stride: kernel,
            dilation: Spatial::splat(rank, 1),
            padding: Spatial::splat(rank, 0).into(),
            ceil_mode: false,
            output_layout: None,
        }
    }

    fn unpadded(kind: PoolKind, window: PoolWindow) -> Self {
        Self { window, ..Self::sliding(kind, Spatial::splat(1, 1)) }
    }

    /// Max pooling with `stride = kernel`, as PyTorch has it; without indices.
    pub fn max(kernel: impl Into<Spatial>) -> Self {
        Self::sliding(PoolKind::Max { indices: None }, kernel.into())
    }

    /// Average pooling with `stride = kernel`; padding counts in the divisor, as PyTorch has it.
    pub fn average(kernel: impl Into<Spatial>) -> Self {
        Self::sliding(PoolKind::Average { count_include_pad: true, divisor_override: None }, kernel.into())
    }

    /// Lp pooling with `stride = kernel`.
    pub fn lp(p: f32, kernel: impl Into<Spatial>) -> Self {
        Self::sliding(PoolKind::Lp { p }, kernel.into())
    }

    /// The greatest element of each plane.
    pub fn global_max() -> Self {
        Self::unpadded(PoolKind::Max { indices: None }, PoolWindow::Global)
    }

    /// The mean of each plane.
    pub fn global_average() -> Self {
        Self::unpadded(PoolKind::Average { count_include_pad: true, divisor_override: None }, PoolWindow::Global)
    }

    /// The Lp norm of each plane.
    pub fn global_lp(p: f32) -> Self {
        Self::unpadded(PoolKind::Lp { p }, PoolWindow::Global)
    }

    /// Adaptive max pooling to this output size.
    pub fn adaptive_max(output_size: impl Into<Spatial>) -> Self {
        Self::unpadded(PoolKind::Max { indices: None }, PoolWindow::Adaptive(output_size.into()))
    }

    /// Adaptive average pooling to this output size.
    pub fn adaptive_average(output_size: impl Into<Spatial>) -> Self {
        let kind = PoolKind::Average { count_include_pad: true, divisor_override: None };
        Self::unpadded(kind, PoolWindow::Adaptive(output_size.into()))
    }
}
