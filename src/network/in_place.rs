//! Values that lie inside others, so that nobody copies them: a part of a concatenation is written where it belongs, a part of a tensor
//! is read where it lies. Pure.
//!
//! wgpu forbids a buffer that one dispatch both reads and writes, and a binding begins at a multiple of [`ALIGNMENT`]: where that would be
//! broken, or another step writes to the place meanwhile, the copy stays.

use std::ops::Range;

use super::program::{DeviceId, Outcome, Program, Source, Work};
use crate::limits::ALIGNMENT;

/// Puts values into those that they are copied to or from, and drops the copies.
pub(super) fn put_in_place(program: &mut Program) {
    // The steps that touch each value with a buffer of its own, those that are left out not among them.
    let mut touching: Vec<Vec<usize>> = vec![Vec::new(); program.devices.len()];
    for (number, step) in program.steps.iter().enumerate() {
        step.work.reads().into_iter().chain(step.work.writes()).for_each(|id| touching[program.root(id).0].push(number));
    }
    let mut left_out = vec![false; program.steps.len()];
    for (number, left_out) in left_out.iter_mut().enumerate() {
        let sound = |placing: &Placing| placing.is_sound(program, number, &touching);
        let Some(placing) = Placing::of(program, number).into_iter().find(sound) else { continue };
        placing.apply(program);
        let inner = std::mem::take(&mut touching[placing.inner.0]);
        touching[placing.outer.0].extend(inner);
        touching[placing.outer.0].retain(|&other| other != number);
        *left_out = true;
        program.left_out += 1;
    }
    let mut left_out = left_out.into_iter();
    program.steps.retain(|_| left_out.next() == Some(false));
}

/// A value with a buffer of its own that could lie inside another one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placing {
    inner: DeviceId,
    outer: DeviceId,
    /// The byte of the outer one at which the inner one begins.
    begin: u64,
    /// Whether the copy goes from the inner to the outer one.
    into: bool,
}

impl Placing {
    /// What would make a copy needless: that its operand lies in its output, or its output in its operand.
    fn of(program: &Program, number: usize) -> Vec<Self> {
        let Work::Operation { operation, operands, output } = &program.steps[number].work else { return Vec::new() };
        let (Some(copied), [operand]) = (operation.copied, operands.as_slice()) else { return Vec::new() };
        let (from, to) = (program.device(*operand), program.device(*output));
        let (read, written) = (from.begin + copied.from, to.begin + copied.to);
        let is_whole =
            |root: DeviceId, begin: u64| begin == 0 && program.device(root).desc.bytes().is_ok_and(|all| all == copied.bytes);
        let mut list = Vec::new();
        if is_whole(from.root, read) {
            list.push(Self { inner: from.root, outer: to.root, begin: written, into: true });
        }
        if is_whole(to.root, written) {
            list.push(Self { inner: to.root, outer: from.root, begin: read, into: false });
        }
        list
    }

    fn range(&self, program: &Program) -> Range<u64> {
        self.begin..self.begin + program.bytes(self.inner)
    }

    /// Whether all steps but the copy see the same values then, and each dispatch may be bound to what it touches.
    fn is_sound(&self, program: &Program, copy: usize, touching: &[Vec<usize>]) -> bool {
        let &Self { inner, outer, begin, into } = self;
        let is_result = |outcome: &Outcome| matches!(outcome, Outcome::Device(id) if program.root(*id) == inner);
        let (from, range) = (&program.device(outer).source, self.range(program));
        inner != outer
            && begin.is_multiple_of(ALIGNMENT)
            && program.device(inner).desc.bytes().is_ok_and(|bytes| bytes.is_multiple_of(4))
            && program.device(inner).source == Source::Steps
            && (*from == Source::Steps || !into && matches!(from, Source::Input(_)))
            // Results get buffers of their own for each run.
            && !program.outcomes.iter().any(is_result)
            && touching[inner.0].iter().chain(&touching[outer.0]).filter(|&&number| number != copy).all(|&number| {
                let work = &program.steps[number].work;
                self.can_be_bound(program, work)
                    && writes(program, work).all(|(root, written)| {
                        let meets = written.start < range.end && range.start < written.end;
                        // What is copied is not written again; where it would lie nobody else writes.
                        !(root == inner || root == outer && meets) || number < copy && (root == inner) == into
                    })
            })
    }

    /// Whether no buffer is written that is bound a second time.
    fn can_be_bound(&self, program: &Program, work: &Work) -> bool {
        let root = |id: &DeviceId| if program.root(*id) == self.inner { self.outer } else { program.root(*id) };
        let written: Vec<DeviceId> = work.writes().iter().map(root).collect();
        let read: Vec<DeviceId> = work.reads().iter().map(root).collect();
        let times = |list: &[DeviceId]| list.iter().filter(|id| **id == self.outer).count();
        times(&written) == 0 || times(&written) == 1 && times(&read) == 0
    }

    fn apply(&self, program: &mut Program) {
        for device in program.devices.iter_mut().filter(|device| device.root == self.inner) {
            (device.root, device.begin) = (self.outer, device.begin + self.begin);
        }
    }
}

/// The bytes that a step may write, as ranges of the values whose buffers they are in.
fn writes<'a>(program: &'a Program, work: &'a Work) -> impl Iterator<Item = (DeviceId, Range<u64>)> + 'a {
    let copied = if let Work::Operation { operation, .. } = work { operation.copied } else { None };
    work.writes().into_iter().map(move |id| {
        let device = program.device(id);
        let (first, bytes) = copied.map_or((0, program.bytes(id)), |copied| (copied.to, copied.bytes));
        (device.root, device.begin + first..device.begin + first + bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::super::program::{Device, Step};
    use super::*;
    use crate::operation::{Arithmetic, Map, Operand};
    use crate::tensor_desc::{DType, TensorDesc};
    use crate::{DeviceLimits, graph::ValueId};

    /// Values of so many elements; value 0 comes from the host before everything.
    fn program(sizes: &[usize]) -> Program {
        let devices = sizes.iter().enumerate().map(|(number, &size)| Device {
            desc: TensorDesc::f32(&[size]),
            root: DeviceId(number),
            begin: 0,
            source: Source::Steps,
        });
        Program { devices: devices.collect(), ..Program::default() }
    }

    fn upload(program: &mut Program, to: usize) {
        program.steps.push(Step { node: 0, work: Work::Upload { value: ValueId(0), to: DeviceId(to), indices_below: None } });
    }

    /// So many elements from one of a value to one of another.
    fn copy(program: &mut Program, [from, first]: [usize; 2], [to, begin]: [usize; 2], count: usize) {
        let operand = |offset: usize| Operand { dtype: DType::F32, offset: offset as i64, strides: vec![1] };
        let map = Map {
            name: "test",
            shape: &[count],
            operands: vec![operand(first)],
            output: operand(begin),
            arithmetic: Arithmetic::Move,
            function: "a",
            scalars: &[],
        };
        let operation = Box::new(map.operation(&DeviceLimits::default()).unwrap());
        let work = Work::Operation { operation, operands: vec![DeviceId(from)], output: DeviceId(to) };
        program.steps.push(Step { node: 0, work });
    }

    /// Where each value begins, and how many steps are left.
    fn placed(mut program: Program) -> (Vec<(usize, u64)>, usize) {
        put_in_place(&mut program);
        (program.devices.iter().map(|device| (device.root.0, device.begin)).collect(), program.steps.len())
    }

    #[test]
    fn a_value_that_is_written_again_or_where_others_write_keeps_its_buffer() {
        // Two halves of a third.
        let mut halves = program(&[64, 64, 128]);
        upload(&mut halves, 0);
        upload(&mut halves, 1);
        copy(&mut halves, [0, 0], [2, 0], 64);
        copy(&mut halves, [1, 0], [2, 64], 64);
        assert_eq!(placed(halves.clone()), (vec![(2, 0), (2, 256), (2, 0)], 2));
        // What is written again after its copy.
        let mut again = halves.clone();
        upload(&mut again, 0);
        assert_eq!(placed(again), (vec![(0, 0), (2, 256), (2, 0)], 4));
        // Everything is filled before the second copy.
        let mut filled = halves.clone();
        filled.steps.insert(3, Step { node: 0, work: Work::Upload { value: ValueId(0), to: DeviceId(2), indices_below: None } });
        assert_eq!(placed(filled).0, [(0, 0), (1, 0), (2, 0)]);
        // A part that is a result.
        let mut result = halves;
        result.outcomes.push(Outcome::Device(DeviceId(1)));
        assert_eq!(placed(result), (vec![(2, 0), (1, 0), (2, 0)], 3));
        // Parts of one, of which one begins where no binding does.
        let mut parts = program(&[256, 64, 64, 32]);
        upload(&mut parts, 0);
        copy(&mut parts, [0, 64], [1, 0], 64);
        copy(&mut parts, [0, 100], [2, 0], 64);
        copy(&mut parts, [0, 192], [3, 0], 32);
        assert_eq!(placed(parts.clone()), (vec![(0, 0), (0, 256), (2, 0), (0, 768)], 2));
        // The whole is overwritten while its parts are still to be read.
        upload(&mut parts, 0);
        assert_eq!(placed(parts), (vec![(0, 0), (1, 0), (2, 0), (3, 0)], 5));
    }
}
