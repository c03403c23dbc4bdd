//! [`Reduction`]: sums, products, extremes and their positions over some axes; one invocation or one workgroup for each output.

use super::{Axes, Operation, WORKGROUP, array, dense, word};
use crate::error::Result;
use crate::kernel::{Kernel, Slot};
use crate::limits::{DeviceClass, DeviceLimits};
use crate::tensor_desc::DType;

/// From this many elements on a whole workgroup works on a row.
const TREE: usize = 64;

/// The same of software adapters, whose barriers take as long as hundreds of elements do.
const SOFTWARE_TREE: usize = 8192;

/// From this many elements on a GPU's workgroup that works on a row is a large one: with few rows it would be idle otherwise.
const LONG: usize = 1024;

/// The invocations of a large workgroup: every WebGPU device has them.
const LARGE: u32 = 256;

/// The invocations of a workgroup where each has a row of its own, on a software adapter: two of its vectors.
const SOFTWARE_ROWS: u32 = 16;

/// Elements that are summed before they are added to the rest of their sum, which keeps its rounding that of a short one.
pub(super) const BLOCK: usize = 64;

/// The invocations of a workgroup, and how many of them, one or all, work on each of so many rows of this length.
pub(super) fn lanes(rows: usize, length: usize, limits: &DeviceLimits) -> (u32, u32) {
    let software = limits.class == DeviceClass::Software;
    let enough = rows >= (SOFTWARE_ROWS * limits.parallelism) as usize;
    if length < TREE {
        (WORKGROUP, 1)
    } else if software && enough && length < SOFTWARE_TREE {
        (SOFTWARE_ROWS, 1)
    } else if !software && length >= LONG {
        (LARGE, LARGE)
    } else {
        (WORKGROUP, WORKGROUP)
    }
}

/// The iterations of a loop over a row in blocks, with `each` of its own for an element.
pub(super) fn iterations(length: usize, lanes: u32, each: usize) -> u64 {
    let turns = (length as u64).div_ceil(u64::from(lanes));
    turns * (1 + each as u64) + turns.div_ceil(BLOCK as u64)
}

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
        let (invocations, lanes) = lanes(outputs, length, limits);
        let (code, last) = self.kind.code();
        let output = self.result;
        let label = format!("reduce {:?} {} to {output} k{} r{} l{lanes}", self.kind, self.dtype, kept.rank(), reduced.rank());
        let mut kernel = Kernel::new(label, self.dtype, invocations)
            .constant("KIND", code)
            .flag("LAST", last)
            .constant("LANES", lanes)
            .constant("BLOCK", BLOCK as i64)
            .constant("KEPT", kept.rank() as i64)
            .constant("REDUCED", reduced.rank() as i64)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .written("output", array(output), Slot::Output)
            .fragment(format!("alias Result = {output};"))
            .fragment(include_str!("../../shaders/lib/axes.wgsl"))
            .fragment(include_str!("../../shaders/lib/activations.wgsl"))
            .fragment(include_str!("../../shaders/lib/numbers.wgsl"))
            .fragment(include_str!("../../shaders/reduce.wgsl"));
        kernel.workgroup_bytes = 8 * invocations;
        kernel.iterations = iterations(length, lanes, reduced.rank()) + 16;
        let workgroups = (outputs as u64 * u64::from(lanes)).div_ceil(u64::from(invocations));
        let parameters = rows([word(outputs as i64)?, word(length as i64)?, 0, 0], [&kept, &reduced])?;
        Operation::new(kernel, workgroups, parameters, limits)
    }
}
