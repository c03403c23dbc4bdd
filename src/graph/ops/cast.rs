//! Conversions between element types. Each rounds once: a detour over a third type could round twice.

use crate::value::{ElementType, Value};

/// The same numbers as another type: floats to nearest even; floats towards zero and held in the range of an integer type, NaN as 0;
/// integers wrapped; whether they are not 0 as bool.
pub(super) fn cast(value: &Value, to: ElementType) -> Value {
    let shape = value.shape();
    if to == value.element() {
        return value.clone();
    }
    match (value.element().is_float(), to.range()) {
        (true, None) => Value::from_floats(to, shape, value.to_f64()),
        (true, Some(_)) if to == ElementType::Bool => {
            Value::from_ints(to, shape, value.to_f64().into_iter().map(|value| i128::from(value != 0.0)).collect())
        }
        (true, Some(_)) => Value::from_ints(to, shape, value.to_f64().into_iter().map(|value| to_integer(value, to)).collect()),
        (false, Some(_)) => Value::from_ints(to, shape, value.to_i128()),
        (false, None) => {
            // An f64 holds 53 bits: wider integers are rounded on the way to it, which only f64 itself may see.
            let exact = |value: i128| if to == ElementType::F64 { value as f64 } else { to_odd(value) as f64 };
            Value::from_floats(to, shape, value.to_i128().into_iter().map(exact).collect())
        }
    }
}

/// A float as an integer of a type's range: towards zero, NaN as 0.
pub(super) fn to_integer(value: f64, to: ElementType) -> i128 {
    let (least, greatest) = to.range().unwrap_or((i128::MIN, i128::MAX));
    (value as i128).clamp(least, greatest)
}

/// An integer of at most 64 bits that an f64 holds, and that rounds to all shorter floats as `value` does: rounding to odd (Boldo and
/// Melquiond, 2008) keeps what is lost in the last bit.
fn to_odd(value: i128) -> i128 {
    const LOST: i128 = (1 << 11) - 1;
    if value.unsigned_abs() <= 1 << 53 || value & LOST == 0 { value } else { (value & !LOST) | (LOST + 1) }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::value::Data;

    #[track_caller]
    fn check(from: impl Into<Data>, expected: impl Into<Data>) {
        let (from, expected) = (from.into(), expected.into());
        let value = cast(&Value::new(&[from.len()], from).unwrap(), expected.element());
        // NaN is not equal to itself, but prints alike.
        assert_eq!(format!("{:?}", value.data()), format!("{expected:?}"));
    }

    #[test]
    fn floats_become_integers_towards_zero_and_within_the_range() {
        check(vec![1.9f32, -1.9, 300.0, -300.0, f32::NAN, f32::INFINITY], vec![1i8, -1, 127, -128, 0, 127]);
        check(vec![-1.0f64, 255.5, 1e300], vec![0u8, 255, 255]);
        check(vec![f64::NEG_INFINITY, 2f64.powi(63)], vec![i64::MIN, i64::MAX]);
        check(vec![bf16::from_f32(-2.5)], vec![-2i32]);
    }

    #[test]
    fn integers_wrap() {
        check(vec![300i32, -1, 128], vec![44u8, 255, 128]);
        check(vec![u64::MAX, 1 << 63], vec![-1i64, i64::MIN]);
        check(vec![200u8], vec![-56i8]);
    }

    #[test]
    fn bools_are_what_is_not_zero() {
        check(vec![0.0f32, -0.0, 0.1, f32::NAN], vec![false, false, true, true]);
        check(vec![0i64, 256], vec![false, true]);
        check(vec![true, false], vec![1u8, 0]);
        check(vec![true, false], vec![f16::ONE, f16::ZERO]);
    }

    #[test]
    fn floats_round_to_nearest_even_once() {
        check(vec![1.0f32 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8)], vec![bf16::ONE, bf16::from_f32(1.015625)]);
        check(vec![f32::MAX, f32::NAN], vec![bf16::INFINITY, bf16::NAN]);
        check(vec![1e30f32, 65519.0, 65520.0], vec![f16::INFINITY, f16::MAX, f16::INFINITY]);
        // A hair above halfway between two neighbours is no tie; over f32 it would become one, and go down.
        let hair = 2f64.powi(-45);
        check(
            vec![1.0 + 2f64.powi(-11) + hair, -1.0 - 2f64.powi(-11) - hair],
            vec![f16::from_bits(0x3c01), f16::from_bits(0xbc01)],
        );
        check(vec![1.0 + 2f64.powi(-8) + hair, 1.0 + 2f64.powi(-8)], vec![bf16::from_bits(0x3f81), bf16::ONE]);
    }

    #[test]
    fn integers_beyond_53_bits_round_once() {
        let tie = (1i64 << 62) + (1 << 38);
        check(vec![tie, tie + 1, -tie - 1], vec![2f32.powi(62), 2f32.powi(62) + 2f32.powi(39), -2f32.powi(62) - 2f32.powi(39)]);
        check(vec![(1i64 << 53) + 1], vec![2f64.powi(53)]);
    }
}
