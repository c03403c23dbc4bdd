//! From a program to what runs it: buffers, weights, pipelines, bind groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::convert::constant;
use super::execute::Executable;
use super::image::{Store, Unbound};
use super::memory::Layout;
use super::no_room;
use super::program::{DeviceId, LayerWeights, Outcome, Program, Source, Work};
use super::results::{self, Results, Touching};
use crate::algorithm::{Plan, Step, View};
use crate::error::{Error, Result};
use crate::gpu::{self, Bound, Bounds, Dispatch, Gpu, PooledBuffer, Storage};
use crate::graph::Graph;
use crate::kernel::{Kernel, Slot};
use crate::operation::Operation;
use crate::parallel;
use crate::tensor::{Tensor, to_bytes};

/// What a slot of a step is bound to; `None` where nothing fills it.
pub(super) type Find<'a> = dyn Fn(Slot) -> Result<Option<Bound>> + 'a;

/// Makes buffers and remembers them.
struct Builder<'a> {
    gpu: &'a Arc<Gpu>,
    buffers: Vec<PooledBuffer>,
    constant_bytes: u64,
}

impl Builder<'_> {
    fn upload(&mut self, bytes: &[u8], usage: gpu::Usage) -> Result<Bounds> {
        let padded;
        let bytes = if bytes.len().is_multiple_of(4) && !bytes.is_empty() {
            bytes
        } else {
            padded = [bytes, &vec![0; bytes.len().max(1).next_multiple_of(4) - bytes.len()]].concat();
            &padded
        };
        let buffer = self.gpu.buffers.take(self.gpu, bytes.len() as u64, usage)?;
        let bound = Bounds::from(Bound::first(buffer.raw(), bytes.len() as u64));
        gpu::write(self.gpu, &bound, bytes)?;
        self.constant_bytes += bound.bytes();
        self.buffers.push(buffer);
        Ok(bound)
    }
}

/// What a step is on the device.
#[derive(Default)]
struct Made {
    dispatches: Vec<Dispatch>,
    /// What each of them is bound to.
    bound: Vec<Vec<Bound>>,
    /// Those that read textures.
    unbound: Vec<Unbound>,
    /// Those that write the texture of an output, with its number, in place of all.
    fused: Vec<(usize, Unbound)>,
}

impl Executable {
    /// Makes everything that a run needs. With `share` off each value keeps its own buffer, results too, so that all can be read
    /// afterwards.
    pub fn new(gpu: &Arc<Gpu>, graph: &Graph, program: Arc<Program>, share: bool, memory_limit: Option<u64>) -> Result<Self> {
        let layout = Layout::new(&program, share);
        let weights = weight_bytes(&program);
        if let Some(limit) = memory_limit.filter(|&limit| weights + layout.bytes() > limit) {
            return Err(no_room(weights + layout.bytes(), limit, weights, layout.bytes()));
        }
        compile(gpu, &program)?;
        let shared = layout
            .buffers
            .iter()
            .map(|&bytes| Storage::take(gpu, bytes, gpu::STORAGE).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        let mut builder = Builder { gpu, buffers: Vec::new(), constant_bytes: 0 };
        let mut tensors: Vec<Option<Tensor>> = vec![None; program.devices.len()];
        let used: HashSet<DeviceId> = program
            .steps
            .iter()
            .flat_map(|step| step.work.reads())
            .chain(outcomes(&program))
            .map(|id| program.root(id))
            .collect();
        for (number, device) in program.devices.iter().enumerate().filter(|(number, device)| device.root.0 == *number) {
            tensors[number] = if let Source::Constant(content) = &device.source {
                used.contains(&device.root).then(|| constant(gpu, content, &device.desc)).transpose()?
            } else {
                let over = |buffer: usize| Tensor::over(gpu, shared[buffer].clone(), 0, device.desc.clone());
                layout.buffer_of[number].map(over).transpose()?
            };
            if let (Some(tensor), Source::Constant(_)) = (&tensors[number], &device.source) {
                builder.constant_bytes += tensor.bounds().bytes();
            }
        }
        for (number, device) in program.devices.iter().enumerate().filter(|(number, device)| device.root.0 != *number) {
            let root = tensors[device.root.0].as_ref();
            tensors[number] = root.map(|root| root.inside(device.begin, device.desc.clone())).transpose()?;
        }
        let mut executable = Self {
            gpu: gpu.clone(),
            program,
            layout,
            tensors,
            dispatches: Arc::default(),
            results: Results::default(),
            constant_bytes: 0,
            buffers: Vec::new(),
            unbound: Vec::new(),
            stores: Vec::new(),
        };
        let direct = if share { results::direct(&executable.program) } else { vec![None; executable.program.outcomes.len()] };
        let (mut fused, mut dispatches, mut touching) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..executable.program.steps.len() {
            let step = &executable.program.steps[number];
            let mut made = Made::default();
            let prepared = executable.prepare(number, &mut builder, &mut made);
            let node = &graph.nodes[step.node];
            prepared.map_err(|error| graph.at_node(node, error))?;
            if direct.iter().flatten().any(|&id| results::touches(&executable.program, &step.work, id)) {
                let touched = (0..).zip(made.bound).map(|(place, bound)| Touching { step: number, place, bound });
                touching.extend(touched);
            }
            dispatches.push(made.dispatches);
            executable.unbound.extend(made.unbound);
            fused.extend(made.fused);
        }
        for output in &executable.program.image_outputs {
            let parameters = builder.upload(bytemuck::cast_slice(&output.operation.parameters), gpu::UNIFORM)?;
            let after = executable.store(output, &parameters)?;
            let fused = fused.iter().position(|(number, _)| *number == output.output).map(|at| fused.swap_remove(at).1);
            executable.stores.push(Store { output: output.output, after, fused });
        }
        let textured: Vec<usize> = executable.unbound.iter().map(|unbound| unbound.step).collect();
        executable.dispatches = dispatches.into();
        executable.results = Results::new(direct, touching, &executable.program, &textured);
        (executable.constant_bytes, executable.buffers) = (builder.constant_bytes, builder.buffers);
        Ok(executable)
    }

    /// The dispatches of a step.
    fn prepare(&self, number: usize, builder: &mut Builder, made: &mut Made) -> Result<()> {
        let Made { dispatches, bound, unbound, fused } = made;
        // `length` gives the nanoseconds for the bytes that are bound.
        let mut dispatch = |step: &Step, length: &dyn Fn(u64) -> u64, find: &Find| {
            match self.program.image_of(number, &step.kernel) {
                Some(input) => {
                    let place = dispatches.len() + unbound.len();
                    unbound.push(Unbound::new(self, step, length, find, [number, place], Some(input))?);
                }
                None => {
                    let (dispatch, buffers) = self.dispatch(step, length, find)?;
                    dispatches.push(dispatch);
                    bound.push(buffers);
                }
            }
            Ok(())
        };
        match &self.program.steps[number].work {
            Work::Layer { plan, weights, input, residual, output, indices, workspace } => {
                let mut fixed = vec![(Slot::Output, self.tensor(*output).bounds())];
                fixed.extend(self.find(*input).map(|input| (Slot::Input, input.bounds())));
                fixed.extend(residual.map(|id| (Slot::Residual, self.tensor(id).bounds())));
                fixed.extend(indices.map(|id| (Slot::Indices, self.tensor(id).bounds())));
                fixed.extend((0..).zip(workspace).map(|(number, &id)| (Slot::Workspace(number), self.tensor(id).bounds())));
                self.weights(plan, weights, builder, &mut fixed)?;
                for part in 0..plan.steps.len() {
                    let uniform =
                        plan.uniform(part).map(|(slot, bytes)| Ok((slot, builder.upload(bytes, gpu::UNIFORM)?))).transpose()?;
                    let find = |slot: Slot| {
                        let set = if slot.is_weights() { plan.weights_of(part) } else { 0 };
                        let mut all = fixed.iter().chain(&uniform).filter(|(other, _)| *other == slot);
                        let whole = all.nth(set).map(|(_, bounds)| bounds);
                        whole.map(|bounds| bounds.range(plan.view(part, slot).as_ref().map(View::range))).transpose()
                    };
                    dispatch(&plan.steps[part], &|_| plan.step_ns(), &find)?;
                    for (output, plan) in self.program.fused_into(number) {
                        let input = self.program.image_of(number, &plan.steps[part].kernel);
                        let to = Unbound::new(self, &plan.steps[part], &|_| plan.step_ns(), &find, [number, 0], input)?;
                        fused.push((output, to));
                    }
                }
            }
            Work::Operation { operation, operands, output } => {
                let Operation { step, parameters, tables, views, .. } = operation.as_ref();
                let mut fixed = vec![(Slot::Output, self.tensor(*output).bounds())];
                if !parameters.is_empty() {
                    fixed.push((Slot::Parameters, builder.upload(bytemuck::cast_slice(parameters), gpu::UNIFORM)?));
                }
                if let Some(uniform) = step.kernel.geometry.filter(|_| uses(&step.kernel, Slot::Geometry)) {
                    fixed.push((Slot::Geometry, builder.upload(bytemuck::bytes_of(&uniform), gpu::UNIFORM)?));
                }
                fixed.extend((0..).zip(operands).map(|(number, &id)| (Slot::Operand(number), self.tensor(id).bounds())));
                for (number, table) in tables.iter().enumerate() {
                    fixed.push((Slot::Table(number), builder.upload(table, gpu::STORAGE)?));
                }
                let find = |slot: Slot| {
                    let whole = fixed.iter().find(|(other, _)| *other == slot).map(|(_, bounds)| bounds);
                    let view = views.iter().find(|view| view.slot == slot).map(View::range);
                    whole.map(|bounds| bounds.range(view)).transpose()
                };
                dispatch(step, &|bytes| operation.nanoseconds(bytes, &self.gpu.limits), &find)?;
            }
            Work::Upload { .. } | Work::Download { .. } | Work::Host => {}
        }
        Ok(())
    }

    fn weights(&self, plan: &Plan, weights: &LayerWeights, builder: &mut Builder, fixed: &mut Vec<(Slot, Bounds)>) -> Result<()> {
        match weights {
            LayerWeights::None => {}
            LayerWeights::Constant { kernel, bias, slope } => {
                let whole = kernel.as_f32();
                for part in plan.weight_parts() {
                    let packed = plan.pack(&part, &whole);
                    fixed.push((Slot::Weights, builder.upload(&to_bytes(&packed, plan.packed_dtype()), gpu::STORAGE)?));
                    let outputs = part.outputs(plan.geometry.group_out() as usize);
                    for (slot, list) in [(Slot::Bias, bias), (Slot::Slope, slope)] {
                        if let Some(list) = list {
                            let list = list.as_f32();
                            fixed.push((slot, builder.upload(bytemuck::cast_slice(&list[outputs.clone()]), gpu::STORAGE)?));
                        }
                    }
                }
            }
            LayerWeights::Computed { packed, bias, slope } => {
                for (slot, list) in [(Slot::Weights, packed), (Slot::Bias, bias), (Slot::Slope, slope)] {
                    fixed.extend(list.iter().map(|&id| (slot, self.tensor(id).bounds())));
                }
            }
        }
        Ok(())
    }

    /// A dispatch, and what it is bound to.
    fn dispatch(&self, step: &Step, length: &dyn Fn(u64) -> u64, find: &Find) -> Result<(Dispatch, Vec<Bound>)> {
        let (gpu, Step { kernel, grid }) = (&self.gpu, step);
        let pipeline = gpu.pipelines.get(gpu, kernel)?;
        let unfilled = || Error::invalid("kernel", format!("{} has a binding that nothing fills", kernel.label));
        let find = |slot: Slot| find(slot)?.ok_or_else(unfilled);
        let bound = kernel.bindings.iter().map(|binding| find(binding.slot)).collect::<Result<Vec<Bound>>>()?;
        let bind_group = gpu::bind(gpu, &pipeline, &bound.iter().collect::<Vec<_>>())?;
        let ns = length(bound.iter().map(|bound| bound.bytes).sum());
        Ok((Dispatch { pipeline, bind_group, grid: *grid, ns }, bound))
    }
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
    for image in &program.image_outputs {
        let plan = image.fused.iter().flat_map(|fused| &fused.plan.steps);
        kernels.extend(plan.chain([&image.operation.step]).map(|step| (step.kernel.wgsl(), &step.kernel)));
    }
    let kernels: Vec<&Kernel> = kernels.into_values().collect();
    parallel::collect(kernels.len(), |number| gpu.pipelines.get(gpu, kernels[number]).map(drop)).into_iter().collect()
}
