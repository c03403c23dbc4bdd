//! Random operands of a layer: the same on every machine.

use half::f16;

use crate::desc::Residual;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::problem::{Layer, Problem};
use crate::reference::{self, ConvOperands, Output};
use crate::tensor_desc::DType;
use crate::weights::Weights;

/// Numbers for every operand that a layer may have.
pub(crate) struct Operands {
    pub input: Vec<f32>,
    kernel: Vec<f32>,
    bias: Option<Vec<f32>>,
    slope: Option<Vec<f32>>,
    pub residual: Option<Vec<f32>>,
}

/// To nearest, by way of f32 as on the device.
pub(super) fn round(value: f64, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(value as f32).to_f32(),
        DType::F32 | DType::I32 => value as f32,
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
#[derive(Clone, Copy)]
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Where operands come from.
#[derive(Clone, Copy)]
pub(super) enum Numbers {
    /// Whole numbers in `-most..=most`.
    Integers(Random),
    /// Numbers from this one up to 1 that the type holds exactly.
    Floats(Random, DType, f64),
}

impl Numbers {
    fn list(&mut self, len: usize, most: i32) -> Vec<f32> {
        let next = || match self {
            Numbers::Integers(random) => ((random.next() >> 33) as i64 % i64::from(2 * most + 1) - i64::from(most)) as f32,
            Numbers::Floats(random, dtype, low) => {
                round(*low + (1.0 - *low) * (random.next() >> 40) as f64 / f64::from(1 << 24), *dtype)
            }
        };
        std::iter::repeat_with(next).take(len).collect()
    }
}

impl Operands {
    /// Of a layer whose numbers are `geometry`.
    pub(super) fn new(problem: &Problem, geometry: &Geometry, mut numbers: Numbers) -> Result<Self> {
        let input = numbers.list(problem.input.elements()?, 3);
        let Layer::Conv(desc) = &problem.layer else {
            return Ok(Self { input, kernel: Vec::new(), bias: None, slope: None, residual: None });
        };
        let per_channel = desc.out_channels;
        Ok(Self {
            input,
            kernel: numbers.list(desc.weight_shape()?.iter().product(), 2),
            bias: desc.epilogue.bias.then(|| numbers.list(per_channel, 3)),
            slope: desc.epilogue.activation.has_slope().then(|| numbers.list(per_channel, 3)),
            residual: (desc.epilogue.residual != Residual::None).then(|| numbers.list(geometry.output_elements() as usize, 3)),
        })
    }

    pub(super) fn weights(&self) -> Weights<'_> {
        Weights { kernel: &self.kernel, bias: self.bias.as_deref(), slope: self.slope.as_deref(), ..Default::default() }
    }

    pub(super) fn of_conv(&self) -> ConvOperands<'_> {
        ConvOperands { input: &self.input, weights: self.weights(), residual: self.residual.as_deref() }
    }

    pub(super) fn reference(&self, problem: &Problem) -> Result<Output> {
        match &problem.layer {
            Layer::Conv(_) => reference::conv(problem, &self.of_conv()),
            Layer::Pool(_) => reference::pool(problem, &self.input),
        }
    }
}
