//! [`Tuning`]: where the choice among the algorithms that take a layer comes from: a guess, a table, or a measurement.
//!
//! The table is text, [one section for each device](table); the one that ships with the library is read only, and the user's wins over
//! it. Nothing in a table is believed: an entry is a hint which of the planner's own candidates to take, so a damaged or outdated one
//! costs speed at most. What a measurement finds has been compared with the reference before it gets in.

mod file;
mod key;
mod measure;
mod table;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(crate) use measure::Question;

use crate::algorithm::Algorithm;
use crate::error::{Error, Result};
use crate::gpu::AdapterSummary;
use crate::limits::DeviceLimits;
use table::{Parsed, Section, Table};

/// What ships with the library.
const SHIPPED: &str = include_str!("shipped.txt");

/// How an engine chooses among the algorithms that take a layer.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use wgconv::{Engine, EngineDesc, Tuning};
/// // The first program to meet a layer measures it, later ones know.
/// let tuning = Tuning::Measure { budget: Duration::from_secs(2) };
/// let engine = Engine::new(&EngineDesc { tuning, ..Default::default() })?;
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tuning {
    /// The planner's best guess. Reads no file.
    #[default]
    Heuristic,
    /// What the tuning table says, and the best guess where it says nothing. Measures and writes nothing.
    Cached,
    /// What the tuning table says. Where it says nothing, candidates are timed, the fastest is compared with the reference, and what
    /// passes goes into the user's table.
    Measure {
        /// Time to spend on each layer. A candidate that began within it is timed to its end; a final among the three fastest and the
        /// check of the winner come on top. Where it is too short to compare two candidates, the best guess is taken and nothing is stored.
        budget: Duration,
    },
}

/// The budget of `measure` where none is given.
const USUAL_BUDGET: Duration = Duration::from_secs(2);

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tuning::Heuristic => f.write_str("heuristic"),
            Tuning::Cached => f.write_str("cached"),
            Tuning::Measure { budget } => write!(f, "measure={}", budget.as_secs_f64()),
        }
    }
}

impl FromStr for Tuning {
    type Err = Error;

    /// Parses `heuristic`, `cached`, `measure` (two seconds) and `measure=0.5` (seconds for each layer).
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(
                "tuning",
                format!("`{text}` is not one of heuristic, cached, measure, or measure=SECONDS such as measure=0.5"),
            )
        };
        match (text, text.strip_prefix("measure=")) {
            ("heuristic", _) => Ok(Tuning::Heuristic),
            ("cached", _) => Ok(Tuning::Cached),
            ("measure", _) => Ok(Tuning::Measure { budget: USUAL_BUDGET }),
            (_, Some(seconds)) => {
                let seconds = seconds.parse().map_err(|_| bad())?;
                Ok(Tuning::Measure { budget: Duration::try_from_secs_f64(seconds).map_err(|_| bad())? })
            }
            _ => Err(bad()),
        }
    }
}

/// The choices of one engine.
pub(crate) struct Tuner {
    tuning: Tuning,
    wanted: Option<PathBuf>,
    /// The section of the table.
    device: String,
    /// Held while measuring, so that no two measurements disturb each other.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the tables say; `None` until somebody asks.
    known: Option<Section>,
    /// What was measured here.
    measured: Section,
    /// The user's table could not be written, and a warning has said so.
    unwritable: bool,
}

impl Tuner {
    /// `plans` says how the engine makes plans from algorithms; `wanted` is the path of the user's table where it is not the usual one.
    pub fn new(tuning: Tuning, wanted: Option<PathBuf>, adapter: &AdapterSummary, limits: &DeviceLimits, plans: &str) -> Self {
        Self { tuning, wanted, device: key::device(adapter, limits, plans), state: Mutex::default() }
    }

    /// One of the algorithms in question. `key` names the problem, with whatever keeps candidates from being in question.
    ///
    /// # Errors
    /// As [`Question::measure`]; never for a table.
    pub fn choose(&self, key: &str, question: &Question) -> Result<Algorithm> {
        let guess = question.algorithms[0];
        let budget = match self.tuning {
            Tuning::Heuristic => return Ok(guess),
            _ if question.algorithms.len() == 1 => return Ok(guess),
            Tuning::Cached => None,
            Tuning::Measure { budget } => Some(budget),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.known.get_or_insert_with(|| self.read());
        if let Some(text) = known.get(key) {
            match text.parse::<Algorithm>() {
                Ok(algorithm) if question.algorithms.contains(&algorithm) => return Ok(algorithm),
                Ok(algorithm) => log::warn!("tuning table: {algorithm} is no candidate for `{key}`: the entry is not used"),
                Err(error) => log::warn!("tuning table: the entry of `{key}` is not used: {error}"),
            }
            // One warning is enough.
            known.remove(key);
        }
        let Some(budget) = budget else { return Ok(guess) };
        let best = question.measure(budget)?;
        // What was not decided is not tried again by this engine, but it is not written either.
        known.insert(key.into(), best.unwrap_or(guess).to_string());
        if let Some(best) = best {
            state.measured.insert(key.into(), best.to_string());
            self.write(&mut state);
        }
        Ok(best.unwrap_or(guess))
    }

    /// The entries of this device, of the shipped table and the user's.
    fn read(&self) -> Section {
        let mut table = Table::default();
        let user = file::user_table(self.wanted.as_deref()).map(|path| (path.display().to_string(), file::read(&path)));
        let shipped = ("the shipped one".into(), Table::parse(SHIPPED));
        for (name, parsed) in [Some(shipped), user].into_iter().flatten() {
            match parsed {
                Ok(Parsed { table: read, damage }) => {
                    if let Some(first) = damage.first() {
                        log::warn!("tuning table {name}: {} lines are not used: {first}", damage.len());
                    }
                    table.merge(&self.device, read.section(&self.device).unwrap_or(&Section::new()));
                }
                Err(message) => log::warn!("tuning table: not used: {message}"),
            }
        }
        table.section(&self.device).cloned().unwrap_or_default()
    }

    /// Puts everything measured so far into the user's table: what a failure left out comes with the next.
    fn write(&self, state: &mut State) {
        let Some(path) = file::user_table(self.wanted.as_deref()) else { return };
        if let Err(message) = file::add(&path, &self.device, &state.measured)
            && !std::mem::replace(&mut state.unwritable, true)
        {
            log::warn!("tuning table: what was measured is known to this engine only: {message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuning_prints_and_parses_to_itself() {
        for text in ["heuristic", "cached", "measure=0.5", "measure=0"] {
            assert_eq!(text.parse::<Tuning>().unwrap().to_string(), text);
        }
        assert_eq!("measure".parse::<Tuning>().unwrap(), Tuning::Measure { budget: USUAL_BUDGET });
        for text in ["", "fast", "measure=", "measure=-1", "measure=nan", "measure=1e99", "cached=1"] {
            assert_eq!(text.parse::<Tuning>().unwrap_err().field(), Some("tuning"), "{text}");
        }
    }

    #[test]
    fn the_shipped_table_is_sound() {
        let parsed = Table::parse(SHIPPED).unwrap();
        assert!(parsed.damage.is_empty(), "{:?}", parsed.damage);
        for line in SHIPPED.lines() {
            if let Some((_, algorithm)) = line.split_once(" = ") {
                algorithm.parse::<Algorithm>().unwrap();
            }
        }
    }
}
