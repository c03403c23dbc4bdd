//! One network: made ready, judged, run over and over at the batch that it is given and at a larger one.

use std::path::Path;
use std::time::{Duration, Instant};

use wgconv::{DType, ElementType, Engine, ErrorKind, Network, NetworkDesc, Profile, Tensor, TensorDesc, Value};

use crate::first::{self, First};
use crate::measure::goes_on;
use crate::model::Model;
use crate::roofline::median;

/// Items of the larger batch.
const BATCH: usize = 8;
/// Nodes that are told of each network.
const SLOWEST: usize = 3;
/// Recordings of a run of which the middle one counts.
const RECORDINGS: usize = 25;
/// Profiles of which the middle one counts.
const PROFILES: usize = 5;
/// How far an answer may be from the expected one, as a part of its largest number.
pub const TOLERANCE: f64 = 1e-3;

/// What came of a network.
#[derive(Debug, Clone)]
pub struct Figures {
    pub name: String,
    /// Nodes as given, and as run.
    pub nodes: [usize; 2],
    /// Nodes that the host computes.
    pub host_nodes: usize,
    pub load: Duration,
    /// From the graph to the network, in this process.
    pub prepare: Duration,
    pub cold: First,
    /// With the file of wgpu's pipeline cache; `None` where the device has none.
    pub cached: Option<First>,
    pub warm: First,
    /// Items of one run of the model as it is given.
    pub batch: usize,
    /// Whether the inputs are on the device before a run: integers are copied in each.
    pub resident: bool,
    /// Median wall of a run and the wait for it.
    pub latency: Duration,
    pub rounds: usize,
    /// The host's time to record a run, for each node of the device; `None` where a run cannot be recorded.
    pub record: Option<Duration>,
    /// All nodes by timestamps, of one run of the middle duration.
    pub device: Duration,
    pub timestamps: bool,
    pub throughput: Throughput,
    /// Of layers, by the definition.
    pub flop: u64,
    /// Bytes on the device.
    pub weights: u64,
    pub values: u64,
    pub slowest: Vec<Slow>,
    /// The largest difference, as a part of the largest number that is expected.
    pub error: f64,
    pub judged_by: &'static str,
}

impl Figures {
    pub fn is_right(&self) -> bool {
        self.error <= TOLERANCE
    }
}

/// A node and its part of the device's time.
#[derive(Debug, Clone)]
pub struct Slow {
    pub node: String,
    pub algorithm: String,
    pub share: f64,
}

/// Many items at once, or one after the other.
#[derive(Debug, Clone)]
pub struct Throughput {
    /// Items of one run.
    pub batch: usize,
    /// Runs that are submitted before they are waited for.
    pub runs: usize,
    pub per_second: f64,
    /// Why it is not one run of the wanted batch.
    pub reason: Option<String>,
}

/// A network and the inputs of its runs.
struct Ready {
    network: Network,
    inputs: Vec<Value>,
    tensors: Option<Vec<Tensor>>,
}

/// How all networks are measured.
pub struct Settings<'a> {
    pub engine: &'a Engine,
    pub adapter: Option<&'a str>,
    pub seed: u64,
    /// Twice for latency and profiles, once for throughput; preparing and judging come on top.
    pub budget: Duration,
}

/// Measures the network of a file; `stage` hears what is being done.
///
/// # Errors
/// The text of whatever went wrong. A wrong answer is none.
pub fn measure(settings: &Settings, path: &Path, stage: &dyn Fn(&str)) -> Result<Figures, String> {
    let text = |error: wgconv::Error| error.to_string();
    let &Settings { engine, adapter, seed, budget } = settings;
    let setup = first::Setup { adapter, precision: engine.limits().precision, seed };
    stage("loading");
    let model = Model::load(path, seed)?;
    stage("the first result in a fresh process, the driver's cache off");
    let pipelines = std::env::temp_dir().join(format!("wgconv-bench-{}-pipelines", std::process::id()));
    let cold = first::elsewhere(path, setup, false, Some(&pipelines))?;
    let cached = pipelines.is_file().then(|| {
        stage("the first result in a fresh process, with wgpu's pipeline cache");
        let first = first::elsewhere(path, setup, false, Some(&pipelines));
        // It was of use once.
        let _ = std::fs::remove_file(&pipelines);
        first
    });
    let cached = cached.transpose()?;
    stage("preparing");
    let start = Instant::now();
    let ready = Ready::new(engine, &model, &model.inputs, false).map_err(text)?;
    let prepare = start.elapsed();
    stage("judging the answer");
    let answer = ready.network.run_values(&ready.inputs).map_err(text)?;
    let (error, judged_by) = judge(engine, &model, &answer).map_err(text)?;
    stage("latency and profile");
    let (mut walls, mut profiles) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while goes_on(walls.len(), start.elapsed(), 2 * budget) {
        // In turns, so that both see the same clock rates and neighbours.
        walls.push(ready.time(engine, 1).map_err(text)?);
        if profiles.len() < PROFILES {
            profiles.push(ready.network.profile(&ready.inputs).map_err(text)?);
        }
    }
    profiles.sort_by(|a, b| a.total_ns().total_cmp(&b.total_ns()));
    let profile = profiles.swap_remove((profiles.len() - 1) / 2);
    let network = &ready.network;
    let mut figures = Figures {
        name: model.name.clone(),
        nodes: [model.graph.node_count(), network.graph().node_count()],
        host_nodes: network.host_nodes().len(),
        load: model.load,
        prepare,
        cold,
        cached,
        warm: cold,
        batch: model.batch(),
        resident: ready.tensors.is_some(),
        latency: median(&walls).expect("there is at least one round"),
        rounds: walls.len(),
        record: ready.record_time(engine),
        device: Duration::from_secs_f64(profile.total_ns().max(0.0) / 1e9),
        timestamps: profile.timestamps,
        throughput: Throughput { batch: 0, runs: 0, per_second: 0.0, reason: None },
        flop: profile.layers.iter().map(|layer| layer.flop).sum(),
        weights: network.weight_bytes(),
        values: network.peak_bytes(),
        slowest: slowest(&profile),
        error,
        judged_by,
    };
    stage("throughput");
    let throughput = throughput(engine, &model, ready, &answer, budget).map_err(text)?;
    figures.throughput = throughput.0;
    figures.error = figures.error.max(throughput.1);
    stage("the first result in a fresh process, the driver's cache filled");
    figures.warm = first::elsewhere(path, setup, true, None)?;
    Ok(figures)
}

impl Ready {
    fn new(engine: &Engine, model: &Model, inputs: &[Value], unoptimised: bool) -> wgconv::Result<Self> {
        let (bindings, inputs) = model.bindings(inputs);
        let network = Network::new(engine, &model.graph, &NetworkDesc { bindings, unoptimised, ..Default::default() })?;
        let tensors: Option<Vec<_>> = inputs.iter().map(|value| upload(engine, value)).collect();
        let tensors = tensors.map(|list| list.into_iter().collect::<wgconv::Result<_>>()).transpose()?;
        Ok(Self { network, inputs, tensors })
    }

    /// The host's time to record a run into an encoder, wgpu's part included, for each node; the median of many.
    fn record_time(&self, engine: &Engine) -> Option<Duration> {
        let inputs: Vec<&Tensor> = self.tensors.as_ref()?.iter().collect();
        let outputs: Vec<Tensor> = self.network.run(&inputs).ok()?;
        let outputs: Vec<&Tensor> = outputs.iter().collect();
        let mut times = Vec::new();
        for _ in 0..RECORDINGS {
            let mut encoder = engine.device().create_command_encoder(&Default::default());
            let start = Instant::now();
            self.network.encode(&mut encoder, &inputs, &outputs).ok()?;
            // wgpu checks most of it only here.
            let commands = encoder.finish();
            times.push(start.elapsed());
            drop(commands);
        }
        Some(median(&times)? / u32::try_from(self.network.graph().node_count()).ok()?.max(1))
    }

    /// So many runs submitted, then waited for.
    fn time(&self, engine: &Engine, runs: usize) -> wgconv::Result<Duration> {
        let start = Instant::now();
        match &self.tensors {
            Some(tensors) => {
                let tensors: Vec<&Tensor> = tensors.iter().collect();
                let results = (0..runs).map(|_| self.network.run(&tensors)).collect::<wgconv::Result<Vec<_>>>()?;
                engine.wait()?;
                let time = start.elapsed();
                drop(results);
                Ok(time)
            }
            None => {
                (0..runs).try_for_each(|_| self.network.run_values(&self.inputs).map(drop))?;
                Ok(start.elapsed())
            }
        }
    }
}

/// A float value on the device, as networks take it; `None` of other types, which only [`Network::run_values`] takes.
fn upload(engine: &Engine, value: &Value) -> Option<wgconv::Result<Tensor>> {
    let dtype = match value.element() {
        ElementType::F16 if engine.limits().f16 => DType::F16,
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 => DType::F32,
        _ => return None,
    };
    Some(engine.upload(&value.to_f32(), &TensorDesc::new(value.shape(), dtype)))
}

/// Against the outputs that a file expects, or else against the same graph without any of the rewrites.
fn judge(engine: &Engine, model: &Model, answer: &[Value]) -> wgconv::Result<(f64, &'static str)> {
    if let Some(expected) = &model.expected {
        return Ok((difference(answer, expected), "test_data_set_0"));
    }
    let plain = Ready::new(engine, model, &model.inputs, true)?;
    Ok((difference(answer, &plain.network.run_values(&plain.inputs)?), "the graph without rewrites"))
}

/// The largest difference, as a part of the largest number of its output; infinite of other shapes, and of integers that differ.
fn difference(got: &[Value], expected: &[Value]) -> f64 {
    let of_output = |(got, expected): (&Value, &Value)| {
        if got.shape() != expected.shape() || got.element() != expected.element() {
            return f64::INFINITY;
        }
        if !got.element().is_float() {
            return if got.data() == expected.data() { 0.0 } else { f64::INFINITY };
        }
        let (got, expected) = (got.to_f64(), expected.to_f64());
        let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let error = |(got, expected): (&f64, &f64)| match (got - expected).abs() / largest {
            _ if got == expected || (got.is_nan() && expected.is_nan()) => 0.0,
            error if error.is_finite() => error,
            _ => f64::INFINITY,
        };
        got.iter().zip(&expected).map(error).fold(0.0, f64::max)
    };
    let errors = got.iter().zip(expected).map(of_output).fold(0.0, f64::max);
    if got.len() == expected.len() { errors } else { f64::INFINITY }
}

fn slowest(profile: &Profile) -> Vec<Slow> {
    let mut layers: Vec<_> = profile.layers.iter().collect();
    layers.sort_by(|a, b| b.ns.total_cmp(&a.ns));
    let total = profile.total_ns();
    let slow = |layer: &&wgconv::LayerTime| Slow {
        node: layer.node.clone(),
        algorithm: layer.algorithm.clone(),
        share: if total > 0.0 { layer.ns / total } else { 0.0 },
    };
    layers.iter().take(SLOWEST).map(slow).collect()
}

/// The rate at the largest batch up to [`BATCH`] that the model and the device take, or of as many runs submitted at once; and the
/// error of the larger batch's answer, whose items must be those of `answer`.
fn throughput(
    engine: &Engine,
    model: &Model,
    single: Ready,
    answer: &[Value],
    budget: Duration,
) -> wgconv::Result<(Throughput, f64)> {
    let rate = |ready: &Ready, batch: usize, runs: usize| {
        let mut walls = Vec::new();
        let start = Instant::now();
        while goes_on(walls.len(), start.elapsed(), budget) {
            walls.push(ready.time(engine, runs)?);
        }
        let wall = median(&walls).expect("there is at least one round").as_secs_f64().max(1e-9);
        Ok((batch * runs) as f64 / wall)
    };
    let batch = model.batch();
    let mut times = BATCH / batch.min(BATCH);
    let mut reason = None;
    while times > 1 {
        let ready = match model.batched(times) {
            Ok(inputs) => Ready::new(engine, model, &inputs, false),
            Err(fixed) => {
                reason.get_or_insert(fixed);
                break;
            }
        };
        match ready {
            Ok(ready) => {
                drop(single);
                let error = repeated(answer, &ready.network.run_values(&ready.inputs)?, times);
                let per_second = rate(&ready, batch * times, 1)?;
                return Ok((Throughput { batch: batch * times, runs: 1, per_second, reason }, error));
            }
            Err(error) => {
                reason.get_or_insert(format!("not {} at once: {error}", batch * times));
                if error.kind() != ErrorKind::OutOfMemory {
                    break;
                }
            }
        }
        times /= 2;
    }
    let runs = BATCH / batch.min(BATCH);
    Ok((Throughput { batch, runs, per_second: rate(&single, batch, runs)?, reason }, 0.0))
}

/// The difference of a larger batch's answer from that of its items; outputs without a batch are not judged.
fn repeated(answer: &[Value], larger: &[Value], times: usize) -> f64 {
    let of_output = |(one, many): (&Value, &Value)| {
        let mut shape = one.shape().to_vec();
        let Some(first) = shape.first_mut() else { return 0.0 };
        *first *= times;
        if shape != many.shape() || !one.element().is_float() {
            return 0.0;
        }
        let one = one.to_f64();
        let value = |list: Vec<f64>| Value::new(&[list.len()], list).expect("as many numbers as the list has");
        let many = value(many.to_f64());
        difference(&[many], &[value(one.repeat(times))])
    };
    answer.iter().zip(larger).map(of_output).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(list: &[f32]) -> Value {
        Value::new(&[1, list.len()], list.to_vec()).expect("as many numbers as the list has")
    }

    #[test]
    fn a_difference_is_a_part_of_the_largest_number() {
        let difference = |got: &[f32], expected: &[f32]| difference(&[value(got)], &[value(expected)]);
        assert_eq!(difference(&[1.0, 4.0], &[2.0, 4.0]), 0.25);
        assert_eq!(difference(&[0.0], &[0.0]), 0.0);
        assert_eq!(difference(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(difference(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(difference(&[1.0], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(super::difference(&[], &[value(&[1.0])]), f64::INFINITY);
    }

    #[test]
    fn items_of_a_batch_are_judged_by_the_one() {
        let many = Value::new(&[2, 2], vec![1.0f32, 2.0, 1.0, 3.0]).expect("four numbers");
        assert_eq!(repeated(&[value(&[1.0, 2.0])], &[many], 2), 0.5);
    }
}
