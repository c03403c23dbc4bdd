//! What convolutions see: a picture through filters made by hand, or a digit through filters that a network learned, each map drawn
//! beside its filter on one sheet.
//!
//! `cargo run --release --example features` needs nothing but this repository: the picture is drawn by formulas, the network's weights
//! are compiled in. Every map is computed by the engine; this program only draws.

mod canvas;
#[path = "../digits/data.rs"]
#[allow(dead_code, reason = "the program `digits` uses more of it")]
mod data;
mod device;
#[path = "../support/ending.rs"]
mod ending;
mod filters;
mod handmade;
mod learned;
#[path = "../digits/model.rs"]
#[allow(dead_code, reason = "the program `digits` uses more of it")]
mod model;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/output.rs"]
mod output;
mod plane;
mod scene;
mod sheet;
mod source;
#[path = "../bench/text.rs"]
#[allow(dead_code, reason = "the program `bench` uses more of it")]
mod text;
#[path = "../support/warnings.rs"]
mod warnings;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use wgconv::{Engine, EngineDesc};

use device::{Device, Layer};
use output::Target;
use plane::Plane;
use sheet::{Example, Section, Sheet};

/// This program's results: every error ends as one line for the user.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The sides that a picture may be scaled to: the largest filter needs some room, and a sheet must stay one that can be opened.
const SIZES: std::ops::RangeInclusive<u64> = 64..=512;

/// Shows what each filter of a convolution sees, as one PNG file.
///
/// Without options, a drawn scene goes through filters made by hand: brightness, edges, stripes, and what a second layer makes of
/// them, textures and shapes.
#[derive(Parser)]
#[command(
    version,
    after_long_help = "\
Examples:
  cargo run --release --example features
  cargo run --release --example features -- --image holiday.jpg
  cargo run --release --example features -- --digit 17 --out digit.png"
)]
struct Args {
    /// A photo or picture of yours, PNG or JPEG, in place of the scene
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// A test digit, 0 to 449, through the first layers of a trained LeNet-5
    #[arg(long, value_name = "N", conflicts_with_all = ["image", "size"], value_parser = numbers::whole::<usize>(0..=u64::MAX),
        allow_negative_numbers = true)]
    digit: Option<usize>,
    /// Scale the picture so that its longer side is at most so many pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 256, value_parser = numbers::whole::<u32>(SIZES),
        allow_negative_numbers = true)]
    size: u32,
    /// The file to write
    #[arg(long, value_name = "FILE.png", default_value = "features.png")]
    out: PathBuf,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
}

fn main() -> ExitCode {
    warnings::show();
    ending::of(run(&Args::parse(), &mut io::stdout()))
}

/// What goes through which filters, and what came out.
struct Shown {
    title: String,
    subject: String,
    picture: Plane,
    example: Example,
    sections: Vec<Section>,
    layers: Vec<Layer>,
}

fn run(args: &Args, out: &mut impl Write) -> Result<()> {
    // What is wrong with the user's files is said before anything is prepared.
    let inputs: Vec<&Path> = args.image.iter().map(PathBuf::as_path).collect();
    output::prepare(&[Target::png("--out", &args.out)], &inputs)?;
    let own = args.image.as_deref().map(|path| source::read(path, args.size)).transpose()?;
    let engine = Engine::new(&EngineDesc { adapter: args.adapter.clone(), ..Default::default() })?;
    let shown = match args.digit {
        Some(number) => digit(&engine, number)?,
        None => picture(&engine, args, own)?,
    };
    // Before anything is printed: who reads only the first lines gets the picture all the same.
    let subtitle = format!("{} ({}x{}), on {}", shown.subject, shown.picture.width, shown.picture.height, engine.adapter_name());
    let Shown { title, picture, example, sections, .. } = &shown;
    Sheet { title, subtitle: &subtitle, picture, example, sections }.write(&args.out)?;
    writeln!(out, "{} ({}x{})", shown.subject, shown.picture.width, shown.picture.height)?;
    writeln!(out, "device: {}{}\n", engine.adapter_name(), if engine.is_software() { ", a software adapter" } else { "" })?;
    for section in &shown.sections {
        writeln!(out, "{}", section.title)?;
        for tile in &section.tiles {
            let (min, max, found) = tile.numbers();
            writeln!(out, "  {:<20} min {min:8.3}   max {max:8.3}   found {found:5.1} %", tile.name)?;
        }
    }
    writeln!(out, "\n{} layers ran", shown.layers.len())?;
    for layer in &shown.layers {
        writeln!(out, "  {:<62} {}", layer.problem, layer.algorithm)?;
    }
    writeln!(out, "\nthe maps are drawn in {}", args.out.display())?;
    Ok(())
}

fn picture(engine: &Engine, args: &Args, own: Option<Plane>) -> Result<Shown> {
    let (subject, picture) = match (&args.image, own) {
        (Some(path), Some(own)) => (path.display().to_string(), own),
        _ => ("a drawn scene".into(), scene::draw()),
    };
    // The shapes' filters look at 25 elements of maps that are pooled by 4, and a row of the example at 3.
    if picture.width.min(picture.height) < 16 {
        let size = format!("{}x{}", picture.width, picture.height);
        return Err(format!("{subject}: is {size} pixels after scaling, but at least 16 on each side are needed").into());
    }
    let mut device = Device::new(engine, progress(handmade::LAYERS));
    let (example, sections) = handmade::sections(&mut device, &picture)?;
    let title = "What a convolution sees: filters made by hand".into();
    Ok(Shown { title, subject, picture, example, sections, layers: device.finish() })
}

fn digit(engine: &Engine, number: usize) -> Result<Shown> {
    let digits = data::test_set()?.digits;
    let Some(digit) = digits.get(number) else {
        return Err(format!("--digit: there is no digit {number}, they are numbered 0 to {}", digits.len() - 1).into());
    };
    let mut device = Device::new(engine, progress(learned::LAYERS));
    let (picture, example, sections) = learned::sections(&mut device, digit)?;
    let label = digit.label.map_or(String::new(), |label| format!(", a {label}"));
    let subject = format!("test digit {}{label}", digit.name);
    let title = "What a convolution sees: filters that LeNet-5 has learned".into();
    Ok(Shown { title, subject, picture, example, sections, layers: device.finish() })
}

/// Like all progress it goes to stderr, and only where that is a terminal.
fn progress(layers: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} layers").expect("the template is constant and valid");
    ProgressBar::new(layers).with_style(style).with_message("filtering")
}
