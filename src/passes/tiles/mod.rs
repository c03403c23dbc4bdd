//! A convolution network on a tile: which inputs some outputs need, by exact arithmetic on intervals from the outputs back, and the graph
//! that computes just those.
//!
//! Padding is where the whole has it: a tile inside has real neighbours, as many as the windows of all layers together see (the
//! *halo*). Sizes, halos and padding of one axis do not depend on the others, so each axis is worked out by itself, and the graph of a
//! tile is put together from one [`AxisTile`] for each. Tiles whose graphs are the same have the same signatures.

mod local;

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::ops::evaluate;
use crate::graph::{Dim, Graph, Node, Op, ValueId};
use crate::value::{ElementType, Value};
use local::{Cut, Local, Question};

/// A graph and the sizes of all its values for one size of its input.
pub(crate) struct Tiling {
    /// With everything computed that depends on constants only.
    graph: Graph,
    input: ValueId,
    output: ValueId,
    /// Batch and channels of the input.
    leading: [usize; 2],
    locals: Vec<Local>,
    /// On each spatial axis; of constants `None`.
    sizes: Vec<Option<Vec<usize>>>,
}

/// A tile on one axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AxisTile {
    /// What is read of the input.
    pub input: Range<usize>,
    /// What comes out.
    pub output: Range<usize>,
    /// Everything in which the tile's graph may differ from another one's.
    pub signature: Vec<usize>,
    cuts: Vec<Option<Cut>>,
    /// What of each value is computed.
    made: Vec<Option<Range<usize>>>,
}

fn hull(range: &mut Option<Range<usize>>, other: &Range<usize>) {
    *range = Some(match range {
        Some(range) => range.start.min(other.start)..range.end.max(other.end),
        None => other.clone(),
    });
}

/// The graph without the nodes whose inputs are all constant.
fn folded(graph: &Graph) -> Result<Graph> {
    let mut graph = graph.clone();
    for node in std::mem::take(&mut graph.nodes) {
        let inputs: Option<Vec<Option<Arc<Value>>>> =
            node.inputs.iter().map(|id| id.map_or(Some(None), |id| graph.info(id).constant.clone().map(Some))).collect();
        match inputs {
            Some(inputs) => {
                let results = evaluate(&node.op, &inputs, node.outputs.len()).map_err(|error| graph.at_node(&node, error))?;
                for (id, value) in node.outputs.iter().zip(results) {
                    graph.values[id.0].constant = Some(Arc::new(value));
                }
            }
            None => graph.nodes.push(node),
        }
    }
    Ok(graph)
}

impl Tiling {
    /// The sizes of a graph with one input, of this shape, and one output.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the first node that sees more than a neighbourhood, and why;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for shapes that do not fit.
    pub fn new(graph: &Graph, shape: &[usize]) -> Result<Self> {
        graph.check_order()?;
        let graph = folded(graph)?;
        let ([input], [(_, output)]) = (graph.inputs.as_slice(), graph.outputs.as_slice()) else {
            let (inputs, outputs) = (graph.inputs.len(), graph.outputs.len());
            return Err(Error::unsupported(
                "graph",
                format!("has {inputs} inputs and {outputs} outputs, but tiles need one of each"),
            ));
        };
        let (input, output) = (*input, *output);
        if !(3..=5).contains(&shape.len()) || shape.contains(&0) {
            return Err(Error::invalid("input", format!("shape {shape:?} is not batch, channels and 1 to 3 spatial axes")));
        }
        let mut sizes: Vec<Option<Vec<usize>>> = vec![None; graph.values.len()];
        sizes[input.0] = Some(shape[2..].to_vec());
        let mut locals = Vec::new();
        for node in &graph.nodes {
            let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(|id| sizes[id.0].clone())).collect();
            let question = Question { graph: &graph, node, sizes: &inputs, rank: shape.len() - 2 };
            let results = || -> Result<(Local, Vec<usize>)> {
                let local = question.local()?;
                let first = inputs.iter().flatten().next();
                let first = first.ok_or_else(|| Error::unsupported("tile", "is not possible: the operation has no input"))?;
                let size = first.iter().enumerate().map(|(axis, &size)| local.size(axis, size)).collect::<Result<_>>()?;
                Ok((local, size))
            };
            let (local, size) = results().map_err(|error| graph.at_node(node, error))?;
            node.outputs.iter().for_each(|id| sizes[id.0] = Some(size.clone()));
            locals.push(local);
        }
        if sizes[output.0].is_none() {
            return Err(Error::unsupported("graph", "has an output that does not depend on its input"));
        }
        Ok(Self { input, output, leading: [shape[0], shape[1]], locals, sizes, graph })
    }

    /// The type of the input's elements.
    pub fn element(&self) -> Option<ElementType> {
        self.graph.info(self.input).element
    }

    fn size(&self, id: ValueId, axis: usize) -> Option<usize> {
        self.sizes[id.0].as_ref().map(|sizes| sizes[axis])
    }

    /// The output's size on each spatial axis.
    pub fn output_sizes(&self) -> &[usize] {
        self.sizes[self.output.0].as_deref().expect("new() asked for it")
    }

    /// The input's size on each spatial axis.
    pub fn input_sizes(&self) -> &[usize] {
        self.sizes[self.input.0].as_deref().expect("new() set it")
    }

    /// Of how many outputs on an axis a tile should be a multiple: then all tiles inside have one graph.
    pub fn alignment(&self, axis: usize) -> usize {
        let gcd = |a: usize, b: usize| crate::geometry::gcd(a as i64, b as i64) as usize;
        // Positions of each value for one of the output, as a fraction.
        let mut scales: Vec<Option<(usize, usize)>> = vec![None; self.graph.values.len()];
        scales[self.output.0] = Some((1, 1));
        let mut alignment: usize = 1;
        for (node, local) in self.graph.nodes.iter().zip(&self.locals).rev() {
            let Some((above, below)) = node.outputs.iter().find_map(|id| scales[id.0]) else { continue };
            let (multiply, divide) = local.scale(axis);
            let (above, below) = (above.saturating_mul(divide), below.saturating_mul(multiply));
            let common = gcd(above, below).max(1);
            let (above, below) = (above / common, below / common);
            alignment = (alignment / gcd(alignment, below).max(1)).saturating_mul(below);
            for id in node.inputs.iter().flatten() {
                scales[id.0].get_or_insert((above, below));
            }
        }
        alignment.min(self.output_sizes()[axis])
    }

    /// What these outputs need on an axis.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the node where a tile would be padding only.
    pub fn axis(&self, axis: usize, wanted: Range<usize>) -> Result<AxisTile> {
        let count = self.graph.nodes.len();
        let mut tile = AxisTile {
            input: 0..0,
            output: wanted.clone(),
            signature: Vec::new(),
            cuts: vec![None; count],
            made: vec![None; self.graph.values.len()],
        };
        let mut needed = tile.made.clone();
        needed[self.output.0] = Some(wanted.clone());
        for number in (0..count).rev() {
            let (node, local) = (&self.graph.nodes[number], &self.locals[number]);
            let mut results = None;
            node.outputs.iter().filter_map(|id| needed[id.0].as_ref()).for_each(|range| hull(&mut results, range));
            let Some(results) = results else { continue };
            let first = node.inputs.iter().flatten().find_map(|&id| self.size(id, axis)).expect("new() asked for an input");
            let cut = local.cut(axis, first, &results).map_err(|error| self.graph.at_node(node, error))?;
            node.outputs.iter().for_each(|id| tile.made[id.0] = Some(cut.output.clone()));
            for (index, &id) in self.data(node) {
                hull(&mut needed[id.0], operand(local, &cut, index));
            }
            tile.signature.extend([number, cut.input.len(), cut.output.len(), cut.begin, cut.end, cut.output_padding]);
            tile.cuts[number] = Some(cut);
        }
        let Some(input) = needed[self.input.0].clone() else {
            return Err(Error::unsupported("graph", "has an output that does not depend on its input"));
        };
        tile.made[self.input.0] = Some(input.clone());
        tile.signature.push(input.len());
        tile.input = input;
        // Where each operand lies in what is computed of it.
        for (number, node) in self.graph.nodes.iter().enumerate() {
            let Some(cut) = &tile.cuts[number] else { continue };
            for (index, id) in self.data(node) {
                let made = tile.made[id.0].as_ref().expect("what is needed is made");
                tile.signature.push(operand(&self.locals[number], cut, index).start - made.start);
            }
        }
        let made = tile.made[self.output.0].as_ref().expect("the output is made");
        tile.signature.extend([wanted.start - made.start, wanted.len()]);
        Ok(tile)
    }

    /// The inputs of a node that are no constants, with their numbers.
    fn data<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = (usize, &'a ValueId)> {
        let inputs = node.inputs.iter().enumerate().filter_map(|(index, id)| id.as_ref().map(|id| (index, id)));
        inputs.filter(|(_, id)| self.sizes[id.0].is_some())
    }

    /// The graph that computes a tile, given on each axis, from the inputs that it reads.
    pub fn graph(&self, axes: &[&AxisTile]) -> Graph {
        let mut writer = Writer { tiling: self, axes, graph: Graph::new(self.graph.name()), ids: vec![None; self.sizes.len()] };
        let info = self.graph.info(self.input);
        let dims = self.leading.into_iter().chain(axes.iter().map(|axis| axis.input.len())).map(Dim::Known).collect::<Vec<_>>();
        let element = info.element.unwrap_or(ElementType::F32);
        writer.ids[self.input.0] = Some(writer.graph.input_of(&info.name, element, &dims));
        for (number, node) in self.graph.nodes.iter().enumerate() {
            if axes[0].cuts[number].is_some() {
                writer.node(number, node);
            }
        }
        let wanted: Vec<_> = axes.iter().map(|axis| axis.output.clone()).collect();
        let output = writer.operand(self.output, &wanted);
        writer.graph.output(&self.graph.outputs[0].0, output);
        writer.graph
    }
}

/// What an operand of a node must have.
fn operand<'a>(local: &Local, cut: &'a Cut, index: usize) -> &'a Range<usize> {
    if index == 0 || *local == Local::Same { &cut.input } else { &cut.output }
}

/// A tile's graph as it is written.
struct Writer<'a> {
    tiling: &'a Tiling,
    axes: &'a [&'a AxisTile],
    graph: Graph,
    /// The value of the new graph for each of the whole's.
    ids: Vec<Option<ValueId>>,
}

impl Writer<'_> {
    fn node(&mut self, number: usize, node: &Node) {
        let local = &self.tiling.locals[number];
        let cuts: Vec<&Cut> = self.axes.iter().filter_map(|axis| axis.cuts[number].as_ref()).collect();
        let mut inputs: Vec<Option<ValueId>> = Vec::new();
        for (index, id) in node.inputs.iter().enumerate() {
            inputs.push(id.map(|id| {
                if self.tiling.sizes[id.0].is_none() {
                    return self.constant(id);
                }
                let wanted: Vec<_> = cuts.iter().map(|cut| operand(local, cut, index).clone()).collect();
                self.operand(id, &wanted)
            }));
        }
        let (op, pads) = local.apply(&node.op, &cuts);
        if let Some(pads) = pads {
            inputs[1] = Some(self.graph.constant("", Value::list(&pads)));
            inputs.truncate(3);
        }
        let outputs = self.graph.apply_many(&node.name, op, &inputs, node.outputs.len());
        for (&old, new) in node.outputs.iter().zip(outputs) {
            self.graph.set_name(new, &self.tiling.graph.info(old).name);
            self.ids[old.0] = Some(new);
        }
    }

    fn constant(&mut self, id: ValueId) -> ValueId {
        if let Some(done) = self.ids[id.0] {
            return done;
        }
        let info = self.tiling.graph.info(id);
        let value = info.constant.clone().expect("what has no size is constant");
        let new = self.graph.constant_shared(&info.name, value);
        self.ids[id.0] = Some(new);
        new
    }

    /// These positions of a value, cut out where more of it is computed.
    fn operand(&mut self, id: ValueId, wanted: &[Range<usize>]) -> ValueId {
        let from = self.ids[id.0].expect("a value stands before its use");
        let made: Vec<_> = self.axes.iter().filter_map(|axis| axis.made[id.0].clone()).collect();
        if made == wanted {
            return from;
        }
        let list =
            |value: &dyn Fn(usize) -> usize| Value::list(&(0..made.len()).map(|axis| value(axis) as i64).collect::<Vec<_>>());
        let starts = list(&|axis| wanted[axis].start - made[axis].start);
        let ends = list(&|axis| wanted[axis].end - made[axis].start);
        let inputs = [starts, ends, list(&|axis| axis + 2)].map(|value| Some(self.graph.constant("", value)));
        self.graph.apply_many("", Op::Slice, &[Some(from), inputs[0], inputs[1], inputs[2]], 1)[0]
    }
}
