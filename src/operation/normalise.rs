//! [`Normalise`]: what needs the whole row before it can write its first element: softmax and normalisation over axes.

use super::Operation;
use super::row::Rows;
use crate::error::Result;
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
        let rows = Rows::new(self.dtype, self.shape, self.axes);
        let (code, epsilon) = self.kind.code();
        // Two reductions, and the loop that writes, which finds each place twice.
        let (kernel, workgroups) = rows.kernel(&format!("normalise {code} {}", self.dtype), 4, limits);
        let kernel = kernel
            .constant("KIND", code)
            .float("EPSILON", epsilon)
            .flag("COMPARES_POSITIONS", self.kind == NormaliseKind::Hardmax)
            .flag("LAST", false);
        let kernel = rows.with_elements(kernel).fragment(include_str!("../../shaders/normalise.wgsl"));
        // Rows are read three times.
        let bytes = (rows.count() * rows.length() * self.dtype.bytes()) as u64;
        let parameters = rows.parameters(f32::NEG_INFINITY)?;
        Ok(Operation::new(kernel, workgroups, parameters, limits)?.reading_again(2 * bytes, limits))
    }
}
