//! Measures layers and whole networks on a device: `cargo run --release --example bench -- --help`.
//!
//! First the device's own ceilings, by microbenchmarks; then each layer: the median times of many runs, the rates they come to, what
//! part that is of what the device can do at the layer's arithmetic intensity (the roofline), and the error of the very answer that
//! was timed, as a part of what the algorithm may be off; and each network: the times to load it, to its first result, of a run and of
//! many, its memory and its slowest nodes. Compare only figures of one run on one machine.
//!
//! Exit status: 1 where an answer is wrong, a layer or network does not run or a file cannot be written, 2 for arguments that cannot
//! be used.

mod axes;
mod case;
mod ceilings;
mod choice;
#[path = "../verify/config.rs"]
mod config;
mod first;
// The program that it belongs to uses the rest of it.
#[allow(dead_code)]
#[path = "../verify/json.rs"]
mod json;
mod labels;
mod layers;
mod measure;
mod model;
mod network;
mod network_report;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/output.rs"]
mod output;
mod plot;
#[path = "../verify/onnx_recipe.rs"]
mod recipe;
mod regret;
mod report;
mod roofline;
mod stream;
mod suite;
mod text;
#[path = "../support/warnings.rs"]
mod warnings;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use wgconv::{DType, Engine, EngineDesc, ErrorKind, Layout, Precision, Tuning};

use choice::Choice;
use layers::Layer;
use output::{Target, say};
use suite::Bench;

/// Measure layers and networks on a device, and check the answer of each
///
/// Examples:
///   bench --layers layers.json
///   bench --layers tests/problems/conv.txt --seconds 0.2 --algorithm all
///   bench --line 'conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu' --algorithm 'gemm(64x64x16,8x4)'
///   bench --layers layers.json --dtype f16 --json out.json --plot roofline.png
///   bench --layers layers.json --regret
///   bench --network squeezenet/model.onnx resnet50/model.onnx --json out.json
///   bench --network squeezenet/model.onnx --stream 50 --depth 1 2 4
///
/// Columns of layers: device ms by timestamps; wall ms of submitting and waiting, without upload; rates by the device's time; % of
/// the roofline, the lower of the FMA rate and the copy bandwidth at the layer's FLOP per byte; error as a part of the
/// algorithm's bound, so that 1 is the most that is right; first ms from the plan to the first result. Those of networks
/// are explained below their table.
#[derive(Parser)]
#[command(verbatim_doc_comment, version)]
struct Arguments {
    /// Files of layers: JSON such as {"layers": [{"name": .., "op": "conv", "input": [..], "out": .., "kernel": [..]}]},
    /// or one problem line for each layer, # beginning a comment, which behind a line is the layer's label in the plot; - is the
    /// standard input
    #[arg(long, num_args = 1.., value_name = "FILE", verbatim_doc_comment)]
    layers: Vec<PathBuf>,
    /// One more layer, as a problem line; may be given several times
    #[arg(long, value_name = "LINE")]
    line: Vec<String>,
    /// ONNX files of whole networks; recipe.json (weights as seeds) and test_data_set_0 (inputs, expected outputs) beside
    /// them are used, else random inputs and the graph without rewrites
    #[arg(long, num_args = 1.., value_name = "FILE", verbatim_doc_comment)]
    network: Vec<PathBuf>,
    /// Instead of a network's figures: so many frames streamed through it, against the same frames one at a time, from values
    /// of the host to values of the host
    #[arg(long, value_name = "FRAMES", requires = "network", conflicts_with_all = ["json", "layers", "line", "seconds"],
        value_parser = numbers::count, allow_negative_numbers = true, verbatim_doc_comment)]
    stream: Option<usize>,
    /// Frames in flight of --stream [default: 1 2 3 4]
    #[arg(long, num_args = 1.., value_name = "FRAMES", value_parser = numbers::whole::<usize>(1..=1024),
        allow_negative_numbers = true)]
    depth: Vec<usize>,
    /// How long each frame of --stream is waited for, as for a camera, in milliseconds [default: 0]
    #[arg(long, value_name = "MS", value_parser = milliseconds, allow_negative_numbers = true)]
    frame_ms: Option<Duration>,
    /// Instead of one algorithm of each layer time every candidate, and say what the planner's guess costs
    #[arg(long, conflicts_with_all = ["algorithm", "plot"])]
    regret: bool,
    /// Order of the axes in memory of every layer, instead of each one's own
    #[arg(long)]
    layout: Option<Order>,
    /// all (the best tile of each), a name such as gemm, or one with its tile such as gemm(64x64x16,8x4); without it the
    /// best, as --tuning finds it
    #[arg(long, value_name = "all|NAME", verbatim_doc_comment)]
    algorithm: Option<Choice>,
    /// Where the best one comes from: heuristic, cached, measure, or measure=SECONDS for each layer
    #[arg(long, default_value = "heuristic", conflicts_with = "algorithm")]
    tuning: Tuning,
    /// How exact the answers must be: exact; fast, which allows Winograd's F(4, 3) too; half, which also allows products of
    /// f16 in f16
    #[arg(long, value_name = "exact|fast|half", default_value_t, verbatim_doc_comment)]
    precision: Precision,
    /// Element type of every layer, instead of each one's own
    #[arg(long)]
    dtype: Option<Element>,
    /// Time to spend on each layer and algorithm, with --regret on each layer, and on each network's throughput (twice that
    /// on its latency and profile), in seconds; compiling and checking come on top
    #[arg(long, default_value = "1", value_parser = seconds, allow_negative_numbers = true, verbatim_doc_comment)]
    seconds: Duration,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME|NUMBER", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
    /// Seed of the operands
    #[arg(long, default_value_t = 1, value_parser = numbers::whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    seed: u64,
    /// Write the figures to this file too
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Draw a roofline plot
    #[arg(long, value_name = "OUT.png")]
    plot: Option<PathBuf>,
    /// Print the time to a network's first result, as JSON: what the program asks of itself in a fresh process
    #[arg(long, hide = true, value_name = "FILE")]
    first_result: Option<PathBuf>,
    /// The file of wgpu's pipeline cache in that process
    #[arg(long, hide = true, value_name = "FILE")]
    pipeline_cache: Option<PathBuf>,
}

/// A device's ceilings differ by no more than this between start and end, where nothing else runs on it.
const STEADY: f64 = 1.25;

#[derive(Clone, Copy, ValueEnum)]
enum Element {
    F32,
    F16,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Order {
    Nchw,
    Nhwc,
}

/// The most that is waited for anything: a day.
const LONGEST: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "is not a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        _ if seconds.is_nan() || seconds > LONGEST => Err(format!("is {text}, but at most {LONGEST} seconds are possible")),
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(format!("is {text}, but at least a nanosecond is needed")),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "is not a number of milliseconds")?;
    let time = Duration::try_from_secs_f64(number / 1e3).ok().filter(|time| time.as_secs_f64() <= LONGEST);
    time.ok_or_else(|| format!("is {text}, but 0 to {} milliseconds are possible", 1e3 * LONGEST))
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
    warnings::show();
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
    if let Some(path) = &args.first_result {
        let setup = first::Setup { adapter: args.adapter.as_deref(), precision: args.precision, seed: args.seed };
        let first = first::here(path, setup, args.pipeline_cache.as_deref()).map_err(Failure::Device)?;
        say(first.json());
        return Ok(true);
    }
    // Whatever is wrong with the arguments is said before anything is measured.
    let layers = check(args)?;
    let engine = open(args)?;
    say(format!("device    {}", engine.adapter()));
    if engine.is_software() {
        eprintln!("note: {} computes on the CPU; its figures say nothing about a GPU", engine.adapter_name());
    }
    if let Some(frames) = args.stream {
        return streams(&engine, args, frames);
    }
    let bar = ProgressBar::new(0).with_style(style());
    bar.set_message("measuring the device's ceilings");
    bar.tick();
    let ceilings = ceilings::measure(&engine).map_err(|error| Failure::Device(format!("measuring the ceilings: {error}")))?;
    bar.suspend(|| say(format!("ceilings  {}\n", report::ceilings(&ceilings))));

    let bench = Bench { engine: &engine, args, ceilings, bar };
    let (mut rows, mut regrets, mut right) = (Vec::new(), Vec::new(), true);
    if args.regret {
        right &= bench.regrets(&layers, &mut regrets);
    } else if !layers.is_empty() {
        right &= bench.layers(&layers, &mut rows);
    }
    let mut networks = Vec::new();
    right &= bench.networks(&args.network, !layers.is_empty(), &mut networks);
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
        let mut value = report::json(engine.adapter(), &ceilings, &rows);
        value["networks"] = network_report::json(&networks);
        if args.regret {
            value["regret"] = regret::json(engine.limits(), &regrets);
        }
        let text = serde_json::to_string_pretty(&value).expect("strings and numbers are JSON");
        output::write(path, (text + "\n").as_bytes()).map_err(Failure::Device)?;
    }
    if let Some(path) = &args.plot {
        if rows.is_empty() {
            eprintln!("note: no layer was measured, so {} was not drawn", path.display());
        } else {
            plot::write(path, engine.adapter(), &ceilings, &rows).map_err(Failure::Device)?;
        }
    }
    Ok(right)
}

/// Whether every streamed frame gave what it gives by itself.
fn streams(engine: &Engine, args: &Arguments, frames: usize) -> Result<bool, Failure> {
    let depths: &[usize] = if args.depth.is_empty() { &[1, 2, 3, 4] } else { &args.depth };
    let source = stream::Source { frames, depths, wait: args.frame_ms.unwrap_or_default(), seed: args.seed };
    let mut right = true;
    for path in &args.network {
        let streamed = stream::measure(engine, path, source).map_err(Failure::Device)?;
        right &= streamed.right;
        say(format!("\n{streamed}"));
    }
    say("\ntime: all frames streamed, as a part of one at a time in the same round; the middle round (lowest-highest)");
    Ok(right)
}

/// The layers to measure, where all arguments can be used.
fn check(args: &Arguments) -> Result<Vec<Layer>, Failure> {
    let dtype = args.dtype.map(|element| match element {
        Element::F32 => DType::F32,
        Element::F16 => DType::F16,
    });
    let layout = args.layout.map(|order| match order {
        Order::Nchw => Layout::ChannelsFirst,
        Order::Nhwc => Layout::ChannelsLast,
    });
    check_options(args)?;
    let layers = layers::read(&args.layers, &args.line, dtype, layout).map_err(arguments)?;
    if layers.is_empty() && args.network.is_empty() {
        return Err(arguments("there is nothing to measure: give --layers FILE, --line LINE or --network FILE"));
    }
    for path in &args.network {
        if !path.is_file() {
            return Err(arguments(format!("--network {}: is not a file", path.display())));
        }
    }
    check_outputs(args)?;
    Ok(layers)
}

/// Whether every option is one of what is measured: none is ignored in silence.
fn check_options(args: &Arguments) -> Result<(), Failure> {
    let given = |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(option, _)| *option);
    let of_layers = given(&[
        ("--algorithm", args.algorithm.is_some()),
        ("--dtype", args.dtype.is_some()),
        ("--layout", args.layout.is_some()),
        ("--plot", args.plot.is_some()),
        ("--regret", args.regret),
    ]);
    if let Some(option) = of_layers.filter(|_| args.layers.is_empty() && args.line.is_empty()) {
        let instead = if args.network.is_empty() { "" } else { " and not of --network" };
        return Err(arguments(format!("{option}: is of layers{instead}: give --layers FILE or --line LINE")));
    }
    let of_streams = given(&[("--frame-ms", args.frame_ms.is_some()), ("--depth", !args.depth.is_empty())]);
    match of_streams.filter(|_| args.stream.is_none()) {
        Some(option) => Err(arguments(format!("{option}: is of --stream, which is not given"))),
        None => Ok(()),
    }
}

/// Whether there is a place for what is to be written, which is not that of anything that is read.
fn check_outputs(args: &Arguments) -> Result<(), Failure> {
    let json = args.json.iter().map(|path| Target::new("--json", path));
    let targets: Vec<Target> = json.chain(args.plot.iter().map(|path| Target::png("--plot", path))).collect();
    let beside: Vec<PathBuf> = args.network.iter().flat_map(|path| model::files(path)).collect();
    let inputs: Vec<&Path> = args.layers.iter().chain(&beside).map(PathBuf::as_path).collect();
    output::distinct(&targets, &inputs).map_err(arguments)?;
    output::places(&targets).map_err(Failure::Device)
}

fn open(args: &Arguments) -> Result<Engine, Failure> {
    let desc = EngineDesc { adapter: args.adapter.clone(), tuning: args.tuning, precision: args.precision, ..Default::default() };
    Engine::new(&desc).map_err(|error| match error.kind() {
        ErrorKind::NoAdapter if args.adapter.is_some() => arguments(error),
        _ => Failure::Device(error.to_string()),
    })
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {pos}/{len} {elapsed} {wide_msg}").expect("a template of known parts")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "1e-30", "fast"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(seconds("1e-30"), Err("is 1e-30, but at least a nanosecond is needed".into()));
        assert_eq!((milliseconds("0"), milliseconds("1.5")), (Ok(Duration::ZERO), Ok(Duration::from_micros(1500))));
        for bad in ["-1", "nan", "inf", "1e12"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }
}
