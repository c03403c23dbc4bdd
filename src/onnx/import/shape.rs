//! Constants, and operators that make values out of shapes and counts.

use crate::graph::{Op, ValueId};
use crate::onnx::node::Node;
use crate::value::Value;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    let op = match node.op {
        "Constant" => {
            let value = constant(node).unwrap_or_else(|| {
                if node.problems.is_empty() {
                    node.invalid("has no attribute with the value");
                }
                Value::scalar(0.0f32)
            });
            return Some(vec![node.graph.constant("", value)]);
        }
        "ConstantOfShape" => {
            let value = node.tensor("value").unwrap_or(Value::scalar(0.0f32));
            if value.len() != 1 {
                node.invalid(format!("attribute value is {value}, but must have one element"));
            }
            Op::ConstantOfShape { value }
        }
        "Shape" if node.opset < 15 => Op::Shape { start: 0, end: None },
        "Shape" => Op::Shape { start: node.int("start", 0), end: node.optional_int("end") },
        "Size" => Op::Size,
        "Range" => {
            if node.opset >= 27 {
                // The type of the sums of 16-bit floats; no sum is formed here, but each product exactly.
                node.optional_int("stash_type");
            }
            Op::Range
        }
        _ => return None,
    };
    Some(node.apply(op))
}

/// The value in whichever attribute there is.
fn constant(node: &mut Node) -> Option<Value> {
    if node.opset >= 12 {
        if let Some(number) = node.optional_float("value_float") {
            return Some(Value::scalar(number));
        }
        if let Some(number) = node.optional_int("value_int") {
            return Some(Value::scalar(number));
        }
        if let Some(list) = node.ints("value_ints") {
            return Some(Value::list(&list));
        }
        if let Some(list) = node.floats("value_floats") {
            return Value::new(&[list.len()], list).ok();
        }
    }
    node.tensor("value")
}
