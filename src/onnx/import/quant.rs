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
                && let Some(precision) = node.element("precision").filter(|precision| *precision != ElementType::F32)
            {
                node.unsupported(format!("attribute precision of {precision} is not supported, only f32 is"));
            }
            Op::QuantizeLinear { axis, block, output }
        }
        "DequantizeLinear" => {
            let (axis, block) = axis_and_block(node);
            if node.opset >= 23
                && let Some(output) = node.element("output_dtype")
            {
                // The output has the type of the scale, and the product is formed in it.
                let scale = node.input(1);
                let scale = node.step(Op::Cast(output), &[scale]);
                node.set_input(1, Some(scale));
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
