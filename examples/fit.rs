//! Fits the prices of the planner's cost model to measured tables: `cargo run --release --example fit -- --help`.
//!
//! A candidate's estimated time is the number of each of its operations times its price. The counts are formulas of the library; the
//! prices of a class of devices come from here. Those are sought that choose well: the loss of a layer is how much slower than the
//! fastest candidate the planner's choice would be, with near misses of the estimate smoothed over, and a little for estimates that
//! are off in proportion, so that layers whose choice is clear say something too.
//!
//! Prints the regret before and after, and the prices as they stand in `src/algorithm/cost.rs`.

#[path = "support/output.rs"]
mod output;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;
use wgconv::{Algorithm, DeviceClass, DeviceLimits, Operations, Problem};

/// Fit the prices of the planner's cost model to measured tables
///
/// Examples:
///   bench --layers benches/suite.txt --regret --json table.json
///   fit table.json
///   fit one.json other.json --layers
#[derive(Parser)]
#[command(verbatim_doc_comment, version)]
struct Arguments {
    /// Tables that `bench --regret --json` wrote, all of devices of one class
    #[arg(required = true, value_name = "TABLE.json")]
    tables: Vec<PathBuf>,
    /// List the layers, and what is chosen before and after
    #[arg(long)]
    layers: bool,
}

/// How steeply the smoothed choice prefers the cheaper of two estimates: those that differ by a tenth share four to one.
const STEEPNESS: f64 = 15.0;
/// What an estimate that is off by a factor of e costs, beside the choice.
const SHAPE: f64 = 0.02;
/// Factors by which a price is changed, the coarse ones first.
const FACTORS: [f64; 6] = [3.0, 1.7, 1.3, 1.1, 1.03, 1.01];
/// Rounds over all prices with each factor.
const ROUNDS: usize = 12;

/// A layer with its candidates.
struct Layer {
    name: String,
    candidates: Vec<Candidate>,
}

struct Candidate {
    algorithm: Algorithm,
    operations: Operations,
    /// As measured, in nanoseconds.
    time: f64,
}

impl Layer {
    fn fastest(&self) -> &Candidate {
        self.candidates.iter().min_by(|a, b| a.time.total_cmp(&b.time)).expect("a layer has candidates")
    }

    /// What a planner with these prices takes.
    fn choice(&self, prices: &Operations) -> &Candidate {
        let cost = |candidate: &&Candidate| candidate.operations.time(prices);
        self.candidates.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("a layer has candidates")
    }

    fn regret(&self, prices: &Operations) -> f64 {
        self.choice(prices).time / self.fastest().time - 1.0
    }

    fn loss(&self, prices: &Operations) -> f64 {
        let fastest = self.fastest().time;
        let logs: Vec<f64> = self.candidates.iter().map(|candidate| candidate.operations.time(prices).max(1e-3).ln()).collect();
        let least = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let weights: Vec<f64> = logs.iter().map(|log| (-STEEPNESS * (log - least)).exp()).collect();
        let regrets = self.candidates.iter().map(|candidate| (candidate.time / fastest - 1.0).min(4.0));
        let chosen =
            weights.iter().zip(regrets).map(|(weight, regret)| weight * regret).sum::<f64>() / weights.iter().sum::<f64>();
        let offs: Vec<f64> = self.candidates.iter().zip(&logs).map(|(candidate, log)| log - candidate.time.ln()).collect();
        let shape = offs.iter().map(|off| off * off).sum::<f64>() / offs.len() as f64;
        // A layer that is far off counts more than in proportion: the worst is to be bounded too.
        chosen + chosen * chosen + SHAPE * shape
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(text) => {
            output::say(text);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Arguments) -> Result<String, String> {
    let mut layers = Vec::new();
    let mut class = None;
    for path in &args.tables {
        let (of, list) = read(path).map_err(|message| format!("{}: {message}", path.display()))?;
        if *class.get_or_insert(of) != of {
            return Err(format!("{}: is of a {of} device, but the tables before are not", path.display()));
        }
        layers.extend(list);
    }
    let class = class.expect("there is at least one table");
    let before = Operations::prices(class);
    let after = fit(&layers, before);
    let mut text = String::new();
    let w = &mut text; // writing to a String cannot fail
    if args.layers {
        for layer in &layers {
            let (old, new, best) = (layer.choice(&before), layer.choice(&after), layer.fastest());
            let [old_regret, new_regret] = [&before, &after].map(|prices| 100.0 * layer.regret(prices));
            let _ = writeln!(w, "{}", layer.name);
            let _ = writeln!(
                w,
                "    {old_regret:6.1} % {:<36} {new_regret:6.1} % {:<36} best {}",
                old.algorithm.to_string(),
                new.algorithm.to_string(),
                best.algorithm
            );
        }
    }
    let _ = writeln!(
        w,
        "layers    {}, of {} candidates",
        layers.len(),
        layers.iter().map(|layer| layer.candidates.len()).sum::<usize>()
    );
    for (name, prices) in [("before", &before), ("after", &after)] {
        let (median, mean, worst, layer) = summary(&layers, prices);
        let _ = writeln!(
            w,
            "{name:<9} regret {median:.1} % of the median layer, {mean:.1} % on average, {worst:.1} % of the worst, {layer}"
        );
    }
    let _ = write!(w, "prices    DeviceClass::{class:?} => Self {{");
    for (name, value) in Operations::NAMES.iter().zip(after.values()) {
        let _ = write!(w, " {name}: {value:.3},");
    }
    text += " }";
    Ok(text)
}

/// In percent: the median regret, the mean, the worst, and the layer of the worst.
fn summary<'a>(layers: &'a [Layer], prices: &Operations) -> (f64, f64, f64, &'a str) {
    let mut list: Vec<_> = layers.iter().map(|layer| (100.0 * layer.regret(prices), layer.name.as_str())).collect();
    list.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (worst, name) = *list.last().expect("a table has layers");
    (list[(list.len() - 1) / 2].0, list.iter().map(|(regret, _)| regret).sum::<f64>() / list.len() as f64, worst, name)
}

/// The prices that choose best of those that descents from several places end at. The same tables give the same prices.
fn fit(layers: &[Layer], start: Operations) -> Operations {
    let smooth = |prices: &Operations| layers.iter().map(|layer| layer.loss(prices)).sum::<f64>();
    // What is asked of the planner: little regret on average, and none that is large.
    let regret = |prices: &Operations| {
        let regrets = layers.iter().map(|layer| layer.regret(prices));
        let (sum, worst) = regrets.fold((0.0, 0.0_f64), |(sum, worst), regret| (sum + regret, worst.max(regret)));
        sum + worst * layers.len() as f64 / 10.0 + 0.02 * smooth(prices)
    };
    let starts = [1.0, 0.3, 0.1].into_iter().flat_map(|memory| [1.0, 4.0].map(|workgroup| (memory, workgroup)));
    let ends = starts.map(|(memory, workgroup)| {
        let mut values = start.values();
        for (value, name) in values.iter_mut().zip(Operations::NAMES) {
            match name {
                "fma" | "broadcast" | "barrier" => {}
                "workgroup" => *value *= workgroup,
                _ => *value *= memory,
            }
        }
        descend(descend(Operations::of_values(values), &smooth), &regret)
    });
    let ends: Vec<_> = ends.chain([descend(start, &regret)]).collect();
    let best = ends.into_iter().min_by(|a, b| regret(a).total_cmp(&regret(b))).expect("there are several starts");
    // Choices are those of any scale; this one tells times too, of what is chosen in the geometric mean.
    let off = |layer: &Layer| (layer.choice(&best).operations.time(&best) / layer.choice(&best).time).ln();
    let scale = (layers.iter().map(off).sum::<f64>() / layers.len() as f64).exp();
    best * scale.recip()
}

/// Changes one price after the other as long as that lessens a loss.
fn descend(start: Operations, loss: &dyn Fn(&Operations) -> f64) -> Operations {
    let (mut prices, mut least) = (start, loss(&start));
    for factor in FACTORS {
        for _ in 0..ROUNDS {
            let before = least;
            // All prices together are one more direction: the estimates' scale.
            for changed in 0..=Operations::NAMES.len() {
                for factor in [factor, 1.0 / factor] {
                    let mut values = prices.values();
                    for (number, value) in values.iter_mut().enumerate() {
                        if changed == number || changed == Operations::NAMES.len() {
                            *value *= factor;
                        }
                    }
                    let candidate = Operations::of_values(values);
                    let candidate_loss = loss(&candidate);
                    if candidate_loss < least {
                        (prices, least) = (candidate, candidate_loss);
                    }
                }
            }
            if least == before {
                break;
            }
        }
    }
    prices
}

/// The class of a table's device, and its layers.
fn read(path: &Path) -> Result<(DeviceClass, Vec<Layer>), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let json: Value = serde_json::from_str(&text).map_err(|error| format!("is not JSON: {error}"))?;
    let regret = &json["regret"];
    let missing = |what: &str| format!("has no {what}: is it what `bench --regret --json` writes?");
    let number = |name: &str| regret["limits"][name].as_u64().and_then(|number| u32::try_from(number).ok());
    let class = match regret["limits"]["class"].as_str().ok_or_else(|| missing("regret.limits.class"))? {
        "software" => DeviceClass::Software,
        "integrated" => DeviceClass::Integrated,
        "discrete" => DeviceClass::Discrete,
        other => return Err(format!("is of class `{other}`, but there are software, integrated and discrete")),
    };
    let parallelism = number("parallelism").ok_or_else(|| missing("regret.limits.parallelism"))?;
    let limits = DeviceLimits { class, parallelism, subgroup: number("subgroup"), f16: true, ..DeviceLimits::default() };
    let mut layers = Vec::new();
    for (name, layer) in regret["layers"].as_object().ok_or_else(|| missing("regret.layers"))? {
        let line = layer["problem"].as_str().ok_or_else(|| missing(&format!("problem of `{name}`")))?;
        let problem: Problem = line.parse().map_err(|error| format!("{name}: {error}"))?;
        let offered = Algorithm::candidates(&problem, &limits).map_err(|error| format!("{name}: {error}"))?.algorithms;
        let mut candidates = Vec::new();
        for (text, ms) in layer["times_ms"].as_object().ok_or_else(|| missing(&format!("times_ms of `{name}`")))? {
            // A table may be of a version that had other tiles: they say nothing about these.
            let Ok(algorithm) = text.parse::<Algorithm>() else { continue };
            if !offered.contains(&algorithm) {
                continue;
            }
            let Ok(operations) = algorithm.operations(&problem, &limits) else { continue };
            let time =
                ms.as_f64().filter(|time| *time > 0.0).ok_or_else(|| format!("{name}: the time of {text} is no number"))?;
            candidates.push(Candidate { algorithm, operations, time: time * 1e6 });
        }
        // Of equal estimates the planner takes the first of its families; JSON has them by their names.
        candidates.sort_by_key(|candidate| Algorithm::names().iter().position(|&name| name == candidate.algorithm.name()));
        if !candidates.is_empty() {
            layers.push(Layer { name: name.clone(), candidates });
        }
    }
    if layers.is_empty() { Err("has no layer with a candidate of this version".into()) } else { Ok((class, layers)) }
}
