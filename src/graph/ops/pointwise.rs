//! Functions of one element, or of one element of each input, which broadcast as numpy's; those of two inputs are in `binary`.
//!
//! Floats are computed in f64 and rounded once, integers in i128 and wrapped.

use super::binary::{binary, binary_type};
use super::cast::cast;
use super::fused;
use super::layers::same_type;
use super::{Fact, Inputs, broadcast, broadcast_strides, each, index_of, not_of_type};
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::graph::{Op, Unary, Variadic};
use crate::value::{ElementType, Value};

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    if let Op::Fused(stages) = op {
        return fused::infer(stages, inputs);
    }
    let x = inputs.get(0)?;
    let (element, shape) = match op {
        Op::Activation(activation) if activation.has_slope() => {
            let name = activation.name();
            return Err(Error::invalid("activation", format!("is {name}, but its slopes are an input: it is a function of two")));
        }
        Op::Activation(Activation::Relu) if x.element != ElementType::Bool => (x.element, x.shape.clone()),
        Op::Activation(activation) => {
            activation.check()?;
            (float("an activation but relu works on floats", x)?, x.shape.clone())
        }
        Op::Unary(function) => (unary_type(*function, x)?, x.shape.clone()),
        Op::Binary(function) => binary_type(*function, inputs)?,
        Op::Variadic(function) => {
            let facts = inputs.all()?;
            same_type(inputs, &(0..facts.len()).collect::<Vec<_>>())?;
            if *function == Variadic::Mean {
                float("a mean is one of floats", x)?;
            }
            (x.element, broadcast(&facts.iter().map(|fact| fact.shape.as_slice()).collect::<Vec<_>>())?)
        }
        Op::Where => {
            let (a, b) = (inputs.get(1)?, inputs.get(2)?);
            if x.element != ElementType::Bool {
                return Err(not_of_type("a condition is a bool", x.element));
            }
            if a.element != b.element {
                return Err(types_differ(a, b));
            }
            (a.element, broadcast(&[&x.shape, &a.shape, &b.shape])?)
        }
        Op::Clip => {
            same_type(inputs, &[0, 1, 2])?;
            for (name, fact) in [("low", inputs.optional(1)), ("high", inputs.optional(2))] {
                if let Some(fact) = fact.filter(|fact| fact.len() != 1) {
                    return Err(Error::invalid(name, format!("has shape {:?}, but a bound is one number", fact.shape)));
                }
            }
            (x.element, x.shape.clone())
        }
        Op::Cast(to) => (*to, x.shape.clone()),
        Op::CastLike => (inputs.get(1)?.element, x.shape.clone()),
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![Fact::new(element, shape)])
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    if let Op::Fused(stages) = op {
        return fused::evaluate(stages, inputs);
    }
    let x = inputs.value(0);
    let result = &results[0];
    let value = match op {
        // The only one of integers.
        Op::Activation(_) if !result.element.is_float() => {
            Value::from_ints(result.element, &result.shape, x.to_i128().into_iter().map(|x| x.max(0)).collect())
        }
        Op::Activation(activation) => floats(result, x.to_f64().into_iter().map(|x| activation.apply(x, 0.0))),
        Op::Unary(function) => unary(*function, x, result)?,
        Op::Binary(function) => binary(*function, x, inputs.value(1), result)?,
        Op::Variadic(function) => variadic(*function, inputs, result),
        Op::Where => {
            let (a, b) = (inputs.value(1), inputs.value(2));
            let both = a.clone().append(b, &[a.len() + b.len()]);
            let places =
                |first: usize, value: &Value| spread((first..first + value.len()).collect(), value.shape(), &result.shape);
            let condition = spread(x.to_i128(), x.shape(), &result.shape);
            let places = places(0, a).into_iter().zip(places(a.len(), b));
            let chosen = condition.into_iter().zip(places).map(|(condition, (a, b))| Some(if condition != 0 { a } else { b }));
            both.select(&result.shape, &chosen.collect::<Vec<_>>())
        }
        Op::Clip if result.element.is_float() => {
            let bound = |index| inputs.optional_value(index).map(|value| value.to_f64()[0]);
            let (low, high) = (bound(1).unwrap_or(f64::NEG_INFINITY), bound(2).unwrap_or(f64::INFINITY));
            floats(result, x.to_f64().into_iter().map(|x| lesser(greater(x, low), high)))
        }
        Op::Clip => {
            let bound = |index| inputs.optional_value(index).map(|value| value.to_i128()[0]);
            let (low, high) = (bound(1).unwrap_or(i128::MIN), bound(2).unwrap_or(i128::MAX));
            ints(result, x.to_i128().into_iter().map(|x| x.max(low).min(high)))
        }
        Op::Cast(_) | Op::CastLike => cast(x, result.element),
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![value])
}

/// The greater of two floats; NaN where one of them is, which `f64::max` would drop.
pub(super) fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The lesser of two floats; NaN where one of them is.
pub(super) fn lesser(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// The elements at each place of a shape that `from` broadcasts to.
pub(super) fn spread<T: Copy>(list: Vec<T>, from: &[usize], to: &[usize]) -> Vec<T> {
    if from == to {
        return list;
    }
    // The strides of a shape without elements may be beyond all numbers.
    if to.contains(&0) {
        return Vec::new();
    }
    let strides = broadcast_strides(from, to);
    each(to, |at| list[index_of(at, &strides)])
}

/// A result of floats.
pub(super) fn floats(result: &Fact, list: impl Iterator<Item = f64>) -> Value {
    Value::from_floats(result.element, &result.shape, list.collect())
}

/// A result of integers or bools.
pub(super) fn ints(result: &Fact, list: impl Iterator<Item = i128>) -> Value {
    Value::from_ints(result.element, &result.shape, list.collect())
}

/// The type of an input that must be of floats.
pub(super) fn float(rule: &str, fact: &Fact) -> Result<ElementType> {
    if fact.element.is_float() { Ok(fact.element) } else { Err(not_of_type(rule, fact.element)) }
}

fn types_differ(a: &Fact, b: &Fact) -> Error {
    Error::invalid("input", format!("has elements of types {} and {}, which must be one", a.element, b.element))
}

fn unary_type(function: Unary, x: &Fact) -> Result<ElementType> {
    match function {
        Unary::Not if x.element == ElementType::Bool => Ok(x.element),
        Unary::Not => Err(not_of_type("a negation is one of bools", x.element)),
        Unary::Neg | Unary::Abs | Unary::Sign if x.element != ElementType::Bool => Ok(x.element),
        Unary::IsNan | Unary::IsInf => float("only floats may be infinite or no number", x).map(|_| ElementType::Bool),
        _ => float("this function is one of floats", x),
    }
}

fn unary(function: Unary, x: &Value, result: &Fact) -> Result<Value> {
    let truths = |call: fn(&f64) -> bool| Value::new(&result.shape, x.to_f64().iter().map(call).collect::<Vec<bool>>());
    match function {
        Unary::IsNan => truths(|x| x.is_nan()),
        Unary::IsInf => truths(|x| x.is_infinite()),
        Unary::Not => truths(|x| *x == 0.0),
        _ if result.element.is_float() => Ok(floats(result, x.to_f64().into_iter().map(|x| unary_float(function, x)))),
        Unary::Neg => Ok(ints(result, x.to_i128().into_iter().map(|x| -x))),
        Unary::Abs => Ok(ints(result, x.to_i128().into_iter().map(i128::abs))),
        Unary::Sign => Ok(ints(result, x.to_i128().into_iter().map(i128::signum))),
        _ => unreachable!("infer() allows {function:?} on floats only"),
    }
}

fn unary_float(function: Unary, x: f64) -> f64 {
    match function {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        // Zero has no sign here, and NaN stays.
        Unary::Sign if x == 0.0 || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Erf => libm::erf(x),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Asinh => x.asinh(),
        Unary::Acosh => x.acosh(),
        Unary::Atanh => x.atanh(),
        Unary::Not | Unary::IsNan | Unary::IsInf => unreachable!("{function:?} gives no float"),
    }
}

fn variadic(function: Variadic, inputs: &Inputs, result: &Fact) -> Value {
    let count = inputs.count();
    if !result.element.is_float() {
        let call: fn(i128, i128) -> i128 = match function {
            Variadic::Sum | Variadic::Mean => i128::wrapping_add,
            Variadic::Max => i128::max,
            Variadic::Min => i128::min,
        };
        return ints(result, combine(Value::to_i128, inputs, result, call).into_iter());
    }
    let call: fn(f64, f64) -> f64 = match function {
        Variadic::Sum | Variadic::Mean => |a, b| a + b,
        Variadic::Max => greater,
        Variadic::Min => lesser,
    };
    let divisor = if function == Variadic::Mean { count as f64 } else { 1.0 };
    floats(result, combine(Value::to_f64, inputs, result, call).into_iter().map(|sum| sum / divisor))
}

/// All inputs at each place of the result, from the first to the last.
fn combine<T: Copy>(read: fn(&Value) -> Vec<T>, inputs: &Inputs, result: &Fact, call: fn(T, T) -> T) -> Vec<T> {
    let operand = |index: usize| spread(read(inputs.value(index)), inputs.value(index).shape(), &result.shape);
    (1..inputs.count()).fold(operand(0), |sums, index| sums.into_iter().zip(operand(index)).map(|(a, b)| call(a, b)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::activation::Activation;
    use crate::value::Data;

    fn list(data: impl Into<Data>) -> Value {
        let data = data.into();
        Value::new(&[data.len()], data).unwrap()
    }

    fn run(op: &Op, inputs: &[Value]) -> Result<Value> {
        let inputs: Vec<_> = inputs.iter().map(|value| shared(value.clone())).collect();
        Ok(evaluate(op, &inputs, 1)?.remove(0))
    }

    #[track_caller]
    fn check(op: Op, inputs: &[Value], expected: Value) {
        let value = run(&op, inputs).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        // NaN is not equal to itself, but prints alike.
        assert_eq!(format!("{value:?}"), format!("{expected:?}"), "{op:?}");
    }

    #[track_caller]
    fn check_refused(op: Op, inputs: &[Value], part: &str) {
        let error = run(&op, inputs).unwrap_err().to_string();
        assert!(error.contains(part), "{op:?}: {error}");
    }

    #[test]
    fn functions_of_one_number_are_the_mathematical_ones() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for (function, x, expected) in [
            (Unary::Neg, vec![1.5, -inf], vec![-1.5, inf]),
            (Unary::Sign, vec![-0.5, 0.0, 7.0, nan], vec![-1.0, 0.0, 1.0, nan]),
            (Unary::Round, vec![0.5, 1.5, -2.5, 2.6], vec![0.0, 2.0, -2.0, 3.0]),
            (Unary::Sqrt, vec![4.0, -1.0], vec![2.0, nan]),
            (Unary::Log, vec![1.0, 0.0], vec![0.0, -inf]),
            (Unary::Reciprocal, vec![4.0, 0.0], vec![0.25, inf]),
            (Unary::Floor, vec![-1.5, inf], vec![-2.0, inf]),
            (Unary::Erf, vec![0.0, 1.0, -inf], vec![0.0, 0.842_700_8, -1.0]),
            (Unary::Atanh, vec![1.0, 2.0], vec![inf, nan]),
        ] {
            check(Op::Unary(function), &[list(x)], list(expected));
        }
        check(Op::Unary(Unary::Neg), &[list(vec![i8::MIN, 3])], list(vec![i8::MIN, -3]));
        check(Op::Unary(Unary::Abs), &[list(vec![-7i64])], list(vec![7i64]));
        check(Op::Unary(Unary::Sign), &[list(vec![-7i32, 0])], list(vec![-1i32, 0]));
        check(Op::Unary(Unary::Not), &[list(vec![true, false])], list(vec![false, true]));
        check(Op::Unary(Unary::IsNan), &[list(vec![nan, inf])], list(vec![true, false]));
        check(Op::Unary(Unary::IsInf), &[list(vec![nan, -inf])], list(vec![false, true]));
        check(Op::Activation(Activation::Relu), &[list(vec![-1.0f32, 2.0, nan])], list(vec![0.0f32, 2.0, nan]));
        check(Op::Activation(Activation::Relu), &[list(vec![-1i8, 2, -128])], list(vec![0i8, 2, 0]));
    }

    #[test]
    fn any_count_of_inputs_broadcasts_and_nan_wins() {
        let column = || Value::new(&[2, 1], vec![1.0f32, 5.0]).unwrap();
        let inputs = [column(), list(vec![3.0f32, f32::NAN]), Value::scalar(2.0f32)];
        let of = |list: [f32; 4]| Value::new(&[2, 2], list.to_vec()).unwrap();
        let nan = f32::NAN;
        check(Op::Variadic(Variadic::Sum), &inputs, of([6.0, nan, 10.0, nan]));
        check(Op::Variadic(Variadic::Mean), &inputs, of([2.0, nan, 10.0 / 3.0, nan]));
        check(Op::Variadic(Variadic::Max), &inputs, of([3.0, nan, 5.0, nan]));
        check(Op::Variadic(Variadic::Min), &inputs, of([1.0, nan, 2.0, nan]));
        check(Op::Variadic(Variadic::Max), &[column()], column());
        check(Op::Variadic(Variadic::Max), &[list(vec![1i64 << 60, 2]), list(vec![(1i64 << 60) + 1])], {
            list(vec![(1i64 << 60) + 1, (1 << 60) + 1])
        });
        check(Op::Variadic(Variadic::Sum), &[list(vec![200u8]), list(vec![100u8])], list(vec![44u8]));
    }

    #[test]
    fn a_condition_chooses_elements_of_any_type() {
        let condition = Value::new(&[2, 1], vec![true, false]).unwrap();
        let expected = Value::new(&[2, 2], vec![1i64, i64::MAX, 9, 9]).unwrap();
        check(Op::Where, &[condition.clone(), list(vec![1, i64::MAX]), Value::scalar(9i64)], expected);
        let flags = Value::new(&[2, 1], vec![true, true]).unwrap();
        check(Op::Where, &[condition, list(vec![true]), list(vec![true])], flags);
        let none = Value::new(&[0, 1 << 40, 1 << 40], Vec::<f32>::new()).unwrap();
        check(Op::Where, &[list(vec![true]), none.clone(), Value::scalar(1.0f32)], none);
    }

    #[test]
    fn a_clip_has_two_bounds_one_or_none() {
        let x = || list(vec![-3.0f32, 0.5, 9.0, f32::NAN]);
        let scalar = Value::scalar::<f32>;
        check(Op::Clip, &[x(), scalar(-1.0), scalar(1.0)], list(vec![-1.0f32, 0.5, 1.0, f32::NAN]));
        check(Op::Clip, &[x(), list(vec![0.0f32])], list(vec![0.0f32, 0.5, 9.0, f32::NAN]));
        check(Op::Clip, &[x()], x());
        check(Op::Clip, &[x(), scalar(2.0), scalar(1.0)], list(vec![1.0f32, 1.0, 1.0, f32::NAN]));
        check(Op::Clip, &[list(vec![-3i8, 9]), Value::scalar(-2i8), Value::scalar(4i8)], list(vec![-2i8, 4]));
        let high = evaluate(&Op::Clip, &[shared(x()), None, shared(scalar(0.0))], 1).unwrap().remove(0);
        assert_eq!(high.to_f32()[..3], [-3.0, 0.0, 0.0]);
    }

    #[test]
    fn a_cast_gives_the_type_that_is_named_or_shown() {
        check(Op::Cast(ElementType::I32), &[list(vec![2.7f32])], list(vec![2i32]));
        check(Op::CastLike, &[list(vec![3u8]), Value::scalar(0.0f64)], list(vec![3.0f64]));
    }

    #[test]
    fn inputs_of_other_types_and_shapes_are_refused() {
        let (f, i, b) = (list(vec![1.0f32, 2.0]), list(vec![1i32, 2]), list(vec![true, false]));
        check_refused(Op::Activation(Activation::Tanh), std::slice::from_ref(&i), "type i32");
        check_refused(Op::Activation(Activation::Elu { alpha: f32::NAN }), std::slice::from_ref(&f), "not a finite number");
        check_refused(Op::Activation(Activation::Prelu), std::slice::from_ref(&f), "invalid activation");
        check_refused(Op::Unary(Unary::Exp), std::slice::from_ref(&i), "type i32");
        check_refused(Op::Unary(Unary::Not), std::slice::from_ref(&f), "type f32");
        check_refused(Op::Unary(Unary::Neg), std::slice::from_ref(&b), "type bool");
        check_refused(Op::Unary(Unary::IsInf), std::slice::from_ref(&i), "type i32");
        check_refused(Op::Variadic(Variadic::Mean), &[i.clone(), i.clone()], "type i32");
        check_refused(Op::Variadic(Variadic::Sum), &[], "0 is missing");
        check_refused(Op::Variadic(Variadic::Sum), &[f.clone(), i.clone()], "types f32 and i32");
        check_refused(Op::Where, &[i.clone(), f.clone(), f.clone()], "type i32");
        check_refused(Op::Where, &[b.clone(), f.clone(), i.clone()], "types f32 and i32");
        check_refused(Op::Clip, &[f.clone(), f.clone()], "invalid low: has shape [2]");
        check_refused(Op::Clip, &[f, Value::scalar(1i32)], "types f32 and i32");
    }
}
