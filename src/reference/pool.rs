//! Poolings, by their definition.

use super::{Cell, Meetings, Output, batch_and_channel, every_output, meetings, size};
use crate::desc::{IndexOrder, PoolKind};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::problem::{Layer, Problem};

/// A pooling of `input`.
///
/// Formulas and shapes are those of [`PoolDesc`](crate::PoolDesc) and [`PoolKind`]. The order of an Lp norm should leave `|x|^p` within f64.
///
/// # Errors
/// Those of [`Geometry::new`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field `input` for data of the wrong length, and `problem` for a
/// convolution; [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
///
/// # Examples
/// ```
/// use wgconv::{Problem, reference};
/// let problem: Problem = "max_pool 1x1x2x3 k2x2 s1x1 f32 indices=plane".parse()?;
/// let output = reference::pool(&problem, &[1.0, 5.0, 2.0, 0.0, 5.0, 7.0])?;
/// assert_eq!(output.values, [5.0, 7.0]);
/// assert_eq!(output.indices, Some(vec![1, 5]));
/// # Ok::<(), wgconv::Error>(())
/// ```
pub fn pool(problem: &Problem, input: &[f32]) -> Result<Output> {
    let geometry = Geometry::new(problem)?;
    let Layer::Pool(desc) = &problem.layer else {
        return Err(Error::invalid("problem", format!("`{problem}` is not a pooling")));
    };
    problem.input.check_len("input", input.len())?;
    let pool = Pool { geometry, kind: desc.kind, input };
    let with_indices = desc.indices().is_some();
    every_output(&pool.geometry, with_indices, |index, window| pool.output(index, window))
}

struct Pool<'a> {
    geometry: Geometry,
    kind: PoolKind,
    input: &'a [f32],
}

impl Pool<'_> {
    /// The output of this flat index, whose window holds these inputs.
    fn output(&self, index: usize, window: &[Meetings; 3]) -> Cell {
        let (n, c) = batch_and_channel(&self.geometry, index);
        let [in_d, in_h, in_w] = self.geometry.input.map(size);
        let plane = n * size(self.geometry.in_channels) + c;
        let x = &self.input[plane * (in_d * in_h * in_w)..];
        let elements = window[0].iter().flat_map(|&(_, d)| {
            let row = move |&(_, h): &(usize, usize)| window[2].iter().map(move |&(_, w)| [d, h, w]);
            window[1].iter().flat_map(row)
        });
        let value = |[d, h, w]: [usize; 3]| f64::from(x[(d * in_h + h) * in_w + w]);
        match self.kind {
            PoolKind::Max { indices } => {
                let better = |best: [usize; 3], next| {
                    let (old, new) = (value(best), value(next));
                    if new > old || (new.is_nan() && !old.is_nan()) { next } else { best }
                };
                // `Geometry` refuses a maximum over nothing.
                let [d, h, w] = elements.reduce(better).expect("every window of a max pooling holds an input element");
                let index = match indices.unwrap_or(IndexOrder::Plane) {
                    IndexOrder::Plane => (d * in_h + h) * in_w + w,
                    IndexOrder::Tensor => ((plane * in_d + d) * in_h + h) * in_w + w,
                    IndexOrder::TensorColumnMajor => ((plane * in_w + w) * in_h + h) * in_d + d,
                };
                let index = i32::try_from(index).expect("a tensor has at most 2^31 - 1 elements");
                Cell { value: value([d, h, w]), magnitude: 0.0, index }
            }
            PoolKind::Average { count_include_pad, divisor_override } => {
                let count = if count_include_pad { self.padded_count(index) } else { window.iter().map(Vec::len).product() };
                let divisor = divisor_override.unwrap_or(count) as f64;
                let (sum, magnitude) = elements.map(value).fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                Cell { value: sum / divisor, magnitude: magnitude / divisor, index: 0 }
            }
            PoolKind::Lp { p } => {
                let p = f64::from(p);
                let norm = elements.map(|at| value(at).abs().powf(p)).sum::<f64>().powf(1.0 / p);
                Cell { value: norm, magnitude: norm, index: 0 }
            }
        }
    }

    /// How many positions of an output's window lie in the input or its padding: those of a ceil-mode window beyond it do not count.
    fn padded_count(&self, index: usize) -> usize {
        let geometry = &self.geometry;
        let [_, height, width] = geometry.output.map(size);
        let position = [index / width / height % size(geometry.output[0]), index / width % height, index % width];
        let on_axis = |axis: usize| {
            if geometry.adaptive {
                return meetings(geometry, axis, position[axis]).len();
            }
            let start = position[axis] * size(geometry.stride[axis]); // in the padded input
            let padded =
                i64::from(geometry.input[axis]) + i64::from(geometry.pad_begin[axis]) + i64::from(geometry.pad_end[axis]);
            let inside = |tap: &u32| ((start + size(*tap) * size(geometry.dilation[axis])) as i64) < padded;
            (0..geometry.kernel[axis]).filter(inside).count()
        };
        on_axis(0) * on_axis(1) * on_axis(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str) -> Problem {
        line.parse().expect("the test's own line")
    }

    fn check_pool(line: &str, input: &[f32], expected: &[f64]) {
        assert_eq!(pool(&problem(line), input).unwrap().values, expected, "{line}");
    }

    #[test]
    fn a_nan_wins_a_maximum_and_minus_infinity_can() {
        let input = [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NAN, 3.0];
        let output = pool(&problem("max_pool 1x1x4 k2 f32 indices=plane"), &input).unwrap();
        assert_eq!(output.values[0], f64::NEG_INFINITY);
        assert!(output.values[1].is_nan());
        assert_eq!(output.indices, Some(vec![0, 2]));
    }

    #[test]
    fn maxima_are_numbered_in_three_orders() {
        // The greatest of each 2x3 plane: row 1, column 0.
        let input: Vec<f32> = [0.0, 1.0, 2.0, 9.0, 3.0, 4.0].repeat(4);
        for (order, expected) in [("plane", [3; 4]), ("tensor", [3, 9, 15, 21]), ("tensor_column_major", [1, 7, 13, 19])] {
            let line = format!("global_max_pool 2x2x2x3 f32 indices={order}");
            assert_eq!(pool(&problem(&line), &input).unwrap().indices, Some(expected.to_vec()), "{line}");
        }
    }

    #[test]
    fn averages_divide_by_what_the_description_says() {
        check_pool("avg_pool 1x1x3 k2 p1 f32", &[2.0, 4.0, 8.0], &[1.0, 6.0]);
        check_pool("avg_pool 1x1x3 k2 p1 f32 exclude_pad", &[2.0, 4.0, 8.0], &[2.0, 6.0]);
        check_pool("avg_pool 1x1x3 k2 p1 f32 exclude_pad divisor=4", &[2.0, 4.0, 8.0], &[0.5, 3.0]);
        // The last window reaches beyond the padded input, where nothing counts.
        check_pool("avg_pool 1x1x3 k3 s2 p0:1 ceil f32", &[3.0, 4.0, 8.0], &[5.0, 4.0]);
        check_pool("adaptive_avg_pool 1x1x3 to2 f32", &[2.0, 4.0, 8.0], &[3.0, 6.0]);
        check_pool("lp_pool 1x1x3 k2 s1 f32 norm=2", &[3.0, -4.0, 3.0], &[5.0, 5.0]);
    }
}
