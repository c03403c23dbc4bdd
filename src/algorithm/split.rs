//! [`Split`]: a layer in parts, where a tensor, the weights or the workspace are more than one binding holds.
//!
//! Each part is a layer of its own, a smaller one, by the same algorithm and tile: kernels know nothing of it, and every sum is made
//! in the same order. A part reads and writes ranges of the layer's tensors, bound where they begin at a multiple of 256 bytes and lie in
//! one buffer; what is no such range, as some rows of all channels are not, is moved through the workspace (`part.rs`).

use std::fmt;
use std::ops::Range;

use super::plan::{Plan, Step, View};
use super::{Algorithm, Packing, pack, part};
use crate::desc::{ConvDesc, IndexOrder, PoolDesc, PoolKind};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, section};
use crate::limits::{DeviceLimits, Ranges};
use crate::problem::{Layer, Problem};
use crate::tensor_desc::TensorDesc;

/// What a layer is divided along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SplitAxis {
    /// Batch items.
    Batch,
    /// Groups of channels; the channels of a pooling.
    Groups,
    /// Output channels of each group; every part reads all inputs.
    OutputChannels,
    /// Outputs along the first spatial axis; neighbours read some inputs both.
    Rows,
}

impl fmt::Display for SplitAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SplitAxis::Batch => "batch",
            SplitAxis::Groups => "groups",
            SplitAxis::OutputChannels => "output channels",
            SplitAxis::Rows => "rows",
        })
    }
}

/// How a layer is done in parts. Prints as `by batch, rows into 12 parts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// What it is divided along.
    pub axes: Vec<SplitAxis>,
    /// The layers that compute the parts, in the order in which they run.
    pub parts: Vec<Problem>,
    /// The sets of weights, each in a buffer of its own.
    pub(crate) weights: Vec<WeightPart>,
    /// What each step of the plan is bound to.
    pub(crate) steps: Vec<StepBindings>,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<_> = self.axes.iter().map(ToString::to_string).collect();
        write!(f, "by {} into {} parts", axes.join(", "), self.parts.len())
    }
}

/// What a step of a split plan is bound to, where that is not the whole of each buffer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepBindings {
    /// The set of weights.
    pub weights: usize,
    /// Ranges of buffers; a slot that has none is bound as a whole.
    pub views: Vec<View>,
    /// The numbers of [`Slot::Parameters`](crate::kernel::Slot::Parameters).
    pub parameters: Vec<[i32; 4]>,
}

/// The weights of some of a layer's output channels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightPart {
    /// Of the layer that they are for.
    pub geometry: Geometry,
    /// How its kernels read them.
    pub packing: Packing,
    groups: Range<usize>,
    /// Of each of those groups.
    channels: Range<usize>,
}

impl WeightPart {
    /// All weights of a plan that is not split.
    pub fn whole(plan: &Plan) -> Self {
        let (groups, channels) = (0..plan.geometry.groups as usize, 0..plan.geometry.group_out() as usize);
        Self { geometry: plan.geometry.clone(), packing: plan.packing, groups, channels }
    }

    /// The output channels that they compute, of a layer with so many in each group.
    pub fn outputs(&self, group_out: usize) -> Range<usize> {
        let Range { start, end } = &self.channels;
        self.groups.start * group_out + start..(self.groups.end - 1) * group_out + end
    }

    /// The kernel of the part, of the whole layer's in the user's order.
    pub fn select<T: Copy>(&self, whole: &Geometry, kernel: &[T]) -> Vec<T> {
        let (taps, group_in) = (whole.taps() as usize, whole.group_in() as usize);
        let group_out = whole.group_out() as usize;
        if !whole.transposed {
            // `[out, in/groups, taps]`
            let Range { start, end } = self.outputs(group_out);
            return kernel[start * group_in * taps..end * group_in * taps].to_vec();
        }
        // `[in, out/groups, taps]`
        let row = |input: usize| input * group_out * taps;
        let inputs = self.groups.start * group_in..self.groups.end * group_in;
        inputs
            .flat_map(|input| &kernel[row(input)..row(input + 1)][self.channels.start * taps..self.channels.end * taps])
            .copied()
            .collect()
    }
}

impl WeightPart {
    /// For each packed weight of the part the number that `order`, which has one for each weight of the whole layer, has in place of
    /// it, and -1 where there is none: how a device can lay weights out that no host has seen. Not for Winograd, whose weights are
    /// computed.
    pub fn order(&self, whole: &Geometry, order: &[i32]) -> Vec<i32> {
        pack::order(&self.geometry, self.packing, &self.select(whole, order), -1)
    }
}

/// How many of each a part has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blocks {
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

/// The numbers of a layer, and what a kernel can be bound to.
struct Splitting<'a> {
    algorithm: &'a Algorithm,
    problem: &'a Problem,
    geometry: &'a Geometry,
    ranges: Ranges,
    workgroups: u32,
    /// Plans a layer that fits.
    plan: &'a dyn Fn(&Problem) -> Result<Plan>,
}

/// The most parts of a layer: each is planned, and recorded in every run.
const MAX_PARTS: usize = 1024;

/// What a view may begin before its first element, and end behind its last, at most.
const SLACK: u64 = 512;

/// The plan of a layer in parts; `refusal` is why it has none as a whole.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where even the smallest parts pass the limit.
pub(super) fn plan(
    whole: Plan,
    limits: &DeviceLimits,
    plan_part: &dyn Fn(&Problem) -> Result<Plan>,
    refusal: Error,
) -> Result<Plan> {
    let splitting = Splitting {
        algorithm: &whole.algorithm,
        problem: &whole.problem,
        geometry: &whole.geometry,
        ranges: Ranges::of(limits),
        workgroups: limits.workgroups,
        plan: plan_part,
    };
    let mut last = None;
    for blocks in splitting.choices() {
        match splitting.build(blocks) {
            Ok((split, steps, workspace)) => return Ok(Plan { steps, workspace, split: Some(split), ..whole }),
            Err(error) => last = Some(error),
        }
    }
    let why = match last {
        Some(error) => format!("{}; in parts: {error}", refusal.message()),
        None => format!("{}, nor does a row of one channel or a part of {MAX_PARTS}", refusal.message()),
    };
    Err(Error::unsupported(refusal.field().map_or("input", |field| field), why))
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

impl Splitting<'_> {
    /// The first spatial axis that has more than one element, of the three.
    fn row_axis(&self) -> usize {
        (0..3).find(|&axis| self.geometry.input[axis] > 1 || self.geometry.output[axis] > 1).unwrap_or(2)
    }

    fn rows(&self) -> usize {
        self.geometry.output[self.row_axis()] as usize
    }

    fn element(&self) -> u64 {
        self.problem.input.dtype().bytes() as u64
    }

    /// The numbering of a max pooling's positions.
    fn indices(&self) -> Option<IndexOrder> {
        match self.problem.layer {
            Layer::Pool(PoolDesc { kind: PoolKind::Max { indices }, .. }) => indices,
            _ => None,
        }
    }

    /// Blocks that may fit, the largest first: by batch items, then by groups, by output channels, by rows, by both.
    fn choices(&self) -> Vec<Blocks> {
        let [batch, groups, channels, rows] = self.counts();
        // Winograd's tiles begin at every fourth row in each part, as they do in the whole.
        let rounded =
            |rows: usize| if matches!(self.algorithm, Algorithm::Winograd(_)) { rows.next_multiple_of(4) } else { rows };
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
        let output_element = if self.indices().is_some() { 4 } else { self.element() };
        let (input, output) = (input * self.element(), output * output_element);
        input.max(output) + SLACK <= self.ranges.most && weights * self.element() <= self.ranges.most
    }

    fn build(&self, blocks: Blocks) -> Result<(Split, Vec<Step>, Vec<u64>)> {
        let geometry = self.geometry;
        let size = |value: u32| value as usize;
        let (counts, blocks) = (self.counts(), blocks.sizes());
        let ranges = |axis: usize| {
            let (count, block) = (counts[axis], blocks[axis]);
            (0..count.div_ceil(block)).map(move |number| number * block..((number + 1) * block).min(count))
        };
        let names = [SplitAxis::Batch, SplitAxis::Groups, SplitAxis::OutputChannels, SplitAxis::Rows];
        let axes = (0..4).filter(|&axis| blocks[axis] < counts[axis]).map(|axis| names[axis]).collect();
        let mut split = Split { axes, parts: Vec::new(), weights: Vec::new(), steps: Vec::new() };
        let mut assembly = part::Assembly::new(geometry, self.problem.input.dtype(), self.ranges, self.workgroups);
        let mut plans: Vec<Plan> = Vec::new();
        for (groups, channels) in ranges(1).flat_map(|groups| ranges(2).map(move |channels| (groups.clone(), channels))) {
            let mut set = None;
            for (batch, rows) in ranges(0).flat_map(|batch| ranges(3).map(move |rows| (batch.clone(), rows))) {
                let (problem, input_rows) = self.part(batch.len(), groups.len(), channels.len(), &rows)?;
                let plan = match plans.iter().rev().find(|plan| plan.problem == problem) {
                    Some(plan) => plan.clone(),
                    None => (self.plan)(&problem)?,
                };
                let weights = *set.get_or_insert_with(|| {
                    let (geometry, packing) = (plan.geometry.clone(), plan.packing);
                    split.weights.push(WeightPart { geometry, packing, groups: groups.clone(), channels: channels.clone() });
                    split.weights.len() - 1
                });
                let piece = part::Piece {
                    plan: &plan,
                    weights,
                    items: batch.clone(),
                    inputs: groups.start * size(geometry.group_in())..groups.end * size(geometry.group_in()),
                    outputs: split.weights[weights].outputs(size(geometry.group_out())),
                    input_rows,
                    rows,
                    row_axis: self.row_axis(),
                    indices: self.indices(),
                };
                assembly.add(&piece)?;
                split.parts.push(problem);
                if plans.last().is_none_or(|last| *last != plan) {
                    plans.push(plan);
                }
            }
        }
        let (steps, bindings, workspace) = assembly.finish();
        split.steps = bindings;
        Ok((split, steps, workspace))
    }

    /// The layer that computes a part, and the rows of the input that it reads.
    fn part(&self, batch: usize, groups: usize, channels: usize, rows: &Range<usize>) -> Result<(Problem, Range<usize>)> {
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
        let section = section(&problem, &whole, &outputs)?;
        let input_rows = section.input[self.row_axis() - first].clone();
        Ok((section.problem, input_rows))
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

    #[test]
    fn the_first_axis_that_makes_parts_fit_is_the_one_that_is_split() {
        let limits = DeviceLimits { storage_binding_bytes: 4096, ..Default::default() };
        let split = |line: &str| {
            let problem: Problem = line.parse().unwrap();
            let algorithm = if line.starts_with("conv") { Algorithm::Direct } else { Algorithm::Pool };
            let plan = algorithm.plan(&problem, &limits).unwrap_or_else(|error| panic!("{line}: {error}"));
            plan.split.map_or("whole".into(), |split| split.to_string())
        };
        assert_eq!(split("conv 1x4x10x10 o4 k3x3 p1x1 f32"), "whole");
        assert_eq!(split("conv 8x4x10x10 o4 k3x3 p1x1 f32"), "by batch into 4 parts");
        assert_eq!(split("conv 1x16x10x10 o16 k3x3 p1x1 g4 f32"), "by groups into 2 parts");
        assert_eq!(split("conv 1x4x10x10 o64 k3x3 p1x1 f32"), "by output channels into 8 parts");
        assert_eq!(split("max_pool 1x4x20x20 k2x2 f32"), "by groups into 2 parts");
        assert_eq!(split("conv 1x4x40x10 o4 k3x3 p1x1 f32"), "by rows into 2 parts");
        // A row of one channel is 8,000 bytes.
        let wide: Problem = "conv 1x1x2x2000 o1 k1x1 f32".parse().unwrap();
        let error = Algorithm::candidates(&wide, &limits).unwrap_err();
        assert!(error.message().contains("16000") && error.message().contains("4096"), "{error}");
    }
}
