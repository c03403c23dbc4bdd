//! [`Prepared`]: a plan with its weights on a device, and what is needed to put it on another.

use std::sync::{Arc, Mutex, PoisonError};

use super::Timing;
use crate::algorithm::{Plan, View};
use crate::desc::Residual;
use crate::error::{Error, Result};
use crate::gpu::{self, Bound, Bounds, Current, Dispatch, Gpu, Pipeline, PooledBuffer, Rebuilt};
use crate::kernel::Slot;
use crate::problem::Layer;
use crate::recent::Recent;
use crate::tensor::{Tensor, to_bytes};
use crate::tensor_desc::{DType, TensorDesc};
use crate::weights::Weights;

/// The tensors of one run.
pub(super) struct Io<'a> {
    pub input: &'a Tensor,
    pub residual: Option<&'a Tensor>,
    pub output: &'a Tensor,
    pub indices: Option<&'a Tensor>,
}

/// Sets of tensors whose bind groups a layer keeps: enough for a ring of frames.
const KEPT_BINDINGS: usize = 8;

/// A plan, its constants, and what was made of them on the device.
pub(super) struct Prepared {
    pub plan: Plan,
    pub output: TensorDesc,
    /// Packed weights, bias, slopes, as the device stores them.
    constants: Vec<(Slot, Vec<u8>)>,
    current: Arc<Current>,
    built: Rebuilt<Built>,
}

/// The part that lives on one device.
struct Built {
    gpu: Arc<Gpu>,
    pipelines: Vec<Arc<Pipeline>>,
    /// What every run binds; weights, biases and slopes for each set of weights in turn.
    fixed: Vec<(Slot, Bounds)>,
    /// The numbers of each step that takes them from a buffer.
    uniforms: Vec<Option<(Slot, Bounds)>>,
    /// The dispatches of a set of tensors.
    bindings: Mutex<Recent<Vec<Bound>, Arc<[Dispatch]>>>,
    /// What `fixed` and `uniforms` point into.
    buffers: Vec<PooledBuffer>,
}

impl Built {
    fn new(gpu: &Arc<Gpu>, plan: &Plan, constants: &[(Slot, Vec<u8>)]) -> Result<Self> {
        let mut built = Self {
            gpu: gpu.clone(),
            pipelines: plan.steps.iter().map(|step| gpu.pipelines.get(gpu, &step.kernel)).collect::<Result<_>>()?,
            fixed: Vec::new(),
            uniforms: Vec::new(),
            bindings: Mutex::new(Recent::new(KEPT_BINDINGS)),
            buffers: Vec::new(),
        };
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
    pub fn new(current: &Arc<Current>, plan: Plan, weights: Option<&Weights>) -> Result<Self> {
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
        let built = Rebuilt::new(current, |gpu| Built::new(gpu, &plan, &constants))?;
        Ok(Self { output: plan.output_desc(), plan, constants, current: current.clone(), built })
    }

    fn built(&self) -> Result<Arc<Built>> {
        self.built.get(|gpu| Built::new(gpu, &self.plan, &self.constants))
    }

    /// Checks the tensors of a run against the plan.
    fn check(&self, gpu: &Arc<Gpu>, io: &Io) -> Result<()> {
        gpu.check()?;
        io.input.check("input", gpu, &self.plan.problem.input)?;
        io.output.check("output", gpu, &self.output)?;
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
        let output = io.output.bounds();
        for (field, tensor) in [("input", Some(io.input)), ("residual", io.residual), ("indices", io.indices)] {
            if tensor.is_some_and(|tensor| tensor.bounds().meets(&output)) {
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

    /// The dispatches of a run, with bind groups that are made once for each set of tensors.
    fn made(&self, built: &Built, io: &Io) -> Result<Arc<[Dispatch]>> {
        self.check(&built.gpu, io)?;
        let key: Vec<Bound> = [Some(io.input), io.residual, Some(io.output), io.indices]
            .into_iter()
            .flatten()
            .flat_map(|one| one.bounds().0)
            .collect();
        let kept = || built.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dispatches) = kept().find(&key) {
            return Ok(dispatches);
        }
        let dispatches: Arc<[Dispatch]> =
            (0..self.plan.steps.len()).map(|number| self.dispatch(built, number, io)).collect::<Result<_>>()?;
        kept().keep(key, dispatches.clone());
        Ok(dispatches)
    }

    fn dispatch(&self, built: &Built, number: usize, io: &Io) -> Result<Dispatch> {
        let (step, pipeline) = (&self.plan.steps[number], &built.pipelines[number]);
        let fixed = |slot: Slot| {
            let set = if slot.is_weights() { self.plan.weights_of(number) } else { 0 };
            built.fixed.iter().filter(|(fixed, _)| *fixed == slot).nth(set).map(|(_, bound)| bound.clone())
        };
        let bound: Vec<Bound> = step
            .kernel
            .bindings
            .iter()
            .map(|binding| {
                let whole = match binding.slot {
                    Slot::Input => Some(io.input.bounds()),
                    Slot::Residual => io.residual.map(Tensor::bounds),
                    Slot::Output => Some(io.output.bounds()),
                    Slot::Indices => io.indices.map(Tensor::bounds),
                    slot if slot.is_uniform() => built.uniforms[number].as_ref().map(|(_, bound)| bound.clone()),
                    slot => fixed(slot),
                };
                let missing = || Error::invalid("indices", "are an output of this pooling: use run_with_indices");
                whole.ok_or_else(missing)?.range(self.plan.view(number, binding.slot).as_ref().map(View::range))
            })
            .collect::<Result<_>>()?;
        let bind_group = gpu::bind(&built.gpu, pipeline, &bound.iter().collect::<Vec<_>>())?;
        Ok(Dispatch { pipeline: pipeline.clone(), bind_group, grid: step.grid, flop: self.plan.step_flop() })
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
