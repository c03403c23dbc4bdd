//! A [`Map`] over tensors of which one binding does not hold the whole: in blocks along its axes, each bound to the ranges that it
//! touches.

use super::{Map, Operand, Operation};
use crate::algorithm::View;
use crate::error::{Error, Result};
use crate::kernel::Slot;
use crate::limits::{ALIGNMENT, DeviceLimits, Ranges};

/// The most blocks: beyond it a program of steps would be larger than the data.
const MOST: usize = 4096;

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
    /// not hold one of them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where no block fits, or too many would be needed.
    pub fn operations(&self, bytes: &[u64], limits: &DeviceLimits) -> Result<Vec<Operation>> {
        let ranges = Ranges::of(limits);
        if bytes.iter().all(|&bytes| bytes <= ranges.most) {
            return Ok(vec![self.operation(limits)?]);
        }
        let mut list = Vec::new();
        self.blocks(ranges, limits, &mut list)?;
        Ok(list)
    }

    /// The tensors with what they are bound to, the output first.
    fn tensors(&self) -> impl Iterator<Item = (Slot, &Operand)> {
        std::iter::once((Slot::Output, &self.output)).chain((0..).map(Slot::Operand).zip(&self.operands))
    }

    /// A part of the map: some of the places on an axis.
    fn part<'a>(&self, axis: usize, first: usize, shape: &'a [usize]) -> Map<'a>
    where
        Self: 'a,
    {
        let moved =
            |operand: &Operand| Operand { offset: operand.offset + first as i64 * operand.strides[axis], ..operand.clone() };
        let (output, operands) = (moved(&self.output), self.operands.iter().map(moved).collect());
        Map { shape, output, operands, ..self.clone() }
    }

    /// Adds the largest blocks that fit, one after the other.
    fn blocks(&self, ranges: Ranges, limits: &DeviceLimits, list: &mut Vec<Operation>) -> Result<()> {
        let fits = |map: &Map| {
            let views = map.tensors().map(|(slot, operand)| view(operand, map.shape, slot).0);
            views.into_iter().all(|view| ranges.hold(view.offset, view.bytes))
        };
        if fits(self) {
            if list.len() == MOST {
                let most = ranges.most;
                return Err(Error::unsupported("input", format!("needs more than {MOST} bindings of at most {most} bytes each")));
            }
            let (views, mut seen): (Vec<View>, Vec<Operand>) =
                self.tensors().map(|(slot, operand)| view(operand, self.shape, slot)).unzip();
            let output = seen.remove(0);
            let mut operation = Map { output, operands: seen, ..self.clone() }.operation(limits)?;
            operation.views = views;
            list.push(operation);
            return Ok(());
        }
        let Some(axis) = self.shape.iter().position(|&size| size > 1) else {
            let most = ranges.most;
            return Err(Error::unsupported("input", format!("has elements too far apart for a binding of {most} bytes")));
        };
        let of = |size: usize| [&self.shape[..axis], &[size], &self.shape[axis + 1..]].concat();
        let mut first = 0;
        while first < self.shape[axis] {
            // What fits from here on, or one place of the axis to be cut further.
            let (mut block, mut too_large) = (1, self.shape[axis] - first + 1);
            while too_large - block > 1 {
                let middle = block + (too_large - block) / 2;
                if fits(&self.part(axis, first, &of(middle))) { block = middle } else { too_large = middle }
            }
            self.part(axis, first, &of(block)).blocks(ranges, limits, list)?;
            first += block;
        }
        Ok(())
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
            let p = &operation.parameters;
            assert!(operation.views.iter().all(|view| Ranges::of(limits).hold(view.offset, view.bytes)));
            let base: Vec<i64> = operation.views.iter().map(|view| (view.offset / 4) as i64).collect();
            for index in 0..p[0][0] {
                let (mut rest, mut at) = (index, [i64::from(p[0][1]), i64::from(p[0][2])]);
                for axis in (1..p.len()).rev() {
                    let inner = rest % p[axis][0];
                    rest /= p[axis][0];
                    (at[0], at[1]) = (at[0] + i64::from(inner * p[axis][1]), at[1] + i64::from(inner * p[axis][2]));
                }
                for (at, view) in at.iter().zip(&operation.views) {
                    assert!((0..(view.bytes / 4) as i64).contains(at), "{at} of {view:?}");
                }
                list.push((base[1] + at[1], base[0] + at[0]));
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
        let shape = [3, 7, 50];
        for read in [operand(0, &[350, 50, 1]), operand(1049, &[-350, -50, -1]), operand(5, &[0, 0, 2]), operand(0, &[1, 3, 21])]
        {
            let map = Map {
                name: "test",
                shape: &shape,
                operands: vec![read],
                output: operand(0, &dense(&shape)),
                arithmetic: Arithmetic::Move,
                function: "a",
            };
            let parts = map.operations(&[u64::MAX; 2], &small);
            // Neighbours that are 21 elements apart need many blocks, but never too many.
            assert!(parts.unwrap().len() > 4);
            for limits in [&small, &in_buffers] {
                assert_eq!(touched(&map, limits), touched(&map, &large));
            }
        }
    }
}
