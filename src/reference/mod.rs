//! The definition of every operation, on the CPU, in f64: what kernels are judged by.
//!
//! Each output is computed by itself, straight from its formula and [`Geometry`]'s coordinates; outputs are spread over threads
//! and nothing else is clever. Speed is not a goal here, and there is no second implementation to keep equal to a kernel's.
//!
//! NaN and infinity follow IEEE arithmetic (`inf * 0` is NaN), a NaN in the window of a max pooling wins, and padding
//! takes no part in any sum: a zero beside the input does not turn an infinite weight into a NaN.

mod conv;
mod pool;

pub use conv::{ConvOperands, conv, conv_at};
pub use pool::pool;

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Geometry;
use crate::parallel;
use crate::tensor_desc::TensorDesc;
use crate::weights::BatchNorm;

/// The outputs of a layer, row-major in [`Geometry::output_shape`], as operands are in their shapes: layouts are of no matter here.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The result, after the epilogue.
    pub values: Vec<f64>,
    /// How large the terms of each result are, the scale of its rounding error. Convolution: `sum |x w| + |bias|`, with
    /// `+ |residual|` where that is added before the activation. Average: `sum |x| / divisor`. Lp: the result, as its terms are
    /// positive. Max: 0, as nothing is rounded.
    pub magnitude: Vec<f64>,
    /// The positions of the greatest elements, of a max pooling that asks for them.
    pub indices: Option<Vec<i32>>,
}

/// One output of a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cell {
    value: f64,
    magnitude: f64,
    index: i32,
}

/// The taps of an axis that meet an input for one output, as `(tap, input coordinate)`.
type Meetings = Vec<(usize, usize)>;

/// Batch normalisation of a tensor of this shape, `[n, c, ..]`: `(x - mean) / sqrt(variance + epsilon) * scale + shift`.
///
/// A variance and epsilon of 0 divide by zero, as IEEE says: infinities, and NaN where `x = mean`.
///
/// # Errors
/// [`ErrorKind::Invalid`] with the field `batch_norm` for vectors that are not one number for each channel, and `input` for a
/// shape without channels or values that do not fill it.
pub fn batch_norm(norm: &BatchNorm, shape: &[usize], values: &[f64]) -> Result<Vec<f64>> {
    let desc = TensorDesc::f32(shape);
    let &[_, channels, ..] = shape else {
        return Err(Error::invalid("input", format!("shape {desc} has no channels: its axes are batch, channels, ..")));
    };
    desc.check_len("input", values.len())?;
    norm.check(channels)?;
    let plane: usize = shape[2..].iter().product();
    let normal = |(index, &x): (usize, &f64)| {
        let channel = index / plane % channels;
        let [scale, shift, mean, variance] =
            [norm.scale, norm.shift, norm.mean, norm.variance].map(|list| f64::from(list[channel]));
        (x - mean) / (variance + f64::from(norm.epsilon)).sqrt() * scale + shift
    };
    Ok(values.iter().enumerate().map(normal).collect())
}

/// A `u32` of the geometry as an index; it fits, as [`Geometry`] holds nothing above 2^31 - 1.
fn size(value: u32) -> usize {
    value as usize
}

/// The batch item and the channel of a flat index into the output.
fn batch_and_channel(geometry: &Geometry, index: usize) -> (usize, usize) {
    let plane = index / geometry.output.map(size).iter().product::<usize>();
    (plane / size(geometry.out_channels), plane % size(geometry.out_channels))
}

/// Calls `output(index, meetings)` for each flat index into the output.
fn every_output(
    geometry: &Geometry,
    with_indices: bool,
    output: impl Fn(usize, &[Meetings; 3]) -> Cell + Sync,
) -> Result<Output> {
    let [depth, height, width] = geometry.output.map(size);
    let mut cells = filled(geometry.output_shape().iter().product())?;
    let row = |row: usize, cells: &mut [Cell]| {
        let mut at = [meetings(geometry, 0, row / height % depth), meetings(geometry, 1, row % height), Vec::new()];
        for (x, cell) in cells.iter_mut().enumerate() {
            at[2] = meetings(geometry, 2, x);
            *cell = output(row * width + x, &at);
        }
    };
    parallel::pieces(&mut cells, width, row);
    Ok(Output {
        values: cells.iter().map(|cell| cell.value).collect(),
        magnitude: cells.iter().map(|cell| cell.magnitude).collect(),
        indices: with_indices.then(|| cells.iter().map(|cell| cell.index).collect()),
    })
}

/// Room for so many outputs, or an error rather than an abort.
fn filled(outputs: usize) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    cells
        .try_reserve_exact(outputs)
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, format!("no memory for a reference of {outputs} outputs")))?;
    cells.resize(outputs, Cell::default());
    Ok(cells)
}

/// Which inputs output `o` of an axis sees, in the order of the taps.
fn meetings(geometry: &Geometry, axis: usize, o: usize) -> Meetings {
    let o = u32::try_from(o).expect("an output coordinate of a geometry");
    if geometry.adaptive {
        let (first, end) = geometry.adaptive_window(axis, o);
        return (first..end).map(size).enumerate().collect();
    }
    (0..geometry.kernel[axis]).filter_map(|tap| Some((size(tap), size(geometry.source(axis, o, tap)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_normalisation_without_variance_divides_by_zero() {
        let [one, zero] = [&[1.0f32][..], &[0.0f32][..]];
        let norm = BatchNorm { scale: one, shift: zero, mean: one, variance: zero, epsilon: 0.0 };
        let values = batch_norm(&norm, &[1, 1, 3], &[2.0, 0.0, 1.0]).unwrap();
        assert_eq!(values[..2], [f64::INFINITY, f64::NEG_INFINITY]);
        assert!(values[2].is_nan());
        assert_eq!(batch_norm(&norm, &[1, 2, 3], &[0.0; 6]).unwrap_err().field(), Some("batch_norm"));
        assert_eq!(batch_norm(&norm, &[1, 1, 3], &[0.0; 2]).unwrap_err().field(), Some("input"));
        assert_eq!(batch_norm(&norm, &[1], &[0.0]).unwrap_err().field(), Some("input"));
    }
}
