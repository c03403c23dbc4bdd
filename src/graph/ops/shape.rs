//! What knows shapes but no tensors: [`Op::Shape`], [`Op::Size`], and the tensors that are made of numbers alone.

use std::sync::Arc;

use super::{Fact, Inputs, not_of_type};
use crate::error::{Error, Result};
use crate::graph::Op;
use crate::tensor_desc::MAX_ELEMENTS;
use crate::value::{ElementType, Value};

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let fact = match op {
        Op::Shape { start, end } => {
            let shape = &inputs.get(0)?.shape;
            let (first, last) = (clamped(*start, shape.len()), end.map_or(shape.len(), |end| clamped(end, shape.len())));
            let sizes = shape.get(first..last).unwrap_or_default();
            Fact::from(Arc::new(Value::list(&sizes.iter().map(|&size| int64(size)).collect::<Result<Vec<_>>>()?)))
        }
        Op::Size => Fact::from(Arc::new(Value::scalar(int64(inputs.get(0)?.len())?))),
        Op::ConstantOfShape { value } => {
            if value.len() != 1 {
                return Err(Error::invalid("value", format!("has shape {:?}, but is one number", value.shape())));
            }
            let list = inputs.get(0)?;
            if list.rank() != 1 || list.element.range().is_none() || list.element == ElementType::Bool {
                let Fact { element, shape, .. } = list;
                return Err(Error::invalid(
                    "shape",
                    format!("is {element} of shape {shape:?}, but a shape is a list of integers"),
                ));
            }
            let sizes = inputs.ints(0, "shape")?;
            let shape = sizes.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
            let shape = shape.map_err(|_| Error::invalid("shape", format!("is {sizes:?}, but no size is negative")))?;
            Fact::new(value.element(), shape)
        }
        Op::Range => range_fact(inputs)?,
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![fact])
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let Fact { element, shape, constant } = &results[0];
    let value = match op {
        Op::Shape { .. } | Op::Size => constant.as_deref().expect("infer() knows shapes").clone(),
        Op::ConstantOfShape { value } => value.select(shape, &vec![Some(0); results[0].len()]),
        Op::Range if element.is_float() => {
            let [start, delta] = [0, 2].map(|index| inputs.value(index).to_f64()[0]);
            // One product for each element: a running sum would collect errors.
            Value::from_floats(*element, shape, (0..shape[0]).map(|index| start + index as f64 * delta).collect())
        }
        Op::Range => {
            let [start, delta] = [0, 2].map(|index| inputs.value(index).to_i128()[0]);
            Value::from_ints(*element, shape, (0..shape[0] as i128).map(|index| start + index * delta).collect())
        }
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![value])
}

/// The axis that a slice of axes begins or ends at: from the end where negative, and held within the axes there are.
fn clamped(axis: i64, rank: usize) -> usize {
    let axis = if axis < 0 { axis.saturating_add_unsigned(rank as u64) } else { axis };
    usize::try_from(axis.max(0)).unwrap_or(usize::MAX).min(rank)
}

fn int64(size: usize) -> Result<i64> {
    i64::try_from(size).map_err(|_| Error::invalid("input", format!("has an axis of {size} elements, more than int64 holds")))
}

/// Type and length of [`Op::Range`]: `max(ceil((limit - start) / delta), 0)`.
fn range_fact(inputs: &Inputs) -> Result<Fact> {
    let operands = [inputs.constant(0, "start")?, inputs.constant(1, "limit")?, inputs.constant(2, "delta")?];
    let element = operands[0].element();
    if element == ElementType::Bool {
        return Err(not_of_type("a range is one of numbers", element));
    }
    for (name, value) in ["start", "limit", "delta"].into_iter().zip(operands) {
        if value.len() != 1 || value.element() != element {
            return Err(Error::invalid(
                name,
                format!("is {value}, but a range is made of three numbers of one type, here {element}"),
            ));
        }
    }
    let zero = || Error::invalid("delta", "is 0, but a range takes steps");
    let count = if element.is_float() {
        let [start, limit, delta] = operands.map(|value| value.to_f64()[0]);
        if delta == 0.0 {
            return Err(zero());
        }
        let count = ((limit - start) / delta).ceil().max(0.0);
        if !(limit - start).is_finite() || !delta.is_finite() {
            return Err(Error::invalid("limit", format!("{limit} is not reached from {start} in steps of {delta}")));
        }
        // Saturates, and is checked below.
        count as usize
    } else {
        let [start, limit, delta] = operands.map(|value| value.to_i128()[0]);
        let way = (limit - start) * delta.signum();
        let step = delta.abs();
        if step == 0 {
            return Err(zero());
        }
        usize::try_from(((way + step - 1) / step).max(0)).unwrap_or(usize::MAX)
    };
    if count > MAX_ELEMENTS {
        return Err(Error::invalid(
            "limit",
            format!("gives a range of {count} elements, but {MAX_ELEMENTS} (2^31 - 1) are the most"),
        ));
    }
    Ok(Fact::new(element, [count]))
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::error::ErrorKind;

    fn run(op: &Op, inputs: &[Value]) -> Result<Value> {
        let inputs: Vec<_> = inputs.iter().map(|value| shared(value.clone())).collect();
        Ok(evaluate(op, &inputs, 1)?.remove(0))
    }

    #[track_caller]
    fn check(op: Op, inputs: &[Value], expected: Value) {
        assert_eq!(run(&op, inputs).unwrap_or_else(|error| panic!("{op:?}: {error}")), expected, "{op:?}");
    }

    #[track_caller]
    fn check_refused(op: Op, inputs: &[Value], field: &str) {
        assert_eq!(run(&op, inputs).unwrap_err().field(), Some(field), "{op:?}");
    }

    #[test]
    fn a_shape_is_known_before_its_tensor_is() {
        for (start, end, expected) in [
            (0, None, vec![2, 3, 4]),
            (1, None, vec![3, 4]),
            (-1, None, vec![4]),
            (0, Some(-1), vec![2, 3]),
            (1, Some(2), vec![3]),
            (2, Some(1), vec![]),
            (i64::MIN, Some(i64::MAX), vec![2, 3, 4]),
            (i64::MAX, Some(i64::MIN), vec![]),
        ] {
            let facts = [Some(Fact::new(ElementType::F32, [2, 3, 4]))];
            let result = infer(&Op::Shape { start, end }, &Inputs::new(&facts, 1)).unwrap().remove(0);
            assert_eq!(result.constant.as_deref(), Some(&Value::list(&expected)), "{start} {end:?}");
        }
        check(Op::Size, &[Value::zeros(ElementType::Bool, &[2, 3])], Value::scalar(6i64));
        check(Op::Size, &[Value::scalar(1.0f32)], Value::scalar(1i64));
    }

    #[test]
    fn one_number_fills_a_shape() {
        let op = |value: Value| Op::ConstantOfShape { value };
        check(op(Value::scalar(7i32)), &[Value::list(&[2, 1])], Value::new(&[2, 1], vec![7, 7]).unwrap());
        check(op(Value::new(&[1], vec![2.5f32]).unwrap()), &[Value::list(&[])], Value::scalar(2.5f32));
        check(op(Value::scalar(1u8)), &[Value::list(&[0, 3])], Value::zeros(ElementType::U8, &[0, 3]));
        check_refused(op(Value::scalar(1u8)), &[Value::list(&[2, -1])], "shape");
        check_refused(op(Value::scalar(1u8)), &[Value::scalar(2i64)], "shape");
        check_refused(op(Value::scalar(1u8)), &[Value::new(&[1], vec![2.0f32]).unwrap()], "shape");
        check_refused(op(Value::list(&[1, 2])), &[Value::list(&[2])], "value");
        check_refused(op(Value::scalar(1u8)), &[Value::list(&[i64::MAX, i64::MAX])], "output");
    }

    #[test]
    fn a_range_stops_before_its_limit() {
        let floats = |[a, b, c]: [f32; 3]| [a, b, c].map(Value::scalar);
        let ints = |[a, b, c]: [i64; 3]| [a, b, c].map(Value::scalar);
        let list = |list: Vec<f32>| Value::new(&[list.len()], list).unwrap();
        check(Op::Range, &floats([1.0, 5.0, 2.0]), list(vec![1.0, 3.0]));
        check(Op::Range, &floats([1.0, 5.5, 2.0]), list(vec![1.0, 3.0, 5.0]));
        check(Op::Range, &floats([1.0, 0.0, -0.25]), list(vec![1.0, 0.75, 0.5, 0.25]));
        check(Op::Range, &floats([1.0, 0.0, 1.0]), list(vec![]));
        check(Op::Range, &ints([10, 4, -3]), Value::list(&[10, 7]));
        check(Op::Range, &ints([10, 3, -3]), Value::list(&[10, 7, 4]));
        check(Op::Range, &ints([4, 10, -1]), Value::list(&[]));
        check(Op::Range, &ints([i64::MIN, i64::MAX, i64::MAX]), Value::list(&[i64::MIN, -1, i64::MAX - 1]));
        let bf16s = [1.0, 1.02, 0.005].map(|number| Value::scalar(bf16::from_f32(number)));
        // Each element is rounded by itself: a running sum would be 1.015625 at the third.
        let expected = [1.0, 1.0078125, 1.0078125, 1.015625, 1.0234375].map(bf16::from_f32).to_vec();
        check(Op::Range, &bf16s, Value::new(&[5], expected).unwrap());
    }

    #[test]
    fn ranges_without_end_are_refused() {
        let floats = |[a, b, c]: [f32; 3]| [a, b, c].map(Value::scalar);
        check_refused(Op::Range, &floats([0.0, 1.0, 0.0]), "delta");
        check_refused(Op::Range, &[0i32, 1, 0].map(Value::scalar), "delta");
        check_refused(Op::Range, &floats([0.0, f32::INFINITY, 1.0]), "limit");
        check_refused(Op::Range, &floats([0.0, 1.0, f32::NAN]), "limit");
        check_refused(Op::Range, &floats([0.0, 1e30, 1e-30]), "limit");
        check_refused(Op::Range, &[0, i64::MAX, 1].map(Value::scalar), "limit");
        check_refused(Op::Range, &[Value::scalar(0i64), Value::scalar(1i32), Value::scalar(1i64)], "limit");
        check_refused(Op::Range, &[Value::list(&[0, 1]), Value::scalar(1i64), Value::scalar(1i64)], "start");
        let facts = [Some(Fact::new(ElementType::I64, [])), None, None];
        assert_eq!(infer(&Op::Range, &Inputs::new(&facts, 1)).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
