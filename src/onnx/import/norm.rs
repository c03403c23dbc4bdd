//! Normalisations.

use crate::graph::{Op, ValueId};
use crate::onnx::node::Node;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    let op = match node.op {
        "BatchNormalization" => batch_norm(node),
        "InstanceNormalization" => Op::InstanceNorm { epsilon: node.float("epsilon", 1e-5) },
        "LayerNormalization" => {
            node.only("stash_type", 1);
            Op::LayerNorm { axis: node.int("axis", -1), epsilon: node.float("epsilon", 1e-5) }
        }
        "RMSNormalization" => {
            node.only("stash_type", 1);
            Op::RmsNorm { axis: node.int("axis", -1), epsilon: node.float("epsilon", 1e-5) }
        }
        "GroupNormalization" => {
            if node.opset >= 21 {
                node.only("stash_type", 1);
            }
            Op::GroupNorm { groups: node.needed_size("num_groups"), epsilon: node.float("epsilon", 1e-5) }
        }
        "MeanVarianceNormalization" => Op::MeanVarianceNorm { axes: node.ints("axes").unwrap_or(vec![0, 2, 3]) },
        "LpNormalization" => {
            let p = node.int("p", 2);
            if p != 1 && p != 2 {
                node.invalid(format!("attribute p = {p} is neither 1 nor 2"));
            }
            Op::LpNorm { axis: node.int("axis", -1), p: if p == 1 { 1 } else { 2 } }
        }
        "LRN" => Op::Lrn {
            size: node.needed_size("size"),
            alpha: node.float("alpha", 1e-4),
            beta: node.float("beta", 0.75),
            bias: node.float("bias", 1.0),
        },
        _ => return None,
    };
    Some(node.apply(op))
}

fn batch_norm(node: &mut Node) -> Op {
    let (epsilon, momentum) = (node.float("epsilon", 1e-5), node.float("momentum", 0.9));
    let training = node.opset >= 14 && node.flag("training_mode", false);
    if node.opset < 9 {
        node.only("spatial", 1);
    }
    if node.opset < 7 {
        node.flag("is_test", true);
    }
    // Before opset 14 more outputs are what asks for training.
    if node.opset < 14 && node.outputs > 1 {
        node.unsupported(format!("has {} outputs: training is not supported before opset 14", node.outputs));
    }
    if node.outputs > 3 {
        node.invalid(format!("has {} outputs, but there are at most 3", node.outputs));
    }
    Op::BatchNorm { epsilon, momentum, training }
}
