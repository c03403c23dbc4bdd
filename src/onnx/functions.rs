//! Functions of a model, put in the place of the nodes that call them.
//!
//! A call is imported as the nodes of the function in a scope of their own. Calls can multiply without end, so how deep they go and
//! how many bytes of the file they repeat is bounded.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use prost::Message;

use super::importer::{Abort, Importer, LAST_OPSET, Scope, is_default, opset_of};
use super::proto::{self, Function};
use crate::error::ErrorKind;
use crate::graph::ValueId;
use crate::problems::{Problems, short};

/// Calls within each other.
const MAX_DEPTH: usize = 32;
/// Bytes of nodes that all calls together may repeat.
const MAX_BYTES: usize = 64 << 20;
/// What any node or name counts at least.
const NODE_BYTES: usize = 64;

/// The functions of a model, by domain, name and overload.
#[derive(Debug, Default)]
pub(super) struct Functions<'a> {
    by_name: HashMap<(&'a str, &'a str, &'a str), &'a proto::Function>,
}

/// What the calls so far have repeated.
#[derive(Debug, Default)]
pub(super) struct Inlining {
    bytes: usize,
}

impl<'a> Functions<'a> {
    /// Those of a model.
    pub fn of(model: &'a proto::Model, problems: &mut Problems) -> Self {
        let mut by_name = HashMap::new();
        for function in &model.functions {
            if by_name.insert(key(&function.domain, &function.name, &function.overload), function).is_some() {
                problems.add(ErrorKind::Invalid, &format!("function `{}`", short(&function.name)), "is given twice");
            }
        }
        Self { by_name }
    }

    /// The function that a node calls, where it does.
    pub fn find(&self, node: &proto::Node) -> Option<&'a proto::Function> {
        self.by_name.get(&key(&node.domain, &node.op_type, &node.overload)).copied()
    }
}

fn key<'s>(domain: &'s str, name: &'s str, overload: &'s str) -> (&'s str, &'s str, &'s str) {
    (if is_default(domain) { "" } else { domain }, name, overload)
}

impl<'a> Importer<'a> {
    /// The results of a call.
    ///
    /// # Errors
    /// [`Abort`] where calls go too deep, or repeat too much.
    pub fn call(
        &mut self,
        function: &'a Function,
        node: &proto::Node,
        given: &[proto::Attribute],
        inputs: &[Option<ValueId>],
        scope: &Scope<'a>,
        place: &str,
    ) -> Result<Vec<ValueId>, Abort> {
        let name = short(&function.name);
        if scope.depth >= MAX_DEPTH {
            let message = format!("calls of functions go deeper than {MAX_DEPTH}");
            self.problems.add(ErrorKind::Invalid, place, &message);
            return Err(Abort);
        }
        if inputs.len() > function.input.len() {
            let message = format!("has {} inputs, but the function `{name}` takes {}", inputs.len(), function.input.len());
            self.problems.add(ErrorKind::Invalid, place, &message);
        }
        if node.output.len() > function.output.len() {
            let message = format!("has {} outputs, but the function `{name}` gives {}", node.output.len(), function.output.len());
            self.problems.add(ErrorKind::Invalid, place, &message);
        }
        let Function { input, output, attribute, attribute_proto, opset_import, .. } = function;
        let names = input.len() + output.len() + attribute.len() + attribute_proto.len() + opset_import.len();
        self.charge(names.saturating_mul(NODE_BYTES), place)?;
        let opset = opset_of(&function.opset_import, false);
        let opset = opset.unwrap_or_else(|error| {
            self.problems.add_error(&format!("function `{name}`"), &error);
            Some(LAST_OPSET)
        });
        let mut values = HashMap::new();
        for (index, input) in function.input.iter().enumerate() {
            values.insert(input.as_str(), inputs.get(index).copied().flatten());
        }
        let mut inner = Scope { values, opset, place: format!(" in function `{name}`"), depth: scope.depth + 1 };
        let attributes = self.attributes(function, given, place);
        self.body(&function.node, &attributes, &mut inner, place)?;
        let mut results = Vec::new();
        for output in function.output.iter().take(node.output.len()) {
            results.push(match inner.values.get(output.as_str()).copied().flatten() {
                Some(id) => id,
                None => {
                    let message = format!("output `{}` of the function `{name}` is never computed", short(output));
                    self.problems.add(ErrorKind::Invalid, place, &message);
                    self.placeholder()
                }
            });
        }
        Ok(results)
    }

    /// Counts what a call repeats; nothing is free, or there could be any number of it.
    fn charge(&mut self, bytes: usize, place: &str) -> Result<(), Abort> {
        self.inlining.bytes = self.inlining.bytes.saturating_add(bytes).saturating_add(NODE_BYTES);
        if self.inlining.bytes <= MAX_BYTES {
            return Ok(());
        }
        let message = format!("calls of functions repeat more than {MAX_BYTES} bytes of nodes");
        self.problems.add(ErrorKind::Invalid, place, &message);
        Err(Abort)
    }

    /// The attributes of a call by name, with the function's defaults.
    fn attributes<'n>(
        &mut self,
        function: &'n proto::Function,
        given: &'n [proto::Attribute],
        place: &str,
    ) -> HashMap<&'n str, &'n proto::Attribute> {
        let defaults = function.attribute_proto.iter().map(|attribute| (attribute.name.as_str(), attribute));
        let mut attributes: HashMap<_, _> = defaults.collect();
        let known: HashSet<&str> = function.attribute.iter().map(String::as_str).chain(attributes.keys().copied()).collect();
        for attribute in given {
            if known.contains(attribute.name.as_str()) {
                attributes.insert(&attribute.name, attribute);
            } else {
                let message = format!("attribute {} is none of the function", short(&attribute.name));
                self.problems.add(ErrorKind::Invalid, place, &message);
            }
        }
        attributes
    }

    /// The nodes of a function, with the attributes of the call where they refer to them.
    fn body(
        &mut self,
        nodes: &'a [proto::Node],
        attributes: &HashMap<&str, &proto::Attribute>,
        scope: &mut Scope<'a>,
        place: &str,
    ) -> Result<(), Abort> {
        for node in nodes {
            let own = substituted(&node.attribute, attributes);
            let referred: usize = if matches!(own, Cow::Owned(_)) { own.iter().map(Message::encoded_len).sum() } else { 0 };
            self.charge(node.encoded_len().saturating_add(referred), place)?;
            let results = self.node(node, &own, scope)?;
            self.define(node, &results, scope);
        }
        Ok(())
    }
}

/// A node's attributes, each that refers to one of the call replaced by it, and left out where the call has none.
fn substituted<'n>(own: &'n [proto::Attribute], call: &HashMap<&str, &proto::Attribute>) -> Cow<'n, [proto::Attribute]> {
    if own.iter().all(|attribute| attribute.ref_attr_name.is_empty()) {
        return Cow::Borrowed(own);
    }
    let replace = |attribute: &proto::Attribute| match attribute.ref_attr_name.as_str() {
        "" => Some(attribute.clone()),
        name => call.get(name).map(|given| proto::Attribute { name: attribute.name.clone(), ..(*given).clone() }),
    };
    Cow::Owned(own.iter().filter_map(replace).collect())
}
