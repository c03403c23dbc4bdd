//! Normalisations: a tensor less its mean, by its standard deviation or another norm. They differ in the axes that these are taken
//! over, and in what the result is scaled by.
//!
//! All of it is in f64, with the variance as the mean square of differences (not a difference of mean squares, which cancels), and
//! rounded once.

use super::lanes::{Lane, Lanes};
use super::lrn;
use super::pointwise::{float, spread};
use super::{Fact, Inputs, axes_of, axis_of, broadcast};
use crate::error::{Error, Result};
use crate::graph::Op;
use crate::value::{ElementType, Value, elements};

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let x = inputs.get(0)?;
    let element = float("a normalisation works on floats", x)?;
    let y = Fact::new(element, x.shape.clone());
    match op {
        Op::BatchNorm { training, .. } => {
            let channels = channels(x, 1)?;
            for (index, name) in ["scale", "shift", "mean", "variance"].into_iter().enumerate() {
                per_channel(name, inputs.get(index + 1)?, &[channels])?;
            }
            let running = |index: usize| Ok(Fact::new(inputs.get(index)?.element, [channels]));
            Ok(if *training { vec![y, running(3)?, running(4)?] } else { vec![y] })
        }
        Op::InstanceNorm { .. } => {
            let channels = channels(x, 2)?;
            for (index, name) in [(1, "scale"), (2, "shift")] {
                per_channel(name, same_type(name, inputs.get(index)?, element)?, &[channels])?;
            }
            Ok(vec![y])
        }
        Op::GroupNorm { groups, .. } => {
            let channels = channels(x, 2)?;
            if *groups == 0 || !channels.is_multiple_of(*groups) {
                return Err(Error::invalid(
                    "groups",
                    format!("is {groups}, which does not divide the input's {channels} channels"),
                ));
            }
            for (index, name) in [(1, "scale"), (2, "shift")] {
                per_channel(name, same_type(name, inputs.get(index)?, element)?, &[channels, *groups])?;
            }
            Ok(vec![y])
        }
        Op::LayerNorm { axis, .. } => {
            let axes = normalised_axes(*axis, x.rank())?;
            spreads_over("scale", same_type("scale", inputs.get(1)?, element)?, x)?;
            if let Some(shift) = inputs.optional(2) {
                spreads_over("shift", same_type("shift", shift, element)?, x)?;
            }
            let shape: Vec<usize> =
                x.shape.iter().enumerate().map(|(at, &size)| if axes.contains(&at) { 1 } else { size }).collect();
            // The type that ONNX calls the stash.
            let statistics = Fact::new(ElementType::F32, shape);
            Ok(vec![y, statistics.clone(), statistics])
        }
        Op::RmsNorm { axis, .. } => {
            normalised_axes(*axis, x.rank())?;
            let scale = inputs.get(1)?;
            spreads_over("scale", scale, x)?;
            // ONNX gives the result the type of the scale, which may be another than the input's.
            Ok(vec![Fact::new(scale.element, x.shape.clone())])
        }
        Op::MeanVarianceNorm { axes } => {
            axes_of(axes, x.rank())?;
            Ok(vec![y])
        }
        Op::LpNorm { axis, p } => {
            axis_of(*axis, x.rank())?;
            if !matches!(p, 1 | 2) {
                return Err(Error::unsupported("p", format!("is {p}, but only norms of order 1 and 2 are computed")));
            }
            Ok(vec![y])
        }
        Op::Lrn { size, .. } => {
            lrn::check(*size, x)?;
            Ok(vec![y])
        }
        _ => unreachable!("{op:?} is of another family"),
    }
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let input = inputs.value(0);
    let shape = input.shape();
    let x = input.to_f64();
    let numbers = |index: usize| inputs.value(index).to_f64();
    let y = match op {
        Op::BatchNorm { epsilon, momentum, training } => {
            let statistics = match training {
                true => Lanes::new(shape, &across_channels(shape)).fold(&x, statistics),
                false => numbers(3).into_iter().zip(numbers(4)).collect(),
            };
            let normalised = each_channel(shape, x, |channel, x| {
                let (mean, variance) = statistics[channel];
                (x - mean) / (variance + f64::from(*epsilon)).sqrt()
            });
            let y = affine(shape, normalised, &numbers(1), &numbers(2));
            if *training {
                let momentum = f64::from(*momentum);
                let running = |index: usize, new: &dyn Fn(&(f64, f64)) -> f64| {
                    let pairs = numbers(index + 2).into_iter().zip(&statistics);
                    let list = pairs.map(|(old, statistics)| momentum * old + (1.0 - momentum) * new(statistics)).collect();
                    Value::from_floats(results[index].element, &results[index].shape, list)
                };
                let y = Value::from_floats(results[0].element, shape, y);
                return Ok(vec![y, running(1, &|(mean, _)| *mean), running(2, &|(_, variance)| *variance)]);
            }
            y
        }
        Op::InstanceNorm { epsilon } => {
            let normalised = normalise_groups(shape, &x, shape[1], *epsilon);
            affine(shape, normalised, &numbers(1), &numbers(2))
        }
        Op::GroupNorm { groups, epsilon } => {
            let normalised = normalise_groups(shape, &x, *groups, *epsilon);
            affine(shape, normalised, &numbers(1), &numbers(2))
        }
        Op::LayerNorm { axis, epsilon } => {
            let lanes = Lanes::new(shape, &normalised_axes(*axis, shape.len())?);
            let statistics = lanes.fold(&x, statistics);
            let deviations: Vec<(f64, f64)> =
                statistics.iter().map(|(mean, variance)| (*mean, (variance + f64::from(*epsilon)).sqrt())).collect();
            let y = lanes.map(&x, &deviations, |(mean, deviation), x| (x - mean) / deviation);
            let y = y.into_iter().zip(spread(numbers(1), inputs.value(1).shape(), shape)).map(|(y, scale)| y * scale);
            let y = match inputs.optional_value(2) {
                Some(shift) => y.zip(spread(shift.to_f64(), shift.shape(), shape)).map(|(y, shift)| y + shift).collect(),
                None => y.collect(),
            };
            let means = deviations.iter().map(|(mean, _)| *mean).collect();
            let inverses = deviations.iter().map(|(_, deviation)| 1.0 / deviation).collect();
            let values = results.iter().zip([y, means, inverses]);
            return Ok(values.map(|(fact, list)| Value::from_floats(fact.element, &fact.shape, list)).collect());
        }
        _ if x.is_empty() => x,
        Op::RmsNorm { axis, epsilon } => {
            let lanes = Lanes::new(shape, &normalised_axes(*axis, shape.len())?);
            let roots = lanes.fold(&x, |lane| (mean(lane, |x| x * x) + f64::from(*epsilon)).sqrt());
            let y = lanes.map(&x, &roots, |root, x| x / root);
            y.into_iter().zip(spread(numbers(1), inputs.value(1).shape(), shape)).map(|(y, scale)| y * scale).collect()
        }
        Op::MeanVarianceNorm { axes } => {
            let lanes = Lanes::new(shape, &axes_of(axes, shape.len())?);
            // ONNX adds its epsilon to the deviation here, and not to the variance.
            lanes.map(&x, &lanes.fold(&x, statistics), |(mean, variance), x| (x - mean) / (variance.sqrt() + 1e-9))
        }
        Op::LpNorm { axis, p } => {
            let lanes = Lanes::new(shape, &[axis_of(*axis, shape.len())?]);
            let norms = lanes.fold(&x, |lane| match p {
                1 => lane.numbers().fold(0.0, |sum, x| sum + x.abs()),
                _ => lane.numbers().fold(0.0, |sum, x| sum + x * x).sqrt(),
            });
            lanes.map(&x, &norms, |&norm, x| if norm == 0.0 { 0.0 } else { x / norm })
        }
        Op::Lrn { .. } => return Ok(vec![lrn::lrn(op, inputs, &results[0])]),
        _ => unreachable!("{op:?} is of another family"),
    };
    Ok(vec![Value::from_floats(results[0].element, shape, y)])
}

/// All axes from `axis` on.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the input has no such axis.
pub(crate) fn normalised_axes(axis: i64, rank: usize) -> Result<Vec<usize>> {
    Ok((axis_of(axis, rank)?..rank).collect())
}

/// The size of the channel axis; without one, as ONNX has it for a batch normalisation, there is one channel.
fn channels(x: &Fact, least_rank: usize) -> Result<usize> {
    if x.rank() < least_rank {
        return Err(Error::invalid("input", format!("has shape {:?}, but {least_rank} axes are the least", x.shape)));
    }
    Ok(x.shape.get(1).copied().unwrap_or(1))
}

/// All axes but the channels'.
fn across_channels(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).filter(|&axis| axis != 1).collect()
}

fn same_type<'a>(name: &'static str, fact: &'a Fact, element: ElementType) -> Result<&'a Fact> {
    if fact.element == element {
        return Ok(fact);
    }
    Err(Error::invalid(name, format!("has elements of type {}, but the input of {element}", fact.element)))
}

/// Checks a list of floats with one of these lengths.
fn per_channel(name: &'static str, fact: &Fact, lengths: &[usize]) -> Result<()> {
    float("a normalisation works on floats", fact)?;
    match fact.shape.as_slice() {
        [length] if lengths.contains(length) => Ok(()),
        shape => Err(Error::invalid(name, format!("has shape {shape:?}, but is a list of one of these lengths: {lengths:?}"))),
    }
}

/// Checks that an operand broadcasts to the input's shape.
fn spreads_over(name: &'static str, fact: &Fact, x: &Fact) -> Result<()> {
    float("a normalisation works on floats", fact)?;
    if broadcast(&[&fact.shape, &x.shape])? == x.shape {
        return Ok(());
    }
    Err(Error::invalid(name, format!("has shape {:?}, which does not broadcast to {:?}", fact.shape, x.shape)))
}

/// The mean of a function of a lane's numbers.
fn mean(lane: Lane<f64>, term: impl Fn(f64) -> f64) -> f64 {
    lane.numbers().fold(0.0, |sum, x| sum + term(x)) / lane.len() as f64
}

/// Mean and variance of a lane, the latter of the population.
fn statistics(lane: Lane<f64>) -> (f64, f64) {
    let centre = mean(lane, |x| x);
    (centre, mean(lane, |x| (x - centre) * (x - centre)))
}

/// `(x - mean) / sqrt(variance + epsilon)` over each group of channels of each item.
fn normalise_groups(shape: &[usize], x: &[f64], groups: usize, epsilon: f32) -> Vec<f64> {
    if x.is_empty() {
        return Vec::new();
    }
    // A group's channels stand next to each other, so a group is one axis of another shape.
    let lanes = Lanes::new(&[shape[0], groups, x.len() / shape[0] / groups], &[2]);
    let found = lanes.fold(x, statistics);
    lanes.map(x, &found, |(mean, variance), x| (x - mean) / (variance + f64::from(epsilon)).sqrt())
}

/// A function of each number and its channel.
fn each_channel(shape: &[usize], mut x: Vec<f64>, call: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    if x.is_empty() {
        return x;
    }
    let channels = shape.get(1).copied().unwrap_or(1);
    let plane = elements(shape.get(2..).unwrap_or_default()).expect("a tensor with elements has planes with elements");
    // Without a channel axis every plane is of one element, and of channel 0.
    for (index, plane) in x.chunks_mut(plane).enumerate() {
        plane.iter_mut().for_each(|x| *x = call(index % channels, *x));
    }
    x
}

/// `x * scale + shift` with one of each for every channel, or for every group of as many channels as there are for each.
fn affine(shape: &[usize], x: Vec<f64>, scale: &[f64], shift: &[f64]) -> Vec<f64> {
    let channels = shape.get(1).copied().unwrap_or(1);
    each_channel(shape, x, |channel, x| x * scale[channel * scale.len() / channels] + shift[channel * shift.len() / channels])
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;

    fn tensor(shape: &[usize], list: &[f32]) -> Value {
        Value::new(shape, list.to_vec()).unwrap()
    }

    fn run(op: &Op, inputs: &[Value], outputs: usize) -> Result<Vec<Value>> {
        let inputs: Vec<_> = inputs.iter().map(|value| shared(value.clone())).collect();
        evaluate(op, &inputs, outputs)
    }

    /// Checks the results against numbers that are computed by hand, to f32's precision.
    #[track_caller]
    fn check(op: Op, inputs: &[Value], expected: &[(&[usize], &[f64])]) {
        let values = run(&op, inputs, expected.len()).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        assert!(values.len() >= expected.len(), "{op:?}");
        for (value, (shape, list)) in values.iter().zip(expected) {
            assert_eq!(value.shape(), *shape, "{op:?}");
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs().max(1.0) || a.is_nan() && b.is_nan();
            let numbers = value.to_f64();
            assert!(numbers.len() == list.len() && numbers.iter().zip(*list).all(close), "{op:?}: {numbers:?}, not {list:?}");
        }
    }

    #[track_caller]
    fn check_refused(op: Op, inputs: &[Value], part: &str) {
        let error = run(&op, inputs, 1).unwrap_err().to_string();
        assert!(error.contains(part), "{op:?}: {error}");
    }

    #[test]
    fn a_batch_normalisation_takes_statistics_or_finds_them() {
        let x = tensor(&[2, 2, 1], &[1.0, 10.0, 3.0, 10.0]);
        let two = |a, b| tensor(&[2], &[a, b]);
        let operands = [x.clone(), two(2.0, 1.0), two(0.5, -1.0), two(1.0, 8.0), two(3.0, 15.0)];
        let inference = Op::BatchNorm { epsilon: 1.0, momentum: 0.75, training: false };
        check(inference.clone(), &operands, &[(&[2, 2, 1], &[0.5, -0.5, 2.5, -0.5])]);
        // Channel 0 has mean 2 and variance 1, channel 1 mean 10 and variance 0.
        let training = Op::BatchNorm { epsilon: 3.0, momentum: 0.75, training: true };
        let (y, mean, variance) = ([-0.5, -1.0, 1.5, -1.0], [1.25, 8.5], [2.5, 11.25]);
        check(training, &operands, &[(&[2, 2, 1], &y), (&[2], &mean), (&[2], &variance)]);
        let one = || tensor(&[1], &[1.0]);
        check(inference.clone(), &[tensor(&[2], &[1.0, 3.0]), one(), one(), one(), tensor(&[1], &[3.0])], &[(&[2], &[1.0, 2.0])]);
        check_refused(
            inference.clone(),
            &[x.clone(), two(1.0, 1.0), one(), two(0.0, 0.0), two(1.0, 1.0)],
            "invalid shift: has shape [1]",
        );
        check_refused(inference, &[x, two(1.0, 1.0)], "2 is missing");
    }

    #[test]
    fn instances_and_groups_are_normalised_on_their_own() {
        let x = || tensor(&[1, 2, 2], &[1.0, 3.0, 10.0, 14.0]);
        let two = |a, b| tensor(&[2], &[a, b]);
        check(Op::InstanceNorm { epsilon: 0.0 }, &[x(), two(1.0, 2.0), two(0.0, 5.0)], &[(&[1, 2, 2], &[-1.0, 1.0, 3.0, 7.0])]);
        let group = |groups| Op::GroupNorm { groups, epsilon: 0.0 };
        check(group(2), &[x(), two(1.0, 2.0), two(0.0, 5.0)], &[(&[1, 2, 2], &[-1.0, 1.0, 3.0, 7.0])]);
        // One group of mean 7 and variance (36 + 16 + 9 + 49) / 4.
        let deviation = 27.5f64.sqrt();
        let y = [-6.0 / deviation, -4.0 / deviation, 6.0 / deviation, 14.0 / deviation];
        check(group(1), &[x(), two(1.0, 2.0), two(0.0, 0.0)], &[(&[1, 2, 2], &y)]);
        let single = |number| tensor(&[1], &[number]);
        let y = [-12.0, -8.0, 6.0, 14.0].map(|y| y / deviation + 1.0);
        check(group(1), &[x(), single(2.0), single(1.0)], &[(&[1, 2, 2], &y)]);
        check(Op::InstanceNorm { epsilon: 0.0 }, &[x(), two(1.0, 1.0), two(0.0, 0.0)], &[(&[1, 2, 2], &[-1.0, 1.0, -1.0, 1.0])]);
        // Scales of groups are those of all their channels: 2 groups of 2 channels.
        let four = tensor(&[1, 4, 1], &[1.0, 3.0, 1.0, 3.0]);
        check(group(2), &[four, two(1.0, 10.0), two(0.0, 1.0)], &[(&[1, 4, 1], &[-1.0, 1.0, -9.0, 11.0])]);
        for groups in [0, 3, usize::MAX] {
            check_refused(group(groups), &[x(), two(1.0, 1.0), two(0.0, 0.0)], "invalid groups");
        }
        check_refused(group(2), &[x(), tensor(&[3], &[1.0; 3]), two(0.0, 0.0)], "invalid scale: has shape [3]");
    }

    #[test]
    fn a_layer_normalisation_runs_over_all_axes_from_one_on() {
        let x = || tensor(&[2, 2], &[1.0, 3.0, 5.0, 5.0]);
        let op = |axis| Op::LayerNorm { axis, epsilon: 3.0 };
        let scale = || tensor(&[2], &[2.0, 4.0]);
        let statistics: (&[usize], [f64; 2], [f64; 2]) = (&[2, 1], [2.0, 5.0], [0.5, 1.0 / 3f64.sqrt()]);
        let (shape, means, inverses) = (statistics.0, &statistics.1, &statistics.2);
        check(op(-1), &[x(), scale()], &[(&[2, 2], &[-1.0, 2.0, 0.0, 0.0]), (shape, means), (shape, inverses)]);
        check(op(1), &[x(), scale(), tensor(&[1, 1], &[7.0])], &[(&[2, 2], &[6.0, 9.0, 7.0, 7.0])]);
        // Mean 3.5 and variance 2.75.
        let root = 5.75f64.sqrt();
        let y = [-2.5 / root, -0.5 / root, 1.5 / root, 1.5 / root];
        check(op(0), &[x(), tensor(&[1], &[1.0])], &[(&[2, 2], &y), (&[1, 1], &[3.5]), (&[1, 1], &[1.0 / root])]);
        check(op(1), &[tensor(&[2, 0], &[]), tensor(&[1], &[1.0])], &[(&[2, 0], &[]), (&[2, 1], &[f64::NAN; 2])]);
        check_refused(op(2), &[x(), scale()], "is 2, but the input has 2 axes");
        check_refused(op(1), &[x(), tensor(&[3], &[1.0; 3])], "cannot be broadcast");
        check_refused(op(1), &[x(), tensor(&[1, 1, 1], &[1.0])], "does not broadcast");
        check_refused(op(1), &[x(), Value::new(&[2], vec![1.0f64; 2]).unwrap()], "type f64");
    }

    #[test]
    fn sixteen_bits_are_only_in_the_operands() {
        // The squares do not fit f16, and the mean of the differences is far below its precision.
        let x = Value::new(&[1, 2], vec![f16::from_f32(60000.0), f16::from_f32(-60000.0)]).unwrap();
        let scale = Value::new(&[2], vec![f16::ONE; 2]).unwrap();
        let values = run(&Op::LayerNorm { axis: 1, epsilon: 0.0 }, &[x.clone(), scale.clone()], 3).unwrap();
        let types: Vec<ElementType> = values.iter().map(Value::element).collect();
        assert_eq!(types, [ElementType::F16, ElementType::F32, ElementType::F32]);
        assert_eq!(values[0].to_f64(), [1.0, -1.0]);
        assert_eq!(run(&Op::RmsNorm { axis: 1, epsilon: 0.0 }, &[x.clone(), scale], 1).unwrap()[0].to_f64(), [1.0, -1.0]);
        let wide = run(&Op::RmsNorm { axis: 1, epsilon: 0.0 }, &[x, tensor(&[2], &[1.0, 3.0])], 1).unwrap();
        assert_eq!(wide[0], tensor(&[1, 2], &[1.0, -3.0]));
    }

    #[test]
    fn norms_and_deviations_along_axes_become_one() {
        let x = || [tensor(&[2, 2], &[3.0, 4.0, 0.0, 0.0])];
        check(Op::LpNorm { axis: 1, p: 2 }, &x(), &[(&[2, 2], &[0.6, 0.8, 0.0, 0.0])]);
        check(Op::LpNorm { axis: -1, p: 1 }, &x(), &[(&[2, 2], &[3.0 / 7.0, 4.0 / 7.0, 0.0, 0.0])]);
        check(Op::LpNorm { axis: 0, p: 1 }, &x(), &[(&[2, 2], &[1.0, 1.0, 0.0, 0.0])]);
        check(Op::MeanVarianceNorm { axes: vec![-1] }, &x(), &[(&[2, 2], &[-1.0, 1.0, 0.0, 0.0])]);
        check(Op::MeanVarianceNorm { axes: vec![1, 0] }, &[tensor(&[1, 2], &[-2.0, 4.0])], &[(&[1, 2], &[-1.0, 1.0])]);
        // Root mean square 1 over both axes.
        let rms = Op::RmsNorm { axis: 0, epsilon: 0.0 };
        check(
            rms,
            &[tensor(&[2, 2], &[1.0, -1.0, 1.0, -1.0]), tensor(&[2, 1], &[1.0, 2.0])],
            &[(&[2, 2], &[1.0, -1.0, 2.0, -2.0])],
        );
        check_refused(Op::LpNorm { axis: 2, p: 2 }, &x(), "is 2, but the input has 2 axes");
        check_refused(Op::LpNorm { axis: 0, p: 3 }, &x(), "unsupported p: is 3");
        check_refused(Op::MeanVarianceNorm { axes: vec![0, -2] }, &x(), "name axis 0 twice");
        check_refused(Op::MeanVarianceNorm { axes: vec![0] }, &[Value::list(&[1])], "type i64");
    }
}
