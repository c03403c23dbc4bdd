//! Functions of elements that follow each other become one node, whose elements are read and written once; products and sums with
//! constants become one product and one sum.

use super::edit::{Links, per_channel};
use super::tidy::remove_unused;
use crate::graph::{Binary, Graph, Node, Op, Stage, StageInput, ValueId};
use crate::operation::MAX_OPERANDS;
use crate::value::{ElementType, Value};
use crate::weights::BatchNorm;

/// Makes one product and one sum of batch normalisations and of products and sums with constants that follow each other, each one number
/// for a channel (axis 1). Computed in f64.
pub fn merge_affine(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::with_room(&mut result);
    for number in (0..result.nodes.len()).step_by(2) {
        // The last of a chain takes all before it.
        let Some(&last) = result.nodes[number].outputs.first() else { continue };
        let next = links.user(&result, last).filter(|_| links.used_once(last));
        let continues = next.is_some_and(|node| affine(&result, node).is_some_and(|one| one.x == last));
        let merged = if continues { None } else { chain(&result, &links, number) };
        let Some(Affine { x, factor, offset }) = merged else { continue };
        let node = result.nodes[number].clone();
        let fact = result.fact(node.outputs[0]);
        let shape = [&[factor.len()][..], &vec![1; fact.rank() - 2]].concat();
        let mut constant = |list: Vec<f64>| result.constant("", Value::from_floats(fact.element, &shape, list));
        let (factor, offset) = (constant(factor), constant(offset));
        let product = result.value_like(node.outputs[0]);
        let apply = |binary, a, b, output| Node {
            name: node.name.clone(),
            op: Op::Binary(binary),
            inputs: vec![Some(a), Some(b)],
            outputs: vec![output],
        };
        // The nodes before are unused then, and go at the end.
        links.replace(&mut result, number, apply(Binary::Mul, x, factor, product));
        links.replace(&mut result, number + 1, apply(Binary::Add, product, offset, node.outputs[0]));
    }
    remove_unused(&result)
}

/// What a node does to each channel of `x`.
struct Affine {
    x: ValueId,
    factor: Vec<f64>,
    offset: Vec<f64>,
}

/// The affine function of each channel that a node is.
fn affine(graph: &Graph, node: &Node) -> Option<Affine> {
    let fact = graph.fact(*node.outputs.first()?);
    if fact.rank() < 2 || fact.element != ElementType::F32 {
        return None;
    }
    let channels = fact.shape[1];
    let input = |index: usize| node.input(index);
    let list = |index: usize| Some(graph.constant_of(input(index)?)?.to_f32());
    if let Op::BatchNorm { training: false, epsilon, .. } = node.op {
        let (scale, shift, mean, variance) = (list(1)?, list(2)?, list(3)?, list(4)?);
        let norm = BatchNorm { scale: &scale, shift: &shift, mean: &mean, variance: &variance, epsilon };
        let (factor, offset): (Vec<f64>, Vec<f64>) = (0..channels).map(|channel| norm.affine(channel)).unzip();
        let finite = factor.iter().chain(&offset).all(|value| value.is_finite());
        return finite.then_some(Affine { x: input(0)?, factor, offset });
    }
    let Op::Binary(binary) = node.op else { return None };
    let constant_at = [1, 0].into_iter().find(|&at| input(at).is_some_and(|id| graph.constant_of(id).is_some()))?;
    let x = input(1 - constant_at)?;
    let constant = per_channel(graph.constant_of(input(constant_at)?)?, &fact.shape, 1)?;
    let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
    if graph.fact(x).shape != fact.shape || graph.constant_of(x).is_some() {
        return None;
    }
    match binary {
        Binary::Mul => Some(Affine { x, factor: constant, offset: zeros }),
        Binary::Add => Some(Affine { x, factor: ones, offset: constant }),
        Binary::Sub if constant_at == 1 => {
            Some(Affine { x, factor: ones, offset: constant.into_iter().map(|value| -value).collect() })
        }
        _ => None,
    }
}

/// All affine nodes that end in this one, each used by the next alone; `None` where it is a single product or sum, which is best as it is.
fn chain(graph: &Graph, links: &Links, number: usize) -> Option<Affine> {
    let mut whole = affine(graph, &graph.nodes[number])?;
    let mut worth = matches!(graph.nodes[number].op, Op::BatchNorm { .. });
    while let Some(before) = links.node(graph, whole.x).filter(|_| links.used_once(whole.x)).and_then(|node| affine(graph, node))
    {
        for channel in 0..whole.factor.len() {
            whole.offset[channel] += whole.factor[channel] * before.offset[channel];
            whole.factor[channel] *= before.factor[channel];
        }
        (whole.x, worth) = (before.x, true);
    }
    let finite = whole.factor.iter().chain(&whole.offset).all(|value| value.is_finite());
    (worth && finite).then_some(whole)
}

/// Makes one node of functions of elements of which each is used by the next alone and has its shape.
pub fn fuse_pointwise(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::new(&result);
    for number in 0..result.nodes.len() {
        // One input after the other, as long as the operands are not too many.
        while let Some((before, merged)) = fused(&result, &links, number) {
            links.remove(&mut result, before);
            links.replace(&mut result, number, merged);
        }
    }
    remove_unused(&result)
}

/// Stages and inputs of a node, be it one function or several.
fn stages(graph: &Graph, node: &Node) -> Option<(Vec<Stage>, Vec<ValueId>)> {
    match &node.op {
        Op::Fused(stages) => Some((stages.clone(), node.inputs.iter().copied().collect::<Option<_>>()?)),
        op if is_function(op) && computes_floats(graph, node) || quantises(graph, node) => {
            let mut ids: Vec<ValueId> = Vec::new();
            let mut inputs = Vec::new();
            for id in &node.inputs {
                inputs.push(match *id {
                    None => StageInput::Absent,
                    Some(id) => StageInput::Input(ids.iter().position(|&other| other == id).unwrap_or_else(|| {
                        ids.push(id);
                        ids.len() - 1
                    })),
                });
            }
            Some((vec![Stage { op: node.op.clone(), inputs }], ids))
        }
        _ => None,
    }
}

fn is_function(op: &Op) -> bool {
    matches!(op, Op::Activation(_) | Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Clip | Op::Cast(_))
}

/// Whether a node's operands and result are floats or truth values, and known operands floats.
fn computes_floats(graph: &Graph, node: &Node) -> bool {
    let computes = |id: ValueId| matches!(graph.fact(id).element, ElementType::F32 | ElementType::Bool);
    let known = |id: ValueId| graph.constant_of(id).is_none_or(|value| value.element() == ElementType::F32);
    node.inputs.iter().flatten().all(|&id| computes(id) && known(id)) && node.outputs.iter().all(|&id| computes(id))
}

/// Whether a node quantises or dequantises bytes by one known scale in f32 and one zero point.
fn quantises(graph: &Graph, node: &Node) -> bool {
    let (Op::QuantizeLinear { block: 0, .. } | Op::DequantizeLinear { block: 0, .. }) = node.op else { return false };
    let bytes = |id: ValueId| matches!(graph.fact(id).element, ElementType::U8 | ElementType::I8);
    let floats = |id: ValueId| graph.fact(id).element == ElementType::F32;
    let types = match (node.input(0), &node.op) {
        (Some(x), Op::QuantizeLinear { .. }) => floats(x) && bytes(node.outputs[0]),
        (Some(x), _) => bytes(x) && floats(node.outputs[0]),
        _ => false,
    };
    types && node.inputs.iter().skip(1).flatten().all(|&id| is_scalar(graph, id)) && node.input(1).is_some_and(floats)
}

/// Whether a value is one known number, which takes no operand of a map.
fn is_scalar(graph: &Graph, id: ValueId) -> bool {
    graph.constant_of(id).is_some_and(|value| value.len() == 1 && value.shape().len() <= 1)
}

/// The number of a function before this node, and the node with that as a part.
fn fused(graph: &Graph, links: &Links, number: usize) -> Option<(usize, Node)> {
    let node = &graph.nodes[number];
    let output = graph.fact(*node.outputs.first()?);
    let (own, ids) = stages(graph, node)?;
    ids.iter().enumerate().find_map(|(at, &id)| {
        let uses = node.inputs.iter().filter(|input| **input == Some(id)).count();
        // Used twice by this node it would stand twice in the text, and be computed twice.
        let reads = own.iter().flat_map(|stage| &stage.inputs).filter(|input| **input == StageInput::Input(at)).count();
        let before_number = links.producer(id).filter(|_| links.used_once(id) && uses == 1 && reads == 1)?;
        let before = &graph.nodes[before_number];
        let (first, first_ids) = stages(graph, before)?;
        // What is quantised ends a node: a step of it is all that the result may be off by.
        if before.outputs.len() != 1 || graph.fact(id).shape != output.shape || before.op.rounds_to_steps() {
            return None;
        }
        let mut all = first_ids;
        let renumbered: Vec<StageInput> = ids
            .iter()
            .enumerate()
            .map(|(other, &id)| {
                if other == at {
                    return StageInput::Stage(first.len() - 1);
                }
                StageInput::Input(all.iter().position(|&known| known == id).unwrap_or_else(|| {
                    all.push(id);
                    all.len() - 1
                }))
            })
            .collect();
        if all.iter().filter(|&&id| !is_scalar(graph, id)).count() > MAX_OPERANDS {
            return None;
        }
        let moved = own.iter().map(|stage| Stage {
            op: stage.op.clone(),
            inputs: stage
                .inputs
                .iter()
                .map(|input| match *input {
                    StageInput::Input(number) => renumbered[number],
                    StageInput::Stage(number) => StageInput::Stage(number + first.len()),
                    StageInput::Absent => StageInput::Absent,
                })
                .collect(),
        });
        let stages = first.iter().cloned().chain(moved).collect();
        let inputs = all.into_iter().map(Some).collect();
        let merged = Node { name: node.name.clone(), op: Op::Fused(stages), inputs, outputs: node.outputs.clone() };
        Some((before_number, merged))
    })
}
