//! Verifies the library against itself and against others: `cargo run --release --example verify -- --help`.
//!
//! - `problems FILE..`: every problem line by every algorithm on f32 and f16;
//! - `golden DIR`: layers with the values of another implementation, by the reference and by every algorithm;
//! - `configs FILE`: layers that are wrong, or look it, and what each must give;
//! - `onnx DIR..`: ONNX's backend tests, and models whose weights are a recipe.
//!
//! The last line is `N passed, N failed, N skipped`. Exit status: 1 where anything failed or could not be written, 2 for arguments that
//! cannot be used.

mod config;
mod configs;
mod device;
mod golden;
mod json;
mod naive;
#[path = "../support/numbers.rs"]
mod numbers;
mod onnx;
mod onnx_case;
mod onnx_recipe;
mod onnx_run;
mod operands;
#[path = "../support/output.rs"]
mod output;
mod problems;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use device::{Device, Only};
use output::Target;
use report::{Report, kept};
use wgconv::Precision;

/// Verify convolution and pooling layers on the CPU reference and on a GPU.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Judge only this algorithm: a name such as `gemm`, or one with its tile such as `gemm(64x64x16,8x4)`.
    #[arg(long, global = true, value_name = "NAME")]
    algorithm: Option<Only>,

    /// Judge every tile of an algorithm, not only the one that is the best guess.
    #[arg(long, global = true)]
    every_tile: bool,

    /// The adapter, by its number or a part of its name; `explain --adapters` lists them.
    #[arg(long, global = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,

    /// How exact results must be: `exact`; `fast`, which allows Winograd's `F(4, 3)` too; `half`, which also allows products of f16 in f16.
    #[arg(long, global = true, value_name = "exact|fast|half", default_value_t)]
    precision: Precision,

    /// Seed of the operands of problem lines.
    #[arg(long, global = true, default_value_t = 1, value_parser = numbers::whole::<u64>(0..=u64::MAX),
        allow_negative_numbers = true)]
    seed: u64,

    /// Write the results to this file too.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Check problem lines, such as `conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu`, by every algorithm on f32 and f16.
    Problems {
        /// Text files with one line for each problem; `-` for the standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Compare with the values of another implementation.
    Golden {
        /// A directory of .safetensors files, in the format of tests/golden/README.md.
        directory: PathBuf,
    },
    /// Check that what is wrong is refused, and that what only looks wrong is not.
    Configs {
        /// A file in the format of tests/configs/invalid.json.
        file: PathBuf,
    },
    /// Import ONNX models, run them and compare with the outputs beside them.
    Onnx {
        /// Directories with folders of a model.onnx and of test_data_set_*, at any depth.
        #[arg(required = true)]
        directories: Vec<PathBuf>,

        /// Run the models through the CPU reference, and not on a GPU.
        #[arg(long)]
        reference: bool,

        /// Write the table of operators, and what did not pass, to this file as Markdown.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            let (message, status) = match failure {
                Failure::Output(message) => (message, 1),
                Failure::Arguments(message) => (message, 2),
            };
            eprintln!("error: {message}");
            ExitCode::from(status)
        }
    }
}

/// Why nothing was judged.
enum Failure {
    /// They cannot be used.
    Arguments(String),
    /// There is no place for it.
    Output(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Arguments(message)
    }
}

/// Whether nothing failed.
fn run(arguments: Arguments) -> Result<bool, Failure> {
    let Arguments { command, algorithm, every_tile, adapter, precision, seed, json } = arguments;
    // Whatever is wrong with the files is said before a device is opened, and not after all the work.
    let check = |report: Option<&Path>, inputs: &[PathBuf]| check_outputs(json.as_deref(), report, inputs);
    let (asked, only) = (adapter.is_some(), algorithm.is_some() || every_tile);
    let device = || Device::open(adapter, precision, algorithm, every_tile);
    match command {
        Command::Problems { files } => {
            check(None, &files)?;
            let lines = problems::lines(&files)?;
            let mut report = Report::new(lines.len());
            let device = open(device(), &mut report, true);
            if let Some(device) = &device {
                problems::run(&lines, device, seed, &mut report);
            }
            Ok(report.finish(device.as_ref().map(|device| device.engine.adapter_name()), json.as_deref()))
        }
        Command::Golden { directory } => {
            let files = golden::files(&directory)?;
            check(None, &files)?;
            let mut report = Report::new(files.len());
            let device = open(device(), &mut report, true);
            golden::run(&files, device.as_ref(), &mut report);
            Ok(report.finish(device.as_ref().map(|device| device.engine.adapter_name()), json.as_deref()))
        }
        Command::Configs { file } => {
            check(None, std::slice::from_ref(&file))?;
            let about = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let text = std::fs::read_to_string(&file).map_err(|error| about(&error))?;
            let value = serde_json::from_str(&text).map_err(|error| about(&error))?;
            let cases = configs::cases(&value).map_err(|error| about(&error))?;
            let mut report = Report::new(cases.len());
            let device = open(device(), &mut report, asked);
            configs::run(&cases, device.as_ref(), &mut report);
            Ok(report.finish(device.as_ref().map(|device| device.engine.adapter_name()), json.as_deref()))
        }
        Command::Onnx { directories, reference, report: file } => {
            if reference && asked {
                return Err(Failure::Arguments("--reference: computes without a device: leave out --adapter".into()));
            }
            if only {
                return Err(Failure::Arguments(
                    "--algorithm, --every-tile: are of layers, and not of onnx, whose networks choose".into(),
                ));
            }
            let cases = onnx_case::find(&directories)?;
            let lists = directories.iter().map(|directory| directory.join("cases.tsv"));
            check(file.as_deref(), &cases.iter().flat_map(onnx_case::Case::files).chain(lists).collect::<Vec<_>>())?;
            let mut report = Report::new(cases.len());
            let device = if reference { None } else { open(device(), &mut report, true) };
            let table = match &device {
                Some(device) => {
                    onnx::run(&cases, &|graph, inputs| onnx_run::on_device(&device.engine, graph, inputs), &mut report)
                }
                None if reference => onnx::run(&cases, &onnx_run::by_reference, &mut report),
                None => onnx::Table::default(),
            };
            let adapter = device.as_ref().map(|device| device.engine.adapter_name());
            output::say(table.text().trim_end());
            let written = file.is_none_or(|file| kept(table.write(&file, adapter.unwrap_or("the CPU reference"))));
            Ok(report.finish(adapter, json.as_deref()) && written)
        }
    }
}

/// Whether there is a place for what is to be written, which is not that of anything that is read.
fn check_outputs(json: Option<&Path>, report: Option<&Path>, inputs: &[PathBuf]) -> Result<(), Failure> {
    let options = [("--json", json), ("--report", report)];
    let targets: Vec<Target> = options.iter().filter_map(|(option, path)| Some(Target::new(option, (*path)?))).collect();
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    output::distinct(&targets, &inputs).map_err(Failure::Arguments)?;
    output::places(&targets).map_err(Failure::Output)
}

/// The device, or its absence listed: as a failure where the verdicts need one, or the user asked for one.
fn open(device: wgconv::Result<Device>, report: &mut Report, needed: bool) -> Option<Device> {
    match device {
        Ok(device) => Some(device),
        Err(error) => {
            if needed {
                report.fail("device", &error.to_string());
            } else {
                report.note("device", &error.to_string());
            }
            None
        }
    }
}
