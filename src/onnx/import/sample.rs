//! Operators that look at positions which other inputs name, and the windows that are gathered for them.

use super::layers::conv;
use crate::activation::Activation;
use crate::graph::{Op, SampleMode, SamplePadding, ValueId};
use crate::onnx::node::Node;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    let op = match node.op {
        "GridSample" => grid_sample(node),
        "RoiAlign" => {
            let max = node.word("mode", &[("avg", false), ("max", true)]);
            // Before opset 16 nothing is shifted.
            let words = [("half_pixel", true), ("output_half_pixel", false)];
            let half_pixel = node.opset >= 16 && node.word("coordinate_transformation_mode", &words);
            Op::RoiAlign {
                max,
                output: [node.size("output_height", 1), node.size("output_width", 1)],
                sampling_ratio: node.size("sampling_ratio", 0),
                spatial_scale: node.float("spatial_scale", 1.0),
                half_pixel,
            }
        }
        "DeformConv" => Op::DeformConv { offset_groups: node.size("offset_group", 1), conv: conv(node, false) },
        "Col2Im" => Op::Col2Im { dilation: node.sizes("dilations"), pads: node.sizes("pads"), stride: node.sizes("strides") },
        "CausalConvWithState" => {
            let words = [("none", Activation::Identity), ("silu", Activation::Silu), ("swish", Activation::Silu)];
            Op::CausalConvWithState { activation: node.word("activation", &words) }
        }
        _ => return None,
    };
    Some(node.apply(op))
}

fn grid_sample(node: &mut Node) -> Op {
    let old = [("bilinear", SampleMode::Linear), ("nearest", SampleMode::Nearest), ("bicubic", SampleMode::Cubic)];
    let new = [("linear", SampleMode::Linear), ("nearest", SampleMode::Nearest), ("cubic", SampleMode::Cubic)];
    let paddings =
        [("zeros", SamplePadding::Zeros), ("border", SamplePadding::Border), ("reflection", SamplePadding::Reflection)];
    Op::GridSample {
        mode: node.word("mode", if node.opset < 20 { &old } else { &new }),
        padding: node.word("padding_mode", &paddings),
        align_corners: node.flag("align_corners", false),
    }
}
