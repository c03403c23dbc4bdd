//! Operations around the layers: functions of elements, movement, reductions, normalisations, resampling. Each is one kernel over
//! strided operands, made from shapes alone.
//!
//! Speed is not what they are for: a convolution beside them takes most of a network's time. They are few and general instead: a
//! transposition, a slice, a broadcast sum and a concatenation are one kernel with other strides.

mod bytes;
mod deform;
mod gather;
mod image;
mod map;
mod normalise;
mod pad;
mod ranges;
mod reduce;
mod resample;
#[cfg(test)]
mod validate;

pub(crate) use bytes::{PackBytes, byte_terms};
pub(crate) use deform::Deform;
pub(crate) use gather::{Gather, scatter};
pub(crate) use image::Image;
pub(crate) use map::{Arithmetic, MAX_OPERANDS, Map, NAMES, Operand, dense};
pub(crate) use normalise::{Normalise, NormaliseKind};
pub(crate) use pad::Pad;
pub(crate) use reduce::{Reduction, ReductionKind};
pub(crate) use resample::Resample;

use crate::algorithm::{Step, View, fold};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// The entry point of kernels with an invocation for each element.
const EACH: &str = include_str!("../../shaders/lib/each.wgsl");

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
    /// Floating-point operations, of kernels that do more than moving bytes takes.
    pub flop: u64,
}

/// What moving a byte takes of a device, in floating-point operations that it could do meanwhile: for how long an operation lasts that
/// does little else.
pub(crate) const FLOP_OF_A_BYTE: u64 = 16;

impl Operation {
    /// The dispatch of a layer that does so many operations.
    pub fn of_layer(step: Step, flop: u64) -> Self {
        Self { step, parameters: Vec::new(), tables: Vec::new(), views: Vec::new(), flop }
    }

    /// About how many floating-point operations a device could do while it runs, where it moves so many bytes.
    pub fn work(&self, bytes: u64) -> u64 {
        FLOP_OF_A_BYTE.saturating_mul(bytes).saturating_add(self.flop)
    }

    /// A kernel over so many workgroups.
    fn new(kernel: Kernel, workgroups: u64, parameters: Vec<[i32; 4]>, limits: &DeviceLimits) -> Result<Self> {
        let kernel = kernel
            .constant("PARAMETERS", parameters.len() as i64)
            .fragment("alias Parameters = array<vec4<i32>, PARAMETERS>;")
            .binding("p", "Parameters", Slot::Parameters);
        let step = Step { kernel, grid: fold(workgroups, limits.workgroups)? };
        step.check(limits)?;
        Ok(Self { step, parameters, tables: Vec::new(), views: Vec::new(), flop: 0 })
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
