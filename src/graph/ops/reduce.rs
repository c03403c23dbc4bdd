//! Reductions over axes, and the functions of whole rows: softmax and its kin.

use super::cast::to_integer;
use super::lanes::{Lane, Lanes};
use super::pointwise::{float, greater, lesser};
use super::{Fact, Inputs, axes_of, axis_of, not_of_type};
use crate::error::{Error, Result};
use crate::graph::{Op, Reduce, SoftmaxKind};
use crate::value::{ElementType, Value};

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let x = inputs.get(0)?;
    let fact = match op {
        Op::Softmax { axis, flatten, .. } => {
            softmax_axes(*axis, x.rank(), *flatten)?;
            Fact::new(float("a softmax works on floats", x)?, x.shape.clone())
        }
        Op::Reduce { kind, keep_dims, noop_with_empty_axes } => {
            if x.element == ElementType::Bool && !matches!(kind, Reduce::Max | Reduce::Min) {
                return Err(not_of_type("this reduction is one of numbers", x.element));
            }
            let axes = axes(inputs, *noop_with_empty_axes)?;
            let count = axes.iter().fold(1usize, |count, &axis| count.saturating_mul(x.shape[axis]));
            if *kind == Reduce::Mean && count == 0 && !x.element.is_float() {
                return Err(Error::invalid(
                    "axes",
                    format!("of shape {:?} have no elements, and integers no mean of none", x.shape),
                ));
            }
            Fact::new(x.element, reduced(&x.shape, &axes, *keep_dims))
        }
        Op::ArgReduce { axis, keep_dims, .. } => {
            if x.element == ElementType::Bool {
                return Err(not_of_type("the greatest and the least are numbers", x.element));
            }
            let axis = axis_of(*axis, x.rank())?;
            if x.shape[axis] == 0 {
                return Err(Error::invalid(
                    "axis",
                    format!("{axis} of shape {:?} is empty: it has no greatest element", x.shape),
                ));
            }
            Fact::new(ElementType::I64, reduced(&x.shape, &[axis], *keep_dims))
        }
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![fact])
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let x = inputs.value(0);
    let Fact { element, shape, .. } = &results[0];
    let value = match op {
        Op::Softmax { kind, axis, flatten } => {
            if x.is_empty() {
                return Ok(vec![x.clone()]);
            }
            let lanes = Lanes::new(shape, &softmax_axes(*axis, shape.len(), *flatten)?);
            Value::from_floats(*element, shape, softmax(*kind, &lanes, &x.to_f64()))
        }
        Op::Reduce { kind, noop_with_empty_axes, .. } => {
            let lanes = Lanes::new(x.shape(), &axes(inputs, *noop_with_empty_axes)?);
            if element.is_float() {
                Value::from_floats(*element, shape, lanes.fold(&x.to_f64(), |lane| reduce_floats(*kind, lane)))
            } else {
                Value::from_ints(*element, shape, lanes.fold(&x.to_i128(), |lane| reduce_ints(*kind, *element, lane)))
            }
        }
        Op::ArgReduce { min, axis, last, .. } => {
            let lanes = Lanes::new(x.shape(), &[axis_of(*axis, x.shape().len())?]);
            let list = if x.element().is_float() {
                lanes.fold(&x.to_f64(), |lane| extreme(lane, *min, *last) as i64)
            } else {
                lanes.fold(&x.to_i128(), |lane| extreme(lane, *min, *last) as i64)
            };
            Value::new(shape, list)?
        }
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![value])
}

/// The axes that a reduction runs over, sorted.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an axis that the input does not have, or that is named twice.
pub(crate) fn reduced_axes(op_axes: Option<&[i64]>, rank: usize, noop: bool) -> Result<Vec<usize>> {
    let mut axes = match op_axes.unwrap_or_default() {
        [] if noop => Vec::new(),
        [] => (0..rank).collect(),
        axes => axes_of(axes, rank)?,
    };
    axes.sort_unstable();
    Ok(axes)
}

/// The axes that a softmax runs over: one, or with `flatten` all from it on.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the input has no such axis; with `flatten` it may be one past the last.
pub(crate) fn softmax_axes(axis: i64, rank: usize, flatten: bool) -> Result<Vec<usize>> {
    match usize::try_from(axis) {
        Ok(past) if flatten && past == rank => Ok(Vec::new()),
        _ if flatten => Ok((axis_of(axis, rank)?..rank).collect()),
        _ => Ok(vec![axis_of(axis, rank)?]),
    }
}

fn axes(inputs: &Inputs, noop: bool) -> Result<Vec<usize>> {
    reduced_axes(inputs.optional_ints(1, "axes")?.as_deref(), inputs.get(0)?.rank(), noop)
}

/// The shape that remains of one.
fn reduced(shape: &[usize], axes: &[usize], keep_dims: bool) -> Vec<usize> {
    let sizes =
        shape.iter().enumerate().map(|(axis, &size)| if axes.contains(&axis) { keep_dims.then_some(1) } else { Some(size) });
    sizes.flatten().collect()
}

fn reduce_floats(kind: Reduce, lane: Lane<f64>) -> f64 {
    // Not `Iterator::sum`, whose sum of nothing is -0.
    let sum = |term: fn(f64) -> f64| lane.numbers().fold(0.0, |sum, x| sum + term(x));
    match kind {
        Reduce::Sum => sum(|x| x),
        Reduce::Mean => sum(|x| x) / lane.len() as f64,
        Reduce::Max => lane.numbers().fold(f64::NEG_INFINITY, greater),
        Reduce::Min => lane.numbers().fold(f64::INFINITY, lesser),
        Reduce::Prod => lane.numbers().product(),
        Reduce::L1 => sum(f64::abs),
        Reduce::L2 => sum(|x| x * x).sqrt(),
        Reduce::SumSquare => sum(|x| x * x),
        Reduce::LogSum => sum(|x| x).ln(),
        Reduce::LogSumExp => {
            let (max, sum) = exponentials(lane);
            // An infinite maximum is the result: the difference to itself would be NaN.
            if max.is_finite() { max + sum.ln() } else { max }
        }
    }
}

fn reduce_ints(kind: Reduce, element: ElementType, lane: Lane<i128>) -> i128 {
    let (least, greatest) = element.range().unwrap_or((i128::MIN, i128::MAX));
    let sum = |term: fn(i128) -> i128| lane.numbers().fold(0i128, |sum, x| sum.wrapping_add(term(x)));
    let float_sum = |term: fn(f64) -> f64| lane.numbers().fold(0.0, |sum, x| sum + term(x as f64));
    match kind {
        Reduce::Sum => sum(|x| x),
        // Towards zero; infer() has seen that there are elements.
        Reduce::Mean => sum(|x| x) / lane.len() as i128,
        Reduce::Max => lane.numbers().fold(least, i128::max),
        Reduce::Min => lane.numbers().fold(greatest, i128::min),
        Reduce::Prod => lane.numbers().fold(1, i128::wrapping_mul),
        Reduce::L1 => sum(i128::abs),
        Reduce::SumSquare => sum(|x| x.wrapping_mul(x)),
        Reduce::L2 => to_integer(float_sum(|x| x * x).sqrt(), element),
        Reduce::LogSum => to_integer((sum(|x| x) as f64).ln(), element),
        Reduce::LogSumExp => {
            let max = lane.numbers().fold(least, i128::max) as f64;
            let sum = lane.numbers().fold(0.0, |sum, x| sum + (x as f64 - max).exp());
            to_integer(max + sum.ln(), element)
        }
    }
}

/// The greatest number `m` of a lane, and `sum exp(x - m)`, which cannot overflow.
fn exponentials(lane: Lane<f64>) -> (f64, f64) {
    let max = lane.numbers().fold(f64::NEG_INFINITY, greater);
    (max, lane.numbers().fold(0.0, |sum, x| sum + (x - max).exp()))
}

/// The place of the greatest or least number, the first or last of equals. As in numpy a NaN is more extreme than any number, both ways.
fn extreme<T: PartialOrd + Copy>(lane: Lane<T>, min: bool, last: bool) -> usize {
    let is_nan = |x: T| x.partial_cmp(&x).is_none();
    let mut best: Option<(usize, T)> = None;
    for (index, x) in lane.numbers().enumerate() {
        let wins = best.is_none_or(|(_, best)| match (is_nan(x), is_nan(best)) {
            (false, true) => false,
            (true, false) => true,
            (true, true) => last,
            (false, false) => (if min { x < best } else { x > best }) || last && x == best,
        });
        if wins {
            best = Some((index, x));
        }
    }
    best.map_or(0, |(index, _)| index)
}

fn softmax(kind: SoftmaxKind, lanes: &Lanes, x: &[f64]) -> Vec<f64> {
    match kind {
        SoftmaxKind::Softmax => lanes.map(x, &lanes.fold(x, exponentials), |(max, sum), x| (x - max).exp() / sum),
        SoftmaxKind::LogSoftmax => {
            let found = lanes.fold(x, |lane| {
                let (max, sum) = exponentials(lane);
                (max, sum.ln())
            });
            lanes.map(x, &found, |(max, log), x| x - max - log)
        }
        SoftmaxKind::Hardmax => {
            let mut result = vec![0.0; x.len()];
            for (start, place) in lanes.starts.iter().zip(lanes.fold(x, |lane| extreme(lane, false, false))) {
                result[start + lanes.steps[place]] = 1.0;
            }
            result
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::value::Data;

    fn reduce(kind: Reduce) -> Op {
        Op::Reduce { kind, keep_dims: false, noop_with_empty_axes: false }
    }

    fn arg(min: bool, last: bool) -> Op {
        Op::ArgReduce { min, axis: -1, keep_dims: false, last }
    }

    fn run(op: &Op, inputs: &[Value]) -> Result<Value> {
        let inputs: Vec<_> = inputs.iter().map(|value| shared(value.clone())).collect();
        Ok(evaluate(op, &inputs, 1)?.remove(0))
    }

    #[track_caller]
    fn check(op: Op, inputs: &[Value], shape: &[usize], expected: impl Into<Data>) {
        let value = run(&op, inputs).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        // NaN is not equal to itself, but prints alike.
        assert_eq!(format!("{value:?}"), format!("{:?}", Value::new(shape, expected).unwrap()), "{op:?}");
    }

    #[track_caller]
    fn check_refused(op: Op, inputs: &[Value], part: &str) {
        let error = run(&op, inputs).unwrap_err().to_string();
        assert!(error.contains(part), "{op:?}: {error}");
    }

    fn matrix() -> Value {
        Value::new(&[2, 3], vec![1.0f32, -2.0, 3.0, 4.0, 0.0, -4.0]).unwrap()
    }

    #[test]
    fn every_kind_reduces_the_axes_it_is_given() {
        for (kind, expected) in [
            (Reduce::Sum, [2.0, 0.0]),
            (Reduce::Mean, [2.0 / 3.0, 0.0]),
            (Reduce::Max, [3.0, 4.0]),
            (Reduce::Min, [-2.0, -4.0]),
            (Reduce::Prod, [-6.0, -0.0]),
            (Reduce::L1, [6.0, 8.0]),
            (Reduce::L2, [14f32.sqrt(), 32f32.sqrt()]),
            (Reduce::SumSquare, [14.0, 32.0]),
            (Reduce::LogSum, [2f32.ln(), f32::NEG_INFINITY]),
        ] {
            check(reduce(kind), &[matrix(), Value::list(&[-1])], &[2], expected.to_vec());
        }
        let keep = Op::Reduce { kind: Reduce::Sum, keep_dims: true, noop_with_empty_axes: false };
        check(keep.clone(), &[matrix(), Value::list(&[0])], &[1, 3], vec![5.0f32, -2.0, -1.0]);
        check(keep.clone(), &[matrix()], &[1, 1], vec![2.0f32]);
        check(reduce(Reduce::Sum), &[matrix(), Value::list(&[])], &[], vec![2.0f32]);
        check(reduce(Reduce::Sum), &[matrix(), Value::list(&[1, -2])], &[], vec![2.0f32]);
        check(keep, &[Value::scalar(3.0f32)], &[], vec![3.0f32]);
        let cube = Value::new(&[2, 2, 2], vec![1i32, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        check(reduce(Reduce::Sum), &[cube, Value::list(&[2, 0])], &[2], vec![14, 22]);
    }

    #[test]
    fn without_axes_a_noop_still_applies_its_function() {
        let noop = |kind| Op::Reduce { kind, keep_dims: false, noop_with_empty_axes: true };
        check(noop(Reduce::Sum), &[matrix()], &[2, 3], matrix().data().clone());
        check(noop(Reduce::SumSquare), &[matrix(), Value::list(&[])], &[2, 3], vec![1.0f32, 4.0, 9.0, 16.0, 0.0, 16.0]);
        check(noop(Reduce::Sum), &[matrix(), Value::list(&[0, 1])], &[], vec![2.0f32]);
    }

    #[test]
    fn a_reduction_of_nothing_is_the_neutral_element() {
        let inf = f32::INFINITY;
        for (kind, expected) in [
            (Reduce::Sum, 0.0),
            (Reduce::Mean, f32::NAN),
            (Reduce::Max, -inf),
            (Reduce::Min, inf),
            (Reduce::Prod, 1.0),
            (Reduce::L1, 0.0),
            (Reduce::L2, 0.0),
            (Reduce::SumSquare, 0.0),
            (Reduce::LogSum, -inf),
            (Reduce::LogSumExp, -inf),
        ] {
            let inputs = [Value::zeros(ElementType::F32, &[2, 0, 1 << 40]), Value::list(&[1, 2])];
            check(reduce(kind), &inputs, &[2], vec![expected, expected]);
        }
        let none = || [Value::zeros(ElementType::I8, &[0, 1]), Value::list(&[0])];
        check(reduce(Reduce::Max), &none(), &[1], vec![-128i8]);
        check(reduce(Reduce::Min), &none(), &[1], vec![127i8]);
        check_refused(reduce(Reduce::Mean), &none(), "no mean of none");
    }

    #[test]
    fn exponentials_neither_overflow_nor_vanish() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (list, expected) in [
            (vec![1000.0, 1000.0], 1000.0 + 2f64.ln()),
            (vec![-1000.0, -1000.0], -1000.0 + 2f64.ln()),
            (vec![-inf, -inf], -inf),
            (vec![inf, 0.0], inf),
            (vec![nan, inf], nan),
        ] {
            check(reduce(Reduce::LogSumExp), &[Value::new(&[2], list).unwrap()], &[], vec![expected]);
        }
        let rows = |kind, list: Vec<f64>| {
            run(&Op::Softmax { kind, axis: 0, flatten: false }, &[Value::new(&[2], list).unwrap()]).unwrap()
        };
        assert_eq!(rows(SoftmaxKind::Softmax, vec![1e300, 1e300]).to_f64(), [0.5, 0.5]);
        assert_eq!(rows(SoftmaxKind::LogSoftmax, vec![0.0, 1e4]).to_f64(), [-1e4, 0.0]);
        assert!(rows(SoftmaxKind::Softmax, vec![-inf, -inf]).to_f64().iter().all(|x| x.is_nan()));
    }

    #[test]
    fn integers_wrap_and_means_truncate() {
        let list = |list: Vec<i8>| [Value::new(&[list.len()], list).unwrap()];
        check(reduce(Reduce::Sum), &list(vec![100, 100]), &[], vec![-56i8]);
        check(reduce(Reduce::Prod), &list(vec![16, 16, 3]), &[], vec![0i8]);
        check(reduce(Reduce::Mean), &list(vec![-3, -2]), &[], vec![-2i8]);
        check(reduce(Reduce::L2), &list(vec![3, -4]), &[], vec![5i8]);
        check(reduce(Reduce::LogSumExp), &list(vec![3, 3]), &[], vec![3i8]);
        let bools = [Value::new(&[2, 2], vec![true, false, false, false]).unwrap(), Value::list(&[1])];
        check(reduce(Reduce::Max), &bools, &[2], vec![true, false]);
        check(reduce(Reduce::Min), &bools, &[2], vec![false, false]);
        check_refused(reduce(Reduce::Sum), &bools, "type bool");
    }

    #[test]
    fn the_first_or_last_of_equals_is_found() {
        let rows = || [Value::new(&[2, 4], vec![1.0f32, 3.0, 3.0, 1.0, 0.0, f32::NAN, 9.0, f32::NAN]).unwrap()];
        check(arg(false, false), &rows(), &[2], vec![1i64, 1]);
        check(arg(false, true), &rows(), &[2], vec![2i64, 3]);
        check(arg(true, false), &rows(), &[2], vec![0i64, 1]);
        check(arg(true, true), &rows(), &[2], vec![3i64, 3]);
        let ints = [Value::new(&[3, 1], vec![(1i64 << 60) + 1, 1 << 60, (1 << 60) + 1]).unwrap()];
        check(Op::ArgReduce { min: false, axis: 0, keep_dims: true, last: true }, &ints, &[1, 1], vec![2i64]);
        check_refused(arg(false, false), &[Value::zeros(ElementType::F32, &[2, 0])], "invalid axis: 1 of shape [2, 0] is empty");
        check_refused(arg(false, false), &[Value::scalar(1.0f32)], "has 0 axes");
    }

    #[test]
    fn softmax_runs_over_one_axis_or_over_all_from_it_on() {
        let x = || [Value::new(&[2, 1, 2], vec![0.0f32, 0.0, 3f32.ln(), 0.0]).unwrap()];
        let softmax = |axis, flatten| Op::Softmax { kind: SoftmaxKind::Softmax, axis, flatten };
        check(softmax(-1, false), &x(), &[2, 1, 2], vec![0.5f32, 0.5, 0.75, 0.25]);
        check(softmax(0, false), &x(), &[2, 1, 2], vec![0.25f32, 0.5, 0.75, 0.5]);
        check(softmax(1, false), &x(), &[2, 1, 2], vec![1.0f32; 4]);
        check(softmax(1, true), &x(), &[2, 1, 2], vec![0.5f32, 0.5, 0.75, 0.25]);
        check(softmax(-3, true), &x(), &[2, 1, 2], [1.0f32, 1.0, 3.0, 1.0].map(|x| x / 6.0).to_vec());
        check(softmax(3, true), &x(), &[2, 1, 2], vec![1.0f32; 4]);
        check(softmax(0, true), &[Value::scalar(4.0f32)], &[], vec![1.0f32]);
        check(softmax(1, false), &[Value::zeros(ElementType::F32, &[1 << 40, 0])], &[1 << 40, 0], Vec::<f32>::new());
        let hardmax = Op::Softmax { kind: SoftmaxKind::Hardmax, axis: 0, flatten: true };
        check(hardmax, &[Value::new(&[2, 2], vec![1.0f32, 7.0, 7.0, 0.0]).unwrap()], &[2, 2], vec![0.0f32, 1.0, 0.0, 0.0]);
        check_refused(softmax(3, false), &x(), "is 3, but the input has 3 axes");
        check_refused(softmax(4, true), &x(), "is 4, but the input has 3 axes");
        check_refused(softmax(-4, true), &x(), "is -4");
        check_refused(softmax(0, false), &[Value::list(&[1])], "type i64");
    }

    #[test]
    fn axes_must_exist_once() {
        check_refused(reduce(Reduce::Sum), &[matrix(), Value::list(&[2])], "is 2, but the input has 2 axes");
        check_refused(reduce(Reduce::Sum), &[matrix(), Value::list(&[i64::MIN])], "but the input has 2 axes");
        check_refused(reduce(Reduce::Sum), &[matrix(), Value::list(&[1, -1])], "name axis 1 twice");
    }
}
