//! [`Builder`]: a graph under construction with random weights, the same on every machine, scaled so that values stay near 1.

use wgconv::{
    Activation, Binary, ConvDesc, Coordinates, ElementType, Graph, Op, PoolDesc, Reduce, Resize, ResizeMode, Unary, Value,
    ValueId,
};

/// He et al. (2015): the variance of a sum before a ReLU is that of its inputs; `uniform(-b, b)` with `b = sqrt(6 / fan in)`.
const HE: f64 = 6.0;
/// The same without an activation that halves it.
const LINEAR: f64 = 3.0;

pub struct Builder {
    pub graph: Graph,
    inputs: Vec<Value>,
    state: u64,
}

impl Builder {
    pub fn new(name: &str) -> Self {
        // FNV-1a: networks of different names have different weights.
        let state = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Self { graph: Graph::new(name), inputs: Vec::new(), state }
    }

    /// Splitmix64, in 0 to 1.
    fn next(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24)
    }

    fn uniform(&mut self, shape: &[usize], (low, high): (f64, f64)) -> Value {
        let list: Vec<f32> = (0..shape.iter().product()).map(|_| (low + (high - low) * self.next()) as f32).collect();
        Value::new(shape, list).expect("as many numbers as the shape has")
    }

    /// An input with values of variance 1.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let value = self.uniform(shape, (-(3f64.sqrt()), 3f64.sqrt()));
        self.inputs.push(value);
        self.graph.input(name, &shape.iter().map(|&size| size.into()).collect::<Vec<_>>())
    }

    /// An input of indices below `count`.
    pub fn tokens(&mut self, name: &str, shape: &[usize], count: usize) -> ValueId {
        let list: Vec<i64> = (0..shape.iter().product()).map(|_| (self.next() * count as f64) as i64).collect();
        self.inputs.push(Value::new(shape, list).expect("as many numbers as the shape has"));
        self.graph.input_of(name, ElementType::I64, &shape.iter().map(|&size| size.into()).collect::<Vec<_>>())
    }

    /// Learned numbers between two bounds.
    pub fn weight(&mut self, shape: &[usize], bounds: (f64, f64)) -> ValueId {
        let value = self.uniform(shape, bounds);
        self.graph.constant("", value)
    }

    fn scaled(&mut self, shape: &[usize], fan_in: usize, gain: f64) -> ValueId {
        let bound = (gain / fan_in as f64).sqrt();
        self.weight(shape, (-bound, bound))
    }

    pub fn scalar(&mut self, value: f32) -> ValueId {
        self.graph.constant("", Value::scalar(value))
    }

    /// A list of int64: a shape, axes, indices.
    pub fn list(&mut self, numbers: &[i64]) -> ValueId {
        self.graph.constant("", Value::list(numbers))
    }

    /// A convolution with a bias, for a ReLU or its like to follow.
    pub fn conv(&mut self, desc: &ConvDesc, x: ValueId) -> ValueId {
        let bias = self.weight(&[desc.out_channels], (-0.1, 0.1));
        self.convolution(desc, x, Some(bias))
    }

    /// A convolution without one, for a normalisation to follow.
    pub fn conv_plain(&mut self, desc: &ConvDesc, x: ValueId) -> ValueId {
        self.convolution(desc, x, None)
    }

    fn convolution(&mut self, desc: &ConvDesc, x: ValueId, bias: Option<ValueId>) -> ValueId {
        let shape = desc.weight_shape().expect("the groups divide the channels");
        let weight = self.scaled(&shape, shape[1..].iter().product(), HE);
        self.graph.conv(desc, x, weight, bias)
    }

    /// Batch normalisation with statistics as a trained network has them.
    pub fn batch_norm(&mut self, x: ValueId, channels: usize) -> ValueId {
        let [scale, shift, mean, variance] =
            [(0.7, 1.3), (-0.2, 0.2), (-0.2, 0.2), (0.7, 1.5)].map(|bounds| self.weight(&[channels], bounds));
        let op = Op::BatchNorm { epsilon: 1e-5, momentum: 0.9, training: false };
        self.graph.apply(op, &[x, scale, shift, mean, variance])
    }

    /// Normalisation over the last axis.
    pub fn layer_norm(&mut self, x: ValueId, features: usize) -> ValueId {
        let (scale, shift) = (self.weight(&[features], (0.7, 1.3)), self.weight(&[features], (-0.2, 0.2)));
        self.graph.apply(Op::LayerNorm { axis: -1, epsilon: 1e-5 }, &[x, scale, shift])
    }

    pub fn group_norm(&mut self, x: ValueId, channels: usize, groups: usize) -> ValueId {
        let (scale, shift) = (self.weight(&[channels], (0.7, 1.3)), self.weight(&[channels], (-0.2, 0.2)));
        self.graph.apply(Op::GroupNorm { groups, epsilon: 1e-5 }, &[x, scale, shift])
    }

    /// A fully connected layer over the last axis of any shape, as PyTorch exports it: a product and a sum.
    pub fn linear(&mut self, x: ValueId, features: usize, outputs: usize) -> ValueId {
        let (weight, bias) = (self.scaled(&[features, outputs], features, LINEAR), self.weight(&[outputs], (-0.1, 0.1)));
        let product = self.graph.apply(Op::MatMul, &[x, weight]);
        self.graph.apply(Op::Binary(Binary::Add), &[bias, product])
    }

    /// A fully connected layer of a matrix.
    pub fn gemm(&mut self, x: ValueId, features: usize, outputs: usize) -> ValueId {
        let (weight, bias) = (self.scaled(&[outputs, features], features, LINEAR), self.weight(&[outputs], (-0.1, 0.1)));
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        self.graph.apply(op, &[x, weight, bias])
    }

    pub fn activation(&mut self, x: ValueId, activation: Activation) -> ValueId {
        self.graph.apply(Op::Activation(activation), &[x])
    }

    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.activation(x, Activation::Relu)
    }

    /// ReLU6 as ONNX has it.
    pub fn clip(&mut self, x: ValueId) -> ValueId {
        let (low, high) = (self.scalar(0.0), self.scalar(6.0));
        self.graph.apply(Op::Clip, &[x, low, high])
    }

    /// GELU as it is exported for opsets that lack it: `x (1 + erf(x / sqrt 2)) / 2`.
    pub fn gelu_of_parts(&mut self, x: ValueId) -> ValueId {
        let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| self.scalar(value));
        let scaled = self.binary(Binary::Div, x, root);
        let erf = self.graph.apply(Op::Unary(Unary::Erf), &[scaled]);
        let sum = self.binary(Binary::Add, erf, one);
        let product = self.binary(Binary::Mul, x, sum);
        self.binary(Binary::Mul, product, half)
    }

    pub fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.graph.apply(Op::Binary(op), &[a, b])
    }

    pub fn pool(&mut self, desc: &PoolDesc, x: ValueId) -> ValueId {
        self.graph.pool(desc, x)
    }

    pub fn transpose(&mut self, x: ValueId, permutation: &[usize]) -> ValueId {
        self.graph.apply(Op::Transpose { permutation: permutation.to_vec() }, &[x])
    }

    pub fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.list(shape);
        self.graph.apply(Op::Reshape { allow_zero: false }, &[x, shape])
    }

    pub fn flatten(&mut self, x: ValueId) -> ValueId {
        self.graph.apply(Op::Flatten { axis: 1 }, &[x])
    }

    pub fn concat(&mut self, axis: i64, list: &[ValueId]) -> ValueId {
        self.graph.apply(Op::Concat { axis }, list)
    }

    /// The mean over axes, which stay with length 1.
    pub fn mean(&mut self, x: ValueId, axes: &[i64]) -> ValueId {
        let axes = self.list(axes);
        self.graph.apply(Op::Reduce { kind: Reduce::Mean, keep_dims: true, noop_with_empty_axes: false }, &[x, axes])
    }

    /// Bilinear resampling to a whole shape.
    pub fn resize(&mut self, x: ValueId, sizes: &[i64]) -> ValueId {
        let sizes = self.list(sizes);
        let resize = Resize { mode: ResizeMode::Linear, coordinates: Coordinates::PytorchHalfPixel, ..Resize::default() };
        self.graph.apply_many("", Op::Resize(resize), &[Some(x), None, None, Some(sizes)], 1)[0]
    }

    /// The graph with its one output, and inputs to run it on.
    pub fn finish(mut self, output: ValueId) -> (Graph, Vec<Value>) {
        self.graph.output("y", output);
        (self.graph, self.inputs)
    }
}

/// A convolution whose output is as large as its input; of stride 2, half as large.
pub fn same(in_channels: usize, out_channels: usize, side: usize, stride: usize) -> ConvDesc {
    let half = side / 2;
    ConvDesc {
        padding: [half, half].into(),
        stride: [stride, stride].into(),
        ..ConvDesc::new(in_channels, out_channels, [side, side])
    }
}

/// The same with one channel to a group.
pub fn depthwise(channels: usize, side: usize, stride: usize) -> ConvDesc {
    ConvDesc { groups: channels, ..same(channels, channels, side, stride) }
}
