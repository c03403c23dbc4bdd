//! Which of some algorithms is the fastest that is right. The one place of the library that has a stopwatch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::algorithm::{Algorithm, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Gpu;
use crate::limits::DeviceClass;
use crate::problem::{Layer, Problem};
use crate::trial::{self, Exam, Operands, Ready};

/// Runs of which the median counts.
const FEWEST: usize = 3;
/// More where they are short: so many, or as many as fit into this time.
const MOST: usize = 25;
const ENOUGH: Duration = Duration::from_millis(10);

/// The fastest that are timed again, in turns.
const FINALISTS: usize = 3;
/// Rounds of that.
const ROUNDS: usize = 9;
/// Time after which no other round begins.
const LONG_ROUNDS: Duration = Duration::from_millis(300);

/// Another algorithm must beat the best guess by this, or chance would decide between equals.
const MARGIN: f64 = 0.97;

/// An algorithm whose first run takes so many times the best one's time is not run again.
const HOPELESS: u32 = 3;

/// On a device that is a CPU, the direct kernel takes about a second for so many operations; there it is left out above them.
const DIRECT: u64 = 1 << 28;

/// Elements of windows of a pooling beyond which its reference takes too long to judge by.
const LARGEST_POOL: u64 = 1 << 28;

/// What is asked.
pub(crate) struct Question<'a> {
    pub gpu: &'a Arc<Gpu>,
    pub problem: &'a Problem,
    /// At least one, the best guess first.
    pub algorithms: &'a [Algorithm],
    /// How the engine plans them.
    pub plan: &'a dyn Fn(&Algorithm) -> Result<Plan>,
}

/// An algorithm, and how long it takes.
#[derive(Clone, Copy)]
struct Timed {
    algorithm: Algorithm,
    time: Duration,
}

impl Question<'_> {
    /// The fastest of the algorithms that were timed within the budget and give right results; `None` where there was no time for
    /// more than one. A final among the fastest and the check of the winner come on top of the budget, and so does the last candidate
    /// that began within it.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`]; [`ErrorKind::Device`] where every algorithm that was timed is wrong. One that cannot be run is
    /// passed over with a warning.
    pub fn measure(&self, budget: Duration) -> Result<Option<Algorithm>> {
        let problem = self.problem;
        let start = Instant::now();
        let guess = (self.plan)(&self.algorithms[0])?;
        if matches!(problem.layer, Layer::Pool(_)) && guess.work().flop > LARGEST_POOL {
            return Ok(None);
        }
        let slow_direct = self.gpu.limits.class == DeviceClass::Software && guess.work().flop > DIRECT;
        let operands = trial::operands(problem)?;
        let mut timed: Vec<Timed> = Vec::new();
        for algorithm in families_first(self.algorithms) {
            if start.elapsed() >= budget {
                break;
            }
            if slow_direct && algorithm == Algorithm::Direct {
                continue;
            }
            let best = timed.iter().map(|timed| timed.time).min();
            match self.possible(&algorithm, self.time(&algorithm, &operands, best))? {
                Some(time) => timed.push(Timed { algorithm, time }),
                None => continue,
            }
        }
        if timed.len() < 2 {
            return Ok(None);
        }
        let weighed = |timed: &Timed| {
            let margin = if timed.algorithm == self.algorithms[0] { MARGIN } else { 1.0 };
            timed.time.as_secs_f64() * margin
        };
        timed.sort_by(|a, b| weighed(a).total_cmp(&weighed(b)));
        // The final: what was timed while something else ran, or first on a device that was asleep, gets another chance.
        let finalists: Vec<usize> =
            (0..timed.len()).filter(|&place| place < FINALISTS || timed[place].algorithm == self.algorithms[0]).collect();
        if let Some(times) = self.possible(&timed[0].algorithm, self.in_turns(&timed, &finalists, &operands))? {
            finalists.iter().zip(times).for_each(|(&place, time)| timed[place].time = time);
            timed.sort_by(|a, b| weighed(a).total_cmp(&weighed(b)));
        }
        let direct = self.algorithms.contains(&Algorithm::Direct) && !slow_direct;
        let direct = direct.then(|| (self.plan)(&Algorithm::Direct)).transpose()?;
        let Some(exam) = self.possible(&Algorithm::Direct, Exam::new(self.gpu, problem, operands, direct.as_ref()))? else {
            return Ok(None);
        };
        self.first_right(&timed, &exam)
    }

    /// The first that passes.
    fn first_right(&self, timed: &[Timed], exam: &Exam) -> Result<Option<Algorithm>> {
        let problem = self.problem;
        let mut wrong = None;
        for Timed { algorithm, time } in timed {
            let failures = (self.plan)(algorithm).and_then(|plan| exam.failures(self.gpu, &plan));
            let Some(failures) = self.possible(algorithm, failures)? else { continue };
            let Some(failure) = failures.first() else {
                let guess = timed.iter().find(|timed| timed.algorithm == self.algorithms[0]);
                let guess =
                    guess.map_or(String::new(), |guess| format!("; the guess {} takes {:?}", guess.algorithm, guess.time));
                log::info!("{problem}: {algorithm} is the best of {} and takes {time:?}{guess}", timed.len());
                return Ok(Some(*algorithm));
            };
            log::warn!("{problem}: {algorithm} gives wrong results and is not chosen: {}", failures.join("; "));
            wrong.get_or_insert_with(|| format!("{algorithm}: {failure}"));
        }
        match wrong {
            None => Ok(None),
            Some(first) => Err(Error::new(
                ErrorKind::Device,
                format!("none of {} algorithms computes `{problem}` right here; {first}", timed.len()),
            )),
        }
    }

    /// A result, or none and a warning where the algorithm cannot run; that the device is lost remains an error.
    fn possible<T>(&self, algorithm: &Algorithm, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::DeviceLost => Err(error),
            Err(error) => {
                log::warn!("{}: {algorithm} cannot be measured: {error}", self.problem);
                Ok(None)
            }
        }
    }

    /// The median time of a few runs.
    fn time(&self, algorithm: &Algorithm, operands: &Operands, best: Option<Duration>) -> Result<Duration> {
        let ready = Ready::new(self.gpu, &(self.plan)(algorithm)?, operands)?;
        // A driver may compile in the first run.
        ready.time()?;
        let start = Instant::now();
        let mut times = vec![ready.time()?];
        if best.is_some_and(|best| times[0] > HOPELESS * best) {
            return Ok(times[0]);
        }
        while times.len() < FEWEST || times.len() < MOST && start.elapsed() < ENOUGH {
            times.push(ready.time()?);
        }
        Ok(median(times))
    }

    /// The median times of some, round by round, so that whatever else the device does meets all of them.
    fn in_turns(&self, timed: &[Timed], places: &[usize], operands: &Operands) -> Result<Vec<Duration>> {
        let ready = |&place: &usize| Ready::new(self.gpu, &(self.plan)(&timed[place].algorithm)?, operands);
        let mut contestants = places.iter().map(|place| Ok((ready(place)?, Vec::new()))).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        for round in 0..ROUNDS {
            if round >= FEWEST && start.elapsed() >= LONG_ROUNDS {
                break;
            }
            for (ready, times) in &mut contestants {
                times.push(ready.time()?);
            }
        }
        Ok(contestants.into_iter().map(|(_, times)| median(times)).collect())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The best guess of each family, and then the other tiles.
fn families_first(algorithms: &[Algorithm]) -> Vec<Algorithm> {
    let is_first =
        |(number, algorithm): (usize, &Algorithm)| !algorithms[..number].iter().any(|before| before.name() == algorithm.name());
    let of =
        |first: bool| algorithms.iter().enumerate().filter(move |&pair| is_first(pair) == first).map(|(_, algorithm)| *algorithm);
    of(true).chain(of(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineDesc};
    use crate::tune::Tuning;

    /// More than any of these measurements takes.
    const LONG: Duration = Duration::from_secs(300);

    fn engine(desc: &EngineDesc) -> Engine {
        Engine::new(desc).unwrap_or_else(|error| panic!("the tuner's tests need a GPU adapter: {error}"))
    }

    /// A plan whose kernels add 1 to one output.
    fn broken(mut plan: Plan) -> Plan {
        let one = ["output[index] = Elem(value);", "output[index] = Elem(select(value, value + 1.0, index == 777));"];
        let four = ["vec4<Elem>(vec4<f32>(", "vec4<Elem>(vec4<f32>(0.0, select(0.0, 1.0, index == 776), 0.0, 0.0) + vec4<f32>("];
        let mut places = 0;
        for fragment in plan.steps.iter_mut().flat_map(|step| &mut step.kernel.fragments) {
            for [right, wrong] in [one, four] {
                places += fragment.matches(right).count();
                *fragment = fragment.replace(right, wrong).into();
            }
        }
        // Both steps of Winograd have the function that stores.
        assert!(places > 0, "{}", plan.algorithm);
        plan
    }

    /// Measures the best of each family where only those kernels that `is_right` names are right.
    fn measured(line: &str, is_right: impl Fn(&Algorithm) -> bool) -> Result<Option<Algorithm>> {
        let engine = engine(&EngineDesc::default());
        let problem: Problem = line.parse().unwrap();
        let mut algorithms = families_first(&engine.candidates(&problem).unwrap().algorithms);
        let mut names = Vec::new();
        algorithms.retain(|algorithm| !names.contains(&algorithm.name()) && (names.push(algorithm.name()), true).1);
        assert!(algorithms.len() > 2);
        let plan = |algorithm: &Algorithm| {
            let plan = engine.plan(&problem, algorithm)?;
            Ok(if is_right(algorithm) { plan } else { broken(plan) })
        };
        Question { gpu: &engine.gpu(), problem: &problem, algorithms: &algorithms, plan: &plan }.measure(LONG)
    }

    #[test]
    fn a_wrong_kernel_cannot_win_however_fast_it_is() {
        // The first is judged by the reference; the second, which is large, by a sample that misses the one wrong output, and by
        // the direct kernel, which does not.
        for line in ["conv 1x8x12x12 o8 k3x3 p1x1 f32 bias relu", "conv 1x32x34x34 o40 k3x3 p1x1 f32 bias"] {
            let only_direct = measured(line, |algorithm| *algorithm == Algorithm::Direct).unwrap();
            assert_eq!(only_direct, Some(Algorithm::Direct), "{line}");
            let fastest = measured(line, |_| true).unwrap();
            assert_ne!(fastest, None);
        }
    }

    #[test]
    fn where_every_kernel_is_wrong_there_is_an_error_that_names_the_layer() {
        let line = "conv 1x8x12x12 o8 k3x3 p1x1 f32 bias relu";
        let error = measured(line, |_| false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.message().contains(line) && error.message().contains("exact"), "{error}");
    }

    #[test]
    fn without_time_for_two_candidates_nothing_is_decided() {
        let engine = engine(&EngineDesc::default());
        let problem: Problem = "conv 1x8x12x12 o8 k3x3 p1x1 f32 bias relu".parse().unwrap();
        let algorithms = engine.candidates(&problem).unwrap().algorithms;
        let plan = |algorithm: &Algorithm| engine.plan(&problem, algorithm);
        let question = Question { gpu: &engine.gpu(), problem: &problem, algorithms: &algorithms, plan: &plan };
        assert_eq!(question.measure(Duration::ZERO).unwrap(), None);
        assert_eq!(question.measure(Duration::from_nanos(1)).unwrap(), None);
    }

    #[test]
    fn a_choice_among_some_algorithms_is_no_choice_among_all() {
        let path = std::env::temp_dir().join(format!("wgconv-tune-{}-some", std::process::id()));
        let tuning = Tuning::Measure { budget: Duration::from_secs(2) };
        let engine = engine(&EngineDesc { tuning, tuning_table: Some(path.clone()), ..Default::default() });
        let problem: Problem = "conv 1x8x12x12 o8 k3x3 p1x1 f32".parse().unwrap();
        let plain = engine.best_plan(&problem, |algorithm| algorithm.name() != "winograd").unwrap();
        assert_ne!(plain.algorithm.name(), "winograd");
        let text = std::fs::read_to_string(&path).unwrap();
        let entry = format!("\n{problem} without winograd = {}\n", plain.algorithm);
        assert!(text.contains(&entry) && !text.contains(&format!("{problem} =")), "{text}");
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(path.with_file_name(format!("{}.lock", path.file_name().unwrap().to_string_lossy()))).unwrap();
    }
}
