//! [`Node`]: one node on its way into the graph. It gives typed access to attributes and inputs, and writes down what is wrong with
//! them, so that a report has all of it: whoever reads an attribute gets a default in place of a wrong one, and goes on.

use super::attribute::{self, Attributes, quoted};
use super::external::Folder;
use super::tensor;
use crate::error::{Error, ErrorKind};
use crate::graph::{Graph, Op, ValueId};
use crate::spatial::Spatial;
use crate::value::{ElementType, Value};

/// A node that is being imported.
pub(super) struct Node<'a> {
    pub graph: &'a mut Graph,
    /// The operator.
    pub op: &'a str,
    /// The version of the operators of its domain.
    pub opset: i64,
    /// The name, for messages.
    pub name: &'a str,
    /// `None` for an optional input that is absent; none of them at the end.
    pub inputs: Vec<Option<ValueId>>,
    /// How many outputs are used.
    pub outputs: usize,
    pub attributes: Attributes<'a>,
    pub folder: &'a Folder,
    /// What is wrong with it.
    pub problems: Vec<(ErrorKind, String)>,
}

impl<'a> Node<'a> {
    /// Notes that the node is wrong in itself.
    pub fn invalid(&mut self, message: impl Into<String>) {
        self.problems.push((ErrorKind::Invalid, message.into()));
    }

    /// Notes that the node is not supported.
    pub fn unsupported(&mut self, message: impl Into<String>) {
        self.problems.push((ErrorKind::Unsupported, message.into()));
    }

    fn note(&mut self, place: &str, error: &Error) {
        self.problems.push((error.kind(), format!("{place}: {}", error.text())));
    }

    fn take(&mut self, name: &str, kind: usize) -> Option<&'a super::proto::Attribute> {
        match self.attributes.take(name, kind) {
            Ok(attribute) => attribute,
            Err(message) => {
                self.invalid(message);
                None
            }
        }
    }

    /// An attribute that means nothing here.
    pub fn ignore(&mut self, name: &str, kind: usize) {
        self.take(name, kind);
    }

    fn missing(&mut self, name: &str) {
        // One of the wrong type was noted already.
        if !self.attributes.has(name) {
            self.invalid(format!("attribute {name} is missing"));
        }
    }

    /// An int, where there is one.
    pub fn optional_int(&mut self, name: &str) -> Option<i64> {
        self.take(name, attribute::INT).map(|attribute| attribute.i.unwrap_or_default())
    }

    /// An int.
    pub fn int(&mut self, name: &str, default: i64) -> i64 {
        self.optional_int(name).unwrap_or(default)
    }

    /// An int that is 0 or 1.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.int(name, default.into()) {
            0 => false,
            1 => true,
            other => {
                self.invalid(format!("attribute {name} = {other} is neither 0 nor 1"));
                default
            }
        }
    }

    /// An int that is not negative.
    pub fn size(&mut self, name: &str, default: usize) -> usize {
        match self.optional_int(name) {
            None => default,
            Some(value) => self.size_from(name, value),
        }
    }

    /// A [`size`](Self::size) that must be there.
    pub fn needed_size(&mut self, name: &str) -> usize {
        if !self.attributes.has(name) {
            self.missing(name);
        }
        self.size(name, 1)
    }

    fn size_from(&mut self, name: &str, value: i64) -> usize {
        usize::try_from(value).unwrap_or_else(|_| {
            self.invalid(format!("attribute {name} has {value}, but is not negative"));
            1
        })
    }

    /// A float.
    pub fn float(&mut self, name: &str, default: f32) -> f32 {
        self.optional_float(name).unwrap_or(default)
    }

    /// A float, where there is one.
    pub fn optional_float(&mut self, name: &str) -> Option<f32> {
        self.take(name, attribute::FLOAT).map(|attribute| attribute.f.unwrap_or_default())
    }

    /// A list of ints, where there is one.
    pub fn ints(&mut self, name: &str) -> Option<Vec<i64>> {
        self.take(name, attribute::INTS).map(|attribute| attribute.ints.clone())
    }

    /// A list of ints that must be there.
    pub fn needed_ints(&mut self, name: &str) -> Vec<i64> {
        self.ints(name).unwrap_or_else(|| {
            self.missing(name);
            Vec::new()
        })
    }

    /// A list of ints that are not negative; empty where there is none.
    pub fn sizes(&mut self, name: &str) -> Vec<usize> {
        let list = self.ints(name).unwrap_or_default();
        list.into_iter().map(|value| self.size_from(name, value)).collect()
    }

    /// A list of floats, where there is one.
    pub fn floats(&mut self, name: &str) -> Option<Vec<f32>> {
        self.take(name, attribute::FLOATS).map(|attribute| attribute.floats.clone())
    }

    /// A tensor, where there is one.
    pub fn tensor(&mut self, name: &str) -> Option<Value> {
        let tensor = self.take(name, attribute::TENSOR)?.t.as_deref();
        match tensor.ok_or_else(|| Error::invalid("tensor", "is missing")).and_then(|tensor| tensor::value(tensor, self.folder)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(&format!("attribute {name}"), &error);
                None
            }
        }
    }

    /// One of several words, the first of which is the default.
    pub fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> T {
        let Some(attribute) = self.take(name, attribute::STRING) else { return words[0].1 };
        let given = attribute.s.as_deref().unwrap_or_default();
        match words.iter().find(|(word, _)| word.as_bytes() == given) {
            Some((_, meaning)) => *meaning,
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.unsupported(format!("attribute {name} = {} is not one of {}", quoted(given), known.join(", ")));
                words[0].1
            }
        }
    }

    /// A text, where there is one.
    pub fn text(&mut self, name: &str) -> Option<&'a [u8]> {
        self.take(name, attribute::STRING).map(|attribute| attribute.s.as_deref().unwrap_or_default())
    }

    /// An element type given by its number; 0 is none.
    pub fn element(&mut self, name: &str) -> Option<ElementType> {
        let number = self.optional_int(name).filter(|number| *number != 0)?;
        match tensor::element_type(i32::try_from(number).unwrap_or(-1)) {
            Ok(element) => Some(element),
            Err(error) => {
                self.note(&format!("attribute {name} = {number}"), &error);
                None
            }
        }
    }

    /// An int of which only one value is supported, which is its default.
    pub fn only(&mut self, name: &str, value: i64) {
        let given = self.int(name, value);
        if given != value {
            self.unsupported(format!("attribute {name} = {given} is not supported, only {value} is"));
        }
    }

    /// One number for each of `rank` axes.
    pub fn spatial(&mut self, name: &str, rank: usize, default: usize) -> Spatial {
        let list = self.sizes(name);
        if list.is_empty() {
            return Spatial::splat(rank, default);
        }
        if list.len() != rank {
            self.invalid(format!("attribute {name} has {} entries, but the kernel has {rank} axes", list.len()));
            return Spatial::splat(rank, default);
        }
        Spatial::from_slice("list", &list).unwrap_or(Spatial::splat(rank, default))
    }

    /// An input that must be there.
    pub fn input(&mut self, index: usize) -> ValueId {
        self.inputs.get(index).copied().flatten().unwrap_or_else(|| {
            self.invalid(format!("input {index} is missing: there are {}", self.inputs.len()));
            self.graph.constant("", Value::scalar(0.0f32))
        })
    }

    /// Puts a value in the place of an input.
    pub fn set_input(&mut self, index: usize, value: Option<ValueId>) {
        if self.inputs.len() <= index {
            self.inputs.resize(index + 1, None);
        }
        self.inputs[index] = value;
    }

    /// An operand that is a list of ints in an attribute before opset `since`, and from then on input `index`.
    pub fn operand(&mut self, name: &str, index: usize, since: i64) {
        if self.opset >= since {
            return;
        }
        if self.inputs.len() > index {
            self.invalid(format!("has {} inputs, but {name} is an attribute before opset {since}", self.inputs.len()));
        }
        let list = self.ints(name).map(|list| self.list(&list));
        self.set_input(index, list);
    }

    /// A constant list of int64.
    pub fn list(&mut self, list: &[i64]) -> ValueId {
        self.graph.constant("", Value::list(list))
    }

    /// A constant of the type of `x`, which is known only when the graph is bound.
    pub fn like(&mut self, number: f32, x: ValueId) -> ValueId {
        let number = self.graph.constant("", Value::scalar(number));
        self.graph.apply(Op::CastLike, &[number, x])
    }

    /// The operation that the node is, on its own inputs.
    pub fn apply(&mut self, op: Op) -> Vec<ValueId> {
        let inputs = std::mem::take(&mut self.inputs);
        self.apply_to(op, &inputs)
    }

    /// The operation that gives the node's results.
    pub fn apply_to(&mut self, op: Op, inputs: &[Option<ValueId>]) -> Vec<ValueId> {
        self.graph.apply_many(self.name, op, inputs, self.outputs)
    }

    /// An operation on the way to the node's results.
    pub fn step(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|&id| Some(id)).collect();
        self.graph.apply_many(self.name, op, &inputs, 1)[0]
    }
}
