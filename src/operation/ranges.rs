//! A [`Map`] over tensors of which one binding does not hold the whole: in blocks along its axes, each bound to the ranges that it
//! touches.

use super::{Map, Operand, Operation};
use crate::algorithm::{Operations, View};
use crate::error::{Error, Result};
use crate::kernel::Slot;
use crate::limits::{ALIGNMENT, DeviceLimits, Ranges};

/// The most blocks: beyond it a program of steps would be larger than the data.
pub(super) const MOST: usize = 4096;

/// The elements from the first to one past the last that an operand has in a block of this shape.
fn span(operand: &Operand, shape: &[usize]) -> (i64, i64) {
    let ends = operand.strides.iter().zip(shape).map(|(&stride, &size)| stride * (size as i64 - 1));
    let (low, high) = ends.fold((0, 0), |(low, high), end| (low + end.min(0), high + end.max(0)));
    (operand.offset + low, operand.offset + high + 1)
}

/// The range of a buffer that holds these elements, and the operand seen from there.
fn view(operand: &Operand, shape: &[usize], slot: Slot) -> (View, Operand) {
    let element = operand.dtype.bytes() as u64;
    let (first, end) = span(operand, shape);
    // A map's indices are inside its tensors.
    let (first, end) = (first.max(0) as u64 * element, end.max(0) as u64 * element);
    let offset = first / ALIGNMENT * ALIGNMENT;
    let bytes = (end - offset).next_multiple_of(4);
    (View { slot, offset, bytes }, Operand { offset: operand.offset - (offset / element) as i64, ..operand.clone() })
}

impl Map<'_> {
    /// The kernels that compute the map, where the tensors, the output first, have so many bytes. More than one where a binding does
    /// not hold one of them, or where one would take longer than a submission may.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where no block fits, or too many would be needed.
    pub fn operations(&self, bytes: &[u64], limits: &DeviceLimits) -> Result<Vec<Operation>> {
        let ranges = Ranges::of(limits);
        let elements = self.elements_at_once(limits);
        if bytes.iter().all(|&bytes| bytes <= ranges.most) && self.count() <= elements {
            return Ok(vec![self.operation(limits)?]);
        }
        self.blocks(ranges, elements, limits)
    }

    fn count(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// The elements that a submission has time for. What would take too many blocks is long.
    fn elements_at_once(&self, limits: &DeviceLimits) -> u64 {
        let bytes: u64 = self.tensors().map(|(_, operand)| operand.dtype.bytes() as u64).sum();
        let elements = limits.submission_ns as f64 / Operations::moving(limits, bytes);
        (elements as u64).max(self.count() / (MOST as u64 / 8)).max(1)
    }

    /// The tensors with what they are bound to, the output first.
    fn tensors(&self) -> impl Iterator<Item = (Slot, &Operand)> {
        std::iter::once((Slot::Output, &self.output)).chain((0..).map(Slot::Operand).zip(&self.operands))
    }

    /// The kernel of a block, bound to the ranges that it touches.
    fn bound(&self, limits: &DeviceLimits) -> Result<Operation> {
        let (views, mut seen): (Vec<View>, Vec<Operand>) =
            self.tensors().map(|(slot, operand)| view(operand, self.shape, slot)).unzip();
        let output = seen.remove(0);
        let mut operation = Map { output, operands: seen, ..self.clone() }.operation(limits)?;
        // What is copied is told in bytes of the whole.
        (operation.views, operation.copied) = (views, None);
        Ok(operation)
    }

    /// Whether a block is too large: the axis to cut it along, and how many places of that are not too many for what is exceeded.
    /// `None` where it fits.
    fn cut(&self, ranges: Ranges, elements: u64) -> Result<Option<(usize, usize)>> {
        let of = |axis: usize, size: usize| [&self.shape[..axis], &[size], &self.shape[axis + 1..]].concat();
        let count = self.count();
        if count > elements
            && let Some(axis) = self.shape.iter().position(|&size| size > 1)
        {
            let of_a_place = count / self.shape[axis] as u64;
            return Ok(Some((axis, usize::try_from(elements / of_a_place).unwrap_or(1).max(1))));
        }
        for (slot, operand) in self.tensors() {
            let holds = |shape: &[usize]| {
                let (view, _) = view(operand, shape, slot);
                ranges.hold(view.offset, view.bytes)
            };
            if holds(self.shape) {
                continue;
            }
            // Where it reaches farthest.
            let reach = |axis: &usize| operand.strides[*axis].abs() * (self.shape[*axis] as i64 - 1);
            let axis = (0..self.shape.len()).max_by_key(reach).filter(|axis| reach(axis) > 0).ok_or_else(|| {
                Error::unsupported("input", format!("has elements too far apart for a binding of {} bytes", ranges.most))
            })?;
            let (mut block, mut too_large) = (1, self.shape[axis]);
            while too_large - block > 1 {
                let middle = block + (too_large - block) / 2;
                if holds(&of(axis, middle)) { block = middle } else { too_large = middle }
            }
            return Ok(Some((axis, block)));
        }
        Ok(None)
    }

    /// The kernels of the largest blocks that fit.
    fn blocks(&self, ranges: Ranges, elements: u64, limits: &DeviceLimits) -> Result<Vec<Operation>> {
        let mut list = Vec::new();
        // What is left to do, the next at the end: a shape and where its tensors begin.
        let mut left = vec![(self.shape.to_vec(), self.output.clone(), self.operands.clone())];
        while let Some((shape, output, operands)) = left.pop() {
            let block = Map { shape: &shape, output, operands, ..self.clone() };
            let Some((axis, size)) = block.cut(ranges, elements)? else {
                if list.len() == MOST {
                    let most = ranges.most;
                    return Err(Error::unsupported(
                        "input",
                        format!("needs more than {MOST} bindings of at most {most} bytes each"),
                    ));
                }
                list.push(block.bound(limits)?);
                continue;
            };
            let moved =
                |operand: &Operand| Operand { offset: operand.offset + size as i64 * operand.strides[axis], ..operand.clone() };
            let sized = |size: usize| [&shape[..axis], &[size], &shape[axis + 1..]].concat();
            left.push((sized(shape[axis] - size), moved(&block.output), block.operands.iter().map(moved).collect()));
            left.push((sized(size), block.output, block.operands));
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arithmetic, dense};
    use super::*;
    use crate::tensor_desc::DType;

    /// Every element of a map, as (operand's element, output's element), by the ranges that its kernels are bound to.
    fn touched(map: &Map, limits: &DeviceLimits) -> Vec<(i64, i64)> {
        let mut list = Vec::new();
        for operation in map.operations(&[u64::MAX; 2], limits).unwrap() {
            let (_, p) = operation.parameters.split_last().unwrap(); // but for the elements of an invocation
            assert!(operation.views.iter().all(|view| Ranges::of(limits).hold(view.offset, view.bytes)));
            let base: Vec<i64> = operation.views.iter().map(|view| (view.offset / 4) as i64).collect();
            // What is loaded or stored four at a time is counted in fours.
            let bindings = &operation.step.kernel.bindings;
            let unit = [Slot::Output, Slot::Operand(0)].map(|slot| {
                let binding = bindings.iter().find(|binding| binding.slot == slot).unwrap();
                if binding.ty.starts_with("array<vec4") { 4 } else { 1 }
            });
            for index in 0..p[0][0] {
                let (mut rest, mut at) = (index, [i64::from(p[0][1]), i64::from(p[0][2])]);
                for axis in (1..p.len()).rev() {
                    let inner = rest % p[axis][0];
                    rest /= p[axis][0];
                    (at[0], at[1]) = (at[0] + i64::from(inner * p[axis][1]), at[1] + i64::from(inner * p[axis][2]));
                }
                // Four neighbours of the last axis, or one element.
                let (parts, last) = if operation.step.kernel.label.ends_with("by 4") { (4, p.len() - 1) } else { (1, 0) };
                for part in 0..parts {
                    let at = [0, 1].map(|tensor| (at[tensor] * 4 + part * i64::from(p[last][1 + tensor])) * unit[tensor] / 4);
                    for (at, view) in at.iter().zip(&operation.views) {
                        assert!((0..(view.bytes / 4) as i64).contains(at), "{at} of {view:?}");
                    }
                    list.push((base[1] + at[1], base[0] + at[0]));
                }
            }
        }
        list.sort();
        list
    }

    #[test]
    fn blocks_touch_what_the_whole_touches() {
        let small = DeviceLimits { storage_binding_bytes: 1024, ..Default::default() };
        let in_buffers = DeviceLimits { buffer_bytes: 1280, ..Default::default() };
        let large = DeviceLimits { storage_binding_bytes: 1 << 40, ..Default::default() };
        let operand = |offset, strides: &[i64]| Operand { dtype: DType::F32, offset, strides: strides.to_vec() };
        let shape = [3, 7, 52];
        for read in [operand(0, &[364, 52, 1]), operand(1091, &[-364, -52, -1]), operand(5, &[0, 0, 2]), operand(0, &[1, 3, 21])]
        {
            let map = Map {
                name: "test",
                shape: &shape,
                operands: vec![read],
                output: operand(0, &dense(&shape)),
                arithmetic: Arithmetic::Move,
                function: "a",
                scalars: &[],
            };
            let parts = map.operations(&[u64::MAX; 2], &small);
            // Neighbours that are 21 elements apart need many blocks, but never too many.
            assert!(parts.unwrap().len() > 4);
            for limits in [&small, &in_buffers] {
                assert!(touched(&map, limits) == touched(&map, &large), "{:?}", map.operands);
            }
        }
    }
}
