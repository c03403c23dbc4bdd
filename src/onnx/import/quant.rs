//! Quantised operators.

use super::layers::conv;
use crate::graph::{Op, ValueId};
use crate::onnx::node::Node;
use crate::value::ElementType;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    let op = match node.op {
        "QuantizeLinear" => {
            let (axis, block) = axis_and_block(node);
            let mut output = ElementType::U8;
            if node.opset >= 19 {
                // Of conversions to the 8-bit floats.
                node.flag("saturate", true);
            }
            if node.opset >= 21 {
                output = node.element("output_dtype").unwrap_or(output);
            }
            if node.opset >= 23
                && let Some(precision) = node.element("precision")
            {
                // The quotient is formed in the type of the scale.
                let scale = node.input(1);
                let scale = node.step(Op::Cast(precision), &[scale]);
                node.set_input(1, Some(scale));
            }
            Op::QuantizeLinear { axis, block, output }
        }
        "DequantizeLinear" => {
            let (axis, block) = axis_and_block(node);
            let output = if node.opset >= 23 { node.element("output_dtype") } else { None };
            if let Some(output) = output {
                // The product is formed in f32, which holds every scale, and then is of this type.
                let scale = node.input(1);
                let scale = node.step(Op::Cast(ElementType::F32), &[scale]);
                node.set_input(1, Some(scale));
                if output != ElementType::F32 {
                    let inputs = node.inputs.clone();
                    let product = node.graph.apply_many(node.name, Op::DequantizeLinear { axis, block }, &inputs, 1)[0];
                    node.inputs = vec![Some(product)];
                    return Some(node.apply(Op::Cast(output)));
                }
            }
            Op::DequantizeLinear { axis, block }
        }
        "DynamicQuantizeLinear" => Op::DynamicQuantizeLinear,
        "QLinearConv" => Op::QLinearConv(conv(node, false)),
        "ConvInteger" => Op::ConvInteger(conv(node, false)),
        "QLinearMatMul" => Op::QLinearMatMul,
        "MatMulInteger" => Op::MatMulInteger,
        _ => return None,
    };
    Some(node.apply(op))
}

fn axis_and_block(node: &mut Node) -> (i64, usize) {
    let axis = if node.opset >= 13 { node.int("axis", 1) } else { 1 };
    let block = if node.opset >= 21 { node.size("block_size", 0) } else { 0 };
    (axis, block)
}
