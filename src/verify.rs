//! Verification of one layer by one algorithm on one device, against the [`mod@reference`](crate::reference).
//!
//! Three checks, each on outputs that start as NaN and have a guard zone behind them:
//! 1. *exact*: operands are small integers, so sums are exact in any order and the result must be the reference's to the bit;
//! 2. *bounded*: random floats, each output within [`Algorithm::tolerance`];
//! 3. *repeatable*: a second run gives the same bits.
//!
//! Not checked here: NaN and infinity in the operands, which a driver may treat as it likes.

pub use crate::trial::{Case, Judge, Report};

use crate::algorithm::Algorithm;
use crate::engine::Engine;
use crate::error::Result;
use crate::problem::Problem;

/// [`Case::new`] and [`Case::check`] in one.
///
/// # Errors
/// As those two.
pub fn check(engine: &Engine, problem: &Problem, algorithm: &Algorithm, seed: u64) -> Result<Report> {
    Case::new(problem, seed)?.check(engine, algorithm)
}

impl Case {
    /// Runs the layer and judges what comes out.
    ///
    /// # Errors
    /// Those of [`Engine::conv_with`](crate::Engine::conv_with) and of running; a wrong result is not an error but a failure in the report.
    pub fn check(&self, engine: &Engine, algorithm: &Algorithm) -> Result<Report> {
        self.check_plan(&engine.gpu(), &engine.plan(self.problem(), algorithm)?)
    }
}
