//! Passes that make one node of several: padding, bias, residual and activation become parts of a layer.

use super::edit::{Links, channel_axis, clip_bounds, per_channel};
use super::tidy::{is_unpadded, remove_unused};
use crate::activation::Activation;
use crate::desc::{Epilogue, PaddingMode, Residual};
use crate::graph::ops::{Inputs, pad_amounts};
use crate::graph::{Binary, Graph, Node, Op, PadMode, Pads, ValueId, Variadic};
use crate::value::Value;

/// Makes padding that only a convolution reads its own: zeros in every case, mirrored, repeated and border elements where the
/// convolution has no other padding.
pub fn absorb_pads(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::new(&result);
    for number in 0..result.nodes.len() {
        let node = &result.nodes[number];
        let Some(x) = node.inputs.first().copied().flatten().filter(|&id| links.used_once(id)) else { continue };
        let Some(pad) = links.node(&result, x) else { continue };
        if let Some(merged) = absorbed(&result, pad, node) {
            links.replace(&mut result, number, merged);
        }
    }
    remove_unused(&result)
}

fn absorbed(graph: &Graph, pad: &Node, node: &Node) -> Option<Node> {
    let (Op::Pad(mode), Op::Conv(conv)) = (&pad.op, &node.op) else { return None };
    if conv.transposed || conv.padding_mode != PaddingMode::Zeros {
        return None;
    }
    let facts = graph.input_facts(pad);
    let shape = &facts.first()?.as_ref()?.shape;
    let zero = match facts.get(2).and_then(Option::as_ref) {
        None => true,
        Some(value) => value.constant.as_ref().is_some_and(|value| value.to_f64().iter().all(|&value| value == 0.0)),
    };
    let amounts = pad_amounts(shape, &Inputs::new(&facts, 1)).ok()?;
    let (around, spatial) = amounts.split_at(2.min(amounts.len()));
    if around.iter().any(|&amounts| amounts != (0, 0)) || spatial.iter().any(|&(begin, end)| begin < 0 || end < 0) {
        return None;
    }
    let unpadded = is_unpadded(&conv.padding);
    let padding_mode = match mode {
        PadMode::Constant if zero => PaddingMode::Zeros,
        PadMode::Constant => return None,
        PadMode::Reflect => PaddingMode::Reflect,
        PadMode::Edge => PaddingMode::Replicate,
        PadMode::Wrap => PaddingMode::Circular,
    };
    let fits = |(&size, &(begin, end)): (&usize, &(i64, i64))| match padding_mode {
        PaddingMode::Reflect => begin.max(end) < size as i64,
        PaddingMode::Circular => begin.max(end) <= size as i64,
        PaddingMode::Zeros | PaddingMode::Replicate => true,
    };
    if !shape[2..].iter().zip(spatial).all(fits) || (padding_mode != PaddingMode::Zeros && !unpadded) {
        return None;
    }
    let own = match &conv.padding {
        Pads::Explicit(list) if list.len() == 2 * spatial.len() => list.clone(),
        _ if unpadded => vec![0; 2 * spatial.len()],
        _ => return None,
    };
    let added = spatial.iter().map(|side| side.0).chain(spatial.iter().map(|side| side.1));
    let sums =
        own.iter().zip(added).map(|(&own, added)| own.checked_add(usize::try_from(added).ok()?)).collect::<Option<Vec<_>>>()?;
    let mut conv = conv.clone();
    (conv.padding, conv.padding_mode) = (Pads::Explicit(sums), padding_mode);
    let mut inputs = node.inputs.clone();
    inputs[0] = pad.inputs[0];
    Some(Node { op: Op::Conv(conv), inputs, ..node.clone() })
}

/// What a node does to a layer's sums.
enum Step {
    Activation(Activation, Option<ValueId>),
    Residual(ValueId),
}

/// Makes the sum with another tensor and the activation behind a layer parts of it: `y = activation(sum + bias [+ residual])
/// [+ residual]`. The layer moves to where its last part stood, because its residual may be computed late.
pub fn fuse_epilogues(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::new(&result);
    for number in 0..result.nodes.len() {
        let node = result.nodes[number].clone();
        // Of two layers that are summed, the later one takes the sum: it needs not wait for the other.
        let mut layers: Vec<(usize, ValueId)> = node
            .inputs
            .iter()
            .flatten()
            .filter(|&&id| links.used_once(id))
            .filter_map(|&id| links.producer(id).map(|layer| (layer, id)))
            .collect();
        layers.sort();
        let fused = layers.into_iter().rev().find_map(|(layer, x)| Some((layer, fused(&mut result, &node, layer, x)?)));
        if let Some((layer, merged)) = fused {
            links.remove(&mut result, layer);
            links.replace(&mut result, number, merged);
        }
    }
    remove_unused(&result)
}

/// The layer with the node behind it as a part.
fn fused(graph: &mut Graph, node: &Node, layer: usize, x: ValueId) -> Option<Node> {
    let layer = graph.nodes[layer].clone();
    let epilogue = match &layer.op {
        Op::Conv(conv) => conv.epilogue,
        Op::Linear(epilogue) => *epilogue,
        _ => return None,
    };
    let mut inputs = layer.inputs.clone();
    inputs.resize(5, None);
    let epilogue = match step(graph, &layer, node, x)? {
        Step::Activation(activation, slope) => {
            if epilogue.activation != Activation::Identity || epilogue.residual == Residual::AfterActivation {
                return None;
            }
            inputs[4] = slope;
            Epilogue { activation, ..epilogue }
        }
        Step::Residual(other) => {
            if epilogue.residual != Residual::None {
                return None;
            }
            inputs[3] = Some(other);
            let plain = epilogue.activation == Activation::Identity;
            Epilogue { residual: if plain { Residual::BeforeActivation } else { Residual::AfterActivation }, ..epilogue }
        }
    };
    let op = match &layer.op {
        Op::Conv(conv) => Op::Conv(crate::graph::ConvOp { epilogue, ..conv.clone() }),
        _ => Op::Linear(epilogue),
    };
    let name = if layer.name.is_empty() { node.name.clone() } else { layer.name };
    while inputs.last() == Some(&None) {
        inputs.pop();
    }
    Some(Node { name, op, inputs, outputs: node.outputs.clone() })
}

fn step(graph: &mut Graph, layer: &Node, node: &Node, x: ValueId) -> Option<Step> {
    let (before, after) = (graph.fact(x), graph.fact(node.outputs[0]));
    if before.shape != after.shape || before.element != after.element {
        return None;
    }
    let input = |index: usize| node.input(index);
    match &node.op {
        Op::Activation(activation) => Some(Step::Activation(*activation, None)),
        Op::Clip if input(0) == Some(x) => {
            let [min, max] = clip_bounds(graph, node)?.map(|bound| bound as f32);
            let activation = Activation::Clamp { min, max };
            activation.check().ok().map(|()| Step::Activation(activation, None))
        }
        Op::Binary(Binary::Prelu) if input(0) == Some(x) => {
            let axis = channel_axis(&layer.op, before.rank())?;
            let slopes = per_channel(graph.constant_of(input(1)?)?, &before.shape, axis)?;
            let slope = Value::from_floats(before.element, &[slopes.len()], slopes);
            let slope = graph.constant("", slope);
            Some(Step::Activation(Activation::Prelu, Some(slope)))
        }
        Op::Binary(Binary::Add) | Op::Variadic(Variadic::Sum) if node.inputs.len() == 2 => {
            let other = input(if input(0) == Some(x) { 1 } else { 0 })?;
            let fact = graph.fact(other);
            (fact.shape == before.shape && fact.element == before.element).then_some(Step::Residual(other))
        }
        _ => None,
    }
}
