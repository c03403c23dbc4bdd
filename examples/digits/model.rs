//! LeNet-5 as a list of layer descriptions with their weights: what `gpu` and `cpu` run, each in its own way.
//!
//! Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998), section II.B;
//! with ReLU and max pooling, as it is trained today.

use wgconv::{Activation, ConvDesc, Epilogue, PoolDesc, Problem, TensorDesc, Weights};

use crate::Result;
use crate::data::{CLASSES, Tensors};

/// The layers in order.
pub struct Network {
    /// From the picture to the logits.
    pub stages: Vec<Stage>,
}

/// One layer.
pub struct Stage {
    /// The paper's name for it.
    pub name: &'static str,
    /// What it computes.
    pub op: Op,
}

/// What a layer computes.
pub enum Op {
    /// A convolution with its activation, or a fully connected layer as one.
    Conv {
        desc: ConvDesc,
        kernel: Vec<f32>,
        /// As the file has it, to be checked against `desc`.
        kernel_shape: Vec<usize>,
        bias: Vec<f32>,
    },
    /// A pooling.
    Pool(PoolDesc),
}

impl Network {
    /// The network with its trained weights.
    pub fn load() -> Result<Self> {
        let file = Tensors::weights()?;
        let conv = |name, desc: ConvDesc, activation| -> Result<Stage> {
            let (kernel, mut kernel_shape) = file.f32(&format!("{name}.weight"))?;
            if desc.kernel.rank() == 1 {
                kernel_shape.push(1); // a matrix `[out, in]` in the file, a kernel of one tap here
            }
            let (bias, _) = file.f32(&format!("{name}.bias"))?;
            let epilogue = Epilogue { bias: true, activation, ..Default::default() };
            Ok(Stage { name, op: Op::Conv { desc: ConvDesc { epilogue, ..desc }, kernel, kernel_shape, bias } })
        };
        let pool = |name| Stage { name, op: Op::Pool(PoolDesc::max([2, 2])) };
        let stages = vec![
            conv("c1", ConvDesc::new(1, 6, [5, 5]), Activation::Relu)?,
            pool("s2"),
            conv("c3", ConvDesc::new(6, 16, [5, 5]), Activation::Relu)?,
            pool("s4"),
            conv("c5", ConvDesc::new(16, 120, [5, 5]), Activation::Relu)?,
            conv("f6", ConvDesc::linear(120, 84), Activation::Relu)?,
            conv("out", ConvDesc::linear(84, CLASSES), Activation::Identity)?,
        ];
        Ok(Self { stages })
    }

    /// How many numbers were learned.
    pub fn parameters(&self) -> usize {
        let count = |stage: &Stage| match &stage.op {
            Op::Conv { kernel, bias, .. } => kernel.len() + bias.len(),
            Op::Pool(_) => 0,
        };
        self.stages.iter().map(count).sum()
    }
}

impl Stage {
    /// The shape in which this layer takes what the one before it gives: a fully connected layer sees each item as one list of features.
    pub fn input_shape(&self, before: &[usize]) -> Vec<usize> {
        match (&self.op, before) {
            (Op::Conv { desc, .. }, [n, features @ ..]) if desc.kernel.rank() == 1 => vec![*n, features.iter().product(), 1],
            _ => before.to_vec(),
        }
    }

    /// The layer and an input of this shape, as the line of text that names them in every program of this crate.
    pub fn problem(&self, input_shape: &[usize]) -> Problem {
        let input = TensorDesc::f32(input_shape);
        match &self.op {
            Op::Conv { desc, .. } => Problem::conv(desc, &input),
            Op::Pool(desc) => Problem::pool(desc, &input),
        }
    }
}

impl Op {
    /// The learned numbers; none for a pooling.
    pub fn weights(&self) -> Weights<'_> {
        match self {
            Op::Conv { kernel, kernel_shape, bias, .. } => {
                Weights { kernel, kernel_shape: Some(kernel_shape), bias: Some(bias), ..Default::default() }
            }
            Op::Pool(_) => Weights::default(),
        }
    }
}
