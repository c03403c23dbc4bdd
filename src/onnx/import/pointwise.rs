//! Functions of single numbers.

use crate::activation::Activation;
use crate::graph::{Binary, Op, Unary, ValueId, Variadic};
use crate::onnx::node::Node;
use crate::value::{ElementType, Value};

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    if let Some(op) = unary(node.op) {
        return Some(node.apply(Op::Unary(op)));
    }
    if let Some(op) = binary(node.op) {
        align_old_broadcast(node);
        return Some(node.apply(Op::Binary(op)));
    }
    if let Some(op) = activation(node) {
        return Some(node.apply(Op::Activation(op)));
    }
    Some(match node.op {
        "Max" => node.apply(Op::Variadic(Variadic::Max)),
        "Min" => node.apply(Op::Variadic(Variadic::Min)),
        "Sum" => node.apply(Op::Variadic(Variadic::Sum)),
        "Mean" => node.apply(Op::Variadic(Variadic::Mean)),
        "Where" => node.apply(Op::Where),
        "Mod" => {
            let op = if node.flag("fmod", false) { Binary::Fmod } else { Binary::Mod };
            node.apply(Op::Binary(op))
        }
        "PRelu" => {
            if node.opset < 7 {
                // One slope for each channel, axis 1; later opsets broadcast as all operators do.
                let (x, slope) = (node.input(0), node.input(1));
                let slope = align(node, x, slope, 1);
                node.set_input(1, Some(slope));
            }
            node.apply(Op::Binary(Binary::Prelu))
        }
        "Clip" => clip(node),
        "Cast" => {
            let element = cast_type(node);
            rounding(node);
            node.apply(Op::Cast(element))
        }
        "CastLike" => {
            rounding(node);
            node.apply(Op::CastLike)
        }
        "IsInf" => is_inf(node),
        "ThresholdedRelu" => {
            let x = node.input(0);
            let alpha = node.float("alpha", 1.0);
            let (alpha, zero) = (node.like(alpha, x), node.like(0.0, x));
            let above = node.step(Op::Binary(Binary::Greater), &[x, alpha]);
            node.apply_to(Op::Where, &[Some(above), Some(x), Some(zero)])
        }
        "Shrink" => shrink(node),
        "Swish" => {
            // A swish of alpha 1 is an activation.
            let x = node.input(0);
            let alpha = node.float("alpha", 1.0);
            let alpha = node.like(alpha, x);
            let scaled = node.step(Op::Binary(Binary::Mul), &[x, alpha]);
            let gate = node.step(Op::Activation(Activation::Sigmoid), &[scaled]);
            node.apply_to(Op::Binary(Binary::Mul), &[Some(x), Some(gate)])
        }
        _ => return None,
    })
}

fn unary(op: &str) -> Option<Unary> {
    Some(match op {
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Sign" => Unary::Sign,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Reciprocal,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::Round,
        "Erf" => Unary::Erf,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        "Tan" => Unary::Tan,
        "Asin" => Unary::Asin,
        "Acos" => Unary::Acos,
        "Atan" => Unary::Atan,
        "Sinh" => Unary::Sinh,
        "Cosh" => Unary::Cosh,
        "Asinh" => Unary::Asinh,
        "Acosh" => Unary::Acosh,
        "Atanh" => Unary::Atanh,
        "Not" => Unary::Not,
        "IsNaN" => Unary::IsNan,
        _ => return None,
    })
}

fn binary(op: &str) -> Option<Binary> {
    Some(match op {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Pow" => Binary::Pow,
        "Equal" => Binary::Equal,
        "Greater" => Binary::Greater,
        "GreaterOrEqual" => Binary::GreaterOrEqual,
        "Less" => Binary::Less,
        "LessOrEqual" => Binary::LessOrEqual,
        "And" => Binary::And,
        "Or" => Binary::Or,
        "Xor" => Binary::Xor,
        _ => return None,
    })
}

fn activation(node: &mut Node) -> Option<Activation> {
    let op = node.op;
    Some(match op {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::LeakyRelu { alpha: node.float("alpha", 0.01) },
        "Elu" => Activation::Elu { alpha: node.float("alpha", 1.0) },
        "Selu" => {
            let (alpha, gamma) = if node.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
            Activation::Selu { alpha: node.float("alpha", alpha), gamma: node.float("gamma", gamma) }
        }
        "Celu" => Activation::Celu { alpha: node.float("alpha", 1.0) },
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid { alpha: node.float("alpha", 0.2), beta: node.float("beta", 0.5) },
        "Tanh" => Activation::Tanh,
        "HardSwish" => Activation::HardSwish,
        "Gelu" => node.word("approximate", &[("none", Activation::Gelu), ("tanh", Activation::GeluTanh)]),
        "Swish" if node.float("alpha", 1.0) == 1.0 => Activation::Silu,
        "Softplus" => Activation::Softplus,
        "Softsign" => Activation::Softsign,
        "Mish" => Activation::Mish,
        _ => return None,
    })
}

/// Before opset 7 the second input is broadcast where an attribute says so, at an axis that another one names.
fn align_old_broadcast(node: &mut Node) {
    if node.opset >= 7 {
        return;
    }
    let broadcast = node.flag("broadcast", false);
    // Without an axis both are aligned at their ends, as in all later opsets.
    let Some(axis) = node.optional_int("axis").filter(|_| broadcast) else { return };
    if axis < 0 {
        return node.unsupported(format!("attribute axis = {axis} of a broadcast is not supported, only 0 and more are"));
    }
    let (a, b) = (node.input(0), node.input(1));
    let b = align(node, a, b, axis);
    node.set_input(1, Some(b));
}

/// `b` with axes of length 1 behind its own, so that its first axis is axis `axis` of `a`. How many follows from the shapes, which are
/// known when the graph is bound: all of this but the last step is computed then.
fn align(node: &mut Node, a: ValueId, b: ValueId, axis: i64) -> ValueId {
    let shape = Op::Shape { start: 0, end: None };
    let (shape_a, shape_b) = (node.step(shape.clone(), &[a]), node.step(shape.clone(), &[b]));
    let (rank_a, rank_b) = (node.step(shape.clone(), &[shape_a]), node.step(shape, &[shape_b]));
    let before = node.list(&[axis]);
    let after = node.step(Op::Binary(Binary::Sub), &[rank_a, rank_b]);
    let count = node.step(Op::Binary(Binary::Sub), &[after, before]);
    let ones = node.step(Op::ConstantOfShape { value: Value::list(&[1]) }, &[count]);
    let shape = node.step(Op::Concat { axis: 0 }, &[shape_b, ones]);
    node.step(Op::Reshape { allow_zero: true }, &[b, shape])
}

/// Bounds are attributes before opset 11.
fn clip(node: &mut Node) -> Vec<ValueId> {
    if node.opset >= 11 {
        return node.apply(Op::Clip);
    }
    let open = f32::MAX;
    let (min, max) = (node.float("min", -open), node.float("max", open));
    if node.inputs.len() > 1 {
        node.invalid(format!("has {} inputs, but the bounds are attributes before opset 11", node.inputs.len()));
    }
    // The defaults are the ends of f32: no bounds.
    let min = if min == -open { f32::NEG_INFINITY } else { min };
    let max = if max == open { f32::INFINITY } else { max };
    node.apply(Op::Activation(Activation::Clamp { min, max }))
}

/// The type of a cast: a name in the first opset, then a number.
fn cast_type(node: &mut Node) -> ElementType {
    if node.opset >= 6 {
        if !node.attributes.has("to") {
            node.invalid("attribute to is missing");
        }
        return node.element("to").unwrap_or(ElementType::F32);
    }
    let names = [
        ("FLOAT", ElementType::F32),
        ("FLOAT16", ElementType::F16),
        ("DOUBLE", ElementType::F64),
        ("INT8", ElementType::I8),
        ("INT16", ElementType::I16),
        ("INT32", ElementType::I32),
        ("INT64", ElementType::I64),
        ("UINT8", ElementType::U8),
        ("UINT16", ElementType::U16),
        ("UINT32", ElementType::U32),
        ("UINT64", ElementType::U64),
        ("BOOL", ElementType::Bool),
    ];
    node.word("to", &names)
}

/// How a cast to the 8-bit floats rounds, to which none is supported.
fn rounding(node: &mut Node) {
    if node.opset >= 19 {
        node.flag("saturate", true);
    }
    if node.opset >= 24 {
        node.text("round_mode");
    }
}

fn is_inf(node: &mut Node) -> Vec<ValueId> {
    let (negative, positive) = (node.flag("detect_negative", true), node.flag("detect_positive", true));
    if negative && positive {
        return node.apply(Op::Unary(Unary::IsInf));
    }
    let x = node.input(0);
    let infinite = node.step(Op::Unary(Unary::IsInf), &[x]);
    let zero = node.like(0.0, x);
    // Neither detected: less and greater at once, which is nowhere.
    let side = if positive { Binary::Greater } else { Binary::Less };
    let mut wanted = node.step(Op::Binary(side), &[x, zero]);
    if !negative && !positive {
        let other = node.step(Op::Binary(Binary::Greater), &[x, zero]);
        wanted = node.step(Op::Binary(Binary::And), &[wanted, other]);
    }
    node.apply_to(Op::Binary(Binary::And), &[Some(infinite), Some(wanted)])
}

/// `x + bias` below `-lambd`, `x - bias` above `lambd`, 0 between.
fn shrink(node: &mut Node) -> Vec<ValueId> {
    let x = node.input(0);
    let (bias, lambd) = (node.float("bias", 0.0), node.float("lambd", 0.5));
    let (low, high) = (node.like(-lambd, x), node.like(lambd, x));
    let (bias, zero) = (node.like(bias, x), node.like(0.0, x));
    let (below, above) = (node.step(Op::Binary(Binary::Less), &[x, low]), node.step(Op::Binary(Binary::Greater), &[x, high]));
    let (raised, lowered) = (node.step(Op::Binary(Binary::Add), &[x, bias]), node.step(Op::Binary(Binary::Sub), &[x, bias]));
    let rest = node.step(Op::Where, &[above, lowered, zero]);
    node.apply_to(Op::Where, &[Some(below), Some(raised), Some(rest)])
}
