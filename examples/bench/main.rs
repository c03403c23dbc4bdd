//! Measures layers on a device: `cargo run --release --example bench -- --help`.
//!
//! First the device's own ceilings, by microbenchmarks; then each layer: the median times of many runs, the rates they come to, what
//! part that is of what the device can do at the layer's arithmetic intensity (the roofline), and the error of the very answer that
//! was timed, as a part of what the algorithm may be off. Compare only figures of one run on one machine.
//!
//! Exit status: 1 where an answer is wrong or a layer does not run, 2 for arguments that cannot be used.

mod axes;
mod case;
mod ceilings;
mod choice;
#[path = "../verify/config.rs"]
mod config;
// The program that it belongs to uses the rest of it.
#[allow(dead_code)]
#[path = "../verify/json.rs"]
mod json;
mod labels;
mod layers;
mod measure;
mod plot;
mod report;
mod roofline;
mod text;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use wgconv::{Algorithm, DType, Engine, EngineDesc, ErrorKind};

use case::Case;
use choice::Choice;
use layers::Layer;
use report::{Row, Table};
use roofline::{Ceilings, Speed};

/// Measure layers on a device, and check the answer of each
///
/// Examples:
///   bench --layers layers.json
///   bench --layers tests/problems/conv.txt --seconds 0.2 --algorithm all
///   bench --line 'conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu' --algorithm 'gemm(64x64x16,8x4)'
///   bench --layers layers.json --dtype f16 --json out.json --plot roofline.png
///
/// Columns: device ms by timestamps; wall ms of submitting and waiting, without upload; rates by the device's time; % of
/// the roofline, the lower of the FMA rate and the copy bandwidth at the layer's FLOP per byte; error as a part of the
/// algorithm's bound, so that 1 is the most that is right; first ms from the plan to the first result.
#[derive(Parser)]
#[command(verbatim_doc_comment, version)]
struct Arguments {
    /// Files of layers: JSON such as {"layers": [{"name": .., "op": "conv", "input": [..], "out": .., "kernel": [..]}]},
    /// or one problem line for each layer, # beginning a comment; - is the standard input
    #[arg(long, num_args = 1.., value_name = "FILE", verbatim_doc_comment)]
    layers: Vec<PathBuf>,
    /// One more layer, as a problem line; may be given several times
    #[arg(long, value_name = "LINE")]
    line: Vec<String>,
    /// all (the best tile of each), a name such as gemm, or one with its tile such as gemm(64x64x16,8x4); without it the
    /// planner's best guess
    #[arg(long, value_name = "all|NAME", verbatim_doc_comment)]
    algorithm: Option<Choice>,
    /// Element type of every layer, instead of each one's own
    #[arg(long)]
    dtype: Option<Element>,
    /// Time to spend on each layer and algorithm, in seconds; compiling and checking come on top
    #[arg(long, default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// A part of the adapter's name, in any case: llvmpipe
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Seed of the operands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the figures to this file too
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Draw a roofline plot
    #[arg(long, value_name = "OUT.png")]
    plot: Option<PathBuf>,
}

/// A device's ceilings differ by no more than this between start and end, where nothing else runs on it.
const STEADY: f64 = 1.25;

#[derive(Clone, Copy, ValueEnum)]
enum Element {
    F32,
    F16,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is not a number of seconds"))?;
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|&time| time > Duration::ZERO && time.as_secs() <= 86_400);
    duration.ok_or_else(|| format!("{text} is not above 0 and at most 86400 seconds"))
}

/// Why nothing came of it.
enum Failure {
    /// The user can do something about it.
    Arguments(String),
    Device(String),
}

fn arguments(error: impl Display) -> Failure {
    Failure::Arguments(error.to_string())
}

fn main() -> ExitCode {
    // That the adapter is a software one, which the library warns of, is said below in any case.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failure::Device(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Arguments(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether every layer ran and gave the right answer.
fn run(args: &Arguments) -> Result<bool, Failure> {
    let dtype = args.dtype.map(|element| match element {
        Element::F32 => DType::F32,
        Element::F16 => DType::F16,
    });
    // Whatever is wrong with the arguments is said before anything is measured.
    let layers = layers::read(&args.layers, &args.line, dtype).map_err(arguments)?;
    [&args.json, &args.plot].into_iter().flatten().try_for_each(|path| writable(path))?;
    let engine = open(args.adapter.clone())?;
    say(format!("device    {}", engine.adapter()));
    if engine.is_software() {
        eprintln!("note: {} computes on the CPU; its figures say nothing about a GPU", engine.adapter_name());
    }
    let bar = ProgressBar::new(0).with_style(style());
    bar.set_message("measuring the device's ceilings");
    bar.tick();
    let ceilings = ceilings::measure(&engine).map_err(|error| Failure::Device(format!("measuring the ceilings: {error}")))?;
    bar.suspend(|| say(format!("ceilings  {}\n", report::ceilings(&ceilings))));

    let bench = Bench { engine: &engine, args, ceilings, bar };
    let (rows, right) = bench.measure_all(&layers);
    bench.bar.set_message("looking at the ceilings again");
    let again = ceilings::fma_f32(&engine).map_err(|error| Failure::Device(format!("measuring the ceilings again: {error}")))?;
    bench.bar.finish_and_clear();
    let drift = again / ceilings.fma_f32;
    if !(1.0 / STEADY..=STEADY).contains(&drift) {
        eprintln!(
            "note: the FMA rate at the end is {drift:.2} times that at the start: the device is not idle, or too hot or cold"
        );
    }
    if let Some(path) = &args.json {
        let value = report::json(engine.adapter(), &ceilings, &rows);
        let text = serde_json::to_string_pretty(&value).expect("strings and numbers are JSON");
        std::fs::write(path, text + "\n").map_err(|error| arguments(format!("{}: {error}", path.display())))?;
    }
    if let Some(path) = &args.plot {
        if rows.is_empty() {
            eprintln!("note: nothing was measured, so {} was not drawn", path.display());
        } else {
            plot::write(path, engine.adapter(), &ceilings, &rows).map_err(arguments)?;
        }
    }
    Ok(right)
}

/// Checks that a file can be there later on, without making it.
fn writable(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.is_dir(), path.is_dir()) {
        (false, _) => Err(arguments(format!("{}: there is no folder {}", path.display(), folder.display()))),
        (_, true) => Err(arguments(format!("{}: is a folder, but a file is to be written", path.display()))),
        _ => Ok(()),
    }
}

fn open(adapter: Option<String>) -> Result<Engine, Failure> {
    let named = adapter.is_some();
    Engine::new(&EngineDesc { adapter, ..Default::default() }).map_err(|error| match error.kind() {
        ErrorKind::NoAdapter if named => arguments(error),
        _ => Failure::Device(error.to_string()),
    })
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {pos}/{len} {elapsed} {wide_msg}").expect("a template of known parts")
}

/// Whoever closed the output early wants no more of it: the JSON and the plot are still made.
fn say(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// What all layers have in common.
struct Bench<'a> {
    engine: &'a Engine,
    args: &'a Arguments,
    ceilings: Ceilings,
    bar: ProgressBar,
}

impl Bench<'_> {
    /// Every layer by every chosen algorithm, listed as it comes, and whether all of it is right.
    fn measure_all(&self, layers: &[Layer]) -> (Vec<Row>, bool) {
        let choice = self.args.algorithm.as_ref().unwrap_or(&Choice::Best);
        let chosen: Vec<_> = layers.iter().map(|layer| choice.algorithms(self.engine, &layer.problem)).collect();
        let lists = || chosen.iter().flatten();
        let table = Table {
            layer: layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0),
            algorithm: lists().flatten().map(|algorithm| algorithm.to_string().len()).max().unwrap_or(0).max(9),
        };
        self.bar.set_length(lists().map(Vec::len).sum::<usize>() as u64);
        self.say(table.header());
        let (mut rows, mut right) = (Vec::new(), true);
        for (layer, algorithms) in layers.iter().zip(&chosen) {
            match algorithms {
                // Not every layer has to have the family that was asked for; but some should.
                Err(reason) => self.say(table.note(&layer.name, &format!("skipped: {reason}"))),
                Ok(algorithms) => right &= self.measure(layer, algorithms, &table, &mut rows),
            }
        }
        if rows.is_empty() {
            self.say("nothing was measured");
        }
        right &= !rows.is_empty();
        (rows, right)
    }

    /// One layer; whether its answers are right.
    fn measure(&self, layer: &Layer, algorithms: &[Algorithm], table: &Table, rows: &mut Vec<Row>) -> bool {
        self.bar.set_message(format!("{}: computing the reference", layer.name));
        self.bar.tick();
        let failed = |error: wgconv::Error| self.say(table.note(&layer.name, &format!("FAILED: {error}")));
        let case = match Case::new(&layer.problem, self.args.seed) {
            Ok(case) => case,
            Err(error) => {
                failed(error);
                return false;
            }
        };
        let mut right = true;
        for algorithm in algorithms {
            self.bar.set_message(format!("{} by {algorithm}", layer.name));
            self.bar.tick();
            match measure::measure(self.engine, &case, algorithm, self.args.seconds) {
                Err(error) => {
                    failed(error);
                    right = false;
                }
                Ok(measurement) => {
                    let dtype = layer.problem.input.dtype();
                    let speed = Speed::new(&measurement.work, measurement.time(), dtype, &self.ceilings);
                    right &= measurement.is_right();
                    let row = Row { layer: layer.name.clone(), dtype, measurement, speed };
                    self.say(table.row(&row));
                    rows.push(row);
                }
            }
            self.bar.inc(1);
        }
        right
    }

    fn say(&self, text: impl Display) {
        self.bar.suspend(|| say(text));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "fast"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
