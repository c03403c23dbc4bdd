//! Small graphs, in few words.

use crate::support::{Random, dims, floats};
use wgconv::{Activation, Binary, ConvOp, ElementType, Graph, Op, PadMode, Pads, Unary, Value, ValueId};

/// A graph on the way. Inputs are called `x0, x1, ..`, weights `w0, w1, ..` in the order in which they are made.
pub struct Build {
    pub graph: Graph,
    random: Random,
    pub element: ElementType,
    pub inputs: Vec<Value>,
    weights: usize,
    outputs: usize,
}

impl Build {
    pub fn new(element: ElementType) -> Self {
        Self { graph: Graph::new("case"), random: Random::new(7), element, inputs: Vec::new(), weights: 0, outputs: 0 }
    }

    pub fn value(&mut self, shape: &[usize]) -> Value {
        floats(self.element, shape, self.random.numbers(shape.iter().product(), -1.0, 1.0))
    }

    pub fn input(&mut self, shape: &[usize]) -> ValueId {
        let (name, value) = (format!("x{}", self.inputs.len()), self.value(shape));
        self.inputs.push(value);
        self.graph.input_of(&name, self.element, &dims(shape))
    }

    /// Constant numbers between -1 and 1.
    pub fn numbers(&mut self, shape: &[usize]) -> ValueId {
        let value = self.value(shape);
        self.graph.constant("", value)
    }

    /// The same number everywhere.
    pub fn filled(&mut self, shape: &[usize], number: f32) -> ValueId {
        let value = floats(self.element, shape, vec![number; shape.iter().product()]);
        self.graph.constant("", value)
    }

    pub fn scalar(&mut self, number: f32) -> ValueId {
        self.filled(&[], number)
    }

    pub fn ints(&mut self, list: &[i64]) -> ValueId {
        self.graph.constant("", Value::list(list))
    }

    pub fn weight(&mut self, shape: &[usize]) -> ValueId {
        let id = self.numbers(shape);
        self.graph.set_name(id, &format!("w{}", self.weights));
        self.weights += 1;
        id
    }

    pub fn conv_of(&mut self, op: ConvOp, x: ValueId, weight: &[usize]) -> ValueId {
        let weight = self.weight(weight);
        self.graph.apply(Op::Conv(op), &[x, weight])
    }

    /// A convolution without attributes.
    pub fn conv(&mut self, x: ValueId, weight: &[usize]) -> ValueId {
        self.conv_of(ConvOp::default(), x, weight)
    }

    /// A convolution of `channels` to as many that keeps the size.
    pub fn same(&mut self, x: ValueId, channels: usize) -> ValueId {
        self.conv_of(padded(&[1, 1, 1, 1]), x, &[channels, channels, 3, 3])
    }

    /// A fully connected layer without bias on the last axis.
    pub fn linear(&mut self, x: ValueId, k: usize, out: usize) -> ValueId {
        let weight = self.weight(&[out, k]);
        self.graph.apply(Op::Linear(Default::default()), &[x, weight])
    }

    pub fn norm(&mut self, x: ValueId, channels: usize, variance: f32, epsilon: f32) -> ValueId {
        let lists = [self.numbers(&[channels]), self.numbers(&[channels]), self.numbers(&[channels])];
        let variance = self.filled(&[channels], variance);
        let op = Op::BatchNorm { epsilon, momentum: 0.9, training: false };
        self.graph.apply(op, &[x, lists[0], lists[1], lists[2], variance])
    }

    pub fn apply(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.graph.apply(op, inputs)
    }

    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.apply(Op::Activation(Activation::Relu), &[x])
    }

    pub fn activation(&mut self, activation: Activation, x: ValueId) -> ValueId {
        self.apply(Op::Activation(activation), &[x])
    }

    pub fn unary(&mut self, unary: Unary, x: ValueId) -> ValueId {
        self.apply(Op::Unary(unary), &[x])
    }

    pub fn binary(&mut self, binary: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Op::Binary(binary), &[a, b])
    }

    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Add, a, b)
    }

    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(Binary::Mul, a, b)
    }

    pub fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.ints(shape);
        self.apply(Op::Reshape { allow_zero: true }, &[x, shape])
    }

    pub fn transpose(&mut self, x: ValueId, permutation: &[usize]) -> ValueId {
        self.apply(Op::Transpose { permutation: permutation.to_vec() }, &[x])
    }

    pub fn pad(&mut self, mode: PadMode, x: ValueId, pads: &[i64]) -> ValueId {
        let pads = self.ints(pads);
        self.apply(Op::Pad(mode), &[x, pads])
    }

    pub fn output(&mut self, id: ValueId) {
        self.graph.output(&format!("y{}", self.outputs), id);
        self.outputs += 1;
    }
}

pub fn padded(pads: &[usize]) -> ConvOp {
    ConvOp { padding: Pads::Explicit(pads.to_vec()), ..ConvOp::default() }
}

pub fn gemm(alpha: f32, beta: f32, trans_a: bool, trans_b: bool) -> Op {
    Op::Gemm { alpha, beta, trans_a, trans_b }
}
