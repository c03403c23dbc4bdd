//! Passes that compute constants: matrix products with constant matrices become layers, and what scales and shifts the channels of a
//! layer becomes part of its weights.

use std::sync::Arc;

use super::edit::{Links, carried, channel_axis, is_finite, per_channel};
use super::tidy::remove_unused;
use crate::activation::Activation;
use crate::desc::{ConvDesc, Epilogue, Residual};
use crate::graph::ops::conv_desc;
use crate::graph::{Binary, Graph, Node, Op, ValueId};
use crate::value::{ElementType, Value};
use crate::weights::{BatchNorm, Weights};

/// Makes fully connected layers of matrix products whose right side is one constant matrix, so that bias, residual and activation can
/// become a part of them.
pub fn gemm_to_linear(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut result.nodes) {
        match linear(&mut result, &node) {
            Some(list) => nodes.extend(list),
            None => nodes.push(node),
        }
    }
    result.nodes = nodes;
    result
}

fn linear(graph: &mut Graph, node: &Node) -> Option<Vec<Node>> {
    let input = |index: usize| node.input(index);
    let (a, b) = (input(0)?, input(1)?);
    // A layer sums and stores f32 at most.
    let takes = |element: ElementType| element.is_float() && element != ElementType::F64;
    let weight = graph.constant_of(b).filter(|value| value.shape().len() == 2 && takes(value.element()))?.clone();
    let (alpha, beta, trans_a, trans_b) = match &node.op {
        Op::Gemm { alpha, beta, trans_a, trans_b } => (*alpha, *beta, *trans_a, *trans_b),
        Op::MatMul if graph.fact(a).rank() >= 2 => (1.0, 1.0, false, false),
        _ => return None,
    };
    let element = weight.element();
    let c = input(2).filter(|_| beta != 0.0);
    let out = weight.shape()[if trans_b { 0 } else { 1 }];
    let bias = match c {
        None => None,
        // One number for each output already.
        Some(c) if beta == 1.0 && graph.constant_of(c).is_some_and(|value| value.shape() == [out]) => Some(c),
        Some(c) => {
            let list = per_channel(graph.constant_of(c)?, &graph.fact(node.outputs[0]).shape, 1)?;
            let scaled = Value::from_floats(element, &[out], list.iter().map(|value| value * f64::from(beta)).collect());
            Some(graph.constant("", Some(scaled).filter(is_finite)?))
        }
    };
    let [rows, columns] = [weight.shape()[0], weight.shape()[1]];
    // Sums of nothing are no layer's.
    if weight.is_empty() {
        return None;
    }
    let turned = if trans_b {
        weight
    } else {
        let order: Vec<_> = (0..columns).flat_map(|column| (0..rows).map(move |row| Some(row * columns + column))).collect();
        Arc::new(weight.select(&[columns, rows], &order))
    };
    let scaled = if alpha == 1.0 {
        turned
    } else {
        let list = turned.as_f32().iter().map(|value| (f64::from(*value) * f64::from(alpha)) as f32).collect();
        Arc::new(carried(element, turned.shape(), list)?)
    };
    let name = graph.info(b).name.clone();
    let weight = graph.constant_shared(&name, scaled);
    let mut list = Vec::new();
    let mut x = a;
    if trans_a {
        let shape: Vec<_> = graph.fact(a).shape.iter().rev().map(|&size| size.into()).collect();
        let turned = graph.value_like(a);
        graph.values[turned.0].dims = Some(shape);
        let op = Op::Transpose { permutation: vec![1, 0] };
        list.push(Node { name: node.name.clone(), op, inputs: vec![Some(a)], outputs: vec![turned] });
        x = turned;
    }
    let inputs = vec![Some(x), Some(weight), bias];
    list.push(Node { op: Op::Linear(Epilogue::default()), inputs, ..node.clone() });
    Some(list)
}

/// Folds what follows a convolution or fully connected layer and only scales and shifts its channels into its weights: batch
/// normalisation, and products and sums with constants. Computed in f64.
pub fn fold_affine(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::new(&result);
    for number in 0..result.nodes.len() {
        let node = result.nodes[number].clone();
        let Some((layer_number, x)) = layer_before(&result, &links, &node) else { continue };
        let layer = result.nodes[layer_number].clone();
        let Some((kernel, bias)) = folded(&mut result, &layer, &node, x) else { continue };
        // The layer takes the node's result, and the node goes.
        let inputs = vec![layer.inputs[0], Some(kernel), Some(bias)];
        links.remove(&mut result, number);
        links.replace(&mut result, layer_number, Node { inputs, outputs: vec![node.outputs[0]], ..layer });
    }
    remove_unused(&result)
}

/// The layer whose result only this node uses, and that result.
fn layer_before(graph: &Graph, links: &Links, node: &Node) -> Option<(usize, ValueId)> {
    let candidates = if matches!(node.op, Op::BatchNorm { .. }) { &node.inputs[..1] } else { &node.inputs[..] };
    candidates.iter().flatten().find_map(|&id| {
        let number = links.producer(id).filter(|_| links.used_once(id))?;
        let plain = match &graph.nodes[number].op {
            Op::Conv(conv) => conv.epilogue,
            Op::Linear(epilogue) => *epilogue,
            _ => return None,
        };
        let untouched = plain.activation == Activation::Identity && plain.residual == Residual::None;
        untouched.then_some((number, id))
    })
}

/// The layer's new weights and bias, where the node behind is an affine function of each channel.
fn folded(graph: &mut Graph, layer: &Node, node: &Node, x: ValueId) -> Option<(ValueId, ValueId)> {
    let fact = graph.fact(x);
    let after = graph.fact(node.outputs[0]);
    if after.shape != fact.shape || after.element != fact.element {
        return None;
    }
    let axis = channel_axis(&layer.op, fact.rank())?;
    let channels = fact.shape[axis];
    let other = || node.inputs.iter().flatten().find(|&&id| id != x).copied();
    let constant = |id: Option<ValueId>| per_channel(graph.constant_of(id?)?, &fact.shape, axis);
    let x_first = node.inputs[0] == Some(x);
    let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
    let list = |index: usize| Some(graph.constant_of(node.input(index)?)?.to_f64());
    let ([scale, shift, mean, variance], epsilon) = match &node.op {
        Op::BatchNorm { training: false, epsilon, .. } if axis == 1 => ([list(1)?, list(2)?, list(3)?, list(4)?], *epsilon),
        Op::Binary(Binary::Mul) => ([constant(other())?, zeros.clone(), zeros, ones], 0.0),
        Op::Binary(Binary::Div) if x_first => {
            let scale: Vec<f64> = constant(other())?.into_iter().map(|value| 1.0 / value).collect();
            ([scale, zeros.clone(), zeros, ones], 0.0)
        }
        Op::Binary(Binary::Add) => ([ones.clone(), constant(other())?, zeros, ones], 0.0),
        Op::Binary(Binary::Sub) if x_first => ([ones.clone(), zeros, constant(other())?, ones], 0.0),
        _ => return None,
    };
    let narrow = |list: Vec<f64>| list.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let (scale, shift, mean, variance) = (narrow(scale), narrow(shift), narrow(mean), narrow(variance));
    let norm = BatchNorm { scale: &scale, shift: &shift, mean: &mean, variance: &variance, epsilon };

    let weight = graph.constant_of(layer.inputs[1]?)?.clone();
    let bias_id = layer.input(2);
    let bias = bias_id.map(|id| graph.constant_of(id).map(|value| value.to_f32())).map_or(Some(None), |bias| bias.map(Some))?;
    let desc = match &layer.op {
        Op::Conv(conv) => conv_desc(conv, &graph.fact(layer.inputs[0]?).shape, weight.shape(), bias.is_some()).ok()?,
        Op::Linear(_) => {
            let epilogue = Epilogue { bias: bias.is_some(), ..Epilogue::default() };
            ConvDesc { epilogue, ..ConvDesc::linear(weight.shape()[1], weight.shape()[0]) }
        }
        _ => return None,
    };
    let kernel = weight.as_f32();
    let unchanged = scale.iter().all(|&value| value == 1.0) && variance.iter().all(|&value| value == 1.0) && epsilon == 0.0;
    let folded = norm.fold(&desc, &Weights { kernel: &kernel, bias: bias.as_deref(), ..Default::default() }).ok()?;
    let name = graph.info(layer.inputs[1]?).name.clone();
    let widen = |list: Vec<f32>| list.into_iter().map(f64::from).collect::<Vec<f64>>();
    let kernel = if unchanged {
        layer.inputs[1]?
    } else {
        graph.constant(&name, carried(weight.element(), weight.shape(), folded.kernel)?)
    };
    let bias = Value::from_floats(weight.element(), &[channels], widen(folded.bias));
    Some((kernel, graph.constant("", Some(bias).filter(is_finite)?)))
}
