//! Functions of two numbers, broadcast: arithmetic, comparisons, and those of bools.

use std::cmp::Ordering;

use super::cast::to_integer;
use super::layers::same_type;
use super::pointwise::{floats, ints, spread};
use super::{Fact, Inputs, broadcast, not_of_type};
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::graph::Binary;
use crate::value::{ElementType, Value};

/// Whether a comparison holds for two numbers in this order; NaN has none.
fn comparison(function: Binary) -> Option<fn(Option<Ordering>) -> bool> {
    match function {
        Binary::Equal => Some(|order| order.is_some_and(Ordering::is_eq)),
        Binary::Greater => Some(|order| order.is_some_and(Ordering::is_gt)),
        Binary::GreaterOrEqual => Some(|order| order.is_some_and(Ordering::is_ge)),
        Binary::Less => Some(|order| order.is_some_and(Ordering::is_lt)),
        Binary::LessOrEqual => Some(|order| order.is_some_and(Ordering::is_le)),
        _ => None,
    }
}

/// Type and shape of a result.
pub(super) fn binary_type(function: Binary, inputs: &Inputs) -> Result<(ElementType, Vec<usize>)> {
    let (a, b) = (inputs.get(0)?, inputs.get(1)?);
    let shape = broadcast(&[&a.shape, &b.shape])?;
    let truth = ElementType::Bool;
    match function {
        Binary::And | Binary::Or | Binary::Xor => match [a, b].into_iter().find(|fact| fact.element != truth) {
            Some(fact) => Err(not_of_type("this function is one of bools", fact.element)),
            None => Ok((truth, shape)),
        },
        Binary::Equal if a.element == truth && b.element == truth => Ok((truth, shape)),
        Binary::Pow => match [a, b].into_iter().find(|fact| fact.element == truth) {
            Some(fact) => Err(not_of_type("a power is one of numbers", fact.element)),
            None => Ok((a.element, shape)),
        },
        Binary::Prelu if shape != a.shape => {
            Err(Error::invalid("slope", format!("has shape {:?}, which does not broadcast to {:?}", b.shape, a.shape)))
        }
        _ => {
            same_type(inputs, &[0, 1])?;
            Ok((if comparison(function).is_some() { truth } else { a.element }, shape))
        }
    }
}

/// A function of two numbers, or bools, at each place of the result.
pub(super) fn binary(function: Binary, a: &Value, b: &Value, result: &Fact) -> Result<Value> {
    if function == Binary::Pow {
        return Ok(power(a, b, result));
    }
    if a.element().is_float() {
        let pairs = pairs(Value::to_f64, a, b, result);
        return match comparison(function) {
            Some(holds) => Value::new(&result.shape, pairs.map(|(a, b)| holds(a.partial_cmp(&b))).collect::<Vec<bool>>()),
            None => Ok(floats(result, pairs.map(|(a, b)| binary_float(function, a, b)))),
        };
    }
    let pairs = pairs(Value::to_i128, a, b, result);
    match comparison(function) {
        Some(holds) => Value::new(&result.shape, pairs.map(|(a, b)| holds(Some(a.cmp(&b)))).collect::<Vec<bool>>()),
        None => {
            let list: Vec<i128> = pairs.map(|(a, b)| binary_int(function, a, b)).collect::<Result<_>>()?;
            Ok(ints(result, list.into_iter()))
        }
    }
}

/// The two operands at each place of the result.
fn pairs<T: Copy>(read: fn(&Value) -> Vec<T>, a: &Value, b: &Value, result: &Fact) -> impl Iterator<Item = (T, T)> {
    let [a, b] = [a, b].map(|value| spread(read(value), value.shape(), &result.shape));
    a.into_iter().zip(b)
}

fn binary_float(function: Binary, a: f64, b: f64) -> f64 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Fmod => a % b,
        Binary::Mod => {
            let rest = a % b;
            // A zero has the divisor's sign too.
            if rest == 0.0 {
                rest.copysign(b)
            } else if (rest < 0.0) != (b < 0.0) {
                rest + b
            } else {
                rest
            }
        }
        Binary::Prelu => Activation::Prelu.apply(a, b),
        _ => unreachable!("{function:?} gives no float, or is computed elsewhere"),
    }
}

fn binary_int(function: Binary, a: i128, b: i128) -> Result<i128> {
    if b == 0 && matches!(function, Binary::Div | Binary::Mod | Binary::Fmod) {
        return Err(Error::invalid("b", format!("is 0 where {a} is divided by it, but integers have no such quotient")));
    }
    Ok(match function {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        // Of two u64 the product may not fit, but its low bits are right.
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div => a / b,
        Binary::Fmod => a % b,
        Binary::Mod => ((a % b) + b) % b,
        Binary::Prelu => {
            if a >= 0 {
                a
            } else {
                a.wrapping_mul(b)
            }
        }
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        _ => unreachable!("{function:?} is computed elsewhere"),
    })
}

/// `a^b` in the type of `a`. Of integers it is exact and wraps; with a negative or fractional exponent it goes through f64.
fn power(a: &Value, b: &Value, result: &Fact) -> Value {
    let element = result.element;
    if element.is_float() {
        return floats(result, pairs(Value::to_f64, a, b, result).map(|(a, b)| a.powf(b)));
    }
    if b.element().is_float() {
        return ints(result, pairs(Value::to_f64, a, b, result).map(|(a, b)| to_integer(a.powf(b), element)));
    }
    let exact = |(a, b): (i128, i128)| if b < 0 { to_integer((a as f64).powf(b as f64), element) } else { int_power(a, b) };
    ints(result, pairs(Value::to_i128, a, b, result).map(exact))
}

/// By repeated squaring; the exponent is not negative.
fn int_power(mut base: i128, mut exponent: i128) -> i128 {
    let mut product = 1i128;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = product.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::graph::Op;
    use crate::value::Data;

    fn list(data: impl Into<Data>) -> Value {
        let data = data.into();
        Value::new(&[data.len()], data).unwrap()
    }

    fn run(function: Binary, a: Value, b: Value) -> Result<Value> {
        Ok(evaluate(&Op::Binary(function), &[shared(a), shared(b)], 1)?.remove(0))
    }

    #[track_caller]
    fn check(function: Binary, a: impl Into<Data>, b: impl Into<Data>, expected: impl Into<Data>) {
        let value = run(function, list(a), list(b)).unwrap_or_else(|error| panic!("{function:?}: {error}"));
        // NaN is not equal to itself, but prints alike.
        assert_eq!(format!("{:?}", value.data()), format!("{:?}", expected.into()), "{function:?}");
    }

    #[track_caller]
    fn check_refused(function: Binary, a: impl Into<Data>, b: impl Into<Data>, part: &str) {
        let error = run(function, list(a), list(b)).unwrap_err().to_string();
        assert!(error.contains(part), "{function:?}: {error}");
    }

    #[test]
    fn floats_follow_ieee() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        check(Binary::Div, vec![1.0f32, -1.0, 0.0], vec![0.0f32], vec![inf, -inf, nan]);
        check(Binary::Sub, vec![inf, 1.0], vec![inf, 3.0], vec![nan, -2.0]);
        check(Binary::Mod, vec![5.5f32, -5.5, 5.5, 1.0], vec![3.0f32, 3.0, -3.0, 0.0], vec![2.5, 0.5, -0.5, nan]);
        check(Binary::Fmod, vec![5.5f32, -5.5, 5.5], vec![3.0f32, 3.0, -3.0], vec![2.5, -2.5, 2.5f32]);
        check(Binary::Less, vec![1.0f32, nan, inf], vec![2.0f32, 0.0, inf], vec![true, false, false]);
        check(Binary::GreaterOrEqual, vec![1.0f32, nan, inf], vec![2.0f32, nan, inf], vec![false, false, true]);
        check(Binary::Equal, vec![nan, -0.0], vec![nan, 0.0], vec![false, true]);
    }

    #[test]
    fn integers_are_exact_and_wrap() {
        check(Binary::Add, vec![250u8], vec![10u8], vec![4u8]);
        check(Binary::Mul, vec![u64::MAX], vec![u64::MAX], vec![1u64]);
        check(Binary::Div, vec![7i32, -7, i32::MIN], vec![2i32, 2, -1], vec![3i32, -3, i32::MIN]);
        check(Binary::Mod, vec![5i64, -5, 5, -6], vec![3i64, 3, -3, 3], vec![2i64, 1, -1, 0]);
        check(Binary::Fmod, vec![5i64, -5, 5], vec![3i64, 3, -3], vec![2i64, -2, 2]);
        check(Binary::Greater, vec![(1i64 << 60) + 1], vec![1i64 << 60], vec![true]);
        check(Binary::LessOrEqual, vec![1u8, 2, 3], vec![2u8], vec![true, true, false]);
        check(Binary::Prelu, vec![4i32, -4], vec![3i32], vec![4i32, -12]);
    }

    #[test]
    fn powers_have_the_type_of_the_base() {
        check(Binary::Pow, vec![2i32, -3, 3], vec![3i32, 3, 40], vec![8i32, -27, 3i32.wrapping_pow(40)]);
        check(Binary::Pow, vec![3i64], vec![39u8], vec![4_052_555_153_018_976_267i64]);
        check(Binary::Pow, vec![2i32, 1, -1, 0], vec![-1i32], vec![0i32, 1, -1, i32::MAX]);
        check(Binary::Pow, vec![9i32], vec![0.5f32], vec![3i32]);
        check(Binary::Pow, vec![4.0f32, -8.0], vec![-2i64], vec![0.0625f32, 0.015625]);
        check(Binary::Pow, vec![0.0f32, -8.0], vec![0.0f32, 0.5], vec![1.0, f32::NAN]);
    }

    #[test]
    fn bools_have_functions_of_their_own() {
        let (a, b) = (vec![false, false, true, true], vec![false, true, false, true]);
        check(Binary::And, a.clone(), b.clone(), vec![false, false, false, true]);
        check(Binary::Or, a.clone(), b.clone(), vec![false, true, true, true]);
        check(Binary::Xor, a.clone(), b.clone(), vec![false, true, true, false]);
        check(Binary::Equal, a, b, vec![true, false, false, true]);
    }

    #[test]
    fn operands_broadcast_in_both_directions_but_slopes_in_one() {
        let column = || Value::new(&[2, 1, 1], vec![1.0f32, -2.0]).unwrap();
        let sums = run(Binary::Add, column(), list(vec![10.0f32, 20.0])).unwrap();
        assert_eq!(sums, Value::new(&[2, 1, 2], vec![11.0f32, 21.0, 8.0, 18.0]).unwrap());
        let x = Value::new(&[1, 2, 1, 2], vec![-1.0f32, 1.0, -1.0, 1.0]).unwrap();
        let expected = Value::new(&[1, 2, 1, 2], vec![-1.0f32, 1.0, 2.0, 1.0]).unwrap();
        assert_eq!(run(Binary::Prelu, x.clone(), column()).unwrap(), expected);
        assert_eq!(run(Binary::Prelu, column(), x).unwrap_err().field(), Some("slope"));
    }

    #[test]
    fn what_has_no_result_is_refused() {
        check_refused(Binary::Div, vec![1i32, 2], vec![1i32, 0], "invalid b: is 0 where 2 is divided");
        check_refused(Binary::Mod, vec![1u8], vec![0u8], "invalid b: is 0");
        check_refused(Binary::Add, vec![1i32], vec![1i64], "types i32 and i64");
        check_refused(Binary::Add, vec![true], vec![true], "type bool");
        check_refused(Binary::Equal, vec![true], vec![1u8], "bool");
        check_refused(Binary::And, vec![true], vec![1u8], "type u8");
        check_refused(Binary::Pow, vec![2.0f32], vec![true], "type bool");
        check_refused(Binary::Add, vec![1.0f32, 2.0], vec![1.0f32, 2.0, 3.0], "cannot be broadcast");
    }
}
