//! What passes share: who computes a value, who uses it, and how one value takes another's place.

use std::sync::Arc;

use half::f16;

use crate::graph::{Graph, Node, Op, ValueId, ValueInfo};
use crate::value::{ElementType, Value};

/// A graph with its cross references.
pub(super) struct Links {
    /// The node that computes each value.
    pub producer: Vec<Option<usize>>,
    /// How often each value is used, by nodes and as a result.
    pub uses: Vec<usize>,
}

impl Links {
    pub fn new(graph: &Graph) -> Self {
        let mut producer = vec![None; graph.values.len()];
        for (number, node) in graph.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|id| producer[id.0] = Some(number));
        }
        Self { producer, uses: graph.use_counts() }
    }

    /// The node that computes a value, where there is one.
    pub fn node<'a>(&self, graph: &'a Graph, id: ValueId) -> Option<&'a Node> {
        self.producer[id.0].map(|number| &graph.nodes[number])
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
