//! Weights in the order that kernels read them: a [`PackOrder`], by which the host moves them, or a device those that no host has seen.
//!
//! Every packing but Winograd's is a choice of axes: the element that stands at a place of the packed weights is a sum of strides, so
//! that nobody needs a table of places. What Winograd packs so is transformed before, by the host.

use std::borrow::Cow;
use std::ops::Range;

use super::plan::{Packing, strip_taps};
use super::winograd_weights::transform_weights;
use crate::geometry::Geometry;
use crate::layout::Layout;

/// Where the weights of a convolution lie in a tensor: the first one, and how many elements it is from one to its neighbour on each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WeightSource {
    pub first: i64,
    /// The axes of the groups, outermost first: sizes, and from each to the next.
    pub groups: Vec<(usize, i64)>,
    /// The groups that are meant.
    pub chosen: Range<usize>,
    /// Output channels of a group.
    pub out: i64,
    /// Input channels of a group.
    pub input: i64,
    /// Taps, the last axis fastest.
    pub tap: i64,
}

impl WeightSource {
    /// The user's order: `[out_channels, in/groups, taps]`, or of a transposed convolution `[in_channels, out/groups, taps]`, whose last
    /// tap is the first of the convolution that the geometry describes.
    pub fn of(geometry: &Geometry) -> Self {
        let sizes = [geometry.groups, geometry.group_out(), geometry.group_in()].map(|size| size as usize);
        let dense = Self::dense(sizes, geometry.taps() as usize);
        if !geometry.transposed {
            return dense;
        }
        let taps = dense.input;
        Self { first: taps - 1, out: taps, input: i64::from(geometry.group_out()) * taps, tap: -1, ..dense }
    }

    /// `[group, output channel, input channel, tap]`
    fn dense([groups, group_out, group_in]: [usize; 3], taps: usize) -> Self {
        let [input, out] = [taps, group_in * taps].map(|stride| stride as i64);
        Self { first: 0, groups: vec![(groups, group_out as i64 * out)], chosen: 0..groups, out, input, tap: 1 }
    }

    /// A matrix for each item of a batch, whose axes have these sizes and strides, as a group's weights; `[out, input]` are the distances
    /// of output and input channels.
    pub fn matrices(batch: &[usize], strides: &[usize], channels: [usize; 2]) -> Self {
        let groups = batch.iter().zip(strides).map(|(&size, &stride)| (size, stride as i64)).collect();
        let [out, input] = channels.map(|stride| stride as i64);
        Self { first: 0, groups, chosen: 0..batch.iter().product(), out, input, tap: 0 }
    }

    /// The weights of some groups, and of these from an output channel on.
    pub fn part(&self, groups: Range<usize>, channel: usize) -> Self {
        Self { first: self.first + channel as i64 * self.out, chosen: groups, ..self.clone() }
    }
}

/// One axis that is two of the source: `inner` neighbours follow each other at one distance, and such runs at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nested {
    pub count: usize,
    pub inner: usize,
    /// From run to run, and within one.
    pub strides: [i64; 2],
}

impl Nested {
    fn plain(count: usize, stride: i64) -> Self {
        Self { count, inner: 1, strides: [stride, 0] }
    }

    fn place(&self, at: usize) -> i64 {
        (at / self.inner) as i64 * self.strides[0] + (at % self.inner) as i64 * self.strides[1]
    }

    /// The least and the greatest place.
    fn ends(&self) -> [i64; 2] {
        let steps = [self.count.div_ceil(self.inner), self.inner.min(self.count)].map(|count| count as i64 - 1);
        ends(&[steps[0] * self.strides[0], steps[1] * self.strides[1]])
    }
}

/// The least and the greatest sum of some of these.
fn ends(terms: &[i64]) -> [i64; 2] {
    [terms.iter().map(|term| term.min(&0)).sum(), terms.iter().map(|term| term.max(&0)).sum()]
}

/// Which element stands at each place of packed weights, `[group, block, panel, row][column]`: columns are output channels, and what is
/// beyond the channels, the rows, or a run of taps is a zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackOrder {
    pub source: WeightSource,
    /// Output channels of a group.
    pub channels: usize,
    /// Columns of a block.
    pub block: usize,
    pub panels: Nested,
    pub rows: Nested,
    /// Rows of a panel with those of zeros.
    pub padded_rows: usize,
    /// How many of each inner run of rows are no zeros at most, and how many there are in all inner panels.
    pub run: usize,
    pub length: usize,
    /// By how many of these an inner panel begins behind the one before, and an inner row.
    pub steps: [usize; 2],
}

impl PackOrder {
    /// The order of weights that are only moved: not of Winograd's, which are computed, nor of none, nor of depthwise ones whose groups have
    /// several axes, as matrices may.
    pub fn new(geometry: &Geometry, packing: Packing, source: WeightSource) -> Option<Self> {
        let [channels, group_in, taps] =
            [geometry.group_out().into(), geometry.group_in().into(), geometry.taps()].map(|n| n as usize);
        let WeightSource { input, tap, .. } = source;
        let in_channels = Nested { count: group_in * taps, inner: taps, strides: [input, tap] };
        let one = Nested::plain(1, 0);
        Some(match packing {
            Packing::None | Packing::Winograd { .. } => return None,
            Packing::Rows => Self::panelled(source, channels, [one, in_channels], [1, 1]),
            Packing::Panels { block_m, padded_k, flat: false } => {
                let axes = [Nested::plain(taps, tap), Nested::plain(group_in, input)];
                Self::panelled(source, channels, axes, [block_m, padded_k])
            }
            Packing::Fours => {
                // Every channel is a group, and the groups are as far apart as channels would be.
                let [(_, step)] = source.groups[..] else { return None };
                let (first, count) = (source.first + source.chosen.start as i64 * step, source.chosen.len());
                let source = WeightSource { first, groups: vec![(1, 0)], chosen: 0..1, out: step, ..source };
                Self::panelled(source, count, [one, Nested::plain(taps, tap)], [4, 1])
            }
            // The order of the input's memory: taps inside channels, or channels inside taps.
            Packing::Panels { block_m, padded_k, flat: true } => {
                let rows = match geometry.input_layout {
                    Layout::ChannelsLast if taps > 1 => Nested { inner: group_in, strides: [tap, input], ..in_channels },
                    _ => in_channels,
                };
                Self::panelled(source, channels, [one, rows], [block_m, padded_k])
            }
            Packing::Strips { block_m, taps: run, rows: strip, step } => {
                let [length, run, strip, step] = [strip_taps(geometry, run), run, strip, step].map(|count| count as usize);
                // One segment for each phase, which begin side by side, or segments of all taps behind one another.
                let (segments, apart) = if step > 1 { (step, 1) } else { (length.div_ceil(run), run) };
                let strides = [length, apart].map(|taps| taps as i64 * tap);
                let panels = Nested { count: taps / length * segments, inner: segments, strides };
                let rows = Nested { count: group_in * strip, inner: strip, strides: [input, step as i64 * tap] };
                Self { run, length, steps: [apart, step], ..Self::panelled(source, channels, [panels, rows], [block_m, 1]) }
            }
        })
    }

    /// Panels and their rows in blocks of `[block_m, padded_k]`.
    fn panelled(source: WeightSource, channels: usize, [panels, rows]: [Nested; 2], blocks: [u32; 2]) -> Self {
        let [block, block_rows] = blocks.map(|block| block as usize);
        let padded_rows = rows.count.next_multiple_of(block_rows);
        Self { source, channels, block, panels, rows, padded_rows, run: rows.inner, length: rows.inner, steps: [rows.inner, 1] }
    }

    /// Packed weights, zeros included.
    pub fn count(&self) -> usize {
        self.source.chosen.len() * self.blocks() * self.panels.count * self.padded_rows * self.block
    }

    /// Blocks of a group.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// The elements of the tensor among which all are, from the first to one past the last; a padding's would be too.
    pub fn span(&self) -> Range<i64> {
        let starts = || self.source.chosen.clone().map(|group| self.group_start(group));
        let channels = Nested::plain(self.channels, self.source.out);
        let axes = [channels, self.panels, self.rows].map(|axis| axis.ends());
        let sum = |end: usize| axes.iter().map(|ends| ends[end]).sum::<i64>();
        starts().min().unwrap_or(0) + sum(0)..starts().max().unwrap_or(0) + sum(1) + 1
    }

    /// The first weight of a group.
    fn group_start(&self, group: usize) -> i64 {
        let step =
            |(rest, place): (usize, i64), &(size, stride): &(usize, i64)| (rest / size, place + (rest % size) as i64 * stride);
        self.source.groups.iter().rev().fold((group, self.source.first), step).1
    }

    /// Where the first channel of a row is in its group, if the row is no padding.
    fn row_start(&self, panel: usize, row: usize) -> Option<i64> {
        let (in_run, runs) = (row % self.rows.inner, panel % self.panels.inner);
        let [panel_step, row_step] = self.steps;
        let inside = row < self.rows.count && in_run < self.run && runs * panel_step + in_run * row_step < self.length;
        inside.then(|| self.panels.place(panel) + self.rows.place(row))
    }

    /// The elements that are packed, where they lie in this order.
    fn as_they_lie(&self) -> Option<Range<usize>> {
        let Self { source, channels, rows, .. } = self;
        let is_run = self.block == 1
            && self.panels.count == 1
            && self.run == rows.inner
            && rows.strides == [rows.inner as i64, 1]
            && self.padded_rows == rows.count;
        let of_group = *channels as i64 * source.out;
        let groups = source.chosen.len() == 1 || matches!(source.groups[..], [(_, stride)] if stride == of_group);
        let start = self.group_start(source.chosen.start) as usize;
        (is_run && groups && source.out == rows.count as i64).then(|| start..start + source.chosen.len() * channels * rows.count)
    }

    /// Elements in this order, `blank` in the padding.
    pub fn apply<'a, T: Copy>(&self, weights: &'a [T], blank: T) -> Cow<'a, [T]> {
        if let Some(range) = self.as_they_lie() {
            return weights[range].into();
        }
        let starts: Vec<Option<i64>> =
            (0..self.panels.count).flat_map(|panel| (0..self.padded_rows).map(move |row| self.row_start(panel, row))).collect();
        let mut packed = Vec::with_capacity(self.count());
        let groups = self.source.chosen.clone();
        for (group, block) in groups.flat_map(|group| (0..self.blocks()).map(move |block| (group, block))) {
            let first = self.group_start(group);
            let channels = block * self.block..((block + 1) * self.block).min(self.channels);
            for start in &starts {
                let end = packed.len() + self.block;
                if let Some(start) = start {
                    let place = |channel: usize| (first + start + channel as i64 * self.source.out) as usize;
                    packed.extend(channels.clone().map(|channel| weights[place(channel)]));
                }
                packed.resize(end, blank);
            }
        }
        packed.into()
    }
}

/// Lays out weights that the host has.
pub(super) fn pack<'a>(geometry: &Geometry, packing: Packing, source: WeightSource, weights: &'a [f32]) -> Cow<'a, [f32]> {
    let order = |packing: Packing| PackOrder::new(geometry, packing, source.clone());
    let Packing::Winograd { dtype, outputs, components, taps, block_m, padded_k } = packing else {
        return order(packing).map(|order| order.apply(weights, 0.0)).unwrap_or_default();
    };
    let rows = order(Packing::Rows).expect("rows are only moved").apply(weights, 0.0);
    // `[component, group, output channel, input channel, tap that is not transformed]`
    let [groups, group_out, group_in, components, taps] =
        [geometry.groups, geometry.group_out(), geometry.group_in(), components, taps].map(|size| size as usize);
    let dense = WeightSource::dense([components * groups, group_out, group_in], taps);
    let axes = [Nested::plain(taps, dense.tap), Nested::plain(group_in, dense.input)];
    let panels = PackOrder::panelled(dense, group_out, axes, [block_m, padded_k]);
    panels.apply(&transform_weights(geometry, outputs, dtype, &rows), 0.0).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Algorithm;
    use crate::algorithm::plan::packed_elements;
    use crate::limits::{DeviceClass, DeviceLimits};
    use crate::problem::Problem;

    /// Where a packing has the weight of a group, an output channel, an input channel and a tap, by its definition.
    fn place(geometry: &Geometry, packing: Packing, [group, m, c, tap]: [usize; 4]) -> usize {
        let [group_out, group_in] = [geometry.group_out(), geometry.group_in()].map(|count| count as usize);
        let (taps, x) = (geometry.taps() as usize, geometry.kernel[2] as usize);
        let panels = |block_m: u32, row: usize, rows: usize| {
            let block_m = block_m as usize;
            ((group * group_out.div_ceil(block_m) + m / block_m) * rows + row) * block_m + m % block_m
        };
        match packing {
            Packing::Rows => ((group * group_out + m) * group_in + c) * taps + tap,
            Packing::Fours => (group / 4 * taps + tap) * 4 + group % 4,
            Packing::Panels { block_m, padded_k, flat: false } => {
                let rows = group_in.next_multiple_of(padded_k as usize);
                panels(block_m, tap * rows + c, taps * rows)
            }
            Packing::Panels { block_m, padded_k, flat: true } => {
                let row = if geometry.input_layout == Layout::ChannelsLast { tap * group_in + c } else { c * taps + tap };
                panels(block_m, row, (group_in * taps).next_multiple_of(padded_k as usize))
            }
            Packing::Strips { block_m, taps: run, rows, step } => {
                let (run, rows, step) = (run as usize, rows as usize, step as usize);
                let x = x.max(run); // of a patch all taps on y and x
                let (segments, segment, row) = match step {
                    1 => (x.div_ceil(run), tap % x / run, tap % x % run),
                    _ => (step, tap % x % step, tap % x / step),
                };
                let panel = tap / x * segments + segment;
                panels(block_m, (panel * group_in + c) * rows + row, taps / x * segments * group_in * rows)
            }
            Packing::None | Packing::Winograd { .. } => unreachable!("no weights are moved"),
        }
    }

    /// The number of a weight in the user's order.
    fn number(geometry: &Geometry, [group, m, c, tap]: [usize; 4]) -> usize {
        let [group_out, group_in] = [geometry.group_out(), geometry.group_in()].map(|count| count as usize);
        let taps = geometry.taps() as usize;
        match geometry.transposed {
            false => ((group * group_out + m) * group_in + c) * taps + tap,
            true => ((group * group_in + c) * group_out + m) * taps + taps - 1 - tap,
        }
    }

    #[test]
    fn every_weight_stands_where_its_packing_says_and_zeros_elsewhere() {
        let software = DeviceLimits { class: DeviceClass::Software, subgroup: Some(8), ..Default::default() };
        let patches = DeviceLimits { loops_over_lanes: true, ..software };
        let small = DeviceLimits { storage_binding_bytes: 8192, ..software };
        let mut seen = std::collections::BTreeMap::new();
        for line in [
            "conv 1x5x9x9 o7 k3x3 p1x1 f32",
            "conv 2x6x7x30 o10 k3x5 g2 f32",
            "conv 1x6x7x8 nhwc o10 k3x2 g2 f32",
            "conv 3x20x1 o33 k1 f32",
            "conv 1x96x40 o64 k1 g4 f32",
            "conv 4x3x5x5 nhwc o18 k5x5 f32",
            "conv 4x3x5x5 o18 k5x5 f32",
            "conv 1x8x10x10 o8 k3x3 g8 f32",
            "conv 1x12x10x10 nhwc o12 k3x2 g12 f32",
            "conv_transpose 1x24x10x10 nhwc o24 k3x2 s2x1 g24 f32",
            "conv 1x2x3x4x20 o130 k2x3x7 f32",
            "conv_transpose 1x6x5x5 o4 k3x3 s2x2 g2 f32",
            "conv_transpose 1x6x9 o70 k5 f32",
            "conv_transpose 1x6x5x5 o18 k3x4 s2x2 g2 f32",
            "conv_transpose 1x3x9 o5 k7 s3 f32",
            "conv 1x64x20x20 o300 k3x3 g2 f32",
        ] {
            let problem: Problem = line.parse().unwrap();
            let whole = Geometry::new(&problem).unwrap();
            let group_out = whole.group_out() as usize;
            let source = WeightSource::of(&whole);
            let weights: Vec<i32> = (1..=whole.weight_elements() as i32).collect();
            for limits in
                [DeviceLimits::default(), software, patches, small, DeviceLimits { subgroup: Some(32), ..Default::default() }]
            {
                let Ok(candidates) = Algorithm::candidates(&problem, &limits) else { continue };
                for algorithm in candidates.algorithms.iter().filter(|algorithm| !matches!(algorithm, Algorithm::Winograd(_))) {
                    let plan = algorithm.plan(&problem, &limits).unwrap();
                    for part in plan.weight_parts() {
                        let geometry = &part.geometry;
                        let order = part.order(&source).unwrap();
                        assert_eq!(order.count() as u64, packed_elements(geometry, part.packing), "{line} {algorithm}");
                        let first = part.outputs(group_out).start;
                        let mut expected = vec![0; order.count()];
                        let sizes =
                            [geometry.groups.into(), geometry.group_out().into(), geometry.group_in().into(), geometry.taps()];
                        crate::graph::ops::each(&sizes.map(|size: u64| size as usize), |at| {
                            let at = <[usize; 4]>::try_from(at).unwrap();
                            let of_whole = [at[0] + first / group_out, at[1] + first % group_out, at[2], at[3]];
                            expected[place(geometry, part.packing, at)] = weights[number(&whole, of_whole)];
                        });
                        assert!(order.apply(&weights, 0) == expected, "{line} {algorithm} {order:?}");
                        let span = order.span();
                        let inside = |&&weight: &&i32| weight == 0 || span.contains(&i64::from(weight - 1));
                        assert!(expected.iter().filter(inside).count() == expected.len(), "{line} {algorithm} {span:?}");
                        let kind = (plan.split.is_some(), format!("{:?}", part.packing).split(' ').next().unwrap().to_string());
                        *seen.entry(kind).or_insert(0) += 1;
                    }
                }
            }
        }
        // Whole and in parts, of each packing.
        assert!(seen.len() == 8 && seen.values().all(|&count| count > 10), "{seen:?}");
    }
}
