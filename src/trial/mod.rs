//! A trial: one layer by one plan on one device, on random operands, judged by the [`mod@reference`](crate::reference).
//!
//! What [`mod@verify`](crate::verify) reports, and what a candidate must pass before the tuner may choose it. It knows no engine: that
//! stands above, and asks it.

mod exam;
mod judge;
mod operands;
mod ready;

use std::fmt;
use std::sync::Arc;

pub(crate) use exam::{Exam, operands};
pub use judge::Judge;
pub(crate) use operands::Operands;
use operands::{Numbers, Random, round};
pub(crate) use ready::Ready;
use ready::{GUARD, POISON, Results};

use crate::activation::Activation;
use crate::algorithm::{Algorithm, Plan};
use crate::desc::PoolKind;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::gpu::Gpu;
use crate::problem::{Layer, Problem};
use crate::reference::Output;
use crate::tensor_desc::DType;

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

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Case({}, seed {})", self.problem, self.seed)
    }
}

/// Operands and what the reference makes of them.
struct Set {
    operands: Operands,
    expected: Output,
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

    /// The layer.
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Runs a plan of the layer and judges what comes out.
    pub(crate) fn check_plan(&self, gpu: &Arc<Gpu>, plan: &Plan) -> Result<Report> {
        let algorithm = &plan.algorithm;
        let mut failures = Vec::new();
        if let Some(set) = self.exact.as_ref().filter(|_| algorithm.is_exact()) {
            let results = Ready::new(gpu, plan, &set.operands)?.results()?;
            judge_guard(&results, &mut failures);
            self.judge_exact(&results, &set.expected, &mut failures);
        }
        let ready = Ready::new(gpu, plan, &self.random.operands)?;
        let results = ready.results()?;
        judge_guard(&results, &mut failures);
        let max_error = self.judge_bounded(&results, algorithm, &mut failures);
        let again = ready.results()?;
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

/// Whether a kernel wrote behind its outputs.
fn judge_guard(results: &Results, failures: &mut Vec<String>) {
    for (name, bytes) in [("output", &results.bytes), ("indices", &results.index_bytes)] {
        let start = bytes.len().saturating_sub(GUARD as usize);
        if let Some(word) = bytes[start..].chunks(4).position(|word| word != POISON) {
            failures.push(format!("guard zone: word {word} behind the {name} was written"));
        }
    }
}

fn coordinates(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut list: Vec<usize> = shape.iter().rev().map(|&size| (index % size, index /= size).0).collect();
    list.reverse();
    list
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
