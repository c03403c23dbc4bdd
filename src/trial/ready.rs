//! [`Ready`]: a plan with operands on a device, its outputs poisoned.

use std::sync::Arc;
use std::time::Duration;

use super::operands::Operands;
use crate::algorithm::Plan;
use crate::error::Result;
use crate::gpu::{Current, Gpu};
use crate::layer::{Conv, ConvImages, ConvInputs, Pool};
use crate::problem::Layer;
use crate::tensor::Tensor;
use crate::tensor_desc::DType;

/// A quiet NaN that no computation gives.
pub(super) const POISON: [u8; 4] = 0x7fc0_dead_u32.to_le_bytes();

/// Bytes behind an output that no kernel may touch.
pub(super) const GUARD: u64 = 512;

/// A layer and its tensors.
pub(crate) struct Ready {
    layer: Prepared,
    input: Tensor,
    residual: Option<Tensor>,
    output: Tensor,
    indices: Option<Tensor>,
}

enum Prepared {
    Conv(Conv),
    Pool(Pool),
}

/// What came back from the device.
pub(super) struct Results {
    pub values: Vec<f32>,
    pub bytes: Vec<u8>,
    pub indices: Option<Vec<i32>>,
    pub index_bytes: Vec<u8>,
}

impl Ready {
    /// Packs weights, compiles kernels, uploads the operands.
    pub fn new(gpu: &Arc<Gpu>, plan: &Plan, operands: &Operands) -> Result<Self> {
        let output_desc = plan.output_desc();
        let current = Arc::new(Current::new(gpu.clone()));
        let (layer, indices) = match &plan.problem.layer {
            Layer::Conv(_) => {
                (Prepared::Conv(Conv::new(&current, plan.clone(), &operands.weights(), &ConvImages::default())?), None)
            }
            Layer::Pool(desc) => {
                let wanted = desc.indices().is_some();
                let desc = output_desc.with_dtype(DType::I32);
                let indices = wanted.then(|| Tensor::filled(gpu, &desc, GUARD, &POISON)).transpose()?;
                (Prepared::Pool(Pool::new(&current, plan.clone())?), indices)
            }
        };
        let residual = operands.residual.as_ref().map(|data| Tensor::uploaded(gpu, data, &output_desc)).transpose()?;
        Ok(Self {
            layer,
            input: Tensor::uploaded(gpu, &operands.input, &plan.problem.input)?,
            residual,
            output: Tensor::filled(gpu, &output_desc, GUARD, &POISON)?,
            indices,
        })
    }

    fn conv_inputs(&self) -> ConvInputs<'_> {
        ConvInputs { input: (&self.input).into(), residual: self.residual.as_ref() }
    }

    /// Runs once, waits, and tells the time: the device's, or the host's where it has no timestamps or none that tick.
    pub fn time(&self) -> Result<Duration> {
        let timing = match &self.layer {
            Prepared::Conv(conv) => conv.profile(self.conv_inputs()),
            Prepared::Pool(pool) => pool.profile(&self.input),
        }?;
        Ok(timing.device.filter(|time| !time.is_zero()).unwrap_or(timing.wall))
    }

    /// Runs once into poisoned outputs and reads them back.
    pub(super) fn results(&self) -> Result<Results> {
        for tensor in [Some(&self.output), self.indices.as_ref()].into_iter().flatten() {
            tensor.fill(&POISON)?;
        }
        match &self.layer {
            Prepared::Conv(conv) => {
                conv.poison_workspace(&POISON)?;
                conv.run_into(self.conv_inputs(), &self.output)?;
            }
            Prepared::Pool(pool) => pool.run_with_indices_into(&self.input, &self.output, self.indices.as_ref())?,
        }
        let list = |tensor: &Tensor| tensor.to_vec::<i32>();
        Ok(Results {
            values: self.output.to_vec::<f32>()?,
            bytes: self.output.read_all()?,
            index_bytes: self.indices.as_ref().map(Tensor::read_all).transpose()?.unwrap_or_default(),
            indices: self.indices.as_ref().map(list).transpose()?,
        })
    }
}
