//! A pass that finds products of integers between quantisations, what exporters write as `DequantizeLinear`, then `Conv`, `MatMul` or
//! `Gemm`, then `QuantizeLinear`.
//!
//! With `x = (q - zero) scale`, a sum of products is the sum of integers times both scales: one of the quantised operators, `QLinearConv` or
//! `QLinearMatMul`, whose sums are exact. It differs from the sum in floats by that sum's rounding, which moves a result by a step of its
//! quantisation where it lies at a half, and no further (Jacob et al., "Quantization and training of neural networks for efficient
//! integer-arithmetic-only inference", 2018). What only moves numbers or finds the greatest, between quantisations that are the same, does so with the integers.

use super::edit::{Links, clip_bounds, per_channel};
use super::tidy::remove_unused;
use crate::activation::Activation;
use crate::desc::{Epilogue, PaddingMode, PoolKind};
use crate::graph::ops::axis_of;
use crate::graph::{ConvOp, Dim, Graph, Node, Op, ValueId};
use crate::value::{ElementType, Value};

/// The part of a step of the result that rounding a bias to steps of the sums may move it by.
const BIAS: f64 = 1.0 / 512.0;

/// The largest sum of products and the largest bias, in steps of the sums: together they stay in 32 bits.
const LARGEST: f64 = (1u32 << 30) as f64;

/// Numbers that stand for `(q - zero) * scale`.
struct Quantised {
    numbers: ValueId,
    scale: ValueId,
    zero: ValueId,
    /// One for all, or one for each place on an axis.
    scales: Vec<f64>,
}

impl Quantised {
    /// Of the node that quantises to them or dequantises them; scales are for all, or along `axis` of so many places.
    fn new(graph: &mut Graph, node: &Node, numbers: ValueId, along: Option<(usize, usize)>) -> Option<Self> {
        let (Op::QuantizeLinear { axis, block: 0, .. } | Op::DequantizeLinear { axis, block: 0 }) = node.op else { return None };
        let fact = graph.fact(numbers);
        let scale = node.input(1)?;
        let value = graph.constant_of(scale).filter(|value| value.element() == ElementType::F32)?;
        let scales = value.to_f64();
        let fits = scales.len() == 1
            || along.is_some_and(|(at, count)| axis_of(axis, fact.rank()).is_ok_and(|axis| axis == at) && scales.len() == count);
        let sound = scales.iter().all(|&scale| scale > 0.0 && scale.is_finite());
        if !fits || !sound || !matches!(fact.element, ElementType::U8 | ElementType::I8) {
            return None;
        }
        let zero = match node.input(2) {
            Some(zero) => graph.constant_of(zero).map(|_| zero)?,
            None => graph.constant("", Value::zeros(fact.element, &[])),
        };
        Some(Self { numbers, scale, zero, scales })
    }
}

/// Makes quantised operators of layers in floats between numbers that are dequantised and quantised again, where all scales are known, and
/// movements and max poolings of quantised numbers of those that stand between the same quantisation.
pub fn fuse_quantised(graph: &Graph) -> Graph {
    let links = Links::new(graph);
    let mut result = graph.clone();
    result.nodes.clear();
    for node in &graph.nodes {
        let nodes = fused(graph, &links, &mut result, node);
        result.nodes.extend(nodes.unwrap_or_else(|| vec![node.clone()]));
    }
    let mut result = remove_unused(&result);
    // What they came from is not kept any longer.
    result.values.iter_mut().for_each(|info| info.dequantised = None);
    result
}

/// The nodes in place of a quantisation, with what values they need added to `graph`; the layer before it then is nobody's.
fn fused(original: &Graph, links: &Links, graph: &mut Graph, end: &Node) -> Option<Vec<Node>> {
    let (Op::QuantizeLinear { .. }, Some(mut x)) = (&end.op, end.input(0)) else { return None };
    let before = |id: ValueId| links.node(original, id).filter(|_| links.used_once(id));
    let y = Quantised::new(graph, end, end.outputs[0], None)?;
    let mut layer = before(x)?;
    if let Some(node) = moved(original, links, graph, layer, &y) {
        return Some(vec![node]);
    }
    if let Some(bounds) = bounds(graph, layer) {
        if !saturates(graph, &y, bounds) {
            return None;
        }
        x = layer.input(0)?;
        layer = before(x)?;
    }
    let (factor, weight, bias) = (layer.input(0)?, layer.input(1)?, layer.input(2));
    let opened = links.node(original, factor)?;
    let folded = graph.info(weight).dequantised.clone()?;
    let shape = graph.fact(weight).shape;
    let rows = match &layer.op {
        Op::Conv(conv) if is_plain(conv) => 0,
        Op::MatMul if shape.len() == 2 => 1,
        Op::Gemm { alpha: 1.0, beta, trans_a: false, trans_b } if bias.is_none() || *beta == 1.0 => usize::from(!trans_b),
        _ => return None,
    };
    let terms = shape.iter().product::<usize>() / shape[rows].max(1);
    if terms as f64 * 255.0 * 255.0 > LARGEST {
        return None;
    }
    let a = Quantised::new(graph, opened, opened.input(0)?, None)?;
    let b = Quantised::new(graph, &folded, folded.input(0)?, Some((rows, shape[rows])))?;
    let output = graph.fact(x).shape;
    let bias = match bias {
        Some(bias) => {
            let bias = graph.constant_of(bias).and_then(|value| per_channel_of(&layer.op, value, &output))?;
            let bias = steps(&bias, &a, &b, &y)?;
            Some(graph.constant("", Value::from_ints(ElementType::I32, &[bias.len()], bias)))
        }
        None => None,
    };
    let inputs = |a: &Quantised, numbers: [ValueId; 2], bias: Option<ValueId>| {
        let list = [numbers[0], a.scale, a.zero, numbers[1], b.scale, b.zero, y.scale, y.zero];
        list.map(Some).into_iter().chain(bias.map(Some)).collect::<Vec<_>>()
    };
    let name = if layer.name.is_empty() { end.name.clone() } else { layer.name.clone() };
    let node = |op: Op, inputs: Vec<Option<ValueId>>, outputs: Vec<ValueId>| Node { name: name.clone(), op, inputs, outputs };
    Some(match &layer.op {
        Op::Conv(conv) => {
            vec![node(Op::QLinearConv(conv.clone()), inputs(&a, [a.numbers, b.numbers], bias), end.outputs.clone())]
        }
        Op::MatMul => vec![node(Op::QLinearMatMul, inputs(&a, [a.numbers, b.numbers], None), end.outputs.clone())],
        // A quantised matrix product has no bias: as a convolution of one tap over one place it has.
        _ => {
            let (rows_in, columns) = (output[0], output[1]);
            let filters = filters(graph, b.numbers, rows == 1, [columns, terms])?;
            let wide = value(graph, a.numbers, &[rows_in, terms, 1]);
            let sums = value(graph, end.outputs[0], &[rows_in, columns, 1]);
            let sizes = [[rows_in, terms, 1].to_vec(), vec![rows_in, columns]];
            let [to, back] = sizes.map(|sizes| {
                let list: Vec<i64> = sizes.into_iter().map(|size| size as i64).collect();
                graph.constant("", Value::list(&list))
            });
            let reshape = Op::Reshape { allow_zero: true };
            vec![
                node(reshape.clone(), vec![Some(a.numbers), Some(to)], vec![wide]),
                node(Op::QLinearConv(ConvOp::default()), inputs(&a, [wide, filters], bias), vec![sums]),
                node(reshape, vec![Some(sums), Some(back)], end.outputs.clone()),
            ]
        }
    })
}

/// What only moves or compares numbers, between quantisations that are the same: it does so with the quantised ones.
fn moved(original: &Graph, links: &Links, graph: &mut Graph, node: &Node, y: &Quantised) -> Option<Node> {
    let moves = match &node.op {
        Op::Pool(desc) => matches!(desc.kind, PoolKind::Max { .. }),
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Transpose { .. } | Op::Squeeze | Op::Unsqueeze | Op::Slice => true,
        _ => false,
    };
    let opened = links.node(original, node.input(0)?)?;
    if !moves || node.outputs.len() != 1 || !matches!(opened.op, Op::DequantizeLinear { .. }) {
        return None;
    }
    let x = Quantised::new(graph, opened, opened.input(0)?, None)?;
    // An input of integers the host would move.
    links.node(original, x.numbers)?;
    let same = x.scales == y.scales
        && graph.scalar_of(x.zero) == graph.scalar_of(y.zero)
        && graph.fact(x.numbers).element == graph.fact(y.numbers).element;
    let mut inputs = node.inputs.clone();
    inputs[0] = Some(x.numbers);
    same.then(|| Node { inputs, outputs: vec![y.numbers], ..node.clone() })
}

/// Whether quantised convolutions have it all.
fn is_plain(conv: &ConvOp) -> bool {
    !conv.transposed && conv.padding_mode == PaddingMode::Zeros && conv.epilogue == Epilogue::default()
}

/// The least and the greatest number that a node lets through, where that is all it does.
fn bounds(graph: &Graph, node: &Node) -> Option<[f64; 2]> {
    match &node.op {
        Op::Activation(Activation::Relu) => Some([0.0, f64::INFINITY]),
        Op::Activation(Activation::Relu6) => Some([0.0, 6.0]),
        Op::Activation(Activation::Clamp { min, max }) => Some([*min, *max].map(f64::from)),
        Op::Clip => clip_bounds(graph, node),
        _ => None,
    }
}

/// Whether numbers outside of bounds are quantised to the ends of the type in any case.
fn saturates(graph: &Graph, y: &Quantised, [low, high]: [f64; 2]) -> bool {
    let (Some(zero), Some((least, most))) = (graph.scalar_of(y.zero), graph.fact(y.numbers).element.range()) else {
        return false;
    };
    let quantised = |number: f64| (number / y.scales[0]).round_ties_even() + zero;
    quantised(low) <= least as f64 && quantised(high) >= most as f64
}

/// A layer's bias as a number for each output channel.
fn per_channel_of(op: &Op, bias: &Value, output: &[usize]) -> Option<Vec<f64>> {
    match op {
        Op::Conv(_) => Some(bias.to_f64()),
        _ => per_channel(bias, output, 1),
    }
}

/// A bias in steps of the sums, where rounding it moves no result by more than a small part of its step.
fn steps(bias: &[f64], a: &Quantised, b: &Quantised, y: &Quantised) -> Option<Vec<i128>> {
    let in_steps = |(channel, &bias): (usize, &f64)| {
        let step = a.scales[0] * b.scales[if b.scales.len() == 1 { 0 } else { channel }];
        let count = (bias / step).round_ties_even();
        let fits = count.abs() <= LARGEST && (count * step - bias).abs() <= BIAS * y.scales[0];
        fits.then_some(count as i128)
    };
    bias.iter().enumerate().map(in_steps).collect()
}

/// The weights of a matrix product as filters `[columns, terms, 1]`; `turned` where they are `[terms, columns]`.
fn filters(graph: &mut Graph, weights: ValueId, turned: bool, [columns, terms]: [usize; 2]) -> Option<ValueId> {
    let value = graph.constant_of(weights)?.clone();
    let place = |index: usize| if turned { index % terms * columns + index / terms } else { index };
    let order: Vec<Option<usize>> = (0..columns * terms).map(|index| Some(place(index))).collect();
    Some(graph.constant("", value.select(&[columns, terms, 1], &order)))
}

/// A new value of another's type and of this shape.
fn value(graph: &mut Graph, like: ValueId, shape: &[usize]) -> ValueId {
    let id = graph.value_like(like);
    graph.values[id.0].dims = Some(shape.iter().map(|&size| Dim::Known(size)).collect());
    id
}
