//! Real handwritten digits, read by a trained LeNet-5 that runs layer by layer on the GPU.
//!
//! `cargo run --release --example digits` needs nothing but this repository: weights and test digits are compiled in. The layers go
//! through the library's front door one by one, as an application would call them; `wgconv`'s network type is not used here.

mod cpu;
mod data;
#[path = "../support/ending.rs"]
mod ending;
mod gpu;
mod model;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/output.rs"]
mod output;
mod picture;
mod reading;
mod sheet;
mod terminal;
#[path = "../support/warnings.rs"]
mod warnings;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use wgconv::{Engine, EngineDesc, ErrorKind};

use data::{Digit, TestSet};
use model::Network;
use output::Target;
use picture::Invert;
use reading::{Reading, largest_error, worse};
use terminal::{Clock, Row};

/// This program's results: every error ends as one line for the user.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The most that a logit may differ from the reference. The logits reach 10, where f32 steps by 1e-6, and come out of sums of
/// up to 400 products: PyTorch's f32 differs from its f64 by 3e-6. Whatever exceeds this bound is a wrong kernel or driver.
const LOGIT_BOUND: f64 = 1e-4;

/// Reads handwritten digits with a trained LeNet-5 on the GPU.
///
/// Without files it reads the 450 bundled test digits and compares every logit with the CPU reference in f64 and with those of a
/// float64 run in PyTorch. With files it reads each of them as one digit.
#[derive(Parser)]
#[command(
    version,
    after_long_help = "\
Examples:
  cargo run --release --example digits
  cargo run --release --example digits -- --show 20 --png digits.png
  cargo run --release --example digits -- examples/data/png/digit_07_label5.png
  cargo run --release --example digits -- --invert yes photo.png
  cargo run --release --example digits -- --adapter llvmpipe --batch 50

Your own pictures: one digit each, dark on light or light on dark, of any size and colour, with some margin. The training
digits are from Turkey, where a 7 has a bar through its stem and a 1 has no foot: the network knows no others."
)]
struct Args {
    /// PNG files to read, one digit each, in place of the test digits
    #[arg(value_name = "FILE.png")]
    files: Vec<PathBuf>,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "reference", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
    /// Digits that go through the layers at once [default: all]
    #[arg(long, value_name = "N", conflicts_with = "reference", value_parser = numbers::count, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Test digits to show, and at most as many of the misread ones
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "files",
        value_parser = numbers::whole::<usize>(0..=u64::MAX), allow_negative_numbers = true)]
    show: usize,
    /// Run on the CPU reference only
    #[arg(long)]
    reference: bool,
    /// Write a picture of all digits with their readings
    #[arg(long, value_name = "OUT.png")]
    png: Option<PathBuf>,
    /// Whether FILE.png are dark ink on light paper
    #[arg(long, value_enum, default_value_t = Invert::Auto, requires = "files")]
    invert: Invert,
}

fn main() -> ExitCode {
    warnings::show();
    let args = Args::parse();
    ending::of(run(&args, &mut io::stdout()))
}

fn run(args: &Args, out: &mut impl Write) -> Result<()> {
    if let Some(path) = &args.png {
        let inputs: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
        output::prepare(&[Target::png("--png", path)], &inputs)?;
    }
    let network = Network::load()?;
    let test = if args.files.is_empty() { Some(data::test_set()?) } else { None };
    let own: Vec<Digit> = args.files.iter().map(|file| picture::read(file, args.invert)).collect::<Result<_>>()?;
    let digits = test.as_ref().map_or(own.as_slice(), |test| test.digits.as_slice());
    let kind = if test.is_some() { "test digits" } else { "your pictures" };
    writeln!(out, "LeNet-5 of {} learned parameters; {kind}: {}", network.parameters(), digits.len())?;

    let input = data::network_input(digits);
    let engine = if args.reference { None } else { engine(args.adapter.as_deref(), out)? };
    let outcome = match &engine {
        Some(engine) => {
            let batch = args.batch.unwrap_or(digits.len());
            Some(gpu::run(engine, &network, &input, batch)?)
        }
        None => {
            writeln!(out, "device: none, this is the CPU reference (f64)")?;
            None
        }
    };
    let reference = cpu::run(&network, &input)?;
    let device: Option<Vec<f64>> = outcome.as_ref().map(|outcome| outcome.logits.iter().map(|&logit| f64::from(logit)).collect());
    let readings = Reading::all(device.as_ref().unwrap_or(&reference.logits));

    writeln!(out)?;
    match &test {
        Some(test) => show_test(out, test, &readings, args.show)?,
        None => {
            for (digit, reading) in own.iter().zip(&readings) {
                writeln!(out, "{}", terminal::portrait(digit, reading))?;
            }
        }
    }
    let worst = show_errors(out, device.as_deref(), &reference.logits, test.as_ref())?;
    match &outcome {
        Some(outcome) => {
            show_layers(out, &outcome.rows)?;
            let (seconds, time) = (outcome.time.as_secs_f64(), terminal::time(outcome.time));
            let rate = digits.len() as f64 / seconds;
            let all = if digits.len() == 1 { "1 digit".into() } else { format!("all {} digits", digits.len()) };
            writeln!(out, "{all}, upload and read-back included: {time}, {rate:.0} digits/s")?;
        }
        None => show_layers(out, &reference.rows)?,
    }
    if let Some(path) = &args.png {
        sheet::write(path, digits, &readings)?;
        writeln!(out, "picture of all digits: {}", path.display())?;
    }
    if outcome.is_some_and(|outcome| !outcome.repeatable) {
        return Err("two runs gave different bits: a kernel or the driver is wrong, please report it with the table above".into());
    }
    // A NaN is above every bound.
    if worst.is_nan() || worst > LOGIT_BOUND {
        let reason = "a kernel or the driver is wrong, please report it with the table above";
        return Err(format!("a logit is off by {worst:.1e}, more than {LOGIT_BOUND:.0e}: {reason}").into());
    }
    Ok(())
}

/// The engine, introduced to the user; `None` on a machine without an adapter. An adapter asked for by name must exist.
fn engine(adapter: Option<&str>, out: &mut impl Write) -> Result<Option<Engine>> {
    match Engine::new(&EngineDesc { adapter: adapter.map(str::to_owned), ..Default::default() }) {
        Ok(engine) => {
            writeln!(out, "device: {}", engine.adapter_name())?;
            if engine.is_software() {
                writeln!(out, "        THIS IS A SOFTWARE ADAPTER: the kernels run on the CPU. Results count,")?;
                writeln!(out, "        times say nothing about a GPU.")?;
            }
            Ok(Some(engine))
        }
        Err(error) if error.kind() == ErrorKind::NoAdapter && adapter.is_none() => {
            writeln!(out, "{error}")?;
            Ok(None)
        }
        Err(error) => Err(format!("{error}\n(--reference runs on the CPU, without any adapter)").into()),
    }
}

/// Some digits, all misread ones, and the accuracy.
fn show_test(out: &mut impl Write, test: &TestSet, readings: &[Reading], show: usize) -> io::Result<()> {
    let all = || test.digits.iter().zip(readings);
    let wrong = || all().filter(|(digit, reading)| reading.is_wrong(digit));
    write!(out, "{}", terminal::gallery(all().take(show)))?;
    let misread = wrong().count();
    if misread > 0 {
        writeln!(out, "misread:")?;
        write!(out, "{}", terminal::gallery(wrong().take(show)))?;
        for (digit, reading) in wrong() {
            let guess = |rank: usize| format!("{} ({:.0} %)", reading.ranked()[rank].0, 100.0 * reading.ranked()[rank].1);
            let label = digit.label.expect("a digit without a label is never wrong");
            writeln!(out, "  {} is a {label}, read as {}, then {}", digit.name, guess(0), guess(1))?;
        }
        writeln!(out)?;
    }
    let right = test.digits.len() - misread;
    writeln!(out, "accuracy: {right} of {} = {:.1} %", test.digits.len(), 100.0 * right as f64 / test.digits.len() as f64)
}

/// The distances between device, reference and file, of which the largest is returned; 0 where there is nothing to compare.
fn show_errors(out: &mut impl Write, device: Option<&[f64]>, reference: &[f64], test: Option<&TestSet>) -> io::Result<f64> {
    let mut errors = Vec::new();
    let file: Option<Vec<f64>> = test.map(|test| test.logits.iter().map(|&logit| f64::from(logit)).collect());
    if let Some(device) = device {
        errors.push(("device against the f64 reference", largest_error(device, reference)));
    }
    if let (Some(device), Some(file)) = (device, &file) {
        errors.push(("device against PyTorch's float64 logits", largest_error(device, file)));
    }
    if let Some(file) = &file {
        errors.push(("reference against PyTorch's float64 logits", largest_error(reference, file)));
    }
    if errors.is_empty() {
        return Ok(0.0);
    }
    let reach = reference.iter().fold(0.0, |most: f64, logit| most.max(logit.abs()));
    writeln!(out, "largest logit error (the logits reach {reach:.1}):")?;
    for (what, error) in &errors {
        writeln!(out, "  {what:<44}{error:.1e}")?;
    }
    writeln!(
        out,
        "  (the reference computes a layer in f64 and rounds what the next one reads to f32; PyTorch's are kept as f32)\n"
    )?;
    Ok(errors.into_iter().fold(0.0, |worst, (_, error)| worse(worst, error)))
}

fn show_layers(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let device = rows.iter().all(|row| row.clock == Clock::Device);
    let clock = match rows.iter().any(|row| row.algorithm == "reference") {
        true => "one run of all digits on the CPU",
        false if device => "the device's own timestamps, median of 5 runs of one batch",
        false => "the host's clock with waiting included, as the device has no timestamps; median of 5 runs of one batch",
    };
    writeln!(out, "layers (time: {clock})")?;
    writeln!(out, "{}", terminal::table(rows))
}
