//! [`Prepared`]: a plan with its weights on a device, and what is needed to put it on another.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Timing;
use super::picture::{BuiltPictures, ConvImages, Pictures};
use super::place::Place;
use crate::algorithm::{Plan, View};
use crate::desc::Residual;
use crate::error::{Error, Result};
use crate::gpu::{self, Bound, Bounds, Current, Dispatch, Gpu, Pipeline, PooledBuffer, Rebuilt, Resource, TextureView};
use crate::kernel::Slot;
use crate::problem::Layer;
use crate::recent::Recent;
use crate::tensor::{Tensor, to_bytes};
use crate::tensor_desc::{DType, TensorDesc};
use crate::weights::Weights;

/// The tensors and textures of one run.
#[derive(Clone, Copy)]
pub(super) struct Io<'a> {
    pub input: Place<'a>,
    pub residual: Option<&'a Tensor>,
    pub output: Place<'a>,
    pub indices: Option<&'a Tensor>,
}

/// The textures that are the input and the output, where they are.
pub(super) type Views<'a> = [Option<&'a TextureView>; 2];

/// Sets of tensors whose bind groups a layer keeps: enough for a ring of frames.
const KEPT_BINDINGS: usize = 8;

/// A plan, its constants, and what was made of them on the device.
pub(super) struct Prepared {
    pub plan: Plan,
    pub output: TensorDesc,
    /// Packed weights, bias, slopes, as the device stores them.
    constants: Vec<(Slot, Vec<u8>)>,
    pub(super) pictures: Pictures,
    current: Arc<Current>,
    built: Rebuilt<Built>,
}

/// The part that lives on one device.
pub(super) struct Built {
    pub gpu: Arc<Gpu>,
    /// Of the plan of tensors.
    pub pipelines: OnceLock<Vec<Arc<Pipeline>>>,
    pub pictures: BuiltPictures,
    /// What every run binds; weights, biases and slopes for each set of weights in turn.
    fixed: Vec<(Slot, Bounds)>,
    /// The numbers of each step that takes them from a buffer.
    uniforms: Vec<Option<(Slot, Bounds)>>,
    /// The dispatches of a set of tensors.
    bindings: Mutex<Recent<Vec<Bound>, Arc<[Dispatch]>>>,
    /// What `fixed` and `uniforms` point into.
    buffers: Vec<PooledBuffer>,
}

/// The pipelines of a plan, made when they are first asked for.
pub(super) fn pipelines<'a>(gpu: &Gpu, plan: &Plan, kept: &'a OnceLock<Vec<Arc<Pipeline>>>) -> Result<&'a [Arc<Pipeline>]> {
    if kept.get().is_none() {
        // Another thread may have been faster.
        let _ = kept.set(plan.steps.iter().map(|step| gpu.pipelines.get(gpu, &step.kernel)).collect::<Result<_>>()?);
    }
    Ok(kept.get().expect("it was set above"))
}

impl Built {
    fn new(gpu: &Arc<Gpu>, plan: &Plan, constants: &[(Slot, Vec<u8>)], pictures: &Pictures) -> Result<Self> {
        let mut built = Self {
            gpu: gpu.clone(),
            pipelines: OnceLock::new(),
            pictures: BuiltPictures::default(),
            fixed: Vec::new(),
            uniforms: Vec::new(),
            bindings: Mutex::new(Recent::new(KEPT_BINDINGS)),
            buffers: Vec::new(),
        };
        if pictures.need_plan() {
            pipelines(gpu, plan, &built.pipelines)?;
        }
        built.pictures = pictures.build(gpu, |bytes| built.upload(bytes, gpu::UNIFORM))?;
        for (slot, bytes) in constants {
            let bound = built.upload(bytes, gpu::STORAGE)?;
            built.fixed.push((*slot, bound));
        }
        for (number, &bytes) in plan.workspace.iter().enumerate() {
            let buffer = gpu.buffers.take(gpu, bytes, gpu::STORAGE)?;
            built.fixed.push((Slot::Workspace(number), Bound::first(buffer.raw(), bytes).into()));
            built.buffers.push(buffer);
        }
        for step in 0..plan.steps.len() {
            let uniform = plan.uniform(step);
            let bound = uniform.map(|(slot, bytes)| Ok((slot, built.upload(bytes, gpu::UNIFORM)?))).transpose()?;
            built.uniforms.push(bound);
        }
        Ok(built)
    }

    fn upload(&mut self, bytes: &[u8], usage: gpu::Usage) -> Result<Bounds> {
        let buffer = self.gpu.buffers.take(&self.gpu, bytes.len() as u64, usage)?;
        let bound = Bounds::from(Bound::first(buffer.raw(), bytes.len() as u64));
        gpu::write(&self.gpu, &bound, bytes)?;
        self.buffers.push(buffer);
        Ok(bound)
    }
}

impl Prepared {
    pub fn new(current: &Arc<Current>, plan: Plan, weights: Option<&Weights>, images: &ConvImages) -> Result<Self> {
        let (plan, pictures) = Pictures::new(plan, images, &current.limits)?;
        let mut constants = Vec::new();
        if let Some(weights) = weights {
            let dtype = plan.packed_dtype();
            for part in plan.weight_parts() {
                let packed = plan.pack(&part, weights.kernel);
                constants.push((Slot::Weights, to_bytes(&packed, dtype).into_owned()));
                let outputs = part.outputs(plan.geometry.group_out() as usize);
                for (slot, data) in [(Slot::Bias, weights.bias), (Slot::Slope, weights.slope)] {
                    constants.extend(data.map(|data| (slot, to_bytes(&data[outputs.clone()], DType::F32).into_owned())));
                }
            }
        }
        let built = Rebuilt::new(current, |gpu| Built::new(gpu, &plan, &constants, &pictures))?;
        Ok(Self { output: plan.output_desc(), plan, constants, pictures, current: current.clone(), built })
    }

    fn built(&self) -> Result<Arc<Built>> {
        self.built.get(|gpu| Built::new(gpu, &self.plan, &self.constants, &self.pictures))
    }

    /// Checks the tensors of a run against the plan.
    fn check(&self, gpu: &Arc<Gpu>, io: &Io) -> Result<()> {
        gpu.check()?;
        for (field, place, desc) in [("input", io.input, &self.plan.problem.input), ("output", io.output, &self.output)] {
            place.tensor().map_or(Ok(()), |tensor| tensor.check(field, gpu, desc))?;
        }
        let wants_residual = matches!(self.plan.problem.layer, Layer::Conv(desc) if desc.epilogue.residual != Residual::None);
        match io.residual {
            Some(_) if !wants_residual => return Err(Error::invalid("residual", "is given, but the description has none")),
            None if wants_residual => {
                return Err(Error::invalid("residual", format!("is missing: the description adds a tensor of {}", self.output)));
            }
            Some(residual) => residual.check("residual", gpu, &self.output)?,
            None => {}
        }
        if let Some(indices) = io.indices {
            indices.check("indices", gpu, &self.indices_desc())?;
        }
        // wgpu forbids a buffer that one dispatch both reads and writes.
        let output = io.output.tensor().map(Tensor::bounds);
        for (field, tensor) in [("input", io.input.tensor()), ("residual", io.residual), ("indices", io.indices)] {
            if output.as_ref().is_some_and(|output| tensor.is_some_and(|tensor| tensor.bounds().meets(output))) {
                return Err(Error::invalid(
                    "output",
                    format!("shares the buffer of {field}, but a kernel cannot read and write one buffer"),
                ));
            }
        }
        Ok(())
    }

    fn indices_desc(&self) -> TensorDesc {
        self.output.with_dtype(DType::I32)
    }

    /// The dispatches of a run. Bind groups are made once for each set of tensors; those of textures are made anew, as keeping them
    /// would keep the caller's textures.
    fn made(&self, built: &Built, io: &Io) -> Result<Arc<[Dispatch]>> {
        self.check(&built.gpu, io)?;
        let source = self.pictures.source(&built.gpu, io.input)?;
        let plain = || {
            let pipelines = pipelines(&built.gpu, &self.plan, &built.pipelines)?;
            self.dispatches_of(built, &self.plan, pipelines, io, [source.as_ref(), None])
        };
        let (input, output) = match (io.input, io.output) {
            (_, Place::Texture(texture)) => return Ok(self.onto_texture(built, io, texture, source.as_ref())?.into()),
            (Place::Texture(_), Place::Tensor(_)) => return Ok(plain()?.into()),
            (Place::Tensor(input), Place::Tensor(output)) => (input, output),
        };
        let key: Vec<Bound> =
            [Some(input), io.residual, Some(output), io.indices].into_iter().flatten().flat_map(|one| one.bounds().0).collect();
        let kept = || built.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dispatches) = kept().find(&key) {
            return Ok(dispatches);
        }
        let dispatches: Arc<[Dispatch]> = plain()?.into();
        kept().keep(key, dispatches.clone());
        Ok(dispatches)
    }

    /// The dispatches of a plan that has the layer's weights; `views` are those of the input and the output where they are textures.
    pub(super) fn dispatches_of(
        &self,
        built: &Built,
        plan: &Plan,
        pipelines: &[Arc<Pipeline>],
        io: &Io,
        views: Views,
    ) -> Result<Vec<Dispatch>> {
        pipelines.iter().enumerate().map(|at| self.dispatch(built, plan, at, io, views)).collect()
    }

    /// Binds one step of `plan`.
    fn dispatch(&self, built: &Built, plan: &Plan, at: (usize, &Arc<Pipeline>), io: &Io, views: Views) -> Result<Dispatch> {
        let ((number, pipeline), step) = (at, &plan.steps[at.0]);
        let fixed = |slot: Slot| {
            let set = if slot.is_weights() { plan.weights_of(number) } else { 0 };
            built.fixed.iter().filter(|(fixed, _)| *fixed == slot).nth(set).map(|(_, bound)| bound.clone())
        };
        let missing = || Error::invalid("indices", "are an output of this pooling: use run_with_indices");
        let bound = |slot: Slot| {
            let whole = match slot {
                Slot::Input => io.input.tensor().map(Tensor::bounds),
                Slot::Residual => io.residual.map(Tensor::bounds),
                Slot::Output => io.output.tensor().map(Tensor::bounds),
                Slot::Indices => io.indices.map(Tensor::bounds),
                slot if slot.is_uniform() => built.uniforms[number].as_ref().map(|(_, bound)| bound.clone()),
                slot => fixed(slot),
            };
            whole.ok_or_else(missing)?.range(plan.view(number, slot).as_ref().map(View::range))
        };
        let bindings = &step.kernel.bindings;
        let buffers = bindings.iter().map(|binding| binding.image.is_none().then(|| bound(binding.slot)).transpose());
        let buffers: Vec<Option<Bound>> = buffers.collect::<Result<_>>()?;
        let resources = bindings.iter().zip(&buffers).map(|(binding, buffer)| match binding.image {
            Some(_) => views[usize::from(binding.written)].map(Resource::Texture),
            None => buffer.as_ref().map(Resource::Buffer),
        });
        let resources: Vec<Resource> = resources.collect::<Option<_>>().expect("whoever binds a kernel has its textures");
        let bind_group = gpu::bind_resources(&built.gpu, pipeline, &resources)?;
        Ok(Dispatch { pipeline: pipeline.clone(), bind_group, grid: step.grid, ns: plan.step_ns() })
    }

    /// Fills the workspace with a repeated word, so that a kernel that reads what no step wrote shows.
    pub fn poison_workspace(&self, word: &[u8; 4]) -> Result<()> {
        let built = self.built()?;
        let workspace = built.fixed.iter().filter(|(slot, _)| matches!(slot, Slot::Workspace(_)));
        workspace
            .into_iter()
            .try_for_each(|(_, bounds)| gpu::write(&built.gpu, bounds, &word.repeat((bounds.bytes() / 4) as usize)))
    }

    /// The dispatches of a run.
    pub fn dispatches(&self, io: &Io) -> Result<Arc<[Dispatch]>> {
        let built = self.built()?;
        self.made(&built, io)
    }

    pub fn run(&self, io: &Io) -> Result<()> {
        let built = self.built()?;
        gpu::run(&built.gpu, &self.made(&built, io)?)
    }

    pub fn new_output(&self) -> Result<Tensor> {
        Tensor::uninitialised(&self.current.gpu(), self.output.clone(), 0)
    }

    pub fn new_indices(&self) -> Result<Tensor> {
        Tensor::uninitialised(&self.current.gpu(), self.indices_desc(), 0)
    }

    pub fn profile(&self, io: &Io) -> Result<Timing> {
        let built = self.built()?;
        let (device, wall) = gpu::run_timed(&built.gpu, &self.made(&built, io)?)?;
        Ok(Timing { device, wall })
    }
}
