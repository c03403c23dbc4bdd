//! [`Gather`]: slices of an axis by an index, and its counterpart [`Scatter`], which puts elements at indices.

use std::ops::Range;

use super::{Operation, WORKGROUP, array, word};
use crate::error::Result;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// `output[o, j, i] = input[o, indices[j], i]` over a dense `[outer, size, inner]`; operand 0 is the input, operand 1 the indices. An index
/// outside of the axis gives a NaN, or 0 among integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gather {
    pub dtype: DType,
    pub outer: usize,
    pub size: usize,
    pub inner: usize,
    pub indices: usize,
    /// Whether the elements are floats, whatever they are stored as: then what no index names is a NaN.
    pub float: bool,
}

/// Some elements of a gather, and the ranges of its tensors that are bound for them, in elements of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatherPart {
    /// Of the output: written where the bound input has what belongs there.
    pub elements: Range<usize>,
    pub output: Range<usize>,
    pub input: Range<usize>,
    pub indices: Range<usize>,
}

impl Gather {
    /// Elements of the output.
    pub fn count(&self) -> usize {
        self.outer.saturating_mul(self.indices).saturating_mul(self.inner)
    }

    /// Whether one of these indices names an element of this range of the input, where there is one outer item.
    pub fn names(&self, indices: &[i32], input: &Range<usize>) -> bool {
        indices.iter().any(|&index| {
            let index = if index < 0 { i64::from(index) + self.size as i64 } else { index.into() };
            usize::try_from(index).is_ok_and(|at| at * self.inner < input.end && (at + 1) * self.inner > input.start)
        })
    }

    /// The kernel of the whole.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let input = 0..self.outer.saturating_mul(self.size).saturating_mul(self.inner);
        self.part(&GatherPart { elements: 0..self.count(), output: 0..self.count(), input, indices: 0..self.indices }, limits)
    }

    /// The kernel of a part.
    pub fn part(&self, part: &GatherPart, limits: &DeviceLimits) -> Result<Operation> {
        let size = |value: usize| word(value as i64);
        let GatherPart { elements, output, input, indices } = part;
        // The last element's number, which the kernel computes.
        size(input.end)?;
        let parameters = vec![
            [size(elements.len())?, size(self.size)?, size(self.inner)?, size(self.indices)?],
            [size(elements.start)?, size(output.start)?, size(indices.start)?, size(input.start)?],
            [size(input.len())?, f32::NAN.to_bits() as i32, 0, 0],
        ];
        let flat = self.outer == 1 && self.inner == 1;
        let missing = if self.float { "Elem(bitcast<f32>(p[2].y))" } else { "Elem(0)" };
        let name = if flat { "gather flat" } else { "gather" };
        let of = if self.float { "floats" } else { "integers" };
        let kernel = Kernel::new(format!("{name} {} of {of}", self.dtype), self.dtype, WORKGROUP)
            .flag("FLAT", flat)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .binding("indices", array(DType::I32), Slot::Operand(1))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(format!("fn missing() -> Elem {{\n    return {missing};\n}}"))
            .fragment(include_str!("../../shaders/gather.wgsl"));
        Operation::each(kernel, elements.len() as u64, parameters, limits)
    }
}

/// `output[indices[i]] = input[i]`; operand 0 is the input, operand 1 the indices. The rest of the output stays as it is. What is bound of
/// the tensors are ranges of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scatter {
    pub dtype: DType,
    /// Of the input: those that are put to their places, where these are bound.
    pub elements: Range<usize>,
    pub input: Range<usize>,
    pub indices: Range<usize>,
    pub output: Range<usize>,
}

impl Scatter {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let size = |value: usize| word(value as i64);
        let Self { dtype, elements, input, indices, output } = self;
        let parameters = vec![
            [size(elements.len())?, size(elements.start - input.start)?, size(elements.start - indices.start)?, 0],
            [size(output.start)?, size(output.end)?, 0, 0],
        ];
        let kernel = Kernel::new(format!("scatter {dtype}"), *dtype, WORKGROUP)
            .binding("input", array(*dtype), Slot::Operand(0))
            .binding("indices", array(DType::I32), Slot::Operand(1))
            .written("output", array(*dtype), Slot::Output)
            .fragment(include_str!("../../shaders/scatter.wgsl"));
        Operation::each(kernel, elements.len() as u64, parameters, limits)
    }
}
