//! [`Graph`]: a network as data: values, the nodes that compute them, constants. It is built by hand or by an importer, checked and
//! given its shapes by [`Graph::bind`], rewritten by [`passes`](crate::passes), and made ready by [`Network`](crate::Network).

mod attributes;
mod bind;
mod op;
pub(crate) mod ops;
mod print;

use std::sync::Arc;

pub use attributes::{
    AspectPolicy, Binary, ConvOp, Coordinates, Nearest, PadMode, Pads, Reduce, Resize, ResizeMode, SampleMode, SamplePadding,
    SoftmaxKind, Stage, StageInput, Unary, Variadic,
};
pub use op::Op;

use crate::desc::{ConvDesc, PoolDesc};
use crate::error::{Error, Result};
use crate::value::{ElementType, Value};

pub use bind::Bindings;

/// One value of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

/// The size of an axis, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// So many elements.
    Known(usize),
    /// A name that [`Bindings::dims`] gives a number: `N`.
    Symbol(String),
    /// Nothing is known.
    Unknown,
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::Known(size)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Dim::Symbol(name.into())
    }
}

/// What is known of a value.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ValueInfo {
    /// Its name; empty for one that nobody named.
    pub name: String,
    pub element: Option<ElementType>,
    /// `None` is of unknown rank.
    pub dims: Option<Vec<Dim>>,
    pub constant: Option<Arc<Value>>,
    /// The node that computed this constant from quantised numbers.
    pub dequantised: Option<Arc<Node>>,
}

impl ValueInfo {
    /// The shape, where all of it is known.
    pub fn shape(&self) -> Option<Vec<usize>> {
        let known = |dim: &Dim| match dim {
            Dim::Known(size) => Some(*size),
            _ => None,
        };
        self.dims.as_ref()?.iter().map(known).collect()
    }
}

/// One operation on values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Its name, for messages.
    pub name: String,
    pub op: Op,
    /// `None` for an optional input that is absent.
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
}

impl Node {
    /// An input, where it is given.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }
}

/// A network as a list of operations on values, each after those whose results it uses.
///
/// # Examples
/// ```
/// use wgconv::{Activation, ConvDesc, Graph, Op, Value};
/// let mut graph = Graph::new("edges");
/// let x = graph.input("x", &["N".into(), 1.into(), 8.into(), 8.into()]);
/// let w = graph.constant("w", Value::new(&[1, 1, 1, 2], vec![1.0f32, -1.0])?);
/// let edges = graph.conv(&ConvDesc::new(1, 1, [1, 2]), x, w, None);
/// let edges = graph.apply(Op::Activation(Activation::Relu), &[edges]);
/// graph.output("edges", edges);
/// assert!(graph.to_string().contains("Conv(x, w, -)"));
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<(String, ValueId)>,
}

impl Graph {
    /// A graph without nodes.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn add(&mut self, info: ValueInfo) -> ValueId {
        self.values.push(info);
        ValueId(self.values.len() - 1)
    }

    /// An input of f32.
    pub fn input(&mut self, name: &str, dims: &[Dim]) -> ValueId {
        self.input_of(name, ElementType::F32, dims)
    }

    /// An input of any type.
    pub fn input_of(&mut self, name: &str, element: ElementType, dims: &[Dim]) -> ValueId {
        let id =
            self.add(ValueInfo { name: name.into(), element: Some(element), dims: Some(dims.to_vec()), ..Default::default() });
        self.inputs.push(id);
        id
    }

    /// A value that never changes.
    pub fn constant(&mut self, name: &str, value: Value) -> ValueId {
        self.constant_shared(name, Arc::new(value))
    }

    pub(crate) fn constant_shared(&mut self, name: &str, value: Arc<Value>) -> ValueId {
        let dims = value.shape().iter().map(|&size| Dim::Known(size)).collect();
        self.add(ValueInfo {
            name: name.into(),
            element: Some(value.element()),
            dims: Some(dims),
            constant: Some(value),
            ..Default::default()
        })
    }

    /// An operation of which one result is used, all inputs present.
    pub fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|&id| Some(id)).collect();
        self.apply_many("", op, &inputs, 1)[0]
    }

    /// An operation with so many results, of which an absent optional input is `None`; the name is for messages.
    pub fn apply_many(&mut self, name: &str, op: Op, inputs: &[Option<ValueId>], outputs: usize) -> Vec<ValueId> {
        let outputs: Vec<_> = (0..outputs).map(|_| self.add(ValueInfo::default())).collect();
        self.nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec(), outputs: outputs.clone() });
        outputs
    }

    /// A convolution; whether `bias` is given decides over the description's own word. That the weights have the description's channels and
    /// kernel is looked at by [`bind`](Self::bind).
    pub fn conv(&mut self, desc: &ConvDesc, x: ValueId, weight: ValueId, bias: Option<ValueId>) -> ValueId {
        self.apply_many("", Op::Conv(desc.into()), &[Some(x), Some(weight), bias], 1)[0]
    }

    /// A pooling.
    pub fn pool(&mut self, desc: &PoolDesc, x: ValueId) -> ValueId {
        self.apply(Op::Pool(*desc), &[x])
    }

    /// Makes a value a result of the graph.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.outputs.push((name.into(), value));
    }

    /// Gives a value a name, for messages, profiles and pictures; a value that this graph does not have gets none.
    pub fn set_name(&mut self, value: ValueId, name: &str) {
        if let Some(info) = self.values.get_mut(value.0) {
            info.name = name.into();
        }
    }

    /// The names of the inputs, in order.
    pub fn input_names(&self) -> Vec<&str> {
        self.inputs.iter().map(|id| self.values[id.0].name.as_str()).collect()
    }

    /// Type and shape of an input, as far as they are known; `None` where there is no input of this name.
    pub fn input_dims(&self, name: &str) -> Option<(ElementType, &[Dim])> {
        let id = self.inputs.iter().find(|id| self.values[id.0].name == name)?;
        let info = &self.values[id.0];
        Some((info.element?, info.dims.as_deref()?))
    }

    /// The names of the outputs, in order.
    pub fn output_names(&self) -> Vec<&str> {
        self.outputs.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The output of this name where it is constant, as it is once a graph without inputs is bound.
    pub fn constant_output(&self, name: &str) -> Option<&Value> {
        let (_, id) = self.outputs.iter().find(|(output, _)| output == name)?;
        self.info(*id).constant.as_deref()
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many numbers the constants have that floats are: the learned parameters.
    pub fn parameter_count(&self) -> usize {
        let constants = self.values.iter().filter_map(|info| info.constant.as_ref());
        constants.filter(|value| value.element().is_float()).map(|value| value.len()).sum()
    }

    /// The operations' names, each with how often it occurs, the most frequent first.
    pub fn op_counts(&self) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for node in &self.nodes {
            *counts.entry(node.op.name()).or_default() += 1;
        }
        let mut list: Vec<_> = counts.into_iter().collect();
        list.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        list
    }

    /// What is known of a value; nothing of another graph's, which [`check_order`](Self::check_order) refuses.
    pub(crate) fn info(&self, id: ValueId) -> &ValueInfo {
        static NOTHING: ValueInfo =
            ValueInfo { name: String::new(), element: None, dims: None, constant: None, dequantised: None };
        self.values.get(id.0).unwrap_or(&NOTHING)
    }

    /// How often each value is used, by nodes and as a result.
    pub(crate) fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        let used = self.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        for id in used.chain(self.outputs.iter().map(|(_, id)| id)) {
            counts[id.0] += 1;
        }
        counts
    }

    /// How a node is called in messages: by its name, or by its first result.
    pub(crate) fn node_label(&self, node: &Node) -> String {
        let op = node.op.name();
        let first = node.outputs.first().map_or("", |id| self.info(*id).name.as_str());
        match (node.name.as_str(), first) {
            ("", "") => format!("node {op}"),
            ("", first) => format!("node {op} of `{first}`"),
            (name, _) => format!("node {op} `{name}`"),
        }
    }

    /// The error of a node, with its name before the message.
    pub(crate) fn at_node(&self, node: &Node, error: Error) -> Error {
        error.within(&self.node_label(node))
    }

    /// Whether every number refers to something that exists and stands before its use, and no name to two inputs or to two outputs.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the node.
    pub(crate) fn check_order(&self) -> Result<()> {
        let mut ready: Vec<bool> = self.values.iter().map(|info| info.constant.is_some()).collect();
        let valid = |id: &ValueId| id.0 < ready.len();
        let all = self.nodes.iter().flat_map(|node| node.inputs.iter().flatten().chain(&node.outputs));
        if !all.chain(&self.inputs).chain(self.outputs.iter().map(|(_, id)| id)).all(valid) {
            return Err(Error::invalid("graph", "uses a value of another graph"));
        }
        for (what, names) in [("input", self.input_names()), ("output", self.output_names())] {
            let again = names.iter().enumerate().find(|(number, name)| !name.is_empty() && names[..*number].contains(name));
            if let Some((_, name)) = again {
                return Err(Error::invalid("graph", format!("has more than one {what} of the name `{name}`")));
            }
        }
        self.inputs.iter().for_each(|id| ready[id.0] = true);
        for node in &self.nodes {
            if let Some(id) = node.inputs.iter().flatten().find(|id| !ready[id.0]) {
                let name = &self.info(*id).name;
                return Err(self.at_node(node, Error::invalid("graph", format!("uses value `{name}` before it is computed"))));
            }
            node.outputs.iter().for_each(|id| ready[id.0] = true);
        }
        match self.outputs.iter().find(|(_, id)| !ready[id.0]) {
            Some((name, _)) => Err(Error::invalid("graph", format!("output `{name}` is never computed"))),
            None => Ok(()),
        }
    }
}
