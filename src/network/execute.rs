//! [`Executable`]: a program with its buffers, pipelines and bind groups. After it is made, a run only records and submits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::memory::Layout;
use super::program::{Content, DeviceId, LayerWeights, Outcome, Program, Source, Work};
use super::{check_count, no_room, wrong_input};
use crate::algorithm::{Algorithm, Plan};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gpu::{self, Bound, CommandEncoder, Dispatch, Gpu, PooledBuffer};
use crate::graph::ops::evaluate;
use crate::graph::{Graph, ValueId};
use crate::kernel::{Kernel, Slot};
use crate::operation::Operation;
use crate::tensor::{Tensor, to_bytes};
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::{ElementType, Value};

/// An input of a run.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Tensor(&'a Tensor),
    Value(&'a Value),
}

/// A result of a run.
pub(super) enum Outgoing {
    Tensor(Tensor),
    Value(Arc<Value>),
}

pub(super) struct Executable {
    engine: Engine,
    pub(super) program: Program,
    layout: Layout,
    /// The device values that have steps or constants, as tensors that share buffers.
    tensors: Vec<Option<Tensor>>,
    /// For each step its dispatches; none for the host's.
    pub(super) dispatches: Vec<Vec<Dispatch>>,
    constant_bytes: u64,
    /// What dispatches are bound to besides tensors.
    _buffers: Vec<PooledBuffer>,
}

/// Makes buffers and remembers them.
struct Builder<'a> {
    gpu: &'a Arc<Gpu>,
    buffers: Vec<PooledBuffer>,
    constant_bytes: u64,
}

impl Builder<'_> {
    fn upload(&mut self, bytes: &[u8], usage: gpu::Usage) -> Result<Bound> {
        let padded;
        let bytes = if bytes.len().is_multiple_of(4) && !bytes.is_empty() {
            bytes
        } else {
            padded = [bytes, &vec![0; bytes.len().max(1).next_multiple_of(4) - bytes.len()]].concat();
            &padded
        };
        let buffer = self.gpu.buffers.take(self.gpu, bytes.len() as u64, usage)?;
        gpu::write(self.gpu, buffer.raw(), bytes)?;
        let bound = Bound { buffer: buffer.raw().clone(), bytes: bytes.len() as u64 };
        self.constant_bytes += bound.bytes;
        self.buffers.push(buffer);
        Ok(bound)
    }
}

impl Executable {
    /// Makes everything that a run needs. With `share` off each value keeps its own buffer, so that all can be read afterwards.
    pub fn new(engine: &Engine, graph: &Graph, program: Program, share: bool, memory_limit: Option<u64>) -> Result<Self> {
        let gpu = engine.gpu();
        let layout = Layout::new(&program, share);
        let weights = weight_bytes(&program);
        if let Some(limit) = memory_limit.filter(|&limit| weights + layout.bytes() > limit) {
            return Err(no_room(weights + layout.bytes(), limit, weights, layout.bytes()));
        }
        compile(gpu, &program)?;
        let shared = layout
            .buffers
            .iter()
            .map(|&bytes| gpu.buffers.take(gpu, bytes, gpu::STORAGE).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        let mut builder = Builder { gpu, buffers: Vec::new(), constant_bytes: 0 };
        let mut tensors: Vec<Option<Tensor>> = vec![None; program.devices.len()];
        let used: std::collections::HashSet<DeviceId> = program
            .steps
            .iter()
            .flat_map(|step| step.work.reads())
            .chain(outcomes(&program))
            .map(|id| program.root(id))
            .collect();
        for number in 0..program.devices.len() {
            let device = &program.devices[number];
            let id = DeviceId(number);
            tensors[number] = if device.root != id {
                match (&tensors[device.root.0], layout.buffer_of[device.root.0]) {
                    (Some(root), _) => Some(root.with_desc(device.desc.clone())),
                    (None, _) => None,
                }
            } else if let Source::Constant(content) = &device.source {
                used.contains(&id).then(|| constant(gpu, content, &device.desc)).transpose()?
            } else {
                layout.buffer_of[number]
                    .map(|buffer| Tensor::over(gpu, shared[buffer].clone(), device.desc.clone()))
                    .transpose()?
            };
            if let (Some(tensor), Source::Constant(_)) = (&tensors[number], &device.source) {
                builder.constant_bytes += tensor.bound().bytes;
            }
        }
        let mut executable = Self {
            engine: engine.clone(),
            program,
            layout,
            tensors,
            dispatches: Vec::new(),
            constant_bytes: 0,
            _buffers: Vec::new(),
        };
        for number in 0..executable.program.steps.len() {
            let step = &executable.program.steps[number];
            let dispatches = executable.prepare(&step.work, &mut builder);
            let node = &graph.nodes[step.node];
            let dispatches = dispatches.map_err(|error| graph.at_node(node, error))?;
            executable.dispatches.push(dispatches);
        }
        (executable.constant_bytes, executable._buffers) = (builder.constant_bytes, builder.buffers);
        Ok(executable)
    }

    pub fn layout_bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// Buffers that intermediate values share.
    pub fn buffer_count(&self) -> usize {
        self.layout.buffers.len()
    }

    pub fn constant_bytes(&self) -> u64 {
        self.constant_bytes
    }

    /// Whether the host computes a part.
    pub fn uses_host(&self) -> bool {
        self.program.steps.iter().any(|step| step.work.is_host())
    }

    pub(super) fn gpu(&self) -> &Arc<Gpu> {
        self.engine.gpu()
    }

    fn tensor(&self, id: DeviceId) -> &Tensor {
        self.tensors[id.0].as_ref().expect("every value that a step touches has a buffer")
    }

    /// A device value's tensor, where it has one.
    pub fn find(&self, id: DeviceId) -> Option<&Tensor> {
        self.tensors[id.0].as_ref()
    }

    fn prepare(&self, work: &Work, builder: &mut Builder) -> Result<Vec<Dispatch>> {
        match work {
            Work::Layer { plan, weights, input, residual, output, indices, workspace } => {
                let mut fixed = vec![(Slot::Input, self.tensor(*input).bound()), (Slot::Output, self.tensor(*output).bound())];
                fixed.extend(residual.map(|id| (Slot::Residual, self.tensor(id).bound())));
                fixed.extend(indices.map(|id| (Slot::Indices, self.tensor(id).bound())));
                fixed.extend((0..).zip(workspace).map(|(number, &id)| (Slot::Workspace(number), self.tensor(id).bound())));
                self.weights(plan, weights, builder, &mut fixed)?;
                plan.steps
                    .iter()
                    .map(|step| {
                        let mut fixed = fixed.clone();
                        if let Some(uniform) = step.kernel.geometry.filter(|_| uses(&step.kernel, Slot::Geometry)) {
                            fixed.push((Slot::Geometry, builder.upload(bytemuck::bytes_of(&uniform), gpu::UNIFORM)?));
                        }
                        self.dispatch(&step.kernel, step.grid, &fixed)
                    })
                    .collect()
            }
            Work::Operation { operation, operands, output } => {
                let Operation { step, parameters, tables } = operation.as_ref();
                let mut fixed = vec![
                    (Slot::Output, self.tensor(*output).bound()),
                    (Slot::Parameters, builder.upload(bytemuck::cast_slice(parameters), gpu::UNIFORM)?),
                ];
                fixed.extend((0..).zip(operands).map(|(number, &id)| (Slot::Operand(number), self.tensor(id).bound())));
                for (number, table) in tables.iter().enumerate() {
                    fixed.push((Slot::Table(number), builder.upload(table, gpu::STORAGE)?));
                }
                Ok(vec![self.dispatch(&step.kernel, step.grid, &fixed)?])
            }
            Work::Upload { .. } | Work::Download { .. } | Work::Host => Ok(Vec::new()),
        }
    }

    fn weights(&self, plan: &Plan, weights: &LayerWeights, builder: &mut Builder, fixed: &mut Vec<(Slot, Bound)>) -> Result<()> {
        match weights {
            LayerWeights::None => {}
            LayerWeights::Constant { kernel, rows, bias, slope } => {
                let whole = kernel.as_f32();
                let channels = whole.len() / kernel.shape()[0].max(1);
                // A transposed convolution has its inputs first and is never split.
                let part = if rows.len() == plan.geometry.out_channels as usize && !plan.geometry.transposed {
                    &whole[rows.start * channels..rows.end * channels]
                } else {
                    &whole
                };
                let packed = Algorithm::pack_weights(plan, part);
                fixed.push((Slot::Weights, builder.upload(&to_bytes(&packed, plan.packed_dtype()), gpu::STORAGE)?));
                for (slot, list) in [(Slot::Bias, bias), (Slot::Slope, slope)] {
                    if let Some(list) = list {
                        let list = list.as_f32();
                        fixed.push((slot, builder.upload(bytemuck::cast_slice(&list[rows.clone()]), gpu::STORAGE)?));
                    }
                }
            }
            LayerWeights::Computed { packed, bias, slope } => {
                fixed.push((Slot::Weights, self.tensor(*packed).bound()));
                fixed.extend(bias.map(|id| (Slot::Bias, self.tensor(id).bound())));
                fixed.extend(slope.map(|id| (Slot::Slope, self.tensor(id).bound())));
            }
        }
        Ok(())
    }

    fn dispatch(&self, kernel: &Kernel, grid: [u32; 3], fixed: &[(Slot, Bound)]) -> Result<Dispatch> {
        let gpu = self.gpu();
        let pipeline = gpu.pipelines.get(gpu, kernel)?;
        let find = |slot: Slot| fixed.iter().find(|(other, _)| *other == slot).map(|(_, bound)| bound);
        let bound: Option<Vec<&Bound>> = kernel.bindings.iter().map(|binding| find(binding.slot)).collect();
        let bound =
            bound.ok_or_else(|| Error::invalid("kernel", format!("{} has a binding that nothing fills", kernel.label)))?;
        let bind_group = gpu::bind(gpu, &pipeline, &bound)?;
        Ok(Dispatch { pipeline, bind_group, grid })
    }

    /// Runs everything; results are new tensors, or values that the host has.
    pub fn run(&self, graph: &Graph, inputs: &[Operand]) -> Result<Vec<Outgoing>> {
        let (sources, mut values) = self.take_inputs(graph, inputs)?;
        let gpu = self.gpu();
        let mut encoder = self.begin();
        self.copy_inputs(&sources, &mut encoder)?;
        let mut number = 0;
        while number < self.program.steps.len() {
            let run = self.program.steps[number..].iter().take_while(|step| !step.work.is_host()).count();
            if run > 0 {
                record(&mut encoder, &self.dispatches[number..number + run]);
                number += run;
                continue;
            }
            let step = &self.program.steps[number];
            let node = &graph.nodes[step.node];
            self.flush(&mut encoder)?;
            self.host_step(graph, &step.work, step.node, &mut values).map_err(|error| graph.at_node(node, error))?;
            number += 1;
        }
        let mut results = Vec::new();
        for outcome in &self.program.outcomes {
            results.push(match outcome {
                Outcome::Device(id) => {
                    let from = self.tensor(*id);
                    let tensor = Tensor::uninitialised(gpu, from.desc().clone(), 0)?;
                    copy(&mut encoder, from, &tensor)?;
                    Outgoing::Tensor(tensor)
                }
                Outcome::Host(id) => Outgoing::Value(find(graph, &values, *id)?),
            });
        }
        self.flush(&mut encoder)?;
        Ok(results)
    }

    /// Runs everything with a pass for each step; when each step began and ended, in nanoseconds. Steps of the host have their time on
    /// the wall, behind the device's step before them.
    pub fn run_timed(&self, graph: &Graph, inputs: &[Operand], timestamps: &mut bool) -> Result<Vec<[f64; 2]>> {
        let (sources, mut values) = self.take_inputs(graph, inputs)?;
        let gpu = self.gpu();
        let mut encoder = self.begin();
        self.copy_inputs(&sources, &mut encoder)?;
        self.flush(&mut encoder)?;
        let mut times: Vec<[f64; 2]> = Vec::new();
        let mut number = 0;
        while number < self.program.steps.len() {
            let run = self.program.steps[number..].iter().take_while(|step| !step.work.is_host()).count();
            let lists: Vec<&[Dispatch]> = self.dispatches[number..number + run].iter().map(Vec::as_slice).collect();
            if run == 0 {
                let step = &self.program.steps[number];
                let start = Instant::now();
                self.host_step(graph, &step.work, step.node, &mut values)?;
                let begin = times.last().map_or(0.0, |[_, end]| *end);
                times.push([begin, begin + start.elapsed().as_nanos() as f64]);
                number += 1;
            } else if let Some(list) = gpu::timed_passes(gpu, &lists)? {
                times.extend(list);
                number += run;
            } else {
                *timestamps = false;
                for list in lists {
                    let start = Instant::now();
                    gpu::run(gpu, list)?;
                    gpu.wait(None)?;
                    let begin = times.last().map_or(0.0, |[_, end]| *end);
                    times.push([begin, begin + start.elapsed().as_nanos() as f64]);
                }
                number += run;
            }
        }
        Ok(times)
    }

    /// The inputs as tensors and, where host steps read them, as values.
    fn take_inputs<'a>(&self, graph: &Graph, inputs: &[Operand<'a>]) -> Result<(Vec<Option<Tensor>>, Values)> {
        check_count(graph, inputs.len())?;
        let mut values = Values::new();
        let mut sources = vec![None; inputs.len()];
        for (number, (&id, input)) in graph.inputs.iter().zip(inputs).enumerate() {
            let fact = graph.fact(id);
            let wanted =
                self.program.devices.iter().find(|device| device.source == Source::Input(number)).map(|device| &device.desc);
            match input {
                Operand::Value(value) => {
                    if fact.element != value.element() || fact.shape != value.shape() {
                        return Err(wrong_input(graph, id, &value.to_string()));
                    }
                    if let Some(desc) = wanted {
                        sources[number] = Some(value_to_tensor(self.gpu(), value, desc, None)?);
                    }
                    if self.program.host_inputs.contains(&id) {
                        values.insert(id, Arc::new(Value::clone(value)));
                    }
                }
                Operand::Tensor(tensor) => {
                    let dtype = super::program::storage(fact.element, self.engine.limits().f16).ok_or_else(|| {
                        Error::unsupported("inputs", format!("of {} can only be given as values", fact.element))
                    })?;
                    tensor.check("inputs", self.gpu(), &TensorDesc::new(&fact.shape, dtype))?;
                    sources[number] = wanted.map(|_| Tensor::clone(tensor));
                    if self.program.host_inputs.contains(&id) {
                        values.insert(id, Arc::new(tensor_to_value(tensor, fact.element)?));
                    }
                }
            }
        }
        Ok((sources, values))
    }

    fn copy_inputs(&self, sources: &[Option<Tensor>], encoder: &mut CommandEncoder) -> Result<()> {
        for (number, device) in self.program.devices.iter().enumerate() {
            if let Source::Input(input) = device.source
                && let (Some(source), Some(target)) = (&sources[input], self.find(DeviceId(number)))
            {
                copy(encoder, source, target)?;
            }
        }
        Ok(())
    }

    /// Records into a caller's encoder.
    pub fn encode(&self, graph: &Graph, encoder: &mut CommandEncoder, inputs: &[&Tensor], outputs: &[&Tensor]) -> Result<()> {
        if self.uses_host() || self.program.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Host(_))) {
            let names = super::explain::host_nodes(&self.program, graph).join(", ");
            return Err(Error::unsupported("encode", format!("cannot record what the host computes: {names}")));
        }
        let operands: Vec<_> = inputs.iter().map(|&tensor| Operand::Tensor(tensor)).collect();
        let (sources, _) = self.take_inputs(graph, &operands)?;
        if outputs.len() != self.program.outcomes.len() {
            let count = self.program.outcomes.len();
            return Err(Error::invalid("outputs", format!("are {}, but the network has {count}", outputs.len())));
        }
        self.gpu().scoped(|| {
            self.copy_inputs(&sources, encoder)?;
            record(encoder, &self.dispatches);
            for (outcome, &output) in self.program.outcomes.iter().zip(outputs) {
                if let Outcome::Device(id) = outcome {
                    let from = self.tensor(*id);
                    output.check("outputs", self.gpu(), from.desc())?;
                    copy(encoder, from, output)?;
                }
            }
            Ok(())
        })
    }

    fn host_step(&self, graph: &Graph, work: &Work, node: usize, values: &mut Values) -> Result<()> {
        match work {
            Work::Upload { value, to, indices_below } => {
                let host = find(graph, values, *value)?;
                let target = self.tensor(*to);
                let from = value_to_tensor(self.gpu(), &host, target.desc(), *indices_below)?;
                let mut encoder = self.begin();
                copy(&mut encoder, &from, target)?;
                self.flush(&mut encoder)
            }
            Work::Download { from, value } => {
                let host = tensor_to_value(self.tensor(*from), graph.fact(*value).element)?;
                values.insert(*value, Arc::new(host));
                Ok(())
            }
            Work::Host => {
                let node = &graph.nodes[node];
                let list =
                    node.inputs.iter().map(|id| id.map(|id| find(graph, values, id)).transpose()).collect::<Result<Vec<_>>>()?;
                let results = evaluate(&node.op, &list, node.outputs.len())?;
                values.extend(node.outputs.iter().copied().zip(results.into_iter().map(Arc::new)));
                Ok(())
            }
            Work::Layer { .. } | Work::Operation { .. } => unreachable!("the device does those"),
        }
    }

    fn begin(&self) -> CommandEncoder {
        gpu::encoder(self.gpu())
    }

    /// Submits what was recorded and begins anew.
    fn flush(&self, encoder: &mut CommandEncoder) -> Result<()> {
        gpu::submit(self.gpu(), std::mem::replace(encoder, self.begin()))
    }

    /// A result as a tensor.
    pub fn outgoing_tensor(&self, result: Outgoing) -> Result<Tensor> {
        match result {
            Outgoing::Tensor(tensor) => Ok(tensor),
            Outgoing::Value(value) => {
                let dtype = super::program::storage(value.element(), self.engine.limits().f16).ok_or_else(|| {
                    Error::unsupported("outputs", format!("of {} can only be had by run_values", value.element()))
                })?;
                value_to_tensor(self.gpu(), &value, &TensorDesc::new(value.shape(), dtype), None)
            }
        }
    }

    /// A result as a value of the host.
    pub fn to_value(&self, result: Outgoing, element: ElementType) -> Result<Value> {
        match result {
            Outgoing::Tensor(tensor) => tensor_to_value(&tensor, element),
            Outgoing::Value(value) => Ok(Arc::unwrap_or_clone(value)),
        }
    }
}

type Values = HashMap<ValueId, Arc<Value>>;

fn find(graph: &Graph, values: &Values, id: ValueId) -> Result<Arc<Value>> {
    let found = graph.info(id).constant.clone().or_else(|| values.get(&id).cloned());
    found.ok_or_else(|| Error::invalid("graph", format!("value `{}` was not computed", graph.info(id).name)))
}

fn uses(kernel: &Kernel, slot: Slot) -> bool {
    kernel.bindings.iter().any(|binding| binding.slot == slot)
}

fn outcomes(program: &Program) -> impl Iterator<Item = DeviceId> + '_ {
    program.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Device(id) => Some(*id),
        Outcome::Host(_) => None,
    })
}

/// One pass for a run of steps: its dispatches see each other's writes.
fn record(encoder: &mut CommandEncoder, dispatches: &[Vec<Dispatch>]) {
    let mut pass = gpu::pass(encoder);
    for list in dispatches {
        gpu::dispatch(&mut pass, list);
    }
}

/// Records a copy of all elements.
fn copy(encoder: &mut CommandEncoder, from: &Tensor, to: &Tensor) -> Result<()> {
    let bytes = from.desc().bytes()?.next_multiple_of(4);
    if bytes > 0 {
        encoder.copy_buffer_to_buffer(&from.bound().buffer, 0, &to.bound().buffer, 0, bytes);
    }
    Ok(())
}

/// Bytes of the constants of a program, as they will lie on the device.
fn weight_bytes(program: &Program) -> u64 {
    let layers = program.steps.iter().map(|step| match &step.work {
        Work::Layer { plan, weights: LayerWeights::Constant { .. }, .. } => {
            plan.packed_elements() * plan.packed_dtype().bytes() as u64
        }
        _ => 0,
    });
    let constants = program.devices.iter().enumerate().filter(|(_, device)| matches!(device.source, Source::Constant(_)));
    layers.sum::<u64>() + constants.map(|(number, _)| program.bytes(DeviceId(number))).sum::<u64>()
}

/// Makes all pipelines, on all cores: drivers compile while they are made.
fn compile(gpu: &Arc<Gpu>, program: &Program) -> Result<()> {
    let mut kernels: HashMap<String, &Kernel> = HashMap::new();
    for step in &program.steps {
        match &step.work {
            Work::Layer { plan, .. } => kernels.extend(plan.steps.iter().map(|step| (step.kernel.wgsl(), &step.kernel))),
            Work::Operation { operation, .. } => {
                kernels.insert(operation.step.kernel.wgsl(), &operation.step.kernel);
            }
            _ => {}
        }
    }
    kernels.into_values().collect::<Vec<_>>().par_iter().try_for_each(|kernel| gpu.pipelines.get(gpu, kernel).map(|_| ()))
}

fn constant(gpu: &Arc<Gpu>, content: &Content, desc: &TensorDesc) -> Result<Tensor> {
    match content {
        Content::Value(value) => value_to_tensor(gpu, value, desc, None),
        Content::Bytes(bytes) => {
            let tensor = Tensor::uninitialised(gpu, desc.clone(), 0)?;
            if !bytes.is_empty() {
                tensor.write(bytes)?;
            }
            Ok(tensor)
        }
    }
}

/// A value of the host as a new tensor. Integers that 32 bits do not hold, and indices out of their axis, are errors.
fn value_to_tensor(gpu: &Arc<Gpu>, value: &Value, desc: &TensorDesc, indices_below: Option<usize>) -> Result<Tensor> {
    let tensor = Tensor::uninitialised(gpu, desc.clone(), 0)?;
    if value.is_empty() {
        return Ok(tensor);
    }
    if desc.dtype() != DType::I32 {
        tensor.write(&to_bytes(&value.as_f32(), desc.dtype()))?;
        return Ok(tensor);
    }
    let fit = |number: i64| {
        let inside = indices_below.is_none_or(|size| (-(size as i64)..size as i64).contains(&number));
        if !inside {
            let size = indices_below.unwrap_or_default();
            return Err(Error::invalid("indices", format!("{number} is outside an axis of {size} elements")));
        }
        i32::try_from(number)
            .map_err(|_| Error::unsupported("input", format!("has the number {number}, but a device holds 32 bits")))
    };
    let words = value.to_i64().into_iter().map(fit).collect::<Result<Vec<i32>>>()?;
    tensor.write(bytemuck::cast_slice(&words))?;
    Ok(tensor)
}

/// A tensor's elements as a value of the type that the graph says.
pub(super) fn tensor_to_value(tensor: &Tensor, element: ElementType) -> Result<Value> {
    let shape = tensor.desc().shape();
    if tensor.desc().elements()? == 0 {
        return Ok(Value::zeros(element, shape));
    }
    if tensor.desc().dtype() == DType::I32 {
        let list = tensor.to_vec::<i32>()?;
        return Ok(Value::from_ints(element, shape, list.into_iter().map(i128::from).collect()));
    }
    let list = tensor.to_vec::<f32>()?;
    Ok(match element {
        ElementType::F32 => Value::new(shape, list)?,
        _ if element.is_float() => Value::from_floats(element, shape, list.into_iter().map(f64::from).collect()),
        _ => Value::from_ints(element, shape, list.into_iter().map(|value| value as i128).collect()),
    })
}
