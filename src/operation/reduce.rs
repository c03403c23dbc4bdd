//! [`Reduction`]: sums, products, extremes and their positions over some axes.

use super::Operation;
use super::row::Rows;
use crate::error::Result;
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// What a reduction computes; all in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReductionKind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    /// The position of the greatest element, as i32; the last of equals or the first.
    ArgMax {
        last: bool,
    },
    ArgMin {
        last: bool,
    },
}

impl ReductionKind {
    /// Whether results are positions.
    pub fn is_position(self) -> bool {
        matches!(self, ReductionKind::ArgMax { .. } | ReductionKind::ArgMin { .. })
    }

    /// What is computed of equal parts of a row, and of what they give; positions are not found so.
    pub fn in_parts(self) -> Option<(Self, Self)> {
        match self {
            ReductionKind::L1 => Some((ReductionKind::L1, ReductionKind::Sum)),
            ReductionKind::SumSquare => Some((ReductionKind::SumSquare, ReductionKind::Sum)),
            ReductionKind::LogSum => Some((ReductionKind::Sum, ReductionKind::LogSum)),
            ReductionKind::ArgMax { .. } | ReductionKind::ArgMin { .. } => None,
            kind => Some((kind, kind)),
        }
    }

    /// The kernel's constants: what becomes of elements and their sum, how two are joined, whether ties go to the last; and what changes
    /// nothing.
    fn code(self) -> (i64, i64, bool, f32) {
        let (sum, product, greatest, least) = (0, 1, 2, 3);
        match self {
            ReductionKind::Sum => (0, sum, false, 0.0),
            ReductionKind::Mean => (1, sum, false, 0.0),
            ReductionKind::L1 => (2, sum, false, 0.0),
            ReductionKind::L2 => (3, sum, false, 0.0),
            ReductionKind::SumSquare => (4, sum, false, 0.0),
            ReductionKind::LogSum => (5, sum, false, 0.0),
            ReductionKind::Prod => (0, product, false, 1.0),
            ReductionKind::Max => (0, greatest, false, f32::NEG_INFINITY),
            ReductionKind::Min => (0, least, false, f32::INFINITY),
            ReductionKind::ArgMax { last } => (0, greatest, last, f32::NEG_INFINITY),
            ReductionKind::ArgMin { last } => (0, least, last, f32::INFINITY),
        }
    }
}

/// A reduction of a dense tensor over some of its axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reduction<'a> {
    pub kind: ReductionKind,
    pub dtype: DType,
    /// Of the results; that of positions is i32.
    pub result: DType,
    pub shape: &'a [usize],
    pub axes: &'a [usize],
}

impl Reduction<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let rows = Rows::new(self.dtype, self.shape, self.axes);
        let (code, how, last, neutral) = self.kind.code();
        let label = format!("reduce {:?} {} to {}", self.kind, self.dtype, self.result);
        let (kernel, workgroups) = rows.kernel(&label, 1, limits);
        let kernel = kernel
            .constant("KIND", code)
            .constant("HOW", how)
            .flag("COMPARES_POSITIONS", self.kind.is_position())
            .flag("LAST", last);
        let found = if self.kind.is_position() { "at" } else { "value" };
        let kernel = rows.with_results(kernel, self.result, found).fragment(include_str!("../../shaders/reduce.wgsl"));
        Operation::new(kernel, workgroups, rows.parameters(neutral)?, limits)
    }
}
