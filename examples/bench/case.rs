//! A layer with random operands and what the reference makes of them: all of it, or for large layers a sample.

use half::f16;
use wgconv::reference::{self, ConvOperands};
use wgconv::verify::Judge;
use wgconv::{Algorithm, DType, Geometry, Layer, Problem, Residual, Result, Weights};

/// Up to so many products the reference computes every output: about a second.
const LARGE: u64 = 200_000_000;
/// Of larger layers as many outputs as take so many products, within bounds.
const SAMPLED: u64 = 1 << 25;
const FEWEST: u64 = 64;
const MOST: u64 = 1 << 14;

/// Operands, and results to judge by.
pub struct Case {
    pub problem: Problem,
    pub geometry: Geometry,
    pub input: Vec<f32>,
    pub residual: Option<Vec<f32>>,
    kernel: Vec<f32>,
    bias: Option<Vec<f32>>,
    slope: Option<Vec<f32>>,
    expected: Vec<Expected>,
    /// Where the greatest elements are, of a max pooling that is asked for it.
    positions: Option<Vec<i32>>,
}

/// What the reference has at a flat index into the output.
struct Expected {
    index: usize,
    value: f64,
    magnitude: f64,
}

impl Case {
    /// # Errors
    /// Those of [`Geometry::new`], and of a reference that has no memory.
    pub fn new(problem: &Problem, seed: u64) -> Result<Self> {
        let geometry = Geometry::new(problem)?;
        let mut random = Random(seed);
        let mut numbers = |len: usize| random.list(len, problem.input.dtype());
        let mut case = Self {
            input: numbers(problem.input.elements()?),
            residual: None,
            kernel: Vec::new(),
            bias: None,
            slope: None,
            expected: Vec::new(),
            positions: None,
            problem: problem.clone(),
            geometry,
        };
        if let Layer::Conv(desc) = &problem.layer {
            let epilogue = &desc.epilogue;
            case.kernel = numbers(desc.weight_shape()?.iter().product());
            case.bias = epilogue.bias.then(|| numbers(desc.out_channels));
            case.slope = epilogue.activation.has_slope().then(|| numbers(desc.out_channels));
            let outputs = case.geometry.output_shape().iter().product();
            case.residual = (epilogue.residual != Residual::None).then(|| numbers(outputs));
        }
        case.expect(&mut random)?;
        Ok(case)
    }

    fn expect(&mut self, random: &mut Random) -> Result<()> {
        let (outputs, reduction) = (self.geometry.output_elements(), self.geometry.reduction());
        let whole = outputs * reduction <= LARGE;
        let expected = |(index, (value, magnitude))| Expected { index, value, magnitude };
        let all = |output: reference::Output| {
            let values = output.values.into_iter().zip(output.magnitude).enumerate();
            (values.map(expected).collect(), output.indices)
        };
        (self.expected, self.positions) = match &self.problem.layer {
            Layer::Conv(_) if whole => all(reference::conv(&self.problem, &self.operands())?),
            Layer::Conv(_) => {
                let indices = sample(outputs, (SAMPLED / reduction).clamp(FEWEST, MOST), random);
                let values = reference::conv_at(&self.problem, &self.operands(), &indices)?;
                (indices.into_iter().zip(values).map(expected).collect(), None)
            }
            Layer::Pool(_) => all(reference::pool(&self.problem, &self.input)?),
        };
        Ok(())
    }

    pub fn weights(&self) -> Weights<'_> {
        Weights { kernel: &self.kernel, bias: self.bias.as_deref(), slope: self.slope.as_deref(), ..Default::default() }
    }

    fn operands(&self) -> ConvOperands<'_> {
        ConvOperands { input: &self.input, weights: self.weights(), residual: self.residual.as_deref() }
    }

    /// The largest error as a part of the algorithm's bound: at most 1 where the answer is right.
    pub fn error(&self, algorithm: &Algorithm, values: &[f32], positions: Option<&[i32]>) -> f64 {
        let judge = Judge::new(&self.problem, &self.geometry, algorithm, &self.operands());
        if positions.is_some() && positions != self.positions.as_deref() {
            return f64::INFINITY;
        }
        let shared = judge.shares_magnitudes().then(|| self.largest_magnitudes());
        let error = |at: &Expected| {
            let magnitude = shared.as_ref().map_or(at.magnitude, |largest| largest[self.plane(at)]);
            judge.error(at.index, (at.value, magnitude), values[at.index])
        };
        self.expected.iter().map(error).fold(0.0, f64::max)
    }

    /// Of each plane of the output, among those that the reference has: of a sample too small rather than too large a bound.
    fn largest_magnitudes(&self) -> Vec<f64> {
        let mut largest = vec![0.0; (self.geometry.output_elements() / self.geometry.output_plane()) as usize];
        for at in &self.expected {
            let plane = self.plane(at);
            largest[plane] = at.magnitude.max(largest[plane]);
        }
        largest
    }

    fn plane(&self, at: &Expected) -> usize {
        at.index / self.geometry.output_plane() as usize
    }
}

/// So many indices below `outputs`, spread evenly, at random places so that no pattern of the layer is missed; both ends among them.
fn sample(outputs: u64, count: u64, random: &mut Random) -> Vec<usize> {
    let count = count.min(outputs);
    let pick = |number: u64| {
        let [begin, end] =
            [number, number + 1].map(|number| (u128::from(number) * u128::from(outputs) / u128::from(count)) as u64);
        (begin + random.next() % (end - begin)) as usize
    };
    let inner: Vec<usize> = (0..count).map(pick).collect();
    [0, outputs as usize - 1].into_iter().chain(inner).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Numbers in `-1..1` that the type holds exactly.
    pub fn list(&mut self, len: usize, dtype: DType) -> Vec<f32> {
        let number = || (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let fitted = |number: f32| if dtype == DType::F16 { f16::from_f32(number).to_f32() } else { number };
        std::iter::repeat_with(number).map(fitted).take(len).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_the_whole_output() {
        for (outputs, count) in [(1, 64), (63, 64), (1000, 64), (1 << 31, 1 << 14)] {
            let indices = sample(outputs, count, &mut Random(1));
            assert_eq!(indices.len() as u64, count.min(outputs) + 2);
            assert_eq!((indices[0], indices[1] as u64), (0, outputs - 1));
            let widest = indices[2..].windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) as u64;
            assert!(indices.iter().all(|&index| (index as u64) < outputs) && widest <= 2 * outputs.div_ceil(count));
        }
    }

    #[test]
    fn a_wrong_output_is_seen_and_the_right_one_is_not_one() {
        for line in ["conv 1x4x9x9 o3 k3x3 p1x1 f32 bias relu residual=after", "max_pool 1x4x8x8 k2x2 f32 indices=plane"] {
            let case = Case::new(&line.parse().unwrap(), 1).unwrap();
            let algorithm: Algorithm = if line.starts_with("conv") { "direct" } else { "pool" }.parse().unwrap();
            let mut values: Vec<f32> = case.expected.iter().map(|at| at.value as f32).collect();
            let positions = case.positions.clone();
            assert!(case.error(&algorithm, &values, positions.as_deref()) <= 1.0, "{line}");
            assert!(positions.is_none_or(|list| case.error(&algorithm, &values, Some(&list[1..])) > 1.0), "{line}");
            values[7] += 1e-3;
            assert!(case.error(&algorithm, &values, None) > 1.0, "{line}");
            values[7] = f32::NAN;
            assert_eq!(case.error(&algorithm, &values, None), f64::INFINITY, "{line}");
        }
    }
}
