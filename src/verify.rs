//! Verification of one layer by one algorithm on one device, against the [`mod@reference`].
//!
//! Three checks, each on outputs that start as NaN and have a guard zone behind them:
//! 1. *exact*: operands are small integers, so sums are exact in any order and the result must be the reference's to the bit;
//! 2. *bounded*: random floats, each output within [`Algorithm::tolerance`];
//! 3. *repeatable*: a second run gives the same bits.
//!
//! Not checked here: NaN and infinity in the operands, which a driver may treat as it likes.

use std::fmt;

use half::f16;

use crate::activation::Activation;
use crate::algorithm::{Algorithm, Tolerance};
use crate::desc::{PoolKind, Residual};
use crate::engine::Engine;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::layer::ConvInputs;
use crate::problem::{Layer, Problem};
use crate::reference::{self, ConvOperands, Output};
use crate::tensor::Tensor;
use crate::tensor_desc::{DType, TensorDesc};
use crate::weights::Weights;

/// A quiet NaN that no computation gives.
const POISON: [u8; 4] = 0x7fc0_dead_u32.to_le_bytes();

/// Bytes behind an output that no kernel may touch.
const GUARD: u64 = 512;

/// Mismatches that a report shows.
const SHOWN: usize = 5;

/// A layer with operands and expected results, to check any number of algorithms with.
pub struct Case {
    problem: Problem,
    geometry: Geometry,
    seed: u64,
    exact: Option<Set>,
    random: Set,
    /// The largest magnitude of each plane of the random outputs.
    largest: Vec<f64>,
}

/// Operands and what the reference makes of them.
struct Set {
    operands: Operands,
    expected: Output,
}

/// Numbers for every operand that a layer may have.
struct Operands {
    input: Vec<f32>,
    kernel: Vec<f32>,
    bias: Option<Vec<f32>>,
    slope: Option<Vec<f32>>,
    residual: Option<Vec<f32>>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The layer.
    pub problem: Problem,
    /// Who computed it.
    pub algorithm: Algorithm,
    /// Of the operands.
    pub seed: u64,
    /// One text for each check that failed; empty when all is well.
    pub failures: Vec<String>,
    /// The largest error of the random operands as a part of its bound; at most 1 when all is well.
    pub max_error: f64,
    /// Whether the layer has an exact check: its epilogue must keep integers exact.
    pub exact: bool,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, algorithm, seed, failures, max_error, exact } = self;
        if failures.is_empty() {
            let exact = if *exact { "exact, " } else { "" };
            return write!(f, "{problem} by {algorithm}: {exact}error {:.1} % of its bound, repeatable", 100.0 * max_error);
        }
        write!(f, "{problem} by {algorithm}, seed {seed}:")?;
        for failure in failures {
            write!(f, "\n  {failure}")?;
        }
        write!(
            f,
            "\n  repeat: echo '{problem}' | cargo run --release --example verify -- --algorithm '{algorithm}' --seed {seed} problems -"
        )
    }
}

/// [`Case::new`] and [`Case::check`] in one.
///
/// # Errors
/// As those two.
pub fn check(engine: &Engine, problem: &Problem, algorithm: &Algorithm, seed: u64) -> Result<Report> {
    Case::new(problem, seed)?.check(engine, algorithm)
}

impl Case {
    /// Makes operands and computes the reference's results.
    ///
    /// # Errors
    /// Those of [`Geometry::new`].
    pub fn new(problem: &Problem, seed: u64) -> Result<Self> {
        let geometry = Geometry::new(problem)?;
        let set = |numbers: Numbers| -> Result<Set> {
            let operands = Operands::new(problem, &geometry, numbers)?;
            let expected = operands.reference(problem)?;
            Ok(Set { operands, expected })
        };
        let exact = stays_exact(problem, &geometry).then(|| set(Numbers::Integers(Random(seed)))).transpose()?;
        // Sums of many terms around 0 hide a missing part in their bound: those of terms that are mostly positive do not.
        let long = matches!(problem.layer, Layer::Pool(_)) || geometry.reduction() > 4096;
        let random = set(Numbers::Floats(Random(seed ^ 0x5eed), problem.input.dtype(), if long { -0.5 } else { -1.0 }))?;
        let planes = random.expected.magnitude.chunks(geometry.output_plane() as usize);
        let largest = planes.map(|plane| plane.iter().copied().fold(0.0, f64::max)).collect();
        Ok(Self { problem: problem.clone(), geometry, seed, exact, random, largest })
    }

    /// Runs the layer and judges what comes out.
    ///
    /// # Errors
    /// Those of [`Engine::conv_with`](crate::Engine::conv_with) and of running; a wrong result is not an error but a failure in the report.
    pub fn check(&self, engine: &Engine, algorithm: &Algorithm) -> Result<Report> {
        let mut failures = Vec::new();
        if let Some(set) = self.exact.as_ref().filter(|_| algorithm.is_exact()) {
            let results = self.run(engine, algorithm, &set.operands)?;
            self.judge_guard(&results, &mut failures);
            self.judge_exact(&results, &set.expected, &mut failures);
        }
        let results = self.run(engine, algorithm, &self.random.operands)?;
        self.judge_guard(&results, &mut failures);
        let max_error = self.judge_bounded(&results, algorithm, &mut failures);
        let again = self.run(engine, algorithm, &self.random.operands)?;
        if again.bytes != results.bytes || again.indices != results.indices {
            failures.push("repeatable: a second run gave other bits".into());
        }
        let Self { problem, seed, .. } = self;
        Ok(Report {
            problem: problem.clone(),
            algorithm: *algorithm,
            seed: *seed,
            failures,
            max_error,
            exact: self.exact.is_some() && algorithm.is_exact(),
        })
    }

    fn run(&self, engine: &Engine, algorithm: &Algorithm, operands: &Operands) -> Result<Results> {
        let shape = self.geometry.output_shape();
        let output_desc = TensorDesc::new(&shape, self.problem.input.dtype());
        let input = engine.upload(&operands.input, &self.problem.input)?;
        let output = engine.filled(&output_desc, GUARD, &POISON)?;
        let mut indices = None;
        match &self.problem.layer {
            Layer::Conv(desc) => {
                let conv = engine.conv_with(desc, &self.problem.input, operands.weights(), algorithm)?;
                conv.poison_workspace(&POISON)?;
                let residual = operands.residual.as_ref().map(|data| engine.upload(data, &output_desc)).transpose()?;
                conv.run_into(ConvInputs { input: &input, residual: residual.as_ref() }, &output)?;
            }
            Layer::Pool(desc) => {
                let pool = engine.pool_with(desc, &self.problem.input, algorithm)?;
                if matches!(desc.kind, PoolKind::Max { indices: Some(_) }) {
                    indices = Some(engine.filled(&TensorDesc::new(&shape, DType::I32), GUARD, &POISON)?);
                }
                pool.run_with_indices_into(&input, &output, indices.as_ref())?;
            }
        }
        let list = |tensor: &Tensor| tensor.to_vec::<i32>();
        Ok(Results {
            values: output.to_vec::<f32>()?,
            bytes: output.read_all()?,
            index_bytes: indices.as_ref().map(Tensor::read_all).transpose()?.unwrap_or_default(),
            indices: indices.as_ref().map(list).transpose()?,
        })
    }

    fn judge_guard(&self, results: &Results, failures: &mut Vec<String>) {
        for (name, bytes) in [("output", &results.bytes), ("indices", &results.index_bytes)] {
            let start = bytes.len().saturating_sub(GUARD as usize);
            if let Some(word) = bytes[start..].chunks(4).position(|word| word != POISON) {
                failures.push(format!("guard zone: word {word} behind the {name} was written"));
            }
        }
    }

    fn judge_exact(&self, results: &Results, expected: &Output, failures: &mut Vec<String>) {
        let rounded: Vec<f32> = expected.values.iter().map(|&value| round(value, self.problem.input.dtype())).collect();
        let wrong = |index: &usize| results.values[*index] != rounded[*index];
        self.report("exact", (0..rounded.len()).filter(wrong), failures, |index| {
            format!("{} instead of {}", results.values[index], rounded[index])
        });
        if let (Some(got), Some(wanted)) = (&results.indices, &expected.indices) {
            let wrong = |index: &usize| got[*index] != wanted[*index];
            self.report("indices", (0..wanted.len()).filter(wrong), failures, |index| {
                format!("{} instead of {}", got[index], wanted[index])
            });
        }
    }

    /// Gives the largest error as a part of its bound.
    fn judge_bounded(&self, results: &Results, algorithm: &Algorithm, failures: &mut Vec<String>) -> f64 {
        let Set { operands, expected } = &self.random;
        let judge = Judge::new(&self.problem, &self.geometry, algorithm, &operands.of_conv());
        let plane = self.geometry.output_plane() as usize;
        let magnitude =
            |index: usize| if judge.shares_magnitudes() { self.largest[index / plane] } else { expected.magnitude[index] };
        let expected = |index: usize| (expected.values[index], magnitude(index));
        let part = |index: usize| judge.error(index, expected(index), results.values[index]);
        let parts: Vec<f64> = (0..results.values.len()).map(part).collect();
        self.report("bounded", (0..parts.len()).filter(|&index| parts[index] > 1.0), failures, |index| {
            let bound = judge.bound(index, expected(index));
            format!("{} instead of {}, bound {bound:e}", results.values[index], expected(index).0)
        });
        parts.into_iter().fold(0.0, f64::max)
    }

    /// Turns the flat indices of wrong outputs into one text.
    fn report(
        &self,
        check: &str,
        wrong: impl Iterator<Item = usize>,
        failures: &mut Vec<String>,
        describe: impl Fn(usize) -> String,
    ) {
        let wrong: Vec<usize> = wrong.collect();
        if wrong.is_empty() {
            return;
        }
        let shape = self.geometry.output_shape();
        let shown: Vec<_> =
            wrong.iter().take(SHOWN).map(|&index| format!("{:?} is {}", coordinates(index, &shape), describe(index))).collect();
        let outputs = self.geometry.output_elements();
        failures.push(format!("{check}: {} of {outputs} outputs are wrong: {}", wrong.len(), shown.join("; ")));
    }
}

/// How far each output of a layer may be from the reference's, by one algorithm: what the check *bounded* asks, for whoever has
/// outputs and some of the reference's results, such as those of [`reference::conv_at`].
pub struct Judge<'a> {
    layer: &'a Layer,
    dtype: DType,
    tolerance: Tolerance,
    /// The steepest slope of a PReLU.
    slope: f64,
    residual: Option<&'a [f32]>,
}

impl<'a> Judge<'a> {
    /// Of the outputs of `problem`, whose numbers are `geometry`; a pooling's operands have neither weights nor residual.
    pub fn new(problem: &'a Problem, geometry: &Geometry, algorithm: &Algorithm, operands: &ConvOperands<'a>) -> Self {
        let dtype = problem.input.dtype();
        let slopes = operands.weights.slope.into_iter().flatten();
        Self {
            layer: &problem.layer,
            dtype,
            tolerance: algorithm.tolerance(geometry, dtype),
            slope: slopes.fold(0.0, |most: f64, &slope| most.max(f64::from(slope).abs())),
            residual: operands.residual,
        }
    }

    /// The error of the output of this flat index as a part of its bound: at most 1 where it is right, infinite for NaN.
    ///
    /// `expected` is the reference's value and magnitude, as in [`Output`]; where the algorithm [shares
    /// magnitudes](Self::shares_magnitudes), the largest magnitude of the output's channel.
    pub fn error(&self, index: usize, expected: (f64, f64), got: f32) -> f64 {
        let (got, wanted, bound) = (f64::from(got), expected.0, self.bound(index, expected));
        // From half a step above the largest f16 on, infinity is the right answer.
        let overflows = self.dtype == DType::F16 && wanted.abs() + bound >= 65_520.0;
        if overflows && got.is_infinite() && got.signum() == wanted.signum() {
            return 0.0;
        }
        let error = (got - wanted).abs();
        // A max pooling has no error and the bound 0. NaN is not an error to be measured but always too large.
        if error == 0.0 {
            0.0
        } else if error.is_nan() {
            f64::INFINITY
        } else {
            error / bound
        }
    }

    /// Whether errors go from one output to its neighbours; see [`Tolerance`].
    pub fn shares_magnitudes(&self) -> bool {
        self.tolerance.shared
    }

    fn bound(&self, index: usize, (value, magnitude): (f64, f64)) -> f64 {
        let (value, tolerance) = (value.abs(), &self.tolerance);
        match self.layer {
            Layer::Conv(desc) => {
                let lipschitz = desc.epilogue.activation.lipschitz(self.slope, value);
                // A residual that is added behind the activation may cancel what the activation gave.
                let added = match (desc.epilogue.residual, self.residual) {
                    (Residual::AfterActivation, Some(residual)) => f64::from(residual[index]).abs(),
                    _ => 0.0,
                };
                tolerance.sum * magnitude * lipschitz + tolerance.relative * (value + added) + tolerance.absolute
            }
            Layer::Pool(desc) if matches!(desc.kind, PoolKind::Max { .. }) => 0.0,
            Layer::Pool(_) => tolerance.sum * magnitude + tolerance.relative * value + tolerance.absolute,
        }
    }
}

/// What came back from the device.
struct Results {
    values: Vec<f32>,
    bytes: Vec<u8>,
    indices: Option<Vec<i32>>,
    index_bytes: Vec<u8>,
}

fn coordinates(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut list: Vec<usize> = shape.iter().rev().map(|&size| (index % size, index /= size).0).collect();
    list.reverse();
    list
}

/// To nearest, by way of f32 as on the device.
fn round(value: f64, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(value as f32).to_f32(),
        DType::F32 | DType::I32 => value as f32,
    }
}

/// Whether integer operands give results without any rounding.
fn stays_exact(problem: &Problem, geometry: &Geometry) -> bool {
    let largest = geometry.reduction() as f64 * 6.0 + 6.0; // products of at most 3 * 2, and bias and residual of at most 3
    let limit = if problem.input.dtype() == DType::F16 { 2048.0 } else { f64::from(1 << 24) };
    match &problem.layer {
        Layer::Conv(desc) => {
            let exact = match desc.epilogue.activation {
                Activation::Identity | Activation::Relu | Activation::Relu6 => true,
                Activation::Clamp { min, max } => {
                    [min, max].iter().all(|bound| bound.is_infinite() || (bound.fract() == 0.0 && bound.abs() < 1024.0))
                }
                _ => false,
            };
            exact && largest <= limit
        }
        Layer::Pool(desc) => match desc.kind {
            PoolKind::Max { .. } => true,
            PoolKind::Lp { p } => p == 1.0 && largest <= limit,
            PoolKind::Average { .. } => false, // a device may divide with an error of 2.5 ulp
        },
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
#[derive(Clone, Copy)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Where operands come from.
#[derive(Clone, Copy)]
enum Numbers {
    /// Whole numbers in `-most..=most`.
    Integers(Random),
    /// Numbers from this one up to 1 that the type holds exactly.
    Floats(Random, DType, f64),
}

impl Numbers {
    fn list(&mut self, len: usize, most: i32) -> Vec<f32> {
        let next = || match self {
            Numbers::Integers(random) => ((random.next() >> 33) as i64 % i64::from(2 * most + 1) - i64::from(most)) as f32,
            Numbers::Floats(random, dtype, low) => {
                round(*low + (1.0 - *low) * (random.next() >> 40) as f64 / f64::from(1 << 24), *dtype)
            }
        };
        std::iter::repeat_with(next).take(len).collect()
    }
}

impl Operands {
    fn new(problem: &Problem, geometry: &Geometry, mut numbers: Numbers) -> Result<Self> {
        let input = numbers.list(problem.input.elements()?, 3);
        let Layer::Conv(desc) = &problem.layer else {
            return Ok(Self { input, kernel: Vec::new(), bias: None, slope: None, residual: None });
        };
        let per_channel = desc.out_channels;
        Ok(Self {
            input,
            kernel: numbers.list(desc.weight_shape()?.iter().product(), 2),
            bias: desc.epilogue.bias.then(|| numbers.list(per_channel, 3)),
            slope: (desc.epilogue.activation == Activation::Prelu).then(|| numbers.list(per_channel, 3)),
            residual: (desc.epilogue.residual != Residual::None).then(|| numbers.list(geometry.output_elements() as usize, 3)),
        })
    }

    fn weights(&self) -> Weights<'_> {
        Weights { kernel: &self.kernel, bias: self.bias.as_deref(), slope: self.slope.as_deref(), ..Default::default() }
    }

    fn of_conv(&self) -> ConvOperands<'_> {
        ConvOperands { input: &self.input, weights: self.weights(), residual: self.residual.as_deref() }
    }

    fn reference(&self, problem: &Problem) -> Result<Output> {
        match &problem.layer {
            Layer::Conv(_) => reference::conv(problem, &self.of_conv()),
            Layer::Pool(_) => reference::pool(problem, &self.input),
        }
    }
}
