//! Elements found by index, and put at one: gathers, max-unpooling, weights in the order of kernels.
//!
//! Where a binding does not hold their tensors there is no item to cut off, as any index may name any element. So each dispatch is bound
//! to one range of every tensor and does what it can with these; together they do all. Each element is written once, by the dispatch
//! that has both its index and what it names.

use std::ops::Range;

use super::slices::{Items, MOST};
use super::{Done, Lowering};
use crate::algorithm::{PackOrder, View};
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::graph::ops::Fact;
use crate::kernel::Slot;
use crate::limits::Ranges;
use crate::network::program::DeviceId;
use crate::operation::{Arithmetic, Gather, GatherPart, Map, Operand, Operation, Pack, Scatter, dense};
use crate::value::ElementType;

/// What two ranges have in common.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

impl Lowering<'_> {
    pub(super) fn gather(&mut self, node: &Node, facts: &[Option<Fact>], axis: usize, result: &[usize]) -> Result<Done> {
        let (Some(Some(x)), Some(Some(indices))) = (facts.first(), facts.get(1)) else { return Ok(false) };
        if !matches!(indices.element, ElementType::I64 | ElementType::I32) {
            return Ok(false);
        }
        let size = x.shape[axis];
        // Checked here, as the host would.
        let inside = |index: &i64| (-(size as i64)..size as i64).contains(index);
        let known = indices.constant.as_ref().map(|value| value.to_i64());
        if known.as_ref().is_some_and(|list| !list.iter().all(inside)) {
            return Ok(false);
        }
        let from = self.input(node, 0)?;
        let index_id = node.inputs[1].expect("the fact is there");
        let at = self.device_indices(index_id, Some(size))?;
        let gather = Gather {
            dtype: self.dtype(from),
            outer: x.shape[..axis].iter().product(),
            size,
            inner: x.shape[axis + 1..].iter().product(),
            indices: indices.len(),
            float: x.element.is_float(),
        };
        let output = self.temp(result, gather.dtype);
        // Below 2^31, as they are inside.
        let known: Option<Vec<i32>> = known.map(|list| list.into_iter().map(|index| index as i32).collect());
        self.gathered(&gather, [from, at], known.as_deref(), output)?;
        self.set(node, 0, output);
        Ok(true)
    }

    /// The steps of a gather of `from` by the indices `at`, which may be known: by items, or where a binding does not hold one, by ranges.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where that takes too many dispatches.
    pub(super) fn gathered(
        &mut self,
        gather: &Gather,
        [from, at]: [DeviceId; 2],
        known: Option<&[i32]>,
        output: DeviceId,
    ) -> Result<()> {
        let limits = *self.engine.limits();
        let most = Ranges::of(&limits).most;
        if [from, output].iter().all(|&id| self.item_bytes(id, gather.outer) <= most) && self.program.bytes(at) <= most {
            return self.by_items(&Items { outer: gather.outer, own: &[from], shared: &[at] }, output, |outer| {
                Gather { outer, ..gather.clone() }.operation(&limits)
            });
        }
        let [outputs, inputs, indices] = [output, from, at].map(|id| self.pieces(id));
        let mut parts = Vec::new();
        for bound in &outputs {
            for list in &indices {
                // The indices of several items are not a run of them.
                let of_list = if gather.outer == 1 { list.start * gather.inner..list.end * gather.inner } else { bound.clone() };
                let elements = common(bound, &of_list);
                if elements.is_empty() {
                    continue;
                }
                if gather.outer > 1 && indices.len() > 1 {
                    return Err(self.too_large(at));
                }
                let rows = elements.start / gather.inner..(elements.end - 1) / gather.inner + 1;
                let seen = known.filter(|_| gather.outer == 1).map(|known| &known[rows]);
                let needed = |input: &Range<usize>| seen.is_none_or(|seen| gather.names(seen, input));
                let part = |input: &Range<usize>| GatherPart {
                    elements: elements.clone(),
                    output: bound.clone(),
                    input: input.clone(),
                    indices: list.clone(),
                };
                parts.extend(inputs.iter().filter(|input| needed(input)).map(part));
            }
        }
        self.check_count(parts.len())?;
        for part in parts {
            let ranges = [
                (from, &part.input, Slot::Operand(0)),
                (at, &part.indices, Slot::Operand(1)),
                (output, &part.output, Slot::Output),
            ];
            let operation = self.with_ranges(gather.part(&part, &limits)?, &ranges);
            self.operation(operation, &[from, at], output);
        }
        Ok(())
    }

    /// Weights in the order that a layer's kernels read them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where that takes too many dispatches.
    pub(super) fn packed(&mut self, order: &PackOrder, from: DeviceId) -> Result<DeviceId> {
        let dtype = self.dtype(from);
        let elements = self.shape(from).iter().product();
        let operations = Pack { dtype, order }.operations(elements, self.engine.limits())?;
        self.check_count(operations.len())?;
        let output = self.temp(&[order.count()], dtype);
        for operation in operations {
            self.operation(operation, &[from], output);
        }
        Ok(output)
    }

    /// Elements at the places that a max pooling took them from, and zeros elsewhere.
    pub(super) fn unpool(&mut self, node: &Node, result: &[usize]) -> Result<DeviceId> {
        let (from, at) = (self.input(node, 0)?, self.input(node, 1)?);
        let (dtype, limits) = (self.dtype(from), *self.engine.limits());
        let output = self.temp(result, dtype);
        let fill = Map {
            name: "zeros",
            shape: result,
            operands: Vec::new(),
            output: Operand { dtype, offset: 0, strides: dense(result) },
            arithmetic: Arithmetic::Float,
            function: "0.0",
            scalars: &[],
        };
        self.mapped(&fill, &[], output)?;
        let [inputs, indices, outputs] = [from, at, output].map(|id| self.pieces(id));
        self.check_count((inputs.len() + indices.len()) * outputs.len())?;
        for (input, list) in inputs.iter().flat_map(|input| indices.iter().map(move |list| (input, list))) {
            let elements = common(input, list);
            for bound in outputs.iter().filter(|_| !elements.is_empty()) {
                let (elements, input, indices, bound) = (elements.clone(), input.clone(), list.clone(), bound.clone());
                let put = Scatter { dtype, elements, input, indices, output: bound };
                let ranges = [
                    (from, &put.input, Slot::Operand(0)),
                    (at, &put.indices, Slot::Operand(1)),
                    (output, &put.output, Slot::Output),
                ];
                let operation = self.with_ranges(put.operation(&limits)?, &ranges);
                self.operation(operation, &[from, at], output);
            }
        }
        Ok(output)
    }

    /// The ranges of a tensor that bindings hold.
    fn pieces(&self, id: DeviceId) -> Vec<Range<usize>> {
        let desc = self.desc(id);
        Ranges::of(self.engine.limits()).pieces(desc.shape().iter().product(), desc.dtype().bytes())
    }

    /// An operation that is bound to ranges of its tensors, in elements.
    fn with_ranges(&self, mut operation: Operation, ranges: &[(DeviceId, &Range<usize>, Slot)]) -> Operation {
        let view = |&(id, range, slot): &(DeviceId, &Range<usize>, Slot)| {
            let element = self.dtype(id).bytes() as u64;
            View { slot, offset: range.start as u64 * element, bytes: (range.len() as u64 * element).next_multiple_of(4) }
        };
        operation.views = ranges.iter().map(view).collect();
        operation
    }

    fn check_count(&self, count: usize) -> Result<()> {
        if count <= MOST {
            return Ok(());
        }
        let most = Ranges::of(self.engine.limits()).most;
        Err(Error::unsupported(
            "input",
            format!("needs {count} dispatches over bindings of {most} bytes, but at most {MOST} are made"),
        ))
    }
}
