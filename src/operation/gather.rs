//! [`Gather`]: slices of an axis by an index, and its counterpart that puts elements at indices.

use super::{EACH, Operation, WORKGROUP, array, word};
use crate::error::Result;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// `output[o, j, i] = input[o, indices[j], i]` over a dense `[outer, size, inner]`; operand 0 is the input, operand 1 the indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gather {
    pub dtype: DType,
    pub outer: usize,
    pub size: usize,
    pub inner: usize,
    pub indices: usize,
    /// Whether -1 stands for a zero, and not for the last element.
    pub zeros: bool,
}

impl Gather {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let count = self.outer.saturating_mul(self.indices).saturating_mul(self.inner);
        let parameters =
            vec![[word(count as i64)?, word(self.size as i64)?, word(self.inner as i64)?, word(self.indices as i64)?]];
        let kernel = Kernel::new(format!("gather {}", self.dtype), self.dtype, WORKGROUP)
            .flag("ZEROS", self.zeros)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .binding("indices", array(DType::I32), Slot::Operand(1))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(EACH)
            .fragment(include_str!("../../shaders/gather.wgsl"));
        Operation::new(kernel, (count as u64).div_ceil(u64::from(WORKGROUP)), parameters, limits)
    }
}

/// `output[indices[i]] = input[i]`; operand 0 is the input, operand 1 the indices. The rest of the output stays as it is.
pub(crate) fn scatter(dtype: DType, count: usize, outputs: usize, limits: &DeviceLimits) -> Result<Operation> {
    let parameters = vec![[word(count as i64)?, word(outputs as i64)?, 0, 0]];
    let kernel = Kernel::new(format!("scatter {dtype}"), dtype, WORKGROUP)
        .binding("input", array(dtype), Slot::Operand(0))
        .binding("indices", array(DType::I32), Slot::Operand(1))
        .written("output", array(dtype), Slot::Output)
        .fragment(EACH)
        .fragment(include_str!("../../shaders/scatter.wgsl"));
    Operation::new(kernel, (count as u64).div_ceil(u64::from(WORKGROUP)), parameters, limits)
}
