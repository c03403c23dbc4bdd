//! What the planner's guess costs: every candidate of a layer timed, the guess held against the fastest.
//!
//! Candidates are timed in turns, so that a neighbour's load meets all of them, and of each the least time counts: what a neighbour
//! adds is never negative. What is slower than [`HOPELESS`] times the fastest in its first timed runs is not run again. Where tensors lie
//! in memory is chance too, and may double a time: a guess that lost by more than the goal is timed again in tensors of their own, beside
//! those that it lost to. The fastest of many equals owes a part of its lead to chance: a regret of a few percent is noise.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use wgconv::{Algorithm, DeviceLimits, Engine};

use crate::case::Case;
use crate::measure::{Prepared, goes_on};
use crate::report::short;

/// So many times slower than the fastest so far is not worth another run.
const HOPELESS: u32 = 2;
/// Where all candidates would take too long, so many of each family's likeliest tiles are timed.
const LIKELIEST: usize = 3;
/// All candidates' runs may take so many times the budget.
const PATIENCE: u32 = 4;
/// How often a guess that lost by more than the median's goal is timed in other tensors.
const SITTINGS: usize = 2;
/// What the cost model is to reach, of the median layer and of the worst.
const GOALS: [f64; 2] = [0.10, 0.40];

/// A layer's guess and its candidates.
#[derive(Debug, Clone)]
pub struct Regret {
    pub layer: String,
    /// The layer as a line.
    pub problem: String,
    /// The guess first, in the planner's order; the least time of each.
    pub times: Vec<(Algorithm, Duration)>,
    /// How many candidates there are.
    pub candidates: usize,
    /// Those whose answer is wrong; they count for nothing.
    pub wrong: Vec<Algorithm>,
    /// What took longest to be made ready: its shaders, its packed weights and a first run, less the time of a later one.
    pub slowest: Option<(Algorithm, Duration)>,
}

impl Regret {
    pub fn choice(&self) -> (Algorithm, Duration) {
        self.times[0]
    }

    pub fn best(&self) -> (Algorithm, Duration) {
        *self.times.iter().min_by_key(|(_, time)| *time).expect("the guess is there")
    }

    /// By how much the guess is slower than the fastest: 0.1 is a tenth.
    pub fn regret(&self) -> f64 {
        excess(self.choice().1, self.best().1)
    }

    /// Whether the kernel that is nothing but the definition is faster than the guess.
    fn loses_to_direct(&self) -> bool {
        let direct = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Direct | Algorithm::Pool);
        self.times.iter().any(|(algorithm, time)| direct(algorithm) && *time < self.choice().1)
    }
}

/// By how much a time is longer than the least: 0.1 is a tenth.
fn excess(time: Duration, least: Duration) -> f64 {
    time.as_secs_f64() / least.as_secs_f64().max(1e-9) - 1.0
}

/// A candidate under way.
struct Runner {
    prepared: Option<Prepared>,
    algorithm: Algorithm,
    time: Duration,
}

/// Times the candidates of a layer for about `budget` beside compiling and a first run each.
///
/// # Errors
/// The text of what went wrong with the guess, or that there is no candidate.
pub fn measure(engine: &Engine, name: &str, case: &Case, budget: Duration, stage: &dyn Fn(&str)) -> Result<Regret, String> {
    let found = engine.candidates(&case.problem).map_err(|error| error.to_string())?;
    let mut algorithms = found.algorithms;
    let candidates = algorithms.len();
    let (mut runners, mut wrong) = (Vec::<Runner>::new(), Vec::new());
    let mut slowest: Option<(Algorithm, Duration)> = None;
    let mut fastest = Duration::MAX;
    let mut number = 0;
    while let Some(&algorithm) = algorithms.get(number) {
        number += 1;
        stage(&format!("{algorithm}, {number} of {}", algorithms.len()));
        let once = || -> wgconv::Result<_> {
            let prepared = Prepared::new(engine, case, &algorithm)?;
            let error = prepared.error(case)?;
            let mut time = prepared.sample(engine)?.time();
            if number == 1 || time > fastest {
                time = time.min(prepared.sample(engine)?.time());
            }
            Ok((time, error, prepared))
        };
        let (time, error, prepared) = once().map_err(|error| format!("{algorithm}: {error}"))?;
        let ready = prepared.first.saturating_sub(time);
        if slowest.is_none_or(|(_, most)| ready > most) {
            slowest = Some((algorithm, ready));
        }
        if error > 1.0 {
            wrong.push(algorithm);
            if number == 1 {
                return Err(format!("{algorithm}, the planner's choice, is WRONG: {} of its bound", short(error)));
            }
            continue;
        }
        fastest = fastest.min(time);
        let hopeful = number == 1 || time <= HOPELESS * fastest;
        runners.push(Runner { prepared: hopeful.then_some(prepared), algorithm, time });
        if number == 1 && time * u32::try_from(candidates).unwrap_or(u32::MAX) > PATIENCE * budget {
            keep_likeliest(&mut algorithms);
        }
    }
    for runner in runners.iter_mut().skip(1).filter(|runner| runner.time > HOPELESS * fastest) {
        runner.prepared = None;
    }
    if runners.is_empty() {
        return Err("nothing computes it".into());
    }
    stage("the hopeful in turns");
    time_in_turns(engine, &mut runners, budget)?;
    for sitting in 0..SITTINGS {
        let guess = runners[0].time;
        let fastest = runners.iter().map(|runner| runner.time).min().expect("the guess is there");
        if excess(guess, fastest) <= GOALS[0] {
            break;
        }
        stage(&format!("in other tensors, {} of {SITTINGS}", sitting + 1));
        runners.iter_mut().for_each(|runner| runner.prepared = None);
        engine.trim();
        for runner in runners.iter_mut().filter(|runner| runner.time <= guess) {
            let again = Prepared::new(engine, case, &runner.algorithm);
            runner.prepared = Some(again.map_err(|error| format!("{}: {error}", runner.algorithm))?);
        }
        time_in_turns(engine, &mut runners, budget)?;
    }
    let times: Vec<_> = runners.iter().map(|runner| (runner.algorithm, runner.time)).collect();
    Ok(Regret { layer: name.into(), problem: case.problem.to_string(), times, candidates, wrong, slowest })
}

/// Runs those that are prepared for about `budget`, one after the other, and keeps the least time of each.
fn time_in_turns(engine: &Engine, runners: &mut [Runner], budget: Duration) -> Result<(), String> {
    let mut rounds = 0;
    let start = Instant::now();
    while goes_on(rounds, start.elapsed(), budget) {
        for runner in &mut *runners {
            let Some(prepared) = &runner.prepared else { continue };
            let sample = prepared.sample(engine).map_err(|error| format!("{}: {error}", runner.algorithm))?;
            runner.time = runner.time.min(sample.time());
        }
        rounds += 1;
    }
    Ok(())
}

/// The first tiles of each family.
fn keep_likeliest(algorithms: &mut Vec<Algorithm>) {
    let mut kept: Vec<Algorithm> = Vec::new();
    algorithms.retain(|algorithm| {
        let keep = kept.iter().filter(|other| other.name() == algorithm.name()).count() < LIKELIEST;
        if keep {
            kept.push(*algorithm);
        }
        keep
    });
}

/// The median and the worst, and the layer of the worst; `None` of no layers.
pub fn summary(list: &[Regret]) -> Option<(f64, f64, &str)> {
    let mut sorted: Vec<_> = list.iter().collect();
    sorted.sort_by(|a, b| a.regret().total_cmp(&b.regret()));
    let worst = sorted.last()?;
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle].regret()
    } else {
        (sorted[middle - 1].regret() + sorted[middle].regret()) / 2.0
    };
    Some((median, worst.regret(), &worst.layer))
}

/// The widths of the columns with names.
pub struct Table {
    pub layer: usize,
}

/// Wide enough for all but the tiles of Winograd's products.
const ALGORITHM: usize = 32;

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Table {
    pub fn header(&self) -> String {
        self.line(["layer", "choice", "ms", "best", "ms", "regret", "timed"])
    }

    pub fn row(&self, regret: &Regret) -> String {
        let ((choice, time), (best, least)) = (regret.choice(), regret.best());
        let percent = format!("{:.1} %", 100.0 * regret.regret());
        let timed = format!("{} of {}", regret.times.len() + regret.wrong.len(), regret.candidates);
        let best = if best == choice { "the same".into() } else { best.to_string() };
        let (time, least) = (short(ms(time)), short(ms(least)));
        let mut text = self.line([&regret.layer, &choice.to_string(), &time, &best, &least, &percent, &timed]);
        for algorithm in &regret.wrong {
            let _ = write!(text, "  WRONG: {algorithm}"); // writing to a String cannot fail
        }
        text
    }

    fn line(&self, [layer, choice, time, best, least, percent, timed]: [&str; 7]) -> String {
        let first = self.layer;
        format!("{layer:<first$}  {choice:<ALGORITHM$}  {time:>8}  {best:<ALGORITHM$}  {least:>8}  {percent:>8}  {timed:>9}")
    }

    pub fn note(&self, layer: &str, text: &str) -> String {
        format!("{layer:<width$}  {text}", width = self.layer)
    }
}

/// The last lines.
pub fn conclusion(list: &[Regret]) -> String {
    let Some((median, worst, layer)) = summary(list) else { return "nothing was measured".into() };
    let mut text = format!("regret    {:.1} % of the median layer, {:.1} % of the worst, {layer}", 100.0 * median, 100.0 * worst);
    let verdict = if median <= GOALS[0] && worst <= GOALS[1] { "reached" } else { "missed" };
    let [goal, limit] = GOALS.map(|goal| 100.0 * goal);
    let _ = write!(text, "; the goal of {goal:.0} % and {limit:.0} % is {verdict}"); // writing to a String cannot fail
    let losers: Vec<&str> = list.iter().filter(|regret| regret.loses_to_direct()).map(|regret| regret.layer.as_str()).collect();
    let losers = if losers.is_empty() { "no layer".into() } else { losers.join(", ") };
    let _ = write!(text, "\ndirect    faster than the choice on {losers}");
    let slowest = list.iter().filter_map(|regret| regret.slowest.map(|slowest| (slowest, &regret.layer)));
    if let Some(((algorithm, time), layer)) = slowest.max_by_key(|((_, time), _)| *time) {
        let _ = write!(text, "\nready     within {} ms, the longest {algorithm} of {layer}", short(ms(time)));
    }
    if list.iter().any(|regret| regret.times.len() + regret.wrong.len() < regret.candidates) {
        let _ = write!(text, "\nlimited   layers too slow to time all got the {LIKELIEST} likeliest tiles of each algorithm");
    }
    text
}

/// `{"limits": {..}, "median": .., "worst": .., "layers": {NAME: {..}}}`; a regret of 0.1 is a tenth. The program `fit` reads it.
pub fn json(limits: &DeviceLimits, list: &[Regret]) -> Value {
    let mut layers = Map::new();
    for regret in list {
        let times: Map<_, _> =
            regret.times.iter().map(|(algorithm, time)| (algorithm.to_string(), Value::from(ms(*time)))).collect();
        let ((choice, choice_time), (best, best_time)) = (regret.choice(), regret.best());
        let value = json!({
            "problem": regret.problem,
            "choice": choice.to_string(),
            "choice_ms": ms(choice_time),
            "best": best.to_string(),
            "best_ms": ms(best_time),
            "regret": regret.regret(),
            "candidates": regret.candidates,
            "times_ms": times,
            "slowest_ready": regret.slowest.map(|(algorithm, time)| json!([algorithm.to_string(), ms(time)])),
            "wrong": regret.wrong.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        layers.insert(regret.layer.clone(), value);
    }
    let summary = summary(list);
    let DeviceLimits { class, subgroup, parallelism, .. } = limits;
    json!({
        "limits": {"class": class.to_string(), "subgroup": subgroup, "parallelism": parallelism},
        "median": summary.map(|(median, ..)| median),
        "worst": summary.map(|(_, worst, _)| worst),
        "layers": layers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regret(layer: &str, times: &[(&str, u64)]) -> Regret {
        let times = times.iter().map(|&(name, ms)| (name.parse().expect("a name"), Duration::from_millis(ms))).collect();
        let slowest = Some((Algorithm::Direct, Duration::from_millis(7)));
        Regret { layer: layer.into(), problem: String::new(), times, candidates: 3, wrong: Vec::new(), slowest }
    }

    #[test]
    fn the_guess_is_held_against_the_fastest() {
        let list = [regret("a", &[("direct", 12), ("gemm(64x64x16,8x4)", 10)]), regret("b", &[("pool", 10), ("pool_tree", 20)])];
        let (median, worst, layer) = summary(&list).expect("two layers");
        assert!((median - 0.1).abs() < 1e-9 && (worst - 0.2).abs() < 1e-9 && layer == "a");
        assert_eq!(json(&DeviceLimits::default(), &list)["layers"]["a"]["best"], "gemm(64x64x16,8x4)");
        let table = Table { layer: 5 };
        assert_eq!(table.row(&list[0]).len(), table.header().len());
        assert!(conclusion(&list).contains("10.0 % of the median layer, 20.0 % of the worst, a"), "{}", conclusion(&list));
        assert!(
            conclusion(&list).contains("faster than the choice on no layer\nready     within 7.00 ms, the longest direct of ")
        );
        let lost = [regret("c", &[("pool_tree", 12), ("pool", 10)])];
        assert!(conclusion(&lost).contains("faster than the choice on c"), "{}", conclusion(&lost));
        assert!(summary(&[]).is_none());
    }

    #[test]
    fn of_a_family_the_likeliest_tiles_stay() {
        let tiles = ["64x64x16,8x4", "64x64x8,4x4", "32x64x16,4x4", "32x32x16,4x4"];
        let mut list: Vec<Algorithm> = tiles.iter().map(|tile| format!("gemm({tile})").parse().expect("a tile")).collect();
        list.insert(1, Algorithm::Direct);
        keep_likeliest(&mut list);
        assert_eq!(list.len(), LIKELIEST + 1);
        assert_eq!(list[1], Algorithm::Direct);
    }
}
