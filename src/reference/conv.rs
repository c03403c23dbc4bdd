//! Convolutions and transposed ones, by their definition.

use super::{Cell, Meetings, Output, batch_and_channel, every_output, meetings, size};
use crate::desc::{ConvDesc, Residual};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::parallel;
use crate::problem::{Layer, Problem};
use crate::tensor_desc::TensorDesc;
use crate::weights::Weights;

/// What a convolution computes with, in the caller's own order.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConvOperands<'a> {
    /// The input, `[n, in_channels, spatial..]`.
    pub input: &'a [f32],
    /// Kernel, bias and slopes.
    pub weights: Weights<'a>,
    /// A tensor of the output's shape, exactly where the epilogue adds one.
    pub residual: Option<&'a [f32]>,
}

/// A convolution or transposed convolution of `operands`, with its epilogue.
///
/// Formulas and shapes are those of [`ConvDesc`] and [`Epilogue`](crate::Epilogue).
///
/// # Errors
/// Those of [`Geometry::new`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field `input`, `weight`, `bias`, `slope` or `residual` where data
/// does not fit the description, and `problem` for a pooling; [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
///
/// # Examples
/// ```
/// use wgconv::{Problem, Weights, reference};
/// let problem: Problem = "conv 1x1x4 o1 k2 f32 relu".parse()?;
/// let weights = Weights { kernel: &[1.0, -1.0], ..Default::default() };
/// let operands = reference::ConvOperands { input: &[4.0, 1.0, 2.0, 0.0], weights, residual: None };
/// assert_eq!(reference::conv(&problem, &operands)?.values, [3.0, 0.0, 2.0]);
/// # Ok::<(), wgconv::Error>(())
/// ```
pub fn conv(problem: &Problem, operands: &ConvOperands) -> Result<Output> {
    let conv = Conv::new(problem, operands)?;
    every_output(&conv.geometry, false, |index, meetings| conv.output(index, meetings))
}

/// The same convolution at some of its outputs only: `(value, magnitude)` for each flat index into the output.
///
/// For layers so large that the whole would take minutes.
///
/// # Errors
/// As [`conv`], and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field `output` for an index beyond the output.
pub fn conv_at(problem: &Problem, operands: &ConvOperands, indices: &[usize]) -> Result<Vec<(f64, f64)>> {
    let conv = Conv::new(problem, operands)?;
    let [depth, height, width] = conv.geometry.output.map(size);
    let outputs: usize = conv.geometry.output_shape().iter().product();
    if let Some(index) = indices.iter().find(|&&index| index >= outputs) {
        return Err(Error::invalid("output", format!("has no element {index}: there are {outputs}")));
    }
    let at = |number: usize| {
        let index = indices[number];
        let position = [index / width / height % depth, index / width % height, index % width];
        let meetings = std::array::from_fn(|axis| meetings(&conv.geometry, axis, position[axis]));
        let cell = conv.output(index, &meetings);
        (cell.value, cell.magnitude)
    };
    Ok(parallel::collect(indices.len(), at))
}

struct Conv<'a> {
    geometry: Geometry,
    desc: &'a ConvDesc,
    operands: &'a ConvOperands<'a>,
}

impl<'a> Conv<'a> {
    fn new(problem: &'a Problem, operands: &'a ConvOperands<'a>) -> Result<Self> {
        let geometry = Geometry::new(problem)?;
        let Layer::Conv(desc) = &problem.layer else {
            return Err(Error::invalid("problem", format!("`{problem}` is not a convolution")));
        };
        problem.input.check_len("input", operands.input.len())?;
        operands.weights.check(desc)?;
        match (desc.epilogue.residual, operands.residual) {
            (Residual::None, None) => {}
            (Residual::None, Some(_)) => return Err(Error::invalid("residual", "is given, but the description has none")),
            (_, None) => return Err(Error::invalid("residual", "is missing, but the description adds one")),
            (_, Some(data)) => TensorDesc::f32(&geometry.output_shape()).check_len("residual", data.len())?,
        }
        Ok(Self { geometry, desc, operands })
    }

    /// The output of this flat index, whose taps meet these inputs.
    fn output(&self, index: usize, [depths, rows, columns]: &[Meetings; 3]) -> Cell {
        let (geometry, weights) = (&self.geometry, &self.operands.weights);
        let (n, o) = batch_and_channel(geometry, index);
        let (group_in, group_out) = (size(geometry.group_in()), size(geometry.group_out()));
        let ([in_d, in_h, in_w], [taps_d, taps_h, taps_w]) = (geometry.input.map(size), geometry.kernel.map(size));
        let (plane, taps) = (in_d * in_h * in_w, taps_d * taps_h * taps_w);
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for c in 0..group_in {
            let channel = o / group_out * group_in + c;
            let filter = if geometry.transposed { channel * group_out + o % group_out } else { o * group_in + c };
            let x = &self.operands.input[(n * size(geometry.in_channels) + channel) * plane..][..plane];
            let w = &weights.kernel[filter * taps..][..taps];
            for &(tap_d, d) in depths {
                for &(tap_h, h) in rows {
                    for &(tap_w, column) in columns {
                        let tap = (tap_d * taps_h + tap_h) * taps_w + tap_w;
                        // The geometry of a transposed convolution counts the taps of each axis from the other end.
                        let tap = if geometry.transposed { taps - 1 - tap } else { tap };
                        let term = f64::from(x[(d * in_h + h) * in_w + column]) * f64::from(w[tap]);
                        sum += term;
                        magnitude += term.abs();
                    }
                }
            }
        }
        let epilogue = &self.desc.epilogue;
        let bias = weights.bias.map_or(0.0, |bias| f64::from(bias[o]));
        let residual = self.operands.residual.map_or(0.0, |residual| f64::from(residual[index]));
        let slope = weights.slope.map_or(0.0, |slope| f64::from(slope[o]));
        let (before, after) = match epilogue.residual {
            Residual::None => (0.0, 0.0),
            Residual::BeforeActivation => (residual, 0.0),
            Residual::AfterActivation => (0.0, residual),
        };
        Cell {
            value: epilogue.activation.apply(sum + bias + before, slope) + after,
            magnitude: magnitude + bias.abs() + before.abs(),
            index: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool;
    use super::*;

    fn problem(line: &str) -> Problem {
        line.parse().expect("the test's own line")
    }

    fn check_refused(line: &str, operands: &ConvOperands, field: &str) {
        assert_eq!(conv(&problem(line), operands).unwrap_err().field(), Some(field), "{line}");
    }

    #[test]
    fn the_epilogue_adds_the_residual_where_it_is_asked_to() {
        let weights = Weights { kernel: &[1.0], bias: Some(&[1.0]), ..Default::default() };
        let operands = ConvOperands { input: &[-4.0, 2.0], weights, residual: Some(&[5.0, -9.0]) };
        let before = conv(&problem("conv 1x1x2 o1 k1 f32 bias residual=before relu"), &operands).unwrap();
        assert_eq!((before.values, before.magnitude), (vec![2.0, 0.0], vec![10.0, 12.0]));
        let after = conv(&problem("conv 1x1x2 o1 k1 f32 bias residual=after relu"), &operands).unwrap();
        assert_eq!((after.values, after.magnitude), (vec![5.0, -6.0], vec![5.0, 3.0]));
    }

    #[test]
    fn a_transposed_convolution_spreads_each_input_over_the_taps() {
        let weights = Weights { kernel: &[1.0, 2.0, 3.0], ..Default::default() };
        let operands = ConvOperands { input: &[1.0, 10.0], weights, residual: None };
        let output = conv(&problem("conv_transpose 1x1x2 o1 k3 s2 f32"), &operands).unwrap();
        assert_eq!(output.values, [1.0, 2.0, 13.0, 20.0, 30.0]);
    }

    #[test]
    fn some_outputs_are_the_same_as_those_of_the_whole() {
        let line = "conv 2x4x3x5 o6 k2x3 s1x2 p1x1 d2x1 g2 f32";
        let data: Vec<f32> = (0..2 * 4 * 3 * 5).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let operands =
            ConvOperands { input: &data, weights: Weights { kernel: &data[..72], ..Default::default() }, residual: None };
        let whole = conv(&problem(line), &operands).unwrap();
        let all: Vec<usize> = (0..whole.values.len()).collect();
        let some = conv_at(&problem(line), &operands, &all).unwrap();
        assert!(some.into_iter().eq(whole.values.into_iter().zip(whole.magnitude)));
        assert_eq!(conv_at(&problem(line), &operands, &[all.len()]).unwrap_err().field(), Some("output"));
    }

    #[test]
    fn data_that_does_not_fit_is_refused_by_name() {
        let (weights, input) = (Weights { kernel: &[1.0], ..Default::default() }, &[1.0, 2.0][..]);
        let operands = ConvOperands { input, weights, residual: None };
        let line = "conv 1x1x2 o1 k1 f32";
        check_refused(line, &ConvOperands { input: &[1.0], ..operands }, "input");
        check_refused(line, &ConvOperands { residual: Some(&[1.0, 2.0]), ..operands }, "residual");
        check_refused("conv 1x1x2 o1 k1 f32 residual=after", &operands, "residual");
        check_refused("conv 1x1x2 o1 k1 f32 residual=after", &ConvOperands { residual: Some(&[1.0]), ..operands }, "residual");
        check_refused("conv 1x1x2 o1 k1 f32 bias", &operands, "bias");
        check_refused("conv 1x1x2 o1 k1 f32 prelu", &operands, "slope");
        check_refused("conv 1x1x2 o1 k2 f32", &operands, "weight");
        check_refused("max_pool 1x1x2 k1 f32", &operands, "problem");
        assert_eq!(pool(&problem("max_pool 1x1x2 k1 f32"), &[1.0]).unwrap_err().field(), Some("input"));
        assert_eq!(pool(&problem(line), &[1.0, 2.0]).unwrap_err().field(), Some("problem"));
    }

    #[test]
    fn infinity_times_zero_is_nan_and_padding_takes_no_part() {
        let operands = ConvOperands {
            input: &[1.0, f32::INFINITY],
            weights: Weights { kernel: &[f32::INFINITY, 0.0], ..Default::default() },
            residual: None,
        };
        let values = conv(&problem("conv 1x1x2 o1 k2 p1 f32"), &operands).unwrap().values;
        assert_eq!(values[0], 0.0);
        assert!(values[1].is_nan());
        assert_eq!(values[2], f64::INFINITY);
    }
}
