//! [`Resample`]: one axis of a resampling: each output is a weighted sum of a few inputs of its axis, which tables list.

use super::{EACH, Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// `output[o, y, i] = sum over t of weights[y, t] * input[o, indices[y, t], i]` over a dense `[outer, input, inner]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resample<'a> {
    pub dtype: DType,
    pub outer: usize,
    pub input: usize,
    pub inner: usize,
    pub output: usize,
    /// `[output, taps]`; where the first of an output is -1, the output is `outside`.
    pub indices: &'a [i32],
    /// `[output, taps]`
    pub weights: &'a [f32],
    pub outside: f32,
}

impl Resample<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let count = self.outer.saturating_mul(self.output).saturating_mul(self.inner);
        let taps = self.indices.len().checked_div(self.output).unwrap_or(0);
        if self.indices.len() != self.weights.len() || taps == 0 {
            return Err(Error::invalid("scales", "give an axis without elements"));
        }
        let parameters = vec![
            [word(count as i64)?, word(self.input as i64)?, word(self.output as i64)?, word(self.inner as i64)?],
            [word(taps as i64)?, self.outside.to_bits() as i32, 0, 0],
        ];
        let mut kernel = Kernel::new(format!("resample {}", self.dtype), self.dtype, WORKGROUP)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .binding("indices", array(DType::I32), Slot::Table(0))
            .binding("weights", array(DType::F32), Slot::Table(1))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(EACH)
            .fragment(include_str!("../../shaders/resample.wgsl"));
        kernel.iterations = taps as u64;
        let mut operation = Operation::new(kernel, (count as u64).div_ceil(u64::from(WORKGROUP)), parameters, limits)?;
        operation.tables = vec![bytemuck::cast_slice(self.indices).to_vec(), bytemuck::cast_slice(self.weights).to_vec()];
        // Each output reads as many inputs as it has taps.
        Ok(operation.reading_again((count * taps * self.dtype.bytes()) as u64, limits))
    }
}
