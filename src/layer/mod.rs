//! [`Conv`] and [`Pool`]: a plan made ready on a device: pipelines, packed weights, workspace, bind groups.

mod picture;
mod place;
mod prepared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use picture::ConvImages;
pub use place::Place;

use crate::algorithm::Plan;
use crate::error::{Error, Result};
use crate::gpu::{self, ComputePass, Current, Texture};
use crate::tensor::Tensor;
use crate::tensor_desc::TensorDesc;
use crate::weights::Weights;
use prepared::{Io, Prepared};

/// What a convolution reads: its input and, where its description has one, the residual.
///
/// `(&input).into()` is an input alone, a tensor or a texture; `(&input, &residual).into()` both.
#[derive(Debug, Clone, Copy)]
pub struct ConvInputs<'a> {
    /// The input.
    pub input: Place<'a>,
    /// The tensor that is added.
    pub residual: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for ConvInputs<'a> {
    fn from(input: &'a Tensor) -> Self {
        Self { input: input.into(), residual: None }
    }
}

impl<'a> From<&'a Texture> for ConvInputs<'a> {
    fn from(input: &'a Texture) -> Self {
        Self { input: input.into(), residual: None }
    }
}

impl<'a, I: Into<Place<'a>>> From<(I, &'a Tensor)> for ConvInputs<'a> {
    fn from((input, residual): (I, &'a Tensor)) -> Self {
        Self { input: input.into(), residual: Some(residual) }
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
///
/// It keeps its packed weights on the host too, so that it runs again after [`Engine::recover`](crate::Engine::recover).
pub struct Conv(Prepared);

/// A pooling, ready to run. Made by [`Engine::pool`](crate::Engine::pool).
pub struct Pool(Prepared);

impl fmt::Debug for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conv({}: {})", self.plan().problem, self.plan().algorithm)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}: {})", self.plan().problem, self.plan().algorithm)
    }
}

impl Conv {
    pub(crate) fn new(current: &Arc<Current>, plan: Plan, weights: &Weights, images: &ConvImages) -> Result<Self> {
        Prepared::new(current, plan, Some(weights), images).map(Self)
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

    /// [`run`](Self::run) into a tensor that the caller has, or a texture where [`ConvImages`] says so.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_into<'a, 'b>(&self, inputs: impl Into<ConvInputs<'a>>, output: impl Into<Place<'b>>) -> Result<()> {
        let ConvInputs { input, residual } = inputs.into();
        self.0.run(&Io { input, residual, output: output.into(), indices: None })
    }

    pub(crate) fn poison_workspace(&self, word: &[u8; 4]) -> Result<()> {
        self.0.poison_workspace(word)
    }

    /// Records the layer into a caller's pass, between whatever else the caller records there. Keep the tensors until the pass is
    /// submitted: a dropped tensor's buffer is used again.
    ///
    /// What is recorded uses the layer's own workspace, as its runs do, one after the other. Where a run is more than one submission
    /// ([`Explanation::submissions`](crate::Explanation::submissions)), do not submit it while another thread runs the same layer.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn encode<'a, 'b>(
        &self,
        pass: &mut ComputePass<'_>,
        inputs: impl Into<ConvInputs<'a>>,
        output: impl Into<Place<'b>>,
    ) -> Result<()> {
        let ConvInputs { input, residual } = inputs.into();
        gpu::dispatch(pass, &self.0.dispatches(&Io { input, residual, output: output.into(), indices: None })?);
        Ok(())
    }

    /// Runs the layer once, waits for it and tells the time. The first run of a kernel includes the driver's compilation.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile<'a>(&self, inputs: impl Into<ConvInputs<'a>>) -> Result<Timing> {
        let ConvInputs { input, residual } = inputs.into();
        self.0.profile(&Io { input, residual, output: (&self.0.new_output()?).into(), indices: None })
    }
}

impl Pool {
    pub(crate) fn new(current: &Arc<Current>, plan: Plan) -> Result<Self> {
        Prepared::new(current, plan, None, &ConvImages::default()).map(Self)
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
        self.0.plan.problem.indices().is_some()
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
        self.0.run(&Io { input: input.into(), residual: None, output: output.into(), indices: indices.as_ref() })
    }

    /// Runs a max pooling; gives its greatest elements, and their positions as a tensor of i32.
    ///
    /// # Errors
    /// As [`Conv::run`], and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the description asks for no indices.
    pub fn run_with_indices(&self, input: &Tensor) -> Result<(Tensor, Tensor)> {
        let missing = || Error::invalid("indices", "are not an output of this pooling: its description has `indices: None`");
        let (output, indices) = (self.0.new_output()?, self.new_indices()?.ok_or_else(missing)?);
        self.0.run(&Io { input: input.into(), residual: None, output: (&output).into(), indices: Some(&indices) })?;
        Ok((output, indices))
    }

    fn new_indices(&self) -> Result<Option<Tensor>> {
        self.has_indices().then(|| self.0.new_indices()).transpose()
    }

    /// As [`run_with_indices`](Self::run_with_indices), into tensors that the caller has.
    pub(crate) fn run_with_indices_into(&self, input: &Tensor, output: &Tensor, indices: Option<&Tensor>) -> Result<()> {
        self.0.run(&Io { input: input.into(), residual: None, output: output.into(), indices })
    }

    /// Records the layer into a caller's pass; see [`Conv::encode`]. A layer with indices needs a tensor for them.
    ///
    /// # Errors
    /// As [`Conv::run`].
    pub fn encode(&self, pass: &mut ComputePass<'_>, input: &Tensor, output: &Tensor, indices: Option<&Tensor>) -> Result<()> {
        gpu::dispatch(pass, &self.0.dispatches(&Io { input: input.into(), residual: None, output: output.into(), indices })?);
        Ok(())
    }

    /// Runs the layer once, waits for it and tells the time.
    ///
    /// # Errors
    /// As [`Conv::run`].
    pub fn profile(&self, input: &Tensor) -> Result<Timing> {
        let indices = self.new_indices()?;
        self.0.profile(&Io {
            input: input.into(),
            residual: None,
            output: (&self.0.new_output()?).into(),
            indices: indices.as_ref(),
        })
    }
}
