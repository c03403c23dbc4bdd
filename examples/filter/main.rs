//! A renderer and a network on one device: a scene is drawn into a texture, a small convolution network filters it there, in the same
//! command encoder and without a copy to the host, and the frames are written as PNG files.
//!
//! `scene` is the renderer, in plain wgpu; `filters` makes the networks; here they meet.

#[path = "../support/ending.rs"]
mod ending;
mod filters;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/output.rs"]
mod output;
mod scene;
#[path = "../support/warnings.rs"]
mod warnings;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use wgconv::{Engine, EngineDesc};

use filters::Filter;
use scene::{Copied, Opened, Scene};

/// This program's results: every error ends as one line for the user.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Renders an animated scene, filters each frame in place by a network on the same device, and writes PNG files.
#[derive(Parser)]
#[command(
    version,
    after_long_help = "\
Examples:
  cargo run --release --example filter
  cargo run --release --example filter -- --filter blur --frames 24 --size 640x480 --out blurred
  cargo run --release --example filter -- --filter none --frames 1"
)]
struct Args {
    /// What the network does to each frame
    #[arg(long, value_enum, default_value = "edges")]
    filter: Filter,
    /// How many frames to draw
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = numbers::whole::<u32>(1..=10_000),
        allow_negative_numbers = true)]
    frames: u32,
    /// Width and height of a frame
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "320x240", value_parser = size, allow_hyphen_values = true)]
    size: [u32; 2],
    /// The folder for the frames, frame-000.png and so on
    #[arg(long, value_name = "FOLDER", default_value = "frames")]
    out: PathBuf,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME|NUMBER", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
    /// Print how the network is computed
    #[arg(long)]
    explain: bool,
}

/// Sides of a frame: the least is what a kernel of five needs, the most is what every WebGPU device's texture may have.
const SIDES: std::ops::RangeInclusive<u32> = 8..=8192;

fn size(text: &str) -> Result<[u32; 2], String> {
    let sizes = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    let fits = sizes.filter(|sizes| sizes.iter().all(|side| SIDES.contains(side)));
    fits.ok_or_else(|| format!("is not WIDTHxHEIGHT with sides of {} to {} pixels", SIDES.start(), SIDES.end()))
}

fn main() -> ExitCode {
    warnings::show();
    ending::of(run(&Args::parse(), &mut io::stdout()))
}

/// Whether the folder is one, or can be made in one that is there.
fn check_folder(path: &Path) -> Result<(), String> {
    let name = path.display();
    let is_picture = || image::ImageFormat::from_path(path).is_ok();
    if path.is_dir() {
        return Ok(());
    }
    if path.exists() || is_picture() {
        return Err(format!("--out: {name} is a file, not a folder"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() { Ok(()) } else { Err(format!("--out: {name} cannot be made: there is no folder {}", parent.display())) }
}

/// The time between two frames, in seconds of the scene.
const STEP: f32 = 0.15;

fn run(args: &Args, out: &mut impl Write) -> Result<()> {
    check_folder(&args.out)?;
    let Opened { adapter, device, queue } = scene::open(args.adapter.as_deref())?;
    // Not before: where there is no device there are no frames.
    if !args.out.is_dir() {
        std::fs::create_dir(&args.out).map_err(|error| format!("{}: cannot be made: {error}", args.out.display()))?;
    }
    let scene = Scene::new(&device, args.size);
    let target = Scene::target(&device, args.size);
    let engine = Engine::from_wgpu(&adapter, device.clone(), queue.clone(), &EngineDesc::default())?;
    let network = filters::network(&engine, args.filter, args.size)?;
    writeln!(out, "device: {}{}", engine.adapter_name(), if engine.is_software() { ", a software adapter" } else { "" })?;
    if let Some(network) = network.as_ref().filter(|_| args.explain) {
        writeln!(out, "{}", network.explain())?;
    }
    let start = Instant::now();
    for number in 0..args.frames {
        let mut encoder = device.create_command_encoder(&wgconv::wgpu::CommandEncoderDescriptor::default());
        scene.draw(&queue, &mut encoder, &target, STEP * number as f32);
        if let Some(network) = &network {
            network.encode(&mut encoder, &[&target], &[&target])?;
        }
        let copied = Copied::record(&device, &mut encoder, &target);
        queue.submit([encoder.finish()]);
        let path = args.out.join(format!("frame-{number:03}.png"));
        output::png(&path, &copied.wait(&device)?)?;
    }
    let each = start.elapsed().as_secs_f64() * 1000.0 / f64::from(args.frames);
    let [width, height] = args.size;
    writeln!(
        out,
        "{} of {width} x {height} in {}, {each:.1} ms each as a PNG file",
        numbers::counted(args.frames as usize, "frame", "frames"),
        args.out.display()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgconv::Value;

    fn frames(filter: Filter) -> (Vec<image::RgbaImage>, String) {
        let out = std::env::temp_dir().join(format!("wgconv-filter-{}-{filter:?}", std::process::id()));
        let args = Args { filter, frames: 2, size: [70, 48], out: out.clone(), adapter: None, explain: true };
        let mut text = Vec::new();
        run(&args, &mut text).expect("a device that renders");
        let read = |number: u32| image::open(out.join(format!("frame-{number:03}.png"))).expect("a PNG file").into_rgba8();
        let pictures = (0..2).map(read).collect();
        std::fs::remove_dir_all(&out).expect("the test's own folder");
        (pictures, String::from_utf8(text).expect("text"))
    }

    #[test]
    fn each_filter_gives_what_the_reference_makes_of_the_same_frame() {
        let (plain, _) = frames(Filter::None);
        assert_ne!(plain[0], plain[1], "the scene moves");
        let Opened { adapter, device, queue } = scene::open(None).expect("an adapter");
        let engine = Engine::from_wgpu(&adapter, device, queue, &EngineDesc::default()).expect("an engine");
        for filter in [Filter::Blur, Filter::Sharpen, Filter::Edges, Filter::Emboss] {
            let (filtered, text) = frames(filter);
            assert!(text.contains("frame from a texture, Rgba8Unorm 70 x 48: read by the layers themselves"), "{text}");
            let network = filters::network(&engine, filter, [70, 48]).expect("a network").expect("a filter");
            for (before, after) in plain.iter().zip(&filtered) {
                let colour = |c: usize| before.pixels().map(move |pixel| f32::from(pixel[c]) / 255.0);
                let input = Value::new(&[1, 3, 48, 70], (0..3).flat_map(colour).collect::<Vec<_>>()).expect("a picture");
                let wanted = network.run_reference(&[input]).expect("the reference")[0].to_f32();
                let channels = wanted.len() / (48 * 70);
                let mut changed = false;
                for (at, (pixel, old)) in after.pixels().zip(before.pixels()).enumerate() {
                    changed |= pixel != old;
                    for c in 0..3 {
                        let value = wanted[c.min(channels - 1) * 48 * 70 + at].clamp(0.0, 1.0) * 255.0;
                        assert!((f32::from(pixel[c]) - value).abs() <= 0.51, "{filter:?} {at}: {} not {value}", pixel[c]);
                    }
                    assert_eq!(pixel[3], 255);
                }
                assert!(changed, "{filter:?}");
            }
        }
    }

    #[test]
    fn wrong_sizes_and_adapters_are_refused_with_what_there_is() {
        for text in ["320", "x", "0x0", "7x100", "320x-1", "9000x9000", "320x240x3"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size("320x240"), Ok([320, 240]));
        let error = scene::open(Some("no such adapter")).err().expect("an error").to_string();
        assert!(error.contains("no such adapter") && error.contains("0: "), "{error}");
    }
}
