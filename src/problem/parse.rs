//! From a line to a [`Problem`]. Nothing is checked beyond the grammar.

use std::str::FromStr;

use super::{Layer, Problem};
use crate::activation::Activation;
use crate::desc::{ConvDesc, Epilogue, IndexOrder, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Residual};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::spatial::Spatial;
use crate::tensor_desc::{DType, TensorDesc};

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
        let input = TensorDesc::new(&shape, dtype).with_layout(tokens.layout.unwrap_or_default());
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

/// The names that stand before an equals sign, and what may stand behind it.
const VALUES: [(&str, &str); 5] = [
    ("out", "nchw and nhwc"),
    ("residual", "before and after"),
    ("indices", "plane, tensor and tensor_column_major"),
    ("divisor", "whole numbers"),
    ("norm", "numbers"),
];

/// Of a word that is nothing, with what there is.
fn no_token(token: &str) -> Error {
    let known = "o in k to s d p g op begin end, each with its numbers as in k3x3; f32 f16 i32; valid same_upper same_lower; reflect \
                 replicate circular; nchw nhwc out=nhwc; bias residual=before, an activation such as relu or elu(1); ceil \
                 exclude_pad divisor=3 norm=2 indices=plane";
    Error::invalid("problem", format!("`{token}` is not a token of a problem line: those are {known}"))
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
    layout: Option<Layout>,
    output_layout: Option<Layout>,
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
            "nchw" => return set(&mut self.layout, token, Layout::ChannelsFirst),
            "nhwc" => return set(&mut self.layout, token, Layout::ChannelsLast),
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
            let unknown = || match VALUES.iter().find(|(known, _)| *known == name) {
                Some((_, values)) => {
                    Error::invalid("problem", format!("`{token}`: `{value}` is not a value of {name}, which are {values}"))
                }
                None => no_token(token),
            };
            return match (name, value) {
                ("out", "nchw") => set(&mut self.output_layout, token, Layout::ChannelsFirst),
                ("out", "nhwc") => set(&mut self.output_layout, token, Layout::ChannelsLast),
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
            _ => Err(no_token(token)),
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
            epilogue: Epilogue {
                bias: self.bias.take().is_some(),
                residual: self.residual.take().unwrap_or_default(),
                activation: self.activation.take().unwrap_or_default(),
            },
            output_layout: self.output_layout,
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
            Some(("", _)) => return Err(unknown()),
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
            output_layout: self.output_layout,
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
