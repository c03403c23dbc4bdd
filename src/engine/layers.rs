//! Layers of an engine: which algorithm, planned how, made ready.

use std::fmt;

#[cfg(doc)]
use super::EngineDesc;
use super::{Engine, Specialise};
use crate::algorithm::{Algorithm, ByteProduct, Candidates, Plan};
use crate::desc::{ConvDesc, PoolDesc};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::kernel::GeometryMode;
use crate::layer::{Conv, ConvImages, Pool};
use crate::layout::Layout;
use crate::limits::DeviceLimits;
use crate::operation::Image;
use crate::problem::{Layer, Problem};
use crate::tensor_desc::TensorDesc;
use crate::tune::Question;
use crate::weights::Weights;

/// From this many operations on a convolution's kernels get its sizes as constants; in a network not all: see [`Engine::share_kernels`].
const LARGE: u64 = 1 << 23;

/// From this many on a depthwise one's do, which are bound by loads with their addresses: on lavapipe 25 % less
/// time to 3 % more.
const LARGE_DEPTHWISE: u64 = 1 << 22;

/// From this many elements of windows on a pooling's do: its kernel compiles in a tenth of the time.
const LARGE_POOL: u64 = 1 << 15;

impl Engine {
    /// A convolution made ready for inputs of this description, by the best algorithm as [`EngineDesc::tuning`] finds it.
    ///
    /// # Errors
    /// Those of [`Geometry::new`](crate::Geometry::new) and [`Weights::check`];
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the device cannot run it.
    pub fn conv(&self, desc: &ConvDesc, input: &TensorDesc, weights: Weights) -> Result<Conv> {
        let problem = Problem::conv(desc, input);
        let best = self.choose(&problem, |_| true)?;
        self.conv_with(desc, input, weights, &best)
    }

    /// [`conv`](Self::conv) by an algorithm of the caller's choice.
    ///
    /// # Errors
    /// As [`conv`](Self::conv); [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the algorithm does not take the layer.
    pub fn conv_with(&self, desc: &ConvDesc, input: &TensorDesc, weights: Weights, algorithm: &Algorithm) -> Result<Conv> {
        let plan = self.plan(&Problem::conv(desc, input), algorithm)?;
        weights.check(desc)?;
        Conv::new(&self.current, plan, &weights, &ConvImages::default())
    }

    /// A convolution that reads its input from a texture, writes its output to one, or both, beside a renderer: see [`ConvImages`].
    ///
    /// The kernel loads the input's texels itself, takes off the mean, divides by the deviation and puts channels first; kernels that
    /// cannot are not chosen. It also writes the output's texels itself where the layer has one output channel, or up to four and no
    /// groups; elsewhere one dispatch more does, as it does where input and output are the same texture.
    ///
    /// # Shapes
    /// A picture is a tensor `[1, channels, height, width]` of one to four channels, the input's with channels first.
    ///
    /// # Errors
    /// As [`conv`](Self::conv); [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where a tensor is no picture, and
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where a shader cannot write to the format, or a binding does not hold
    /// the picture as a tensor. A layer that reads a picture is not done in parts, however long it takes.
    ///
    /// # Examples
    /// ```no_run
    /// use wgconv::{ConvDesc, ConvImages, Engine, ImageDesc, ImageFormat, TensorDesc, Weights, wgpu};
    /// # fn blur(engine: &Engine, frame: &wgpu::Texture, target: &wgpu::Texture, pass: &mut wgpu::ComputePass) -> wgconv::Result<()> {
    /// let picture = ImageDesc::new(ImageFormat::Rgba8Unorm);
    /// let images = ConvImages { input: Some(picture), output: Some(picture) };
    /// let desc = ConvDesc { groups: 3, padding: [1, 1].into(), ..ConvDesc::new(3, 3, [3, 3]) };
    /// let weights = Weights { kernel: &[1.0 / 9.0; 27], ..Default::default() };
    /// let blur = engine.conv_on_images(&desc, &TensorDesc::f32(&[1, 3, 480, 640]), weights, &images)?; // once
    /// blur.encode(pass, frame, target) // for each frame
    /// # }
    /// ```
    pub fn conv_on_images(&self, desc: &ConvDesc, input: &TensorDesc, weights: Weights, images: &ConvImages) -> Result<Conv> {
        let problem = Problem::conv(desc, input);
        Geometry::new(&problem)?;
        weights.check(desc)?;
        if let Some(image) = &images.input {
            let size = image.size("input", input.shape())?;
            let (dtype, channels) = (input.dtype(), input.shape()[1]);
            Image { name: "input", desc: image, dtype, channels, size }.check(self.limits())?;
            if input.layout() != Layout::ChannelsFirst {
                return Err(Error::invalid("image", "`input` is a picture, whose tensor has channels first"));
            }
        }
        let reads = |plan: &Plan| images.input.is_none_or(|image| plan.reading_image(&image).is_some());
        let writes = |plan: &Plan| images.output.is_none_or(|image| plan.writing_image(&image).is_some());
        let fused = |plan: &Plan| reads(plan) && writes(plan);
        let planned = |algorithm: &Algorithm| match images.input {
            Some(_) => self.plan_of_picture(&problem, algorithm),
            None => self.plan(&problem, algorithm),
        };
        let takes = |plan: &dyn Fn(&Plan) -> bool, algorithm: &Algorithm| planned(algorithm).is_ok_and(|it| plan(&it));
        let any = |plan: &dyn Fn(&Plan) -> bool| {
            Ok(self.candidates(&problem)?.algorithms.iter().any(|algorithm| takes(plan, algorithm)))
        };
        let wanted: &dyn Fn(&Plan) -> bool = if any(&fused)? { &fused } else { &reads };
        let takes = |algorithm: &Algorithm| takes(wanted, algorithm);
        let best = match images.input {
            Some(_) => self.best_plan_of_picture(&problem, takes)?,
            None => self.best_plan(&problem, takes)?,
        };
        Conv::new(&self.current, best, &weights, images)
    }

    /// A pooling made ready for inputs of this description.
    ///
    /// # Errors
    /// As [`conv`](Self::conv).
    pub fn pool(&self, desc: &PoolDesc, input: &TensorDesc) -> Result<Pool> {
        let problem = Problem::pool(desc, input);
        let best = self.choose(&problem, |_| true)?;
        self.pool_with(desc, input, &best)
    }

    /// [`pool`](Self::pool) by an algorithm of the caller's choice.
    ///
    /// # Errors
    /// As [`conv_with`](Self::conv_with).
    pub fn pool_with(&self, desc: &PoolDesc, input: &TensorDesc, algorithm: &Algorithm) -> Result<Pool> {
        Pool::new(&self.current, self.plan(&Problem::pool(desc, input), algorithm)?)
    }

    /// What can compute a layer here, the best guess first, and why the rest cannot.
    ///
    /// # Errors
    /// As [`Algorithm::candidates`].
    pub fn candidates(&self, problem: &Problem) -> Result<Candidates> {
        Algorithm::candidates(problem, self.limits())
    }

    /// The plan of a layer by an algorithm on this device.
    ///
    /// # Errors
    /// As [`Algorithm::plan`].
    pub fn plan(&self, problem: &Problem, algorithm: &Algorithm) -> Result<Plan> {
        let plan = algorithm.plan_as(problem, self.limits(), GeometryMode::Uniform)?;
        let large = match (algorithm, &problem.layer) {
            (Algorithm::Depthwise(_), _) => LARGE_DEPTHWISE,
            (_, Layer::Conv(_)) => LARGE,
            (_, Layer::Pool(_)) => LARGE_POOL,
        };
        let mode = self.sizes(plan.work().flop, large);
        if mode == GeometryMode::Constant { algorithm.plan_as(problem, self.limits(), mode) } else { Ok(plan) }
    }

    /// Whether a kernel of so much work, of which `large` is much, has its sizes as constants.
    fn sizes(&self, work: u64, large: u64) -> GeometryMode {
        match self.desc.specialise {
            Specialise::Always => GeometryMode::Constant,
            Specialise::Never => GeometryMode::Uniform,
            Specialise::Large => {
                if work >= large {
                    GeometryMode::Constant
                } else {
                    GeometryMode::Uniform
                }
            }
        }
    }

    /// The dispatch of a convolution of packed bytes, of which networks have many: see [`ByteProduct::new`].
    pub(crate) fn byte_product(&self, problem: &Problem, centred: bool) -> Result<ByteProduct> {
        // A word is four numbers.
        let work = Geometry::new(problem)?.flop().saturating_mul(4);
        let mode = if self.shares_kernels() { GeometryMode::Uniform } else { self.sizes(work, LARGE) };
        ByteProduct::new(problem, self.limits(), centred, mode)
    }

    /// The plan of a layer by the best of the algorithms that `takes` admits.
    pub(crate) fn best_plan(&self, problem: &Problem, takes: impl Fn(&Algorithm) -> bool) -> Result<Plan> {
        self.plan(problem, &self.choose(problem, takes)?)
    }

    /// [`best_plan`](Self::best_plan) of a layer that reads a picture, with its sizes as constants however small it is: each load divides
    /// by them to find its texel, and a renderer has few sizes.
    pub(crate) fn best_plan_of_picture(&self, problem: &Problem, takes: impl Fn(&Algorithm) -> bool) -> Result<Plan> {
        let best = self.choose(problem, takes)?;
        self.plan_of_picture(problem, &best)
    }

    /// The plan of a layer that reads a picture, which is done at once however long it takes: parts read tensors only.
    fn plan_of_picture(&self, problem: &Problem, algorithm: &Algorithm) -> Result<Plan> {
        let mode = if self.desc.specialise == Specialise::Never { GeometryMode::Uniform } else { GeometryMode::Constant };
        algorithm.plan_as(problem, &DeviceLimits { submission_ns: u64::MAX, ..*self.limits() }, mode)
    }

    /// The best of the algorithms that take a layer and that `takes` admits: the one place where that is decided.
    fn choose(&self, problem: &Problem, takes: impl Fn(&Algorithm) -> bool) -> Result<Algorithm> {
        let mut candidates = self.candidates(problem)?;
        // A choice among some says nothing about the choice among all.
        let mut key = problem.to_string();
        for name in Algorithm::names() {
            if candidates.algorithms.iter().any(|algorithm| algorithm.name() == *name && !takes(algorithm)) {
                key += &format!(" without {name}");
            }
        }
        let first = candidates.algorithms.first().copied();
        candidates.algorithms.retain(takes);
        if candidates.algorithms.is_empty() {
            let reasons = match first {
                None => candidates.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                // Of pictures.
                Some(first) => match self.plan(problem, &first)?.split {
                    Some(split) => format!("{first} is done {split}, and parts take tensors only"),
                    None => format!("{first} takes tensors only"),
                },
            };
            return Err(Error::unsupported("algorithm", format!("nothing computes `{problem}`: {reasons}")));
        }
        let plan = |algorithm: &Algorithm| self.plan(problem, algorithm);
        self.tuner.choose(&key, &Question { gpu: &self.gpu(), problem, algorithms: &candidates.algorithms, plan: &plan })
    }

    /// How a layer would be computed here and why.
    ///
    /// # Errors
    /// As [`conv`](Self::conv).
    pub fn explain(&self, problem: &Problem) -> Result<Explanation> {
        let plan = self.best_plan(problem, |_| true)?;
        let submissions = plan.submissions(self.limits());
        Ok(Explanation { plan, submissions, candidates: self.candidates(problem)? })
    }
}

/// The plan of a layer, what else could compute it, and why the rest could not. Prints as a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// What would run.
    pub plan: Plan,
    /// How many submissions a run is, so that none takes longer than [`EngineDesc::submission_bound`].
    pub submissions: usize,
    /// Every choice, the best guess first, and the refusals.
    pub candidates: Candidates,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)?;
        if self.submissions > 1 {
            write!(f, "\nsubmits    {} times, as one would be long", self.submissions)?;
        }
        let others = self.candidates.algorithms.iter().filter(|algorithm| **algorithm != self.plan.algorithm);
        let others: Vec<_> = others.map(ToString::to_string).collect();
        if !others.is_empty() {
            write!(f, "\nbesides    {}", others.join(" "))?;
        }
        for refusal in &self.candidates.refusals {
            write!(f, "\nrejected   {refusal}")?;
        }
        Ok(())
    }
}
