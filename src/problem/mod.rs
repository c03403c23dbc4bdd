//! [`Problem`]: a layer and its input, as a value that prints and parses as one line of text.
//!
//! The line is the test case, the benchmark's input, the bug report and the key of tables:
//!
//! ```text
//! conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu
//! conv_transpose 1x128x64x64 o64 k2x2 s2x2 f16
//! max_pool 1x64x112x112 k3x3 s2x2 p1x1 ceil f32 indices=plane
//! adaptive_avg_pool 1x2048x7x7 to1x1 f32
//! ```
//!
//! What it may consist of is told at [`Problem`], by `grammar.txt`, which the program `explain` prints too.
//!
//! Nothing is checked here beyond the grammar: an invalid layer prints and parses too, so that a bug report can show it.

mod parse;

use std::fmt;

use crate::activation::Activation;
use crate::desc::{ConvDesc, IndexOrder, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Residual};
use crate::layout::Layout;
use crate::spatial::{Spatial, write_dims};
use crate::tensor_desc::{DType, TensorDesc};

/// A layer's description together with the description of its input.
///
/// It prints and parses as one line of text, a *problem line*. The layer need not be one that can be: that is a question to
/// [`Geometry::new`](crate::Geometry::new).
///
/// # Grammar
/// ```text
#[doc = include_str!("grammar.txt")]
/// ```
///
/// # Examples
/// Lines in the form that they are printed in:
/// ```
/// use wgconv::Problem;
/// for line in [
///     "conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu",
///     "conv 1x64x56x56 o256 k1x1 f32 nhwc out=nchw",
///     "conv 2x8x9 o8 k3 s2 p0:1 reflect d2 g4 f16 residual=before leaky_relu(0.1)",
///     "conv_transpose 1x128x64x64 o64 k2x2 s2x2 same_upper op1x0 f16",
///     "conv 1x64x16x56x56 o128 k3x3x3 p1x1x1 f32 bias clamp(-1,1)",
///     "max_pool 1x64x112x112 k3x3 s2x2 p1x1 ceil f32 indices=plane",
///     "avg_pool 1x1x8x8 k2x2 s1x1 p1:0x0:0 f32 exclude_pad divisor=3",
///     "global_lp_pool 1x1x8 f32 norm=2",
///     "adaptive_avg_pool 1x2048x7x7 to1x1 f32",
/// ] {
///     let problem: Problem = line.parse()?;
///     assert_eq!(problem.to_string(), line);
/// }
/// # Ok::<(), wgconv::Error>(())
/// ```
/// In another order it is the same layer, and what is no token is named:
/// ```
/// use wgconv::Problem;
/// let problem: Problem = "conv 1x64x56x56 relu f32 bias k3x3 o64 p1x1".parse()?;
/// assert_eq!(problem.to_string(), "conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu");
/// let error = "conv 1x64x56x56 o64 k3x3 f33".parse::<Problem>().unwrap_err();
/// assert!(error.message().starts_with("`f33` is not a token of a problem line"));
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The layer.
    pub layer: Layer,
    /// The input's shape, element type and layout.
    pub input: TensorDesc,
}

/// The layer of a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Layer {
    /// A convolution or transposed convolution.
    Conv(ConvDesc),
    /// A pooling.
    Pool(PoolDesc),
}

impl Problem {
    /// The numbering of the positions that a pooling gives beside its output.
    pub(crate) fn indices(&self) -> Option<IndexOrder> {
        match &self.layer {
            Layer::Conv(_) => None,
            Layer::Pool(desc) => desc.indices(),
        }
    }

    /// A convolution of an input.
    pub fn conv(desc: &ConvDesc, input: &TensorDesc) -> Self {
        Self { layer: Layer::Conv(*desc), input: input.clone() }
    }

    /// A pooling of an input.
    pub fn pool(desc: &PoolDesc, input: &TensorDesc) -> Self {
        Self { layer: Layer::Pool(*desc), input: input.clone() }
    }

    /// The same layer on an input of this layout, and with such an output.
    pub fn with_layout(&self, layout: Layout) -> Self {
        let mut layer = self.layer;
        match &mut layer {
            Layer::Conv(desc) => desc.output_layout = None,
            Layer::Pool(desc) => desc.output_layout = None,
        }
        Self { layer, input: self.input.with_layout(layout) }
    }

    /// The same layer on an input of another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { layer: self.layer, input: self.input.with_dtype(dtype) }
    }
}

/// The word that a line begins with.
fn op_name(layer: &Layer) -> String {
    match layer {
        Layer::Conv(desc) => if desc.transposed { "conv_transpose" } else { "conv" }.into(),
        Layer::Pool(desc) => {
            let window = match desc.window {
                PoolWindow::Sliding(_) => "",
                PoolWindow::Global => "global_",
                PoolWindow::Adaptive(_) => "adaptive_",
            };
            let kind = match desc.kind {
                PoolKind::Max { .. } => "max",
                PoolKind::Average { .. } => "avg",
                PoolKind::Lp { .. } => "lp",
            };
            format!("{window}{kind}_pool")
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", op_name(&self.layer))?;
        if self.input.shape().is_empty() {
            f.write_str("scalar")?;
        }
        write_dims(f, self.input.shape())?;
        match &self.layer {
            Layer::Conv(desc) => fmt_conv(f, desc, &self.input),
            Layer::Pool(desc) => fmt_pool(f, desc, &self.input),
        }
    }
}

fn fmt_conv(f: &mut fmt::Formatter<'_>, desc: &ConvDesc, input: &TensorDesc) -> fmt::Result {
    let default = ConvDesc::new(desc.in_channels, desc.out_channels, desc.kernel);
    if input.shape().get(1) != Some(&desc.in_channels) {
        write!(f, " in{}", desc.in_channels)?;
    }
    write!(f, " o{} k{}", desc.out_channels, desc.kernel)?;
    if desc.stride != default.stride {
        write!(f, " s{}", desc.stride)?;
    }
    fmt_padding(f, desc.padding, desc.kernel.rank())?;
    match desc.padding_mode {
        PaddingMode::Zeros => {}
        PaddingMode::Reflect => f.write_str(" reflect")?,
        PaddingMode::Replicate => f.write_str(" replicate")?,
        PaddingMode::Circular => f.write_str(" circular")?,
    }
    if desc.dilation != default.dilation {
        write!(f, " d{}", desc.dilation)?;
    }
    if desc.groups != 1 {
        write!(f, " g{}", desc.groups)?;
    }
    if desc.output_padding != default.output_padding {
        write!(f, " op{}", desc.output_padding)?;
    }
    fmt_elements(f, input, desc.output_layout)?;
    if desc.epilogue.bias {
        f.write_str(" bias")?;
    }
    match desc.epilogue.residual {
        Residual::None => {}
        Residual::BeforeActivation => f.write_str(" residual=before")?,
        Residual::AfterActivation => f.write_str(" residual=after")?,
    }
    if desc.epilogue.activation != Activation::Identity {
        write!(f, " {}", desc.epilogue.activation)?;
    }
    Ok(())
}

fn fmt_pool(f: &mut fmt::Formatter<'_>, desc: &PoolDesc, input: &TensorDesc) -> fmt::Result {
    let (stride, rank) = match desc.window {
        PoolWindow::Sliding(kernel) => {
            write!(f, " k{kernel}")?;
            (kernel, kernel.rank())
        }
        PoolWindow::Adaptive(size) => {
            write!(f, " to{size}")?;
            (Spatial::splat(1, 1), 1)
        }
        PoolWindow::Global => (Spatial::splat(1, 1), 1),
    };
    if desc.stride != stride {
        write!(f, " s{}", desc.stride)?;
    }
    fmt_padding(f, desc.padding, rank)?;
    if desc.dilation != Spatial::splat(rank, 1) {
        write!(f, " d{}", desc.dilation)?;
    }
    if desc.ceil_mode {
        f.write_str(" ceil")?;
    }
    fmt_elements(f, input, desc.output_layout)?;
    match desc.kind {
        PoolKind::Max { indices: None } => {}
        PoolKind::Max { indices: Some(order) } => write!(f, " indices={}", index_order_name(order))?,
        PoolKind::Average { count_include_pad, divisor_override } => {
            if !count_include_pad {
                f.write_str(" exclude_pad")?;
            }
            if let Some(divisor) = divisor_override {
                write!(f, " divisor={divisor}")?;
            }
        }
        PoolKind::Lp { p } => write!(f, " norm={p}")?,
    }
    Ok(())
}

/// Element type and layouts.
fn fmt_elements(f: &mut fmt::Formatter<'_>, input: &TensorDesc, output: Option<Layout>) -> fmt::Result {
    write!(f, " {}", input.dtype())?;
    if input.layout() != Layout::default() {
        write!(f, " {}", input.layout())?;
    }
    match output {
        Some(layout) => write!(f, " out={layout}"),
        None => Ok(()),
    }
}

fn fmt_padding(f: &mut fmt::Formatter<'_>, padding: Padding, rank: usize) -> fmt::Result {
    match padding {
        Padding::Valid => f.write_str(" valid"),
        Padding::SameUpper => f.write_str(" same_upper"),
        Padding::SameLower => f.write_str(" same_lower"),
        Padding::Explicit { begin, end } if begin == end && begin == Spatial::splat(rank, 0) => Ok(()),
        Padding::Explicit { begin, end } if begin == end => write!(f, " p{begin}"),
        Padding::Explicit { begin, end } if begin.rank() == end.rank() => {
            for axis in 0..begin.rank() {
                write!(f, "{}{}:{}", if axis == 0 { " p" } else { "x" }, begin[axis], end[axis])?;
            }
            Ok(())
        }
        // Two ranks cannot be one list: never valid, but a report must still show it.
        Padding::Explicit { begin, end } => write!(f, " begin{begin} end{end}"),
    }
}

fn index_order_name(order: IndexOrder) -> &'static str {
    match order {
        IndexOrder::Plane => "plane",
        IndexOrder::Tensor => "tensor",
        IndexOrder::TensorColumnMajor => "tensor_column_major",
    }
}
