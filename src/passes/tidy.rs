//! Passes that take away: nodes that change nothing, that are computed twice, or that nobody asks for.

use std::collections::HashMap;

use super::edit::{Links, Replacements};
use crate::graph::{Graph, Node, Op, Pads, ValueId};
use crate::value::Value;

/// Takes away nodes whose result is their input: identities, dropout, casts to the same type, movements that move nothing.
pub fn remove_identities(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut replacements = Replacements::new(graph);
    let uses = graph.use_counts();
    result.nodes = Vec::new();
    for node in &graph.nodes {
        let node = replacements.node(node);
        match node.inputs.first().copied().flatten().filter(|_| passes_on(graph, &node, &uses)) {
            Some(input) => replacements.replace(node.outputs[0], input),
            None => result.nodes.push(node),
        }
    }
    replacements.outputs(&mut result);
    result
}

/// Whether a node's first result is its first input, and it has no other that is used.
fn passes_on(graph: &Graph, node: &Node, uses: &[usize]) -> bool {
    let Some(input) = node.inputs.first().copied().flatten() else { return false };
    let (before, after) = (graph.fact(input), graph.fact(node.outputs[0]));
    if node.outputs[1..].iter().any(|id| uses[id.0] > 0) || before.element != after.element || before.shape != after.shape {
        return false;
    }
    let ints = |index: usize| {
        let id = node.input(index);
        id.map_or(Some(Vec::new()), |id| graph.info(id).constant.as_ref().map(|value| value.to_i64()))
    };
    match &node.op {
        Op::Identity
        | Op::Dropout
        | Op::Cast(_)
        | Op::CastLike
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Expand
        | Op::Tile => true,
        Op::Transpose { permutation } => {
            let moved = |list: &[usize]| list.iter().enumerate().any(|(at, &axis)| at != axis && before.shape[axis] != 1);
            if permutation.is_empty() { before.rank() < 2 } else { !moved(permutation) }
        }
        Op::Slice => ints(4).is_some_and(|steps| steps.iter().all(|&step| step > 0)),
        Op::Pad(_) => ints(1).is_some_and(|pads| pads.iter().all(|&pad| pad == 0)),
        Op::Concat { .. } | Op::Variadic(_) => node.inputs.len() == 1,
        Op::Split { .. } => node.outputs.len() == 1,
        _ => false,
    }
}

/// Makes one movement of two that follow each other: transpositions, and changes of shape.
pub fn merge_movements(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::new(&result);
    for number in 0..result.nodes.len() {
        let node = result.nodes[number].clone();
        let Some(input) = node.inputs.first().copied().flatten() else { continue };
        let Some(before) = links.node(&result, input).cloned() else { continue };
        let Some(source) = before.inputs.first().copied().flatten() else { continue };
        let rank = result.fact(source).rank();
        let full = |list: &[usize]| if list.is_empty() { (0..rank).rev().collect() } else { list.to_vec() };
        match (&before.op, &node.op) {
            (Op::Transpose { permutation: first }, Op::Transpose { permutation: second }) => {
                let (first, second) = (full(first), full(second));
                let permutation = second.iter().map(|&axis| first[axis]).collect();
                let op = Op::Transpose { permutation };
                links.replace(&mut result, number, Node { op, inputs: vec![Some(source)], ..node });
            }
            (before, after) if changes_shape(before) && changes_shape(after) => {
                let shape: Vec<i64> = result.fact(node.outputs[0]).shape.iter().map(|&size| size as i64).collect();
                let shape = result.constant("", Value::list(&shape));
                let op = Op::Reshape { allow_zero: true };
                links.replace(&mut result, number, Node { op, inputs: vec![Some(source), Some(shape)], ..node });
            }
            _ => {}
        }
    }
    remove_unused(&remove_identities(&result))
}

fn changes_shape(op: &Op) -> bool {
    matches!(op, Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze)
}

/// Computes what several nodes compute alike only once.
pub fn share_common(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut replacements = Replacements::new(graph);
    let mut seen: HashMap<String, Vec<ValueId>> = HashMap::new();
    // Small constants, such as axes, are often stored once for each use.
    for (number, info) in graph.values.iter().enumerate() {
        if let Some(value) = info.constant.as_ref().filter(|value| value.len() <= 16) {
            let key = format!("constant {value:?}");
            match seen.get(&key) {
                Some(first) => replacements.replace(ValueId(number), first[0]),
                None => drop(seen.insert(key, vec![ValueId(number)])),
            }
        }
    }
    result.nodes = Vec::new();
    for node in &graph.nodes {
        let node = replacements.node(node);
        let key = format!("{:?} {:?} {}", node.op, node.inputs, node.outputs.len());
        match seen.get(&key) {
            Some(first) => node.outputs.iter().zip(first).for_each(|(&id, &first)| replacements.replace(id, first)),
            None => {
                seen.insert(key, node.outputs.clone());
                result.nodes.push(node);
            }
        }
    }
    replacements.outputs(&mut result);
    result
}

/// Takes away nodes whose results nobody uses, and lets go of constants that nobody reads.
pub fn remove_unused(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut needed = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|(_, id)| needed[id.0] = true);
    let mut kept = Vec::new();
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|id| needed[id.0]) {
            node.inputs.iter().flatten().for_each(|id| needed[id.0] = true);
            kept.push(node.clone());
        }
    }
    kept.reverse();
    result.nodes = kept;
    for (info, needed) in result.values.iter_mut().zip(needed) {
        if !needed {
            info.constant = None;
        }
    }
    result
}

/// Explicit padding of no element, in any of its forms.
pub(super) fn is_unpadded(pads: &Pads) -> bool {
    match pads {
        Pads::Explicit(list) => list.iter().all(|&pad| pad == 0),
        Pads::Valid => true,
        Pads::SameUpper | Pads::SameLower => false,
    }
}
