//! Layers as JSON: `{"op": "conv", "input": [1, 4, 8, 8], "out": 4, "kernel": [3, 3], "pad": [[1, 1], [0, 0]]}`.
//!
//! This is the format of golden files' metadata, of config cases and of lists of layers to measure. What is left out has its
//! default: stride and dilation 1 (a pooling's too), padding 0, groups 1. Nothing is checked here beyond the form: whether the layer
//! can be is a question to `Geometry`, except that an input that cannot be is refused before anything else is read.

use serde_json::Value;
use wgconv::{
    Activation, ConvDesc, DType, Epilogue, Geometry, IndexOrder, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Problem,
    Residual, Spatial, TensorDesc,
};

use crate::json::{Fields, Refused, float, items, missing, size, word};
use crate::numbers::counted;

/// What holds where the config does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defaults {
    pub bias: bool,
    pub residual: Residual,
    /// There is no key for them: a max pooling gives indices where its user has a use for them.
    pub indices: Option<IndexOrder>,
}

enum Op {
    Conv { transposed: bool },
    Pool { window: &'static str, kind: &'static str },
    MaxUnpool,
}

fn op(name: &str) -> Option<Op> {
    match name {
        "conv" => return Some(Op::Conv { transposed: false }),
        "conv_transpose" => return Some(Op::Conv { transposed: true }),
        "max_unpool" => return Some(Op::MaxUnpool),
        _ => {}
    }
    let name = name.strip_suffix("_pool")?;
    let (window, kind) = match name.rsplit_once('_') {
        None => ("", name),
        Some((window, kind)) => (["global", "adaptive"].into_iter().find(|&known| known == window)?, kind),
    };
    let kind = ["max", "avg", "lp"].into_iter().find(|&known| known == kind)?;
    Some(Op::Pool { window, kind })
}

/// The layer that a config describes.
pub fn read(fields: &Fields, defaults: Defaults) -> Result<Problem, Refused> {
    let name = fields.word("op")?.ok_or_else(|| missing("op"))?;
    let op = op(name).ok_or_else(|| Refused::new("op", format!("{name} is not supported")))?;
    let dtype = match fields.word("dtype")? {
        None | Some("f32" | "float32") => DType::F32,
        Some("f16" | "float16") => DType::F16,
        Some(other) => return Err(Refused::new("dtype", format!("{other} is not supported: f32, f16"))),
    };
    let input = TensorDesc::new(&fields.list("input")?.ok_or_else(|| missing("input"))?, dtype);
    // Any input that can be has a maximum. How long a kernel's list must be is a question only once the input is known to be one.
    Geometry::new(&Problem::pool(&PoolDesc::global_max(), &input))?;
    match op {
        Op::Conv { transposed } => Ok(Problem::conv(&conv(fields, transposed, input.shape()[1], defaults)?, &input)),
        Op::Pool { window, kind } => Ok(Problem::pool(&pool(fields, window, kind, defaults)?, &input)),
        Op::MaxUnpool => Err(max_unpool(fields, &input)),
    }
}

fn spatial(fields: &Fields, field: &'static str) -> Result<Option<Spatial>, Refused> {
    Ok(fields.list(field)?.map(|list| Spatial::from_slice(field, &list)).transpose()?)
}

fn kernel(fields: &Fields) -> Result<Spatial, Refused> {
    spatial(fields, "kernel")?.ok_or_else(|| missing("kernel"))
}

fn conv(fields: &Fields, transposed: bool, channels: usize, defaults: Defaults) -> Result<ConvDesc, Refused> {
    let out = fields.size("out")?.ok_or_else(|| missing("out"))?;
    let plain = ConvDesc::new(channels, out, kernel(fields)?);
    let padding_mode = match fields.word("pad_mode")? {
        None | Some("zeros") => PaddingMode::Zeros,
        Some("reflect") => PaddingMode::Reflect,
        Some("replicate") => PaddingMode::Replicate,
        Some("circular") => PaddingMode::Circular,
        Some(other) => return Err(Refused::new("pad_mode", format!("{other} is none of zeros, reflect, replicate, circular"))),
    };
    let residual = match fields.word("residual")? {
        None => defaults.residual,
        Some("none") => Residual::None,
        Some("before") => Residual::BeforeActivation,
        Some("after") => Residual::AfterActivation,
        Some(other) => return Err(Refused::new("residual", format!("{other} is neither before nor after"))),
    };
    Ok(ConvDesc {
        stride: spatial(fields, "stride")?.unwrap_or(plain.stride),
        dilation: spatial(fields, "dilation")?.unwrap_or(plain.dilation),
        padding: padding(fields)?.unwrap_or(plain.padding),
        padding_mode,
        groups: fields.size("groups")?.unwrap_or(1),
        transposed,
        output_padding: spatial(fields, "output_padding")?.unwrap_or(plain.output_padding),
        epilogue: Epilogue {
            bias: fields.flag("bias")?.unwrap_or(defaults.bias),
            residual,
            activation: fields.get("activation").map(activation).transpose()?.unwrap_or_default(),
        },
        ..plain
    })
}

fn pool(fields: &Fields, window: &str, kind: &str, defaults: Defaults) -> Result<PoolDesc, Refused> {
    let kind = match kind {
        "max" => PoolKind::Max { indices: defaults.indices },
        "avg" => PoolKind::Average {
            count_include_pad: fields.flag("count_include_pad")?.unwrap_or(true),
            divisor_override: fields.size("divisor_override")?,
        },
        _ => PoolKind::Lp { p: fields.float("p")?.unwrap_or(2.0) as f32 },
    };
    let (window, plain) = match window {
        "global" => (PoolWindow::Global, PoolDesc::global_max()),
        "adaptive" => {
            let size = spatial(fields, "output_size")?.ok_or_else(|| missing("output_size"))?;
            (PoolWindow::Adaptive(size), PoolDesc::global_max())
        }
        _ => {
            let kernel = kernel(fields)?;
            let plain = PoolDesc::max(kernel);
            (PoolWindow::Sliding(kernel), PoolDesc { stride: plain.dilation, ..plain })
        }
    };
    Ok(PoolDesc {
        kind,
        window,
        stride: spatial(fields, "stride")?.unwrap_or(plain.stride),
        dilation: spatial(fields, "dilation")?.unwrap_or(plain.dilation),
        padding: padding(fields)?.unwrap_or(plain.padding),
        ceil_mode: fields.flag("ceil_mode")?.unwrap_or(false),
        output_layout: None,
    })
}

/// `pad`: for each axis a number or `[begin, end]`, or a rule's name; or ONNX's `auto_pad`.
fn padding(fields: &Fields) -> Result<Option<Padding>, Refused> {
    let rule = |field: &str, name: &str| match name.to_ascii_lowercase().as_str() {
        "valid" => Ok(Padding::Valid),
        "same_upper" => Ok(Padding::SameUpper),
        "same_lower" => Ok(Padding::SameLower),
        _ => Err(Refused::new(field, format!("{name} is none of valid, same_upper, same_lower"))),
    };
    let explicit = match fields.get("pad") {
        None => None,
        Some(Value::String(name)) => Some(rule("pad", name)?),
        Some(value) => {
            let sides: Result<Vec<(usize, usize)>, Refused> = items("pad", value)?.iter().map(side).collect();
            let (begin, end): (Vec<_>, Vec<_>) = sides?.into_iter().unzip();
            Some(Padding::Explicit { begin: Spatial::from_slice("padding", &begin)?, end: Spatial::from_slice("padding", &end)? })
        }
    };
    match fields.word("auto_pad")?.filter(|name| !name.eq_ignore_ascii_case("notset")) {
        None => Ok(explicit),
        Some(_) if explicit.is_some() => Err(Refused::new("auto_pad", "stands beside pad, but one of them decides")),
        Some(name) => rule("auto_pad", name).map(Some),
    }
}

fn side(value: &Value) -> Result<(usize, usize), Refused> {
    let Value::Array(sides) = value else { return size("pad", value).map(|both| (both, both)) };
    match &sides[..] {
        [begin, end] => Ok((size("pad", begin)?, size("pad", end)?)),
        _ => Err(Refused::new("pad", format!("has {value} for an axis, but begin and end are two numbers"))),
    }
}

/// `{"kind": "leaky_relu", "alpha": 0.1}`; parameters left out are ONNX's defaults.
fn activation(value: &Value) -> Result<Activation, Refused> {
    let about = |refused: Refused| Refused::new("activation", refused);
    if let Value::String(kind) = value {
        return activation(&serde_json::json!({ "kind": kind }));
    }
    let fields = Fields::new("activation", value)?;
    let kind = word("activation", fields.get("kind").ok_or_else(|| Refused::new("activation", "has no kind"))?)?;
    let number = |name: &str, default: f32| -> Result<f32, Refused> {
        Ok(fields.get(name).map(|value| float(name, value).map_err(about)).transpose()?.map_or(default, |value| value as f32))
    };
    let Activation::Selu { alpha: selu_alpha, gamma: selu_gamma } = Activation::selu() else { unreachable!("selu is a Selu") };
    let activation = match kind {
        "clip" | "clamp" => Activation::Clamp { min: number("min", f32::NEG_INFINITY)?, max: number("max", f32::INFINITY)? },
        "leaky_relu" => Activation::LeakyRelu { alpha: number("alpha", 0.01)? },
        "elu" => Activation::Elu { alpha: number("alpha", 1.0)? },
        "celu" => Activation::Celu { alpha: number("alpha", 1.0)? },
        "selu" => Activation::Selu { alpha: number("alpha", selu_alpha)?, gamma: number("gamma", selu_gamma)? },
        "hard_sigmoid" => Activation::HardSigmoid { alpha: number("alpha", 0.2)?, beta: number("beta", 0.5)? },
        "quantize" => Activation::Quantize { zero: number("zero", 0.0)?, min: number("min", 0.0)?, max: number("max", 255.0)? },
        // A parenthesis would smuggle parameters in.
        other if other.contains('(') => return Err(Refused::new("activation", format!("{other} is not a kind"))),
        other => other.parse()?,
    };
    fields.check_all_read().map_err(about)?;
    Ok(activation)
}

/// There is no unpooling; but what no unpooling could take is refused for what it is.
fn max_unpool(fields: &Fields, input: &TensorDesc) -> Refused {
    let checked = unpooled_plane(fields, input).and_then(|plane| check_indices(fields, input, plane));
    checked.err().unwrap_or_else(|| Refused::new("op", "max_unpool is not supported"))
}

/// Elements of one channel of the output: `output_size`, or what the transposed window gives; `None` where they cannot be counted.
fn unpooled_plane(fields: &Fields, input: &TensorDesc) -> Result<Option<usize>, Refused> {
    let rank = input.shape().len() - 2;
    let product = |shape: &[usize]| shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    match spatial(fields, "output_size")? {
        Some(size) if size.rank() != rank => {
            let (entries, axes) = (counted(size.rank(), "entry", "entries"), counted(rank, "spatial axis", "spatial axes"));
            Err(Refused::new("output_size", format!("has {entries}, but the input has {axes}")))
        }
        Some(size) => Ok(product(size.as_slice())),
        None => {
            let window = ConvDesc::transposed(input.shape()[1], input.shape()[1], kernel(fields)?);
            let stride = spatial(fields, "stride")?.unwrap_or(window.kernel);
            let desc = ConvDesc { stride, padding: padding(fields)?.unwrap_or(window.padding), ..window };
            Ok(product(&Geometry::new(&Problem::conv(&desc, input))?.output_shape()[2..]))
        }
    }
}

/// Each element has an index of its own inside the output's channel: of two at one place it is not defined which one stays.
fn check_indices(fields: &Fields, input: &TensorDesc, plane: Option<usize>) -> Result<(), Refused> {
    let list = items("indices", fields.get("indices").ok_or_else(|| missing("indices"))?)?;
    let indices = list.iter().map(|index| size("indices", index)).collect::<Result<Vec<_>, _>>()?;
    if input.elements()? != indices.len() {
        let numbers = counted(indices.len(), "number", "numbers");
        return Err(Refused::new("indices", format!("has {numbers}, but each element of the input of {input} has one")));
    }
    if let Some((plane, index)) = plane.and_then(|plane| Some((plane, indices.iter().find(|&&index| index >= plane)?))) {
        return Err(Refused::new("indices", format!("has {index}, but a channel of the output has {plane} elements")));
    }
    let channel: usize = input.shape()[2..].iter().product();
    let mut seen = std::collections::HashSet::new();
    match indices.iter().enumerate().find(|&(at, index)| !seen.insert((at / channel, index))) {
        Some((_, index)) => Err(Refused::new("indices", format!("has {index} twice in one channel"))),
        None => Ok(()),
    }
}
