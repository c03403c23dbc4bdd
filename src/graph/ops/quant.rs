//! Quantisation: integers that stand for `(q - zero point) * scale`. Products of such integers are in `quant_product`.
//!
//! ONNX computes in the type of the scale, and a division that ends half way between integers rounds differently in another: so
//! each operation is rounded to that type, as [`in_type`] does.

use half::{bf16, f16};

use super::movement::sources;
use super::{Fact, Inputs, axis_of, not_of_type, quant_product, strides};
use crate::error::{Error, Result};
use crate::graph::Op;
use crate::value::{ElementType, Value};

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let x = inputs.get(0)?;
    match op {
        Op::QuantizeLinear { axis, block, output } => {
            if !is_scale(x.element) && x.element != ElementType::I32 {
                return Err(not_of_type("f32, f16, bf16 and i32 are quantised", x.element));
            }
            check_granularity(inputs, *axis, *block)?;
            let element = inputs.optional(2).map_or(*output, |zero| zero.element);
            if !matches!(element, ElementType::U8 | ElementType::I8 | ElementType::U16 | ElementType::I16) {
                return Err(Error::unsupported("output", format!("is {element}, but must be u8, i8, u16 or i16")));
            }
            Ok(vec![Fact::new(element, x.shape.clone())])
        }
        Op::DequantizeLinear { axis, block } => {
            let types = [ElementType::U8, ElementType::I8, ElementType::U16, ElementType::I16, ElementType::I32];
            if !types.contains(&x.element) {
                return Err(not_of_type("u8, i8, u16, i16 and i32 are dequantised", x.element));
            }
            check_granularity(inputs, *axis, *block)?;
            check_zero("zero_point", inputs.optional(2), x.element)?;
            Ok(vec![Fact::new(inputs.get(1)?.element, x.shape.clone())])
        }
        Op::DynamicQuantizeLinear => {
            if x.element != ElementType::F32 {
                return Err(not_of_type("f32 is quantised over its own range", x.element));
            }
            let (scale, zero) = (Fact::new(ElementType::F32, []), Fact::new(ElementType::U8, []));
            Ok(vec![Fact::new(ElementType::U8, x.shape.clone()), scale, zero])
        }
        _ => quant_product::infer(op, inputs),
    }
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let (x, Fact { element, shape, .. }) = (inputs.value(0), &results[0]);
    Ok(match op {
        Op::QuantizeLinear { axis, block, .. } => {
            let scale = inputs.value(1);
            let granules = granules(x.shape(), scale, *axis, *block)?;
            let (scales, zeros) = (scale.to_f64(), zeros(inputs, scale));
            let quantised = x.to_f64().into_iter().zip(granules).map(|(x, at)| {
                let quotient = in_type(scale.element(), x / scales[at]);
                saturated(*element, quotient, zeros[at])
            });
            vec![Value::from_ints(*element, shape, quantised.collect())]
        }
        Op::DequantizeLinear { axis, block } => {
            let scale = inputs.value(1);
            let granules = granules(x.shape(), scale, *axis, *block)?;
            let (scales, zeros) = (scale.to_f64(), zeros(inputs, scale));
            let products = x.to_i128().into_iter().zip(granules).map(|(x, at)| (x - zeros[at]) as f64 * scales[at]);
            vec![Value::from_floats(*element, shape, products.collect())]
        }
        Op::DynamicQuantizeLinear => dynamic(x),
        _ => quant_product::evaluate(op, inputs, results)?,
    })
}

/// The type of a scale.
pub(super) fn is_scale(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::F16 | ElementType::Bf16)
}

/// Refuses a zero point of another type than the numbers have that it is taken from.
pub(super) fn check_zero(name: &'static str, zero: Option<&Fact>, element: ElementType) -> Result<()> {
    match zero.filter(|zero| zero.element != element) {
        Some(zero) => Err(Error::invalid(name, format!("is {}, but the numbers are {element}", zero.element))),
        None => Ok(()),
    }
}

/// A number rounded to a floating-point type.
pub(super) fn in_type(element: ElementType, value: f64) -> f64 {
    match element {
        ElementType::F32 => f64::from(value as f32),
        ElementType::F16 => f16::from_f64(value).to_f64(),
        ElementType::Bf16 => bf16::from_f64(value).to_f64(),
        _ => value,
    }
}

/// `round(value) + zero` held in an integer type's range, halves to even; NaN counts as 0.
pub(super) fn saturated(element: ElementType, value: f64, zero: i128) -> i128 {
    let (least, most) = element.range().expect("infer() allows only integers");
    // Far beyond every type's range, but not so far that adding to it overflows.
    ((value.round_ties_even().clamp(-1e18, 1e18) as i128) + zero).clamp(least, most)
}

/// Checks that scales, and zero points where there are any, are one for all, for each coordinate of an axis, or for each block.
fn check_granularity(inputs: &Inputs, axis: i64, block: usize) -> Result<()> {
    let (x, scale) = (inputs.get(0)?, inputs.get(1)?);
    if !is_scale(scale.element) {
        return Err(Error::unsupported("scale", format!("is {}, but must be f32, f16 or bf16", scale.element)));
    }
    if let Some(zero) = inputs.optional(2)
        && zero.shape != scale.shape
        && (zero.len() != 1 || scale.len() != 1)
    {
        return Err(Error::invalid("zero_point", format!("has shape {:?}, but the scale {:?}", zero.shape, scale.shape)));
    }
    if scale.len() == 1 {
        return Ok(());
    }
    let axis = axis_of(axis, x.rank())?;
    let expected = if block == 0 {
        vec![x.shape[axis]]
    } else {
        let mut blocks = x.shape.clone();
        blocks[axis] = blocks[axis].div_ceil(block);
        blocks
    };
    if scale.shape == expected {
        return Ok(());
    }
    let message = format!("has shape {:?}, but one element or shape {expected:?} is needed", scale.shape);
    Err(Error::invalid("scale", message))
}

/// The index of each element's scale.
fn granules(x: &[usize], scale: &Value, axis: i64, block: usize) -> Result<Vec<usize>> {
    if x.contains(&0) {
        return Ok(Vec::new());
    }
    let mut steps = vec![0; x.len()];
    if scale.len() > 1 {
        let axis = axis_of(axis, x.len())?;
        if block == 0 {
            steps[axis] = 1;
        } else {
            steps = strides(scale.shape());
        }
        let place = |at_axis: usize, at: usize| if at_axis == axis { at / block.max(1) } else { at };
        let table = |(at_axis, &size): (usize, &usize)| (0..size).map(|at| Some(place(at_axis, at) * steps[at_axis])).collect();
        let tables: Vec<Vec<Option<usize>>> = x.iter().enumerate().map(table).collect();
        return Ok(sources(&tables).into_iter().flatten().collect());
    }
    Ok(vec![0; x.iter().product()])
}

/// One zero point for each scale.
fn zeros(inputs: &Inputs, scale: &Value) -> Vec<i128> {
    inputs.optional_value(2).map_or_else(|| vec![0; scale.len()], Value::to_i128)
}

/// Quantisation to u8 over the range of all numbers and 0, in f32 as ONNX defines it.
fn dynamic(x: &Value) -> Vec<Value> {
    let list = x.to_f32();
    let (least, most) = list.iter().fold((0f32, 0f32), |(least, most), &value| (least.min(value), most.max(value)));
    // Zeros only have no range: any scale will do.
    let scale = if least == most { 1.0 } else { (most - least) / 255.0 };
    // `as` turns NaN, of infinite ranges, into 0.
    let zero = (0.0 - least / scale).clamp(0.0, 255.0).round_ties_even() as u8;
    let quantised = list.iter().map(|value| saturated(ElementType::U8, (value / scale).into(), zero.into()));
    let y = Value::from_ints(ElementType::U8, x.shape(), quantised.collect());
    vec![y, Value::scalar(scale), Value::scalar(zero)]
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::value::Data;

    fn run(op: Op, inputs: &[Value]) -> Result<Vec<Value>> {
        evaluate(&op, &inputs.iter().map(|value| shared(value.clone())).collect::<Vec<_>>(), 1)
    }

    fn quantise(axis: i64, block: usize) -> Op {
        Op::QuantizeLinear { axis, block, output: ElementType::I8 }
    }

    fn floats(shape: &[usize], list: &[f32]) -> Value {
        Value::new(shape, list.to_vec()).unwrap()
    }

    #[test]
    fn quantisation_rounds_halves_to_even_and_saturates() {
        let x = floats(&[8], &[1.0, 3.0, -1.0, -3.0, 1e30, f32::NEG_INFINITY, f32::NAN, 255.0]);
        let y = run(quantise(0, 0), &[x.clone(), Value::scalar(2f32)]).unwrap();
        assert_eq!(y[0].data(), &Data::I8(vec![0, 2, 0, -2, 127, -128, 0, 127]));
        let y = run(quantise(0, 0), &[x, Value::scalar(2f32), Value::scalar(3u16)]).unwrap();
        assert_eq!(y[0].data(), &Data::U16(vec![3, 5, 3, 1, 65535, 0, 3, 131]));
        let y = run(quantise(0, 0), &[Value::new(&[2], vec![i32::MIN, 7]).unwrap(), Value::scalar(0f32)]).unwrap();
        assert_eq!(y[0].data(), &Data::I8(vec![-128, 127]));
    }

    #[test]
    fn the_quotient_is_rounded_in_the_type_of_the_scale() {
        // 2.5 / 0.09998 is 25.005 in f32, but 25.0 in f16, whose neighbours there are 1/64 apart.
        let x = floats(&[1], &[2.5]);
        let scale = Value::new(&[], vec![f16::from_f32(0.1)]).unwrap();
        let exact = 2.5 / f64::from(f16::from_f32(0.1));
        assert_ne!(in_type(ElementType::F16, exact), exact);
        assert_eq!(run(quantise(0, 0), &[x, scale]).unwrap()[0].to_f64(), [25.0]);
    }

    #[test]
    fn scales_are_for_all_for_an_axis_or_for_blocks() {
        let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        for (axis, block, scale, expected) in [
            (1, 0, floats(&[1], &[1.0]), [1, 2, 3, 4, 5, 6]),
            (0, 0, floats(&[2], &[1.0, 0.5]), [1, 2, 3, 8, 10, 12]),
            (-1, 0, floats(&[3], &[1.0, 0.5, 0.25]), [1, 4, 12, 4, 10, 24]),
            (1, 2, floats(&[2, 2], &[1.0, 0.5, 0.25, 0.125]), [1, 2, 6, 16, 20, 48]),
            (0, usize::MAX, floats(&[1, 3], &[1.0, 0.5, 0.25]), [1, 4, 12, 4, 10, 24]),
        ] {
            let y = run(quantise(axis, block), &[x.clone(), scale.clone()]).unwrap().remove(0);
            assert_eq!(y.data(), &Data::I8(expected.to_vec()), "axis {axis} block {block}");
            let back = run(Op::DequantizeLinear { axis, block }, &[y, scale]).unwrap().remove(0);
            assert_eq!(back, x, "axis {axis} block {block}");
        }
    }

    #[test]
    fn dequantisation_takes_the_zero_point_away_first() {
        let x = Value::new(&[2], vec![0u8, 255]).unwrap();
        let y = run(Op::DequantizeLinear { axis: 1, block: 0 }, &[x, Value::scalar(0.5f32), Value::scalar(128u8)]).unwrap();
        assert_eq!(y[0].data(), &Data::F32(vec![-64.0, 63.5]));
    }

    #[test]
    fn dynamic_quantisation_covers_the_range_and_zero() {
        let run = |list: &[f32]| run(Op::DynamicQuantizeLinear, &[floats(&[list.len()], list)]).unwrap();
        let [y, scale, zero] = run(&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]).try_into().unwrap();
        assert_eq!(y.data(), &Data::U8(vec![153, 255, 0, 26, 221, 179]));
        assert_eq!((scale.data(), zero.data()), (&Data::F32(vec![5.0 / 255.0]), &Data::U8(vec![153])));
        assert_eq!(run(&[510.0, 255.0])[0].data(), &Data::U8(vec![255, 128]));
        assert_eq!(run(&[0.0])[1].data(), &Data::F32(vec![1.0]));
        assert_eq!(run(&[])[2].data(), &Data::U8(vec![0]));
        assert_eq!(run(&[f32::NEG_INFINITY, f32::NAN, 1.0])[0].len(), 3);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, scale) = (floats(&[2, 3], &[0.0; 6]), Value::scalar(1f32));
        let check = |op: Op, inputs: &[Value], field: &str| {
            assert_eq!(run(op.clone(), inputs).unwrap_err().field(), Some(field), "{op:?}");
        };
        check(quantise(0, 0), &[x.clone(), floats(&[3], &[1.0; 3])], "scale");
        check(quantise(0, 1), &[x.clone(), floats(&[2], &[1.0; 2])], "scale");
        check(quantise(i64::MIN, 0), &[x.clone(), floats(&[3], &[1.0; 3])], "axis");
        check(quantise(0, 0), &[x.clone(), Value::scalar(1f64)], "scale");
        check(quantise(0, 0), &[x.clone(), scale.clone(), Value::new(&[2], vec![0u8; 2]).unwrap()], "zero_point");
        check(quantise(0, 0), &[x.clone(), scale.clone(), Value::scalar(0i32)], "output");
        check(quantise(0, 0), &[Value::list(&[1]), scale.clone()], "input");
        check(quantise(0, 0), std::slice::from_ref(&x), "input");
        let dequantise = Op::DequantizeLinear { axis: 0, block: 0 };
        check(dequantise.clone(), &[x.clone(), scale.clone()], "input");
        check(dequantise, &[Value::scalar(1u8), scale, Value::scalar(1i8)], "zero_point");
        check(Op::DynamicQuantizeLinear, &[Value::list(&[1])], "input");
    }
}
