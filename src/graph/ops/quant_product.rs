//! Convolutions and matrix products of quantised numbers: exact sums of integers from which their zero points are taken off, and
//! then scaled to the result's own quantisation.

use super::layers::{matmul, matmul_operands, of_items};
use super::quant::{check_zero, in_type, is_scale, saturated};
use super::{Fact, Inputs, broadcast, broadcast_strides, conv_desc, each, index_of, matmul_shape, not_of_type};
use crate::desc::PaddingMode;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::graph::{ConvOp, Op};
use crate::parallel;
use crate::problem::Problem;
use crate::tensor_desc::TensorDesc;
use crate::value::{ElementType, Value, elements};

/// Where an operation has its operands.
struct Places {
    /// The second factor.
    right: usize,
    /// Zero points of the factors.
    zeros: [usize; 2],
    /// What the sums become; `None` leaves them.
    scales: Option<Scales>,
}

/// Scales of the factors and of the result, the result's zero point, and a bias.
struct Scales {
    factors: [usize; 2],
    result: usize,
    zero: usize,
    bias: Option<usize>,
}

impl Places {
    fn of(op: &Op) -> Self {
        let scales = |bias| Some(Scales { factors: [1, 4], result: 6, zero: 7, bias });
        match op {
            Op::QLinearConv(_) => Places { right: 3, zeros: [2, 5], scales: scales(Some(8)) },
            Op::QLinearMatMul => Places { right: 3, zeros: [2, 5], scales: scales(None) },
            Op::ConvInteger(_) | Op::MatMulInteger => Places { right: 1, zeros: [2, 3], scales: None },
            _ => unreachable!("{op:?} is of another family"),
        }
    }
}

/// The shape of the sums and of what broadcasts to them.
struct Shapes {
    /// The factors, vectors of a matrix product as matrices.
    factors: [Vec<usize>; 2],
    /// The sums, likewise.
    sums: Vec<usize>,
    /// The result.
    result: Vec<usize>,
    geometry: Option<Geometry>,
}

impl Shapes {
    fn of(op: &Op, left: &[usize], right: &[usize]) -> Result<Self> {
        match op {
            Op::QLinearConv(conv) | Op::ConvInteger(conv) => {
                let sums = of_items(left, |left| Ok(geometry(conv, left, right)?.output_shape()))?;
                // No sum of a batch of nothing is formed by it.
                let geometry = geometry(conv, &[&[left[0].max(1)], &left[1..]].concat(), right)?;
                Ok(Shapes { factors: [left.to_vec(), right.to_vec()], result: sums.clone(), sums, geometry: Some(geometry) })
            }
            _ => {
                let (a, b) = matmul_operands(left, right);
                let result = matmul_shape(left, right)?;
                Ok(Shapes { sums: matmul_shape(&a, &b)?, factors: [a, b], result, geometry: None })
            }
        }
    }

    /// The shape with which scales or zero points of a factor broadcast: one for all, for each row of `a`, for each column of `b`,
    /// for each filter of a convolution.
    fn of_parameter(&self, name: &'static str, factor: usize, given: &[usize]) -> Result<Vec<usize>> {
        if elements(given) == Some(1) {
            return Ok(Vec::new());
        }
        let whole = &self.factors[factor];
        let rank = whole.len();
        let misfit = || Error::invalid(name, format!("has shape {given:?}, which does not fit numbers of shape {whole:?}"));
        let (shape, reduced) = match (&self.geometry, factor) {
            // One list, along the filters; of the input there is only one.
            (Some(_), 1) if given == [whole[0]] => return Ok([given, &vec![1; rank - 1]].concat()),
            (Some(_), _) => return Err(misfit()),
            (None, 0) if given.len() == 1 => (vec![given[0], 1], rank - 1),
            (None, 0) => (given.to_vec(), rank - 1),
            (None, _) => (given.to_vec(), rank - 2),
        };
        // Along the sum there can be only one, or it could not be taken out of the sum.
        let at = (reduced + shape.len()).checked_sub(rank);
        if broadcast(&[&shape, whole]).is_ok_and(|both| both == *whole) && at.is_none_or(|at| shape[at] == 1) {
            Ok(shape)
        } else {
            Err(misfit())
        }
    }
}

fn geometry(conv: &ConvOp, x: &[usize], weight: &[usize]) -> Result<Geometry> {
    if conv.transposed || conv.padding_mode != PaddingMode::Zeros {
        return Err(Error::unsupported("padding_mode", "is not zeros, or the convolution is transposed: not for integers"));
    }
    Geometry::new(&Problem::conv(&conv_desc(conv, x, weight, false)?, &TensorDesc::f32(x)))
}

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let places = Places::of(op);
    let factors = [inputs.get(0)?, inputs.get(places.right)?];
    let shapes = Shapes::of(op, &factors[0].shape, &factors[1].shape)?;
    for (factor, fact) in factors.iter().enumerate() {
        if !matches!(fact.element, ElementType::U8 | ElementType::I8) {
            return Err(not_of_type("u8 and i8 are multiplied", fact.element));
        }
        let zero = inputs.optional(places.zeros[factor]);
        check_zero("zero_point", zero, fact.element)?;
        if let Some(zero) = zero {
            shapes.of_parameter("zero_point", factor, &zero.shape)?;
        }
    }
    let Some(scales) = places.scales else {
        return Ok(vec![Fact::new(ElementType::I32, shapes.result)]);
    };
    let (y_scale, y_zero) = (inputs.get(scales.result)?, inputs.get(scales.zero)?);
    for (factor, index) in scales.factors.into_iter().enumerate() {
        let scale = inputs.get(index)?;
        shapes.of_parameter("scale", factor, &scale.shape)?;
        inputs.get(places.zeros[factor])?;
        if !is_scale(scale.element) || scale.element != y_scale.element {
            let types = format!("is {} and the result's {}, but must be one of f32, f16, bf16", scale.element, y_scale.element);
            return Err(Error::invalid("scale", types));
        }
    }
    if y_scale.len() != 1 || y_zero.len() != 1 {
        let shapes = format!("and zero point have shapes {:?} and {:?}, but must be one number", y_scale.shape, y_zero.shape);
        return Err(Error::invalid("result_scale", shapes));
    }
    if !matches!(y_zero.element, ElementType::U8 | ElementType::I8) {
        return Err(Error::unsupported("result_zero_point", format!("is {}, but must be u8 or i8", y_zero.element)));
    }
    let channels = shapes.sums.get(1).copied();
    if let Some(bias) = scales.bias.and_then(|bias| inputs.optional(bias))
        && (bias.element != ElementType::I32 || bias.rank() != 1 || bias.shape.first().copied() != channels)
    {
        let message = format!("is {} of shape {:?}, but must be i32 for each output channel", bias.element, bias.shape);
        return Err(Error::invalid("bias", message));
    }
    Ok(vec![Fact::new(y_zero.element, shapes.result)])
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let places = Places::of(op);
    let factors = [inputs.value(0), inputs.value(places.right)];
    let shapes = Shapes::of(op, factors[0].shape(), factors[1].shape())?;
    let Fact { element, shape, .. } = &results[0];
    let centred = |factor: usize| -> Result<Vec<i128>> {
        let list = factors[factor].to_i128();
        let Some(zero) = inputs.optional_value(places.zeros[factor]) else {
            return Ok(list);
        };
        let (zeros, whole) = (zero.to_i128(), &shapes.factors[factor]);
        let strides = broadcast_strides(&shapes.of_parameter("zero_point", factor, zero.shape())?, whole);
        let zeros = each(whole, |at| zeros[index_of(at, &strides)]);
        Ok(list.into_iter().zip(zeros).map(|(number, zero)| number - zero).collect())
    };
    let (left, right) = (centred(0)?, centred(1)?);
    let sums = match &shapes.geometry {
        Some(geometry) => convolved(geometry, &left, &right),
        None => {
            let value = |factor: usize, list| Value::from_ints(ElementType::I64, &shapes.factors[factor], list);
            matmul(&value(0, left), &value(1, right), &Fact::new(ElementType::I64, shapes.sums.clone()))?.to_i128()
        }
    };
    let Some(scales) = places.scales else {
        return Ok(vec![Value::from_ints(*element, shape, sums)]);
    };
    let parameter = |factor: usize| -> Result<(Vec<f64>, Vec<usize>)> {
        let scale = inputs.value(scales.factors[factor]);
        let mut own = shapes.of_parameter("scale", factor, scale.shape())?;
        if shapes.geometry.is_some() && own.len() > 1 {
            // What is a filter in the weights is a channel of the result.
            own.swap(0, 1);
        }
        Ok((scale.to_f64(), broadcast_strides(&own, &shapes.sums)))
    };
    let ((left, left_strides), (right, right_strides)) = (parameter(0)?, parameter(1)?);
    let (y_scale, y_zero) = (inputs.value(scales.result), inputs.value(scales.zero).to_i128()[0]);
    let (scale_type, divisor) = (y_scale.element(), y_scale.to_f64()[0]);
    let bias = scales.bias.and_then(|bias| inputs.optional_value(bias)).map(Value::to_i128);
    let mut sums = sums.into_iter();
    let list = each(&shapes.sums, |at| {
        let sum = sums.next().unwrap_or(0) + bias.as_ref().map_or(0, |bias| bias[at[1]]);
        let product = in_type(scale_type, left[index_of(at, &left_strides)] * right[index_of(at, &right_strides)]);
        saturated(*element, sum as f64 * in_type(scale_type, product / divisor), y_zero)
    });
    Ok(vec![Value::from_ints(*element, shape, list)])
}

/// A convolution of integers; what is outside of the input is 0.
fn convolved(geometry: &Geometry, x: &[i128], weight: &[i128]) -> Vec<i128> {
    // Differences of bytes: 64 bits hold the sum of as many products as memory has elements.
    let narrow = |list: &[i128]| -> Vec<i64> { list.iter().map(|&number| number as i64).collect() };
    let (x, weight) = (narrow(x), narrow(weight));
    let size = |value: u32| value as usize;
    let [depth, height, width] = geometry.input.map(size);
    let [_, taps_h, taps_w] = geometry.kernel.map(size);
    let (group_in, group_out) = (size(geometry.group_in()), size(geometry.group_out()));
    let (plane, taps) = (depth * height * width, geometry.taps() as usize);
    let output = geometry.output.map(size);
    let channels = size(geometry.out_channels);
    let one = |index: usize| -> i128 {
        let place = [index / output[2] / output[1] % output[0], index / output[2] % output[1], index % output[2]];
        let (o, n) = (index / output.iter().product::<usize>() % channels, index / output.iter().product::<usize>() / channels);
        // The taps of each axis that meet an input, and which.
        let [depths, rows, columns]: [Vec<(usize, usize)>; 3] = std::array::from_fn(|axis| {
            let meets = |tap| geometry.source(axis, place[axis] as u32, tap).map(|at| (size(tap), size(at)));
            (0..geometry.kernel[axis]).filter_map(meets).collect()
        });
        let mut sum = 0i64;
        for c in 0..group_in {
            let channel = n * size(geometry.in_channels) + o / group_out * group_in + c;
            let (x, filter) = (&x[channel * plane..][..plane], &weight[(o * group_in + c) * taps..][..taps]);
            for &(tap_d, d) in &depths {
                for &(tap_h, h) in &rows {
                    for &(tap_w, w) in &columns {
                        sum += x[(d * height + h) * width + w] * filter[(tap_d * taps_h + tap_h) * taps_w + tap_w];
                    }
                }
            }
        }
        sum.into()
    };
    parallel::collect(geometry.output_elements() as usize, one)
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::graph::Pads;
    use crate::value::Data;

    fn run(op: Op, inputs: &[Value]) -> Result<Value> {
        Ok(evaluate(&op, &inputs.iter().map(|value| shared(value.clone())).collect::<Vec<_>>(), 1)?.remove(0))
    }

    fn u8s(shape: &[usize], list: &[u8]) -> Value {
        Value::new(shape, list.to_vec()).unwrap()
    }

    fn i8s(shape: &[usize], list: &[i8]) -> Value {
        Value::new(shape, list.to_vec()).unwrap()
    }

    fn f32s(list: &[f32]) -> Value {
        Value::new(&[list.len()], list.to_vec()).unwrap()
    }

    #[test]
    fn a_matrix_product_takes_zero_points_off_rows_and_columns() {
        let (a, b) = (u8s(&[2, 2], &[11, 12, 23, 24]), i8s(&[2, 2], &[1, -1, 2, -2]));
        // a - zero = [1 2; 3 4], b - zero = [1 -2; 2 -3].
        let inputs = [a, b, u8s(&[2], &[10, 20]), i8s(&[2], &[0, 1])];
        assert_eq!(run(Op::MatMulInteger, &inputs).unwrap().data(), &Data::I32(vec![5, -8, 11, -18]));
        let [a, b, ..] = inputs;
        let inputs = [a, b, u8s(&[2, 1], &[10, 20]), i8s(&[1, 2], &[0, 1])];
        assert_eq!(run(Op::MatMulInteger, &inputs).unwrap().data(), &Data::I32(vec![5, -8, 11, -18]));
        let vectors = [u8s(&[2], &[255, 255]), u8s(&[2], &[255, 255])];
        let value = run(Op::MatMulInteger, &vectors).unwrap();
        assert_eq!((value.shape(), value.data()), (&[][..], &Data::I32(vec![130_050])));
    }

    #[test]
    fn a_quantised_matrix_product_is_scaled_rounded_and_saturated() {
        let (a, b) = (u8s(&[2, 1], &[1, 3]), u8s(&[1, 3], &[1, 3, 200]));
        let zero = u8s(&[1], &[0]);
        // Sums 1 3 200 and 3 9 600, rows by 1/2 and 1.
        let inputs = [a, f32s(&[0.5, 1.0]), zero.clone(), b, f32s(&[1.0]), zero.clone(), f32s(&[1.0]), u8s(&[1], &[1])];
        assert_eq!(run(Op::QLinearMatMul, &inputs).unwrap().data(), &Data::U8(vec![1, 3, 101, 4, 10, 255]));
    }

    #[test]
    fn a_convolution_of_integers_is_padded_with_the_zero_point() {
        let conv = ConvOp { padding: Pads::Explicit(vec![1, 1]), groups: 2, ..ConvOp::default() };
        let x = u8s(&[1, 2, 2], &[11, 12, 13, 14]);
        let weight = i8s(&[2, 1, 2], &[1, 2, 3, 5]);
        // Less their zero points: x = [1 2] and [3 4], weights [1 2] and [2 4].
        let inputs = [x.clone(), weight.clone(), u8s(&[], &[10]), i8s(&[2], &[0, 1])];
        let sums = [2, 5, 2, 12, 22, 8];
        assert_eq!(run(Op::ConvInteger(conv.clone()), &inputs).unwrap().data(), &Data::I32(sums.to_vec()));
        let nothing = run(Op::ConvInteger(conv.clone()), &[u8s(&[0, 2, 2], &[]), weight.clone()]).unwrap();
        assert_eq!((nothing.shape(), nothing.len()), (&[0, 2, 3][..], 0));
        let [.., x_zero, weight_zero] = inputs;
        let scale = |value| Value::scalar(value);
        let inputs = [
            x,
            scale(0.5f32),
            x_zero,
            weight,
            f32s(&[1.0, 2.0]),
            weight_zero,
            scale(1f32),
            Value::scalar(-10i8),
            Value::new(&[2], vec![0, 1000]).unwrap(),
        ];
        // Halves: 1 2.5 1, all with -10; the second channel is above the range.
        let value = run(Op::QLinearConv(conv), &inputs).unwrap();
        assert_eq!(value.data(), &Data::I8(vec![-9, -8, -9, 127, 127, 127]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |op: Op, inputs: &[Value], field: &str| {
            assert_eq!(run(op.clone(), inputs).unwrap_err().field(), Some(field), "{op:?} of {}", inputs.len());
        };
        let (a, b) = (u8s(&[2, 3], &[0; 6]), u8s(&[3, 2], &[0; 6]));
        let (one, zero) = (f32s(&[1.0]), u8s(&[1], &[0]));
        check(Op::MatMulInteger, &[a.clone(), a.clone()], "b");
        check(Op::MatMulInteger, &[a.clone(), Value::zeros(ElementType::F32, &[3, 2])], "input");
        for shape in [&[3][..], &[1, 3], &[2, 3], &[2, 1, 1], &[0]] {
            check(Op::MatMulInteger, &[a.clone(), b.clone(), Value::zeros(ElementType::U8, shape)], "zero_point");
        }
        check(Op::MatMulInteger, &[a.clone(), b.clone(), i8s(&[1], &[0])], "zero_point");
        let full = |y_scale: Value, y_zero: Value| {
            [a.clone(), one.clone(), zero.clone(), b.clone(), one.clone(), zero.clone(), y_scale, y_zero]
        };
        check(Op::QLinearMatMul, &full(one.clone(), Value::scalar(0i32)), "result_zero_point");
        check(Op::QLinearMatMul, &full(f32s(&[1.0; 2]), zero.clone()), "result_scale");
        check(Op::QLinearMatMul, &full(Value::scalar(1f64), zero.clone()), "scale");
        check(Op::QLinearMatMul, &full(one.clone(), zero.clone())[..7], "input");
        let (x, weight) = (u8s(&[1, 1, 4], &[0; 4]), u8s(&[2, 1, 2], &[0; 4]));
        let conv = ConvOp::default;
        check(Op::ConvInteger(conv()), &[x.clone(), weight.clone(), u8s(&[2], &[0; 2])], "zero_point");
        check(Op::ConvInteger(ConvOp { stride: vec![0], ..conv() }), &[x.clone(), weight.clone()], "stride");
        check(Op::ConvInteger(ConvOp { transposed: true, ..conv() }), &[x.clone(), weight.clone()], "padding_mode");
        check(Op::ConvInteger(ConvOp { groups: usize::MAX, ..conv() }), &[x, weight], "groups");
    }
}
