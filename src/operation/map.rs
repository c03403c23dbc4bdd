//! [`Map`]: each element of the output is a function of one element of each operand. Broadcasting, transposing, slicing,
//! expanding and concatenating are strides.

use super::{Axes, Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// The most operands: their places are one `vec4`.
const MAX_OPERANDS: usize = 4;

/// A tensor that is read or written along the output's axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operand {
    pub dtype: DType,
    /// Of the first element, in elements.
    pub offset: i64,
    /// For each axis of the output; 0 where the operand is broadcast.
    pub strides: Vec<i64>,
}

/// The strides of a dense tensor.
pub(crate) fn dense(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1) as i64;
    }
    strides
}

/// In which numbers a map computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// 32-bit floats.
    Float,
    /// 32-bit integers.
    Integer,
    /// None: elements are moved as they are.
    Move,
}

/// A function of elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Map<'a> {
    /// For the kernel's label.
    pub name: &'a str,
    pub shape: &'a [usize],
    pub operands: Vec<Operand>,
    pub output: Operand,
    pub arithmetic: Arithmetic,
    /// An expression of `a`, `b`, `c` and `d`.
    pub function: &'a str,
}

impl Map<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        if self.operands.len() > MAX_OPERANDS {
            return Err(Error::unsupported(
                "input",
                format!("has {} operands, but a map has {MAX_OPERANDS}", self.operands.len()),
            ));
        }
        let lists: Vec<&[i64]> = std::iter::once(&self.output).chain(&self.operands).map(|one| one.strides.as_slice()).collect();
        let mut axes = Axes::merged(self.shape, &lists);
        if axes.rank() == 0 {
            axes = Axes { sizes: vec![1], strides: vec![vec![0]; lists.len()] };
        }
        let four = |value: &dyn Fn(usize) -> i64| -> Result<[i32; 4]> {
            let mut list = [0; 4];
            for (number, slot) in list.iter_mut().enumerate().take(self.operands.len()) {
                *slot = word(value(number))?;
            }
            Ok(list)
        };
        let count = axes.count();
        let mut parameters =
            vec![[word(count as i64)?, word(self.output.offset)?, 0, 0], four(&|number| self.operands[number].offset)?];
        for axis in 0..axes.rank() {
            parameters.push([word(axes.sizes[axis] as i64)?, word(axes.strides[0][axis])?, 0, 0]);
            parameters.push(four(&|number| axes.strides[1 + number][axis])?);
        }
        let arithmetic = match self.arithmetic {
            Arithmetic::Float => "f32",
            Arithmetic::Integer => "i32",
            Arithmetic::Move => self.output.dtype.name(),
        };
        let names = ["a", "b", "c", "d"];
        let types: Vec<&str> = self.operands.iter().map(|operand| operand.dtype.name()).collect();
        let label = format!("map {} {}->{} r{}", self.name, types.join(","), self.output.dtype, axes.rank());
        let mut kernel = Kernel::new(label, self.output.dtype, WORKGROUP)
            .constant("RANK", axes.rank() as i64)
            .fragment(include_str!("../../shaders/map.wgsl"));
        let mut arguments = Vec::new();
        let mut parameters_text = Vec::new();
        for (number, operand) in self.operands.iter().enumerate() {
            kernel =
                kernel.binding(["input_0", "input_1", "input_2", "input_3"][number], array(operand.dtype), Slot::Operand(number));
            arguments.push(format!("{arithmetic}(input_{number}[at[{number}]])"));
            parameters_text.push(format!("{}: {arithmetic}", names[number]));
        }
        let function = self.function;
        kernel = kernel.written("output", array(self.output.dtype), Slot::Output).fragment(format!(
            "fn compute({}) -> {arithmetic} {{\n    return {function};\n}}\n\n\
             fn element(at: vec4<i32>) -> Elem {{\n    return Elem(compute({}));\n}}",
            parameters_text.join(", "),
            arguments.join(", ")
        ));
        if self.arithmetic == Arithmetic::Float {
            kernel = kernel
                .fragment(include_str!("../../shaders/lib/activations.wgsl"))
                .fragment(include_str!("../../shaders/lib/numbers.wgsl"));
        }
        kernel.iterations = axes.rank() as u64;
        Operation::new(kernel, (count as u64).div_ceil(u64::from(WORKGROUP)), parameters, limits)
    }
}
