//! A network over one axis: next year's sunspot number from the years before it, by a trained temporal convolutional network.
//!
//! `cargo run --release --example series` needs nothing but this repository. The network's convolutions are dilated by 1, 2, 4 and 8 and
//! look backwards only, so that one run over the whole series predicts every year of it from the years before.

mod data;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/output.rs"]
mod output;
mod plot;
#[path = "../bench/text.rs"]
mod text;
#[path = "../support/warnings.rs"]
mod warnings;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use indicatif::ProgressBar;
use wgconv::{Bindings, Engine, EngineDesc, Network, NetworkDesc, Value, onnx};

use data::{Series, Stated};
use output::Target;

/// This program's results: every error ends as one line for the user.
pub type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The most that a scaled prediction may differ from PyTorch's in float64: the outputs are about 1, and f32 steps by 1e-7.
const BOUND: f64 = 1e-5;
/// The sun's cycle, in years.
const CYCLE: usize = 11;

/// Predicts yearly sunspot numbers one year ahead with a temporal convolutional network, and draws them.
#[derive(Parser)]
#[command(
    version,
    after_long_help = "\
Examples:
  cargo run --release --example series
  cargo run --release --example series -- --png sunspots.png"
)]
struct Args {
    /// The picture to write
    #[arg(long, value_name = "OUT.png", default_value = "series.png")]
    png: PathBuf,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
    /// Print how the network is computed
    #[arg(long)]
    explain: bool,
}

/// Errors over the test years, in sunspots.
pub struct Errors {
    pub network: f64,
    /// Of saying last year's number again.
    pub persistence: f64,
    /// Of saying the number of a cycle ago again.
    pub cycle: f64,
}

fn main() -> ExitCode {
    warnings::show();
    ending::of(run(&Args::parse(), &mut io::stdout()))
}

fn run(args: &Args, out: &mut impl Write) -> Result {
    output::prepare(&[Target::png("--png", &args.png)], &[])?;
    let (series, stated) = (Series::load()?, Stated::load()?);
    let engine = Engine::new(&EngineDesc { adapter: args.adapter.clone(), ..Default::default() })?;
    let progress = ProgressBar::new_spinner().with_message("preparing the network");
    progress.enable_steady_tick(Duration::from_millis(100));
    let graph = onnx::from_bytes(data::MODEL)?;
    // The last year is predicted and not shown to the network.
    let length = series.values.len() - 1;
    let dims = vec![("N".to_string(), 1), ("T".to_string(), length)];
    let bindings = Bindings { dims, ..Default::default() };
    let network = Network::new(&engine, &graph, &NetworkDesc { bindings, ..Default::default() })?;
    let input: Vec<f32> = series.values[..length].iter().map(|&number| data::scaled(number)).collect();
    let input = [Value::new(&[1, 1, length], input)?];
    progress.set_message("predicting every year");
    let outputs = network.run_values(&input)?;
    progress.set_message("comparing with the reference");
    let verification = network.verify(&input)?;
    progress.finish_and_clear();
    let outputs = outputs.first().ok_or("the network has no output")?.to_f32();
    if outputs.len() != length {
        return Err(format!("the network gives {} numbers for {length} years", outputs.len()).into());
    }

    // `predicted[i]` is for the year `i + 1` of the series.
    let predicted: Vec<f64> = outputs.iter().map(|&output| data::unscaled(output)).collect();
    let test: Vec<usize> = series
        .years()
        .filter(|(_, year)| (stated.test_years.0..=stated.test_years.1).contains(year))
        .map(|(index, _)| index)
        .collect();
    let errors = Errors {
        network: rmse(&test, &series, |index| predicted[index - 1]),
        persistence: rmse(&test, &series, |index| series.values[index - 1]),
        cycle: rmse(&test, &series, |index| series.values[index - CYCLE]),
    };
    let pairs = test.iter().zip(&stated.predictions).map(|(&index, wanted)| (f64::from(outputs[index - 1]) - wanted).abs());
    let difference = pairs.fold(0.0, |most: f64, error| if error.is_nan() { error } else { most.max(error) });

    // Before anything is printed: who reads only the first lines gets the picture all the same.
    let subtitle = format!("{} learned parameters; predictions by wgconv on {}", graph.parameter_count(), engine.adapter_name());
    plot::write(&args.png, &plot::Plot { series: &series, predicted: &predicted, stated: &stated, errors: &errors, subtitle })?;
    let software = if engine.is_software() { ", a software adapter" } else { "" };
    writeln!(
        out,
        "temporal convolutional network of {} learned parameters, on {}{software}",
        graph.parameter_count(),
        engine.adapter_name()
    )?;
    writeln!(
        out,
        "yearly sunspot numbers {} to {}, each predicted from the years before it\n",
        series.first,
        series.year(length)
    )?;
    writeln!(out, "root of the mean square error, {} to {}      here    stated", stated.test_years.0, stated.test_years.1)?;
    writeln!(out, "  the network                                  {:8.3}  {:8.3}", errors.network, stated.test_rmse)?;
    writeln!(out, "  last year's number again                     {:8.3}  {:8.3}", errors.persistence, stated.persistence_rmse)?;
    writeln!(out, "  the number of {CYCLE} years ago again              {:8.3}  {:8.3}", errors.cycle, stated.cycle_rmse)?;
    writeln!(out, "\nlargest difference from PyTorch's float64 outputs, scaled: {difference:.1e}")?;
    writeln!(out, "{verification}")?;
    if args.explain {
        writeln!(out, "\n{}", network.explain())?;
    }
    writeln!(out, "the series is drawn in {}", args.png.display())?;
    if !verification.passed() {
        return Err("a layer leaves its tolerance: a kernel or the driver is wrong, please report it with the lines above".into());
    }
    // A NaN is above every bound.
    if difference.is_nan() || difference > BOUND {
        return Err(format!(
            "a prediction is off by {difference:.1e}, more than {BOUND:.0e}: please report it with the lines above"
        )
        .into());
    }
    Ok(())
}

/// Root of the mean square error over these years.
fn rmse(years: &[usize], series: &Series, predict: impl Fn(usize) -> f64) -> f64 {
    let square = |&index: &usize| (predict(index) - series.values[index]).powi(2);
    (years.iter().map(square).sum::<f64>() / years.len().max(1) as f64).sqrt()
}
