//! [`Pack`]: weights that the device has computed, in the order that a layer's kernels read them.

use std::ops::Range;

use super::ranges::MOST;
use super::{Axes, Operation, WORKGROUP, array, word};
use crate::algorithm::{Operations, PackOrder, View};
use crate::error::Result;
use crate::kernel::{Kernel, Slot, vectors};
use crate::limits::{ALIGNMENT, DeviceLimits, Ranges};
use crate::tensor_desc::DType;

/// Operand 0 in an order, and zeros in its padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pack<'a> {
    pub dtype: DType,
    pub order: &'a PackOrder,
}

/// What one kernel does: some packed weights, of which it writes those that a range of the tensor has, and the zeros.
struct Part<'a> {
    /// How many columns an invocation writes at once.
    columns: usize,
    /// In such columns.
    chunk: &'a Range<usize>,
    input: &'a Range<usize>,
}

impl Pack<'_> {
    /// The kernels that pack from a tensor of so many elements. More than one where a binding does not hold what they read, or where one
    /// would take longer than a submission may.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where there are more elements than kernels can count.
    pub fn operations(&self, elements: usize, limits: &DeviceLimits) -> Result<Vec<Operation>> {
        let inputs = self.inputs(elements, Ranges::of(limits));
        // Four at once are stored together: all have to be found in what is bound.
        let columns = if self.order.block.is_multiple_of(4) && inputs.len() == 1 { 4 } else { 1 };
        let count = self.order.count() / columns;
        let bytes = (2 * columns * self.dtype.bytes()) as u64;
        let most = (limits.submission_ns as f64 / Operations::moving(limits, bytes)) as usize;
        // What would take too many dispatches is long.
        let at_once = most.max(count / (MOST / 8)).max(1);
        let firsts = (0..count).step_by(at_once);
        let chunks: Vec<Range<usize>> = firsts.map(|first| first..first.saturating_add(at_once).min(count)).collect();
        let parts = inputs.iter().flat_map(|input| chunks.iter().map(|chunk| Part { columns, chunk, input }));
        parts.map(|part| self.part(&part, elements, limits)).collect()
    }

    /// The ranges of the tensor that are bound, one behind the other: all of it, what is read of it, or pieces of that.
    fn inputs(&self, elements: usize, ranges: Ranges) -> Vec<Range<usize>> {
        let element = self.dtype.bytes();
        let bytes = |range: &Range<usize>| ((range.len() * element) as u64).next_multiple_of(4);
        let all = 0..elements;
        if bytes(&all) <= ranges.most {
            return vec![all];
        }
        let span = self.order.span();
        let [start, end] = [span.start, span.end].map(|end| usize::try_from(end).unwrap_or(0).min(elements));
        let step = ALIGNMENT as usize / element;
        let read = start / step * step..end;
        if ranges.hold((read.start * element) as u64, bytes(&read)) {
            return vec![read];
        }
        let mut pieces = ranges.pieces(elements, element);
        pieces.retain(|piece| piece.start < read.end && read.start < piece.end);
        pieces
    }

    /// The kernel of a part, of a tensor of so many elements.
    fn part(&self, part: &Part, elements: usize, limits: &DeviceLimits) -> Result<Operation> {
        let Part { columns, chunk, input } = *part;
        let PackOrder { source, channels, block, panels, rows, padded_rows, run, length, steps } = self.order;
        let (sizes, strides): (Vec<usize>, Vec<i64>) = source.groups.iter().copied().unzip();
        let groups = Axes::merged(&sizes, &[&strides]);
        let nested = rows.inner > 1 || panels.inner > 1;
        let size = |value: usize| word(value as i64);
        // The last one's number, which the kernel computes.
        size(self.order.count())?;
        let mut parameters = vec![
            [size(chunk.len())?, size(chunk.start)?, size(block / columns)?, size(*channels)?],
            [size(*padded_rows)?, size(rows.count)?, size(panels.count)?, size(self.order.blocks())?],
            [size(rows.inner)?, size(panels.inner)?, size(*run)?, size(*length)?],
            [word(rows.strides[0])?, word(rows.strides[1])?, word(panels.strides[0])?, word(panels.strides[1])?],
            [word(source.first - input.start as i64)?, word(source.out)?, size(input.len())?, size(source.chosen.start)?],
            [size(steps[0])?, size(steps[1])?, 0, 0],
        ];
        for (&size, &stride) in groups.sizes.iter().zip(&groups.strides[0]) {
            parameters.push([word(size as i64)?, word(stride)?, 0, 0]);
        }
        let (by, output, put) = match columns {
            4 => (" by 4", vectors(self.dtype), include_str!("../../shaders/lib/pack_4.wgsl")),
            _ => ("", array(self.dtype), include_str!("../../shaders/lib/pack_1.wgsl")),
        };
        let kernel = Kernel::new(format!("pack {} r{}{by}", self.dtype, groups.rank()), self.dtype, WORKGROUP)
            .constant("RANK", groups.rank() as i64)
            .constant("COLUMNS", columns as i64)
            .flag("PANELS", panels.count > 1)
            .flag("NESTED", nested)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .written("output", output, Slot::Output)
            .iterations(groups.rank() as u64)
            .fragment(put)
            .fragment(include_str!("../../shaders/pack.wgsl"));
        let mut operation = Operation::each(kernel, chunk.len() as u64, parameters, limits)?;
        if input.len() < elements {
            let element = self.dtype.bytes() as u64;
            let (offset, bytes) = (input.start as u64 * element, (input.len() as u64 * element).next_multiple_of(4));
            operation.views.push(View { slot: Slot::Operand(0), offset, bytes });
        }
        Ok(operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Packing, WeightSource};
    use crate::geometry::Geometry;

    /// What the kernels write, by their parameters and what they are bound to.
    fn run(operations: &[Operation], weights: &[i32], count: usize) -> Vec<Option<i32>> {
        let mut output = vec![None; count];
        for operation in operations {
            let (_, p) = operation.parameters.split_last().unwrap(); // but for the elements of an invocation
            let nested = |number: i32, inner: i32| [number / inner, number % inner];
            let columns = if operation.step.kernel.label.ends_with("by 4") { 4 } else { 1 };
            for index in p[0][1] * columns..(p[0][1] + p[0][0]) * columns {
                let line = index / columns / p[0][2];
                let (in_panels, row) = (line / p[1][0], line % p[1][0]);
                let (in_blocks, panel) = (in_panels / p[1][2], in_panels % p[1][2]);
                let (group, channel) =
                    (in_blocks / p[1][3], in_blocks % p[1][3] * p[0][2] * columns + index % (p[0][2] * columns));
                let ([outer, in_run], [panels, runs]) = (nested(row, p[2][0]), nested(panel, p[2][1]));
                if channel >= p[0][3] || row >= p[1][1] || in_run >= p[2][2] || runs * p[5][0] + in_run * p[5][1] >= p[2][3] {
                    output[index as usize] = Some(0);
                    continue;
                }
                let (_, of_group) = p[6..]
                    .iter()
                    .rev()
                    .fold((group + p[4][3], 0), |(rest, place), axis| (rest / axis[0], place + rest % axis[0] * axis[1]));
                let strides: i32 = [outer, in_run, panels, runs].iter().zip(p[3]).map(|(at, stride)| at * stride).sum();
                let place = p[4][0] + of_group + channel * p[4][1] + strides;
                if (0..p[4][2]).contains(&place) {
                    let first = operation.views.first().map_or(0, |view| view.offset as i32 / 4);
                    assert!(output[index as usize].replace(weights[(first + place) as usize]).is_none(), "written twice");
                }
            }
        }
        output
    }

    #[test]
    fn kernels_pack_as_the_host_does_whatever_they_are_bound_to() {
        let roomy = DeviceLimits { submission_ns: u64::MAX, ..Default::default() };
        let tight = DeviceLimits { storage_binding_bytes: 1024, ..roomy };
        let hasty = DeviceLimits { submission_ns: 5, ..roomy };
        for line in
            ["conv 2x6x7x30 o10 k3x5 g2 f32", "conv 1x6x7x8 nhwc o10 k3x2 g2 f32", "conv_transpose 1x6x5x5 o70 k3x3 g2 f32"]
        {
            let geometry = Geometry::new(&line.parse().unwrap()).unwrap();
            let user = WeightSource::of(&geometry);
            let [m, k] = [geometry.group_out() as usize, geometry.reduction() as usize];
            let broadcast = WeightSource { groups: vec![(1, 0), (2, (m * k) as i64), (1, 5)], ..user.clone() };
            let shared = WeightSource { groups: vec![(2, 0)], ..user.clone() };
            let parts =
                [user.clone(), broadcast, shared, user.part(1..2, 0), WeightSource { chosen: 0..2, ..user.part(0..1, 2) }];
            let elements = m * k * 2 + 100;
            let weights: Vec<i32> = (1..=elements as i32).collect();
            for (source, packing) in parts.iter().flat_map(|source| {
                let strips = [1, 2].map(|step| Packing::Strips { block_m: 8, taps: 2, rows: 4, step });
                let plane = geometry.kernel[1] * geometry.kernel[2];
                let patch = Packing::Strips { block_m: 8, taps: plane, rows: plane + 1, step: 1 };
                let panels = [false, true].map(|flat| Packing::Panels { block_m: 16, padded_k: 8, flat });
                [Packing::Rows, panels[0], panels[1], strips[0], strips[1], patch].map(|packing| (source.clone(), packing))
            }) {
                let order = PackOrder::new(&geometry, packing, source).unwrap();
                let expected: Vec<Option<i32>> = order.apply(&weights, 0).iter().copied().map(Some).collect();
                for (limits, several) in [(roomy, false), (tight, false), (hasty, true)] {
                    let operations = Pack { dtype: DType::F32, order: &order }.operations(elements, &limits).unwrap();
                    assert!(run(&operations, &weights, order.count()) == expected, "{line} {packing:?} {order:?}");
                    assert!(!several || operations.len() > 1, "{}", operations.len());
                }
            }
        }
    }

    #[test]
    fn kernels_pack_fours_of_channels_as_the_host_does() {
        let limits = DeviceLimits::default();
        let geometry = Geometry::new(&"conv_transpose 1x12x9x9 nhwc o12 k3x2 g12 f32".parse().unwrap()).unwrap();
        let weights: Vec<i32> = (1..=72).collect();
        for source in [WeightSource::of(&geometry), WeightSource::of(&geometry).part(4..12, 0)] {
            let order = PackOrder::new(&geometry, Packing::Fours, source).unwrap();
            let expected: Vec<Option<i32>> = order.apply(&weights, 0).iter().copied().map(Some).collect();
            let operations = Pack { dtype: DType::F32, order: &order }.operations(72, &limits).unwrap();
            assert!(run(&operations, &weights, order.count()) == expected, "{order:?}");
        }
    }
}
