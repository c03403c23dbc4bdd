//! [`Pad`]: elements added around a tensor, or cut off it.

use std::fmt::Write as _;

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
        let padded: String = self.amounts.iter().map(|&amounts| if amounts == (0, 0) { '0' } else { '1' }).collect();
        let kernel = Kernel::new(format!("pad {} {} {padded}", self.mode, self.dtype), self.dtype, WORKGROUP)
            .constant("MODE", self.mode)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(include_str!("../../shaders/pad.wgsl"))
            .fragment(self.each());
        Operation::each(kernel, count as u64, parameters, limits)
    }

    /// The element at one place of the output: a line for each axis, which no compiler has to unroll, and one load and one store.
    fn each(&self) -> String {
        let value = if self.dtype == DType::I32 { "p[0].y" } else { "Elem(bitcast<f32>(p[0].y))" };
        let (mut lines, mut place, mut inside) = (String::new(), Vec::new(), vec!["true".to_string()]);
        for axis in (0..self.shape.len()).rev() {
            let row = axis + 1;
            let whole = if row == self.shape.len() { "index".to_string() } else { format!("rest_{row}") };
            // Writing to a String cannot fail.
            let _ = match axis {
                0 => writeln!(lines, "    let out_0 = {whole};"),
                _ => writeln!(
                    lines,
                    "    let rest_{axis} = quotient({whole}, p[{row}].x);\n    let out_{axis} = {whole} - rest_{axis} * p[{row}].x;"
                ),
            };
            if self.amounts[axis] == (0, 0) {
                place.push(format!("out_{axis} * p[{row}].w"));
                continue;
            }
            let _ = writeln!(lines, "    let at_{axis} = found(out_{axis} - p[{row}].z, p[{row}].y);");
            place.push(format!("at_{axis} * p[{row}].w"));
            inside.push(format!("at_{axis} >= 0"));
        }
        let (place, inside) = (place.join(" + "), inside.join(" && "));
        format!(
            "fn each(index: i32) {{\n{lines}    let inside = {inside};\n    let element = input[select(0, {place}, inside)];\n    \
             output[index] = select({value}, element, inside);\n}}"
        )
    }
}
