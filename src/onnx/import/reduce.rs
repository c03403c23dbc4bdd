//! Reductions, and functions of whole rows.

use crate::graph::{Op, Reduce, SoftmaxKind, ValueId};
use crate::onnx::node::Node;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    if let Some(kind) = reduction(node.op) {
        let since = if kind == Reduce::Sum { 13 } else { 18 };
        node.operand("axes", 1, since);
        let keep_dims = node.flag("keepdims", true);
        let noop_with_empty_axes = node.opset >= since && node.flag("noop_with_empty_axes", false);
        return Some(node.apply(Op::Reduce { kind, keep_dims, noop_with_empty_axes }));
    }
    let op = match node.op {
        "Softmax" => softmax(node, SoftmaxKind::Softmax),
        "LogSoftmax" => softmax(node, SoftmaxKind::LogSoftmax),
        "Hardmax" => softmax(node, SoftmaxKind::Hardmax),
        "ArgMax" | "ArgMin" => Op::ArgReduce {
            min: node.op == "ArgMin",
            axis: node.int("axis", 0),
            keep_dims: node.flag("keepdims", true),
            last: node.opset >= 12 && node.flag("select_last_index", false),
        },
        _ => return None,
    };
    Some(node.apply(op))
}

fn reduction(op: &str) -> Option<Reduce> {
    Some(match op {
        "ReduceSum" => Reduce::Sum,
        "ReduceMean" => Reduce::Mean,
        "ReduceMax" => Reduce::Max,
        "ReduceMin" => Reduce::Min,
        "ReduceProd" => Reduce::Prod,
        "ReduceL1" => Reduce::L1,
        "ReduceL2" => Reduce::L2,
        "ReduceSumSquare" => Reduce::SumSquare,
        "ReduceLogSum" => Reduce::LogSum,
        "ReduceLogSumExp" => Reduce::LogSumExp,
        _ => return None,
    })
}

/// Before opset 13 all axes from `axis` on count as one, and the default is another.
fn softmax(node: &mut Node, kind: SoftmaxKind) -> Op {
    let flatten = node.opset < 13;
    Op::Softmax { kind, axis: node.int("axis", if flatten { 1 } else { -1 }), flatten }
}
