//! The network on the GPU, layer by layer: every call to the engine that this program makes is in this file.

use std::time::{Duration, Instant};

use wgconv::{Conv, Engine, Plan, Pool, Tensor, TensorDesc, Timing};

use crate::Result;
use crate::data;
use crate::model::{Network, Op};
use crate::terminal::{self, Clock, Row};

/// Runs of one layer of which the table shows the median.
const PROFILES: usize = 5;

/// What the GPU says.
pub struct Outcome {
    /// `[n, CLASSES]`
    pub logits: Vec<f32>,
    /// One line of the table for each layer, for one batch.
    pub rows: Vec<Row>,
    /// Upload, all layers and read-back of all digits, once everything is prepared.
    pub time: Duration,
    /// Whether a second run gave the same bits.
    pub repeatable: bool,
}

/// The logits of a [`data::network_input`], `batch` digits at a time.
pub fn run(engine: &Engine, network: &Network, input: &[f32], batch: usize) -> Result<Outcome> {
    let pixels: usize = data::input_shape(1).iter().product();
    let n = input.len() / pixels;
    let batch = batch.min(n);
    let progress = terminal::spinner("preparing the layers");
    let full = Prepared::new(engine, network, batch)?;
    let rest = match n % batch {
        0 => None,
        rest => Some(Prepared::new(engine, network, rest)?),
    };
    let all = || -> Result<Vec<f32>> {
        // All batches are enqueued before the first result is waited for.
        let mut outputs = Vec::new();
        for images in input.chunks(batch * pixels) {
            let prepared = if images.len() == batch * pixels { Some(&full) } else { rest.as_ref() };
            outputs.push(prepared.expect("a last, smaller batch has layers of its own").run(engine, images)?);
        }
        let mut logits = Vec::new();
        for output in &outputs {
            logits.extend(output.to_vec::<f32>()?);
        }
        Ok(logits)
    };
    progress.set_message("running the layers");
    let logits = all()?;
    let start = Instant::now();
    let again = all()?;
    let time = start.elapsed();
    let repeatable = logits.iter().map(|value| value.to_bits()).eq(again.iter().map(|value| value.to_bits()));
    progress.set_message("timing the layers");
    let rows = full.profile(engine, &input[..batch * pixels])?;
    progress.finish_and_clear();
    Ok(Outcome { logits, rows, time, repeatable })
}

/// The layers, made ready for one size of batch.
struct Prepared {
    layers: Vec<PreparedLayer>,
    input: TensorDesc,
}

struct PreparedLayer {
    name: &'static str,
    input_shape: Vec<usize>,
    op: PreparedOp,
}

enum PreparedOp {
    Conv(Conv),
    Pool(Pool),
}

impl Prepared {
    fn new(engine: &Engine, network: &Network, batch: usize) -> Result<Self> {
        let input = TensorDesc::f32(&data::input_shape(batch));
        let mut shape = input.shape().to_vec();
        let mut layers = Vec::new();
        for stage in &network.stages {
            let input_shape = stage.input_shape(&shape);
            let desc = TensorDesc::f32(&input_shape);
            let op = match &stage.op {
                Op::Conv { desc: conv, .. } => PreparedOp::Conv(engine.conv(conv, &desc, stage.op.weights())?),
                Op::Pool(pool) => PreparedOp::Pool(engine.pool(pool, &desc)?),
            };
            shape = op.output_desc().shape().to_vec();
            layers.push(PreparedLayer { name: stage.name, input_shape, op });
        }
        Ok(Self { layers, input })
    }

    /// Enqueues all layers; nothing is waited for.
    fn run(&self, engine: &Engine, images: &[f32]) -> Result<Tensor> {
        let mut tensor = engine.upload(images, &self.input)?;
        for layer in &self.layers {
            tensor = layer.op.run(&tensor.reshape(&layer.input_shape)?)?;
        }
        Ok(tensor)
    }

    /// Each layer's plan and time, on its real input.
    fn profile(&self, engine: &Engine, images: &[f32]) -> Result<Vec<Row>> {
        let mut tensor = engine.upload(images, &self.input)?;
        let mut rows = Vec::new();
        for layer in &self.layers {
            tensor = tensor.reshape(&layer.input_shape)?;
            engine.wait()?;
            let mut times = Vec::new();
            for _ in 0..PROFILES {
                let timing = layer.op.profile(&tensor)?;
                times.push(timing.device.map_or((timing.wall, Clock::Wall), |device| (device, Clock::Device)));
            }
            times.sort();
            let (time, clock) = times[PROFILES / 2];
            let plan = layer.op.plan();
            let grids: Vec<String> = plan.steps.iter().map(|step| step.grid.map(|size| size.to_string()).join("x")).collect();
            rows.push(Row {
                layer: layer.name,
                problem: plan.problem.to_string(),
                algorithm: plan.algorithm.to_string(),
                grid: grids.join(" + "),
                flop: plan.geometry.flop(),
                time,
                clock,
            });
            tensor = layer.op.run(&tensor)?;
        }
        Ok(rows)
    }
}

impl PreparedOp {
    fn output_desc(&self) -> &TensorDesc {
        match self {
            PreparedOp::Conv(conv) => conv.output_desc(),
            PreparedOp::Pool(pool) => pool.output_desc(),
        }
    }

    fn plan(&self) -> &Plan {
        match self {
            PreparedOp::Conv(conv) => conv.plan(),
            PreparedOp::Pool(pool) => pool.plan(),
        }
    }

    fn run(&self, input: &Tensor) -> Result<Tensor> {
        Ok(match self {
            PreparedOp::Conv(conv) => conv.run(input)?,
            PreparedOp::Pool(pool) => pool.run(input)?,
        })
    }

    fn profile(&self, input: &Tensor) -> Result<Timing> {
        Ok(match self {
            PreparedOp::Conv(conv) => conv.profile(input)?,
            PreparedOp::Pool(pool) => pool.profile(input)?,
        })
    }
}
