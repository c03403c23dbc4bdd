//! [`section`]: some outputs of a layer as a layer of its own, over the inputs that they need.
//!
//! Padding is only where the whole layer has it: a section inside the input has none. The sums are those of the whole layer, tap by
//! tap, so a kernel that adds them in the same order gives the same bits.

use std::ops::Range;

use super::Geometry;
use crate::desc::{ConvDesc, Padding, PaddingMode, PoolDesc, PoolWindow};
use crate::error::{Error, Result};
use crate::problem::{Layer, Problem};
use crate::spatial::Spatial;
use crate::tensor_desc::TensorDesc;

/// A layer that computes some outputs of another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// The layer, on an input of that size.
    pub problem: Problem,
    /// Its numbers. Steps are the whole's, those too that cannot matter where there is one output or one input: what a kernel makes of
    /// them, such as the order of its sums, is the same in all sections.
    pub geometry: Geometry,
    /// The inputs that it reads of the whole one's, on each spatial axis.
    pub input: Vec<Range<usize>>,
}

/// One axis of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The inputs that it reads.
    pub input: Range<usize>,
    /// Its padding; of a transposed convolution the outputs cropped.
    pub begin: usize,
    pub end: usize,
    pub output_padding: usize,
}

/// [`section`] of a layer over one axis: sizes and padding of one axis of a layer do not depend on the others.
///
/// # Errors
/// As [`section`].
pub(crate) fn axis_cut(problem: &Problem, outputs: &Range<usize>) -> Result<Cut> {
    let geometry = Geometry::new(problem)?;
    section(problem, &geometry, std::slice::from_ref(outputs))?;
    cut(problem, &geometry, 0, outputs)
}

/// The layer that computes these outputs of a layer, given on each of its spatial axes; all batch items and channels.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where no layer does: outputs that see only padding, padding that wraps
/// around, windows whose size depends on the whole.
pub(crate) fn section(problem: &Problem, geometry: &Geometry, outputs: &[Range<usize>]) -> Result<Section> {
    let rank = geometry.rank;
    let whole = |axis: usize| outputs[axis] == (0..geometry.output[3 - rank + axis] as usize);
    let input = |axis: usize| geometry.input[3 - rank + axis] as usize;
    if (0..rank).all(whole) {
        let input = (0..rank).map(|axis| 0..input(axis)).collect();
        return Ok(Section { problem: problem.clone(), geometry: geometry.clone(), input });
    }
    if let Layer::Pool(PoolDesc { window: PoolWindow::Global | PoolWindow::Adaptive(_), .. }) = problem.layer {
        return Err(Error::unsupported("window", "of a global or adaptive pooling depends on the whole input"));
    }
    let cuts = (0..rank).map(|axis| cut(problem, geometry, axis, &outputs[axis])).collect::<Result<Vec<_>>>()?;
    let list = |value: fn(&Cut) -> usize| Spatial::from_slice("padding", &cuts.iter().map(value).collect::<Vec<_>>());
    let padding = Padding::Explicit { begin: list(|cut| cut.begin)?, end: list(|cut| cut.end)? };
    let layer = match problem.layer {
        Layer::Conv(desc) => Layer::Conv(ConvDesc { padding, output_padding: list(|cut| cut.output_padding)?, ..desc }),
        Layer::Pool(desc) => Layer::Pool(PoolDesc { padding, ..desc }),
    };
    let mut shape = problem.input.shape()[..2].to_vec();
    shape.extend(cuts.iter().map(|cut| cut.input.len()));
    let input = TensorDesc::new(&shape, problem.input.dtype()).with_layout(problem.input.layout());
    let problem = Problem { layer, input };
    let cannot = |why: String| Error::unsupported("output", format!("{outputs:?} cannot be a layer of its own: {why}"));
    let own = Geometry::new(&problem).map_err(|error| cannot(error.to_string()))?;
    let found = own.output_shape();
    if !found[2..].iter().zip(outputs).all(|(&size, range)| size == range.len()) {
        return Err(cannot(format!("it would have the shape {found:?}")));
    }
    let geometry = Geometry { stride: geometry.stride, input_dilation: geometry.input_dilation, ..own };
    Ok(Section { problem, geometry, input: cuts.into_iter().map(|cut| cut.input).collect() })
}

fn cut(problem: &Problem, geometry: &Geometry, axis: usize, outputs: &Range<usize>) -> Result<Cut> {
    let at = 3 - geometry.rank + axis;
    let taps = [geometry.kernel[at], geometry.dilation[at], geometry.output[at], geometry.input[at]].map(i64::from);
    let [kernel, dilation, whole, input] = taps;
    let (first, end) = (outputs.start as i64, outputs.end as i64);
    let reach = (kernel - 1) * dilation;
    let only_padding = || {
        let (size, outputs) = (geometry.input[at], outputs.clone());
        Error::unsupported("output", format!("{outputs:?} of axis {axis} see nothing of the {size} inputs but padding"))
    };
    let fit = |value: i64| usize::try_from(value).map_err(|_| only_padding());
    match problem.layer {
        Layer::Conv(desc) if desc.transposed => {
            let stride = desc.stride[axis] as i64;
            // Of the outputs before cropping; the equivalent convolution has the rest of its reach as padding.
            let crop = reach - i64::from(geometry.pad_begin[at]);
            let from = (first + crop - reach + stride - 1).div_euclid(stride);
            let from = from.min((first + crop).div_euclid(stride)).clamp(0, input - 1);
            let to = ((end - 1 + crop).div_euclid(stride) + 1).clamp(from + 1, input);
            // An axis that is not cut keeps all its inputs, those too that cropping leaves without any use.
            let (from, to) = if first == 0 && end == whole { (0, input) } else { (from, to) };
            let begin = first + crop - from * stride;
            let full = (to - from - 1) * stride + reach + 1;
            let spare = full - begin - (end - first);
            Ok(Cut {
                input: fit(from)?..fit(to)?,
                begin: fit(begin)?,
                end: fit(spare.max(0))?,
                output_padding: fit((-spare).max(0))?,
            })
        }
        _ => {
            let (pad_begin, pad_end) = (i64::from(geometry.pad_begin[at]), i64::from(geometry.pad_end[at]));
            if first == 0 && end == whole {
                return Ok(Cut { input: 0..fit(input)?, begin: fit(pad_begin)?, end: fit(pad_end)?, output_padding: 0 });
            }
            if geometry.padding_mode == PaddingMode::Circular && (pad_begin > 0 || pad_end > 0) {
                return Err(Error::unsupported(
                    "padding_mode",
                    format!("Circular: outputs of axis {axis} read both ends of the input"),
                ));
            }
            let stride = i64::from(geometry.stride[at]);
            let from = first * stride - pad_begin;
            let reached = (end - 1) * stride + reach + 1 - pad_begin;
            // The last section has all that is behind it, what the stride leaves over too.
            let (to, end) = if end == whole { (input, pad_end) } else { (reached.min(input), (reached - input).max(0)) };
            let begin = (-from).max(0);
            let from = from.max(0);
            if from >= to {
                return Err(only_padding());
            }
            Ok(Cut { input: fit(from)?..fit(to)?, begin: fit(begin)?, end: fit(end)?, output_padding: 0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(problem: &Problem, geometry: &Geometry, outputs: Range<usize>) -> Result<Section> {
        section(problem, geometry, std::slice::from_ref(&outputs))
    }

    /// What output `o` of the first axis reads: for each tap an input.
    fn sources(geometry: &Geometry, o: u32) -> Vec<Option<u32>> {
        (0..geometry.kernel[2]).map(|tap| geometry.source(2, o, tap)).collect()
    }

    /// Every section of a layer over one axis reads what the whole layer reads; gives how many there are, and how many are refused.
    fn check(line: &str) -> (usize, usize) {
        let problem: Problem = line.parse().unwrap();
        let geometry = Geometry::new(&problem).unwrap_or_else(|error| panic!("{line}: {error}"));
        let outputs = geometry.output[2];
        let (mut done, mut refused) = (0, 0);
        for first in 0..outputs {
            for end in first + 1..=outputs {
                let Ok(Section { problem, geometry: own, input }) = part(&problem, &geometry, first as usize..end as usize)
                else {
                    refused += 1;
                    continue;
                };
                let part = Geometry::new(&problem).unwrap();
                assert_eq!(part.output[2], end - first, "{line} as {problem}");
                for o in 0..end - first {
                    let moved: Vec<_> = sources(&part, o).into_iter().map(|at| at.map(|at| at + input[0].start as u32)).collect();
                    let wanted = sources(&geometry, first + o);
                    assert_eq!(moved, wanted, "{line}, outputs {first}..{end} as {problem}");
                    assert_eq!(sources(&own, o), sources(&part, o), "{line}, outputs {first}..{end} as {problem}");
                    // Padding that counts in an average is as much.
                    let padded = |geometry: &Geometry, o: u32| {
                        let start = i64::from(o * geometry.stride[2]) - i64::from(geometry.pad_begin[2]);
                        let limit = i64::from(geometry.input[2]) + i64::from(geometry.pad_end[2]);
                        let tap = |tap: u32| start + i64::from(tap * geometry.dilation[2]) < limit;
                        (0..geometry.kernel[2]).filter(|&at| tap(at)).count()
                    };
                    assert!(geometry.transposed || padded(&part, o) == padded(&geometry, first + o), "{line}: {problem}");
                }
                done += 1;
            }
        }
        (done, refused)
    }

    #[test]
    fn sections_read_what_the_whole_layer_reads() {
        let (mut done, mut refused) = (0, 0);
        let mut add = |line: String| {
            let (more, less) = check(&line);
            (done, refused) = (done + more, refused + less);
        };
        for kernel in 1..5 {
            for (stride, dilation) in [(1, 1), (1, 2), (2, 1), (3, 1), (2, 3), (5, 1)] {
                for (begin, end) in [(0, 0), (1, 1), (2, 0), (0, 2)] {
                    let numbers = format!("k{kernel} s{stride} p{begin}:{end} d{dilation}");
                    let reach = (kernel - 1) * dilation + 1;
                    add(format!("conv 1x1x13 o1 {numbers} f32"));
                    add(format!("conv 1x1x13 o1 {numbers} f32").replace(" d", " replicate d"));
                    add(format!("conv 1x1x13 o1 {numbers} f32").replace(" d", " reflect d"));
                    if begin.max(end) <= reach / 2 {
                        add(format!("avg_pool 1x1x13 {numbers} f32"));
                        add(format!("avg_pool 1x1x13 {numbers} ceil f32"));
                    }
                    if begin + end < 4 * stride + reach {
                        add(format!("conv_transpose 1x1x5 o1 {numbers} f32"));
                        let padding = usize::from(stride.max(dilation) > 1);
                        add(format!("conv_transpose 1x1x5 o1 {numbers} op{padding} f32"));
                    }
                }
            }
        }
        // Some reflections need what only a longer input would have.
        assert!(done > 10_000 && refused < done / 5, "{done} sections, {refused} refused");
    }

    #[test]
    fn an_axis_that_is_not_cut_keeps_its_inputs() {
        // Cropping by 2 leaves the first and the last of the inputs of the second axis without any use.
        let problem: Problem = "conv_transpose 1x1x5x6 o1 k2x1 s3x3 p1x2 f32".parse().unwrap();
        let geometry = Geometry::new(&problem).unwrap();
        let width = geometry.output[2] as usize;
        let section = section(&problem, &geometry, &[3..9, 0..width]).unwrap();
        assert_eq!(section.input[1], 0..6, "{}", section.problem);
    }

    #[test]
    fn what_depends_on_the_whole_has_no_sections() {
        for line in ["global_avg_pool 1x1x9 f32", "adaptive_max_pool 1x1x9 to4 f32", "conv 1x1x9 o1 k3 p1 circular f32"] {
            let problem: Problem = line.parse().unwrap();
            let geometry = Geometry::new(&problem).unwrap();
            let outputs = geometry.output[2] as usize;
            assert!(part(&problem, &geometry, 0..outputs).is_ok());
            assert!(outputs == 1 || part(&problem, &geometry, 0..outputs - 1).is_err(), "{line}");
        }
    }
}
