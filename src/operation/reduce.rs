//! [`Reduction`]: sums, products, extremes and their positions over some axes; one invocation or one workgroup for each output.

use super::{Axes, Operation, WORKGROUP, array, dense, word};
use crate::error::Result;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// From this many elements on a whole workgroup reduces them.
const TREE: usize = 64;

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

    /// The kernel's constants: number, whether ties go to the last.
    fn code(self) -> (i64, bool) {
        match self {
            ReductionKind::Sum => (0, false),
            ReductionKind::Mean => (1, false),
            ReductionKind::Max => (2, false),
            ReductionKind::Min => (3, false),
            ReductionKind::Prod => (4, false),
            ReductionKind::L1 => (5, false),
            ReductionKind::L2 => (6, false),
            ReductionKind::SumSquare => (7, false),
            ReductionKind::LogSum => (8, false),
            ReductionKind::ArgMax { last } => (9, last),
            ReductionKind::ArgMin { last } => (10, last),
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

/// The kept and the reduced axes of a dense tensor.
pub(super) fn parts(shape: &[usize], reduced: &[usize]) -> (Axes, Axes) {
    let strides = dense(shape);
    let part = |wanted: bool| {
        let axes: Vec<usize> = (0..shape.len()).filter(|axis| reduced.contains(axis) == wanted).collect();
        let sizes: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        let list: Vec<i64> = axes.iter().map(|&axis| strides[axis]).collect();
        Axes::merged(&sizes, &[&list])
    };
    (part(false), part(true))
}

/// The parameters of two runs of axes behind a first row: size and stride of each.
pub(super) fn rows(first: [i32; 4], parts: [&Axes; 2]) -> Result<Vec<[i32; 4]>> {
    let mut rows = vec![first];
    for axes in parts {
        for (&size, &stride) in axes.sizes.iter().zip(&axes.strides[0]) {
            rows.push([word(size as i64)?, word(stride)?, 0, 0]);
        }
    }
    Ok(rows)
}

impl Reduction<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let (kept, reduced) = parts(self.shape, self.axes);
        let (outputs, length) = (kept.count(), reduced.count());
        let lanes = if length >= TREE { WORKGROUP } else { 1 };
        let (code, last) = self.kind.code();
        let output = self.result;
        let label = format!("reduce {:?} {} to {output} k{} r{} l{lanes}", self.kind, self.dtype, kept.rank(), reduced.rank());
        let mut kernel = Kernel::new(label, self.dtype, WORKGROUP)
            .constant("KIND", code)
            .flag("LAST", last)
            .constant("LANES", lanes)
            .constant("KEPT", kept.rank() as i64)
            .constant("REDUCED", reduced.rank() as i64)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .written("output", array(output), Slot::Output)
            .fragment(format!("alias Result = {output};"))
            .fragment(include_str!("../../shaders/lib/axes.wgsl"))
            .fragment(include_str!("../../shaders/lib/activations.wgsl"))
            .fragment(include_str!("../../shaders/lib/numbers.wgsl"))
            .fragment(include_str!("../../shaders/reduce.wgsl"));
        kernel.workgroup_bytes = 8 * WORKGROUP;
        kernel.iterations = (length as u64).div_ceil(u64::from(lanes)) * (1 + reduced.rank() as u64) + 16;
        let workgroups = if lanes == 1 { (outputs as u64).div_ceil(u64::from(WORKGROUP)) } else { outputs as u64 };
        let parameters = rows([word(outputs as i64)?, word(length as i64)?, 0, 0], [&kept, &reduced])?;
        Operation::new(kernel, workgroups, parameters, limits)
    }
}
