//! Sampling between elements, at positions that are data themselves: flow fields and regions. What sums windows is in
//! `sample_windows`.

use super::{Fact, Inputs, not_of_type, sample_windows, strides};
use crate::error::{Error, Result};
use crate::graph::{Op, SampleMode, SamplePadding};
use crate::parallel;
use crate::value::{ElementType, Value};

/// Samples of a bin on each axis, at most: the regions are data, and may be of any size.
const MAX_SAMPLES: usize = 4096;

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let x = inputs.get(0)?;
    if !x.element.is_float() {
        return Err(not_of_type("sampling works on floats", x.element));
    }
    match op {
        Op::GridSample { mode, .. } => {
            let grid = inputs.get(1)?;
            if !grid.element.is_float() {
                return Err(Error::invalid("grid", format!("is {}, but must be of floats", grid.element)));
            }
            let spatial = x.rank().checked_sub(2).filter(|spatial| matches!(spatial, 2 | 3)).ok_or_else(|| {
                Error::invalid("input", format!("has shape {:?}, but must have 2 or 3 spatial axes behind two others", x.shape))
            })?;
            if grid.rank() != x.rank() || grid.shape[0] != x.shape[0] || grid.shape[spatial + 1] != spatial {
                let message = format!("has shape {:?}, which does not fit an input of {:?}", grid.shape, x.shape);
                return Err(Error::invalid("grid", message));
            }
            if *mode == SampleMode::Cubic && spatial != 2 {
                return Err(Error::unsupported("mode", "is cubic, which needs 2 spatial axes"));
            }
            check_not_empty(&x.shape)?;
            Ok(vec![Fact::new(x.element, [&x.shape[..2], &grid.shape[1..=spatial]].concat())])
        }
        Op::RoiAlign { output: [rows, columns], sampling_ratio, .. } => {
            let (regions, batch) = (inputs.get(1)?, inputs.get(2)?);
            let &[_, channels, ..] = image(&x.shape)?;
            if regions.element != x.element || regions.rank() != 2 || regions.shape[1] != 4 {
                let (element, shape) = (regions.element, &regions.shape);
                return Err(Error::invalid(
                    "regions",
                    format!("are {element} of shape {shape:?}, but must be n x 4 {}", x.element),
                ));
            }
            if batch.element != ElementType::I64 || batch.shape != regions.shape[..1] {
                let (element, shape) = (batch.element, &batch.shape);
                let message = format!("are {element} of shape {shape:?}, but must be one i64 for each region");
                return Err(Error::invalid("batch_indices", message));
            }
            if *sampling_ratio > MAX_SAMPLES {
                return Err(Error::unsupported("sampling_ratio", format!("is {sampling_ratio}, more than {MAX_SAMPLES}")));
            }
            check_not_empty(&x.shape)?;
            Ok(vec![Fact::new(x.element, [regions.shape[0], channels, *rows, *columns])])
        }
        _ => sample_windows::infer(op, inputs),
    }
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let Fact { element, shape, .. } = &results[0];
    let list = match op {
        Op::GridSample { .. } | Op::RoiAlign { .. } if results[0].len() == 0 => Vec::new(),
        Op::GridSample { mode, padding, align_corners } => {
            Grid { mode: *mode, padding: *padding, align_corners: *align_corners }.sample(inputs, shape)
        }
        Op::RoiAlign { max, output, sampling_ratio, spatial_scale, half_pixel } => {
            let (scale, shift) = (f64::from(*spatial_scale), if *half_pixel { 0.5 } else { 0.0 });
            Regions { max: *max, output: *output, ratio: *sampling_ratio, scale, shift }.align(inputs, shape)?
        }
        _ => return sample_windows::evaluate(op, inputs, results),
    };
    Ok(vec![Value::from_floats(*element, shape, list)])
}

/// The axes of a batch of images.
pub(super) fn image(shape: &[usize]) -> Result<&[usize; 4]> {
    shape.try_into().map_err(|_| Error::invalid("input", format!("has shape {shape:?}, but must have the axes n, c, h, w")))
}

/// Refuses images without elements, in which there is nothing to find.
fn check_not_empty(shape: &[usize]) -> Result<()> {
    if shape[2..].contains(&0) {
        return Err(Error::invalid("input", format!("has shape {shape:?}, and so no elements to sample")));
    }
    Ok(())
}

/// Elements of one channel and their weights.
type Taps = Vec<(usize, f64)>;

fn weighted(plane: &[f64], taps: &[(usize, f64)]) -> f64 {
    taps.iter().map(|&(at, weight)| plane[at] * weight).sum()
}

/// The elements around a position and their bilinear weights, without those outside.
pub(super) fn bilinear([height, width]: [usize; 2], [y, x]: [f64; 2]) -> Taps {
    // In floats, so that a position of any size, or none, is only outside.
    let around = |at: f64, size: usize| {
        let corners = [at.floor(), at.floor() + 1.0];
        let inside = move |corner: &f64| (0.0..size as f64).contains(corner);
        corners.into_iter().filter(inside).map(move |corner| (corner as usize, 1.0 - (at - corner).abs()))
    };
    let row = |(row, weight): (usize, f64)| around(x, width).map(move |(column, other)| (row * width + column, weight * other));
    around(y, height).flat_map(row).collect()
}

/// [`Op::GridSample`]
struct Grid {
    mode: SampleMode,
    padding: SamplePadding,
    align_corners: bool,
}

impl Grid {
    fn sample(&self, inputs: &Inputs, shape: &[usize]) -> Vec<f64> {
        let (x, grid) = (inputs.value(0), inputs.value(1));
        let (sizes, channels) = (&x.shape()[2..], shape[1]);
        let (x, grid) = (x.to_f64(), grid.to_f64());
        let (plane, positions) = (sizes.iter().product::<usize>(), shape[2..].iter().product::<usize>());
        let mut result = Vec::with_capacity(shape.iter().product());
        for (item, grid) in x.chunks(channels * plane).zip(grid.chunks(positions * sizes.len())) {
            // All channels are sampled at the same places.
            let taps = parallel::collect(positions, |at| self.taps(&grid[at * sizes.len()..][..sizes.len()], sizes));
            let samples = |channel: usize| {
                let plane = &item[channel * plane..][..plane];
                taps.iter().map(|taps| weighted(plane, taps)).collect::<Vec<f64>>()
            };
            result.extend(parallel::collect(channels, samples).concat());
        }
        result
    }

    /// The elements that a place is made of. The grid names the last axis first.
    fn taps(&self, place: &[f64], sizes: &[usize]) -> Taps {
        let mut taps = vec![(0, 1.0)];
        for ((&at, &size), step) in place.iter().rev().zip(sizes).zip(strides(sizes)) {
            let axis = self.axis_taps(at, size);
            let both = |&(start, weight): &(usize, f64)| {
                axis.iter().map(|&(index, other)| (start + index * step, weight * other)).collect::<Taps>()
            };
            taps = taps.iter().flat_map(both).collect();
        }
        taps
    }

    fn axis_taps(&self, at: f64, size: usize) -> Taps {
        let length = size as f64;
        let at = if self.align_corners { (at + 1.0) / 2.0 * (length - 1.0) } else { ((at + 1.0) * length - 1.0) / 2.0 };
        let at = if self.mode == SampleMode::Nearest { at.round_ties_even() } else { at };
        let [least, most] = if self.align_corners { [0.0, length - 1.0] } else { [-0.5, length - 0.5] };
        let at = match self.padding {
            SamplePadding::Border if at < least || at > most => at.clamp(0.0, length - 1.0),
            SamplePadding::Reflection => reflect(at, least, most),
            _ => at,
        };
        let below = at.floor();
        let (first, weights) = match self.mode {
            SampleMode::Nearest => (at, vec![1.0]),
            SampleMode::Linear => (below, vec![1.0 - (at - below), at - below]),
            SampleMode::Cubic => (below - 1.0, cubic(at - below).to_vec()),
        };
        let taps = weights.into_iter().enumerate().filter_map(|(tap, weight)| {
            let at = first + tap as f64;
            let inside = match self.padding {
                SamplePadding::Zeros if !(0.0..length).contains(&at) => return None,
                SamplePadding::Reflection => reflect(at, least, most),
                _ => at,
            };
            // `as` takes NaN for 0, so that every place has an element.
            Some((inside.clamp(0.0, length - 1.0) as usize, weight))
        });
        taps.collect()
    }
}

/// A coordinate mirrored at the nearer border until it lies between both.
fn reflect(at: f64, least: f64, most: f64) -> f64 {
    let range = most - least;
    if range <= 0.0 {
        return least;
    }
    if (least..=most).contains(&at) {
        return at;
    }
    let distance = (at - least).rem_euclid(2.0 * range);
    least + distance.min(2.0 * range - distance)
}

/// The weights of four neighbours at a distance behind the second: Keys (1981) with -0.75.
fn cubic(distance: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let inner = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let outer = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [outer(distance + 1.0), inner(distance), inner(1.0 - distance), outer(2.0 - distance)]
}

/// [`Op::RoiAlign`]
struct Regions {
    max: bool,
    output: [usize; 2],
    ratio: usize,
    scale: f64,
    shift: f64,
}

/// The samples of one bin on one axis.
#[derive(Clone, Copy)]
struct Bins {
    start: f64,
    size: f64,
    samples: usize,
}

impl Regions {
    fn align(&self, inputs: &Inputs, shape: &[usize]) -> Result<Vec<f64>> {
        let x = inputs.value(0);
        let &[batch, channels, height, width] = image(x.shape())?;
        let (x, regions, items) = (x.to_f64(), inputs.value(1).to_f64(), inputs.value(2).to_i64());
        let region = |number: usize| -> Result<Vec<f64>> {
            let (region, item) = (&regions[number * 4..], items[number]);
            let item = usize::try_from(item)
                .ok()
                .filter(|&item| item < batch)
                .ok_or_else(|| Error::invalid("batch_indices", format!("name item {item}, but the batch has {batch}")))?;
            let bins = self.places([self.bins(region[1], region[3], 0)?, self.bins(region[0], region[2], 1)?], [height, width]);
            // All channels are sampled at the same places.
            let planes = x[item * channels * height * width..].chunks(height * width).take(channels);
            Ok(planes.flat_map(|plane| bins.iter().map(|samples| self.bin(plane, samples))).collect())
        };
        let lists: Result<Vec<Vec<f64>>> = parallel::collect(items.len().min(regions.len() / 4), region).into_iter().collect();
        let list = lists?.concat();
        debug_assert_eq!(list.len(), shape.iter().product::<usize>());
        Ok(list)
    }

    /// Where the bins of an axis of a region lie.
    fn bins(&self, start: f64, end: f64, axis: usize) -> Result<Bins> {
        let (start, end) = (start * self.scale - self.shift, end * self.scale - self.shift);
        // Without the shift, as the operation was defined first, no region is smaller than an element.
        let length = if self.shift == 0.0 { (end - start).max(1.0) } else { end - start };
        let size = length / self.output[axis] as f64;
        let samples = if self.ratio > 0 { self.ratio as f64 } else { size.ceil() };
        if !start.is_finite() || !size.is_finite() || samples > MAX_SAMPLES as f64 {
            let message = format!("have one from {start} to {end}: its bins have more than {MAX_SAMPLES} elements");
            return Err(Error::unsupported("regions", message));
        }
        // A region whose end lies before its start has no samples.
        Ok(Bins { start, size, samples: samples.max(0.0) as usize })
    }

    /// The samples of each bin in row-major order, each as the elements that it is made of.
    fn places(&self, [rows, columns]: [Bins; 2], size: [usize; 2]) -> Vec<Vec<Taps>> {
        let bin = |index: usize| {
            let (row, column) = (index / self.output[1], index % self.output[1]);
            let samples = rows.places(row).flat_map(|y| columns.places(column).map(move |x| [y, x]));
            samples.map(|place| region_taps(size, place)).collect()
        };
        (0..self.output[0] * self.output[1]).map(bin).collect()
    }

    fn bin(&self, plane: &[f64], samples: &[Taps]) -> f64 {
        if !self.max {
            return samples.iter().map(|taps| weighted(plane, taps)).sum::<f64>() / samples.len().max(1) as f64;
        }
        // ONNX compares what the four elements contribute, not what they sum up to; one outside contributes 0.
        let greatest = |taps: &Taps| {
            let outside = (taps.len() < 4).then_some(0.0);
            taps.iter().map(|&(at, weight)| plane[at] * weight).chain(outside).fold(f64::NEG_INFINITY, f64::max)
        };
        samples.iter().map(greatest).reduce(f64::max).unwrap_or(0.0)
    }
}

impl Bins {
    /// Where the samples of a bin lie.
    fn places(self, index: usize) -> impl Iterator<Item = f64> {
        let at = move |sample: usize| (sample as f64 + 0.5) * self.size / self.samples as f64;
        (0..self.samples).map(move |sample| self.start + index as f64 * self.size + at(sample))
    }
}

/// The elements of one sample of a region: within one element of the border those of the border, beyond that none.
fn region_taps(size: [usize; 2], place: [f64; 2]) -> Taps {
    if place.iter().zip(size).any(|(at, size)| !(-1.0..=size as f64).contains(at)) {
        return Taps::new();
    }
    bilinear(size, std::array::from_fn(|axis| place[axis].clamp(0.0, size[axis] as f64 - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;

    fn run(op: Op, inputs: &[Value]) -> Result<Value> {
        Ok(evaluate(&op, &inputs.iter().map(|value| shared(value.clone())).collect::<Vec<_>>(), 1)?.remove(0))
    }

    fn floats(shape: &[usize], list: &[f32]) -> Value {
        Value::new(shape, list.to_vec()).unwrap()
    }

    fn square() -> Value {
        floats(&[1, 1, 2, 2], &[0.0, 1.0, 2.0, 3.0])
    }

    #[test]
    fn a_grid_is_sampled_by_mode_and_padding() {
        use SampleMode::{Cubic, Linear, Nearest};
        use SamplePadding::{Border, Reflection, Zeros};
        for (mode, padding, align_corners, place, expected) in [
            (Linear, Zeros, true, [0.0, 0.0], 1.5),
            (Linear, Zeros, true, [-1.0, 1.0], 2.0),
            (Linear, Zeros, false, [-1.0, 1.0], 0.5),
            (Linear, Zeros, true, [2.0, 0.0], 1.0),
            (Linear, Border, true, [2.0, 0.0], 2.0),
            (Linear, Reflection, true, [2.0, 0.0], 1.5),
            (Linear, Reflection, false, [2.5, -1.0], 0.0),
            (Nearest, Zeros, false, [0.0, 0.0], 0.0),
            (Nearest, Border, false, [9.0, 9.0], 3.0),
            (Nearest, Zeros, false, [9.0, 0.0], 0.0),
            (Cubic, Zeros, false, [0.0, 0.0], 6.0 * (19.0 / 32.0) * (19.0 / 32.0)),
            (Cubic, Border, false, [0.0, 0.0], 1.5),
            (Linear, Zeros, false, [f32::INFINITY, 0.0], 0.0),
            (Nearest, Reflection, true, [f32::NAN, f32::NEG_INFINITY], 0.0),
        ] {
            let op = Op::GridSample { mode, padding, align_corners };
            let value = run(op.clone(), &[square(), floats(&[1, 1, 1, 2], &place)]).unwrap();
            assert_eq!(value.to_f64(), [expected], "{op:?} at {place:?}");
        }
        let op = Op::GridSample { mode: Linear, padding: Border, align_corners: true };
        let volume = [floats(&[1, 2, 2, 1, 1], &[5.0, 7.0, 1.0, 2.0]), floats(&[1, 1, 1, 1, 3], &[0.0, 0.0, 1.0])];
        assert_eq!(run(op, &volume).unwrap().to_f64(), [7.0, 2.0]);
    }

    fn align(max: bool, half_pixel: bool, sampling_ratio: usize) -> Op {
        Op::RoiAlign { max, output: [1, 1], sampling_ratio, spatial_scale: 1.0, half_pixel }
    }

    #[test]
    fn a_region_is_the_mean_or_the_maximum_of_its_samples() {
        for (op, region, expected) in [
            (align(false, true, 1), [0.0, 0.0, 2.0, 2.0], 1.5),
            (align(true, true, 1), [0.0, 0.0, 2.0, 2.0], 0.75),
            (align(false, false, 1), [0.0, 0.0, 2.0, 2.0], 3.0),
            (align(false, false, 1), [0.0, 0.0, 0.0, 0.0], 1.5),
            (align(false, true, 0), [0.0, 0.0, 2.0, 2.0], 1.5),
            (align(false, true, 0), [2.0, 2.0, 0.0, 0.0], 0.0),
            (align(false, true, 2), [10.0, 10.0, 12.0, 12.0], 0.0),
        ] {
            let value = run(op.clone(), &[square(), floats(&[1, 4], &region), Value::list(&[0])]).unwrap();
            assert_eq!(value.to_f64(), [expected], "{op:?} of {region:?}");
        }
        let negative = floats(&[1, 1, 2, 2], &[-4.0; 4]);
        let value = run(align(true, false, 1), &[negative, floats(&[1, 4], &[0.0, 0.0, 2.0, 2.0]), Value::list(&[0])]).unwrap();
        assert_eq!(value.to_f64(), [0.0], "what lies outside contributes nothing, which is more");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |op: Op, inputs: &[Value], field: &str| {
            assert_eq!(run(op.clone(), inputs).unwrap_err().field(), Some(field), "{op:?}");
        };
        let region = |list: &[f32]| floats(&[1, 4], list);
        for list in [[0.0, 0.0, 1e30, 1.0], [0.0, f32::NAN, 1.0, 1.0], [f32::NEG_INFINITY, 0.0, 1.0, 1.0]] {
            check(align(false, true, 0), &[square(), region(&list), Value::list(&[0])], "regions");
        }
        for item in [-1, 1, i64::MIN] {
            check(align(false, true, 0), &[square(), region(&[0.0; 4]), Value::list(&[item])], "batch_indices");
        }
        check(align(false, true, usize::MAX), &[square(), region(&[0.0; 4]), Value::list(&[0])], "sampling_ratio");
        check(align(false, true, 0), &[square(), region(&[0.0; 4]), Value::list(&[0, 0])], "batch_indices");
        check(align(false, true, 0), &[square(), floats(&[4], &[0.0; 4]), Value::list(&[0])], "regions");
        let grid = |mode| Op::GridSample { mode, padding: SamplePadding::Border, align_corners: false };
        check(grid(SampleMode::Linear), &[square(), floats(&[1, 1, 1, 3], &[0.0; 3])], "grid");
        check(grid(SampleMode::Linear), &[floats(&[1, 1, 0, 2], &[]), floats(&[1, 1, 1, 2], &[0.0; 2])], "input");
        check(grid(SampleMode::Linear), &[Value::list(&[1]), square()], "input");
        check(grid(SampleMode::Linear), &[floats(&[], &[1.0]), square()], "input");
        check(grid(SampleMode::Cubic), &[floats(&[1; 5], &[1.0]), floats(&[1, 1, 1, 1, 3], &[0.0; 3])], "mode");
    }
}
