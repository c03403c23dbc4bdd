//! Convolutions, poolings and matrix products.

use crate::desc::{IndexOrder, Padding, PoolDesc, PoolKind, PoolWindow};
use crate::graph::{ConvOp, Op, Pads, ValueId};
use crate::onnx::node::Node;
use crate::spatial::Spatial;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    let op = match node.op {
        "Conv" => Op::Conv(conv(node, false)),
        "ConvTranspose" => Op::Conv(conv(node, true)),
        "MaxPool" => return Some(max_pool(node)),
        "AveragePool" => {
            let count_include_pad = node.opset >= 7 && node.flag("count_include_pad", false);
            Op::Pool(pool(node, PoolKind::Average { count_include_pad, divisor_override: None }))
        }
        "LpPool" => {
            let kind = PoolKind::Lp { p: order(node) };
            Op::Pool(pool(node, kind))
        }
        "GlobalAveragePool" => Op::Pool(PoolDesc::global_average()),
        "GlobalMaxPool" => Op::Pool(PoolDesc::global_max()),
        "GlobalLpPool" => Op::Pool(PoolDesc::global_lp(order(node))),
        "MaxUnpool" => {
            if !node.attributes.has("kernel_shape") {
                node.invalid("attribute kernel_shape is missing");
            }
            Op::MaxUnpool { kernel: node.sizes("kernel_shape"), stride: node.sizes("strides"), pads: node.sizes("pads") }
        }
        "Gemm" => {
            if node.opset < 7 {
                // Whether C may be broadcast; where it need not be, broadcasting changes nothing.
                node.flag("broadcast", false);
            }
            Op::Gemm {
                alpha: node.float("alpha", 1.0),
                beta: node.float("beta", 1.0),
                trans_a: node.flag("transA", false),
                trans_b: node.flag("transB", false),
            }
        }
        "MatMul" => Op::MatMul,
        _ => return None,
    };
    Some(node.apply(op))
}

/// The order of a norm: a float in the first opset, then an int.
fn order(node: &mut Node) -> f32 {
    if node.opset < 2 { node.float("p", 2.0) } else { node.int("p", 2) as f32 }
}

/// What the attributes of a convolution say.
pub(super) fn conv(node: &mut Node, transposed: bool) -> ConvOp {
    let mut conv = ConvOp {
        kernel: node.sizes("kernel_shape"),
        stride: node.sizes("strides"),
        dilation: node.sizes("dilations"),
        padding: pads(node),
        groups: node.size("group", 1),
        transposed,
        ..Default::default()
    };
    if transposed {
        conv.output_padding = node.sizes("output_padding");
        conv.output_shape = node.sizes("output_shape");
    }
    conv
}

/// The attributes `auto_pad` and `pads`, of which only one may say something.
fn pads(node: &mut Node) -> Pads {
    let list = node.sizes("pads");
    let words = [("NOTSET", None), ("SAME_UPPER", Some(0)), ("SAME_LOWER", Some(1)), ("VALID", Some(2))];
    let Some(auto) = node.word("auto_pad", &words) else { return Pads::Explicit(list) };
    if list.iter().any(|&pad| pad != 0) {
        node.invalid(format!("attribute pads = {list:?} stands beside an auto_pad that decides them"));
    }
    [Pads::SameUpper, Pads::SameLower, Pads::Valid][auto].clone()
}

/// What the attributes of a pooling over windows say.
fn pool(node: &mut Node, kind: PoolKind) -> PoolDesc {
    let kernel = node.sizes("kernel_shape");
    let kernel = Spatial::from_slice("kernel_shape", &kernel).unwrap_or_else(|_| {
        if node.attributes.has("kernel_shape") {
            node.unsupported(format!("attribute kernel_shape = {kernel:?} has not 1 to 3 entries"));
        } else {
            node.invalid("attribute kernel_shape is missing");
        }
        Spatial::splat(1, 1)
    });
    let rank = kernel.rank();
    let padding = match pads(node) {
        Pads::Explicit(list) if list.is_empty() => Spatial::splat(rank, 0).into(),
        Pads::Explicit(list) => match (list.len() == 2 * rank).then(|| list.split_at(rank)) {
            Some((begin, end)) => Padding::Explicit { begin: to_spatial(begin), end: to_spatial(end) },
            None => {
                node.invalid(format!("attribute pads has {} entries, but a kernel of {rank} axes has {}", list.len(), 2 * rank));
                Padding::Valid
            }
        },
        Pads::Valid => Padding::Valid,
        Pads::SameUpper => Padding::SameUpper,
        Pads::SameLower => Padding::SameLower,
    };
    let [ceil_since, dilation_since] = match kind {
        PoolKind::Max { .. } => [10, 10],
        PoolKind::Average { .. } => [10, 19],
        PoolKind::Lp { .. } => [18, 18],
    };
    PoolDesc {
        kind,
        window: PoolWindow::Sliding(kernel),
        stride: node.spatial("strides", rank, 1),
        dilation: if node.opset >= dilation_since { node.spatial("dilations", rank, 1) } else { Spatial::splat(rank, 1) },
        padding,
        ceil_mode: node.opset >= ceil_since && node.flag("ceil_mode", false),
        output_layout: None,
    }
}

/// A list whose length is known to be that of a kernel.
fn to_spatial(list: &[usize]) -> Spatial {
    Spatial::from_slice("pads", list).expect("as many entries as a kernel has axes")
}

fn max_pool(node: &mut Node) -> Vec<ValueId> {
    let columns = node.opset >= 8 && node.flag("storage_order", false);
    let order = if columns { IndexOrder::TensorColumnMajor } else { IndexOrder::Tensor };
    let kind = PoolKind::Max { indices: (node.outputs > 1).then_some(order) };
    let op = Op::Pool(pool(node, kind));
    node.apply(op)
}
