//! The attributes of operations: what a convolution, a resampling, a function of elements is asked for.

use super::Op;
use crate::desc::{ConvDesc, Epilogue, Padding, PaddingMode};

/// One function of an [`Op::Fused`]; the last one's result is the node's.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// A function of elements, with one result.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<StageInput>,
}

/// An operand of a [`Stage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StageInput {
    /// The node's input of this number.
    Input(usize),
    /// The result of the stage of this number, which stands before.
    Stage(usize),
    /// An optional operand that is absent.
    Absent,
}

/// A convolution before the shapes are known: empty lists are 1, or 0 for padding, on each axis of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvOp {
    /// Channels of the input and of the output; `None`: those of the weights.
    pub channels: Option<[usize; 2]>,
    /// Size of the kernel; empty is that of the weights.
    pub kernel: Vec<usize>,
    /// Step of the kernel, or of the input where transposed.
    pub stride: Vec<usize>,
    /// Distance of two taps.
    pub dilation: Vec<usize>,
    /// Elements around the input.
    pub padding: Pads,
    /// What the padding holds.
    pub padding_mode: PaddingMode,
    /// Groups of channels.
    pub groups: usize,
    /// Whether this is a transposed convolution.
    pub transposed: bool,
    /// Outputs added at the end of each axis of a transposed one.
    pub output_padding: Vec<usize>,
    /// The output size of a transposed one, which its padding then follows; empty is what comes out.
    pub output_shape: Vec<usize>,
    /// What is done to the sums; whether there is a bias is what the inputs say.
    pub epilogue: Epilogue,
}

/// Padding whose rank may not be known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pads {
    /// All beginnings, then all ends; empty is none.
    Explicit(Vec<usize>),
    /// None.
    Valid,
    /// [`Padding::SameUpper`]
    SameUpper,
    /// [`Padding::SameLower`]
    SameLower,
}

impl Default for ConvOp {
    fn default() -> Self {
        Self {
            channels: None,
            kernel: Vec::new(),
            stride: Vec::new(),
            dilation: Vec::new(),
            padding: Pads::Explicit(Vec::new()),
            padding_mode: PaddingMode::Zeros,
            groups: 1,
            transposed: false,
            output_padding: Vec::new(),
            output_shape: Vec::new(),
            epilogue: Epilogue::default(),
        }
    }
}

impl From<&ConvDesc> for ConvOp {
    fn from(desc: &ConvDesc) -> Self {
        Self {
            channels: Some([desc.in_channels, desc.out_channels]),
            kernel: desc.kernel.as_slice().to_vec(),
            stride: desc.stride.as_slice().to_vec(),
            dilation: desc.dilation.as_slice().to_vec(),
            padding: match desc.padding {
                Padding::Explicit { begin, end } => Pads::Explicit([begin.as_slice(), end.as_slice()].concat()),
                Padding::Valid => Pads::Valid,
                Padding::SameUpper => Pads::SameUpper,
                Padding::SameLower => Pads::SameLower,
            },
            padding_mode: desc.padding_mode,
            groups: desc.groups,
            transposed: desc.transposed,
            output_padding: desc.output_padding.as_slice().to_vec(),
            output_shape: Vec::new(),
            epilogue: desc.epilogue,
        }
    }
}

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the functions")]
#[non_exhaustive]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Floor,
    Ceil,
    /// To the nearest, halves to even.
    Round,
    Erf,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    /// Of a bool.
    Not,
    IsNan,
    IsInf,
}

/// Functions of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the functions")]
#[non_exhaustive]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Integers towards zero.
    Div,
    /// `a^b` in the type of `a`.
    Pow,
    /// The remainder with the sign of the divisor, as Python's.
    Mod,
    /// The remainder with the sign of the dividend, as C's.
    Fmod,
    /// `a` where it is not negative, else `b * a`.
    Prelu,
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Xor,
}

/// Functions of any count of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the functions")]
#[non_exhaustive]
pub enum Variadic {
    Sum,
    Mean,
    Max,
    Min,
}

/// The functions of a whole row of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SoftmaxKind {
    /// `exp(x) / sum(exp(x))`
    Softmax,
    /// `x - ln(sum(exp(x)))`
    LogSoftmax,
    /// 1 at the first greatest element, 0 elsewhere.
    Hardmax,
}

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the functions")]
#[non_exhaustive]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    /// `sum |x|`
    L1,
    /// `sqrt(sum x^2)`
    L2,
    SumSquare,
    /// `ln(sum x)`
    LogSum,
    /// `ln(sum exp(x))`
    LogSumExp,
}

/// What is added around by [`Op::Pad`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// A value, or zero.
    Constant,
    /// The input mirrored at its border elements, which are not repeated.
    Reflect,
    /// The border elements.
    Edge,
    /// The input repeated.
    Wrap,
}

/// The attributes of a resampling, by ONNX's names.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// Between which elements.
    pub mode: ResizeMode,
    /// From output to input coordinates.
    pub coordinates: Coordinates,
    /// How a coordinate becomes an index in mode nearest.
    pub nearest: Nearest,
    /// Cubic only: the parameter `a`.
    pub cubic_a: f32,
    /// Whether weights outside the input count as 0 and the rest is scaled to 1.
    pub exclude_outside: bool,
    /// The value outside, under [`Coordinates::TfCropAndResize`].
    pub extrapolation: f32,
    /// Whether shrinking averages.
    pub antialias: bool,
    /// The axes of `scales`, `sizes` and `roi`; empty is all.
    pub axes: Vec<i64>,
    /// What becomes of `sizes`.
    pub aspect: AspectPolicy,
}

impl Default for Resize {
    /// What ONNX's `Resize` has where nothing is said.
    fn default() -> Self {
        Self {
            mode: ResizeMode::Nearest,
            coordinates: Coordinates::HalfPixel,
            nearest: Nearest::RoundPreferFloor,
            cubic_a: -0.75,
            exclude_outside: false,
            extrapolation: 0.0,
            antialias: false,
            axes: Vec::new(),
            aspect: AspectPolicy::Stretch,
        }
    }
}

/// How a resampling looks at the input between its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the rules")]
pub enum ResizeMode {
    Nearest,
    Linear,
    Cubic,
}

/// Where an output of a resampling lies in its input, by ONNX's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the rules")]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// How a coordinate is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the rules")]
pub enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// What becomes of the sizes that a resampling is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the rules")]
pub enum AspectPolicy {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// How [`Op::GridSample`] looks between elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the rules")]
pub enum SampleMode {
    Nearest,
    Linear,
    Cubic,
}

/// What [`Op::GridSample`] finds outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the rules")]
pub enum SamplePadding {
    Zeros,
    Border,
    Reflection,
}
