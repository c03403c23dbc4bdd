//! [`Resample`]: one axis of a resampling: each output is a weighted sum of a few inputs of its axis, which tables list.

use super::{Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Slot, VALUE_1, VALUE_4, vectors};
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

/// Up to so many taps are known to the kernel, which needs no loop then.
const KNOWN_TAPS: usize = 4;

/// What is computed at once, and how it is stored.
const PUT_ONE: &str = "\
alias Value = f32;

fn put(index: i32, sum: Value) {
    output[index] = Elem(sum);
}";
const PUT_FOUR: &str = "\
alias Value = vec4<f32>;

fn put(index: i32, sum: Value) {
    put_output_4(u32(index), vec4<Elem>(sum));
}";

/// Which four outputs are computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fours {
    None,
    /// Neighbours on the axis, the last one.
    Along,
    /// Neighbours behind the axis.
    Across,
}

impl Resample<'_> {
    fn fours(&self) -> Fours {
        match self.inner {
            1 if self.output.is_multiple_of(4) => Fours::Along,
            inner if inner.is_multiple_of(4) => Fours::Across,
            _ => Fours::None,
        }
    }

    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let taps = self.indices.len().checked_div(self.output).unwrap_or(0);
        if self.indices.len() != self.weights.len() || taps == 0 {
            return Err(Error::invalid("scales", "give an axis without elements"));
        }
        let count = self.outer.saturating_mul(self.output).saturating_mul(self.inner);
        let fours = self.fours();
        let [along, across] = match fours {
            Fours::None => [1, 1],
            Fours::Along => [4, 1],
            Fours::Across => [1, 4],
        };
        let parameters = vec![
            [
                word((count / (along * across)) as i64)?,
                word(self.input as i64)?,
                word((self.output / along) as i64)?,
                word((self.inner / across) as i64)?,
            ],
            [word(taps as i64)?, self.outside.to_bits() as i32, 0, 0],
        ];
        let (one, four) = (array(self.dtype), vectors(self.dtype));
        let (loaded, stored, types, each) = match fours {
            Fours::None => (one, one, PUT_ONE, include_str!("../../shaders/lib/resample_across.wgsl")),
            Fours::Across => (four, four, PUT_FOUR, include_str!("../../shaders/lib/resample_across.wgsl")),
            Fours::Along => (one, four, "alias Value = f32;", include_str!("../../shaders/lib/resample_along.wgsl")),
        };
        let value = if fours == Fours::Across { VALUE_4 } else { VALUE_1 };
        let known = if taps <= KNOWN_TAPS { taps } else { 0 };
        let mut kernel = Kernel::new(format!("resample {} t{known} {fours:?}", self.dtype), self.dtype, WORKGROUP)
            .constant("TAPS", known as i64)
            .binding("input", loaded, Slot::Operand(0))
            .binding("indices", array(DType::I32), Slot::Table(0))
            .binding("weights", array(DType::F32), Slot::Table(1))
            .written("output", stored, Slot::Output)
            .fragment(types)
            .fragment(value)
            .fragment(include_str!("../../shaders/resample.wgsl"))
            .fragment(each);
        kernel.iterations = 4 * taps as u64;
        let mut operation = Operation::each(kernel, parameters[0][0] as u64, parameters, limits)?;
        operation.tables = vec![bytemuck::cast_slice(self.indices).to_vec(), bytemuck::cast_slice(self.weights).to_vec()];
        // Each output reads as many inputs as it has taps.
        Ok(operation.reading_again((count * taps * self.dtype.bytes()) as u64, limits))
    }
}
