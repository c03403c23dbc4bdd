//! Textures as inputs and outputs of a network: the first layer reads the picture itself where its kernel can, and one dispatch
//! converts it where not; one dispatch writes a result to a texture.
//!
//! The program is changed here, below any device; [`Executable`] binds the textures of each run, which are not known before.

use std::borrow::Cow;
use std::sync::Arc;

use super::build::Find;
use super::execute::{Executable, Operand};
use super::program::{DeviceId, ImageInput, ImageOutput, LayerWeights, Outcome, Program, Source, Step, Work};
use crate::algorithm::Step as PlanStep;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gpu::{self, Bound, Bounds, CommandEncoder, Dispatch, Pipeline, Resource, Texture};
use crate::graph::{Graph, ValueId};
use crate::image::ImageDesc;
use crate::kernel::Slot;
use crate::operation::{Image, Operation};
use crate::tensor::Tensor;
use crate::tensor_desc::DType;

/// Where an input of a network lies, or where an output goes.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A tensor, over a caller's buffer or not.
    Tensor(&'a Tensor),
    /// A texture, for an input or output that [`NetworkDesc`](crate::NetworkDesc) says to be a picture.
    Texture(&'a Texture),
}

impl<'a> From<&'a Tensor> for Place<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Place::Tensor(tensor)
    }
}

impl<'a> From<&'a Texture> for Place<'a> {
    fn from(texture: &'a Texture) -> Self {
        Place::Texture(texture)
    }
}

impl<'a> From<Place<'a>> for Operand<'a> {
    fn from(place: Place<'a>) -> Self {
        match place {
            Place::Tensor(tensor) => Operand::Tensor(tensor),
            Place::Texture(texture) => Operand::Texture(texture),
        }
    }
}

/// A dispatch whose texture is bound at each run.
pub(super) struct Unbound {
    /// The step that it belongs to, and its place among the step's dispatches.
    pub step: usize,
    pub place: usize,
    /// The graph's input that the texture is.
    pub input: usize,
    pipeline: Arc<Pipeline>,
    /// `None` where the texture goes.
    bound: Vec<Option<Bound>>,
    grid: [u32; 3],
    /// Operations, for the length of submissions.
    flop: u64,
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
        let image = Image { desc, dtype: tensor.dtype(), channels: tensor.shape()[1], size };
        let operation = Box::new(image.store(engine.limits())?);
        program.image_outputs.push(ImageOutput { output, tensor: id, desc: *desc, size, operation });
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
        let reads = |algorithm: &crate::algorithm::Algorithm| {
            let plan = engine.plan(&plan.problem, algorithm);
            plan.is_ok_and(|plan| plan.workspace.is_empty() && plan.reading_image(image).is_some())
        };
        let best = engine.best_plan(&plan.problem, reads).map_err(|error| error.to_string())?;
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

/// Puts the dispatch that makes a tensor of a picture before everything else.
fn convert(engine: &Engine, program: &mut Program, device: DeviceId, image: &ImageInput, name: &str) -> Result<()> {
    let desc = program.device(device).desc.clone();
    let reader = program.steps.iter().find(|step| step.work.reads().iter().any(|&id| program.root(id) == device));
    let node = reader.map(|step| step.node).ok_or_else(|| {
        Error::unsupported("image_inputs", format!("`{name}` goes through the network as it is: copy the texture instead"))
    })?;
    let load = Image { desc: &image.desc, dtype: desc.dtype(), channels: desc.shape()[1], size: image.size };
    let operation = Box::new(load.load(engine.limits())?);
    program.devices[device.0].source = Source::Steps;
    program.steps.insert(0, Step { node, work: Work::Operation { operation, operands: Vec::new(), output: device } });
    Ok(())
}

impl Unbound {
    /// A kernel with an image among its bindings.
    pub fn new(
        executable: &Executable,
        dispatch: &PlanStep,
        work: &dyn Fn(u64) -> u64,
        find: &Find,
        [step, place, input]: [usize; 3],
    ) -> Result<Self> {
        let (gpu, PlanStep { kernel, grid }) = (&executable.gpu, dispatch);
        let pipeline = gpu.pipelines.get(gpu, kernel)?;
        let bound = kernel.bindings.iter().map(|binding| if binding.image.is_some() { Ok(None) } else { find(binding.slot) });
        let bound = bound.collect::<Result<Vec<Option<Bound>>>>()?;
        let flop = work(bound.iter().flatten().map(|bound| bound.bytes).sum());
        Ok(Self { step, place, input, pipeline, bound, grid: *grid, flop })
    }

    fn bind(&self, executable: &Executable, view: &gpu::TextureView) -> Result<Dispatch> {
        let resources: Vec<Resource> =
            self.bound.iter().map(|bound| bound.as_ref().map_or(Resource::Texture(view), Resource::Buffer)).collect();
        let bind_group = gpu::bind_resources(&executable.gpu, &self.pipeline, &resources)?;
        Ok(Dispatch { pipeline: self.pipeline.clone(), bind_group, grid: self.grid, flop: self.flop })
    }
}

impl Executable {
    /// The dispatch that writes an output to a texture, still without it.
    pub(super) fn store(&self, output: &ImageOutput, parameters: &Bounds) -> Result<Unbound> {
        let Operation { step, .. } = output.operation.as_ref();
        let find = |slot: Slot| match slot {
            Slot::Operand(0) => self.tensor(output.tensor).bounds().range(None).map(Some),
            Slot::Parameters => parameters.range(None).map(Some),
            _ => Ok(None),
        };
        Unbound::new(self, step, &|bytes| output.operation.work(bytes), &find, [0, 0, output.output])
    }

    /// The dispatches of each step, with the textures of a run.
    pub(super) fn bound(&self, graph: &Graph, inputs: &[Operand]) -> Result<Cow<'_, [Vec<Dispatch>]>> {
        if self.unbound.is_empty() {
            return Ok(Cow::Borrowed(&self.dispatches));
        }
        let mut dispatches = self.dispatches.clone();
        for unbound in &self.unbound {
            let image = self.program.image_inputs.iter().find(|image| image.input == unbound.input);
            let (Some(image), Some(Operand::Texture(texture))) = (image, inputs.get(unbound.input)) else {
                return Err(Error::invalid("inputs", format!("{} is no texture", unbound.input)));
            };
            let name = &graph.info(graph.inputs[image.input]).name;
            let view = gpu::view(&self.gpu, name, texture, image.desc.format, image.size, false)?;
            dispatches[unbound.step].insert(unbound.place, unbound.bind(self, &view)?);
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

    /// The dispatch that writes output `number` to a texture.
    pub(super) fn store_to(&self, graph: &Graph, number: usize, texture: &Texture) -> Result<Dispatch> {
        let name = &graph.outputs[number].0;
        let missing =
            || Error::invalid("outputs", format!("`{name}` goes to a texture, but it is none of the network's image_outputs"));
        let image = self.program.image_outputs.iter().find(|image| image.output == number).ok_or_else(missing)?;
        let unbound = self.stores.iter().find(|store| store.input == number).ok_or_else(missing)?;
        let view = gpu::view(&self.gpu, name, texture, image.desc.format, image.size, true)?;
        unbound.bind(self, &view)
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
        format!("{} to a texture, {} {}: one dispatch", graph.outputs[image.output].0, image.desc.format, size(image.size))
    };
    program.image_inputs.iter().map(input).chain(program.image_outputs.iter().map(output)).collect()
}
