//! What moves elements and computes nothing, for all element types.
//!
//! Every result reads each of its elements from one place in the input, and (but for concatenation) that place is a sum of one
//! offset for each axis of some shape. So an operation is a table of offsets for each axis, and [`sources`] adds them up.

use super::window::{centre_windows, pad_amounts, pad_source, padded, slice_axes, split_lengths};
use super::{Fact, Inputs, axes_of, axis_of, broadcast, broadcast_strides, strides};
use crate::error::{Error, Result};
use crate::graph::{Op, PadMode};
use crate::value::{ElementType, Value, elements};

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let x = inputs.get(0)?;
    let shape = match op {
        Op::Identity => x.shape.clone(),
        Op::Dropout => {
            check_dropout(inputs)?;
            return Ok(vec![Fact::new(x.element, x.shape.clone()), Fact::new(ElementType::Bool, x.shape.clone())]);
        }
        Op::Concat { axis } => concat_shape(*axis, inputs)?,
        Op::Split { axis } => {
            let axis = axis_of(*axis, x.rank())?;
            let lengths = inputs.optional_ints(1, "lengths")?;
            let lengths = split_lengths(x.shape[axis], inputs.outputs, lengths.as_deref())?;
            return Ok(lengths.into_iter().map(|length| Fact::new(x.element, with_size(&x.shape, axis, length))).collect());
        }
        Op::Slice => slice_axes(&x.shape, inputs)?.iter().map(|axis| axis.len).collect(),
        Op::Pad(mode) => pad_shape(*mode, x, inputs)?,
        Op::Flatten { axis } => flat_shape(*axis, &x.shape)?,
        Op::Reshape { allow_zero } => reshaped(&x.shape, &inputs.ints(1, "shape")?, *allow_zero)?,
        Op::Transpose { permutation } => permutation_of(permutation, x.rank())?.into_iter().map(|axis| x.shape[axis]).collect(),
        Op::Squeeze => squeezed(&x.shape, inputs.optional_ints(1, "axes")?)?,
        Op::Unsqueeze => unsqueezed(&x.shape, &inputs.ints(1, "axes")?)?,
        Op::Expand => broadcast(&[&x.shape, &sizes("shape", &inputs.ints(1, "shape")?)?])?,
        Op::Tile => tile_shape(&x.shape, &sizes("repeats", &inputs.ints(1, "repeats")?)?)?,
        Op::Gather { axis } => {
            let axis = axis_of(*axis, x.rank())?;
            let indices = inputs.get(1)?;
            if !matches!(indices.element, ElementType::I32 | ElementType::I64) {
                return Err(Error::invalid("indices", format!("are of type {}, but must be i32 or i64", indices.element)));
            }
            [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat()
        }
        Op::DepthToSpace { block, .. } => {
            let ([n, c, h, w], area) = (image(&x.shape)?, block_area(*block)?);
            divides("block", area, c, "channels")?;
            vec![n, c / area, scaled(h, *block)?, scaled(w, *block)?]
        }
        Op::SpaceToDepth { block } => {
            let ([n, c, h, w], area) = (image(&x.shape)?, block_area(*block)?);
            divides("block", *block, h, "rows")?;
            divides("block", *block, w, "columns")?;
            vec![n, scaled(c, area)?, h / block, w / block]
        }
        Op::CenterCropPad { axes } => {
            let target = sizes("shape", &inputs.ints(1, "shape")?)?;
            let axes = if axes.is_empty() { (0..x.rank()).collect() } else { axes_of(axes, x.rank())? };
            if axes.len() != target.len() {
                return Err(Error::invalid("shape", format!("is {target:?}, but there are {} axes", axes.len())));
            }
            axes.into_iter().zip(target).fold(x.shape.clone(), |shape, (axis, size)| with_size(&shape, axis, size))
        }
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![Fact::new(x.element, shape)])
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let x = inputs.value(0);
    let shape = &results[0].shape;
    let moved = |tables: &[Vec<Option<usize>>]| vec![x.select(shape, &sources(tables))];
    if let Op::Gather { axis } = op {
        check_indices(axis_of(*axis, x.shape().len())?, x, inputs.value(1))?;
    }
    // No offsets where there is nothing to move: the other axes may be of any size.
    if results.iter().all(|fact| fact.len() == 0) {
        return Ok(results.iter().map(|fact| Value::zeros(fact.element, &fact.shape)).collect());
    }
    let steps = if x.is_empty() { vec![0; x.shape().len()] } else { strides(x.shape()) };
    Ok(match op {
        Op::Identity => vec![x.clone()],
        Op::Dropout => vec![x.clone(), Value::from_ints(ElementType::Bool, shape, vec![1; x.len()])],
        Op::Concat { axis } => vec![concat(axis_of(*axis, shape.len())?, inputs, &results[0])],
        Op::Split { axis } => split(axis_of(*axis, x.shape().len())?, x, &steps, results),
        Op::Slice => {
            let axes = slice_axes(x.shape(), inputs)?;
            moved(&tables(shape, &steps, |axis, at| Some(axes[axis].source(at))))
        }
        Op::Pad(mode) => {
            let pads = pad_amounts(x.shape(), inputs)?;
            let tables = tables(shape, &steps, |axis, at| pad_source(*mode, at as i64 - pads[axis].0, x.shape()[axis]));
            vec![select_or(x, shape, &sources(&tables), inputs.optional_value(2))]
        }
        Op::CenterCropPad { .. } => {
            let windows = centre_windows(x.shape(), shape);
            let source = |axis: usize, at: usize| pad_source(PadMode::Constant, at as i64 - windows[axis].0, x.shape()[axis]);
            moved(&tables(shape, &steps, source))
        }
        Op::Flatten { .. } | Op::Reshape { .. } | Op::Squeeze | Op::Unsqueeze => vec![x.clone().reshape(shape)?],
        Op::Transpose { permutation } => {
            let permutation = permutation_of(permutation, shape.len())?;
            let steps: Vec<usize> = permutation.into_iter().map(|axis| steps[axis]).collect();
            moved(&tables(shape, &steps, |_, at| Some(at)))
        }
        Op::Expand => moved(&tables(shape, &broadcast_strides(x.shape(), shape), |_, at| Some(at))),
        Op::Tile => moved(&tables(shape, &steps, |axis, at| Some(at % x.shape()[axis]))),
        Op::Gather { axis } => {
            let axis = axis_of(*axis, x.shape().len())?;
            let (size, indices) = (x.shape()[axis] as i64, inputs.value(1).to_i64());
            let wanted: Vec<usize> = indices.into_iter().map(|at| if at < 0 { at + size } else { at } as usize).collect();
            // All the axes of the indices are one here: their elements lie behind each other in both.
            let flat = with_size(x.shape(), axis, wanted.len());
            moved(&tables(&flat, &steps, |at_axis, at| Some(if at_axis == axis { wanted[at] } else { at })))
        }
        Op::DepthToSpace { block, channels_first } => {
            let ([n, c, h, w], b) = (image(x.shape())?, *block);
            let rest = c / (b * b);
            let (split, order) = if *channels_first {
                ([n, rest, b, b, h, w], [0, 1, 4, 2, 5, 3])
            } else {
                ([n, b, b, rest, h, w], [0, 3, 4, 1, 5, 2])
            };
            moved(&reordered(split, order))
        }
        Op::SpaceToDepth { block } => {
            let ([n, c, h, w], b) = (image(x.shape())?, *block);
            moved(&reordered([n, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4]))
        }
        _ => unreachable!("{op:?} is of another family"),
    })
}

/// For each axis of `shape`, the offset that each coordinate has where `source` says it is read; `None` is outside of the input.
fn tables(shape: &[usize], steps: &[usize], source: impl Fn(usize, usize) -> Option<usize>) -> Vec<Vec<Option<usize>>> {
    let table = |(axis, &size): (usize, &usize)| (0..size).map(|at| source(axis, at).map(|at| at * steps[axis])).collect();
    shape.iter().enumerate().map(table).collect()
}

/// The tables of a tensor that is seen with other axes, which are put into another order.
fn reordered(axes: [usize; 6], order: [usize; 6]) -> Vec<Vec<Option<usize>>> {
    let steps = strides(&axes);
    tables(&order.map(|axis| axes[axis]), &order.map(|axis| steps[axis]), |_, at| Some(at))
}

/// The sum of one offset of each table, for each choice in row-major order.
pub(super) fn sources(tables: &[Vec<Option<usize>>]) -> Vec<Option<usize>> {
    tables.iter().fold(vec![Some(0)], |starts, table| {
        let mut list = Vec::with_capacity(starts.len() * table.len());
        for start in starts {
            list.extend(table.iter().map(|&offset| Some(start? + offset?)));
        }
        list
    })
}

/// Elements by index, and a value of one element (or zero) for each `None`.
pub(super) fn select_or(x: &Value, shape: &[usize], indices: &[Option<usize>], other: Option<&Value>) -> Value {
    let Some(other) = other else {
        return x.select(shape, indices);
    };
    let indices: Vec<Option<usize>> = indices.iter().map(|index| index.or(Some(x.len()))).collect();
    x.clone().append(other, &[x.len() + 1]).select(shape, &indices)
}

/// A shape with another size on one axis.
fn with_size(shape: &[usize], axis: usize, size: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = size;
    shape
}

/// Sizes or counts that a user gives, none of them negative.
fn sizes(name: &'static str, list: &[i64]) -> Result<Vec<usize>> {
    let sizes: Option<Vec<usize>> = list.iter().map(|&size| usize::try_from(size).ok()).collect();
    sizes.ok_or_else(|| Error::invalid(name, format!("{list:?} has a negative number")))
}

/// Refuses what would be random: a dropout in training, but for one that drops nothing.
fn check_dropout(inputs: &Inputs) -> Result<()> {
    if inputs.optional(2).is_none() {
        return Ok(());
    }
    let zero = |value: &Value| value.to_f64().iter().all(|&number| number == 0.0);
    if zero(inputs.constant(2, "training_mode")?) || (inputs.optional(1).is_some() && zero(inputs.constant(1, "ratio")?)) {
        return Ok(());
    }
    Err(Error::unsupported("training_mode", "is true, but a dropout in training is random"))
}

fn concat_shape(axis: i64, inputs: &Inputs) -> Result<Vec<usize>> {
    let all = inputs.all()?;
    let first = all[0];
    let axis = axis_of(axis, first.rank())?;
    let mut size = 0usize;
    for fact in all {
        if fact.element != first.element {
            let types = format!("has elements of types {} and {}, which must be one", first.element, fact.element);
            return Err(Error::invalid("input", types));
        }
        if fact.rank() != first.rank() || with_size(&fact.shape, axis, 0) != with_size(&first.shape, axis, 0) {
            let shapes = format!("shapes {:?} and {:?} differ elsewhere than on axis {axis}", first.shape, fact.shape);
            return Err(Error::invalid("input", shapes));
        }
        size = size.checked_add(fact.shape[axis]).ok_or_else(|| Error::invalid("input", "sizes have a sum beyond 64 bits"))?;
    }
    Ok(with_size(&first.shape, axis, size))
}

fn concat(axis: usize, inputs: &Inputs, result: &Fact) -> Value {
    let values: Vec<&Value> = (0..inputs.count()).map(|index| inputs.value(index)).collect();
    let outer: usize = result.shape[..axis].iter().product();
    let mut all = Value::zeros(result.element, &[0]);
    let mut rows = Vec::new();
    for value in values {
        // A row is what lies together in both: everything from the axis on.
        rows.push((all.len(), value.len() / outer));
        let len = all.len() + value.len();
        all = all.append(value, &[len]);
    }
    let mut indices = Vec::with_capacity(all.len());
    for at in 0..outer {
        indices.extend(rows.iter().flat_map(|&(start, row)| (start + at * row..start + (at + 1) * row).map(Some)));
    }
    all.select(&result.shape, &indices)
}

fn split(axis: usize, x: &Value, steps: &[usize], results: &[Fact]) -> Vec<Value> {
    let mut start = 0;
    let mut part = |result: &Fact| {
        let first = start;
        start += result.shape[axis];
        let tables = tables(&result.shape, steps, |at_axis, at| Some(if at_axis == axis { first + at } else { at }));
        x.select(&result.shape, &sources(&tables))
    };
    results.iter().map(&mut part).collect()
}

fn pad_shape(mode: PadMode, x: &Fact, inputs: &Inputs) -> Result<Vec<usize>> {
    if let Some(value) = inputs.optional(2)
        && (value.element != x.element || value.len() != 1)
    {
        let (element, shape) = (value.element, &value.shape);
        return Err(Error::invalid("value", format!("is {element} of shape {shape:?}, but must be one {}", x.element)));
    }
    let mut shape = x.shape.clone();
    for (axis, pads) in pad_amounts(&x.shape, inputs)?.into_iter().enumerate() {
        shape[axis] = padded(axis, x.shape[axis], pads)?;
        if mode != PadMode::Constant && x.shape[axis] == 0 && shape[axis] != 0 {
            return Err(Error::invalid("pads", format!("of axis {axis} repeat elements, but the axis has none")));
        }
    }
    Ok(shape)
}

fn flat_shape(axis: i64, shape: &[usize]) -> Result<Vec<usize>> {
    // One past the last axis is a place to cut too.
    let axis = if axis == shape.len() as i64 { shape.len() } else { axis_of(axis, shape.len())? };
    let size = |part: &[usize]| {
        elements(part).ok_or_else(|| Error::invalid("input", format!("sizes {part:?} have a product beyond 63 bits")))
    };
    Ok(vec![size(&shape[..axis])?, size(&shape[axis..])?])
}

fn reshaped(x: &[usize], wanted: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let misfit = |rule: &str| Error::invalid("shape", format!("{wanted:?} does not fit an input of {x:?}: {rule}"));
    let mut free = None;
    let mut shape = Vec::with_capacity(wanted.len());
    for (axis, &size) in wanted.iter().enumerate() {
        shape.push(match size {
            0 if !allow_zero => *x.get(axis).ok_or_else(|| misfit("a 0 stands for an axis that the input has not"))?,
            -1 if free.replace(axis).is_some() => return Err(misfit("only one size can be -1")),
            // What remains is found once the others are known.
            -1 => 1,
            _ => usize::try_from(size).map_err(|_| misfit("a size is -1 or more"))?,
        });
    }
    let total = elements(x).ok_or_else(|| misfit("the input is too large"))?;
    if let Some(axis) = free {
        let others = elements(&shape).filter(|&others| others > 0 && total.is_multiple_of(others));
        shape[axis] = total / others.ok_or_else(|| misfit("what remains for -1 is no whole number"))?;
    }
    if elements(&shape) == Some(total) { Ok(shape) } else { Err(misfit("the numbers of elements differ")) }
}

fn permutation_of(permutation: &[usize], rank: usize) -> Result<Vec<usize>> {
    if permutation.is_empty() {
        return Ok((0..rank).rev().collect());
    }
    let mut sorted = permutation.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(Error::invalid("permutation", format!("{permutation:?} does not name each of {rank} axes once")));
    }
    Ok(permutation.to_vec())
}

fn squeezed(shape: &[usize], axes: Option<Vec<i64>>) -> Result<Vec<usize>> {
    let axes = match axes {
        Some(axes) => axes_of(&axes, shape.len())?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| shape[axis] != 1) {
        return Err(Error::invalid("axes", format!("name axis {axis}, which has {} elements and not 1", shape[*axis])));
    }
    Ok((0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect())
}

fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>> {
    let rank = shape.len() + axes.len();
    let axes = axes_of(axes, rank)?;
    let mut rest = shape.iter().copied();
    Ok((0..rank).map(|axis| if axes.contains(&axis) { 1 } else { rest.next().unwrap_or(1) }).collect())
}

fn tile_shape(shape: &[usize], repeats: &[usize]) -> Result<Vec<usize>> {
    if repeats.len() != shape.len() {
        return Err(Error::invalid("repeats", format!("has {} entries, but the input has {} axes", repeats.len(), shape.len())));
    }
    shape.iter().zip(repeats).map(|(&size, &count)| scaled(size, count)).collect()
}

/// Refuses indices beyond an axis.
fn check_indices(axis: usize, x: &Value, indices: &Value) -> Result<()> {
    let size = x.shape()[axis] as i128;
    match indices.to_i128().into_iter().find(|&at| at < -size || at >= size) {
        Some(at) => Err(Error::invalid("indices", format!("name element {at}, but axis {axis} has {size}"))),
        None => Ok(()),
    }
}

fn image(shape: &[usize]) -> Result<[usize; 4]> {
    shape.try_into().map_err(|_| Error::invalid("input", format!("has shape {shape:?}, but must have the axes n, c, h, w")))
}

/// The elements of a square block.
fn block_area(block: usize) -> Result<usize> {
    block.checked_mul(block).filter(|&area| area > 0).ok_or_else(|| Error::invalid("block", format!("is {block}")))
}

fn divides(field: &'static str, part: usize, whole: usize, what: &str) -> Result<()> {
    if whole.is_multiple_of(part) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("has {part} elements, which do not divide {whole} {what}")))
}

/// A size times a factor.
fn scaled(size: usize, factor: usize) -> Result<usize> {
    let product = size.checked_mul(factor);
    product.ok_or_else(|| Error::invalid("output", format!("size {size} times {factor} is beyond 64 bits")))
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::error::ErrorKind;
    use crate::value::Data;

    /// 0, 1, 2, .. of a shape.
    fn count(shape: &[usize]) -> Value {
        Value::new(shape, (0..elements(shape).unwrap() as u8).collect::<Vec<u8>>()).unwrap()
    }

    fn run(op: &Op, inputs: &[Value]) -> Result<Value> {
        let inputs: Vec<_> = inputs.iter().map(|value| shared(value.clone())).collect();
        Ok(evaluate(op, &inputs, 1)?.remove(0))
    }

    #[track_caller]
    fn check(op: Op, inputs: &[Value], shape: &[usize], expected: &[u8]) {
        let value = run(&op, inputs).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        assert_eq!((value.shape(), value.data()), (shape, &Data::U8(expected.to_vec())), "{op:?}");
    }

    #[track_caller]
    fn check_refused(op: Op, inputs: &[Value], field: &str) {
        assert_eq!(run(&op, inputs).unwrap_err().field(), Some(field), "{op:?}");
    }

    #[test]
    fn shapes_change_and_elements_stay() {
        let list = Value::list;
        for (op, operand, shape) in [
            (Op::Reshape { allow_zero: false }, Some(list(&[0, -1])), vec![2, 3]),
            (Op::Reshape { allow_zero: false }, Some(list(&[-1])), vec![6]),
            (Op::Flatten { axis: 3 }, None, vec![6, 1]),
            (Op::Flatten { axis: 0 }, None, vec![1, 6]),
            (Op::Flatten { axis: -1 }, None, vec![2, 3]),
            (Op::Squeeze, None, vec![2, 3]),
            (Op::Squeeze, Some(list(&[-2])), vec![2, 3]),
            (Op::Unsqueeze, Some(list(&[-1, 0])), vec![1, 2, 1, 3, 1]),
            (Op::Identity, None, vec![2, 1, 3]),
            (Op::Dropout, None, vec![2, 1, 3]),
        ] {
            let inputs: Vec<Value> = [Some(count(&[2, 1, 3])), operand].into_iter().flatten().collect();
            check(op, &inputs, &shape, &[0, 1, 2, 3, 4, 5]);
        }
        check(Op::Reshape { allow_zero: true }, &[count(&[0, 3]), list(&[3, 0])], &[3, 0], &[]);
        check(Op::Reshape { allow_zero: false }, &[count(&[1]), list(&[])], &[], &[0]);
    }

    #[test]
    fn elements_move_as_onnx_says() {
        let (x, list) = (count(&[2, 3]), Value::list);
        check(Op::Transpose { permutation: vec![] }, std::slice::from_ref(&x), &[3, 2], &[0, 3, 1, 4, 2, 5]);
        check(Op::Expand, &[count(&[2, 1]), list(&[2, 1, 3])], &[2, 2, 3], &[0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
        check(Op::Tile, &[count(&[1, 2]), list(&[2, 2])], &[2, 4], &[0, 1, 0, 1, 0, 1, 0, 1]);
        check(Op::Slice, &[x.clone(), list(&[0]), list(&[i64::MIN]), list(&[-1]), list(&[-1])], &[2, 1], &[0, 3]);
        check(Op::Slice, &[x.clone(), list(&[1, 0]), list(&[9, 9]), list(&[0, 1]), list(&[1, 2])], &[1, 2], &[3, 5]);
        check(Op::Concat { axis: -1 }, &[x.clone(), count(&[2, 1])], &[2, 4], &[0, 1, 2, 0, 3, 4, 5, 1]);
        check(Op::Gather { axis: 1 }, &[x.clone(), Value::new(&[1, 2], vec![-1i32, 0]).unwrap()], &[2, 1, 2], &[2, 0, 5, 3]);
        check(Op::Gather { axis: 0 }, &[x.clone(), Value::scalar(1i64)], &[3], &[3, 4, 5]);
        let nine = Value::scalar(9u8);
        let constant = Op::Pad(PadMode::Constant);
        check(constant.clone(), &[x.clone(), list(&[0, -1, 1, 1]), nine], &[3, 3], &[1, 2, 9, 4, 5, 9, 9, 9, 9]);
        check(Op::Pad(PadMode::Reflect), &[count(&[3]), list(&[1, 2])], &[6], &[1, 0, 1, 2, 1, 0]);
        check(constant, &[count(&[0, 5]), list(&[1, -2, 0, -2])], &[1, 1], &[0]);
        check(Op::CenterCropPad { axes: vec![-1, 0] }, &[x, list(&[1, 3])], &[3, 1], &[1, 4, 0]);
    }

    #[test]
    fn blocks_of_channels_become_space_and_back() {
        let blocks = |channels_first| Op::DepthToSpace { block: 2, channels_first };
        check(blocks(false), &[count(&[1, 8, 1, 1])], &[1, 2, 2, 2], &[0, 2, 4, 6, 1, 3, 5, 7]);
        check(blocks(true), &[count(&[1, 8, 1, 1])], &[1, 2, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7]);
        check(Op::SpaceToDepth { block: 2 }, &[count(&[1, 2, 2, 2])], &[1, 8, 1, 1], &[0, 4, 1, 5, 2, 6, 3, 7]);
    }

    #[test]
    fn a_split_gives_all_parts_and_a_dropout_its_mask() {
        let parts = evaluate(&Op::Split { axis: 1 }, &[shared(count(&[2, 3]))], 2).unwrap();
        assert_eq!((parts[0].data(), parts[1].data()), (&Data::U8(vec![0, 1, 3, 4]), &Data::U8(vec![2, 5])));
        let lengths = Value::list(&[0, 3]);
        let parts = evaluate(&Op::Split { axis: -1 }, &[shared(count(&[2, 3])), shared(lengths)], 2).unwrap();
        assert_eq!((parts[0].shape(), parts[1].shape()), (&[2, 0][..], &[2, 3][..]));
        let results = evaluate(&Op::Dropout, &[shared(count(&[2])), None, shared(Value::scalar(false))], 2).unwrap();
        assert_eq!(results[1].data(), &Data::Bool(vec![true, true]));
        let error = evaluate(&Op::Dropout, &[shared(count(&[2])), None, shared(Value::scalar(true))], 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn what_does_not_fit_is_refused_whatever_its_size() {
        let (x, list) = (count(&[2, 3]), Value::list);
        for (op, operands, field) in [
            (Op::Reshape { allow_zero: false }, vec![list(&[-1, -1])], "shape"),
            (Op::Reshape { allow_zero: false }, vec![list(&[0, 0, 0])], "shape"),
            (Op::Reshape { allow_zero: false }, vec![list(&[i64::MAX, i64::MAX])], "shape"),
            (Op::Reshape { allow_zero: true }, vec![list(&[0, -1])], "shape"),
            (Op::Reshape { allow_zero: false }, vec![list(&[-2, 3])], "shape"),
            (Op::Flatten { axis: i64::MIN }, vec![], "axis"),
            (Op::Flatten { axis: 3 }, vec![], "axis"),
            (Op::Transpose { permutation: vec![0, 0] }, vec![], "permutation"),
            (Op::Transpose { permutation: vec![usize::MAX, 0] }, vec![], "permutation"),
            (Op::Squeeze, vec![list(&[0])], "axes"),
            (Op::Unsqueeze, vec![list(&[0, 0])], "axes"),
            (Op::Expand, vec![list(&[i64::MAX, 2, 3])], "output"),
            (Op::Expand, vec![list(&[-1])], "shape"),
            (Op::Expand, vec![list(&[4, 3])], "input"),
            (Op::Tile, vec![list(&[i64::MAX, i64::MAX])], "output"),
            (Op::Tile, vec![list(&[1])], "repeats"),
            (Op::Slice, vec![list(&[0]), list(&[1, 2])], "ends"),
            (Op::Slice, vec![list(&[0; 3]), list(&[1; 3])], "axes"),
            (Op::Pad(PadMode::Edge), vec![list(&[0, 0, i64::MIN, 0])], "pads"),
            (Op::Pad(PadMode::Constant), vec![list(&[0, i64::MIN, 0, i64::MAX])], "pads"),
            (Op::Pad(PadMode::Wrap), vec![list(&[0, 0, 0])], "pads"),
            (Op::Pad(PadMode::Constant), vec![list(&[0; 4]), Value::scalar(1.0f32)], "value"),
            (Op::Gather { axis: 0 }, vec![list(&[2])], "indices"),
            (Op::Gather { axis: 0 }, vec![list(&[i64::MIN])], "indices"),
            (Op::Gather { axis: 2 }, vec![list(&[0])], "axis"),
            (Op::Concat { axis: 0 }, vec![count(&[2, 2])], "input"),
            (Op::Concat { axis: 0 }, vec![Value::scalar(1.0f32)], "input"),
            (Op::Split { axis: 0 }, vec![list(&[3, -1])], "lengths"),
            (Op::DepthToSpace { block: 2, channels_first: false }, vec![], "input"),
            (Op::CenterCropPad { axes: vec![] }, vec![list(&[1])], "shape"),
        ] {
            check_refused(op, &[vec![x.clone()], operands].concat(), field);
        }
        let image = count(&[1, 4, 2, 3]);
        for block in [0, 3, usize::MAX] {
            check_refused(Op::DepthToSpace { block, channels_first: true }, std::slice::from_ref(&image), "block");
            check_refused(Op::SpaceToDepth { block }, std::slice::from_ref(&image), "block");
        }
        check_refused(Op::Pad(PadMode::Reflect), &[count(&[0]), list(&[1, 0])], "pads");
        // Nothing to move, on an axis of any size.
        check(Op::Expand, &[count(&[0, 1]), list(&[0, i64::MAX])], &[0, i64::MAX as usize], &[]);
    }
}
