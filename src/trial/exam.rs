//! [`Exam`]: what a candidate must pass before it may be chosen.
//!
//! A small layer's results are all judged by the reference, as in [`Case`]. On larger ones the reference would take seconds, so it
//! computes some outputs, and the rest are compared with the direct kernel's where that does not take long.

use std::sync::Arc;

use super::operands::{Numbers, Operands, Random};
use super::ready::{Ready, Results};
use super::{Case, Judge, judge_guard};
use crate::algorithm::Plan;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::gpu::Gpu;
use crate::problem::{Layer, Problem};
use crate::reference;

/// Operations up to which the reference computes every output of a convolution: a tenth of a second.
const SMALL: u64 = 20 << 20;

/// Outputs of a larger one that it computes.
const SAMPLED: u64 = 64;

/// Seed of the operands.
const SEED: u64 = 1;

/// A layer, operands, and what is known of the results.
pub(crate) enum Exam {
    /// All results.
    Whole(Box<Case>),
    /// Some of them.
    Sampled(Box<Sample>),
}

/// What is known of a large convolution's results.
pub(crate) struct Sample {
    problem: Problem,
    geometry: Geometry,
    operands: Operands,
    /// Index, value and magnitude of some outputs.
    expected: Vec<(usize, f64, f64)>,
    /// All outputs, by the direct kernel.
    direct: Option<Vec<f32>>,
}

/// Random operands to time a layer with; the exam of a large layer uses them too.
///
/// # Errors
/// Those of [`Geometry::new`].
pub(crate) fn operands(problem: &Problem) -> Result<Operands> {
    let geometry = Geometry::new(problem)?;
    Operands::new(problem, &geometry, Numbers::Floats(Random(SEED), problem.input.dtype(), -1.0))
}

impl Exam {
    /// Of a layer with its [`operands`]. Where `direct` is a plan, a large convolution is compared with what it gives.
    ///
    /// # Errors
    /// Those of the reference, and of running the direct kernel.
    pub fn new(gpu: &Arc<Gpu>, problem: &Problem, operands: Operands, direct: Option<&Plan>) -> Result<Self> {
        let geometry = Geometry::new(problem)?;
        if matches!(problem.layer, Layer::Pool(_)) || geometry.flop() <= SMALL {
            return Ok(Exam::Whole(Box::new(Case::new(problem, SEED)?)));
        }
        let outputs = geometry.output_elements();
        let mut random = Random(SEED);
        // The first and the last are at the edges, which fail first.
        let mut indices: Vec<usize> = (2..SAMPLED).map(|_| (random.next() % outputs) as usize).collect();
        indices.extend([0, (outputs - 1) as usize]);
        let values = reference::conv_at(problem, &operands.of_conv(), &indices)?;
        let expected = indices.into_iter().zip(values).map(|(index, (value, magnitude))| (index, value, magnitude)).collect();
        let mut sample = Sample { problem: problem.clone(), geometry, operands, expected, direct: None };
        if let Some(plan) = direct {
            let results = Ready::new(gpu, plan, &sample.operands)?.results()?;
            // What is wrong itself is nothing to compare with; its exam will say so.
            if sample.failures(&results, plan).is_empty() {
                sample.direct = Some(results.values);
            }
        }
        Ok(Exam::Sampled(Box::new(sample)))
    }

    /// Runs a plan and says what is wrong with its results: nothing, where it passes.
    ///
    /// # Errors
    /// Those of running.
    pub fn failures(&self, gpu: &Arc<Gpu>, plan: &Plan) -> Result<Vec<String>> {
        match self {
            Exam::Whole(case) => Ok(case.check_plan(gpu, plan)?.failures),
            Exam::Sampled(sample) => Ok(sample.failures(&Ready::new(gpu, plan, &sample.operands)?.results()?, plan)),
        }
    }
}

impl Sample {
    fn failures(&self, results: &Results, plan: &Plan) -> Vec<String> {
        let mut failures = Vec::new();
        judge_guard(results, &mut failures);
        let operands = self.operands.of_conv();
        let judge = Judge::new(&self.problem, &self.geometry, &plan.algorithm, &operands);
        // No term of a sum is above 1: operands, bias and residual are at most that.
        let largest = self.geometry.reduction() as f64 + 2.0;
        let wrong = self.expected.iter().find(|&&(index, value, magnitude)| {
            let magnitude = if judge.shares_magnitudes() { largest } else { magnitude };
            !within(judge.error(index, (value, magnitude), results.values[index]), 1.0)
        });
        if let Some(&(index, value, _)) = wrong {
            failures.push(format!("sampled: output {index} is {} instead of {value}", results.values[index]));
        }
        // Both may be off, and the direct kernel by no more than any other.
        let apart = |&index: &usize, direct: &[f32]| {
            !within(judge.error(index, (f64::from(direct[index]), largest), results.values[index]), 2.0)
        };
        if let Some(direct) = &self.direct
            && let Some(index) = (0..direct.len()).find(|index| apart(index, direct))
        {
            let (got, wanted) = (results.values[index], direct[index]);
            failures.push(format!("compared: output {index} is {got}, but the direct kernel gives {wanted}"));
        }
        failures
    }
}

/// NaN is not within anything.
fn within(part: f64, most: f64) -> bool {
    part <= most
}
