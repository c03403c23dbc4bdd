//! A network over three axes: a trained 3-D U-Net takes the noise out of an MRI scan, beside a mean filter that is a convolution too.
//!
//! `cargo run --release --example volume` needs nothing but this repository.

#[path = "../features/canvas.rs"]
#[allow(dead_code, reason = "the program `features` uses more of it")]
mod canvas;
mod data;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/output.rs"]
mod output;
#[path = "../features/plane.rs"]
#[allow(dead_code, reason = "the program `features` uses more of it")]
mod plane;
mod slices;
#[path = "../bench/text.rs"]
#[allow(dead_code, reason = "the program `bench` uses more of it")]
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
use wgconv::{ConvDesc, Engine, EngineDesc, Network, NetworkDesc, TensorDesc, Value, Weights, onnx};

use data::{Phantom, Stated};
use output::Target;
use slices::{Row, Sheet};

/// This program's results: every error ends as one line for the user.
pub type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The most decibels that a ratio may differ from the stated one. They come from sums of f32 in another order: 1e-5 is seen.
const BOUND: f64 = 1e-3;

/// Takes the noise out of an MRI scan with a 3-D U-Net, and draws its slices.
#[derive(Parser)]
#[command(
    version,
    after_long_help = "\
Examples:
  cargo run --release --example volume
  cargo run --release --example volume -- --png slices.png"
)]
struct Args {
    /// The picture to write
    #[arg(long, value_name = "OUT.png", default_value = "volume.png")]
    png: PathBuf,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
    /// Print how the network is computed
    #[arg(long)]
    explain: bool,
}

fn main() -> ExitCode {
    warnings::show();
    ending::of(run(&Args::parse(), &mut io::stdout()))
}

fn run(args: &Args, out: &mut impl Write) -> Result {
    output::prepare(&[Target::png("--png", &args.png)], &[])?;
    let (phantom, stated) = (Phantom::load()?, Stated::load()?);
    let engine = Engine::new(&EngineDesc { adapter: args.adapter.clone(), ..Default::default() })?;
    let progress = ProgressBar::new_spinner().with_message("mean filter");
    progress.enable_steady_tick(Duration::from_millis(100));
    let mean = mean_filter(&engine, &phantom)?;
    progress.set_message("preparing the network");
    let graph = onnx::from_bytes(data::MODEL)?;
    let network = Network::new(&engine, &graph, &NetworkDesc::default())?;
    let input = [Value::new(&phantom.shape(), phantom.noisy.clone())?];
    progress.set_message("running the network");
    let outputs = network.run_values(&input)?;
    progress.set_message("comparing with the reference");
    let verification = network.verify(&input)?;
    progress.finish_and_clear();
    let unet = outputs.first().ok_or("the network has no output")?.to_f32();
    if unet.len() != phantom.clean.len() {
        return Err(format!("the network gives {} voxels for {}", unet.len(), phantom.clean.len()).into());
    }

    let [depth, height, width] = phantom.size;
    let rows = [
        ("noisy", phantom.psnr(&phantom.noisy), stated.noisy),
        ("mean of 3x3x3 voxels", phantom.psnr(&mean), stated.mean_filter),
        ("3-D U-Net", phantom.psnr(&unet), stated.unet),
    ];
    // Before anything is printed: who reads only the first lines gets the picture all the same.
    let decibels = |ratio: f64| format!("{ratio:.2} dB");
    let sheet = Sheet {
        subtitle: format!("slices of a {width}x{height}x{depth} scan of a phantom, by wgconv on {}", engine.adapter_name()),
        phantom: &phantom,
        rows: vec![
            Row::volume("noisy", decibels(rows[0].1), &phantom.noisy),
            Row::volume("3x3x3 mean", decibels(rows[1].1), &mean),
            Row::volume("3-D U-Net", decibels(rows[2].1), &unet),
            Row::volume("clean", String::new(), &phantom.clean),
            Row::error("|mean - clean|", &mean),
            Row::error("|U-Net - clean|", &unet),
        ],
    };
    sheet.write(&args.png)?;

    let software = if engine.is_software() { ", a software adapter" } else { "" };
    writeln!(out, "3-D U-Net of {} learned parameters, on {}{software}", graph.parameter_count(), engine.adapter_name())?;
    writeln!(out, "MRI scan of a phantom: {depth} slices of {height}x{width}, with noise added\n")?;
    writeln!(out, "peak signal-to-noise ratio, dB        here    stated")?;
    for (name, here, stated) in rows {
        writeln!(out, "  {name:<30} {here:9.4} {stated:9.4}")?;
    }
    writeln!(out, "\n{verification}")?;
    if args.explain {
        writeln!(out, "\n{}", network.explain())?;
    }
    writeln!(out, "the slices are drawn in {}", args.png.display())?;
    if !verification.passed() {
        return Err("a layer leaves its tolerance: a kernel or the driver is wrong, please report it with the lines above".into());
    }
    let differs = |here: f64, stated: f64| {
        let difference = (here - stated).abs();
        // A NaN is above every bound.
        difference.is_nan() || difference > BOUND
    };
    match rows.iter().find(|(_, here, stated)| differs(*here, *stated)) {
        Some((name, here, stated)) => {
            Err(format!("{name}: {here} dB instead of {stated}: please report it with the lines above").into())
        }
        None => Ok(()),
    }
}

/// The mean of each voxel's neighbourhood, as far as it lies in the volume: a convolution whose 27 numbers are all 1, over the volume
/// and, as the second item of the batch, over ones, whose sums are the numbers of neighbours.
fn mean_filter(engine: &Engine, phantom: &Phantom) -> Result<Vec<f32>> {
    let [depth, height, width] = phantom.size;
    let input = engine.upload(
        &[phantom.noisy.as_slice(), &vec![1.0; phantom.noisy.len()]].concat(),
        &TensorDesc::f32(&[2, 1, depth, height, width]),
    )?;
    let desc = ConvDesc { padding: [1, 1, 1].into(), ..ConvDesc::new(1, 1, [3, 3, 3]) };
    let sums = engine.conv(&desc, input.desc(), Weights { kernel: &[1.0; 27], ..Default::default() })?.run(&input)?;
    let sums: Vec<f32> = sums.to_vec()?;
    let (sums, counts) = sums.split_at(phantom.noisy.len());
    Ok(sums.iter().zip(counts).map(|(sum, count)| sum / count).collect())
}
