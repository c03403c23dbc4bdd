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
//! | token | meaning | left out: |
//! |---|---|---|
//! | `1x64x56x56` | input shape | never |
//! | `in64` | `in_channels`, where it is not the input's | the input's |
//! | `o64` | `out_channels` | never (conv) |
//! | `k3x3` | kernel or window | never, but for global and adaptive pools |
//! | `to7x7` | output size of an adaptive pool | |
//! | `s2x2` `d2x2` | stride, dilation | 1 (stride of a pool: its window) |
//! | `p1x1`, `p0:1x2:2`, `valid`, `same_upper`, `same_lower` | padding, both sides or `begin:end` | 0 |
//! | `reflect` `replicate` `circular` | padding mode | zeros |
//! | `g32` | groups | 1 |
//! | `op1x0` | output padding | 0 |
//! | `f32` `f16` | element type | never |
//! | `bias`, `residual=before`, `residual=after`, an activation | epilogue | none of them |
//! | `ceil`, `exclude_pad`, `divisor=3`, `norm=2`, `indices=plane`/`tensor`/`tensor_column_major` | pools | |
//!
//! Nothing is checked here beyond the grammar: an invalid layer prints and parses too, so that a bug report can show it.

use std::fmt;
use std::str::FromStr;

use crate::activation::Activation;
use crate::desc::{ConvDesc, IndexOrder, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Residual};
use crate::error::{Error, Result};
use crate::spatial::{Spatial, write_dims};
use crate::tensor_desc::{DType, TensorDesc};

/// A layer's description together with the description of its input.
///
/// # Examples
/// ```
/// use wgconv::Problem;
/// let line = "conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu";
/// let problem: Problem = line.parse()?;
/// assert_eq!(problem.to_string(), line);
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The layer.
    pub layer: Layer,
    /// The input's shape and element type.
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
    /// A convolution of an input.
    pub fn conv(desc: &ConvDesc, input: &TensorDesc) -> Self {
        Self { layer: Layer::Conv(*desc), input: input.clone() }
    }

    /// A pooling of an input.
    pub fn pool(desc: &PoolDesc, input: &TensorDesc) -> Self {
        Self { layer: Layer::Pool(*desc), input: input.clone() }
    }

    /// The same layer on an input of another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { layer: self.layer, input: TensorDesc::new(self.input.shape(), dtype) }
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
    write!(f, " {}", input.dtype())?;
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
    write!(f, " {}", input.dtype())?;
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

impl FromStr for Problem {
    type Err = Error;

    /// Parses what `Display` prints; the tokens behind the shape may stand in any order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) that names the token, for anything unknown, doubled or missing.
    fn from_str(line: &str) -> Result<Self> {
        let mut tokens = line.split_whitespace();
        let op = tokens.next().ok_or_else(|| Error::invalid("problem", "an empty line is not a problem"))?;
        let shape = tokens.next().ok_or_else(|| Error::invalid("input", format!("`{line}` has no input shape")))?;
        let shape = if shape == "scalar" { Vec::new() } else { dims("input", shape)? };
        let tokens = Tokens::read(tokens)?;
        let dtype = tokens.dtype.ok_or_else(|| Error::invalid("problem", format!("`{line}` has no element type: f32 or f16")))?;
        let input = TensorDesc::new(&shape, dtype);
        let layer = match op {
            "conv" => Layer::Conv(tokens.into_conv(&shape, false)?),
            "conv_transpose" => Layer::Conv(tokens.into_conv(&shape, true)?),
            _ => Layer::Pool(tokens.into_pool(op)?),
        };
        Ok(Problem { layer, input })
    }
}

/// `1x64x56` as numbers.
fn dims(field: &'static str, text: &str) -> Result<Vec<usize>> {
    let number = |text: &str| {
        text.parse().map_err(|_| Error::invalid(field, format!("`{text}` is not a number from 0 to {}", usize::MAX)))
    };
    text.split('x').map(number).collect()
}

fn spatial(field: &'static str, text: &str) -> Result<Spatial> {
    Spatial::from_slice(field, &dims(field, text)?)
}

/// Every token that a line may have behind the shape, each at most once.
#[derive(Default)]
struct Tokens {
    in_channels: Option<usize>,
    out_channels: Option<usize>,
    kernel: Option<Spatial>,
    output_size: Option<Spatial>,
    stride: Option<Spatial>,
    dilation: Option<Spatial>,
    padding: Option<Padding>,
    begin: Option<Spatial>,
    end: Option<Spatial>,
    padding_mode: Option<PaddingMode>,
    groups: Option<usize>,
    output_padding: Option<Spatial>,
    dtype: Option<DType>,
    bias: Option<()>,
    residual: Option<Residual>,
    activation: Option<Activation>,
    ceil_mode: Option<()>,
    exclude_pad: Option<()>,
    divisor: Option<usize>,
    norm: Option<f32>,
    indices: Option<IndexOrder>,
}

/// Fills a slot of [`Tokens`], once.
fn set<T>(slot: &mut Option<T>, token: &str, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::invalid("problem", format!("`{token}` says for a second time what another token says"))),
    }
}

impl Tokens {
    fn read<'a>(tokens: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut all = Tokens::default();
        for token in tokens {
            all.read_one(token)?;
        }
        Ok(all)
    }

    fn read_one(&mut self, token: &str) -> Result<()> {
        let one = |field, text: &str| match dims(field, text)?[..] {
            [value] => Ok(value),
            _ => Err(Error::invalid(field, format!("`{text}` is a list, but one number is needed"))),
        };
        match token {
            "f32" => return set(&mut self.dtype, token, DType::F32),
            "f16" => return set(&mut self.dtype, token, DType::F16),
            "i32" => return set(&mut self.dtype, token, DType::I32),
            "valid" => return set(&mut self.padding, token, Padding::Valid),
            "same_upper" => return set(&mut self.padding, token, Padding::SameUpper),
            "same_lower" => return set(&mut self.padding, token, Padding::SameLower),
            "reflect" => return set(&mut self.padding_mode, token, PaddingMode::Reflect),
            "replicate" => return set(&mut self.padding_mode, token, PaddingMode::Replicate),
            "circular" => return set(&mut self.padding_mode, token, PaddingMode::Circular),
            "bias" => return set(&mut self.bias, token, ()),
            "ceil" => return set(&mut self.ceil_mode, token, ()),
            "exclude_pad" => return set(&mut self.exclude_pad, token, ()),
            _ => {}
        }
        if let Some((name, value)) = token.split_once('=') {
            let unknown = || Error::invalid("problem", format!("`{token}`: `{value}` is not a value of {name}"));
            return match (name, value) {
                ("residual", "before") => set(&mut self.residual, token, Residual::BeforeActivation),
                ("residual", "after") => set(&mut self.residual, token, Residual::AfterActivation),
                ("indices", "plane") => set(&mut self.indices, token, IndexOrder::Plane),
                ("indices", "tensor") => set(&mut self.indices, token, IndexOrder::Tensor),
                ("indices", "tensor_column_major") => set(&mut self.indices, token, IndexOrder::TensorColumnMajor),
                ("divisor", _) => set(&mut self.divisor, token, one("divisor_override", value)?),
                ("norm", _) => set(&mut self.norm, token, value.parse().map_err(|_| unknown())?),
                _ => Err(unknown()),
            };
        }
        if let Ok(activation) = token.parse() {
            return set(&mut self.activation, token, activation);
        }
        let digits = token.find(|c: char| c.is_ascii_digit()).unwrap_or(token.len());
        let (name, value) = token.split_at(digits);
        match name {
            // Not `i`: 32 channels would read as the element type.
            "in" => set(&mut self.in_channels, token, one("in_channels", value)?),
            "o" => set(&mut self.out_channels, token, one("out_channels", value)?),
            "g" => set(&mut self.groups, token, one("groups", value)?),
            "k" => set(&mut self.kernel, token, spatial("kernel", value)?),
            "to" => set(&mut self.output_size, token, spatial("output_size", value)?),
            "s" => set(&mut self.stride, token, spatial("stride", value)?),
            "d" => set(&mut self.dilation, token, spatial("dilation", value)?),
            "op" => set(&mut self.output_padding, token, spatial("output_padding", value)?),
            "begin" => set(&mut self.begin, token, spatial("padding", value)?),
            "end" => set(&mut self.end, token, spatial("padding", value)?),
            "p" => {
                // `1:2x0` is begin 1, end 2 on the first axis, and 0 on both sides of the second.
                let sides: Vec<_> = value.split('x').map(|side| side.split_once(':').unwrap_or((side, side))).collect();
                let side =
                    |pick: fn(&(&str, &str)) -> String| spatial("padding", &sides.iter().map(pick).collect::<Vec<_>>().join("x"));
                let (begin, end) = (side(|side| side.0.into())?, side(|side| side.1.into())?);
                set(&mut self.padding, token, Padding::Explicit { begin, end })
            }
            _ => Err(Error::invalid("problem", format!("`{token}` is not a token of a problem line"))),
        }
    }

    fn padding(&mut self, rank: usize) -> Result<Padding> {
        match (self.padding.take(), self.begin.take(), self.end.take()) {
            (padding, None, None) => Ok(padding.unwrap_or(Spatial::splat(rank, 0).into())),
            (None, Some(begin), Some(end)) => Ok(Padding::Explicit { begin, end }),
            _ => Err(Error::invalid("padding", "begin and end stand together, and not beside another padding")),
        }
    }

    /// A conv line; whatever is left over belongs to pools.
    fn into_conv(mut self, shape: &[usize], transposed: bool) -> Result<ConvDesc> {
        let kernel = self.kernel.take().ok_or_else(|| Error::invalid("kernel", "the line has no kernel, such as k3x3"))?;
        let out = self
            .out_channels
            .take()
            .ok_or_else(|| Error::invalid("out_channels", "the line has no output channels, such as o64"))?;
        let channels = self.in_channels.take().or(shape.get(1).copied()).unwrap_or(0);
        let default = ConvDesc { transposed, ..ConvDesc::new(channels, out, kernel) };
        let desc = ConvDesc {
            stride: self.stride.take().unwrap_or(default.stride),
            dilation: self.dilation.take().unwrap_or(default.dilation),
            padding: self.padding(kernel.rank())?,
            padding_mode: self.padding_mode.take().unwrap_or_default(),
            groups: self.groups.take().unwrap_or(1),
            output_padding: self.output_padding.take().unwrap_or(default.output_padding),
            epilogue: crate::Epilogue {
                bias: self.bias.take().is_some(),
                residual: self.residual.take().unwrap_or_default(),
                activation: self.activation.take().unwrap_or_default(),
            },
            ..default
        };
        self.nothing_left("a convolution")?;
        Ok(desc)
    }

    fn into_pool(mut self, op: &str) -> Result<PoolDesc> {
        let unknown = || {
            Error::invalid(
                "problem",
                format!(
                    "`{op}` is not an operation: conv, conv_transpose, or [global_|adaptive_]max_pool, .._avg_pool, .._lp_pool"
                ),
            )
        };
        let (kind, window) = match op.strip_suffix("_pool").ok_or_else(unknown)?.rsplit_once('_') {
            None => (op.trim_end_matches("_pool"), ""),
            Some((window, kind)) => (kind, window),
        };
        let kind = match kind {
            "max" => PoolKind::Max { indices: self.indices.take() },
            "avg" => {
                PoolKind::Average { count_include_pad: self.exclude_pad.take().is_none(), divisor_override: self.divisor.take() }
            }
            "lp" => {
                PoolKind::Lp { p: self.norm.take().ok_or_else(|| Error::invalid("p", "the line has no norm, such as norm=2"))? }
            }
            _ => return Err(unknown()),
        };
        let missing = |field, token| Error::invalid(field, format!("the line has no {token}"));
        let (window, default_stride, rank) = match window {
            "" => {
                let kernel = self.kernel.take().ok_or_else(|| missing("kernel", "window, such as k3x3"))?;
                (PoolWindow::Sliding(kernel), kernel, kernel.rank())
            }
            "global" => (PoolWindow::Global, Spatial::splat(1, 1), 1),
            "adaptive" => {
                let size = self.output_size.take().ok_or_else(|| missing("output_size", "output size, such as to7x7"))?;
                (PoolWindow::Adaptive(size), Spatial::splat(1, 1), 1)
            }
            _ => return Err(unknown()),
        };
        let desc = PoolDesc {
            kind,
            window,
            stride: self.stride.take().unwrap_or(default_stride),
            dilation: self.dilation.take().unwrap_or(Spatial::splat(rank, 1)),
            padding: self.padding(rank)?,
            ceil_mode: self.ceil_mode.take().is_some(),
        };
        self.nothing_left(op)?;
        Ok(desc)
    }

    /// Refuses tokens that the operation does not know.
    fn nothing_left(&self, op: &str) -> Result<()> {
        let left = [
            ("in", self.in_channels.is_some()),
            ("o", self.out_channels.is_some()),
            ("k", self.kernel.is_some()),
            ("to", self.output_size.is_some()),
            ("a padding mode", self.padding_mode.is_some()),
            ("g", self.groups.is_some()),
            ("op", self.output_padding.is_some()),
            ("bias", self.bias.is_some()),
            ("residual", self.residual.is_some()),
            ("an activation", self.activation.is_some()),
            ("ceil", self.ceil_mode.is_some()),
            ("exclude_pad", self.exclude_pad.is_some()),
            ("divisor", self.divisor.is_some()),
            ("norm", self.norm.is_some()),
            ("indices", self.indices.is_some()),
        ];
        match left.iter().find(|(_, present)| *present) {
            None => Ok(()),
            Some((name, _)) => Err(Error::invalid("problem", format!("{op} has no token `{name}`"))),
        }
    }
}
