//! One layer by one algorithm: made ready, run over and over, and judged.

use std::time::{Duration, Instant};

use wgconv::{Algorithm, Conv, ConvInputs, Engine, Layer, Pool, Result, Tensor, Timing, Work};

use crate::case::Case;
use crate::roofline::median;

/// Rounds that are run even if the budget is over, as long as it is not over by far.
const FEWEST: usize = 3;
/// So many times the budget is by far.
const PATIENCE: u32 = 4;
/// Rounds beyond which a median no longer moves.
const MOST: usize = 2000;

/// What came of it.
#[derive(Debug, Clone)]
pub struct Measurement {
    pub algorithm: Algorithm,
    pub work: Work,
    /// Median time on the device; `None` where it has no timestamps.
    pub device: Option<Duration>,
    /// Median time of a run from submitting to having waited, operands and output being there.
    pub wall: Duration,
    /// From the plan to the first result: shaders, packed weights, a run.
    pub first: Duration,
    /// How often each was timed.
    pub rounds: usize,
    /// The largest error as a part of the algorithm's bound.
    pub error: f64,
}

impl Measurement {
    /// The device's time, or where there is none the wall's.
    pub fn time(&self) -> Duration {
        self.device.unwrap_or(self.wall)
    }

    pub fn is_right(&self) -> bool {
        self.error <= 1.0
    }
}

/// A layer that is ready to run.
enum Ready {
    Conv(Conv),
    Pool(Pool),
}

/// The tensors of a run.
struct Tensors {
    input: Tensor,
    residual: Option<Tensor>,
    output: Tensor,
}

/// A layer that has run once by an algorithm, and may run again.
pub struct Prepared {
    algorithm: Algorithm,
    work: Work,
    ready: Ready,
    tensors: Tensors,
    /// From the plan to the first result.
    pub first: Duration,
}

/// The times of one round.
pub struct Sample {
    pub device: Option<Duration>,
    pub wall: Duration,
}

impl Sample {
    /// The device's time, or where there is none the wall's.
    pub fn time(&self) -> Duration {
        self.device.unwrap_or(self.wall)
    }
}

impl Prepared {
    /// # Errors
    /// Those of [`Engine::conv_with`] and of running.
    pub fn new(engine: &Engine, case: &Case, algorithm: &Algorithm) -> Result<Self> {
        let plan = engine.plan(&case.problem, algorithm)?;
        let (output_desc, work) = (plan.output_desc(), plan.work());
        let upload = |data: &[f32]| engine.upload(data, &output_desc);
        let tensors = Tensors {
            input: engine.upload(&case.input, &case.problem.input)?,
            residual: case.residual.as_deref().map(upload).transpose()?,
            // What a kernel does not write is seen.
            output: upload(&vec![f32::NAN; output_desc.elements()?])?,
        };
        engine.wait()?;

        let start = Instant::now();
        let ready = Ready::new(engine, case, algorithm)?;
        ready.run(&tensors)?;
        engine.wait()?;
        Ok(Self { algorithm: *algorithm, work, ready, tensors, first: start.elapsed() })
    }

    /// One run by timestamps and one by the wall, in turns so that both see the same clock rates and neighbours.
    pub fn sample(&self, engine: &Engine) -> Result<Sample> {
        let device = self.ready.profile(&self.tensors)?.device;
        let start = Instant::now();
        self.ready.run(&self.tensors)?;
        engine.wait()?;
        Ok(Sample { device, wall: start.elapsed() })
    }

    /// The error of the answer that is there, as a part of the algorithm's bound.
    pub fn error(&self, case: &Case) -> Result<f64> {
        let (values, positions) = self.ready.results(&self.tensors)?;
        Ok(case.error(&self.algorithm, &values, positions.as_deref()))
    }
}

/// Whether another round is due, after so many in so much time.
pub fn goes_on(rounds: usize, elapsed: Duration, budget: Duration) -> bool {
    let limit = if rounds < FEWEST { PATIENCE * budget } else { budget };
    rounds == 0 || (rounds < MOST && elapsed < limit)
}

/// Times a layer for about `budget`, compilation and judgement not included.
///
/// # Errors
/// Those of [`Prepared::new`]. A wrong answer is none.
pub fn measure(engine: &Engine, case: &Case, algorithm: &Algorithm, budget: Duration) -> Result<Measurement> {
    let prepared = Prepared::new(engine, case, algorithm)?;
    let (mut device, mut wall) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while goes_on(wall.len(), start.elapsed(), budget) {
        let sample = prepared.sample(engine)?;
        device.extend(sample.device);
        wall.push(sample.wall);
    }
    Ok(Measurement {
        algorithm: *algorithm,
        work: prepared.work,
        device: median(&device),
        wall: median(&wall).expect("there is at least one round"),
        first: prepared.first,
        rounds: wall.len(),
        error: prepared.error(case)?,
    })
}

impl Ready {
    fn new(engine: &Engine, case: &Case, algorithm: &Algorithm) -> Result<Self> {
        let input = &case.problem.input;
        match &case.problem.layer {
            Layer::Conv(desc) => engine.conv_with(desc, input, case.weights(), algorithm).map(Ready::Conv),
            Layer::Pool(desc) => engine.pool_with(desc, input, algorithm).map(Ready::Pool),
        }
    }

    fn run(&self, tensors: &Tensors) -> Result<()> {
        match self {
            Ready::Conv(conv) => conv.run_into(tensors.of_conv(), &tensors.output),
            Ready::Pool(pool) => pool.run_into(&tensors.input, &tensors.output),
        }
    }

    fn profile(&self, tensors: &Tensors) -> Result<Timing> {
        match self {
            Ready::Conv(conv) => conv.profile(tensors.of_conv()),
            Ready::Pool(pool) => pool.profile(&tensors.input),
        }
    }

    /// What the last timed run gave; indices, which the timed runs drop, come from a run more.
    fn results(&self, tensors: &Tensors) -> Result<(Vec<f32>, Option<Vec<i32>>)> {
        let values = tensors.output.to_vec()?;
        let positions = match self {
            Ready::Pool(pool) if has_indices(pool) => Some(pool.run_with_indices(&tensors.input)?.1.to_vec()?),
            _ => None,
        };
        Ok((values, positions))
    }
}

impl Tensors {
    fn of_conv(&self) -> ConvInputs<'_> {
        ConvInputs { input: (&self.input).into(), residual: self.residual.as_ref() }
    }
}

fn has_indices(pool: &Pool) -> bool {
    matches!(pool.plan().problem.layer, Layer::Pool(desc) if matches!(desc.kind, wgconv::PoolKind::Max { indices: Some(_) }))
}
