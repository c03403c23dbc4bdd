//! [`Importer`]: from the messages of a file to a [`Graph`]. It goes on after a problem, so that all of them are reported at once.

use std::collections::{HashMap, HashSet};

use super::attribute::Attributes;
use super::external::Folder;
use super::functions::{Functions, Inlining};
use super::node::Node;
use super::operators::{operator, refusal};
use super::{import, proto, tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Dim, Graph, ValueId};
use crate::problems::{Problems, short};
use crate::value::Value;

/// The newest opset whose operators are known.
pub(super) const LAST_OPSET: i64 = 28;

/// Gives values, by name, in place of those of the file.
pub(super) type Replace<'a> = dyn FnMut(&str) -> Option<Value> + 'a;

/// The state of an import.
pub(super) struct Importer<'a> {
    pub graph: Graph,
    pub problems: Problems,
    pub functions: Functions<'a>,
    pub inlining: Inlining,
    folder: &'a Folder,
    replace: &'a mut Replace<'a>,
}

/// The names that nodes see, and the versions of the operators that they mean.
pub(super) struct Scope<'a> {
    /// `None` is an input of a function that is absent.
    pub values: HashMap<&'a str, Option<ValueId>>,
    pub opset: Option<i64>,
    /// What stands behind the place of a problem: the function.
    pub place: String,
    /// Calls of functions around this one.
    pub depth: usize,
}

/// The end of the import, after a problem that is noted already.
pub(super) struct Abort;

/// The graph of a model.
///
/// # Errors
/// All problems in one, each with its place.
pub(super) fn import_model<'a>(model: &'a proto::Model, folder: &'a Folder, replace: &'a mut Replace<'a>) -> Result<Graph> {
    let Some(source) = &model.graph else {
        return Err(Error::invalid("model", "has no graph: this is no ONNX model"));
    };
    let mut importer = Importer {
        graph: Graph::new(&source.name),
        problems: Problems::default(),
        functions: Functions::default(),
        inlining: Inlining::default(),
        folder,
        replace,
    };
    importer.functions = Functions::of(model, &mut importer.problems);
    let opset = opset_of(&model.opset_import, model.ir_version < 3);
    // The rest is read as if by the last one, for a report of all there is.
    let opset = opset.map_err(|error| importer.problems.add_error("model", &error)).unwrap_or(Some(LAST_OPSET));
    let mut scope = Scope { values: HashMap::new(), opset, place: String::new(), depth: 0 };
    importer.initialisers(source, &mut scope);
    importer.inputs(source, &mut scope);
    if importer.nodes(&source.node, &mut scope).is_ok() {
        importer.outputs(source, &scope);
    }
    importer.problems.finish()?;
    Ok(importer.graph)
}

/// The version of ONNX's own operators; the oldest files name none and mean the first.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for versions that are not known.
pub(super) fn opset_of(list: &[proto::OperatorSet], old: bool) -> Result<Option<i64>> {
    let default = list.iter().find(|set| is_default(&set.domain)).map(|set| set.version);
    match default.or(old.then_some(1)) {
        Some(version @ 1..=LAST_OPSET) => Ok(Some(version)),
        Some(version) if version > LAST_OPSET => {
            Err(Error::unsupported("opset", format!("{version} is newer than {LAST_OPSET}, the last that is known")))
        }
        Some(version) => Err(Error::invalid("opset", format!("{version} is not at least 1"))),
        None => Ok(None),
    }
}

/// Whether a domain is ONNX's own.
pub(super) fn is_default(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

impl<'a> Importer<'a> {
    fn initialisers(&mut self, source: &'a proto::Graph, scope: &mut Scope<'a>) {
        if !source.sparse_initializer.is_empty() {
            self.problems.add(ErrorKind::Unsupported, "graph", "sparse initialisers are not supported");
        }
        for initialiser in &source.initializer {
            let place = format!("initialiser `{}`", short(&initialiser.name));
            if initialiser.name.is_empty() {
                self.problems.add(ErrorKind::Invalid, &place, "has no name");
                continue;
            }
            let value = match (self.replace)(&initialiser.name) {
                Some(value) => Ok(value),
                None => tensor::value(initialiser, self.folder),
            };
            let value = value.unwrap_or_else(|error| {
                self.problems.add_error(&place, &error);
                Value::scalar(0.0f32)
            });
            let id = self.graph.constant(&initialiser.name, value);
            if scope.values.insert(&initialiser.name, Some(id)).is_some() {
                self.problems.add(ErrorKind::Invalid, &place, "is given twice");
            }
        }
    }

    fn inputs(&mut self, source: &'a proto::Graph, scope: &mut Scope<'a>) {
        let mut names = HashSet::new();
        for input in &source.input {
            let place = format!("input `{}`", short(&input.name));
            if input.name.is_empty() {
                self.problems.add(ErrorKind::Invalid, &place, "has no name");
                continue;
            }
            if !names.insert(input.name.as_str()) {
                self.problems.add(ErrorKind::Invalid, &place, "is given twice");
                continue;
            }
            // An input that has an initialiser has a default, which is what it then is.
            if scope.values.contains_key(input.name.as_str()) {
                continue;
            }
            let id = match self.input(input) {
                Ok(id) => id,
                Err(error) => {
                    self.problems.add_error(&place, &error);
                    self.placeholder()
                }
            };
            scope.values.insert(&input.name, Some(id));
        }
    }

    fn input(&mut self, input: &proto::ValueInfo) -> Result<ValueId> {
        let types = input.r#type.as_ref().ok_or_else(|| Error::invalid("type", "is not given"))?;
        let Some(tensor) = &types.tensor_type else {
            let others = [
                ("a sequence", &types.sequence_type),
                ("a map", &types.map_type),
                ("a sparse tensor", &types.sparse_tensor_type),
                ("optional", &types.optional_type),
            ];
            let other = others.iter().find(|(_, field)| field.is_some());
            return Err(match other {
                Some((name, _)) => Error::unsupported("type", format!("is {name}, but inputs are tensors")),
                None => Error::invalid("type", "is not given"),
            });
        };
        let element = tensor::element_type(tensor.elem_type)?;
        let dims: Option<Vec<Dim>> = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect());
        let id = self.graph.input_of(&input.name, element, dims.as_deref().unwrap_or_default());
        if dims.is_none() {
            self.graph.values[id.0].dims = None;
        }
        Ok(id)
    }

    fn outputs(&mut self, source: &'a proto::Graph, scope: &Scope<'a>) {
        if source.output.is_empty() {
            self.problems.add(ErrorKind::Invalid, "graph", "has no outputs");
        }
        let mut names = HashSet::new();
        for output in &source.output {
            let place = format!("output `{}`", short(&output.name));
            if !names.insert(output.name.as_str()) {
                self.problems.add(ErrorKind::Invalid, &place, "is given twice");
                continue;
            }
            match scope.values.get(output.name.as_str()) {
                Some(Some(id)) => self.graph.output(&output.name, *id),
                _ => self.problems.add(ErrorKind::Invalid, &place, "is never computed"),
            }
        }
    }

    /// Imports nodes into a scope.
    ///
    /// # Errors
    /// [`Abort`] where going on could take any time.
    pub fn nodes(&mut self, nodes: &'a [proto::Node], scope: &mut Scope<'a>) -> Result<(), Abort> {
        for node in nodes {
            let replaced: Vec<Option<Value>> = match scope.depth {
                0 => node.output.iter().map(|name| (self.replace)(name)).collect(),
                _ => Vec::new(),
            };
            let results = if !replaced.is_empty() && replaced.iter().all(Option::is_some) {
                replaced.into_iter().flatten().map(|value| self.graph.constant("", value)).collect()
            } else {
                self.node(node, &node.attribute, scope)?
            };
            self.define(node, &results, scope);
        }
        Ok(())
    }

    /// Imports one node with these attributes.
    pub fn node(
        &mut self,
        node: &'a proto::Node,
        attributes: &[proto::Attribute],
        scope: &mut Scope<'a>,
    ) -> Result<Vec<ValueId>, Abort> {
        let place = place(node, scope);
        let inputs = self.resolve(node, scope, &place);
        // Of a split each name is a part, be it used or not.
        let named = node.output.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        let outputs = if is_default(&node.domain) && node.op_type == "Split" { node.output.len() } else { named };
        if let Some(function) = self.functions.find(node) {
            let results = self.call(function, node, attributes, &inputs, scope, &place)?;
            return Ok(results);
        }
        let mut results = None;
        let mut found = Vec::new();
        match self.check(node, scope.opset, inputs.len(), outputs) {
            Err(error) => found.push((error.kind(), error.message().to_string())),
            Ok(opset) => {
                let mut reading = Node {
                    graph: &mut self.graph,
                    op: &node.op_type,
                    opset,
                    name: &node.name,
                    inputs,
                    outputs,
                    attributes: Attributes::new(attributes),
                    folder: self.folder,
                    problems: Vec::new(),
                };
                results = read(&mut reading);
                found = reading.problems;
            }
        }
        found.iter().for_each(|(kind, message)| self.problems.add(*kind, &place, message));
        let mut results = results.unwrap_or_default();
        while results.len() < outputs {
            let id = self.placeholder();
            results.push(id);
        }
        Ok(results)
    }

    /// The values that a node's inputs name.
    fn resolve(&mut self, node: &proto::Node, scope: &Scope, place: &str) -> Vec<Option<ValueId>> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            let known = if name.is_empty() { Some(None) } else { scope.values.get(name.as_str()).copied() };
            inputs.push(known.unwrap_or_else(|| {
                let message = format!("input `{}` is not computed before it", short(name));
                self.problems.add(ErrorKind::Invalid, place, &message);
                Some(self.placeholder())
            }));
        }
        let used = inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        inputs.truncate(used);
        inputs
    }

    /// The opset of a node whose operator takes so many inputs and outputs.
    fn check(&self, node: &proto::Node, opset: Option<i64>, inputs: usize, outputs: usize) -> Result<i64> {
        if !is_default(&node.domain) {
            let message =
                format!("domain `{}` is not supported, and the model has no function of this name", short(&node.domain));
            return Err(Error::unsupported("operator", message));
        }
        let opset = opset.ok_or_else(|| Error::invalid("opset", "opset_import does not say which operators are meant"))?;
        let Some(known) = operator(&node.op_type) else {
            return Err(Error::unsupported("operator", format!("the operator {}", refusal(&node.op_type))));
        };
        if opset < known.since {
            return Err(Error::invalid("operator", format!("the operator exists from opset {} on", known.since)));
        }
        if !(known.least..=known.most).contains(&inputs) {
            let most = if known.most == usize::MAX { "any number".into() } else { known.most.to_string() };
            return Err(Error::invalid("inputs", format!("has {inputs} inputs, but takes {} to {most}", known.least)));
        }
        if !(1..=known.outputs).contains(&outputs) {
            return Err(Error::invalid("outputs", format!("has {outputs} outputs, but gives 1 to {}", known.outputs)));
        }
        Ok(opset)
    }

    /// Gives the names of a node's outputs their values.
    pub fn define(&mut self, node: &'a proto::Node, results: &[ValueId], scope: &mut Scope<'a>) {
        for (name, &id) in node.output.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
            if scope.values.insert(name, Some(id)).is_some() {
                let message = format!("output `{}` is computed already", short(name));
                self.problems.add(ErrorKind::Invalid, &place(node, scope), &message);
            }
            // Within a function names say little, and would be copied with each call.
            if scope.depth == 0 && self.graph.info(id).name.is_empty() {
                self.graph.set_name(id, name);
            }
        }
    }

    /// A value that stands for one that could not be made: the graph is not used.
    pub fn placeholder(&mut self) -> ValueId {
        self.graph.constant("", Value::scalar(0.0f32))
    }
}

fn dim(dim: &proto::Dimension) -> Dim {
    match (dim.dim_value, dim.dim_param.as_deref()) {
        // Some exporters write -1 for what they do not know.
        (Some(size), _) => usize::try_from(size).map_or(Dim::Unknown, Dim::Known),
        (None, Some(name)) if !name.is_empty() => Dim::Symbol(name.into()),
        _ => Dim::Unknown,
    }
}

/// The results of a node of a known operator.
fn read(node: &mut Node) -> Option<Vec<ValueId>> {
    if let Some(name) = node.attributes.duplicate() {
        node.invalid(format!("attribute {} is given twice", short(name)));
    }
    if node.attributes.has_graph() {
        node.unsupported("subgraphs are not supported");
    }
    if node.opset < 6 {
        // An optimisation of the runtime that these opsets were made with.
        node.ignore("consumed_inputs", super::attribute::INTS);
    }
    let results = import::import(node);
    if results.is_none() {
        node.unsupported("the operator is not supported");
    }
    for left in node.attributes.left() {
        node.unsupported(format!("attribute {} is not known in this opset", short(&left)));
    }
    results
}

/// Where a problem is.
pub(super) fn place(node: &proto::Node, scope: &Scope) -> String {
    let name = match (node.name.as_str(), node.output.first()) {
        ("", Some(output)) => format!("node of `{}`", short(output)),
        (name, _) => format!("node `{}`", short(name)),
    };
    let op = short(&node.op_type);
    let domain = if is_default(&node.domain) { String::new() } else { format!("{}.", short(&node.domain)) };
    let opset = scope.opset.map_or(String::new(), |opset| format!(", opset {opset}"));
    format!("{name} ({domain}{op}{opset}){}", scope.place)
}
