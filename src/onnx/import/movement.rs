//! Operators that move elements and compute nothing.

use crate::graph::{Binary, Op, PadMode, ValueId};
use crate::onnx::node::Node;
use crate::value::Value;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    let op = match node.op {
        "Identity" => Op::Identity,
        "Dropout" => return Some(dropout(node)),
        "Concat" => {
            if node.opset >= 4 && !node.attributes.has("axis") {
                node.invalid("attribute axis is missing");
            }
            Op::Concat { axis: node.int("axis", 1) }
        }
        "Split" => return Some(split(node)),
        "Slice" => {
            if node.opset < 10 {
                let (starts, ends) = (node.needed_ints("starts"), node.needed_ints("ends"));
                let axes = node.ints("axes");
                if node.inputs.len() > 1 {
                    node.invalid(format!("has {} inputs, but takes attributes before opset 10", node.inputs.len()));
                }
                for (index, list) in [(1, Some(starts)), (2, Some(ends)), (3, axes)] {
                    let list = list.map(|list| node.list(&list));
                    node.set_input(index, list);
                }
            }
            Op::Slice
        }
        "Pad" => return Some(pad(node)),
        "Flatten" => Op::Flatten { axis: node.int("axis", 1) },
        "Reshape" => {
            if node.opset < 5 && !node.attributes.has("shape") {
                node.invalid("attribute shape is missing");
            }
            node.operand("shape", 1, 5);
            Op::Reshape { allow_zero: node.opset >= 14 && node.flag("allowzero", false) }
        }
        "Transpose" => Op::Transpose { permutation: node.sizes("perm") },
        "Squeeze" => {
            node.operand("axes", 1, 13);
            Op::Squeeze
        }
        "Unsqueeze" => {
            if node.opset < 13 && !node.attributes.has("axes") {
                node.invalid("attribute axes is missing");
            }
            node.operand("axes", 1, 13);
            Op::Unsqueeze
        }
        "Expand" => Op::Expand,
        "Tile" => return Some(tile(node)),
        "Gather" => Op::Gather { axis: node.int("axis", 0) },
        "DepthToSpace" => {
            let block = node.needed_size("blocksize");
            let channels_first = node.opset >= 11 && node.word("mode", &[("DCR", false), ("CRD", true)]);
            Op::DepthToSpace { block, channels_first }
        }
        "SpaceToDepth" => return Some(space_to_depth(node)),
        "CenterCropPad" => Op::CenterCropPad { axes: node.ints("axes").unwrap_or_default() },
        _ => return None,
    };
    Some(node.apply(op))
}

/// Inference does nothing, and before opset 12 there is nothing else that could be asked for.
fn dropout(node: &mut Node) -> Vec<ValueId> {
    if node.opset >= 12 {
        // Of random numbers that are not drawn.
        node.optional_int("seed");
        return node.apply(Op::Dropout);
    }
    node.float("ratio", 0.5);
    if node.opset < 7 {
        node.flag("is_test", true);
    }
    let x = node.input(0);
    let mut results = node.apply(Op::Dropout);
    if node.opset < 10 && results.len() > 1 {
        // The mask had the type of the input before it was a bool.
        results[1] = node.step(Op::CastLike, &[results[1], x]);
    }
    results
}

fn split(node: &mut Node) -> Vec<ValueId> {
    let axis = node.int("axis", 0);
    if node.opset >= 2 {
        node.operand("split", 1, 13);
    } else if let Some(lengths) = node.ints("split") {
        let lengths = node.list(&lengths);
        node.set_input(1, Some(lengths));
    }
    if node.opset >= 18
        && let Some(count) = node.optional_int("num_outputs")
        && usize::try_from(count) != Ok(node.outputs)
    {
        node.invalid(format!("attribute num_outputs = {count}, but the node has {} outputs", node.outputs));
    }
    node.apply(Op::Split { axis })
}

fn pad(node: &mut Node) -> Vec<ValueId> {
    let modes =
        [("constant", PadMode::Constant), ("reflect", PadMode::Reflect), ("edge", PadMode::Edge), ("wrap", PadMode::Wrap)];
    let known = if node.opset < 19 { &modes[..3] } else { &modes };
    let mode = node.word("mode", known);
    if node.opset >= 11 {
        return node.apply(Op::Pad(mode));
    }
    let name = if node.opset < 2 { "paddings" } else { "pads" };
    if !node.attributes.has(name) {
        node.invalid(format!("attribute {name} is missing"));
    }
    node.operand(name, 1, 11);
    let value = node.float("value", 0.0);
    if value != 0.0 {
        let x = node.input(0);
        let value = node.like(value, x);
        node.set_input(2, Some(value));
    }
    node.apply(Op::Pad(mode))
}

/// In the first opset one axis is repeated, which two inputs name with the count.
fn tile(node: &mut Node) -> Vec<ValueId> {
    if node.opset >= 6 {
        if node.inputs.len() > 2 {
            node.invalid(format!("has {} inputs, but there are at most 2 from opset 6 on", node.inputs.len()));
        }
        return node.apply(Op::Tile);
    }
    let (x, tiles, axis) = (node.input(0), node.input(1), node.input(2));
    let shape = Op::Shape { start: 0, end: None };
    let one = node.list(&[1]);
    let flat = node.list(&[-1]);
    let [tiles, before] = [tiles, axis].map(|value| {
        let whole = node.step(Op::Cast(crate::ElementType::I64), &[value]);
        node.step(Op::Reshape { allow_zero: false }, &[whole, flat])
    });
    let sizes = node.step(shape.clone(), &[x]);
    let rank = node.step(shape, &[sizes]);
    let behind = node.step(Op::Binary(Binary::Sub), &[rank, before]);
    let after = node.step(Op::Binary(Binary::Sub), &[behind, one]);
    let [before, after] = [before, after].map(|count| node.step(Op::ConstantOfShape { value: Value::list(&[1]) }, &[count]));
    let repeats = node.step(Op::Concat { axis: 0 }, &[before, tiles, after]);
    node.apply_to(Op::Tile, &[Some(x), Some(repeats)])
}

/// Blocks come before channels in the result (`DCR`), or behind them (`CRD`), which is the same with two axes exchanged.
fn space_to_depth(node: &mut Node) -> Vec<ValueId> {
    let block = node.needed_size("blocksize");
    let channels_first = node.opset >= 28 && node.word("mode", &[("DCR", false), ("CRD", true)]);
    if !channels_first {
        return node.apply(Op::SpaceToDepth { block });
    }
    let x = node.input(0);
    let deep = node.step(Op::SpaceToDepth { block }, &[x]);
    let taps = block.checked_mul(block).and_then(|taps| i64::try_from(taps).ok()).unwrap_or(i64::MAX);
    let channels = node.step(Op::Shape { start: 1, end: Some(2) }, &[x]);
    let (front, rest) = (node.list(&[0, taps]), node.list(&[-1]));
    let split = node.step(Op::Concat { axis: 0 }, &[front, channels, rest]);
    let apart = node.step(Op::Reshape { allow_zero: false }, &[deep, split]);
    let exchanged = node.step(Op::Transpose { permutation: vec![0, 2, 1, 3] }, &[apart]);
    let shape = node.step(Op::Shape { start: 0, end: None }, &[deep]);
    node.apply_to(Op::Reshape { allow_zero: true }, &[Some(exchanged), Some(shape)])
}
