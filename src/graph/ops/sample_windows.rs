//! Windows other than a convolution's: deformed ones, columns summed into an image, and those that reach into what came before.

use super::sample::{bilinear, image};
use super::{Fact, Inputs, conv_desc};
use crate::desc::PaddingMode;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::graph::{ConvOp, Op, Pads};
use crate::parallel;
use crate::problem::Problem;
use crate::tensor_desc::TensorDesc;
use crate::value::Value;

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let x = inputs.get(0)?;
    match op {
        Op::DeformConv { conv, offset_groups } => {
            let geometry = deformed(conv, inputs)?;
            let (&[batch, channels, ..], shape) = (image(&x.shape)?, geometry.output_shape());
            if *offset_groups == 0 || !channels.is_multiple_of(*offset_groups) {
                let message = format!("are {offset_groups}, which do not divide {channels} channels");
                return Err(Error::invalid("offset_groups", message));
            }
            // No overflow: no more groups than channels, and so no more than the input or the weights have elements.
            let taps = offset_groups * geometry.taps() as usize;
            check_operand("offset", inputs.get(2)?, x, &[batch, 2 * taps, shape[2], shape[3]])?;
            if let Some(bias) = inputs.optional(3) {
                check_operand("bias", bias, x, &shape[1..2])?;
            }
            if let Some(mask) = inputs.optional(4) {
                check_operand("mask", mask, x, &[batch, taps, shape[2], shape[3]])?;
            }
            Ok(vec![Fact::new(x.element, shape)])
        }
        Op::Col2Im { .. } => {
            let (columns, shape) = columns(op, inputs)?;
            let block = columns.taps() as usize;
            let &[batch, rows, positions] = x.shape.as_slice() else {
                return Err(Error::invalid("input", format!("has shape {:?}, but must have 3 axes", x.shape)));
            };
            if positions as u64 != columns.output_plane() || !rows.is_multiple_of(block) {
                let message = format!(
                    "has shape {:?}, but blocks of {block} elements at {} places need a multiple and as many",
                    x.shape,
                    columns.output_plane()
                );
                return Err(Error::invalid("input", message));
            }
            Ok(vec![Fact::new(x.element, [&[batch, rows / block], shape.as_slice()].concat())])
        }
        Op::CausalConvWithState { .. } => {
            let weight = inputs.get(1)?;
            let &[batch, channels, _] = x.shape.as_slice() else {
                return Err(Error::invalid("input", format!("has shape {:?}, but must have 3 axes", x.shape)));
            };
            let kernel = weight.shape.last().copied().unwrap_or(0);
            check_operand("weight", weight, x, &[channels, 1, kernel])?;
            let before = kernel.checked_sub(1).ok_or_else(|| Error::invalid("weight", "has no taps"))?;
            if let Some(bias) = inputs.optional(2) {
                check_operand("bias", bias, x, &[channels])?;
            }
            let state = [batch, channels, before];
            if let Some(past) = inputs.optional(3) {
                check_operand("state", past, x, &state)?;
            }
            Ok(vec![Fact::new(x.element, x.shape.clone()), Fact::new(x.element, state)])
        }
        _ => unreachable!("{op:?} is of another family"),
    }
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let Fact { element, shape, .. } = &results[0];
    let one = |list| vec![Value::from_floats(*element, shape, list)];
    match op {
        _ if results.iter().all(|fact| fact.len() == 0) => {
            Ok(results.iter().map(|fact| Value::zeros(fact.element, &fact.shape)).collect())
        }
        Op::DeformConv { conv, offset_groups } => Ok(one(deform_conv(&deformed(conv, inputs)?, *offset_groups, inputs))),
        Op::Col2Im { .. } => Ok(one(col2im(&columns(op, inputs)?.0, inputs.value(0)))),
        _ => Ok(causal(op, inputs, results)),
    }
}

/// Refuses an operand of another shape, or of another type than the input.
fn check_operand(name: &'static str, fact: &Fact, x: &Fact, shape: &[usize]) -> Result<()> {
    if fact.element == x.element && fact.shape == shape {
        return Ok(());
    }
    let message = format!("is {} of shape {:?}, but must be {} of {shape:?}", fact.element, fact.shape, x.element);
    Err(Error::invalid(name, message))
}

/// The geometry of the convolution that is deformed.
fn deformed(conv: &ConvOp, inputs: &Inputs) -> Result<Geometry> {
    let (x, weight) = (inputs.get(0)?, inputs.get(1)?);
    image(&x.shape)?;
    if conv.transposed || conv.padding_mode != PaddingMode::Zeros {
        return Err(Error::unsupported(
            "padding_mode",
            "is not zeros, or the convolution is transposed: not where it is deformed",
        ));
    }
    check_operand("weight", weight, x, &weight.shape)?;
    Geometry::new(&Problem::conv(&conv_desc(conv, &x.shape, &weight.shape, false)?, &TensorDesc::f32(&x.shape)))
}

/// `sum over channels and taps of weight * mask * x(place + offset)`, bilinear with zeros outside.
fn deform_conv(geometry: &Geometry, offset_groups: usize, inputs: &Inputs) -> Vec<f64> {
    let size = |value: u32| value as usize;
    let ([_, height, width], [_, rows, columns]) = (geometry.input.map(size), geometry.output.map(size));
    let (taps, taps_w, places) = (geometry.taps() as usize, size(geometry.kernel[2]), rows * columns);
    let (channels, group_in, group_out) = (size(geometry.in_channels), size(geometry.group_in()), size(geometry.group_out()));
    let lists: Vec<Option<Vec<f64>>> = (0..5).map(|index| inputs.optional_value(index).map(Value::to_f64)).collect();
    let [x, weight, offset] = [0, 1, 2].map(|index| lists[index].as_deref().unwrap_or_default());
    let (bias, mask) = (lists[3].as_deref(), lists[4].as_deref());
    // Where a tap would meet the input if nothing deformed it.
    let place = |axis: usize, o: usize, tap: usize| {
        (o * size(geometry.stride[axis]) + tap * size(geometry.dilation[axis])) as f64 - f64::from(geometry.pad_begin[axis])
    };
    let mut result = Vec::with_capacity(geometry.output_elements() as usize);
    for item in 0..size(geometry.batch) {
        // What the taps meet, `[channels, taps, places]`: the same for all filters.
        let met: Vec<f64> = parallel::collect(channels * taps * places, |index| {
            let (channel, tap, at) = (index / places / taps, index / places % taps, index % places);
            let group = item * offset_groups + channel / (channels / offset_groups);
            let shift = |axis: usize| offset[((group * taps + tap) * 2 + axis) * places + at];
            let position = [place(1, at / columns, tap / taps_w) + shift(0), place(2, at % columns, tap % taps_w) + shift(1)];
            let plane = &x[(item * channels + channel) * height * width..];
            let sum: f64 = bilinear([height, width], position).into_iter().map(|(at, weight)| plane[at] * weight).sum();
            sum * mask.map_or(1.0, |mask| mask[(group * taps + tap) * places + at])
        });
        let outputs = parallel::collect(size(geometry.out_channels) * places, |index| {
            let (o, at) = (index / places, index % places);
            let terms = (0..group_in * taps)
                .map(|term| weight[o * group_in * taps + term] * met[(o / group_out * group_in * taps + term) * places + at]);
            terms.sum::<f64>() + bias.map_or(0.0, |bias| bias[o])
        });
        result.extend(outputs);
    }
    result
}

/// The geometry of a convolution over one channel of the image that the columns are summed into, and the image's shape.
fn columns(op: &Op, inputs: &Inputs) -> Result<(Geometry, Vec<usize>)> {
    let Op::Col2Im { dilation, pads, stride } = op else { unreachable!("{op:?} has no columns") };
    let sizes = |index, name: &'static str| -> Result<Vec<usize>> {
        let list = inputs.ints(index, name)?;
        let sizes: Option<Vec<usize>> = list.iter().map(|&size| usize::try_from(size).ok()).collect();
        sizes.ok_or_else(|| Error::invalid(name, format!("is {list:?}")))
    };
    let (image, block) = (sizes(1, "image_shape")?, sizes(2, "block_shape")?);
    let conv =
        ConvOp { dilation: dilation.clone(), stride: stride.clone(), padding: Pads::Explicit(pads.clone()), ..ConvOp::default() };
    let (x, weight) = ([&[1, 1], image.as_slice()].concat(), [&[1, 1], block.as_slice()].concat());
    let desc = conv_desc(&conv, &x, &weight, false)?;
    Ok((Geometry::new(&Problem::conv(&desc, &TensorDesc::f32(&x)))?, image))
}

/// Adds each element of the columns to that of the image which the window had read it from.
fn col2im(geometry: &Geometry, x: &Value) -> Vec<f64> {
    let size = |value: u32| value as usize;
    let ([taps_d, taps_h, taps_w], [_, rows, columns]) = (geometry.kernel, geometry.output.map(size));
    let [_, height, width] = geometry.input.map(size);
    let places = geometry.output_plane() as usize;
    let (x, block) = (x.to_f64(), geometry.taps() as usize * places);
    let image = |number: usize| {
        let mut image = vec![0.0; geometry.input_plane() as usize];
        let taps = (0..taps_d).flat_map(|d| (0..taps_h).flat_map(move |h| (0..taps_w).map(move |w| [d, h, w])));
        for (tap, row) in taps.zip(x[number * block..].chunks(places)) {
            for (at, value) in row.iter().enumerate() {
                let place = [at / columns / rows, at / columns % rows, at % columns];
                let source = |axis: usize| geometry.source(axis, place[axis] as u32, tap[axis]).map(size);
                if let (Some(d), Some(h), Some(w)) = (source(0), source(1), source(2)) {
                    image[(d * height + h) * width + w] += value;
                }
            }
        }
        image
    };
    parallel::collect(x.len() / block, image).concat()
}

/// Each channel by its own kernel, whose last tap is at the output's place, over the state and then the input.
fn causal(op: &Op, inputs: &Inputs, results: &[Fact]) -> Vec<Value> {
    let Op::CausalConvWithState { activation } = op else { unreachable!("{op:?} has no state") };
    let [x, weight] = [0, 1].map(|index| inputs.value(index).to_f64());
    let [bias, past] = [2, 3].map(|index| inputs.optional_value(index).map(Value::to_f64));
    let (length, channels, before) = (results[0].shape[2], results[0].shape[1], results[1].shape[2]);
    let (mut y, mut state) = (Vec::with_capacity(results[0].len()), Vec::with_capacity(results[1].len()));
    for row in 0..results[0].shape[0] * channels {
        let mut line = past.as_ref().map_or_else(|| vec![0.0; before], |past| past[row * before..][..before].to_vec());
        line.extend(&x[row * length..][..length]);
        let kernel = &weight[row % channels * (before + 1)..][..before + 1];
        let bias = bias.as_ref().map_or(0.0, |bias| bias[row % channels]);
        let sum = |window: &[f64]| window.iter().zip(kernel).map(|(x, weight)| x * weight).sum::<f64>() + bias;
        y.extend(line.windows(before + 1).map(|window| activation.apply(sum(window), 0.0)));
        state.extend(&line[length..]);
    }
    let values = [y, state].into_iter().zip(results);
    values.map(|(list, fact)| Value::from_floats(fact.element, &fact.shape, list)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::activation::Activation;

    fn run(op: Op, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        evaluate(&op, &inputs.iter().map(|value| value.clone().and_then(shared)).collect::<Vec<_>>(), 1)
    }

    fn floats(shape: &[usize], list: &[f32]) -> Option<Value> {
        Some(Value::new(shape, list.to_vec()).unwrap())
    }

    fn list(numbers: &[i64]) -> Option<Value> {
        Some(Value::list(numbers))
    }

    fn check_refused(op: Op, inputs: &[Option<Value>], field: &str) {
        assert_eq!(run(op.clone(), inputs).unwrap_err().field(), Some(field), "{op:?}");
    }

    #[test]
    fn a_deformed_tap_reads_between_elements_and_zero_outside() {
        let op = |offset_groups| Op::DeformConv { conv: ConvOp::default(), offset_groups };
        let (x, weight) = (floats(&[1, 1, 1, 4], &[1.0, 2.0, 4.0, 8.0]), floats(&[1, 1, 1, 1], &[10.0]));
        let offset = floats(&[1, 2, 1, 4], &[0.0, 0.0, 0.0, f32::NAN, 0.5, 0.0, 2.0, 0.0]);
        let plain = run(op(1), &[x.clone(), weight.clone(), offset.clone()]).unwrap();
        assert_eq!(plain[0].to_f64(), [15.0, 20.0, 0.0, 0.0]);
        let mask = floats(&[1, 1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
        let inputs = [x, weight, offset, floats(&[1], &[1.0]), mask];
        assert_eq!(run(op(1), &inputs).unwrap()[0].to_f64(), [16.0, 41.0, 1.0, 1.0]);
        check_refused(op(0), &inputs, "offset_groups");
        check_refused(op(2), &inputs, "offset_groups");
        let [x, weight, offset, bias, _] = inputs;
        check_refused(op(1), &[x.clone(), weight.clone(), floats(&[1, 1, 1, 4], &[0.0; 4])], "offset");
        check_refused(op(1), &[x.clone(), weight.clone(), offset.clone(), floats(&[2], &[0.0; 2])], "bias");
        check_refused(op(1), &[x.clone(), weight, offset, bias, floats(&[1, 2, 1, 2], &[1.0; 4])], "mask");
    }

    #[test]
    fn offsets_and_weights_belong_to_their_groups() {
        let conv = ConvOp { groups: 2, ..ConvOp::default() };
        let inputs = [
            floats(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0]),
            floats(&[2, 1, 1, 1], &[1.0, 10.0]),
            // Rows of each group, then columns: the first looks one to the right, the second one to the left.
            floats(&[1, 4, 1, 2], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, -1.0, -1.0]),
        ];
        assert_eq!(run(Op::DeformConv { conv, offset_groups: 2 }, &inputs).unwrap()[0].to_f64(), [2.0, 0.0, 0.0, 30.0]);
    }

    #[test]
    fn columns_are_summed_where_windows_overlap() {
        let op = |stride: &[usize], pads: &[usize]| Op::Col2Im { dilation: vec![], pads: pads.to_vec(), stride: stride.to_vec() };
        let x = floats(&[1, 2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        let image = |op, image: &[i64]| run(op, &[x.clone(), list(image), list(&[2])]);
        assert_eq!(image(op(&[], &[]), &[4]).unwrap()[0].to_f64(), [1.0, 12.0, 23.0, 30.0]);
        assert_eq!(image(op(&[2], &[]), &[6]).unwrap()[0].to_f64(), [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        assert_eq!(image(op(&[], &[1, 1]), &[2]).unwrap()[0].to_f64(), [12.0, 23.0]);
        check_refused(op(&[], &[]), &[x.clone(), list(&[5]), list(&[2])], "input");
        check_refused(op(&[], &[]), &[x.clone(), list(&[5]), list(&[3])], "input");
        check_refused(op(&[], &[]), &[x.clone(), list(&[i64::MIN]), list(&[2])], "image_shape");
        check_refused(op(&[0], &[]), &[x.clone(), list(&[4]), list(&[2])], "stride");
        check_refused(op(&[], &[1]), &[x.clone(), list(&[4]), list(&[2])], "padding");
        assert!(image(op(&[], &[usize::MAX; 2]), &[4]).is_err());
        assert!(run(op(&[], &[]), &[x, list(&[i64::MAX]), list(&[i64::MAX])]).is_err());
    }

    #[test]
    fn a_causal_convolution_hands_its_last_inputs_on() {
        let op = || Op::CausalConvWithState { activation: Activation::Identity };
        let (x, weight) = (floats(&[1, 1, 3], &[1.0, 2.0, 3.0]), floats(&[1, 1, 2], &[1.0, 10.0]));
        let results = run(op(), &[x.clone(), weight.clone()]).unwrap();
        assert_eq!((results[0].to_f64(), results[1].to_f64()), (vec![10.0, 21.0, 32.0], vec![3.0]));
        let inputs = [x.clone(), weight.clone(), floats(&[1], &[100.0]), floats(&[1, 1, 1], &[5.0])];
        assert_eq!(run(op(), &inputs).unwrap()[0].to_f64(), [115.0, 121.0, 132.0]);
        let step = [floats(&[1, 1, 1], &[4.0]), floats(&[1, 1, 4], &[1.0; 4]), None, floats(&[1, 1, 3], &[1.0, 2.0, 3.0])];
        let results = run(op(), &step).unwrap();
        assert_eq!((results[0].to_f64(), results[1].to_f64()), (vec![10.0], vec![2.0, 3.0, 4.0]));
        check_refused(op(), &[x.clone(), floats(&[1, 1, 0], &[])], "weight");
        check_refused(op(), &[x.clone(), floats(&[2, 1, 2], &[1.0; 4])], "weight");
        check_refused(op(), &[x.clone(), weight.clone(), floats(&[2], &[1.0; 2])], "bias");
        check_refused(op(), &[x, weight, None, floats(&[1, 1, 2], &[1.0; 2])], "state");
        check_refused(op(), &[floats(&[1], &[1.0]), None], "input");
    }
}
