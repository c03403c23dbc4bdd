//! Normalisations, softmax and reductions: a kernel for the rows, and a map for scale and shift.

use super::slices::Items;
use super::{Done, Lowering, is_floats};
use crate::desc::{Padding, PoolDesc, PoolKind};
use crate::error::Result;
use crate::graph::ops::{Fact, Inputs, axes_of, axis_of, normalised_axes, reduced_axes, softmax_axes};
use crate::graph::{Node, Op, Reduce, SoftmaxKind};
use crate::limits::Ranges;
use crate::network::program::DeviceId;
use crate::operation::{Normalise, NormaliseKind, Reduction, ReductionKind, are_few_rows, parts_of_rows};
use crate::tensor_desc::DType;

/// A tensor as items, which are what lies along the axes from the first reduced one on.
struct Rows<'a> {
    outer: usize,
    inner: &'a [usize],
    /// The reduced axes, of an item behind the axis of the items.
    axes: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn new(shape: &'a [usize], axes: &[usize]) -> Self {
        let first = axes.iter().copied().min().unwrap_or(shape.len());
        let (outer, inner) = shape.split_at(first);
        Self { outer: outer.iter().product(), inner, axes: axes.iter().map(|axis| axis + 1 - first).collect() }
    }

    /// Of so many items.
    fn shape(&self, items: usize) -> Vec<usize> {
        [&[items], self.inner].concat()
    }
}

impl Lowering<'_> {
    pub(super) fn norm(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        let Some(Some(x)) = facts.first() else { return Ok(false) };
        let numbers = facts.iter().flatten().filter(|fact| fact.constant.is_none());
        if !is_floats(x) || !numbers.into_iter().all(is_floats) {
            return Ok(false);
        }
        let rank = x.rank();
        let dtype = self.storage(x.element).expect("floats have a storage type");
        let channels: Vec<usize> = (2..rank).collect();
        let output = match &node.op {
            Op::BatchNorm { training: true, .. } => return Ok(false),
            Op::BatchNorm { epsilon, .. } => {
                let input = self.input(node, 0)?;
                let list = (1..5).map(|index| self.per_channel(node, index, rank)).collect::<Result<Vec<_>>>()?;
                let (scale, shift, mean, variance) = (list[0], list[1], list[2], list[3]);
                let factor =
                    self.elementwise("factor", &format!("a / sqrt(b + {epsilon:e}f)"), &[scale, variance], DType::F32)?;
                let offset = self.elementwise("offset", "a - b * c", &[shift, mean, factor], DType::F32)?;
                self.elementwise("affine", "fma(a, b, c)", &[input, factor, offset], dtype)?
            }
            Op::InstanceNorm { epsilon } => {
                let input = self.input(node, 0)?;
                let rows = self.wide_rows(input, NormaliseKind::MeanVariance { epsilon: *epsilon }, &channels)?;
                let (scale, shift) = (self.per_channel(node, 1, rank)?, self.per_channel(node, 2, rank)?);
                self.elementwise("affine", "fma(a, b, c)", &[rows, scale, shift], dtype)?
            }
            Op::GroupNorm { groups, epsilon } => {
                let input = self.input(node, 0)?;
                let count = x.shape[1] / groups;
                let split = [&[x.shape[0], *groups, count], &x.shape[2..]].concat();
                let view = self.view(input, &split);
                let axes: Vec<usize> = (2..split.len()).collect();
                let rows = self.wide_rows(view, NormaliseKind::MeanVariance { epsilon: *epsilon }, &axes)?;
                let mut operands = vec![rows];
                for index in [1, 2] {
                    let operand = self.input(node, index)?;
                    let of_groups = self.shape(operand) == [*groups];
                    let head = if of_groups { [*groups, 1] } else { [*groups, count] };
                    operands.push(self.view(operand, &[&head[..], &vec![1; rank - 2]].concat()));
                }
                let rows = self.elementwise("affine", "fma(a, b, c)", &operands, dtype)?;
                self.view(rows, &x.shape)
            }
            Op::LayerNorm { axis, epsilon } => {
                let axes = normalised_axes(*axis, rank)?;
                let input = self.input(node, 0)?;
                let rows = self.wide_rows(input, NormaliseKind::MeanVariance { epsilon: *epsilon }, &axes)?;
                if self.wanted(node, 1) || self.wanted(node, 2) {
                    self.statistics(node, input, &axes, *epsilon, results)?;
                }
                let mut operands = vec![rows, self.input(node, 1)?];
                operands.extend(self.optional_input(node, 2)?);
                let function = if operands.len() == 3 { "fma(a, b, c)" } else { "a * b" };
                self.elementwise("affine", function, &operands, dtype)?
            }
            Op::RmsNorm { axis, epsilon } => {
                let axes = normalised_axes(*axis, rank)?;
                let input = self.input(node, 0)?;
                let rows = self.wide_rows(input, NormaliseKind::RootMeanSquare { epsilon: *epsilon }, &axes)?;
                let scale = self.input(node, 1)?;
                self.elementwise("scale", "a * b", &[rows, scale], dtype)?
            }
            Op::MeanVarianceNorm { axes } => {
                let axes = axes_of(axes, rank)?;
                let input = self.input(node, 0)?;
                self.normalise(input, NormaliseKind::Deviation, &axes)?
            }
            Op::LpNorm { axis, p } => {
                let axis = axis_of(*axis, rank)?;
                let input = self.input(node, 0)?;
                self.normalise(input, if *p == 1 { NormaliseKind::Lp1 } else { NormaliseKind::Lp2 }, &[axis])?
            }
            Op::Softmax { kind, axis, flatten } => {
                let axes = softmax_axes(*axis, rank, *flatten)?;
                let input = self.input(node, 0)?;
                let kind = match kind {
                    SoftmaxKind::Softmax => NormaliseKind::Softmax,
                    SoftmaxKind::LogSoftmax => NormaliseKind::LogSoftmax,
                    SoftmaxKind::Hardmax => NormaliseKind::Hardmax,
                };
                self.normalise(input, kind, &axes)?
            }
            Op::Lrn { size, alpha, beta, bias } => self.lrn(node, x, *size, [*alpha, *beta, *bias])?,
            Op::Reduce { kind, noop_with_empty_axes, .. } => {
                let axes = Inputs::new(facts, 1).optional_ints(1, "axes")?;
                let axes = reduced_axes(axes.as_deref(), rank, *noop_with_empty_axes)?;
                let input = self.input(node, 0)?;
                let reduced = self.reduce_by(*kind, input, &axes)?;
                self.view(reduced, &results[0].shape)
            }
            Op::ArgReduce { min, axis, last, .. } => {
                let axis = axis_of(*axis, rank)?;
                let input = self.input(node, 0)?;
                let kind = if *min { ReductionKind::ArgMin { last: *last } } else { ReductionKind::ArgMax { last: *last } };
                let reduced = self.reduce(input, kind, &[axis], DType::I32)?;
                self.view(reduced, &results[0].shape)
            }
            _ => return Ok(false),
        };
        self.set(node, 0, output);
        Ok(true)
    }

    /// One number for each channel, broadcast over the axes behind.
    fn per_channel(&mut self, node: &Node, index: usize, rank: usize) -> Result<DeviceId> {
        let operand = self.input(node, index)?;
        let count = self.shape(operand).iter().product();
        Ok(self.view(operand, &[&[count][..], &vec![1; rank.saturating_sub(2)]].concat()))
    }

    /// Normalised rows that are scaled and shifted next, and so not rounded to 16 bits before.
    fn wide_rows(&mut self, input: DeviceId, kind: NormaliseKind, axes: &[usize]) -> Result<DeviceId> {
        let wide = self.cast(input, DType::F32)?;
        self.normalise(wide, kind, axes)
    }

    fn normalise(&mut self, input: DeviceId, kind: NormaliseKind, axes: &[usize]) -> Result<DeviceId> {
        let (shape, dtype) = (self.shape(input), self.dtype(input));
        let length: usize = axes.iter().map(|&axis| shape[axis]).product();
        let few = kind != NormaliseKind::Hardmax && {
            let rows = shape.iter().product::<usize>() / length.max(1);
            are_few_rows(rows, length, self.engine.limits())
        };
        if few || self.is_long(length, dtype) {
            return self.normalise_long(input, kind, axes, length);
        }
        if let Some(order) = self.rows_last(input, axes, false) {
            let turned = self.transpose(input, &order)?;
            let rows: Vec<usize> = (shape.len() - axes.len()..shape.len()).collect();
            let turned = self.normalise(turned, kind, &rows)?;
            let back: Vec<usize> =
                (0..order.len()).map(|axis| order.iter().position(|&from| from == axis).unwrap_or(0)).collect();
            return self.transpose(turned, &back);
        }
        let output = self.temp(&shape, dtype);
        let rows = Rows::new(&shape, axes);
        let limits = *self.engine.limits();
        self.by_items(&Items { outer: rows.outer, own: &[input], shared: &[] }, output, |count| {
            Normalise { kind, dtype, shape: &rows.shape(count), axes: &rows.axes }.operation(&limits)
        })?;
        Ok(output)
    }

    /// The axes with the reduced ones behind all others, where these must be cut along: rows are long, or a binding does not hold what
    /// lies along the axes from the first reduced one on.
    fn rows_last(&self, input: DeviceId, axes: &[usize], long: bool) -> Option<Vec<usize>> {
        let shape = self.shape(input);
        let (kept, reduced): (Vec<usize>, Vec<usize>) = (0..shape.len()).partition(|axis| !axes.contains(axis));
        let order = [kept, reduced].concat();
        let item = self.item_bytes(input, Rows::new(&shape, axes).outer);
        (!order.is_sorted() && (long || item > Ranges::of(self.engine.limits()).most)).then_some(order)
    }

    /// A reduction; reduced axes stay with length 1.
    pub(super) fn reduce(&mut self, input: DeviceId, kind: ReductionKind, axes: &[usize], dtype: DType) -> Result<DeviceId> {
        let shape = self.shape(input);
        let reduced: Vec<usize> =
            shape.iter().enumerate().map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect();
        let (length, of) = (axes.iter().map(|&axis| shape[axis]).product(), self.dtype(input));
        let long = self.is_long(length, of);
        if let Some(output) = self.reduce_in_parts(input, kind, axes, dtype)? {
            return Ok(self.view(output, &reduced));
        }
        if let Some(order) = self.rows_last(input, axes, long) {
            let turned = self.transpose(input, &order)?;
            let rows: Vec<usize> = (shape.len() - axes.len()..shape.len()).collect();
            let output = self.reduce(turned, kind, &rows, dtype)?;
            return Ok(self.view(output, &reduced));
        }
        if long {
            let output = self.reduce_long(input, kind, length, dtype)?;
            return Ok(self.view(output, &reduced));
        }
        let output = self.temp(&reduced, dtype);
        let rows = Rows::new(&shape, axes);
        let limits = *self.engine.limits();
        self.by_items(&Items { outer: rows.outer, own: &[input], shared: &[] }, output, |count| {
            Reduction { kind, dtype: of, result: dtype, shape: &rows.shape(count), axes: &rows.axes }.operation(&limits)
        })?;
        Ok(output)
    }

    /// A reduction of few rows by many workgroups: of parts of the rows, then of what these give. Of what one binding holds: other tensors are
    /// cut anyway.
    fn reduce_in_parts(
        &mut self,
        input: DeviceId,
        kind: ReductionKind,
        axes: &[usize],
        dtype: DType,
    ) -> Result<Option<DeviceId>> {
        let Some((of_part, of_all)) = kind.in_parts() else { return Ok(None) };
        let shape = self.shape(input);
        let Some(&first) = axes.iter().min() else { return Ok(None) };
        // The reduced axes from the first on that lie behind each other are cut as one.
        let run = (first..shape.len()).take_while(|axis| axes.contains(axis)).count();
        let (outer, rest) = (&shape[..first], &shape[first + run..]);
        let count = shape[first..first + run].iter().product();
        let length: usize = axes.iter().map(|&axis| shape[axis]).product();
        let rows = shape.iter().product::<usize>() / length.max(1);
        let limits = self.engine.limits();
        let parts = parts_of_rows(rows, length, count, limits);
        if parts == 1 || self.item_bytes(input, 1) > Ranges::of(limits).most {
            return Ok(None);
        }
        let view = self.view(input, &[outer, &[parts, count / parts], rest].concat());
        let others = axes.iter().filter(|&&axis| axis >= first + run).map(|axis| axis + 2 - run);
        let inner: Vec<usize> = std::iter::once(first + 1).chain(others).collect();
        let found = self.reduce(view, of_part, &inner, DType::F32)?;
        self.reduce(found, of_all, &[first], dtype).map(Some)
    }

    fn reduce_by(&mut self, kind: Reduce, input: DeviceId, axes: &[usize]) -> Result<DeviceId> {
        let dtype = self.dtype(input);
        let kind = match kind {
            Reduce::Sum => ReductionKind::Sum,
            Reduce::Mean => ReductionKind::Mean,
            Reduce::Max => ReductionKind::Max,
            Reduce::Min => ReductionKind::Min,
            Reduce::Prod => ReductionKind::Prod,
            Reduce::L1 => ReductionKind::L1,
            Reduce::L2 => ReductionKind::L2,
            Reduce::SumSquare => ReductionKind::SumSquare,
            Reduce::LogSum => ReductionKind::LogSum,
            Reduce::LogSumExp => {
                // Around the greatest element, so that no exponential overflows; around 0 where that is infinite.
                let most = self.reduce(input, ReductionKind::Max, axes, dtype)?;
                let centre = self.elementwise("finite", "select(a, 0.0, is_inf(a))", &[most], dtype)?;
                let terms = self.elementwise("exp_from", "exp(a - b)", &[input, centre], DType::F32)?;
                let sum = self.reduce(terms, ReductionKind::LogSum, axes, DType::F32)?;
                return self.elementwise("add", "a + b", &[sum, centre], dtype);
            }
        };
        self.reduce(input, kind, axes, dtype)
    }

    /// The mean and the inverse deviation of a layer normalisation.
    fn statistics(&mut self, node: &Node, input: DeviceId, axes: &[usize], epsilon: f32, results: &[Fact]) -> Result<()> {
        let wide = self.cast(input, DType::F32)?;
        let mean = self.reduce(wide, ReductionKind::Mean, axes, DType::F32)?;
        let centred = self.elementwise("square_from", "(a - b) * (a - b)", &[wide, mean], DType::F32)?;
        let variance = self.reduce(centred, ReductionKind::Mean, axes, DType::F32)?;
        let deviation =
            self.elementwise("inverse_deviation", &format!("1.0 / sqrt(a + {epsilon:e}f)"), &[variance], DType::F32)?;
        for (number, device) in [(1, mean), (2, deviation)] {
            if let Some(fact) = results.get(number) {
                let dtype = self.storage(fact.element).unwrap_or(DType::F32);
                let device = self.cast(device, dtype)?;
                self.set(node, number, device);
            }
        }
        Ok(())
    }

    /// The mean of squares over a window of channels is an average pooling over the channel axis, padding counted.
    fn lrn(&mut self, node: &Node, x: &Fact, size: usize, [alpha, beta, bias]: [f32; 3]) -> Result<DeviceId> {
        let input = self.input(node, 0)?;
        let dtype = self.dtype(input);
        let squares = self.elementwise("square", "a * a", &[input], DType::F32)?;
        let (batch, channels) = (x.shape[0], x.shape[1]);
        let plane: usize = x.shape[2..].iter().product();
        let (before, behind) = ((size - 1) / 2, size / 2);
        let view = self.view(squares, &[batch, 1, channels, plane]);
        let desc = PoolDesc {
            kind: PoolKind::Average { count_include_pad: true, divisor_override: Some(size) },
            stride: [1, 1].into(),
            padding: Padding::from([(before, behind), (0, 0)]),
            ..PoolDesc::average([size, 1])
        };
        let means = self.pooling(&desc, view, None)?;
        let means = self.view(means, &x.shape);
        self.elementwise("lrn", &format!("a * power(fma(b, {alpha:e}f, {bias:e}f), {:e}f)", -beta), &[input, means], dtype)
    }
}
