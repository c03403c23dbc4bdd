//! Which values of a network keep channels last: those that a layer makes and only layers read.
//!
//! Convolutions and poolings read one layout and write the other at no cost, so at the edges of such a part nothing is converted.
//! Whatever else a node asks for it gets with channels first; what is left to convert is a step of its own, `map layout`.

use std::collections::HashMap;

use super::Lowering;
use crate::error::Result;
use crate::graph::{Graph, Node, Op, ValueId};
use crate::layout::Layout;
use crate::limits::DeviceClass;
use crate::network::program::{DeviceId, Source};
use crate::operation::Operand;
use crate::tensor_desc::TensorDesc;

/// The layout of a network on a class of devices, where nobody asks for one.
pub(in crate::network) fn of_class(class: DeviceClass) -> Layout {
    match class {
        // Measured: what channels last are for, loads of four neighbours, cost as much as four loads.
        DeviceClass::Software => Layout::ChannelsFirst,
        // Not measured: neighbouring invocations load neighbouring columns, which suits channels first.
        DeviceClass::Integrated | DeviceClass::Discrete => Layout::ChannelsFirst,
    }
}

/// The layout of the values of a graph, and where values are that had to be converted.
#[derive(Debug, Clone)]
pub(super) struct Layouts {
    layout: Layout,
    kept: Vec<bool>,
    /// Copies with channels first.
    copies: HashMap<DeviceId, DeviceId>,
}

impl Layouts {
    /// Of a bound graph whose layers may keep this layout among themselves.
    pub fn new(graph: &Graph, layout: Layout, needed: &[bool]) -> Self {
        let kept = if layout == Layout::ChannelsFirst { vec![false; graph.values.len()] } else { kept(graph, needed) };
        Self { layout, kept, copies: HashMap::new() }
    }

    /// How a layer's result lies.
    pub fn of(&self, id: ValueId) -> Layout {
        if self.kept[id.0] { self.layout } else { Layout::ChannelsFirst }
    }
}

/// Whether a node reads an input in any layout.
fn reads_any(op: &Op, index: usize) -> bool {
    match op {
        Op::Conv(_) => index == 0 || index == 3,
        Op::Pool(_) => index == 0,
        _ => false,
    }
}

fn kept(graph: &Graph, needed: &[bool]) -> Vec<bool> {
    let mut kept = vec![false; graph.values.len()];
    for node in graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv(_) | Op::Pool(_))) {
        // Positions of a pooling are read by what knows one layout only.
        kept[node.outputs[0].0] = !node.outputs[1..].iter().any(|id| needed[id.0]);
    }
    for (_, id) in &graph.outputs {
        kept[id.0] = false;
    }
    for node in &graph.nodes {
        for (index, id) in node.inputs.iter().enumerate() {
            if let Some(id) = id.filter(|_| !reads_any(&node.op, index)) {
                kept[id.0] = false;
            }
        }
    }
    // A residual lies as the result does.
    let residuals = graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv(_)));
    let pairs: Vec<[ValueId; 2]> = residuals.filter_map(|node| Some([node.input(3)?, node.outputs[0]])).collect();
    while let Some(pair) = pairs.iter().find(|[a, b]| kept[a.0] != kept[b.0]) {
        pair.iter().for_each(|id| kept[id.0] = false);
    }
    kept
}

impl Lowering<'_> {
    /// A tensor with channels first: itself, or a copy that is made once.
    pub(super) fn channels_first(&mut self, id: DeviceId) -> Result<DeviceId> {
        if let Some(&copy) = self.layouts.copies.get(&id) {
            return Ok(copy);
        }
        let copy = self.in_layout(id, Layout::ChannelsFirst)?;
        if copy != id {
            self.layouts.copies.insert(id, copy);
        }
        Ok(copy)
    }

    /// A tensor in a layout: itself, or a new copy.
    pub(super) fn in_layout(&mut self, id: DeviceId, layout: Layout) -> Result<DeviceId> {
        let from = self.desc(id).clone();
        let to = from.with_layout(layout);
        if to == from {
            return Ok(id);
        }
        let operand =
            |desc: &TensorDesc| Operand { dtype: desc.dtype(), offset: 0, strides: desc.layout().strides(desc.shape()) };
        let (read, write) = (operand(&from), operand(&to));
        let output = self.add(to, Source::Steps);
        self.copy("layout", id, read, output, write, from.shape())?;
        Ok(output)
    }

    /// An input of a layer on the device, in whatever layout it has there.
    pub(super) fn layer_input(&mut self, node: &Node, index: usize) -> Result<DeviceId> {
        let placed = node.input(index).and_then(|id| self.placed.get(&id));
        match placed {
            Some(&device) => Ok(device),
            None => self.input(node, index),
        }
    }
}
