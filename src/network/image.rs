//! Textures as inputs and outputs of a network: the first layer reads the picture itself where its kernel can, and the last one writes
//! it; where not, one dispatch converts.
//!
//! The program is changed here, below any device; [`Executable`] binds the textures of each run, which are not known before.

use std::borrow::Cow;
use std::sync::Arc;

use super::build::Find;
use super::execute::{Executable, Operand};
use super::program::{DeviceId, FusedOutput, ImageInput, ImageOutput, LayerWeights, Outcome, Program, Source, Step, Work};
use crate::algorithm::{Algorithm, Plan, Step as PlanStep};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gpu::{self, Bound, Bounds, CommandEncoder, Dispatch, Pipeline, Resource, Texture, TextureView};
use crate::graph::{Graph, ValueId};
use crate::image::ImageDesc;
use crate::kernel::{Binding, Slot};
use crate::layer::Place;
use crate::operation::{Image, Operation};
use crate::tensor_desc::DType;

impl<'a> From<Place<'a>> for Operand<'a> {
    fn from(place: Place<'a>) -> Self {
        match place {
            Place::Tensor(tensor) => Operand::Tensor(tensor),
            Place::Texture(texture) => Operand::Texture(texture),
        }
    }
}

/// A dispatch whose textures are bound at each run.
pub(super) struct Unbound {
    /// The step that it belongs to, and its place among the step's dispatches.
    pub step: usize,
    pub place: usize,
    /// The graph's input whose texture it reads.
    pub input: Option<usize>,
    pipeline: Arc<Pipeline>,
    bound: Vec<Binds>,
    grid: [u32; 3],
    /// Nanoseconds, for the length of submissions.
    pub ns: u64,
}

/// What a binding is bound to.
enum Binds {
    Buffer(Bound),
    /// The texture of an input.
    Source,
    /// The texture of an output.
    Target,
}

/// How an output goes to a texture.
pub(super) struct Store {
    /// Its number among the graph's outputs.
    pub output: usize,
    /// From the tensor.
    pub after: Unbound,
    /// In place of the step that makes the tensor.
    pub fused: Option<Unbound>,
}

/// The program with these inputs and outputs as pictures.
pub(super) fn with_images(
    engine: &Engine,
    graph: &Graph,
    mut program: Program,
    inputs: &[(String, ImageDesc)],
    outputs: &[(String, ImageDesc)],
) -> Result<Program> {
    for (name, desc) in inputs {
        let names = graph.input_names();
        let input = position("image_inputs", "input", name, &names)?;
        let id = graph.inputs[input];
        let fact = graph.fact(id);
        let size = desc.size(name, &fact.shape)?;
        if !fact.element.is_float() || program.image_inputs.iter().any(|image| image.input == input) {
            return Err(Error::invalid(
                "image_inputs",
                format!("`{name}` is named twice, or no tensor of floats but of {}", fact.element),
            ));
        }
        if program.host_inputs.contains(&id) {
            return Err(Error::unsupported("image_inputs", format!("`{name}` is read by the host, which has no textures")));
        }
        let mut image = ImageInput { input, device: None, desc: *desc, size, converted: None };
        if let Some(number) = program.devices.iter().position(|device| device.source == Source::Input(input)) {
            let device = DeviceId(number);
            image.device = Some(device);
            match fuse(engine, &program, device, desc) {
                Ok(plans) => {
                    for (number, work) in plans {
                        program.steps[number].work = work;
                    }
                    program.devices[number].source = Source::Texture;
                }
                Err(reason) => {
                    image.converted = Some(reason);
                    convert(engine, &mut program, device, &image, name)?;
                }
            }
        }
        program.image_inputs.push(image);
    }
    for (name, desc) in outputs {
        let names = graph.output_names();
        let output = position("image_outputs", "output", name, &names)?;
        let Outcome::Device(id) = program.outcomes[output] else {
            return Err(Error::unsupported("image_outputs", format!("`{name}` is computed by the host, which has no textures")));
        };
        let tensor = &program.device(id).desc;
        let size = desc.size(name, tensor.shape())?;
        if tensor.dtype() == DType::I32 {
            return Err(Error::invalid("image_outputs", format!("`{name}` is a tensor of integers")));
        }
        let image = Image { name, desc, dtype: tensor.dtype(), channels: tensor.shape()[1], size };
        let operation = Box::new(image.store(engine.limits())?);
        let fused = fuse_output(engine, &mut program, id, desc);
        program.image_outputs.push(ImageOutput { output, tensor: id, desc: *desc, size, operation, fused });
    }
    Ok(program)
}

fn position(field: &'static str, what: &str, name: &str, names: &[&str]) -> Result<usize> {
    let found = names.iter().position(|known| known == &name);
    found.ok_or_else(|| Error::invalid(field, format!("`{name}` is no {what} of the network; there is {}", names.join(", "))))
}

/// The steps that read an input as layers that read the picture; or why not all can.
fn fuse(engine: &Engine, program: &Program, device: DeviceId, image: &ImageDesc) -> Result<Vec<(usize, Work)>, String> {
    let is = |id: &DeviceId| program.root(*id) == device;
    if program.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Device(id) if is(id))) {
        return Err("it is a result too".into());
    }
    let mut fused = Vec::new();
    for (number, step) in program.steps.iter().enumerate().filter(|(_, step)| step.work.reads().iter().any(is)) {
        let Work::Layer { plan, weights: LayerWeights::Constant { .. }, input, residual, .. } = &step.work else {
            return Err(format!(
                "{} reads it, which is no convolution with constant weights",
                super::explain::step_text(&step.work)
            ));
        };
        if *input != device || plan.problem.input != program.device(device).desc || residual.iter().any(is) {
            return Err(format!("{} reads it in another shape or adds it", plan.algorithm));
        }
        let reads = |algorithm: &Algorithm| {
            let plan = engine.plan(&plan.problem, algorithm);
            plan.is_ok_and(|plan| plan.workspace.is_empty() && plan.reading_image(image).is_some())
        };
        let best = engine.best_plan_of_picture(&plan.problem, reads).map_err(|error| error.to_string())?;
        let plan = Box::new(best.reading_image(image).ok_or("no kernel reads it")?);
        plan.steps.iter().try_for_each(|step| step.check(engine.limits())).map_err(|error| error.to_string())?;
        let mut work = step.work.clone();
        if let Work::Layer { plan: old, workspace, .. } = &mut work {
            (*old, *workspace) = (plan, Vec::new());
        }
        fused.push((number, work));
    }
    Ok(fused)
}

/// The layer that can write an output to a picture itself, with another algorithm than it had where that must be; or why none can.
fn fuse_output(engine: &Engine, program: &mut Program, output: DeviceId, image: &ImageDesc) -> Result<FusedOutput, String> {
    let is = |id: &DeviceId| program.root(*id) == program.root(output);
    let results = program.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Device(id) if is(id))).count();
    if results > 1 || program.steps.iter().any(|step| step.work.reads().iter().any(is)) {
        return Err("it is read again".into());
    }
    let number = program.steps.iter().rposition(|step| step.work.writes().iter().any(is)).ok_or("no step computes it")?;
    let Work::Layer { plan, weights, input, output: written, indices: None, .. } = &program.steps[number].work else {
        return Err(format!("{} computes it", super::explain::step_text(&program.steps[number].work)));
    };
    if *written != output || plan.output_desc() != program.device(output).desc {
        return Err("it has another shape than the layer gives".into());
    }
    let fused = |plan: &Plan| plan.writing_image(image).filter(|plan| plan.steps.len() == 1);
    if let Some(plan) = fused(plan) {
        return Ok(FusedOutput { step: number, plan: Box::new(plan) });
    }
    let source = program.image_inputs.iter().find(|source| plan.reads_image() && source.device == Some(*input));
    let as_it_reads = |plan: Plan| source.map_or(Some(plan.clone()), |source| plan.reading_image(&source.desc));
    let takes = |algorithm: &Algorithm| {
        let plan = engine.plan(&plan.problem, algorithm).ok().filter(|plan| plan.workspace.is_empty());
        plan.and_then(as_it_reads).is_some_and(|plan| fused(&plan).is_some())
    };
    let constant = matches!(weights, LayerWeights::Constant { .. });
    let best = match source {
        _ if !constant => None,
        Some(_) => engine.best_plan_of_picture(&plan.problem, takes).ok(),
        None => engine.best_plan(&plan.problem, takes).ok(),
    };
    let best = best.and_then(as_it_reads);
    let (Some(best), Some(to)) = (best.clone(), best.and_then(|plan| fused(&plan))) else {
        return Err(format!("no invocation of {} has all channels of a texel", plan.algorithm));
    };
    if let Work::Layer { plan, workspace, .. } = &mut program.steps[number].work {
        (**plan, *workspace) = (best, Vec::new());
    }
    Ok(FusedOutput { step: number, plan: Box::new(to) })
}

/// Puts the dispatch that makes a tensor of a picture before everything else.
fn convert(engine: &Engine, program: &mut Program, device: DeviceId, image: &ImageInput, name: &str) -> Result<()> {
    let desc = program.device(device).desc.clone();
    let reader = program.steps.iter().find(|step| step.work.reads().iter().any(|&id| program.root(id) == device));
    let node = reader.map(|step| step.node).ok_or_else(|| {
        Error::unsupported("image_inputs", format!("`{name}` goes through the network as it is: copy the texture instead"))
    })?;
    let load = Image { name, desc: &image.desc, dtype: desc.dtype(), channels: desc.shape()[1], size: image.size };
    let operation = Box::new(load.load(engine.limits())?);
    program.devices[device.0].source = Source::Steps;
    program.steps.insert(0, Step { node, work: Work::Operation { operation, operands: Vec::new(), output: device } });
    Ok(())
}

impl Unbound {
    /// A kernel with images among its bindings.
    pub fn new(
        executable: &Executable,
        dispatch: &PlanStep,
        length: &dyn Fn(u64) -> u64,
        find: &Find,
        [step, place]: [usize; 2],
        input: Option<usize>,
    ) -> Result<Self> {
        let (gpu, PlanStep { kernel, grid }) = (&executable.gpu, dispatch);
        let pipeline = gpu.pipelines.get(gpu, kernel)?;
        let unfilled = || Error::invalid("kernel", format!("{} has a binding that nothing fills", kernel.label));
        let binds = |binding: &Binding| match binding.image {
            Some(_) if binding.written => Ok(Binds::Target),
            Some(_) => Ok(Binds::Source),
            None => find(binding.slot)?.map(Binds::Buffer).ok_or_else(unfilled),
        };
        let bound: Vec<Binds> = kernel.bindings.iter().map(binds).collect::<Result<_>>()?;
        let bytes = |bound: &Binds| if let Binds::Buffer(bound) = bound { bound.bytes } else { 0 };
        let ns = length(bound.iter().map(bytes).sum());
        Ok(Self { step, place, input, pipeline, bound, grid: *grid, ns })
    }

    /// The dispatch on textures; those that it has no binding for may be missing.
    fn bind(&self, executable: &Executable, source: Option<&TextureView>, target: Option<&TextureView>) -> Result<Dispatch> {
        let resources = self.bound.iter().map(|bound| match bound {
            Binds::Buffer(bound) => Some(Resource::Buffer(bound)),
            Binds::Source => source.map(Resource::Texture),
            Binds::Target => target.map(Resource::Texture),
        });
        let resources: Option<Vec<Resource>> = resources.collect();
        let resources = resources.expect("whoever binds a kernel has its textures");
        let bind_group = gpu::bind_resources(&executable.gpu, &self.pipeline, &resources)?;
        Ok(Dispatch { pipeline: self.pipeline.clone(), bind_group, grid: self.grid, ns: self.ns })
    }
}

impl Executable {
    /// The dispatch that writes an output to a texture from its tensor, still without it.
    pub(super) fn store(&self, output: &ImageOutput, parameters: &Bounds) -> Result<Unbound> {
        let Operation { step, .. } = output.operation.as_ref();
        let find = |slot: Slot| match slot {
            Slot::Operand(0) => self.tensor(output.tensor).bounds().range(None).map(Some),
            Slot::Parameters => parameters.range(None).map(Some),
            _ => Ok(None),
        };
        Unbound::new(self, step, &|bytes| output.operation.nanoseconds(bytes, &self.gpu.limits), &find, [0, 0], None)
    }

    /// The texture of an input.
    fn source(&self, graph: &Graph, input: usize, texture: Option<&Texture>) -> Result<TextureView> {
        let image = self.program.image_inputs.iter().find(|image| image.input == input);
        let (Some(image), Some(texture)) = (image, texture) else {
            return Err(Error::invalid("inputs", format!("{input} is no texture")));
        };
        let name = &graph.info(graph.inputs[input]).name;
        gpu::view(&self.gpu, name, texture, image.desc.format, image.size, false)
    }

    /// The dispatches of each step, with the textures of a run.
    pub(super) fn bound<'a>(
        &self,
        dispatches: &'a [Vec<Dispatch>],
        graph: &Graph,
        inputs: &[Operand],
    ) -> Result<Cow<'a, [Vec<Dispatch>]>> {
        if self.unbound.is_empty() {
            return Ok(Cow::Borrowed(dispatches));
        }
        let mut dispatches = dispatches.to_vec();
        for unbound in &self.unbound {
            let input = unbound.input.expect("a step that has a texture reads it");
            let texture = if let Some(Operand::Texture(texture)) = inputs.get(input) { Some(*texture) } else { None };
            let view = self.source(graph, input, texture)?;
            dispatches[unbound.step].insert(unbound.place, unbound.bind(self, Some(&view), None)?);
        }
        Ok(Cow::Owned(dispatches))
    }

    /// Checks that an input is a texture where the network was made for one, and none elsewhere.
    pub(super) fn check_place(&self, graph: &Graph, number: usize, input: &Operand) -> Result<()> {
        let image = self.program.image_inputs.iter().any(|image| image.input == number);
        let name = || &graph.info(graph.inputs[number]).name;
        match input {
            Operand::Texture(_) if !image => {
                Err(Error::invalid("inputs", format!("`{}` is a texture, but it is none of the network's image_inputs", name())))
            }
            Operand::Texture(_) => Ok(()),
            _ if image => {
                Err(Error::invalid("inputs", format!("`{}` is no texture, but it is one of the network's image_inputs", name())))
            }
            _ => Ok(()),
        }
    }

    /// What writes output `number` to a texture: the layer itself, put among `dispatches` in the place of its step, or the dispatch to
    /// come after all.
    pub(super) fn store_to(
        &self,
        graph: &Graph,
        number: usize,
        texture: &Texture,
        inputs: &[Place],
        dispatches: &mut Cow<'_, [Vec<Dispatch>]>,
    ) -> Result<Option<Dispatch>> {
        let name = &graph.outputs[number].0;
        let missing =
            || Error::invalid("outputs", format!("`{name}` goes to a texture, but it is none of the network's image_outputs"));
        let image = self.program.image_outputs.iter().find(|image| image.output == number).ok_or_else(missing)?;
        let store = self.stores.iter().find(|store| store.output == number).ok_or_else(missing)?;
        let view = gpu::view(&self.gpu, name, texture, image.desc.format, image.size, true)?;
        let input = |unbound: &Unbound| inputs.get(unbound.input?)?.texture();
        // What is still to be read, or is read by the same dispatch, cannot be written yet.
        let reads = |unbound: &&Unbound, step: usize| unbound.step >= step && input(unbound) == Some(texture);
        let Some(fused) = store.fused.as_ref().filter(|fused| !self.unbound.iter().any(|unbound| reads(&unbound, fused.step)))
        else {
            return store.after.bind(self, None, Some(&view)).map(Some);
        };
        let source = fused.input.map(|at| self.source(graph, at, input(fused))).transpose()?;
        dispatches.to_mut()[fused.step] = vec![fused.bind(self, source.as_ref(), Some(&view))?];
        Ok(None)
    }
}

/// Records one dispatch in a pass of its own.
pub(super) fn record_store(encoder: &mut CommandEncoder, dispatch: &Dispatch) {
    gpu::dispatch(&mut gpu::pass(encoder), std::slice::from_ref(dispatch));
}

/// What `explain` says of the pictures.
pub(super) fn lines(program: &Program, graph: &Graph) -> Vec<String> {
    let size = |[height, width]: [u32; 2]| format!("{width} x {height}");
    let input = |image: &ImageInput| {
        let name = |id: ValueId| graph.info(id).name.clone();
        let how = match &image.converted {
            None => "read by the layers themselves".into(),
            Some(reason) => format!("converted by one dispatch, because {reason}"),
        };
        format!("{} from a texture, {} {}: {how}", name(graph.inputs[image.input]), image.desc.format, size(image.size))
    };
    let output = |image: &ImageOutput| {
        let how = match &image.fused {
            Ok(_) => "written by the layer itself, where the texture is none that it reads".into(),
            Err(reason) => format!("written by one dispatch, because {reason}"),
        };
        format!("{} to a texture, {} {}: {how}", graph.outputs[image.output].0, image.desc.format, size(image.size))
    };
    program.image_inputs.iter().map(input).chain(program.image_outputs.iter().map(output)).collect()
}
