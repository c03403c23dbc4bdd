//! Operations on tensors that are too large for one dispatch, in slices along the outer items: those of a batch, the rows of a
//! softmax, whatever does not know of each other.
//!
//! A slice is an operation of fewer items. It is bound to the ranges of its tensors where these begin at a place where a binding may
//! and lie in one buffer; elsewhere it reads a copy, or is copied to its place. A tensor is too large where one binding does not hold
//! it, or where the operation is predicted to take longer than a submission may.

use super::Lowering;
use crate::algorithm::View;
use crate::error::{Error, Result};
use crate::geometry::gcd;
use crate::kernel::Slot;
use crate::limits::{ALIGNMENT, Ranges};
use crate::network::program::{DeviceId, Step, Work};
use crate::operation::{Operand, Operation};

/// The most slices: beyond it a program of steps would be larger than the data.
pub(super) const MOST: usize = 4096;

/// The operands of an operation on so many outer items, in its order.
pub(super) struct Items<'a> {
    pub outer: usize,
    /// Of which each item has elements of its own.
    pub own: &'a [DeviceId],
    /// Which all items read.
    pub shared: &'a [DeviceId],
}

impl Lowering<'_> {
    /// The steps that compute `output`, whose items are those of the operands: one, or as many as its size asks for. `operation` makes
    /// it for a number of items.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where a binding does not hold a single item.
    pub(super) fn by_items(
        &mut self,
        items: &Items,
        output: DeviceId,
        operation: impl Fn(usize) -> Result<Operation>,
    ) -> Result<()> {
        let Items { outer, own, shared } = *items;
        let most = self.items_at_once(items, output, &operation(outer)?)?;
        if most == outer {
            let operands = [own, shared].concat();
            self.operation(operation(outer)?, &operands, output);
            return Ok(());
        }
        if outer.div_ceil(most) > MOST {
            return Err(Error::unsupported("input", format!("needs more than {MOST} slices of {most} of its {outer} items")));
        }
        for first in (0..outer).step_by(most) {
            let count = most.min(outer - first);
            let mut part = operation(count)?;
            let mut operands = Vec::new();
            for (number, &id) in own.iter().enumerate() {
                operands.push(match self.slice(id, outer, first, count, Slot::Operand(number)) {
                    Ok(view) => {
                        part.views.push(view);
                        id
                    }
                    Err((begin, elements)) => self.rearrange("slice", id, &[elements], begin as i64, &[1])?,
                });
            }
            operands.extend(shared);
            match self.slice(output, outer, first, count, Slot::Output) {
                Ok(view) => {
                    part.views.push(view);
                    self.operation(part, &operands, output);
                }
                Err((begin, elements)) => {
                    let dtype = self.dtype(output);
                    let staged = self.temp(&[elements], dtype);
                    self.operation(part, &operands, staged);
                    let read = Operand { dtype, offset: 0, strides: vec![1] };
                    let write = Operand { dtype, offset: begin as i64, strides: vec![1] };
                    self.copy("slice", staged, read, output, write, &[elements])?;
                }
            }
        }
        Ok(())
    }

    /// How many items one dispatch takes: all, or a number that begins most slices where a binding may.
    fn items_at_once(&self, items: &Items, output: DeviceId, whole: &Operation) -> Result<usize> {
        let limits = self.engine.limits();
        let (most, outer) = (Ranges::of(limits).most, items.outer as u64);
        let own = || items.own.iter().copied().chain([output]);
        let bytes: u64 = own().map(|id| self.program.bytes(id)).sum();
        let ns = whole.nanoseconds(bytes, limits);
        if own().all(|id| self.program.bytes(id) <= most) && ns <= limits.submission_ns {
            return Ok(items.outer);
        }
        // What would take too many slices is long.
        let mut count = (limits.submission_ns / (ns / outer).max(1)).clamp(outer.div_ceil(MOST as u64 / 8), outer);
        let mut step = 1;
        for id in own() {
            let item = self.item_bytes(id, items.outer);
            if item > most {
                return Err(Error::unsupported(
                    "input",
                    format!(
                        "or a result of {} has items of {item} bytes each, but a binding has at most {most} bytes",
                        self.desc(id)
                    ),
                ));
            }
            count = count.min(most / item);
            let own = ALIGNMENT / gcd(item as i64, ALIGNMENT as i64) as u64;
            step = step / gcd(step as i64, own as i64) as u64 * own;
        }
        // Ranges of odd numbers of 16-bit elements end in the middle of a word.
        let count = if count > step { count - count % step } else { count };
        Ok(count as usize)
    }

    /// Bytes of each of so many items.
    pub(super) fn item_bytes(&self, id: DeviceId, outer: usize) -> u64 {
        let desc = self.desc(id);
        let elements: usize = desc.shape().iter().product();
        ((elements / outer.max(1)) * desc.dtype().bytes()).max(1) as u64
    }

    /// The range of some items, or where none can be bound, their first element and their number.
    fn slice(&self, id: DeviceId, outer: usize, first: usize, count: usize, slot: Slot) -> Result<View, (usize, usize)> {
        let item = self.item_bytes(id, outer) as usize / self.dtype(id).bytes();
        self.range(id, first * item, count * item, slot)
    }

    /// The range of some elements, or where none can be bound, the first and their number.
    pub(super) fn range(&self, id: DeviceId, first: usize, count: usize, slot: Slot) -> Result<View, (usize, usize)> {
        let element = self.dtype(id).bytes();
        let (offset, bytes) = ((first * element) as u64, (count * element) as u64);
        // A word that two slices share would be written by both.
        let whole_words = bytes.is_multiple_of(4) || slot != Slot::Output;
        let bytes = bytes.next_multiple_of(4);
        if whole_words && Ranges::of(self.engine.limits()).hold(offset, bytes) {
            return Ok(View { slot, offset, bytes });
        }
        Err((first, count))
    }

    /// Whether all tensors of the steps from this one on fit a binding of the device; layers are planned in parts where they do not.
    pub(super) fn check_bindings(&self, first: usize) -> Result<()> {
        let limit = Ranges::of(self.engine.limits()).most;
        // What an operation is bound to as a whole.
        let bound = |step: &Step| match &step.work {
            Work::Operation { operation, operands, output } => {
                let slots = (0..).map(Slot::Operand).zip(operands).chain([(Slot::Output, output)]);
                let whole = slots.filter(|(slot, _)| operation.views.iter().all(|view| view.slot != *slot));
                whole.map(|(_, &id)| id).collect()
            }
            _ => Vec::new(),
        };
        let touched = self.program.steps[first..].iter().flat_map(bound);
        match touched.into_iter().find(|&id| self.program.bytes(id) > limit) {
            None => Ok(()),
            Some(id) => Err(self.too_large(id)),
        }
    }

    /// The error of a tensor that must be bound as a whole and is more than a binding.
    pub(super) fn too_large(&self, id: DeviceId) -> Error {
        let needs = Ranges::of(self.engine.limits()).too_few_for(self.program.bytes(id));
        Error::unsupported("input", format!("or a result of {} {needs}", self.desc(id)))
    }
}
