//! What passes share: who computes a value, who uses it, how one node or value takes another's place.

use std::sync::Arc;

use half::f16;

use crate::graph::{Graph, Node, Op, ValueId, ValueInfo};
use crate::value::{ElementType, Value};

/// The cross references of a graph, which stay true while its nodes are replaced by way of them.
pub(super) struct Links {
    /// The node that computes each value.
    producer: Vec<Option<usize>>,
    /// The nodes that use each value, as often as they do.
    users: Vec<Vec<usize>>,
    /// How often each value is a result.
    results: Vec<usize>,
}

/// What stands where a node was: it computes nothing, so that [`remove_unused`](super::remove_unused) takes it away.
const NOTHING: Node = Node { name: String::new(), op: Op::Identity, inputs: Vec::new(), outputs: Vec::new() };

impl Links {
    pub fn new(graph: &Graph) -> Self {
        let count = graph.values.len();
        let mut links = Self { producer: vec![None; count], users: vec![Vec::new(); count], results: vec![0; count] };
        graph.nodes.iter().enumerate().for_each(|(number, node)| links.enter(number, node));
        graph.outputs.iter().for_each(|(_, id)| links.results[id.0] += 1);
        links
    }

    /// Of a graph that is given an empty place behind each node.
    pub fn with_room(graph: &mut Graph) -> Self {
        graph.nodes = std::mem::take(&mut graph.nodes).into_iter().flat_map(|node| [node, NOTHING]).collect();
        Self::new(graph)
    }

    fn enter(&mut self, number: usize, node: &Node) {
        node.outputs.iter().for_each(|id| self.producer[id.0] = Some(number));
        node.inputs.iter().flatten().for_each(|id| self.users[id.0].push(number));
    }

    /// The number of the node that computes a value, where there is one.
    pub fn producer(&self, id: ValueId) -> Option<usize> {
        self.producer.get(id.0).copied().flatten()
    }

    /// The node that computes a value, where there is one.
    pub fn node<'a>(&self, graph: &'a Graph, id: ValueId) -> Option<&'a Node> {
        self.producer(id).map(|number| &graph.nodes[number])
    }

    /// Whether a value is used once, by a node or as a result.
    pub fn used_once(&self, id: ValueId) -> bool {
        self.users[id.0].len() + self.results[id.0] == 1
    }

    /// One of the nodes that use a value.
    pub fn user<'a>(&self, graph: &'a Graph, id: ValueId) -> Option<&'a Node> {
        self.users[id.0].first().map(|&number| &graph.nodes[number])
    }

    /// Puts a node in another's place.
    pub fn replace(&mut self, graph: &mut Graph, number: usize, node: Node) {
        self.remove(graph, number);
        let count = graph.values.len();
        self.producer.resize(count, None);
        self.users.resize(count, Vec::new());
        self.results.resize(count, 0);
        self.enter(number, &node);
        graph.nodes[number] = node;
    }

    /// Leaves a node's place empty.
    pub fn remove(&mut self, graph: &mut Graph, number: usize) {
        let node = std::mem::replace(&mut graph.nodes[number], NOTHING);
        for id in node.outputs.iter().filter(|id| self.producer[id.0] == Some(number)).collect::<Vec<_>>() {
            self.producer[id.0] = None;
        }
        for id in node.inputs.iter().flatten() {
            let at = self.users[id.0].iter().position(|&user| user == number);
            at.map(|at| self.users[id.0].swap_remove(at));
        }
    }
}

/// Which value stands for each one after replacements, in one step or several.
pub(super) struct Replacements(Vec<ValueId>);

impl Replacements {
    pub fn new(graph: &Graph) -> Self {
        Self((0..graph.values.len()).map(ValueId).collect())
    }

    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        self.0[old.0] = self.find(new);
    }

    pub fn find(&self, id: ValueId) -> ValueId {
        let mut id = id;
        // Values added since are nobody's replacement yet.
        while let Some(&next) = self.0.get(id.0).filter(|&&next| next != id) {
            id = next;
        }
        id
    }

    /// A node with its inputs replaced.
    pub fn node(&self, node: &Node) -> Node {
        Node { inputs: node.inputs.iter().map(|id| id.map(|id| self.find(id))).collect(), ..node.clone() }
    }

    /// A graph's results replaced.
    pub fn outputs(&self, graph: &mut Graph) {
        graph.outputs.iter_mut().for_each(|(_, id)| *id = self.find(*id));
    }
}

impl Graph {
    /// The constant that a value is.
    pub(super) fn constant_of(&self, id: ValueId) -> Option<&Arc<Value>> {
        self.info(id).constant.as_ref()
    }

    /// The one number that a constant value is, whatever its shape.
    pub(super) fn scalar_of(&self, id: ValueId) -> Option<f64> {
        self.constant_of(id).filter(|value| value.len() == 1).map(|value| value.to_f64()[0])
    }

    /// A new value with the type and shape of another.
    pub(super) fn value_like(&mut self, id: ValueId) -> ValueId {
        let info = ValueInfo { name: String::new(), constant: None, dequantised: None, ..self.info(id).clone() };
        self.values.push(info);
        ValueId(self.values.len() - 1)
    }
}

/// The least and the greatest number that a `Clip` lets through, where they are known.
pub(super) fn clip_bounds(graph: &Graph, node: &Node) -> Option<[f64; 2]> {
    let bound = |index: usize, open: f64| node.input(index).map_or(Some(open), |id| graph.scalar_of(id));
    Some([bound(1, f64::NEG_INFINITY)?, bound(2, f64::INFINITY)?])
}

/// The axis of a layer's output that its channels are on.
pub(super) fn channel_axis(op: &Op, rank: usize) -> Option<usize> {
    match op {
        Op::Conv(_) => Some(1),
        Op::Linear(_) => rank.checked_sub(1),
        _ => None,
    }
}

/// A constant as one number for each channel of an output, where it is broadcast along all other axes and does not widen it.
pub(super) fn per_channel(constant: &Value, output: &[usize], axis: usize) -> Option<Vec<f64>> {
    let channels = output[axis];
    if constant.shape().len() > output.len() {
        return None;
    }
    let offset = output.len() - constant.shape().len();
    let fits = constant.shape().iter().enumerate().all(|(at, &size)| size == 1 || (offset + at == axis && size == channels));
    if !fits {
        return None;
    }
    let list = constant.to_f64();
    Some(if list.len() == channels { list } else { vec![list[0]; channels] })
}

/// Numbers as weights of this type; `None` where it cannot carry them, because one is infinite or the largest loses its digits.
pub(super) fn carried(element: ElementType, shape: &[usize], list: Vec<f32>) -> Option<Value> {
    let least = if element == ElementType::F16 { f16::MIN_POSITIVE.to_f32() } else { f32::MIN_POSITIVE };
    let largest = list.iter().fold(0.0, |most: f32, number| most.max(number.abs()));
    let value = match element {
        ElementType::F32 => Value::new(shape, list).ok()?,
        _ => Value::from_floats(element, shape, list.into_iter().map(f64::from).collect()),
    };
    (is_finite(&value) && (largest == 0.0 || largest >= least)).then_some(value)
}

/// Whether every number of a value is finite.
pub(super) fn is_finite(value: &Value) -> bool {
    value.as_f32().iter().all(|number| number.is_finite())
}
