//! [`Map`]: each element of the output is a function of one element of each operand. Broadcasting, transposing, slicing,
//! expanding and concatenating are strides.

use super::{Axes, EACH, Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Slot};
use crate::layout::Layout;
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// The most operands: with the output they are the eight storage buffers that every WebGPU device has.
pub(crate) const MAX_OPERANDS: usize = 7;

/// What operands are called in a function, and where they are bound.
pub(crate) const NAMES: [&str; MAX_OPERANDS] = ["a", "b", "c", "d", "e", "f", "g"];
const BINDINGS: [&str; MAX_OPERANDS] = ["input_0", "input_1", "input_2", "input_3", "input_4", "input_5", "input_6"];

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
    Layout::ChannelsFirst.strides(shape)
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
    /// An expression of the operands, by their [`NAMES`].
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
        // Of the header and of each axis: a number, what belongs to the output, what belongs to each operand.
        let rows = (2 + self.operands.len()).div_ceil(4);
        let mut parameters: Vec<[i32; 4]> = Vec::new();
        let mut add = |first: i64, rest: &dyn Fn(usize) -> i64| -> Result<()> {
            let mut words = vec![0; 4 * rows];
            words[0] = word(first)?;
            for number in 0..=self.operands.len() {
                words[1 + number] = word(rest(number))?;
            }
            parameters.extend(words.chunks_exact(4).map(|row| [row[0], row[1], row[2], row[3]]));
            Ok(())
        };
        let count = axes.count();
        add(count as i64, &|number| if number == 0 { self.output.offset } else { self.operands[number - 1].offset })?;
        for axis in 0..axes.rank() {
            add(axes.sizes[axis] as i64, &|number| axes.strides[number][axis])?;
        }
        let arithmetic = match self.arithmetic {
            Arithmetic::Float => "f32",
            Arithmetic::Integer => "i32",
            Arithmetic::Move => self.output.dtype.name(),
        };
        let types: Vec<&str> = self.operands.iter().map(|operand| operand.dtype.name()).collect();
        let label = format!("map {} {}->{} r{}", self.name, types.join(","), self.output.dtype, axes.rank());
        let mut kernel = Kernel::new(label, self.output.dtype, WORKGROUP)
            .constant("RANK", axes.rank() as i64)
            .constant("ROWS", rows as i64)
            .fragment(EACH)
            .fragment(include_str!("../../shaders/map.wgsl"));
        let mut arguments = Vec::new();
        let mut parameters_text = Vec::new();
        for (number, operand) in self.operands.iter().enumerate() {
            kernel = kernel.binding(BINDINGS[number], array(operand.dtype), Slot::Operand(number));
            let (row, column) = ((number + 2) / 4, (number + 2) % 4);
            arguments.push(format!("{arithmetic}({}[at[{row}][{column}]])", BINDINGS[number]));
            parameters_text.push(format!("{}: {arithmetic}", NAMES[number]));
        }
        kernel = kernel.written("output", array(self.output.dtype), Slot::Output).fragment(format!(
            "fn compute({}) -> {arithmetic} {{\n    return {};\n}}\n\n\
             fn element(at: array<vec4<i32>, ROWS>) -> Elem {{\n    return Elem(compute({}));\n}}",
            parameters_text.join(", "),
            self.function,
            arguments.join(", ")
        ));
        if self.arithmetic == Arithmetic::Float {
            kernel = kernel
                .fragment(include_str!("../../shaders/lib/activations.wgsl"))
                .fragment(include_str!("../../shaders/lib/numbers.wgsl"));
        }
        kernel.iterations = (axes.rank() * (1 + rows)) as u64;
        Operation::new(kernel, (count as u64).div_ceil(u64::from(WORKGROUP)), parameters, limits)
    }
}
