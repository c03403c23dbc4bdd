//! Blocks of dense tensors of three axes, for operations on a smaller tensor: bound where they lie if they lie behind each other and a
//! binding may begin there; elsewhere a copy is read, or what is written is copied to its place.

use std::ops::Range;

use super::Lowering;
use crate::algorithm::View;
use crate::error::Result;
use crate::kernel::Slot;
use crate::network::program::DeviceId;
use crate::operation::{Operand, Operation, dense};

/// A block of a tensor that is seen as one of three axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Of the tensor.
    pub sizes: [usize; 3],
    pub ranges: [Range<usize>; 3],
}

impl Block {
    pub fn shape(&self) -> [usize; 3] {
        self.ranges.each_ref().map(Range::len)
    }

    /// Its first element, where neighbours are so far apart.
    fn first(&self, strides: &[i64]) -> i64 {
        self.ranges.iter().zip(strides).map(|(range, stride)| range.start as i64 * stride).sum()
    }

    /// Whether its elements lie behind each other.
    fn is_run(&self) -> bool {
        let ([items, lines, run], [_, all_lines, all]) = (self.shape(), self.sizes);
        let whole_lines = run == all;
        (whole_lines && lines == all_lines) || (items == 1 && (whole_lines || lines == 1))
    }
}

impl Lowering<'_> {
    /// A block as an operand, dense; its range goes to `views` where it is bound as it lies.
    pub(super) fn read_block(&mut self, id: DeviceId, block: &Block, slot: Slot, views: &mut Vec<View>) -> Result<DeviceId> {
        let strides = dense(&block.sizes);
        if block.is_run()
            && let Ok(view) = self.range(id, block.first(&strides) as usize, block.shape().iter().product(), slot)
        {
            views.push(view);
            return Ok(id);
        }
        self.copied_block(id, block, &strides)
    }

    /// A dense copy of a block of a tensor with any strides.
    pub(super) fn copied_block(&mut self, id: DeviceId, block: &Block, strides: &[i64]) -> Result<DeviceId> {
        self.rearrange("block", id, &block.shape(), block.first(strides), strides)
    }

    /// The steps of an operation whose dense output is a block of a tensor.
    pub(super) fn write_block(
        &mut self,
        mut operation: Operation,
        operands: &[DeviceId],
        to: DeviceId,
        block: &Block,
    ) -> Result<()> {
        let (strides, shape) = (dense(&block.sizes), block.shape());
        let (first, count) = (block.first(&strides), shape.iter().product());
        if block.is_run()
            && let Ok(view) = self.range(to, first as usize, count, Slot::Output)
        {
            operation.views.push(view);
            self.operation(operation, operands, to);
            return Ok(());
        }
        let dtype = self.dtype(to);
        let staged = self.temp(&shape, dtype);
        self.operation(operation, operands, staged);
        let read = Operand { dtype, offset: 0, strides: dense(&shape) };
        self.copy("block", staged, read, to, Operand { dtype, offset: first, strides }, &shape)
    }
}

#[cfg(test)]
mod tests {
    use super::Block;

    #[test]
    fn a_block_is_a_run_where_nothing_of_others_lies_between() {
        let is_run = |ranges| Block { sizes: [3, 4, 5], ranges }.is_run();
        assert!(is_run([0..3, 0..4, 0..5]) && is_run([1..3, 0..4, 0..5]));
        assert!(is_run([1..2, 1..3, 0..5]) && is_run([2..3, 3..4, 1..4]));
        assert!(!is_run([0..2, 0..3, 0..5]) && !is_run([0..1, 0..2, 0..4]) && !is_run([0..2, 0..1, 0..4]));
    }
}
