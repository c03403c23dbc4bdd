//! Local response normalisation (Krizhevsky et al., 2012): each element by the squares of its neighbours in other channels.

use super::{Fact, Inputs};
use crate::error::{Error, Result};
use crate::graph::Op;
use crate::parallel;
use crate::value::{Value, elements};

/// Checks what [`Op::Lrn`] asks of its input.
pub(super) fn check(size: usize, x: &Fact) -> Result<()> {
    if size == 0 {
        return Err(Error::invalid("size", "is 0, but a window has at least 1 channel"));
    }
    if x.rank() < 2 {
        return Err(Error::invalid("input", format!("has shape {:?}, without a channel axis", x.shape)));
    }
    Ok(())
}

/// `x / (bias + alpha/size * sum of x^2)^beta` over the `size` channels around each, as far as there are so many.
pub(super) fn lrn(op: &Op, inputs: &Inputs, result: &Fact) -> Value {
    let &Op::Lrn { size, alpha, beta, bias } = op else { unreachable!("{op:?} is of another family") };
    let x = inputs.value(0);
    if x.is_empty() {
        return x.clone();
    }
    let channels = x.shape()[1];
    let plane = elements(&x.shape()[2..]).expect("a tensor with elements has planes with elements");
    let list = x.to_f64();
    let mut output = vec![0.0; list.len()];
    parallel::pieces(&mut output, plane, |index, output| {
        let (item, channel) = (index / channels, index % channels);
        // An even window has its odd channel behind.
        let first = channel.saturating_sub((size - 1) / 2);
        let last = channel.saturating_add(size / 2).min(channels - 1);
        let planes = |channel: usize| &list[(item * channels + channel) * plane..][..plane];
        for channel in first..=last {
            output.iter_mut().zip(planes(channel)).for_each(|(sum, x)| *sum += x * x);
        }
        for (output, x) in output.iter_mut().zip(planes(channel)) {
            let base = f64::from(bias) + f64::from(alpha) / size as f64 * *output;
            *output = x / base.powf(f64::from(beta));
        }
    });
    Value::from_floats(result.element, &result.shape, output)
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;

    #[track_caller]
    fn check(size: usize, expected: Result<[f64; 4], &str>) {
        // Squares 1, 4, 9, 16; with beta 1 and bias 0 the result is `x / mean of squares`.
        let x = Value::new(&[1, 4, 1], vec![1.0f64, 2.0, 3.0, 4.0]).unwrap();
        let op = Op::Lrn { size, alpha: 1.0, beta: 1.0, bias: 0.0 };
        let values = evaluate(&op, &[shared(x)], 1).map(|values| values[0].to_f64());
        match expected {
            Ok(expected) => assert!(values.unwrap().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{size}"),
            Err(field) => assert_eq!(values.unwrap_err().field(), Some(field), "{size}"),
        }
    }

    #[test]
    fn the_window_is_of_channels_and_an_even_one_reaches_further_ahead() {
        check(1, Ok([1.0, 0.5, 1.0 / 3.0, 0.25]));
        check(2, Ok([2.0 / 5.0, 4.0 / 13.0, 6.0 / 25.0, 8.0 / 16.0]));
        check(3, Ok([3.0 / 5.0, 6.0 / 14.0, 9.0 / 29.0, 12.0 / 25.0]));
        check(99, Ok([99.0 / 30.0, 198.0 / 30.0, 297.0 / 30.0, 396.0 / 30.0]));
        check(0, Err("size"));
        let whole = usize::MAX as f64;
        check(usize::MAX, Ok([1.0, 2.0, 3.0, 4.0].map(|x| x / (30.0 / whole))));
    }

    #[test]
    fn a_tensor_has_channels() {
        let op = Op::Lrn { size: 1, alpha: 1.0, beta: 1.0, bias: 0.0 };
        assert_eq!(evaluate(&op, &[shared(Value::scalar(1.0f32))], 1).unwrap_err().field(), Some("input"));
    }
}
