//! Which algorithms are to be measured on a layer.

use std::str::FromStr;

use wgconv::{Algorithm, Candidates, Engine, Problem};

/// What `--algorithm` says.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// The best, as the engine's tuning finds it.
    Best,
    /// The best tile of every family that takes the layer.
    All,
    /// The best tile of one family.
    Family(&'static str),
    /// One with its tile.
    One(Algorithm),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Choice::All);
        }
        let family = Algorithm::names().iter().find(|&&name| name == text);
        let one = || text.parse().map(Choice::One).map_err(|error: wgconv::Error| format!("{error}; or all"));
        family.map_or_else(one, |name| Ok(Choice::Family(name)))
    }
}

impl Choice {
    /// The algorithms for a layer on a device, the planner's best guess first.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn algorithms(&self, engine: &Engine, problem: &Problem) -> Result<Vec<Algorithm>, String> {
        if let Choice::One(algorithm) = self {
            return engine.plan(problem, algorithm).map(|_| vec![*algorithm]).map_err(|error| error.to_string());
        }
        if *self == Choice::Best {
            return engine
                .explain(problem)
                .map(|explanation| vec![explanation.plan.algorithm])
                .map_err(|error| error.to_string());
        }
        let Candidates { algorithms, refusals } = engine.candidates(problem).map_err(|error| error.to_string())?;
        let mut chosen: Vec<Algorithm> = Vec::new();
        for algorithm in algorithms {
            let wanted = match self {
                Choice::All => chosen.iter().all(|other| other.name() != algorithm.name()),
                Choice::Family(name) => chosen.is_empty() && algorithm.name() == *name,
                Choice::Best | Choice::One(_) => unreachable!("it was dealt with above"),
            };
            if wanted {
                chosen.push(algorithm);
            }
        }
        if chosen.is_empty() {
            let concerns = |algorithm: &str| !matches!(self, Choice::Family(name) if *name != algorithm);
            let reasons = refusals.iter().filter(|refusal| concerns(refusal.algorithm)).map(ToString::to_string);
            return Err(reasons.collect::<Vec<_>>().join("; "));
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_all_a_family_or_an_algorithm_with_its_tile() {
        assert_eq!("all".parse(), Ok(Choice::All));
        assert_eq!("gemm".parse(), Ok(Choice::Family("gemm")));
        assert_eq!("gemm(64x64x16,8x4)".parse(), Ok(Choice::One("gemm(64x64x16,8x4)".parse().unwrap())));
        assert!("fastest".parse::<Choice>().is_err_and(|message| message.contains("subgroup_gemm")));
    }
}
