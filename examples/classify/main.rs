//! Any ONNX classifier on any pictures: the likeliest classes of each, and on request what each layer takes, whether each layer is
//! right, and how each is computed.
//!
//! Without arguments it reads the bundled digits with a bundled network. What a model wants of its pictures (size, channels, layout) is
//! read off the model; how it wants them scaled, no file says: that is what the options are for.

mod answer;
#[path = "../support/ending.rs"]
mod ending;
mod model;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/output.rs"]
mod output;
mod picture;
#[path = "../features/plane.rs"]
#[allow(dead_code, reason = "the program `features` uses more of it")]
mod plane;
#[path = "../verify/onnx_recipe.rs"]
mod recipe;
#[path = "../features/scene.rs"]
mod scene;
#[path = "../support/warnings.rs"]
mod warnings;

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use wgconv::{Engine, EngineDesc, Network, Value};

use answer::Answer;
use model::{Layout, Model};
use output::Target;
use picture::{Filter, Fit, Picture, Scaling};

/// This program's results: every error ends as one line for the user.
pub type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Classifies pictures with a network from an ONNX file.
///
/// Without a model it reads bundled digits with a bundled network; without pictures, a model gets some that come along.
#[derive(Parser)]
#[command(
    version,
    after_long_help = "\
Examples:
  cargo run --release --example classify
  cargo run --release --example classify -- mobilenetv2.onnx --imagenet --labels imagenet.txt cat.jpg dog.png
  cargo run --release --example classify -- vgg19.onnx --mean 123.7,116.8,103.9 --range 255 cat.jpg
  cargo run --release --example classify -- squeezenet/model.onnx --profile=trace.json --verify --explain

A model whose weights are left out may have a recipe.json beside it, which says from which seeds they come."
)]
struct Args {
    /// The network
    #[arg(value_name = "MODEL.onnx")]
    model: Option<PathBuf>,
    /// Pictures, PNG or JPEG
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Width and height of the network's input, where the model leaves them open
    #[arg(long, value_name = "WxH", value_parser = picture::parse_size, allow_hyphen_values = true)]
    size: Option<[usize; 2]>,
    /// The order of the input's axes, where it is not clear
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// What white is: numbers from 0 to this
    #[arg(long, value_name = "WHITE", default_value_t = 1.0, value_parser = numbers::not_zero, allow_negative_numbers = true)]
    range: f32,
    /// Subtracted, one number or one for each channel
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', default_values_t = [0.0], value_parser = numbers::finite,
        allow_hyphen_values = true)]
    mean: Vec<f32>,
    /// Divided by, one number or one for each channel
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', default_values_t = [1.0], value_parser = numbers::not_zero,
        allow_hyphen_values = true)]
    std: Vec<f32>,
    /// The mean and the deviation of ImageNet's pictures, which most networks trained on them want
    #[arg(long, conflicts_with_all = ["mean", "std", "range"])]
    imagenet: bool,
    /// Channels in the order blue, green, red
    #[arg(long)]
    bgr: bool,
    /// Make pictures grey, even for a network of three channels
    #[arg(long)]
    grey: bool,
    /// What becomes of a picture that is not as wide and high as the input
    #[arg(long, value_enum, default_value_t = Fit::Crop)]
    fit: Fit,
    /// How pictures are made larger or smaller
    #[arg(long, value_enum, default_value_t = Filter::Linear)]
    filter: Filter,
    /// A text file with the name of one class in each line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Classes to show
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = numbers::count, allow_negative_numbers = true)]
    top: usize,
    /// Pictures that go through the network at once, where the model leaves it open
    #[arg(long, value_name = "N", value_parser = numbers::count, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Print the time of each layer; --profile=TRACE.json also writes a trace for Perfetto or Chrome
    #[arg(long, value_name = "TRACE.json", num_args = 0..=1, require_equals = true)]
    profile: Option<Option<PathBuf>>,
    /// Judge every layer by the reference in f64: minutes for a large network
    #[arg(long)]
    verify: bool,
    /// Print how each layer is computed
    #[arg(long)]
    explain: bool,
    /// Print the network as it was given, and what each pass takes away and adds
    #[arg(long)]
    passes: bool,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
}

fn main() -> ExitCode {
    warnings::show();
    ending::of(run(&Args::parse(), &mut io::stdout()))
}

fn run(args: &Args, out: &mut impl Write) -> Result {
    // What is wrong with the user's files is said before anything is prepared.
    check_output(args)?;
    let labels = args.labels.as_deref().map(answer::labels).transpose()?;
    let own: Vec<Picture> = args.images.iter().map(|path| picture::read(path)).collect::<Result<_>>()?;
    let model = Model::load(args.model.as_deref())?;
    let input = model.picture_input(args.layout, args.size)?;
    let scaling = scaling(args, args.model.is_none(), input.channels)?;
    let pictures = if own.is_empty() && !model.has_recipe_input() { picture::bundled(&input)? } else { own };
    let count = pictures.len().max(1);
    let batch = input.batch.unwrap_or(args.batch.unwrap_or(count.min(8)));

    writeln!(out, "model    {model}")?;
    let engine = Engine::new(&EngineDesc { adapter: args.adapter.clone(), ..Default::default() })?;
    let software = if engine.is_software() { ", a software adapter: times say nothing about a GPU" } else { "" };
    writeln!(out, "device   {}{software}", engine.adapter_name())?;
    let preparing = spinner("preparing the network");
    let start = Instant::now();
    let network = model.network(&engine, &input, batch)?;
    preparing.finish_and_clear();
    writeln!(out, "input    {input}, {batch} at once")?;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (weights, values) = (mebibytes(network.weight_bytes()), mebibytes(network.peak_bytes()));
    writeln!(out, "memory   {weights:.1} MiB of weights, {values:.1} MiB of values")?;

    let batches: Vec<Value> = match model.recipe_input().filter(|_| pictures.is_empty()) {
        Some(value) => vec![value],
        None => pictures.chunks(batch).map(|some| input.value(some, batch, &scaling)).collect::<Result<_>>()?,
    };
    let names: Vec<&str> = if pictures.is_empty() {
        vec!["the input of recipe.json"]
    } else {
        pictures.iter().map(|picture| picture.name.as_str()).collect()
    };
    // The first run pays for what drivers put off.
    let running = spinner("first run");
    if let Some(first) = batches.first() {
        network.run_values(std::slice::from_ref(first))?;
    }
    running.finish_and_clear();
    let prepared = start.elapsed();
    let progress = bar(names.len());
    let start = Instant::now();
    let mut answers = Vec::new();
    for value in &batches {
        answers.extend(Answer::all(&network.run_values(std::slice::from_ref(value))?, batch)?);
        progress.set_position(answers.len().min(names.len()) as u64);
    }
    let time = start.elapsed();
    progress.finish_and_clear();
    if let (Some(path), Some(labels), Some(answer)) = (&args.labels, &labels, answers.first()) {
        answer.check(labels).map_err(|error| format!("--labels: {}: {error}", path.display()))?;
    }
    writeln!(out)?;
    for (name, answer) in names.iter().zip(&answers) {
        writeln!(out, "{name}")?;
        writeln!(out, "{}", answer.table(args.top, labels.as_deref()))?;
    }
    let (one, prepared) = (time.as_secs_f64() / names.len() as f64, prepared.as_secs_f64());
    let pictures = if names.len() == 1 { "1 picture: ".into() } else { format!("{} pictures, each ", names.len()) };
    writeln!(out, "{pictures}{:.1} ms, after {prepared:.2} s of preparation and a first run", 1e3 * one)?;
    if let Some(first) = batches.first() {
        inspect(args, &network, first, out)?;
    }
    Ok(())
}

/// The trace must not take the place of what is read.
fn check_output(args: &Args) -> Result<(), String> {
    let Some(Some(path)) = &args.profile else { return Ok(()) };
    let recipe = args.model.as_deref().map(model::recipe_beside);
    let named = args.model.iter().chain(&args.labels).chain(&args.images);
    let inputs: Vec<&Path> = named.chain(&recipe).map(PathBuf::as_path).collect();
    output::prepare(&[Target::new("--profile", path)], &inputs)
}

/// The lines that one text has and the other lacks.
fn changes(before: &str, after: &str, out: &mut impl Write) -> io::Result<()> {
    for (sign, lines, others) in [('-', before, after), ('+', after, before)] {
        let known: HashSet<&str> = others.lines().collect();
        for line in lines.lines().filter(|line| !known.contains(line)) {
            writeln!(out, "  {sign} {line}")?;
        }
    }
    Ok(())
}

/// What is asked besides: plan, times, correctness.
fn inspect(args: &Args, network: &Network, input: &Value, out: &mut impl Write) -> Result {
    let inputs = std::slice::from_ref(input);
    if args.passes {
        let mut before = network.original().to_string();
        writeln!(out, "\n{before}")?;
        for (name, graph) in wgconv::passes::steps(network.original()) {
            let after = graph.to_string();
            if after != before {
                writeln!(out, "{name}")?;
                changes(&before, &after, out)?;
            }
            before = after;
        }
    }
    if args.explain {
        writeln!(out, "\n{}", network.explain())?;
    }
    if let Some(trace) = &args.profile {
        let spinner = spinner("timing each layer");
        let profile = network.profile(inputs)?;
        spinner.finish_and_clear();
        writeln!(out, "\n{profile}")?;
        if let Some(path) = trace {
            output::write(path, profile.to_trace_json().as_bytes())?;
            writeln!(out, "trace: {}, to be opened in ui.perfetto.dev or chrome://tracing", path.display())?;
        }
    }
    if args.verify {
        let spinner = spinner("computing every layer in f64");
        let verification = network.verify(inputs)?;
        spinner.finish_and_clear();
        writeln!(out, "\n{verification}")?;
        if !verification.passed() {
            return Err(
                "a layer leaves its tolerance: a kernel or the driver is wrong, please report it with the line above".into()
            );
        }
    }
    Ok(())
}

fn scaling(args: &Args, bundled: bool, channels: usize) -> Result<Scaling> {
    let (mean, std, range) = match (args.imagenet, bundled) {
        (true, _) => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225], 1.0),
        // The bundled digits hold 240 where all is ink.
        (false, true) if args.std == [1.0] => (args.mean.clone(), vec![240.0 / 255.0], args.range),
        (false, _) => (args.mean.clone(), args.std.clone(), args.range),
    };
    if args.bgr && channels == 1 {
        return Err("--bgr: is an order of channels, but the network has 1 channel".into());
    }
    let each = |option: &str, list: Vec<f32>| match list.as_slice() {
        [one] => Ok(vec![*one; channels]),
        list if list.len() == channels => Ok(list.to_vec()),
        list => {
            let option = if args.imagenet { "--imagenet" } else { option };
            let channels = numbers::counted(channels, "channel", "channels");
            Err(format!("{option}: has {} numbers, but the network has {channels}", list.len()))
        }
    };
    let (mean, std) = (each("--mean", mean)?, each("--std", std)?);
    Ok(Scaling { mean, std, range, bgr: args.bgr, grey: args.grey, fit: args.fit, filter: args.filter })
}

/// Progress of unknown length. Like all progress it goes to stderr, and only where that is a terminal.
fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn bar(pictures: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} pictures").expect("the template is constant and valid");
    ProgressBar::new(pictures as u64).with_style(style).with_message("classifying")
}
