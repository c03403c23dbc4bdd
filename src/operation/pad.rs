//! [`Pad`]: elements added around a tensor, or cut off it.

use super::{Operation, WORKGROUP, array, dense, word};
use crate::error::Result;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// A dense tensor with elements around it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pad<'a> {
    pub dtype: DType,
    /// The number of [`PaddingMode`](crate::PaddingMode) in the shader: 0 a value, 1 reflect, 2 the border, 3 wrap.
    pub mode: i64,
    /// The value, for mode 0.
    pub value: f32,
    pub shape: &'a [usize],
    /// Elements before and behind each axis; negative ones are cut off.
    pub amounts: &'a [(i64, i64)],
}

impl Pad<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let output: Vec<usize> = self
            .shape
            .iter()
            .zip(self.amounts)
            .map(|(&size, &(begin, end))| (size as i64).saturating_add(begin).saturating_add(end).max(0) as usize)
            .collect();
        let count: usize = output.iter().product();
        let value = if self.dtype == DType::I32 { self.value as i32 } else { self.value.to_bits() as i32 };
        let mut parameters = vec![[word(count as i64)?, value, 0, 0]];
        for (axis, stride) in dense(self.shape).into_iter().enumerate() {
            let sizes = [output[axis] as i64, self.shape[axis] as i64, self.amounts[axis].0, stride];
            let [a, b, c, d] = sizes;
            parameters.push([word(a)?, word(b)?, word(c)?, word(d)?]);
        }
        let fill = if self.dtype == DType::I32 { "p[0].y" } else { "Elem(bitcast<f32>(p[0].y))" };
        let mut kernel = Kernel::new(format!("pad {} {} r{}", self.mode, self.dtype, self.shape.len()), self.dtype, WORKGROUP)
            .constant("MODE", self.mode)
            .constant("RANK", self.shape.len() as i64)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(format!("fn fill() -> Elem {{\n    return {fill};\n}}"))
            .fragment(include_str!("../../shaders/pad.wgsl"));
        kernel.iterations = self.shape.len() as u64;
        Operation::each(kernel, count as u64, parameters, limits)
    }
}
