//! Operations around the layers: functions of elements, movement, reductions, normalisations, resampling. Each is one kernel over
//! strided operands, made from shapes alone.
//!
//! Speed is not what they are for: a convolution beside them takes most of a network's time. They are few and general instead: a
//! transposition, a slice, a broadcast sum and a concatenation are one kernel with other strides.

mod bytes;
mod deform;
mod gather;
mod grid_sample;
mod image;
mod map;
mod normalise;
mod pack;
mod pad;
mod ranges;
mod reduce;
mod resample;
mod row;
#[cfg(test)]
mod validate;

pub(crate) use bytes::{PackBytes, byte_terms};
pub(crate) use deform::Deform;
pub(crate) use gather::{Gather, GatherPart, Scatter};
pub(crate) use grid_sample::GridSample;
pub(crate) use image::Image;
pub(crate) use map::{Arithmetic, MAX_OPERANDS, Map, NAMES, Operand, dense};
pub(crate) use normalise::{Normalise, NormaliseKind};
pub(crate) use pack::Pack;
pub(crate) use pad::Pad;
pub(crate) use reduce::{Reduction, ReductionKind};
pub(crate) use resample::Resample;
pub(crate) use row::{are_few_rows, parts_of_rows};

use crate::algorithm::{Operations, Step, View};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::limits::{DeviceClass, DeviceLimits};
use crate::tensor_desc::DType;

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// Elements of an invocation on software adapters: these find out the number of an invocation by divisions, lane by lane, which take as
/// long as a few elements do.
const SOFTWARE_ELEMENTS: u64 = 8;

/// Elements of one invocation, of so many in all: one on GPUs, which hide a load behind other invocations; on software adapters as many
/// as leave work for all of its threads.
fn elements_of_invocation(count: u64, limits: &DeviceLimits) -> u64 {
    match limits.class {
        DeviceClass::Software => {
            let workgroups = count.div_ceil(u64::from(WORKGROUP));
            (workgroups / (4 * u64::from(limits.parallelism)).max(1)).clamp(1, SOFTWARE_ELEMENTS)
        }
        DeviceClass::Integrated | DeviceClass::Discrete => 1,
    }
}

/// A kernel with its grid and its numbers, ready to be bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    /// What runs.
    pub step: Step,
    /// What [`Slot::Parameters`] holds.
    pub parameters: Vec<[i32; 4]>,
    /// What each [`Slot::Table`] holds.
    pub tables: Vec<Vec<u8>>,
    /// The ranges that are bound; a slot without one is bound to the whole.
    pub views: Vec<View>,
    /// About how many nanoseconds it takes beyond those of reading and writing what it is bound to once.
    pub ns: u64,
    /// The one thing that it does, where that is to copy bytes that lie one behind the other.
    pub copied: Option<Copied>,
}

/// Bytes of the only operand that come to the output as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied {
    /// The first one in the operand.
    pub from: u64,
    /// The first one in the output.
    pub to: u64,
    pub bytes: u64,
}

impl Operation {
    /// The dispatch of a layer that takes so long.
    pub fn of_layer(step: Step, ns: u64) -> Self {
        Self { step, parameters: Vec::new(), tables: Vec::new(), views: Vec::new(), ns, copied: None }
    }

    /// About how many nanoseconds it takes where it is bound to so many bytes.
    pub fn nanoseconds(&self, bytes: u64, limits: &DeviceLimits) -> u64 {
        (Operations::moving(limits, bytes) as u64).saturating_add(self.ns)
    }

    /// The same, which reads so many bytes besides: what it reads again.
    fn reading_again(mut self, bytes: u64, limits: &DeviceLimits) -> Self {
        self.ns += Operations::moving(limits, bytes) as u64;
        self
    }

    /// A kernel with `each()`, which is called for each of so many elements.
    fn each(kernel: Kernel, count: u64, mut parameters: Vec<[i32; 4]>, limits: &DeviceLimits) -> Result<Self> {
        let elements = elements_of_invocation(count, limits);
        let kernel = kernel.for_each(elements, &mut parameters);
        Self::new(kernel, count.div_ceil(u64::from(WORKGROUP) * elements), parameters, limits)
    }

    /// A kernel with `row_of()` and `each()`, which are called for each of so many rows and of their columns.
    fn rows(
        kernel: Kernel,
        [rows, columns]: [u64; 2],
        axes: usize,
        mut parameters: Vec<[i32; 4]>,
        limits: &DeviceLimits,
    ) -> Result<Self> {
        let turns = columns.div_ceil(u64::from(WORKGROUP));
        // As alike as can be, so that few invocations have nothing to do.
        let parts = turns.div_ceil(elements_of_invocation(rows.saturating_mul(columns), limits));
        let kernel = kernel.for_rows(turns.div_ceil(parts), axes, &mut parameters);
        Self::new(kernel, rows.saturating_mul(parts), parameters, limits)
    }

    /// A kernel over so many workgroups.
    fn new(kernel: Kernel, workgroups: u64, parameters: Vec<[i32; 4]>, limits: &DeviceLimits) -> Result<Self> {
        let step = Step::new(kernel.with_parameters(parameters.len()), workgroups, limits)?;
        step.check(limits)?;
        Ok(Self { step, parameters, tables: Vec::new(), views: Vec::new(), ns: 0, copied: None })
    }
}

/// The WGSL type of an array of such elements.
fn array(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "array<f32>",
        DType::F16 => "array<f16>",
        DType::I32 => "array<i32>",
    }
}

/// A size or stride as kernels see it.
fn word(value: i64) -> Result<i32> {
    i32::try_from(value).map_err(|_| Error::unsupported("input", format!("has a stride of {value} elements, beyond 32 bits")))
}

/// Axes as strided loops: the size of each and the distance of its neighbours in each tensor.
///
/// Axes of one element are left out, and neighbours that lie behind each other in all tensors become one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Axes {
    sizes: Vec<usize>,
    /// `[tensor][axis]`
    strides: Vec<Vec<i64>>,
}

impl Axes {
    fn merged(shape: &[usize], strides: &[&[i64]]) -> Self {
        let mut axes = Axes { sizes: Vec::new(), strides: vec![Vec::new(); strides.len()] };
        for (axis, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
            let continues = !axes.sizes.is_empty()
                && axes.strides.iter().zip(strides).all(|(merged, list)| {
                    let outer = merged.last().copied().unwrap_or_default();
                    list[axis].checked_mul(size as i64) == Some(outer)
                });
            if continues {
                let last = axes.sizes.len() - 1;
                axes.sizes[last] *= size;
                axes.strides.iter_mut().zip(strides).for_each(|(merged, list)| merged[last] = list[axis]);
            } else {
                axes.sizes.push(size);
                axes.strides.iter_mut().zip(strides).for_each(|(merged, list)| merged.push(list[axis]));
            }
        }
        axes
    }

    fn rank(&self) -> usize {
        self.sizes.len()
    }

    fn count(&self) -> usize {
        self.sizes.iter().product()
    }
}

#[cfg(test)]
mod tests {
    use super::Axes;

    /// Shape, strides of each tensor, and what both become.
    type Case = (&'static [usize], &'static [&'static [i64]], &'static [usize], &'static [&'static [i64]]);

    #[test]
    fn axes_that_lie_behind_each_other_in_all_tensors_become_one() {
        let cases: &[Case] = &[
            (&[2, 3, 4], &[&[12, 4, 1]], &[24], &[&[1]]),
            (&[2, 3, 4], &[&[12, 4, 1], &[0, 1, 0]], &[2, 3, 4], &[&[12, 4, 1], &[0, 1, 0]]),
            (&[2, 1, 4], &[&[4, 4, 1], &[0, 0, 0]], &[8], &[&[1], &[0]]),
            (&[2, 3, 4, 5], &[&[60, 20, 5, 1], &[0, 1, 0, 0]], &[2, 3, 20], &[&[60, 20, 1], &[0, 1, 0]]),
            (&[3, 2], &[&[1, 3]], &[3, 2], &[&[1, 3]]),
            (&[1, 1], &[&[1, 1]], &[], &[&[]]),
        ];
        for (shape, strides, sizes, merged) in cases {
            let axes = Axes::merged(shape, strides);
            assert_eq!((axes.sizes.as_slice(), axes.strides), (*sizes, merged.iter().map(|list| list.to_vec()).collect()));
        }
    }
}
