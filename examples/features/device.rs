//! The layers on the GPU: every call to the engine that this program makes is in this file.

use indicatif::ProgressBar;
use wgconv::{ConvDesc, Engine, Epilogue, PaddingMode, PoolDesc, Tensor, TensorDesc, Weights};

use crate::Result;
use crate::plane::Plane;

/// A layer as it ran, for the table.
pub struct Layer {
    /// The problem line.
    pub problem: String,
    pub algorithm: String,
}

/// Runs layers one by one and keeps a list of them.
pub struct Device<'a> {
    engine: &'a Engine,
    progress: ProgressBar,
    layers: Vec<Layer>,
}

/// The numbers of a layer.
#[derive(Clone, Copy)]
pub struct Learned<'a> {
    pub kernel: &'a [f32],
    pub bias: Option<&'a [f32]>,
}

impl<'a> From<&'a [f32]> for Learned<'a> {
    fn from(kernel: &'a [f32]) -> Self {
        Self { kernel, bias: None }
    }
}

impl<'a> Device<'a> {
    pub fn new(engine: &'a Engine, progress: ProgressBar) -> Self {
        Self { engine, progress, layers: Vec::new() }
    }

    /// The layers that ran, in order; the progress is over.
    pub fn finish(self) -> Vec<Layer> {
        self.progress.finish_and_clear();
        self.layers
    }

    pub fn upload(&self, plane: &Plane) -> Result<Tensor> {
        Ok(self.engine.upload(&plane.values, &TensorDesc::f32(&[1, 1, plane.height, plane.width]))?)
    }

    /// A convolution.
    pub fn conv(&mut self, desc: &ConvDesc, input: &Tensor, learned: Learned) -> Result<Tensor> {
        let desc = ConvDesc { epilogue: Epilogue { bias: learned.bias.is_some(), ..desc.epilogue }, ..*desc };
        let weights = Weights { kernel: learned.kernel, bias: learned.bias, ..Default::default() };
        let layer = self.engine.conv(&desc, input.desc(), weights)?;
        self.note(layer.plan());
        Ok(layer.run(input)?)
    }

    /// A pooling.
    pub fn pool(&mut self, desc: &PoolDesc, input: &Tensor) -> Result<Tensor> {
        let layer = self.engine.pool(desc, input.desc())?;
        self.note(layer.plan());
        Ok(layer.run(input)?)
    }

    /// The channels of a tensor `[1, c, h, w]`.
    pub fn planes(&self, tensor: &Tensor) -> Result<Vec<Plane>> {
        let &[1, _, height, width] = tensor.desc().shape() else {
            return Err(format!("a map has shape {:?}, but [1, c, h, w] is drawn", tensor.desc().shape()).into());
        };
        Ok(Plane::split(width, height, &tensor.to_vec::<f32>()?))
    }

    fn note(&mut self, plan: &wgconv::Plan) {
        self.progress.inc(1);
        self.layers.push(Layer { problem: plan.problem.to_string(), algorithm: plan.algorithm.to_string() });
    }
}

/// A convolution whose maps are as large as its input. The border is repeated outwards: padding with black would be an edge.
pub fn same_size(in_channels: usize, out_channels: usize, side: usize) -> ConvDesc {
    ConvDesc {
        padding: [side / 2, side / 2].into(),
        padding_mode: PaddingMode::Replicate,
        ..ConvDesc::new(in_channels, out_channels, [side, side])
    }
}
