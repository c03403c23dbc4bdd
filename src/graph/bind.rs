//! [`Graph::bind`]: every shape becomes known, in one pass from the inputs to the outputs. What is constant is computed on the way,
//! because shapes of exported models come out of arithmetic on other shapes.

use std::sync::Arc;

use super::ops::{Fact, Inputs, evaluate, infer};
use super::{Dim, Graph, Node, Op, ValueId};
use crate::desc::PoolWindow;
use crate::error::{Error, Result};
use crate::problems::Problems;
use crate::value::{ElementType, Value, elements, extent};

/// What is decided about a graph's inputs before it is planned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bindings {
    /// Numbers for symbolic dimensions: `("N", 1)`.
    pub dims: Vec<(String, usize)>,
    /// Whole shapes of inputs, by name; they must agree with what the graph says.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Inputs that never change, by name: shapes, axes and whatever else the graph takes as an input but a plan must know.
    pub fixed: Vec<(String, Value)>,
    /// The most bytes that all constants computed from others may take together, 1 GiB by default: a file could ask for any number.
    /// What may be computed for them is bounded in proportion.
    pub fold_limit: Option<usize>,
}

/// The default of [`Bindings::fold_limit`].
const FOLD_LIMIT: usize = 1 << 30;
/// Multiplications that constants may take for each byte of the limit.
const WORK_PER_BYTE: usize = 64;

/// What may still be computed while a graph is bound.
struct Budget {
    bytes: usize,
    /// In multiplications, about.
    work: usize,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        Self { bytes, work: bytes.saturating_mul(WORK_PER_BYTE) }
    }

    /// Takes what a node's results need.
    fn take(&mut self, op: &Op, inputs: &[Option<Fact>], results: &[Fact]) -> Result<()> {
        // Host arithmetic is done in wider numbers than bytes. An input without elements may still have sizes that are gone through.
        let size = |fact: &Fact| extent(&fact.shape).saturating_mul(fact.element.bytes().max(4));
        let empty = inputs.iter().flatten().filter(|fact| fact.len() == 0).map(size);
        let bytes = results.iter().map(size).chain(empty).fold(0, usize::saturating_add);
        let work = results.iter().map(Fact::len).fold(0, usize::saturating_add).saturating_mul(terms(op, inputs));
        if bytes > self.bytes || work > self.work {
            let Budget { bytes: bytes_left, work: work_left } = self;
            return Err(Error::unsupported(
                "constant",
                format!(
                    "of {bytes} bytes would be computed from constants by {work} multiplications, but Bindings::fold_limit leaves \
                     {bytes_left} bytes and {work_left} multiplications"
                ),
            ));
        }
        self.bytes -= bytes;
        self.work -= work;
        Ok(())
    }
}

/// How many products an element of the result sums, about, where it is more than a few.
fn terms(op: &Op, inputs: &[Option<Fact>]) -> usize {
    let input = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let per_row = |index: usize| input(index).map_or(1, |fact| fact.len() / fact.shape.first().copied().unwrap_or(1).max(1));
    match op {
        Op::Conv(_) | Op::ConvInteger(_) | Op::DeformConv { .. } => per_row(1),
        Op::QLinearConv(_) => per_row(3),
        Op::MatMul | Op::MatMulInteger | Op::QLinearMatMul => input(0).and_then(|fact| fact.shape.last().copied()).unwrap_or(1),
        Op::Pool(desc) => match desc.window {
            PoolWindow::Sliding(kernel) => kernel.as_slice().iter().fold(1, |taps: usize, &size| taps.saturating_mul(size)),
            _ => per_row(0),
        },
        Op::Gemm { trans_a, .. } => input(0).and_then(|fact| fact.shape.get(usize::from(!trans_a)).copied()).unwrap_or(1),
        _ => 1,
    }
    .max(1)
}

/// A node whose weights are known to be what its description says, and may become others by the passes.
fn without_channels(mut node: Node) -> Node {
    if let Op::Conv(conv) = &mut node.op {
        conv.channels = None;
    }
    node
}

/// The names of a list of pairs.
fn keys<T>(pairs: &[(String, T)]) -> Vec<&String> {
    pairs.iter().map(|(name, _)| name).collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl Graph {
    /// The same graph with all types and shapes known, and with everything computed that depends on constants only.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where a node's inputs do not fit it, or a binding fits no input;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where a dimension stays unknown. Each names the input or the node, and all nodes
    /// that can be judged are in one report.
    pub fn bind(&self, bindings: &Bindings) -> Result<Graph> {
        self.check_order()?;
        let mut graph = self.clone();
        graph.bind_inputs(bindings)?;
        let mut facts: Vec<Option<Fact>> = vec![None; graph.values.len()];
        for (fact, info) in facts.iter_mut().zip(&graph.values) {
            *fact = match (&info.constant, info.element, info.shape()) {
                (Some(value), ..) => Some(Fact::from(value.clone())),
                (None, Some(element), Some(shape)) => Some(Fact::new(element, shape)),
                _ => None,
            };
        }
        // What a file says of intermediate values is not needed, and may be wrong.
        for node in &graph.nodes {
            node.outputs.iter().for_each(|id| facts[id.0] = None);
        }
        let mut nodes = Vec::new();
        let mut budget = Budget::new(bindings.fold_limit.unwrap_or(FOLD_LIMIT));
        let mut problems = Problems::default();
        for node in std::mem::take(&mut graph.nodes) {
            // Behind a node that failed nothing is known, and nothing can be said.
            if node.inputs.iter().flatten().any(|id| facts[id.0].is_none()) && problems.any() {
                continue;
            }
            let results = match graph.step(&node, &facts, &mut budget) {
                Ok(results) => results,
                Err(error) => {
                    problems.add_whole(&graph.at_node(&node, error));
                    continue;
                }
            };
            let all_constant = results.iter().all(|fact| fact.constant.is_some());
            for (&id, fact) in node.outputs.iter().zip(results) {
                let info = &mut graph.values[id.0];
                info.element = Some(fact.element);
                info.dims = Some(fact.shape.iter().map(|&size| Dim::Known(size)).collect());
                info.constant = fact.constant.clone();
                facts[id.0] = Some(fact);
            }
            match node.op {
                _ if !all_constant => nodes.push(without_channels(node)),
                Op::DequantizeLinear { .. } => {
                    let output = node.outputs[0];
                    graph.values[output.0].dequantised = Some(Arc::new(node));
                }
                _ => {}
            }
        }
        problems.finish()?;
        graph.nodes = nodes;
        Ok(graph)
    }

    /// What is known of the results of one node.
    fn step(&self, node: &Node, facts: &[Option<Fact>], budget: &mut Budget) -> Result<Vec<Fact>> {
        let inputs: Vec<Option<Fact>> = node.inputs.iter().map(|id| id.and_then(|id| facts[id.0].clone())).collect();
        let outputs = node.outputs.len();
        let mut results = infer(&node.op, &Inputs::new(&inputs, outputs))?;
        results.truncate(outputs);
        let constants: Option<Vec<Option<Arc<Value>>>> =
            inputs.iter().map(|fact| fact.as_ref().map_or(Some(None), |fact| fact.constant.clone().map(Some))).collect();
        let done = results.iter().all(|fact| fact.constant.is_some());
        if let Some(constants) = constants.filter(|_| !done) {
            budget.take(&node.op, &inputs, &results)?;
            results = evaluate(&node.op, &constants, outputs)?.into_iter().map(|value| Fact::from(Arc::new(value))).collect();
            results.truncate(outputs);
        }
        Ok(results)
    }

    fn bind_inputs(&mut self, bindings: &Bindings) -> Result<()> {
        let names: Vec<String> = self.input_names().into_iter().map(String::from).collect();
        let unknown = |name: &String, what: &'static str| {
            Error::invalid(what, format!("names `{name}`, but the inputs are {}", listed(&names)))
        };
        for (what, given) in
            [("shapes", keys(&bindings.shapes)), ("fixed", keys(&bindings.fixed)), ("dims", keys(&bindings.dims))]
        {
            if let Some((_, name)) = given.iter().enumerate().find(|(number, name)| given[..*number].contains(name)) {
                return Err(Error::invalid(what, format!("names `{name}` more than once")));
            }
            if let Some(name) = given.iter().find(|name| what != "dims" && !names.contains(name)) {
                return Err(unknown(name, what));
            }
        }
        let symbols = self.symbols();
        if let Some((name, _)) = bindings.dims.iter().find(|(name, _)| !symbols.contains(name)) {
            return Err(Error::invalid("dims", format!("names `{name}`, but the symbols are {}", listed(&symbols))));
        }
        for id in self.inputs.clone() {
            let name = self.info(id).name.clone();
            let fixed = bindings.fixed.iter().find(|(fixed, _)| *fixed == name).map(|(_, value)| value);
            let shape = bindings.shapes.iter().find(|(given, _)| *given == name).map(|(_, shape)| shape.as_slice());
            let shape = fixed.map(Value::shape).or(shape);
            self.bind_input(id, shape, bindings).map_err(|error| error.within(&format!("input `{name}`")))?;
            if let Some(value) = fixed {
                self.fix(id, value)?;
            }
        }
        Ok(())
    }

    /// Makes an input a constant.
    fn fix(&mut self, id: ValueId, value: &Value) -> Result<()> {
        let info = &mut self.values[id.0];
        if info.element != Some(value.element()) {
            let expected = info.element.map_or("unknown", ElementType::name);
            let message = format!("input `{}` is {expected}, but the value is {value}", info.name);
            return Err(Error::invalid("fixed", message));
        }
        info.constant = Some(Arc::new(value.clone()));
        self.inputs.retain(|&input| input != id);
        Ok(())
    }

    fn bind_input(&mut self, id: ValueId, shape: Option<&[usize]>, bindings: &Bindings) -> Result<()> {
        let info = &mut self.values[id.0];
        if info.element.is_none() {
            return Err(Error::invalid("type", "is not given"));
        }
        let dims = match (info.dims.take(), shape) {
            (None, None) => return Err(Error::unsupported("shape", "is unknown: give it in NetworkDesc::bindings")),
            (None, Some(shape)) => shape.iter().map(|&size| Dim::Known(size)).collect(),
            (Some(dims), None) => dims,
            (Some(dims), Some(shape)) => {
                let fits = dims.len() == shape.len()
                    && dims.iter().zip(shape).all(|(dim, size)| !matches!(dim, Dim::Known(known) if known != size));
                if !fits {
                    return Err(Error::invalid("shape", format!("is given as {shape:?}, but the graph says {dims:?}")));
                }
                shape.iter().map(|&size| Dim::Known(size)).collect()
            }
        };
        let bound: Vec<Dim> = dims
            .into_iter()
            .map(|dim| match dim {
                Dim::Symbol(name) => match bindings.dims.iter().find(|(symbol, _)| *symbol == name) {
                    Some((_, size)) => Ok(Dim::Known(*size)),
                    None => {
                        Err(Error::unsupported("shape", format!("has the symbol `{name}`: give it a number in Bindings::dims")))
                    }
                },
                Dim::Unknown => Err(Error::unsupported("shape", "has an unknown size: give the whole in Bindings::shapes")),
                known => Ok(known),
            })
            .collect::<Result<_>>()?;
        info.dims = Some(bound);
        let shape = info.shape().expect("every size was just made known");
        match elements(&shape) {
            Some(count) if count <= crate::tensor_desc::MAX_ELEMENTS => Ok(()),
            _ => Err(Error::invalid("shape", format!("{shape:?} has more than 2^31 - 1 elements"))),
        }
    }

    /// The symbols of the inputs' shapes that still need a number.
    pub fn symbols(&self) -> Vec<String> {
        let mut list = Vec::new();
        for dim in self.inputs.iter().filter_map(|id| self.info(*id).dims.as_ref()).flatten() {
            if let Dim::Symbol(name) = dim
                && !list.contains(name)
            {
                list.push(name.clone());
            }
        }
        list
    }

    /// The facts of a bound graph's value.
    pub(crate) fn fact(&self, id: ValueId) -> Fact {
        let info = self.info(id);
        match &info.constant {
            Some(value) => Fact::from(value.clone()),
            None => Fact::new(
                info.element.expect("a bound graph knows all types"),
                info.shape().expect("a bound graph knows all shapes"),
            ),
        }
    }

    /// Multiplications and additions of a product of integers in a bound graph; none of another node.
    pub(crate) fn integer_flop(&self, node: &Node) -> u64 {
        match node.op {
            Op::QLinearConv(_) | Op::QLinearMatMul | Op::ConvInteger(_) | Op::MatMulInteger => {
                let sums = self.fact(node.outputs[0]).len() as u64;
                2 * sums * terms(&node.op, &self.input_facts(node)) as u64
            }
            _ => 0,
        }
    }

    /// The facts of a node's inputs in a bound graph.
    pub(crate) fn input_facts(&self, node: &Node) -> Vec<Option<Fact>> {
        node.inputs.iter().map(|id| id.map(|id| self.fact(id))).collect()
    }
}
