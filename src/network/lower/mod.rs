//! From the nodes of a bound graph to steps on a device. What no kernel here computes becomes a step of the host, by the graph's own
//! reference; such steps are listed by `explain`.

mod blocks;
mod byte_parts;
mod bytes;
mod deformed;
mod indexed;
mod layers;
pub(super) mod layout;
mod movement;
mod norm;
mod pointwise;
mod quant;
mod rows;
mod sample;
mod slices;
mod whole;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::in_place;
use super::program::{Content, Device, DeviceId, Outcome, Program, Source, Step, Work};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::ops::{Fact, broadcast, broadcast_strides};
use crate::graph::{Graph, Node, Op, ValueId};
use crate::layout::Layout;
use crate::operation::{Arithmetic, Map, Operand, Operation, dense};
use crate::problems::Problems;
use crate::tensor::{storage, storage_of_input};
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::ElementType;

/// The steps of a bound graph on an engine, whose layers keep a layout among themselves.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with every node that is a layer and cannot run on the device.
pub(super) fn lower(engine: &Engine, graph: &Graph, layout: Layout) -> Result<Program> {
    let needed = needed(graph);
    let mut lowering = Lowering {
        engine,
        graph,
        program: Program::default(),
        placed: HashMap::new(),
        on_host: HashSet::new(),
        layouts: layout::Layouts::new(graph, layout, &needed),
        needed,
        node: 0,
    };
    let mut problems = Problems::default();
    for (number, node) in graph.nodes.iter().enumerate() {
        lowering.node = number;
        if let Err(error) = lowering.lower(node) {
            problems.add_whole(&graph.at_node(node, error));
            // So that the nodes behind it can be judged.
            lowering.on_host.extend(&node.outputs);
        }
    }
    problems.finish()?;
    lowering.finish()
}

/// The values that a later node or the caller uses.
fn needed(graph: &Graph) -> Vec<bool> {
    graph.use_counts().into_iter().map(|count| count > 0).collect()
}

struct Lowering<'a> {
    engine: &'a Engine,
    graph: &'a Graph,
    program: Program,
    placed: HashMap<ValueId, DeviceId>,
    layouts: layout::Layouts,
    /// Values that host steps have, or will have when they run.
    on_host: HashSet<ValueId>,
    needed: Vec<bool>,
    node: usize,
}

/// Whether a value's elements are those that kernels around layers work on.
fn is_floats(fact: &Fact) -> bool {
    matches!(fact.element, ElementType::F32 | ElementType::F16)
}

/// Whether the device did it, or the host has to.
type Done = bool;

impl Lowering<'_> {
    fn lower(&mut self, node: &Node) -> Result<()> {
        let facts = self.graph.input_facts(node);
        let results: Vec<Fact> = node.outputs.iter().map(|&id| self.graph.fact(id)).collect();
        // An empty constant is an optional parameter that is left out, but to a product a factor.
        let product = matches!(node.op, Op::Gemm { .. } | Op::MatMul | Op::Linear(_) | Op::QLinearMatMul | Op::MatMulInteger);
        let data = facts.iter().flatten().filter(|fact| product || fact.constant.is_none());
        let parts = if matches!(node.op, Op::Split { .. }) { results.len() } else { 1 };
        let empty = data.chain(results.iter().take(parts)).any(|fact| fact.len() == 0);
        // What was begun on the device and could not be finished there is undone.
        let before = (self.program.steps.len(), self.placed.clone(), self.on_host.clone(), self.program.host_inputs.len());
        let layouts = self.layouts.clone();
        let refusal = if empty {
            None
        } else {
            match self.on_device(node, &facts, &results).and_then(|done| self.check_bindings(before.0).map(|()| done)) {
                Ok(true) => return Ok(()),
                Ok(false) => None,
                Err(error) if error.kind() == ErrorKind::Unsupported => Some(error),
                Err(error) => return Err(error),
            }
        };
        self.program.steps.truncate(before.0);
        (self.placed, self.on_host, self.layouts) = (before.1, before.2, layouts);
        self.program.host_inputs.truncate(before.3);
        match refusal.filter(|_| layers::is_layer(&node.op)) {
            Some(error) => Err(error),
            None => self.on_host(node),
        }
    }

    fn on_device(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        match &node.op {
            Op::Conv(_) | Op::Pool(_) | Op::Linear(_) | Op::Gemm { .. } | Op::MatMul | Op::MaxUnpool { .. } => {
                self.layer(node, facts, results)
            }
            Op::Activation(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Variadic(_)
            | Op::Where
            | Op::Clip
            | Op::Cast(_)
            | Op::CastLike
            | Op::Fused(_) => self.pointwise(node, facts, results),
            Op::BatchNorm { .. }
            | Op::InstanceNorm { .. }
            | Op::LayerNorm { .. }
            | Op::RmsNorm { .. }
            | Op::GroupNorm { .. }
            | Op::MeanVarianceNorm { .. }
            | Op::LpNorm { .. }
            | Op::Lrn { .. }
            | Op::Softmax { .. }
            | Op::Reduce { .. }
            | Op::ArgReduce { .. } => self.norm(node, facts, results),
            Op::Identity
            | Op::Dropout
            | Op::Concat { .. }
            | Op::Split { .. }
            | Op::Slice
            | Op::Pad(_)
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Expand
            | Op::Tile
            | Op::Gather { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::CenterCropPad { .. }
            | Op::Resize(_) => self.movement(node, facts, results),
            Op::DeformConv { .. } | Op::CausalConvWithState { .. } => self.deformed(node, facts, results),
            Op::GridSample { .. } => self.grid_sample(node, facts, &results[0].shape),
            Op::QuantizeLinear { .. }
            | Op::DequantizeLinear { .. }
            | Op::QLinearConv(_)
            | Op::ConvInteger(_)
            | Op::QLinearMatMul
            | Op::MatMulInteger => self.quantised(node, facts, results),
            Op::Shape { .. }
            | Op::Size
            | Op::ConstantOfShape { .. }
            | Op::Range
            | Op::DynamicQuantizeLinear
            | Op::RoiAlign { .. }
            | Op::Col2Im { .. } => Ok(false),
        }
    }

    /// Makes a node a step of the host.
    fn on_host(&mut self, node: &Node) -> Result<()> {
        for id in node.inputs.iter().flatten() {
            self.bring_to_host(*id);
        }
        self.step(Work::Host);
        self.on_host.extend(&node.outputs);
        Ok(())
    }

    fn bring_to_host(&mut self, id: ValueId) {
        if self.graph.info(id).constant.is_some() || !self.on_host.insert(id) {
            return;
        }
        match self.placed.get(&id) {
            Some(&from) if !self.graph.inputs.contains(&id) => self.step(Work::Download { from, value: id }),
            _ => self.program.host_inputs.push(id),
        }
    }

    fn step(&mut self, work: Work) {
        self.program.steps.push(Step { node: self.node, work });
    }

    /// How the device stores elements of a type.
    fn storage(&self, element: ElementType) -> Option<DType> {
        storage(element, self.engine.limits().f16)
    }

    fn add(&mut self, desc: TensorDesc, source: Source) -> DeviceId {
        let id = DeviceId(self.program.devices.len());
        self.program.devices.push(Device { desc, root: id, begin: 0, source });
        id
    }

    /// A new tensor that a step will write.
    fn temp(&mut self, shape: &[usize], dtype: DType) -> DeviceId {
        self.add(TensorDesc::new(shape, dtype), Source::Steps)
    }

    /// Constant bytes as a tensor.
    fn table(&mut self, shape: &[usize], dtype: DType, bytes: Vec<u8>) -> DeviceId {
        self.add(TensorDesc::new(shape, dtype), Source::Constant(Content::Bytes(Arc::new(bytes))))
    }

    /// The same elements under another shape.
    fn view(&mut self, id: DeviceId, shape: &[usize]) -> DeviceId {
        let Device { desc, root, begin, .. } = self.program.device(id);
        let (desc, root, begin) = (TensorDesc::new(shape, desc.dtype()), *root, *begin);
        self.program.devices.push(Device { desc, root, begin, source: Source::Steps });
        DeviceId(self.program.devices.len() - 1)
    }

    fn desc(&self, id: DeviceId) -> &TensorDesc {
        &self.program.device(id).desc
    }

    fn shape(&self, id: DeviceId) -> Vec<usize> {
        self.desc(id).shape().to_vec()
    }

    fn dtype(&self, id: DeviceId) -> DType {
        self.desc(id).dtype()
    }

    /// A value of the graph on the device, with channels first; brought there where it is not yet.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a type that no device buffer holds.
    fn device(&mut self, id: ValueId) -> Result<DeviceId> {
        self.device_indices(id, None)
    }

    /// [`device`](Self::device) of indices into an axis of so many elements, which are checked where they come from the host. Of those that
    /// the device computed or a tensor brings, what is outside names no element.
    fn device_indices(&mut self, id: ValueId, indices_below: Option<usize>) -> Result<DeviceId> {
        let input = self.graph.inputs.iter().position(|&input| input == id);
        if let (Some(number), Some(size)) = (input, indices_below) {
            self.program.indices.push((number, size));
        }
        if let Some(&device) = self.placed.get(&id) {
            return self.channels_first(device);
        }
        let fact = self.graph.fact(id);
        let dtype = storage_of_input(fact.element, self.engine.limits().f16)?;
        let desc = TensorDesc::new(&fact.shape, dtype);
        let device = match (fact.constant, input) {
            (Some(value), _) => self.add(desc, Source::Constant(Content::Value(value))),
            (None, Some(number)) => self.add(desc, Source::Input(number)),
            (None, None) => {
                let device = self.add(desc, Source::Steps);
                self.step(Work::Upload { value: id, to: device, indices_below });
                device
            }
        };
        self.placed.insert(id, device);
        Ok(device)
    }

    /// An input of a node on the device.
    fn input(&mut self, node: &Node, index: usize) -> Result<DeviceId> {
        let id = node.input(index);
        self.device(id.ok_or_else(|| Error::invalid("input", format!("{index} is missing")))?)
    }

    /// An input that may be absent.
    fn optional_input(&mut self, node: &Node, index: usize) -> Result<Option<DeviceId>> {
        node.input(index).map(|id| self.device(id)).transpose()
    }

    /// Says where a node's result is.
    fn set(&mut self, node: &Node, output: usize, device: DeviceId) {
        self.placed.insert(node.outputs[output], device);
    }

    /// Whether somebody uses this result of a node.
    fn wanted(&self, node: &Node, output: usize) -> bool {
        node.outputs.get(output).is_some_and(|id| self.needed[id.0])
    }

    fn operation(&mut self, operation: Operation, operands: &[DeviceId], output: DeviceId) {
        self.step(Work::Operation { operation: Box::new(operation), operands: operands.to_vec(), output });
    }

    /// A function of broadcast operands as a new tensor.
    fn elementwise(&mut self, name: &str, function: &str, operands: &[DeviceId], dtype: DType) -> Result<DeviceId> {
        self.map(name, Arithmetic::Float, (function, &[]), operands, dtype)
    }

    /// A function of broadcast operands in 32-bit integers.
    fn integer(&mut self, name: &str, function: &str, operands: &[DeviceId]) -> Result<DeviceId> {
        self.map(name, Arithmetic::Integer, (function, &[]), operands, DType::I32)
    }

    /// A function of broadcast operands and of scalars as a new tensor.
    fn map(
        &mut self,
        name: &str,
        arithmetic: Arithmetic,
        (function, scalars): (&str, &[f32]),
        operands: &[DeviceId],
        dtype: DType,
    ) -> Result<DeviceId> {
        let shapes: Vec<Vec<usize>> = operands.iter().map(|&id| self.shape(id)).collect();
        let shape = broadcast(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let output = self.temp(&shape, dtype);
        let operand = |(&id, own): (&DeviceId, &Vec<usize>)| {
            let strides = broadcast_strides(own, &shape).iter().map(|&stride| stride as i64).collect();
            Operand { dtype: self.dtype(id), offset: 0, strides }
        };
        let map = Map {
            name,
            shape: &shape,
            operands: operands.iter().zip(&shapes).map(operand).collect(),
            output: Operand { dtype, offset: 0, strides: dense(&shape) },
            arithmetic,
            function,
            scalars,
        };
        self.mapped(&map, operands, output)?;
        Ok(output)
    }

    /// The steps of a map: one, or several where a binding does not hold its tensors.
    fn mapped(&mut self, map: &Map, operands: &[DeviceId], output: DeviceId) -> Result<()> {
        let bytes: Vec<u64> = std::iter::once(&output).chain(operands).map(|&id| self.program.bytes(id)).collect();
        for operation in map.operations(&bytes, self.engine.limits())? {
            self.operation(operation, operands, output);
        }
        Ok(())
    }

    /// Elements of one tensor at other places of a new one of this shape.
    fn rearrange(&mut self, name: &str, from: DeviceId, shape: &[usize], offset: i64, strides: &[i64]) -> Result<DeviceId> {
        let dtype = self.dtype(from);
        let output = self.temp(shape, dtype);
        let read = Operand { dtype, offset, strides: strides.to_vec() };
        self.copy(name, from, read, output, Operand { dtype, offset: 0, strides: dense(shape) }, shape)?;
        Ok(output)
    }

    /// Copies elements over a loop of this shape.
    fn copy(&mut self, name: &str, from: DeviceId, read: Operand, to: DeviceId, write: Operand, shape: &[usize]) -> Result<()> {
        let map =
            Map { name, shape, operands: vec![read], output: write, arithmetic: Arithmetic::Move, function: "a", scalars: &[] };
        self.mapped(&map, &[from], to)
    }

    /// The same numbers as another storage type.
    fn cast(&mut self, id: DeviceId, dtype: DType) -> Result<DeviceId> {
        if self.dtype(id) == dtype { Ok(id) } else { self.elementwise("cast", "a", &[id], dtype) }
    }

    fn finish(mut self) -> Result<Program> {
        for (_, id) in &self.graph.outputs {
            let constant = self.graph.info(*id).constant.is_some();
            let outcome = match self.placed.get(id) {
                Some(&device) if !constant => Outcome::Device(device),
                _ => {
                    if !constant && !self.on_host.contains(id) {
                        // An input that is a result as well.
                        self.bring_to_host(*id);
                    }
                    Outcome::Host(*id)
                }
            };
            self.program.outcomes.push(outcome);
        }
        let mut placed: Vec<_> = self.placed.into_iter().collect();
        placed.sort();
        self.program.placed = placed;
        in_place::put_in_place(&mut self.program);
        let plans = self.program.steps.iter_mut().filter_map(|step| match &mut step.work {
            Work::Layer { plan, .. } => Some(plan.as_mut()),
            _ => None,
        });
        self.engine.share_kernels(plans)?;
        Ok(self.program)
    }
}
