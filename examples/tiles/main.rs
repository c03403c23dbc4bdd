//! A large picture through a network, tile by tile: edges at two scales of a scene that is drawn as it is read.
//!
//! `cargo run --release --example tiles` needs nothing but this repository. Neither the picture nor anything between the layers is
//! ever in memory as a whole; only the result is, as bytes. `sheet` shows both, and a place where tiles meet.

#[path = "../features/canvas.rs"]
#[allow(dead_code, reason = "the program `features` uses more of it")]
mod canvas;
#[path = "../support/ending.rs"]
mod ending;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/output.rs"]
mod output;
#[path = "../features/plane.rs"]
#[allow(dead_code, reason = "the program `features` uses more of it")]
mod plane;
#[path = "../features/scene.rs"]
#[allow(dead_code, reason = "the program `features` uses more of it")]
mod scene;
mod sheet;
#[path = "../bench/text.rs"]
#[allow(dead_code, reason = "the program `bench` uses more of it")]
mod text;
#[path = "../support/warnings.rs"]
mod warnings;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use wgconv::{
    Binary, ConvDesc, Engine, EngineDesc, Graph, Network, NetworkDesc, Op, PaddingMode, PoolDesc, Region, TileDesc, TileRunner,
    Unary, Value,
};

use output::Target;
use sheet::Sheet;

/// This program's results: every error ends as one line for the user.
type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Finds edges at two scales in a large drawn picture, over tiles.
#[derive(Parser)]
#[command(
    version,
    after_long_help = "\
Examples:
  cargo run --release --example tiles
  cargo run --release --example tiles -- --size 8192 --tile 1024
  cargo run --release --example tiles -- --size 1001 --tile 256 --check"
)]
struct Args {
    /// Pixels of the picture's side
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = numbers::whole::<u32>(16..=65_535),
        allow_negative_numbers = true)]
    size: u32,
    /// Pixels of a tile's side
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = numbers::whole::<u32>(1..=65_535),
        allow_negative_numbers = true)]
    tile: u32,
    /// The sheet to write: the picture, the result, and both where tiles meet
    #[arg(long, value_name = "OUT.png", default_value = "tiles.png")]
    out: PathBuf,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
    /// Run the whole at once too, and compare
    #[arg(long)]
    check: bool,
}

/// The left edge and the side of the square of the scene that is the picture, in the scene's own units.
const PART: [f32; 2] = [64.0, 192.0];
/// Points of each pixel on each axis, of which the mean is taken.
const FINE: usize = 2;

/// Brightness at a pixel of the picture in so many pixels: by formulas, so that any region can be drawn by itself.
fn brightness(y: usize, x: usize, size: usize) -> f32 {
    let [left, side] = PART;
    let place = |at: usize, fine: usize| (at as f32 + (fine as f32 + 0.5) / FINE as f32) / size as f32 * side;
    let points = (0..FINE * FINE).map(|fine| scene::brightness(left + place(x, fine % FINE), place(y, fine / FINE)));
    points.sum::<f32>() / (FINE * FINE) as f32
}

fn draw(region: &Region, size: usize, values: &mut [f32]) {
    let width = region.size[1];
    for (index, value) in values.iter_mut().enumerate() {
        *value = brightness(region.start[0] + index / width, region.start[1] + index % width, size);
    }
}

/// A Gaussian blur, the steps that Sobel's filters find, and the greatest of them in each square of two beside its own.
fn network(size: usize) -> Result<Graph> {
    let mut graph = Graph::new("edges");
    let x = graph.input("picture", &[1.into(), 1.into(), size.into(), size.into()]);
    let bell: Vec<f32> = (-4i32..=4).map(|at| (-(at * at) as f32 / 6.5).exp()).collect();
    let sum: f32 = bell.iter().sum();
    let bell: Vec<f32> = bell.iter().flat_map(|a| bell.iter().map(move |b| a * b / (sum * sum))).collect();
    let bell = graph.constant("bell", Value::new(&[1, 1, 9, 9], bell)?);
    // Beyond the picture's edge is what is at it: zeros would be an edge to be found.
    let padded =
        |pad: usize, desc: ConvDesc| ConvDesc { padding: [pad, pad].into(), padding_mode: PaddingMode::Replicate, ..desc };
    let blurred = graph.conv(&padded(4, ConvDesc::new(1, 1, [9, 9])), x, bell, None);
    // Sobel and Feldman, "An isotropic 3x3 image gradient operator" (1968).
    let steps = vec![-1.0f32, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0, -1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0];
    let steps = graph.constant("steps", Value::new(&[2, 1, 3, 3], steps)?);
    let steps = graph.conv(&padded(1, ConvDesc::new(1, 2, [3, 3])), blurred, steps, None);
    let squares = graph.apply(Op::Binary(Binary::Mul), &[steps, steps]);
    let ones = graph.constant("ones", Value::new(&[1, 2, 1, 1], vec![1.0f32; 2])?);
    let sum = graph.conv(&ConvDesc::new(2, 1, [1, 1]), squares, ones, None);
    let fine = graph.apply(Op::Unary(Unary::Sqrt), &[sum]);
    let half = graph.pool(&PoolDesc { padding: [1, 1].into(), ..PoolDesc::max([4, 4]) }, fine);
    // An odd side has one pixel less in the coarse picture than in the fine one.
    let coarse = (size + 2) / 4 * 4;
    let spread = graph.constant("spread", Value::new(&[1, 1, 4, 4], vec![1.0f32; 16])?);
    let up = ConvDesc { stride: [4, 4].into(), ..ConvDesc::transposed(1, 1, [4, 4]) };
    let up = graph.conv(&up, half, spread, None);
    let (mut near, mut far) = (fine, up);
    if coarse != size {
        // Both are brought to the smaller size by a window of what is too much.
        let crop = |graph: &mut Graph, value, by: usize| {
            graph.pool(&PoolDesc { stride: [1, 1].into(), ..PoolDesc::max([by + 1, by + 1]) }, value)
        };
        if coarse < size { near = crop(&mut graph, fine, size - coarse) } else { far = crop(&mut graph, up, coarse - size) }
    }
    let both = graph.apply(Op::Binary(Binary::Add), &[near, far]);
    graph.output("edges", both);
    Ok(graph)
}

/// A number as a shade. A step from black to white has edges of about 1 at the finer scale and as much at the coarser one.
fn shade(value: f32) -> u8 {
    (value * 140.0).clamp(0.0, 255.0) as u8
}

fn main() -> ExitCode {
    warnings::show();
    ending::of(run(&Args::parse(), &mut io::stdout()))
}

fn run(args: &Args, out: &mut impl Write) -> Result {
    output::prepare(&[Target::png("--out", &args.out)], &[])?;
    let size = args.size as usize;
    let engine = Engine::new(&EngineDesc { adapter: args.adapter.clone(), ..Default::default() })?;
    writeln!(out, "{}", engine.adapter())?;
    let graph = network(size)?;
    let tile = args.tile as usize;
    let runner = TileRunner::new(&engine, &graph, &TileDesc::new(&[1, 1, size, size], &[tile, tile]))?;
    writeln!(out, "{}", runner.explain())?;
    let [height, width] = [2, 3].map(|axis| runner.output_shape()[axis]);
    let mut pixels = vec![0u8; height * width];
    let mut borders = [BTreeSet::new(), BTreeSet::new()];
    let bar = ProgressBar::new(runner.tile_count() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} tiles")?);
    let start = Instant::now();
    runner.stream_tiles(
        |region, values| {
            draw(region, size, values);
            Ok::<_, wgconv::Error>(())
        },
        |region, values| {
            for (borders, &start) in borders.iter_mut().zip(&region.start) {
                borders.insert(start);
            }
            for (row, line) in values.chunks(region.size[1]).enumerate() {
                let from = (region.start[0] + row) * width + region.start[1];
                for (pixel, value) in pixels[from..from + line.len()].iter_mut().zip(line) {
                    *pixel = shade(*value);
                }
            }
            Ok(())
        },
        |done, _| bar.set_position(done as u64),
    )?;
    bar.finish_and_clear();
    let whole = (size * size * 4) as f64 / 1e6;
    writeln!(
        out,
        "{} in {:.1} s; at most {:.1} MB on the device, where one plane of the picture has {whole:.1}",
        numbers::counted(runner.tile_count(), "tile", "tiles"),
        start.elapsed().as_secs_f64(),
        engine.buffers().peak as f64 / 1e6
    )?;
    let mut apart = None;
    if args.check {
        let mut values = vec![0.0; size * size];
        draw(&Region { start: vec![0, 0], size: vec![size, size] }, size, &mut values);
        let whole = Network::new(&engine, &graph, &NetworkDesc::default())?;
        let wanted = whole.run_values(&[Value::new(&[1, 1, size, size], values)?])?.swap_remove(0).to_f32();
        let count = wanted.iter().zip(&pixels).filter(|(value, pixel)| shade(**value).abs_diff(**pixel) > 1).count();
        writeln!(out, "{count} of {} pixels differ from the whole at once", wanted.len())?;
        apart = Some(count);
    }
    let title = format!(
        "One network over a picture of {size} x {size} pixels, in {}",
        numbers::counted(runner.tile_count(), "tile", "tiles")
    );
    let checked = match apart {
        Some(count) => format!("; {count} pixels differ from the whole at once"),
        None => String::new(),
    };
    let subtitle =
        format!("edges at two scales, in tiles of at most {tile} x {tile}, by wgconv on {}{checked}", engine.adapter_name());
    let borders = borders.map(|borders| borders.into_iter().filter(|&at| at > 0).collect());
    let result = |y: usize, x: usize| f32::from(pixels[y * width + x]) / 255.0;
    Sheet { title, subtitle, size, result_size: [height, width], borders, brightness: &brightness, result: &result }
        .write(&args.out)?;
    if apart.is_some_and(|count| count > 0) {
        return Err("there is a seam".into());
    }
    writeln!(out, "wrote {}", args.out.display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_writes_a_picture_without_a_seam_for_even_and_odd_sizes() {
        for size in [96, 97, 99] {
            let file = std::env::temp_dir().join(format!("wgconv-tiles-{}-{size}.png", std::process::id()));
            let args = Args { size, tile: 40, out: file.clone(), adapter: None, check: true };
            let mut text = Vec::new();
            run(&args, &mut text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
            let sheet = image::open(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            assert!(sheet.width() > 100 && sheet.height() > 100);
        }
    }
}
