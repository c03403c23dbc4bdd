//! The network on the crate's CPU reference: what the GPU's answers are judged by, and what runs where there is no GPU.
//!
//! Each layer is computed in f64 and its output rounded to f32 for the next one, which is how a GPU stores it: so the difference
//! between the two is what the arithmetic inside the kernels does. The logits themselves stay in f64.

use std::time::{Duration, Instant};

use wgconv::{Geometry, reference};

use crate::Result;
use crate::data::{self, CLASSES};
use crate::model::{Network, Op};
use crate::terminal::{self, Clock, Row};

/// Digits between two steps of the progress bar.
const CHUNK: usize = 15;

/// What the reference says.
pub struct Reference {
    /// `[n, CLASSES]`
    pub logits: Vec<f64>,
    /// One line of the table for each layer.
    pub rows: Vec<Row>,
}

/// The logits of a [`data::network_input`].
pub fn run(network: &Network, input: &[f32]) -> Result<Reference> {
    let pixels: usize = data::input_shape(1).iter().product();
    let progress = terminal::bar("f64 reference", input.len() / pixels);
    let mut logits = Vec::with_capacity(input.len() / pixels * CLASSES);
    let mut times = vec![Duration::ZERO; network.stages.len()];
    for chunk in input.chunks(CHUNK * pixels) {
        logits.extend(chunk_logits(network, chunk, chunk.len() / pixels, &mut times)?);
        progress.inc((chunk.len() / pixels) as u64);
    }
    progress.finish_and_clear();
    let mut shape = data::input_shape(input.len() / pixels);
    let mut rows = Vec::new();
    for (stage, time) in network.stages.iter().zip(times) {
        let problem = stage.problem(&stage.input_shape(&shape));
        let geometry = Geometry::new(&problem)?;
        shape = geometry.output_shape();
        rows.push(Row {
            layer: stage.name,
            problem: problem.to_string(),
            algorithm: "reference".into(),
            grid: "-".into(),
            flop: geometry.flop(),
            time,
            clock: Clock::Wall,
        });
    }
    Ok(Reference { logits, rows })
}

fn chunk_logits(network: &Network, images: &[f32], n: usize, times: &mut [Duration]) -> Result<Vec<f64>> {
    let (mut values, mut shape) = (images.to_vec(), data::input_shape(n));
    let mut exact = Vec::new();
    for (stage, time) in network.stages.iter().zip(times) {
        let problem = stage.problem(&stage.input_shape(&shape));
        let start = Instant::now();
        exact = match &stage.op {
            Op::Conv { .. } => {
                let weights = stage.op.weights();
                reference::conv(&problem, &reference::ConvOperands { input: &values, weights, residual: None })?.values
            }
            Op::Pool(_) => reference::pool(&problem, &values)?.values,
        };
        *time += start.elapsed();
        values = exact.iter().map(|&value| value as f32).collect();
        shape = Geometry::new(&problem)?.output_shape();
    }
    Ok(exact)
}
