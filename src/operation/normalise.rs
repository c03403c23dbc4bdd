//! [`Normalise`]: what needs the whole row before it can write its first element: softmax and normalisation over axes.

use super::reduce::{BLOCK, iterations, lanes, parts, rows};
use super::{Operation, array, word};
use crate::error::Result;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// What is computed of each row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NormaliseKind {
    Softmax,
    LogSoftmax,
    Hardmax,
    MeanVariance { epsilon: f32 },
    Deviation,
    RootMeanSquare { epsilon: f32 },
    Lp1,
    Lp2,
}

impl NormaliseKind {
    /// What is added to a variance or a deviation.
    pub fn epsilon(self) -> f32 {
        self.code().1
    }

    fn code(self) -> (i64, f32) {
        match self {
            NormaliseKind::Softmax => (0, 0.0),
            NormaliseKind::LogSoftmax => (1, 0.0),
            NormaliseKind::Hardmax => (2, 0.0),
            NormaliseKind::MeanVariance { epsilon } => (3, epsilon),
            NormaliseKind::Deviation => (4, 1e-9),
            NormaliseKind::RootMeanSquare { epsilon } => (5, epsilon),
            NormaliseKind::Lp1 => (6, 0.0),
            NormaliseKind::Lp2 => (7, 0.0),
        }
    }
}

/// A normalisation of each row of a dense tensor, whose rows are some of its axes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normalise<'a> {
    pub kind: NormaliseKind,
    pub dtype: DType,
    pub shape: &'a [usize],
    pub axes: &'a [usize],
}

impl Normalise<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let (kept, row) = parts(self.shape, self.axes);
        let (outputs, length) = (kept.count(), row.count());
        let (invocations, lanes) = lanes(outputs, length, limits);
        let (code, epsilon) = self.kind.code();
        let label = format!("normalise {} {} k{} r{} l{lanes}", code, self.dtype, kept.rank(), row.rank());
        let mut kernel = Kernel::new(label, self.dtype, invocations)
            .constant("KIND", code)
            .float("EPSILON", epsilon)
            .constant("LANES", lanes)
            .constant("BLOCK", BLOCK as i64)
            .constant("KEPT", kept.rank() as i64)
            .constant("ROW", row.rank() as i64)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(include_str!("../../shaders/lib/axes.wgsl"))
            .fragment(include_str!("../../shaders/lib/activations.wgsl"))
            .fragment(include_str!("../../shaders/lib/numbers.wgsl"))
            .fragment(include_str!("../../shaders/normalise.wgsl"));
        kernel.workgroup_bytes = 8 * invocations;
        kernel.iterations = 3 * iterations(length, lanes, row.rank()) + 32;
        let workgroups = (outputs as u64 * u64::from(lanes)).div_ceil(u64::from(invocations));
        let parameters = rows([word(outputs as i64)?, word(length as i64)?, 0, 0], [&kept, &row])?;
        // Rows are read three times.
        let bytes = (outputs * length * self.dtype.bytes()) as u64;
        Ok(Operation::new(kernel, workgroups, parameters, limits)?.reading_again(2 * bytes, limits))
    }
}
