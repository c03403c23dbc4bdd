//! [`Map`]: each element of the output is a function of one element of each operand. Broadcasting, transposing, slicing,
//! expanding and concatenating are strides.

use std::fmt::Write as _;

use super::{Axes, Copied, Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Slot, vectors};
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

impl Operand {
    /// Whether four neighbours on the last axis are neighbours here, at a multiple of 4.
    fn has_fours(&self, strides: &[i64]) -> bool {
        let (last, others) = strides.split_last().expect("there is an axis");
        *last == 1 && self.offset % 4 == 0 && others.iter().all(|stride| stride % 4 == 0)
    }
}

/// From this many columns on, single ones or fours, a workgroup has a part of one row: most of an element's time is finding it, but starting
/// a workgroup takes a software adapter as long as a hundred.
const LONG_ROW: usize = 192;

/// How an operand's elements are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loads {
    /// One for all along the last axis.
    Same,
    /// One for each output.
    One,
    /// Four at once.
    Four,
    /// Four, one after the other.
    Apart,
}

/// In which numbers a map computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// 32-bit floats.
    Float,
    /// 32-bit integers.
    Integer,
    /// Operands that are integers as integers, others and the result as 32-bit floats.
    Mixed,
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
    /// An expression of the operands, by their [`NAMES`], and of the scalars, `s0` and so on.
    pub function: &'a str,
    /// Numbers that the kernel gets as parameters: functions that differ only in them are one kernel.
    pub scalars: &'a [f32],
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
        let fours = axes.sizes[axes.rank() - 1].is_multiple_of(4) && self.output.has_fours(&axes.strides[0]);
        let loads = self.operands.iter().zip(&axes.strides[1..]).map(|(operand, strides)| match strides[axes.rank() - 1] {
            0 => Loads::Same,
            _ if !fours => Loads::One,
            _ if operand.has_fours(strides) => Loads::Four,
            _ => Loads::Apart,
        });
        let types: Vec<&str> = self.operands.iter().map(|operand| operand.dtype.name()).collect();
        let by = if fours { " by 4" } else { "" };
        let loads: Vec<Loads> = loads.collect();
        let columns = axes.sizes[axes.rank() - 1] / if fours { 4 } else { 1 };
        let rows = axes.count() / axes.sizes[axes.rank() - 1];
        let by_rows = axes.rank() > 1 && columns >= LONG_ROW;
        let form = if by_rows { "rows of r" } else { "r" };
        let label = format!("map {} {}->{} {form}{}{by}", self.name, types.join(","), self.output.dtype, axes.rank());
        let kernel = Kernel::new(label, self.output.dtype, WORKGROUP);
        let kernel = self.with_function(kernel, &loads, fours, axes.rank(), by_rows);
        let parameters = self.parameters(&axes, if by_rows { rows } else { rows * columns }, &loads, fours)?;
        let operation = if by_rows {
            let axis = axes.rank() * self.rows();
            Operation::rows(kernel, [rows as u64, columns as u64], axis, parameters, limits)?
        } else {
            Operation::each(kernel, (rows * columns) as u64, parameters, limits)?
        };
        Ok(Operation { copied: self.copied(&axes), ..operation })
    }

    /// What the map copies, where it does nothing else, and in one piece.
    fn copied(&self, axes: &Axes) -> Option<Copied> {
        let ([operand], Arithmetic::Move) = (self.operands.as_slice(), self.arithmetic) else { return None };
        let in_one_piece = axes.count() == 1 || axes.rank() == 1 && axes.strides.iter().all(|strides| strides[0] == 1);
        let bytes = |elements: i64| u64::try_from(elements).ok().map(|elements| elements * self.output.dtype.bytes() as u64);
        let (from, to, bytes) = (bytes(operand.offset)?, bytes(self.output.offset)?, bytes(axes.count() as i64)?);
        (in_one_piece && operand.dtype == self.output.dtype).then_some(Copied { from, to, bytes })
    }

    /// Rows of parameters of the header and of each axis: a number, what belongs to the output, what belongs to each operand.
    fn rows(&self) -> usize {
        (2 + self.operands.len()).div_ceil(4)
    }

    /// The parameters: a header and one for each axis, outermost first. Header: the count, and where the output and each operand begin.
    /// Axis: its size, and the stride of the output and of each operand. Then the scalars' bits.
    fn parameters(&self, axes: &Axes, count: usize, loads: &[Loads], fours: bool) -> Result<Vec<[i32; 4]>> {
        // What is loaded or stored four at a time is counted in fours.
        let unit = |number: usize| match number {
            0 => {
                if fours {
                    4
                } else {
                    1
                }
            }
            _ => {
                if loads[number - 1] == Loads::Four {
                    4
                } else {
                    1
                }
            }
        };
        let mut parameters = Vec::new();
        let mut add = |first: i64, rest: &dyn Fn(usize) -> i64| -> Result<()> {
            let mut words = vec![0; 4 * self.rows()];
            words[0] = word(first)?;
            for number in 0..=self.operands.len() {
                words[1 + number] = word(rest(number) / unit(number))?;
            }
            parameters.extend(words.chunks_exact(4).map(|row| [row[0], row[1], row[2], row[3]]));
            Ok(())
        };
        add(count as i64, &|number| if number == 0 { self.output.offset } else { self.operands[number - 1].offset })?;
        for axis in 0..axes.rank() {
            let step = if fours && axis + 1 == axes.rank() { 4 } else { 1 };
            add(axes.sizes[axis] as i64 / step, &|number| axes.strides[number][axis] * step)?;
        }
        parameters
            .extend(self.scalars.chunks(4).map(|four| std::array::from_fn(|at| four.get(at).map_or(0, |s| s.to_bits() as i32))));
        Ok(parameters)
    }

    /// The statements that find where the element or row of a number is on each of so many axes: a line for each, which no compiler has to
    /// unroll.
    fn coordinates(&self, number: &str, axes: usize) -> String {
        let mut text = format!("    let rest_0 = {number};\n");
        for (done, axis) in (1..axes).rev().enumerate() {
            let (next, size) = (done + 1, format!("p[{}].x", (axis + 1) * self.rows()));
            let _ = writeln!(text, "    let rest_{next} = quotient(rest_{done}, {size});"); // writing to a String cannot fail
            let _ = writeln!(text, "    let at_{axis} = rest_{done} - rest_{next} * {size};");
        }
        text + &format!("    let at_0 = rest_{};\n", axes.max(1) - 1)
    }

    /// Where the element at places on so many axes stands in a tensor; the output is the first one.
    fn place(&self, number: usize, axes: usize) -> String {
        let (row, column) = ((number + 1) / 4, (number + 1) % 4);
        let steps = (0..axes).map(|axis| format!(" + at_{axis} * p[{}][{column}]", (axis + 1) * self.rows() + row));
        format!("p[{row}][{column}]") + &steps.collect::<String>()
    }

    /// What a column adds to that.
    fn along(&self, number: usize, rank: usize) -> String {
        format!("column * p[{}][{}]", rank * self.rows() + (number + 1) / 4, (number + 1) % 4)
    }

    /// The kernel with its tensors, and what is done with an element of each, by the elements' numbers or by rows and columns.
    fn with_function(&self, mut kernel: Kernel, loads: &[Loads], fours: bool, rank: usize, by_rows: bool) -> Kernel {
        let of_operand = |dtype: DType| match self.arithmetic {
            Arithmetic::Mixed if dtype == DType::I32 => "i32",
            Arithmetic::Float | Arithmetic::Mixed => "f32",
            Arithmetic::Integer => "i32",
            Arithmetic::Move => self.output.dtype.name(),
        };
        let result_type = match self.arithmetic {
            Arithmetic::Mixed => "f32",
            _ => of_operand(self.output.dtype),
        };
        // What a row has of its own: names, types and values.
        let mut fields = vec![("at_output".to_string(), "i32", self.place(0, rank - 1))];
        let (mut values, mut arguments, mut parameters) = (String::new(), Vec::new(), Vec::new());
        for ((number, operand), loads) in self.operands.iter().enumerate().zip(loads) {
            let arithmetic = of_operand(operand.dtype);
            let (name, input, at) = (NAMES[number], BINDINGS[number], format!("at_{}", NAMES[number]));
            let single = |place: &str| format!("{arithmetic}({input}[{place}])");
            let (elements, value, argument) = match loads {
                Loads::Same | Loads::One => (array(operand.dtype), single(&at), name.to_string()),
                Loads::Four => {
                    (vectors(operand.dtype), format!("vec4<{arithmetic}>({input}_4(u32({at})))"), format!("{name}.PART"))
                }
                Loads::Apart => {
                    let (row, column) = ((number + 2) / 4, (number + 2) % 4);
                    let step = format!("(p[{}][{column}] / 4)", rank * self.rows() + row);
                    let four = [0, 1, 2, 3].map(|part| single(&format!("{at} + {part} * {step}")));
                    (array(operand.dtype), format!("vec4<{arithmetic}>({})", four.join(", ")), format!("{name}.PART"))
                }
            };
            kernel = kernel.binding(input, elements, Slot::Operand(number));
            // Writing to a String cannot fail.
            let _ = match (by_rows, loads) {
                (true, Loads::Same) => {
                    fields.push((name.into(), arithmetic, single(&self.place(number + 1, rank - 1))));
                    writeln!(values, "    let {name} = row.{name};")
                }
                (true, _) => {
                    fields.push((at.clone(), "i32", self.place(number + 1, rank - 1)));
                    writeln!(values, "    let {at} = row.{at} + {};\n    let {name} = {value};", self.along(number + 1, rank))
                }
                (false, _) => writeln!(values, "    let {at} = {};\n    let {name} = {value};", self.place(number + 1, rank)),
            };
            arguments.push(argument);
            parameters.push(format!("{name}: {arithmetic}"));
        }
        for number in 0..self.scalars.len() {
            let row = (rank + 1) * self.rows() + number / 4;
            let _ = writeln!(values, "    let s{number} = bitcast<f32>(p[{row}][{}]);", number % 4); // writing to a String cannot fail
            arguments.push(format!("s{number}"));
            parameters.push(format!("s{number}: f32"));
        }
        let result = format!("Elem(compute({}))", arguments.join(", "));
        let set = |place: &str| match fours {
            false => format!("output[{place}] = {result}"),
            true => {
                let four = ["x", "y", "z", "w"].map(|part| result.replace("PART", part));
                format!("put_output_4(u32({place}), vec4<Elem>({}))", four.join(", "))
            }
        };
        let elements = if fours { vectors(self.output.dtype) } else { array(self.output.dtype) };
        let each = if by_rows {
            let declared: String = fields.iter().map(|(name, ty, _)| format!("    {name}: {ty},\n")).collect();
            let given: Vec<&str> = fields.iter().map(|(.., value)| value.as_str()).collect();
            format!(
                "struct Row {{\n{declared}}}\n\n\
                 fn row_of(number: i32) -> Row {{\n{}    return Row({});\n}}\n\n\
                 fn each(row: Row, column: i32) {{\n{values}    {};\n}}",
                self.coordinates("number", rank - 1),
                given.join(", "),
                set(&format!("row.at_output + {}", self.along(0, rank))),
            )
        } else {
            let (coordinates, set) = (self.coordinates("index", rank), set(&self.place(0, rank)));
            format!("fn each(index: i32) {{\n{coordinates}{values}    {set};\n}}")
        };
        kernel = kernel.written("output", elements, Slot::Output).fragment(format!(
            "fn compute({}) -> {result_type} {{\n    return {};\n}}\n\n{each}",
            parameters.join(", "),
            self.function,
        ));
        match self.arithmetic {
            Arithmetic::Integer | Arithmetic::Move => kernel,
            Arithmetic::Float | Arithmetic::Mixed => kernel
                .fragment(include_str!("../../shaders/lib/activations.wgsl"))
                .fragment(include_str!("../../shaders/lib/numbers.wgsl")),
        }
    }
}
