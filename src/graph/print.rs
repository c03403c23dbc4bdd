//! A graph as text: one line for each node, in the order in which they run.

use std::fmt;

use super::{Dim, Graph, Op, ValueId};
use crate::activation::Activation;
use crate::desc::{Epilogue, Residual};

impl Op {
    /// The name: that of the variant, or for families of functions that of the function.
    pub fn name(&self) -> String {
        let text = match self {
            Op::Conv(conv) if conv.transposed => return "ConvTranspose".into(),
            Op::Activation(activation) => format!("{activation:?}"),
            Op::Unary(unary) => format!("{unary:?}"),
            Op::Binary(binary) => format!("{binary:?}"),
            Op::Variadic(variadic) => format!("{variadic:?}"),
            Op::Softmax { kind, .. } => format!("{kind:?}"),
            Op::Reduce { kind, .. } => return format!("Reduce{kind:?}"),
            Op::ArgReduce { min, .. } => return if *min { "ArgMin".into() } else { "ArgMax".into() },
            Op::Pool(desc) => format!("{:?}", desc.kind).split(' ').next().unwrap_or_default().to_string() + "Pool",
            _ => format!("{self:?}"),
        };
        text.split([' ', '(', '{']).next().unwrap_or_default().to_string()
    }

    /// The attributes, in short.
    fn attributes(&self) -> String {
        match self {
            Op::Conv(conv) | Op::QLinearConv(conv) | Op::ConvInteger(conv) => {
                let mut parts = Vec::new();
                for (letter, list) in [("k", &conv.kernel), ("s", &conv.stride), ("d", &conv.dilation)] {
                    if !list.is_empty() {
                        parts.push(format!("{letter}{}", list.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")));
                    }
                }
                match &conv.padding {
                    super::Pads::Explicit(list) if list.iter().all(|&pad| pad == 0) => {}
                    super::Pads::Explicit(list) => parts.push(format!("p{list:?}")),
                    other => parts.push(format!("{other:?}")),
                }
                if conv.padding_mode != crate::PaddingMode::Zeros {
                    parts.push(format!("{:?}", conv.padding_mode));
                }
                if conv.groups != 1 {
                    parts.push(format!("g{}", conv.groups));
                }
                parts.extend(epilogue_parts(&conv.epilogue));
                parts.join(" ")
            }
            Op::Linear(epilogue) => epilogue_parts(epilogue).join(" "),
            Op::Activation(activation) => activation.to_string(),
            Op::Fused(stages) => stages.iter().map(|stage| stage.op.name()).collect::<Vec<_>>().join(" "),
            other => {
                let text = format!("{other:?}");
                match text.find([' ', '(']) {
                    Some(at) if !matches!(other, Op::Unary(_) | Op::Binary(_) | Op::Variadic(_)) => text[at..].trim().to_string(),
                    _ => String::new(),
                }
            }
        }
    }
}

/// What is done to a layer's sums, besides the bias, which is an input.
fn epilogue_parts(epilogue: &Epilogue) -> Vec<String> {
    let residual = match epilogue.residual {
        Residual::None => None,
        Residual::BeforeActivation => Some("residual=before".into()),
        Residual::AfterActivation => Some("residual=after".into()),
    };
    let activation = (epilogue.activation != Activation::Identity).then(|| epilogue.activation.to_string());
    residual.into_iter().chain(activation).collect()
}

impl Graph {
    fn value_text(&self, id: ValueId) -> String {
        let info = self.info(id);
        if info.name.is_empty() { format!("%{}", id.0) } else { info.name.clone() }
    }

    /// `1x64x56x56 f32`, with symbols and `?` where less is known.
    fn type_text(&self, id: ValueId) -> String {
        let info = self.info(id);
        let dims = info.dims.as_ref().map_or("..".to_string(), |dims| {
            let size = |dim: &Dim| match dim {
                Dim::Known(size) => size.to_string(),
                Dim::Symbol(name) => name.clone(),
                Dim::Unknown => "?".into(),
            };
            if dims.is_empty() { "scalar".into() } else { dims.iter().map(size).collect::<Vec<_>>().join("x") }
        });
        format!("{dims} {}", info.element.map_or("?", |element| element.name()))
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", self.name)?;
        for &id in &self.inputs {
            writeln!(f, "input   {}: {}", self.value_text(id), self.type_text(id))?;
        }
        for node in &self.nodes {
            let list = |ids: Vec<String>| ids.join(", ");
            let inputs = list(node.inputs.iter().map(|id| id.map_or("-".into(), |id| self.value_text(id))).collect());
            let outputs = list(node.outputs.iter().map(|&id| self.value_text(id)).collect());
            let types = list(node.outputs.iter().map(|&id| self.type_text(id)).collect());
            let attributes = node.op.attributes();
            let space = if attributes.is_empty() { "" } else { " " };
            writeln!(f, "{outputs} = {}({inputs}){space}{attributes} -> {types}", node.op.name())?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "output  {name} = {}: {}", self.value_text(*id), self.type_text(*id))?;
        }
        Ok(())
    }
}
