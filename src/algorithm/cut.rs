//! [`Cutting`]: a layer as smaller layers of some of its batch items, groups, output channels or rows each.

use std::ops::Range;

use super::split::SplitAxis;
use crate::desc::{ConvDesc, IndexOrder, PoolDesc, PoolKind};
use crate::error::Result;
use crate::geometry::{Geometry, Section, section};
use crate::limits::Ranges;
use crate::problem::{Layer, Problem};
use crate::tensor_desc::TensorDesc;

/// The most parts of a layer: each is planned, and recorded in every run.
pub(super) const MAX_PARTS: usize = 1024;

/// What a view may begin before its first element, and end behind its last, at most.
const SLACK: u64 = 512;

/// How many of each a part has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    batch: usize,
    groups: usize,
    channels: usize,
    rows: usize,
}

impl Blocks {
    fn sizes(&self) -> [usize; 4] {
        [self.batch, self.groups, self.channels, self.rows]
    }

    /// How many parts a layer of so many of each has.
    fn parts(&self, counts: [usize; 4]) -> usize {
        counts.into_iter().zip(self.sizes()).map(|(count, block)| count.div_ceil(block)).product()
    }
}

/// A part of a layer: a smaller layer, and what it is of the whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub problem: Problem,
    /// Its numbers, with the steps of the whole.
    pub geometry: Geometry,
    pub items: Range<usize>,
    pub groups: Range<usize>,
    /// Output channels of each of those groups.
    pub channels: Range<usize>,
    /// Rows of the input, on [`Cutting::row_axis`].
    pub input_rows: Range<usize>,
    /// Rows of the output.
    pub rows: Range<usize>,
}

impl Cut {
    /// Channels of the whole's input.
    pub fn inputs(&self, whole: &Geometry) -> Range<usize> {
        let each = whole.group_in() as usize;
        self.groups.start * each..self.groups.end * each
    }

    /// Channels of the whole's output.
    pub fn outputs(&self, whole: &Geometry) -> Range<usize> {
        outputs(&self.groups, &self.channels, whole.group_out() as usize)
    }
}

/// The output channels of some groups, and of some channels of each, in a layer with so many in a group.
pub(super) fn outputs(groups: &Range<usize>, channels: &Range<usize>, group_out: usize) -> Range<usize> {
    groups.start * group_out + channels.start..(groups.end - 1) * group_out + channels.end
}

/// The numbers of a layer, and what a kernel can be bound to.
pub(super) struct Cutting<'a> {
    pub problem: &'a Problem,
    pub geometry: &'a Geometry,
    pub ranges: Ranges,
    /// Of how many rows parts are a multiple.
    pub row_step: usize,
}

/// `count` halved, and by three quarters between, down to 1.
fn sizes(count: usize) -> Vec<usize> {
    let mut list: Vec<usize> = Vec::new();
    let mut parts = 2;
    while list.last() != Some(&1) && count > 1 {
        let size = count.div_ceil(parts);
        if list.last() != Some(&size) {
            list.push(size);
        }
        parts += (parts / 2).max(1);
    }
    list
}

impl Cutting<'_> {
    /// The first spatial axis that has more than one element, of the three.
    pub fn row_axis(&self) -> usize {
        (0..3).find(|&axis| self.geometry.input[axis] > 1 || self.geometry.output[axis] > 1).unwrap_or(2)
    }

    fn rows(&self) -> usize {
        self.geometry.output[self.row_axis()] as usize
    }

    fn element(&self) -> u64 {
        self.problem.input.dtype().bytes() as u64
    }

    /// Blocks that may fit, the largest first: by batch items, then by groups, by output channels, by rows, by both.
    pub fn choices(&self) -> Vec<Blocks> {
        let [batch, groups, channels, rows] = self.counts();
        let rounded = |rows: usize| rows.next_multiple_of(self.row_step);
        let row_blocks: Vec<usize> = sizes(rows).into_iter().map(rounded).filter(|&block| block < rows).collect();
        let whole = Blocks { batch, groups, channels, rows };
        let item = Blocks { batch: 1, ..whole };
        let group = Blocks { groups: 1, ..item };
        let mut list: Vec<Blocks> = sizes(batch).into_iter().map(|batch| Blocks { batch, ..whole }).collect();
        list.extend(sizes(groups).into_iter().map(|groups| Blocks { groups, ..item }));
        list.extend(sizes(channels).into_iter().map(|channels| Blocks { channels, ..group }));
        list.extend(row_blocks.iter().map(|&rows| Blocks { rows, ..group }));
        for channels in sizes(channels) {
            list.extend(row_blocks.iter().map(|&rows| Blocks { channels, rows, ..group }));
        }
        list.retain(|blocks| self.may_fit(blocks) && blocks.parts(self.counts()) <= MAX_PARTS);
        list
    }

    /// What parts of such blocks divide the layer along.
    pub fn axes(&self, blocks: &Blocks) -> Vec<SplitAxis> {
        let (counts, blocks) = (self.counts(), blocks.sizes());
        let names = [SplitAxis::Batch, SplitAxis::Groups, SplitAxis::OutputChannels, SplitAxis::Rows];
        (0..4).filter(|&axis| blocks[axis] < counts[axis]).map(|axis| names[axis]).collect()
    }

    /// The parts: those of the same weights behind each other.
    pub fn cuts(&self, blocks: &Blocks) -> Result<Vec<Cut>> {
        let (counts, blocks) = (self.counts(), blocks.sizes());
        let ranges = |axis: usize| {
            let (count, block) = (counts[axis], blocks[axis]);
            (0..count.div_ceil(block)).map(move |number| number * block..((number + 1) * block).min(count))
        };
        let mut list = Vec::new();
        for (groups, channels) in ranges(1).flat_map(|groups| ranges(2).map(move |channels| (groups.clone(), channels))) {
            for (items, rows) in ranges(0).flat_map(|items| ranges(3).map(move |rows| (items.clone(), rows))) {
                let part = self.part(items.len(), groups.len(), channels.len(), &rows)?;
                let input_rows = part.input[self.row_axis() - (3 - self.geometry.rank)].clone();
                let Section { problem, geometry, .. } = part;
                list.push(Cut { problem, geometry, items, groups: groups.clone(), channels: channels.clone(), input_rows, rows });
            }
        }
        Ok(list)
    }

    /// Batch items, groups, output channels of a group, and rows of the layer.
    fn counts(&self) -> [usize; 4] {
        let size = |value: u32| value as usize;
        [size(self.geometry.batch), size(self.geometry.groups), size(self.geometry.group_out()), self.rows()]
    }

    /// Whether the bytes of a part's tensors are within the limit.
    fn may_fit(&self, blocks: &Blocks) -> bool {
        let (geometry, at) = (self.geometry, self.row_axis());
        let number = |value: usize| value as u64;
        let reach = u64::from(geometry.kernel[at] - 1) * u64::from(geometry.dilation[at]) + 1;
        let walked = (number(blocks.rows) - 1) * u64::from(geometry.stride[at]) + reach;
        let whole = u64::from(geometry.input[at]);
        // What the border cuts off may leave less; a part in the middle decides.
        let rows =
            if blocks.rows == self.rows() { whole } else { (walked / u64::from(geometry.input_dilation[at])).clamp(1, whole) };
        let channels = number(blocks.groups) * u64::from(geometry.group_in());
        let input = number(blocks.batch) * channels * rows * (geometry.input_plane() / whole);
        let outputs = number(blocks.batch) * number(blocks.groups) * number(blocks.channels);
        let output = outputs * number(blocks.rows) * (geometry.output_plane() / number(self.rows()));
        let weights = number(blocks.groups) * number(blocks.channels) * geometry.reduction();
        let output_element = if self.problem.indices().is_some() { 4 } else { self.element() };
        let (input, output) = (input * self.element(), output * output_element);
        input.max(output) + SLACK <= self.ranges.most && weights * self.element() <= self.ranges.most
    }

    /// The layer that computes a part.
    fn part(&self, batch: usize, groups: usize, channels: usize, rows: &Range<usize>) -> Result<Section> {
        let geometry = self.geometry;
        let inputs = groups * geometry.group_in() as usize;
        let layer = match self.problem.layer {
            Layer::Conv(desc) => Layer::Conv(ConvDesc { in_channels: inputs, out_channels: groups * channels, groups, ..desc }),
            // Positions are numbered when they are moved to their place.
            Layer::Pool(desc) => Layer::Pool(PoolDesc {
                kind: match desc.kind {
                    PoolKind::Max { indices: Some(_) } => PoolKind::Max { indices: Some(IndexOrder::Plane) },
                    kind => kind,
                },
                ..desc
            }),
        };
        let mut shape = self.problem.input.shape().to_vec();
        (shape[0], shape[1]) = (batch, inputs);
        let input = TensorDesc::new(&shape, self.problem.input.dtype()).with_layout(self.problem.input.layout());
        let problem = Problem { layer, input };
        let whole = Geometry::new(&problem)?;
        let first = 3 - geometry.rank;
        let outputs: Vec<Range<usize>> =
            (first..3).map(|axis| if axis == self.row_axis() { rows.clone() } else { 0..whole.output[axis] as usize }).collect();
        section(&problem, &whole, &outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_shrink_to_one() {
        assert!(sizes(1).is_empty());
        assert_eq!(sizes(2), [1]);
        assert_eq!(sizes(10), [5, 4, 3, 2, 1]);
        assert!(sizes(1_000_000).len() < 40);
    }
}
