//! Sampling between elements, at positions that are data.

use super::slices::Items;
use super::{Done, Lowering, is_floats};
use crate::error::Result;
use crate::graph::ops::Fact;
use crate::graph::{Node, Op, SampleMode, SamplePadding};
use crate::operation::GridSample;

impl Lowering<'_> {
    /// Elements at the places of a grid.
    ///
    /// Where a position lies between two elements alike, f32 may take the other one: so the nearest are found on the host.
    pub(super) fn grid_sample(&mut self, node: &Node, facts: &[Option<Fact>], result: &[usize]) -> Result<Done> {
        let Op::GridSample { mode, padding, align_corners } = node.op else { return Ok(false) };
        if mode == SampleMode::Nearest || !facts.iter().flatten().all(is_floats) {
            return Ok(false);
        }
        let operands = [self.input(node, 0)?, self.input(node, 1)?];
        let [dtype, grid] = operands.map(|id| self.dtype(id));
        let shape = self.shape(operands[0]);
        let output = self.temp(result, dtype);
        let limits = *self.engine.limits();
        self.by_items(&Items { outer: shape[0], own: &operands, shared: &[] }, output, |items| {
            let sample = GridSample {
                dtype,
                grid,
                outer: [items, shape[1]],
                sizes: &shape[2..],
                places: result[2..].iter().product(),
                taps: if mode == SampleMode::Cubic { 4 } else { 2 },
                padding: match padding {
                    SamplePadding::Zeros => 0,
                    SamplePadding::Border => 1,
                    SamplePadding::Reflection => 2,
                },
                align_corners,
            };
            sample.operation(&limits)
        })?;
        self.set(node, 0, output);
        Ok(true)
    }
}
