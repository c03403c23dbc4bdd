//! Reductions and normalisations whose rows are long: more than a binding holds, or more than one workgroup should walk; normalisations of
//! few rows too. A row is reduced
//! in slices, one workgroup for each, and what they give is reduced once more, in the order of the slices. A normalisation is functions
//! of elements around reductions then.

use super::Lowering;
use super::slices::MOST;
use crate::error::{Error, Result};
use crate::kernel::Slot;
use crate::limits::Ranges;
use crate::network::program::DeviceId;
use crate::operation::{Gather, NormaliseKind, Reduction, ReductionKind};
use crate::tensor_desc::DType;

/// The most elements that one workgroup reduces: about half of what a software driver lets its loops take.
const LONGEST: usize = 1 << 20;

/// Slices begin at multiples of so many elements, so that most can be bound as they lie.
const STEP: usize = 128;

impl Lowering<'_> {
    /// Whether rows of so many elements are reduced in slices.
    pub(super) fn is_long(&self, length: usize, dtype: DType) -> bool {
        length > LONGEST || (length * dtype.bytes()) as u64 > Ranges::of(self.engine.limits()).most
    }

    /// A reduction of the rows of `[rows, length]` to `[rows]`, in slices.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where that takes too many slices.
    pub(super) fn reduce_long(&mut self, input: DeviceId, kind: ReductionKind, length: usize, dtype: DType) -> Result<DeviceId> {
        let rows = self.shape(input).iter().product::<usize>() / length;
        let room = Ranges::of(self.engine.limits()).most as usize / self.dtype(input).bytes();
        let step = (room.min(LONGEST) / STEP * STEP).max(STEP);
        let begins: Vec<usize> = (0..length).step_by(step).collect();
        let slices = begins.len();
        if rows * slices > MOST {
            let text = format!("needs {} slices of {step} elements, but at most {MOST} are made", rows * slices);
            return Err(Error::unsupported("input", text));
        }
        let of_slice = match kind {
            ReductionKind::Mean | ReductionKind::LogSum => ReductionKind::Sum,
            ReductionKind::L2 => ReductionKind::SumSquare,
            ReductionKind::ArgMax { .. } => ReductionKind::Max,
            ReductionKind::ArgMin { .. } => ReductionKind::Min,
            kind => kind,
        };
        let (mut values, mut positions) = (Vec::new(), Vec::new());
        for row in 0..rows {
            for &begin in &begins {
                let [first, count] = [row * length + begin, step.min(length - begin)];
                values.push(self.reduce_slice(input, of_slice, [first, count], DType::F32)?);
                if kind.is_position() {
                    positions.push(self.reduce_slice(input, kind, [first, count], DType::I32)?);
                }
            }
        }
        let values = self.concat(&values, 0)?;
        let values = self.view(values, &[rows, slices]);
        let (of_all, result) = match of_slice {
            _ if kind.is_position() => (kind, DType::I32),
            ReductionKind::L1 | ReductionKind::SumSquare => (ReductionKind::Sum, DType::F32),
            _ => (of_slice, DType::F32),
        };
        let whole = self.reduce(values, of_all, &[1], result)?;
        let function = match kind {
            ReductionKind::Mean => format!("a / {length}.0"),
            ReductionKind::L2 => "sqrt(a)".into(),
            ReductionKind::LogSum => "log(a)".into(),
            ReductionKind::ArgMax { .. } | ReductionKind::ArgMin { .. } => {
                let positions = self.concat(&positions, 0)?;
                let positions = self.view(positions, &[rows, slices]);
                return self.position(positions, whole, &begins);
            }
            _ => return self.cast(whole, dtype),
        };
        self.elementwise("finish", &function, &[whole], dtype)
    }

    /// A normalisation of rows of so many elements over some axes.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for hardmax, and as [`reduce_long`](Self::reduce_long).
    pub(super) fn normalise_long(
        &mut self,
        input: DeviceId,
        kind: NormaliseKind,
        axes: &[usize],
        length: usize,
    ) -> Result<DeviceId> {
        let (dtype, wide, epsilon) = (self.dtype(input), DType::F32, kind.epsilon());
        match kind {
            NormaliseKind::Softmax | NormaliseKind::LogSoftmax => {
                let most = self.reduce(input, ReductionKind::Max, axes, wide)?;
                let terms = self.elementwise("exp_from", "exp(a - b)", &[input, most], wide)?;
                let sum = self.reduce(terms, ReductionKind::Sum, axes, wide)?;
                match kind {
                    NormaliseKind::Softmax => self.elementwise("divide", "a / b", &[terms, sum], dtype),
                    _ => self.elementwise("log_softmax", "a - b - log(c)", &[input, most, sum], dtype),
                }
            }
            NormaliseKind::Hardmax => Err(self.too_large(input)),
            NormaliseKind::MeanVariance { .. } | NormaliseKind::Deviation => {
                let mean = self.reduce(input, ReductionKind::Mean, axes, wide)?;
                let centred = self.elementwise("centre", "a - b", &[input, mean], wide)?;
                let squares = self.reduce(centred, ReductionKind::SumSquare, axes, wide)?;
                let function = match kind {
                    NormaliseKind::Deviation => format!("a / (sqrt(b / {length}.0) + {epsilon:e}f)"),
                    _ => format!("a / sqrt(b / {length}.0 + {epsilon:e}f)"),
                };
                self.elementwise("scale", &function, &[centred, squares], dtype)
            }
            NormaliseKind::RootMeanSquare { .. } => {
                let squares = self.reduce(input, ReductionKind::SumSquare, axes, wide)?;
                self.elementwise("scale", &format!("a / sqrt(b / {length}.0 + {epsilon:e}f)"), &[input, squares], dtype)
            }
            NormaliseKind::Lp1 | NormaliseKind::Lp2 => {
                let norm = if kind == NormaliseKind::Lp1 { ReductionKind::L1 } else { ReductionKind::L2 };
                let norm = self.reduce(input, norm, axes, wide)?;
                self.elementwise("scale", "select(a / b, 0.0, b == 0.0)", &[input, norm], dtype)
            }
        }
    }

    /// A reduction of a run of elements to one.
    fn reduce_slice(
        &mut self,
        input: DeviceId,
        kind: ReductionKind,
        [first, count]: [usize; 2],
        result: DType,
    ) -> Result<DeviceId> {
        let dtype = self.dtype(input);
        let reduction = Reduction { kind, dtype, result, shape: &[count], axes: &[0] };
        let mut operation = reduction.operation(self.engine.limits())?;
        let operand = match self.range(input, first, count, Slot::Operand(0)) {
            Ok(view) => {
                operation.views.push(view);
                input
            }
            Err((first, count)) => self.rearrange("slice", input, &[count], first as i64, &[1])?,
        };
        let output = self.temp(&[1], result);
        self.operation(operation, &[operand], output);
        Ok(output)
    }

    /// The positions in rows, of those in slices that begin there and the number of the slice that is looked for in each row.
    fn position(&mut self, in_slices: DeviceId, number: DeviceId, begins: &[usize]) -> Result<DeviceId> {
        let (rows, slices) = (self.shape(in_slices)[0], begins.len());
        // Tensors have less than 2^31 elements.
        let table = |list: Vec<usize>| bytemuck::cast_slice(&list.into_iter().map(|one| one as i32).collect::<Vec<_>>()).to_vec();
        let begins = self.table(&[slices], DType::I32, table(begins.to_vec()));
        let in_rows = self.integer("position", "a + b", &[in_slices, begins])?;
        let firsts = self.table(&[rows, 1], DType::I32, table((0..rows).map(|row| row * slices).collect()));
        let at = self.integer("slice", "a + b", &[number, firsts])?;
        let output = self.temp(&[rows], DType::I32);
        let gather = Gather { dtype: DType::I32, outer: 1, size: rows * slices, inner: 1, indices: rows, float: false };
        self.gathered(&gather, [in_rows, at], None, output)?;
        Ok(output)
    }
}
