//! The filters: small networks made in code, from the three colours of a picture to three, or to one that is shown as grey.

use clap::ValueEnum;
use wgconv::{
    Activation, ConvDesc, Engine, Epilogue, Graph, ImageDesc, ImageFormat, Network, NetworkDesc, PaddingMode, Value, ValueId,
};

use crate::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Filter {
    /// The scene as it is drawn
    None,
    /// A Gaussian of two layers
    Blur,
    /// What a blurred picture lacks, added to it
    Sharpen,
    /// The magnitude of the gradient (Sobel), in grey
    Edges,
    /// Light from the upper left over a grey plate
    Emboss,
}

/// The name of the input and of the output.
const FRAME: &str = "frame";
const FILTERED: &str = "filtered";

/// A square kernel for each colour by itself.
fn each_colour<const N: usize>(kernel: [[f32; N]; N]) -> Vec<f32> {
    [kernel.concat(), kernel.concat(), kernel.concat()].concat()
}

/// The binomial kernel of 5 x 5, about a Gaussian of deviation 1.
fn gaussian() -> Vec<f32> {
    let line = [1.0, 4.0, 6.0, 4.0, 1.0];
    each_colour(line.map(|y| line.map(|x| x * y / 256.0)))
}

/// How much of red, green and blue is in the brightness (ITU-R BT.709).
const BRIGHTNESS: [f32; 3] = [0.2126, 0.7152, 0.0722];

/// Kernels on the brightness, for an output each.
fn of_brightness(kernels: &[[f32; 9]]) -> Vec<f32> {
    kernels.iter().flat_map(|kernel| BRIGHTNESS.iter().flat_map(move |part| kernel.map(|weight| part * weight))).collect()
}

/// A layer that keeps the picture's size, with what is beyond its edge as at the edge.
struct Layer<'a> {
    channels: [usize; 2],
    kernel: usize,
    groups: usize,
    weights: Vec<f32>,
    bias: Option<&'a [f32]>,
    activation: Activation,
}

impl Layer<'_> {
    fn add(self, graph: &mut Graph, x: ValueId) -> Result<ValueId> {
        let Layer { channels: [inputs, outputs], kernel, groups, weights, bias, activation } = self;
        let pad = kernel / 2;
        let desc = ConvDesc {
            groups,
            padding: [pad, pad].into(),
            padding_mode: PaddingMode::Replicate,
            epilogue: Epilogue { bias: bias.is_some(), activation, ..Default::default() },
            ..ConvDesc::new(inputs, outputs, [kernel, kernel])
        };
        let weight = graph.constant("weight", Value::new(&[outputs, inputs / groups, kernel, kernel], weights)?);
        let bias = bias.map(|bias| Value::new(&[outputs], bias.to_vec())).transpose()?;
        let bias = bias.map(|bias| graph.constant("bias", bias));
        Ok(graph.conv(&desc, x, weight, bias))
    }

    /// One kernel of `N x N` for each colour.
    fn colours(kernel: usize, weights: Vec<f32>) -> Self {
        Layer { channels: [3, 3], kernel, groups: 3, weights, bias: None, activation: Activation::Identity }
    }
}

/// A filter for pictures of a size, from a texture and into it; `None` for [`Filter::None`].
pub fn network(engine: &Engine, filter: Filter, [width, height]: [u32; 2]) -> Result<Option<Network>> {
    let mut graph = Graph::new("filter");
    let x = graph.input(FRAME, &[1, 3, height as usize, width as usize].map(Into::into));
    let y = match filter {
        Filter::None => return Ok(None),
        Filter::Blur => {
            let once = Layer::colours(5, gaussian()).add(&mut graph, x)?;
            Layer::colours(5, gaussian()).add(&mut graph, once)?
        }
        Filter::Sharpen => {
            let kernel = [[-0.25, -0.5, -0.25], [-0.5, 4.0, -0.5], [-0.25, -0.5, -0.25]];
            Layer::colours(3, each_colour(kernel)).add(&mut graph, x)?
        }
        Filter::Edges => {
            let (gx, gy) = ([-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0], [-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0]);
            let minus = |kernel: [f32; 9]| kernel.map(|weight| -weight);
            let weights = of_brightness(&[gx, minus(gx), gy, minus(gy)]);
            // The parts of the gradient to the right, left, below and above: two of the four are zero everywhere.
            let parts = Layer { channels: [3, 4], kernel: 3, groups: 1, weights, bias: None, activation: Activation::Relu };
            let parts = parts.add(&mut graph, x)?;
            let sum = Layer {
                channels: [4, 1],
                kernel: 1,
                groups: 1,
                weights: vec![0.5; 4],
                bias: None,
                activation: Activation::Identity,
            };
            sum.add(&mut graph, parts)?
        }
        Filter::Emboss => {
            let weights = of_brightness(&[[-2.0, -1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 2.0]]);
            Layer { channels: [3, 1], kernel: 3, groups: 1, weights, bias: Some(&[0.5]), activation: Activation::Identity }
                .add(&mut graph, x)?
        }
    };
    graph.output(FILTERED, y);
    let picture = ImageDesc::new(ImageFormat::Rgba8Unorm);
    let desc = NetworkDesc {
        image_inputs: vec![(FRAME.into(), picture)],
        image_outputs: vec![(FILTERED.into(), picture)],
        ..Default::default()
    };
    Ok(Some(Network::new(engine, &graph, &desc)?))
}
