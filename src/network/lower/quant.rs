//! Quantised layers: integers that stand for `(q - zero point) * scale`. Their products are in `bytes`, exact in 32-bit integers; what
//! comes before and behind is computed in f32, in which integers of 24 bits are exact.

use super::bytes::Ending;
use super::{Done, Lowering, is_floats};
use crate::error::Result;
use crate::graph::ops::{Fact, axis_of};
use crate::graph::{Node, Op};
use crate::network::program::DeviceId;
use crate::operation::Arithmetic;
use crate::tensor_desc::DType;
use crate::value::ElementType;

impl Lowering<'_> {
    pub(super) fn quantised(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        let Some(Some(x)) = facts.first() else { return Ok(false) };
        let element = |index: usize| facts.get(index).and_then(Option::as_ref).map(|fact| fact.element);
        // Scales of bf16 would have to be rounded to what no device stores.
        let scales = |indices: &[usize]| {
            let known = |&index: &usize| match element(index) {
                Some(ElementType::F16) => self.engine.limits().f16,
                other => other == Some(ElementType::F32),
            };
            indices.iter().all(known)
        };
        match &node.op {
            Op::QuantizeLinear { axis, block, .. } => {
                if !is_floats(x) || !scales(&[1]) {
                    return Ok(false);
                }
                let output = self.quantize(node, x, results[0].element, *axis, *block)?;
                self.set(node, 0, output);
            }
            Op::DequantizeLinear { axis, block } => {
                if x.element == ElementType::I32 || !scales(&[1]) {
                    return Ok(false);
                }
                let output = self.dequantize(node, x, *axis, *block)?;
                self.set(node, 0, output);
            }
            Op::ConvInteger(_) | Op::MatMulInteger => {
                let mut sums = self.integer_sums(node, facts, [0, 1], [2, 3], None)?.device;
                if self.dtype(sums) != DType::I32 {
                    sums = self.integer("sum", "a", &[sums])?;
                }
                let sums = self.view(sums, &results[0].shape);
                self.set(node, 0, sums);
            }
            Op::QLinearConv(_) | Op::QLinearMatMul => {
                if !scales(&[1, 4, 6]) {
                    return Ok(false);
                }
                let ending = known_ending(node, facts, results[0].element);
                let sums = self.integer_sums(node, facts, [0, 3], [2, 5], ending)?;
                let output = match sums.ended {
                    true => sums.device,
                    false => self.requantize(node, facts, sums.device, results[0].element)?,
                };
                let output = self.view(output, &results[0].shape);
                self.set(node, 0, output);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `saturate(round(x / scale) + zero)`, each step in the scale's type.
    fn quantize(&mut self, node: &Node, x: &Fact, element: ElementType, axis: i64, block: usize) -> Result<DeviceId> {
        let input = self.input(node, 0)?;
        let (input, scale) = self.granules(node, input, x, 1, axis, block)?;
        // A quotient in f16 is rounded to it.
        let (mut operands, quotient, zero) = match self.dtype(scale) {
            DType::F32 => (vec![input, scale], "a / b", "c"),
            dtype => (vec![self.elementwise("quotient", "a / b", &[input, scale], dtype)?], "a", "b"),
        };
        let has_zero = self.optional_input(node, 2)?.is_some();
        if has_zero {
            operands.push(self.granules(node, input, x, 2, axis, block)?.1);
        }
        let output = self.saturated(&quantize_text(quotient, has_zero.then_some(zero), element), &operands)?;
        Ok(self.view(output, &x.shape))
    }

    /// What [`quantize_text`] computes of operands.
    fn saturated(&mut self, function: &str, operands: &[DeviceId]) -> Result<DeviceId> {
        self.map("saturate", Arithmetic::Mixed, (function, &[]), operands, DType::F32)
    }

    fn dequantize(&mut self, node: &Node, x: &Fact, axis: i64, block: usize) -> Result<DeviceId> {
        let input = self.input(node, 0)?;
        let (input, scale) = self.granules(node, input, x, 1, axis, block)?;
        let dtype = self.dtype(scale);
        let mut operands = vec![input, scale];
        if self.optional_input(node, 2)?.is_some() {
            operands.push(self.granules(node, input, x, 2, axis, block)?.1);
        }
        let function = dequantize_text("a", "b", (operands.len() == 3).then_some("c"));
        let output = self.elementwise("dequantize", &function, &operands, dtype)?;
        Ok(self.view(output, &x.shape))
    }

    /// The input and one of its parameters (one for all, for each coordinate of an axis, or for each block) as views that broadcast.
    fn granules(
        &mut self,
        node: &Node,
        input: DeviceId,
        x: &Fact,
        index: usize,
        axis: i64,
        block: usize,
    ) -> Result<(DeviceId, DeviceId)> {
        let parameter = self.input(node, index)?;
        let shape = self.shape(parameter);
        if shape.iter().product::<usize>() == 1 {
            return Ok((input, self.view(parameter, &[])));
        }
        let axis = axis_of(axis, x.rank())?;
        if block == 0 {
            let count = shape.iter().product();
            return Ok((input, self.view(parameter, &[&[count][..], &vec![1; x.rank() - axis - 1]].concat())));
        }
        if !x.shape[axis].is_multiple_of(block) {
            return Err(crate::Error::unsupported("block_size", format!("{block} leaves a part of {} elements", x.shape[axis])));
        }
        let split = [&x.shape[..axis], &[x.shape[axis] / block, block], &x.shape[axis + 1..]].concat();
        let spread = [&shape[..axis + 1], &[1], &shape[axis + 1..]].concat();
        Ok((self.view(input, &split), self.view(parameter, &spread)))
    }

    /// A zero point or scale of a factor as a view that broadcasts to it: for a convolution's weights along the filters, for a matrix
    /// product along the rows of `a` or the columns of `b`.
    fn parameter(&mut self, id: DeviceId, factor: usize, conv: bool, rank: usize) -> DeviceId {
        let shape = self.shape(id);
        let count: usize = shape.iter().product();
        match (count, factor) {
            (1, _) => self.view(id, &[]),
            (_, 1) if conv => self.view(id, &[&[count][..], &vec![1; rank - 1]].concat()),
            (_, 0) if shape.len() == 1 => self.view(id, &[count, 1]),
            _ => id,
        }
    }

    /// `saturate(round((sum + bias) * (a scale * b scale / y scale)) + y zero)`.
    fn requantize(&mut self, node: &Node, facts: &[Option<Fact>], sums: DeviceId, element: ElementType) -> Result<DeviceId> {
        let conv = matches!(node.op, Op::QLinearConv(_));
        let rank = self.shape(sums).len();
        let factor = self.step_of_sums(node, facts, conv, rank)?;
        let zero = self.input(node, 7)?;
        let mut operands = vec![sums, factor, self.view(zero, &[])];
        if let Some(bias) = self.optional_input(node, 8)?.filter(|_| conv) {
            let count = self.shape(bias).iter().product();
            operands.push(self.view(bias, &[&[count][..], &vec![1; rank - 2]].concat()));
        }
        // Sums are whole, also where they come as floats: with the bias they may have more than the 24 bits that floats have.
        let sum = if operands.len() == 4 { "f32(i32(a) + d)" } else { "f32(a)" };
        self.saturated(&quantize_text(&format!("{sum} * b"), Some("c"), element), &operands)
    }

    /// What a step of the sums is in steps of the result: `a scale * b scale / y scale`, as a view that broadcasts to the sums.
    fn step_of_sums(&mut self, node: &Node, facts: &[Option<Fact>], conv: bool, rank: usize) -> Result<DeviceId> {
        let (a, b, y) = (self.input(node, 1)?, self.input(node, 4)?, self.input(node, 6)?);
        if let Some(factors) = known_factors(facts) {
            let shape = self.shape(b);
            let table = self.table(&shape, DType::F32, bytemuck::cast_slice(&factors).to_vec());
            return Ok(self.parameter(table, 1, conv, rank - 1));
        }
        let a = self.parameter(a, 0, conv, rank);
        // Along the filters of the weights is along the channels of the sums.
        let b = self.parameter(b, 1, conv, rank - 1);
        let y = self.view(y, &[]);
        let dtype = self.dtype(y);
        let both = self.elementwise("scales", "a * b", &[a, b], dtype)?;
        self.elementwise("scales", "a / b", &[both, y], dtype)
    }
}

/// The expression of a number in steps of a quantisation as one of its integers: rounded, plus the zero point, held in the type's range.
pub(super) fn quantize_text(steps: &str, zero: Option<&str>, element: ElementType) -> String {
    let (least, most) = element.range().unwrap_or((0, 0));
    // The sum of a rounded number below 2^24 and a zero point is exact; beyond, the range holds it.
    let zero = zero.map_or(String::new(), |zero| format!(" + f32({zero})"));
    format!("clamp(nearest({steps}){zero}, {least}.0, {most}.0)")
}

/// The expression of what a quantised number stands for.
pub(super) fn dequantize_text(number: &str, scale: &str, zero: Option<&str>) -> String {
    match zero {
        Some(zero) => format!("({number} - {zero}) * {scale}"),
        None => format!("{number} * {scale}"),
    }
}

/// `a scale * b scale / y scale`, where they are known and `a` has one.
fn known_factors(facts: &[Option<Fact>]) -> Option<Vec<f32>> {
    let [left, right, result] = [1, 4, 6].map(|index| facts[index].as_ref().and_then(|fact| fact.constant.as_ref()));
    let (left, right, result) = (left?, right?, result?);
    let known = left.len() == 1 && result.element() == ElementType::F32;
    let (left, result) = (left.as_f32(), result.as_f32());
    known.then(|| right.as_f32().iter().map(|right| left[0] * right / result[0]).collect())
}

/// What becomes of a node's sums, where all of it is known.
fn known_ending(node: &Node, facts: &[Option<Fact>], element: ElementType) -> Option<Ending> {
    let known = |index: usize| facts.get(index).and_then(Option::as_ref).and_then(|fact| fact.constant.as_ref());
    let bias = match (&node.op, node.input(8)) {
        (Op::QLinearConv(_), Some(_)) => Some(known(8)?.to_i64()),
        _ => None,
    };
    Some(Ending { bias, factors: known_factors(facts)?, zero: *known(7)?.to_i64().first()?, element })
}
