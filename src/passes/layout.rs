//! Layout: transpositions move behind functions of elements, so that those of exporters that keep channels last meet and cancel. In a graph
//! channels stand before space; how values among layers lie is decided when it is lowered.

use super::edit::Links;
use super::tidy::{merge_movements, remove_unused};
use crate::graph::{Graph, Node, Op, ValueId};
use crate::value::Value;

/// Moves transpositions behind functions of elements and concatenations whose inputs all have the same one, and merges those that meet.
pub fn sink_transposes(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::with_room(&mut result);
    for number in (0..result.nodes.len()).step_by(2) {
        if let Some([node, transposition]) = sunk(&mut result, &links, number) {
            links.replace(&mut result, number, node);
            links.replace(&mut result, number + 1, transposition);
        }
    }
    merge_movements(&remove_unused(&result))
}

/// The node on inputs that are not transposed, and the transposition of its result.
fn sunk(graph: &mut Graph, links: &Links, number: usize) -> Option<[Node; 2]> {
    let node = graph.nodes[number].clone();
    let rank = graph.fact(*node.outputs.first()?).rank();
    let axis = match &node.op {
        Op::Activation(_) | Op::Unary(_) | Op::Binary(_) | Op::Clip | Op::Cast(_) | Op::Variadic(_) | Op::Where => None,
        Op::Concat { axis } => Some(crate::graph::ops::axis_of(*axis, rank).ok()?),
        _ => return None,
    };
    // What each input's transposition is, and what it is of.
    let turned = |id: ValueId| {
        let before = links.node(graph, id)?;
        match &before.op {
            Op::Transpose { permutation } if permutation.is_empty() => Some(((0..rank).rev().collect(), before.inputs[0]?)),
            Op::Transpose { permutation } => Some((permutation.clone(), before.inputs[0]?)),
            _ => None,
        }
    };
    let permutation: Vec<usize> = node.inputs.iter().flatten().find_map(|&id| turned(id))?.0;
    if permutation.len() != rank {
        return None;
    }
    let mut inverse = vec![0; rank];
    permutation.iter().enumerate().for_each(|(at, &axis)| inverse[axis] = at);
    let mut freed = false;
    let mut inputs = Vec::new();
    let mut constants = Vec::new();
    for (place, id) in node.inputs.iter().enumerate() {
        let Some(id) = *id else {
            inputs.push(None);
            continue;
        };
        if let Some((_, source)) = turned(id).filter(|(other, _)| *other == permutation) {
            freed |= links.used_once(id);
            inputs.push(Some(source));
        } else if let Some(value) = graph.constant_of(id).filter(|_| axis.is_none()) {
            constants.push((place, back(value, rank, &inverse)?));
            inputs.push(None);
        } else {
            return None;
        }
    }
    if !freed {
        return None;
    }
    for (place, value) in constants {
        inputs[place] = Some(graph.constant("", value));
    }
    let output = node.outputs[0];
    let before = graph.value_like(output);
    let dims = graph.fact(output).shape;
    graph.values[before.0].dims = Some((0..rank).map(|axis| dims[inverse[axis]].into()).collect());
    let op = match (&node.op, axis) {
        (Op::Concat { .. }, Some(axis)) => Op::Concat { axis: permutation[axis] as i64 },
        (op, _) => op.clone(),
    };
    let transpose =
        Node { name: node.name.clone(), op: Op::Transpose { permutation }, inputs: vec![Some(before)], outputs: vec![output] };
    Some([Node { op, inputs, outputs: vec![before], ..node }, transpose])
}

/// A constant as it was before a transposition, broadcast as before.
fn back(value: &Value, rank: usize, inverse: &[usize]) -> Option<Value> {
    if value.len() == 1 || value.shape().len() > rank {
        return (value.len() == 1).then(|| value.clone());
    }
    let shape = [&vec![1; rank - value.shape().len()][..], value.shape()].concat();
    let turned: Vec<usize> = inverse.iter().map(|&axis| shape[axis]).collect();
    let strides = crate::graph::ops::strides(&shape);
    let indices = crate::graph::ops::each(&turned, |at| Some((0..rank).map(|axis| at[axis] * strides[inverse[axis]]).sum()));
    Some(value.select(&turned, &indices))
}
