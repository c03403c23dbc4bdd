//! Frames streamed through a network against the same frames one at a time: what the overlap of upload, computing and read-back gives.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use wgconv::{Data, Engine, Network, NetworkDesc, Value};

use crate::model::Model;
use crate::numbers::counted;
use crate::roofline::median;

/// Rounds of which the middle one counts; in each every way is timed, so that all see the same neighbours.
const ROUNDS: usize = 5;
/// Frames that differ.
const KINDS: usize = 8;

/// One way to run the frames.
#[derive(Debug, Clone)]
struct Way {
    /// Frames in flight; one at a time where there is no ring.
    depth: Option<usize>,
    /// Of all frames.
    wall: Duration,
    /// Wall time as a part of that of one at a time, in the same round, and its lowest and highest.
    ratio: [f64; 3],
    /// Bytes of the engine's buffers.
    held: u64,
}

/// What is streamed.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub frames: usize,
    /// Frames in flight.
    pub depths: &'a [usize],
    /// What a frame is waited for before it can be sent.
    pub wait: Duration,
    pub seed: u64,
}

/// What streaming gives for a network; prints as a table.
#[derive(Debug, Clone)]
pub struct Streamed {
    pub name: String,
    frames: usize,
    wait: Duration,
    bytes_in: usize,
    bytes_out: usize,
    ways: Vec<Way>,
    /// Whether every result is, to the bit, that of a run by itself.
    pub right: bool,
}

/// Runs so many frames one at a time, and streamed at each depth.
///
/// # Errors
/// The text of whatever went wrong. A wrong answer is none.
pub fn measure(engine: &Engine, path: &Path, source: Source) -> Result<Streamed, String> {
    let text = |error: wgconv::Error| error.to_string();
    let Source { frames, depths, wait, seed } = source;
    let model = Model::load(path, seed)?;
    let (bindings, inputs) = model.bindings(&model.inputs);
    let network = Network::new(engine, &model.graph, &NetworkDesc { bindings, ..Default::default() }).map_err(text)?;
    let kinds: Vec<Vec<Value>> = (0..KINDS).map(|kind| inputs.iter().map(|value| rotated(value, kind)).collect()).collect();
    let wanted: Vec<Vec<Value>> =
        kinds.iter().map(|inputs| network.run_values(inputs)).collect::<wgconv::Result<_>>().map_err(text)?;
    let ways: Vec<Option<usize>> = std::iter::once(None).chain(depths.iter().copied().map(Some)).collect();
    let (mut walls, mut held, mut right) = (vec![Vec::new(); ways.len()], vec![0; ways.len()], true);
    for round in 0..=ROUNDS {
        for (number, depth) in ways.iter().enumerate() {
            let start = Instant::now();
            let results = run(&network, &kinds, &source, *depth).map_err(text)?;
            let wall = start.elapsed();
            right &= results.iter().enumerate().all(|(frame, result)| *result == wanted[frame % KINDS]);
            let stats = engine.buffers();
            held[number] = stats.in_use + stats.cached;
            engine.trim();
            // The first round warms up.
            if round > 0 {
                walls[number].push(wall);
            }
        }
    }
    let way = |(number, &depth): (usize, &Option<usize>)| {
        let ratios = walls[number].iter().zip(&walls[0]).map(|(wall, single)| wall.as_secs_f64() / single.as_secs_f64());
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = [ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]];
        Way { depth, wall: median(&walls[number]).expect("there are rounds"), ratio, held: held[number] }
    };
    let bytes = |list: &[Value]| list.iter().map(|value| value.len() * value.element().bytes()).sum();
    Ok(Streamed {
        name: model.name,
        frames,
        wait,
        bytes_in: bytes(&inputs),
        bytes_out: bytes(&wanted[0]),
        ways: ways.iter().enumerate().map(way).collect(),
        right,
    })
}

fn run(network: &Network, kinds: &[Vec<Value>], source: &Source, depth: Option<usize>) -> wgconv::Result<Vec<Vec<Value>>> {
    // Made anew for each run, as a camera's would be.
    let frames = (0..source.frames).map(|number| {
        if !source.wait.is_zero() {
            std::thread::sleep(source.wait);
        }
        kinds[number % KINDS].clone()
    });
    match depth {
        None => frames.map(|inputs| network.run_values(&inputs)).collect(),
        Some(depth) => network.stream(depth)?.run_all(frames).collect(),
    }
}

/// Floats moved on by so many; what is not a float stays.
fn rotated(value: &Value, by: usize) -> Value {
    let Data::F32(list) = value.data() else { return value.clone() };
    let mut list = list.clone();
    if !list.is_empty() {
        let by = by % list.len();
        list.rotate_left(by);
    }
    Value::new(value.shape(), list).expect("as many elements as before")
}

impl fmt::Display for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, frames, wait, bytes_in, bytes_out, .. } = self;
        let wait = wait.as_secs_f64() * 1e3;
        writeln!(
            f,
            "{name}: {}, each waited for {wait} ms, {bytes_in} bytes in and {bytes_out} out, {ROUNDS} rounds",
            counted(*frames, "frame", "frames")
        )?;
        write!(f, "{:<16}{:>12}{:>12}{:>20}{:>12}", "", "ms a frame", "frames/s", "time (rounds)", "MiB held")?;
        for Way { depth, wall, ratio: [middle, low, high], held } in &self.ways {
            let name = depth.map_or("one at a time".into(), |depth| format!("depth {depth}"));
            let each = wall.as_secs_f64() / *frames as f64;
            let ratio = format!("{middle:.2} ({low:.2}-{high:.2})");
            let held = *held as f64 / f64::from(1 << 20);
            write!(f, "\n{name:<16}{:>12.3}{:>12.1}{ratio:>20}{held:>12.2}", each * 1e3, 1.0 / each)?;
        }
        if !self.right {
            write!(f, "\nFAILED: a streamed result is not that of a run by itself")?;
        }
        Ok(())
    }
}
