//! [`Conv`] and [`Pool`]: a plan made ready on a device: pipelines, packed weights, workspace, bind groups.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::algorithm::Plan;
use crate::desc::Residual;
use crate::error::{Error, Result};
use crate::gpu::{self, Bound, ComputePass, Dispatch, Gpu, Pipeline, PooledBuffer};
use crate::kernel::Slot;
use crate::problem::Layer;
use crate::tensor::{Tensor, to_bytes};
use crate::tensor_desc::{DType, TensorDesc};
use crate::weights::Weights;

/// What a convolution reads: its input and, where its description has one, the residual.
///
/// `(&input).into()` is an input alone, `(&input, &residual).into()` both.
#[derive(Debug, Clone, Copy)]
pub struct ConvInputs<'a> {
    /// The input.
    pub input: &'a Tensor,
    /// The tensor that is added.
    pub residual: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for ConvInputs<'a> {
    fn from(input: &'a Tensor) -> Self {
        Self { input, residual: None }
    }
}

impl<'a> From<(&'a Tensor, &'a Tensor)> for ConvInputs<'a> {
    fn from((input, residual): (&'a Tensor, &'a Tensor)) -> Self {
        Self { input, residual: Some(residual) }
    }
}

/// How long one run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the first dispatch to the last on the device; `None` where it has no timestamps.
    pub device: Option<Duration>,
    /// From submitting to having waited, on the host.
    pub wall: Duration,
}

/// A convolution with its weights, ready to run. Made by [`Engine::conv`](crate::Engine::conv).
pub struct Conv(Prepared);

/// A pooling, ready to run. Made by [`Engine::pool`](crate::Engine::pool).
pub struct Pool(Prepared);

/// The tensors of one run.
struct Io<'a> {
    input: &'a Tensor,
    residual: Option<&'a Tensor>,
    output: &'a Tensor,
    indices: Option<&'a Tensor>,
}

/// Sets of tensors whose bind groups a layer keeps: enough for a ring of frames.
const KEPT_BINDINGS: usize = 8;

/// The dispatches of one set of tensors.
struct Bindings {
    key: Vec<Bound>,
    dispatches: Arc<[Dispatch]>,
}

struct Prepared {
    gpu: Arc<Gpu>,
    plan: Plan,
    output: TensorDesc,
    pipelines: Vec<Arc<Pipeline>>,
    /// What every run binds; weights, biases and slopes for each set of weights in turn.
    fixed: Vec<(Slot, Bound)>,
    /// The numbers of each step that takes them from a buffer.
    uniforms: Vec<Option<(Slot, Bound)>>,
    bindings: Mutex<Vec<Bindings>>,
    /// What `fixed` and `uniforms` point into.
    _buffers: Vec<PooledBuffer>,
}

impl Prepared {
    fn new(gpu: &Arc<Gpu>, plan: Plan, weights: Option<&Weights>) -> Result<Self> {
        let mut prepared = Self {
            gpu: gpu.clone(),
            output: plan.output_desc(),
            pipelines: plan.steps.iter().map(|step| gpu.pipelines.get(gpu, &step.kernel)).collect::<Result<_>>()?,
            fixed: Vec::new(),
            uniforms: Vec::new(),
            bindings: Mutex::default(),
            _buffers: Vec::new(),
            plan,
        };
        if let Some(weights) = weights {
            let dtype = prepared.plan.packed_dtype();
            for part in prepared.plan.weight_parts() {
                let packed = prepared.plan.pack(&part, weights.kernel);
                prepared.keep(Slot::Weights, &to_bytes(&packed, dtype))?;
                let outputs = part.outputs(prepared.plan.geometry.group_out() as usize);
                for (slot, data) in [(Slot::Bias, weights.bias), (Slot::Slope, weights.slope)] {
                    if let Some(data) = data {
                        prepared.keep(slot, &to_bytes(&data[outputs.clone()], DType::F32))?;
                    }
                }
            }
        }
        for (number, bytes) in prepared.plan.workspace.clone().into_iter().enumerate() {
            let buffer = gpu.buffers.take(gpu, bytes, gpu::STORAGE)?;
            prepared.fixed.push((Slot::Workspace(number), Bound { buffer: buffer.raw().clone(), offset: 0, bytes }));
            prepared._buffers.push(buffer);
        }
        for step in 0..prepared.plan.steps.len() {
            let uniform = prepared.plan.uniform(step).map(|(slot, bytes)| (slot, bytes.to_vec()));
            let bound = uniform.map(|(slot, bytes)| Ok((slot, prepared.upload(&bytes, gpu::UNIFORM)?))).transpose()?;
            prepared.uniforms.push(bound);
        }
        Ok(prepared)
    }

    fn keep(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        let bound = self.upload(bytes, gpu::STORAGE)?;
        self.fixed.push((slot, bound));
        Ok(())
    }

    fn upload(&mut self, bytes: &[u8], usage: gpu::Usage) -> Result<Bound> {
        let buffer = self.gpu.buffers.take(&self.gpu, bytes.len() as u64, usage)?;
        gpu::write(&self.gpu, buffer.raw(), bytes)?;
        let bound = Bound { buffer: buffer.raw().clone(), offset: 0, bytes: bytes.len() as u64 };
        self._buffers.push(buffer);
        Ok(bound)
    }

    /// Checks the tensors of a run against the plan.
    fn check(&self, io: &Io) -> Result<()> {
        self.gpu.check()?;
        io.input.check("input", &self.gpu, &self.plan.problem.input)?;
        io.output.check("output", &self.gpu, &self.output)?;
        let wants_residual = matches!(self.plan.problem.layer, Layer::Conv(desc) if desc.epilogue.residual != Residual::None);
        match io.residual {
            Some(_) if !wants_residual => return Err(Error::invalid("residual", "is given, but the description has none")),
            None if wants_residual => {
                return Err(Error::invalid("residual", format!("is missing: the description adds a tensor of {}", self.output)));
            }
            Some(residual) => residual.check("residual", &self.gpu, &self.output)?,
            None => {}
        }
        if let Some(indices) = io.indices {
            indices.check("indices", &self.gpu, &self.indices_desc())?;
        }
        // wgpu forbids a buffer that one dispatch both reads and writes.
        let output = io.output.bound().buffer;
        for (field, tensor) in [("input", Some(io.input)), ("residual", io.residual), ("indices", io.indices)] {
            if tensor.is_some_and(|tensor| tensor.bound().buffer == output) {
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
    fn dispatches(&self, io: &Io) -> Result<Arc<[Dispatch]>> {
        self.check(io)?;
        let key: Vec<Bound> =
            [Some(io.input), io.residual, Some(io.output), io.indices].into_iter().flatten().map(Tensor::bound).collect();
        let mut kept = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|bindings| bindings.key == key) {
            // The most recent ones are at the end.
            kept[at..].rotate_left(1);
            return Ok(kept[kept.len() - 1].dispatches.clone());
        }
        drop(kept);
        let dispatches: Arc<[Dispatch]> =
            (0..self.plan.steps.len()).map(|number| self.dispatch(number, io)).collect::<Result<_>>()?;
        kept = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_BINDINGS {
            kept.remove(0);
        }
        kept.push(Bindings { key, dispatches: dispatches.clone() });
        Ok(dispatches)
    }

    fn dispatch(&self, number: usize, io: &Io) -> Result<Dispatch> {
        let (step, pipeline) = (&self.plan.steps[number], &self.pipelines[number]);
        let fixed = |slot: Slot| {
            let set = if slot.is_weights() { self.plan.weights_of(number) } else { 0 };
            self.fixed.iter().filter(|(fixed, _)| *fixed == slot).nth(set).map(|(_, bound)| bound.clone())
        };
        let bound: Vec<Bound> = step
            .kernel
            .bindings
            .iter()
            .map(|binding| {
                let whole = match binding.slot {
                    Slot::Input => Some(io.input.bound()),
                    Slot::Residual => io.residual.map(Tensor::bound),
                    Slot::Output => Some(io.output.bound()),
                    Slot::Indices => io.indices.map(Tensor::bound),
                    slot if slot.is_uniform() => self.uniforms[number].as_ref().map(|(_, bound)| bound.clone()),
                    slot => fixed(slot),
                };
                match self.plan.view(number, binding.slot) {
                    Some(view) => whole.map(|bound| Bound { offset: view.offset, bytes: view.bytes, ..bound }),
                    None => whole,
                }
            })
            .collect::<Option<_>>()
            .ok_or_else(|| Error::invalid("indices", "are an output of this pooling: use run_with_indices"))?;
        let bind_group = gpu::bind(&self.gpu, pipeline, &bound.iter().collect::<Vec<_>>())?;
        Ok(Dispatch { pipeline: pipeline.clone(), bind_group, grid: step.grid })
    }

    /// Fills the workspace with a repeated word, so that a kernel that reads what no step wrote shows.
    fn poison_workspace(&self, word: &[u8; 4]) -> Result<()> {
        let workspace = self.fixed.iter().filter(|(slot, _)| matches!(slot, Slot::Workspace(_)));
        workspace
            .into_iter()
            .try_for_each(|(_, bound)| gpu::write(&self.gpu, &bound.buffer, &word.repeat((bound.bytes / 4) as usize)))
    }

    fn run(&self, io: &Io) -> Result<()> {
        gpu::run(&self.gpu, &self.dispatches(io)?)
    }

    fn new_output(&self) -> Result<Tensor> {
        Tensor::uninitialised(&self.gpu, self.output.clone(), 0)
    }

    fn profile(&self, io: &Io) -> Result<Timing> {
        let (device, wall) = gpu::run_timed(&self.gpu, &self.dispatches(io)?)?;
        Ok(Timing { device, wall })
    }
}

impl Conv {
    pub(crate) fn new(gpu: &Arc<Gpu>, plan: Plan, weights: &Weights) -> Result<Self> {
        Prepared::new(gpu, plan, Some(weights)).map(Self)
    }

    /// What runs: algorithm, kernels, grids.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The output's shape and element type.
    pub fn output_desc(&self) -> &TensorDesc {
        &self.0.output
    }

    /// Runs the layer into a new tensor. The work is submitted, not waited for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where a tensor is not what the layer was made for,
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost), [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn run<'a>(&self, inputs: impl Into<ConvInputs<'a>>) -> Result<Tensor> {
        let output = self.0.new_output()?;
        self.run_into(inputs, &output)?;
        Ok(output)
    }

    /// [`run`](Self::run) into a tensor that the caller has.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_into<'a>(&self, inputs: impl Into<ConvInputs<'a>>, output: &Tensor) -> Result<()> {
        let ConvInputs { input, residual } = inputs.into();
        self.0.run(&Io { input, residual, output, indices: None })
    }

    pub(crate) fn poison_workspace(&self, word: &[u8; 4]) -> Result<()> {
        self.0.poison_workspace(word)
    }

    /// Records the layer into a caller's pass, between whatever else the caller records there. Keep the tensors until the pass is
    /// submitted: a dropped tensor's buffer is used again.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn encode<'a>(&self, pass: &mut ComputePass<'_>, inputs: impl Into<ConvInputs<'a>>, output: &Tensor) -> Result<()> {
        let ConvInputs { input, residual } = inputs.into();
        gpu::dispatch(pass, &self.0.dispatches(&Io { input, residual, output, indices: None })?);
        Ok(())
    }

    /// Runs the layer once, waits for it and tells the time. The first run of a kernel includes the driver's compilation.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile<'a>(&self, inputs: impl Into<ConvInputs<'a>>) -> Result<Timing> {
        let ConvInputs { input, residual } = inputs.into();
        self.0.profile(&Io { input, residual, output: &self.0.new_output()?, indices: None })
    }
}

impl Pool {
    pub(crate) fn new(gpu: &Arc<Gpu>, plan: Plan) -> Result<Self> {
        Prepared::new(gpu, plan, None).map(Self)
    }

    /// What runs: algorithm, kernels, grids.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The output's shape and element type.
    pub fn output_desc(&self) -> &TensorDesc {
        &self.0.output
    }

    /// Whether the description asks for indices.
    fn has_indices(&self) -> bool {
        self.0.plan.steps.iter().any(|step| step.kernel.bindings.iter().any(|binding| binding.slot == Slot::Indices))
    }

    /// Runs the layer into a new tensor, dropping the indices where the description asks for them.
    ///
    /// # Errors
    /// As [`Conv::run`].
    pub fn run(&self, input: &Tensor) -> Result<Tensor> {
        let output = self.0.new_output()?;
        self.run_into(input, &output)?;
        Ok(output)
    }

    /// [`run`](Self::run) into a tensor that the caller has.
    ///
    /// # Errors
    /// As [`Conv::run`].
    pub fn run_into(&self, input: &Tensor, output: &Tensor) -> Result<()> {
        let indices = self.new_indices()?;
        self.0.run(&Io { input, residual: None, output, indices: indices.as_ref() })
    }

    /// Runs a max pooling; gives its greatest elements, and their positions as a tensor of i32.
    ///
    /// # Errors
    /// As [`Conv::run`], and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the description asks for no indices.
    pub fn run_with_indices(&self, input: &Tensor) -> Result<(Tensor, Tensor)> {
        let missing = || Error::invalid("indices", "are not an output of this pooling: its description has `indices: None`");
        let (output, indices) = (self.0.new_output()?, self.new_indices()?.ok_or_else(missing)?);
        self.0.run(&Io { input, residual: None, output: &output, indices: Some(&indices) })?;
        Ok((output, indices))
    }

    fn new_indices(&self) -> Result<Option<Tensor>> {
        let desc = self.has_indices().then(|| self.0.indices_desc());
        desc.map(|desc| Tensor::uninitialised(&self.0.gpu, desc, 0)).transpose()
    }

    /// As [`run_with_indices`](Self::run_with_indices), into tensors that the caller has.
    pub(crate) fn run_with_indices_into(&self, input: &Tensor, output: &Tensor, indices: Option<&Tensor>) -> Result<()> {
        self.0.run(&Io { input, residual: None, output, indices })
    }

    /// Records the layer into a caller's pass; see [`Conv::encode`]. A layer with indices needs a tensor for them.
    ///
    /// # Errors
    /// As [`Conv::run`].
    pub fn encode(&self, pass: &mut ComputePass<'_>, input: &Tensor, output: &Tensor, indices: Option<&Tensor>) -> Result<()> {
        gpu::dispatch(pass, &self.0.dispatches(&Io { input, residual: None, output, indices })?);
        Ok(())
    }

    /// Runs the layer once, waits for it and tells the time.
    ///
    /// # Errors
    /// As [`Conv::run`].
    pub fn profile(&self, input: &Tensor) -> Result<Timing> {
        let indices = self.new_indices()?;
        self.0.profile(&Io { input, residual: None, output: &self.0.new_output()?, indices: indices.as_ref() })
    }
}
