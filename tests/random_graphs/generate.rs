//! Random graphs with their values: each node is computed by the reference as soon as it is added, and kept only if it is valid and its
//! numbers are of ordinary size. So nothing here needs to know when an operation may be applied to what.

use wgconv::{
    Activation, Binary, Bindings, ConvOp, ElementType, Epilogue, Graph, Op, PadMode, PaddingMode, Pads, Unary, Value, ValueId,
    Variadic,
};

use crate::support::{Random, dims, floats, largest};

/// An operand of a node on the way.
#[derive(Clone)]
pub enum Operand {
    /// A value of the graph, by its number.
    At(usize),
    Constant(Value),
    Absent,
}

/// A graph, its inputs and its results by the reference.
pub struct Generated {
    pub graph: Graph,
    pub inputs: Vec<Value>,
    pub results: Vec<Value>,
}

pub struct Generator {
    pub random: Random,
    pub element: ElementType,
    graph: Graph,
    pub values: Vec<(ValueId, Value)>,
    used: Vec<bool>,
    inputs: Vec<Value>,
    nodes: Vec<(Op, Vec<Operand>)>,
}

/// Adds some nodes, or none where they do not fit: `None`.
pub type Kind = fn(&mut Generator) -> Option<()>;

impl Generator {
    pub fn new(seed: u64, element: ElementType) -> Self {
        let (random, graph) = (Random::new(seed), Graph::new(&format!("seed {seed}")));
        Self { random, element, graph, values: Vec::new(), used: Vec::new(), inputs: Vec::new(), nodes: Vec::new() }
    }

    /// A graph of so many nodes at least, of these kinds with their weights.
    pub fn generate(mut self, kinds: &[(usize, Kind)], nodes: usize) -> Generated {
        let rank = self.random.pick(&[3, 4, 4, 4, 5]);
        let most = [12, 12, 6][rank - 3];
        let mut shape = vec![self.random.within(1, 2), self.random.within(1, 12)];
        shape.extend((2..rank).map(|_| self.random.within(3, most)));
        for _ in 0..self.random.within(1, 2) {
            let value = self.numbers(&shape, -1.0, 1.0);
            self.input(value);
        }
        let total: usize = kinds.iter().map(|(weight, _)| weight).sum();
        while self.nodes.len() < nodes {
            let mut at = self.random.below(total);
            let (_, kind) = kinds
                .iter()
                .find(|(weight, _)| {
                    let found = at < *weight;
                    at = at.wrapping_sub(*weight);
                    found
                })
                .expect("the sum of all weights was the limit");
            let _ = kind(&mut self);
        }
        self.finish()
    }

    /// What nobody uses is a result, but for one that is sometimes dead; others are sometimes results besides.
    fn finish(mut self) -> Generated {
        let mut results: Vec<usize> = (0..self.values.len()).filter(|&at| !self.used[at]).collect();
        if results.len() > 1 && self.random.percent(30) {
            let dead = self.random.below(results.len() - 1);
            results.remove(dead);
        }
        if self.random.percent(40) {
            let more = self.random.below(self.values.len());
            results.push(more);
        }
        for (number, &at) in results.iter().enumerate() {
            self.graph.output(&format!("y{number}"), self.values[at].0);
        }
        let results = results.iter().map(|&at| self.values[at].1.clone()).collect();
        Generated { graph: self.graph, inputs: self.inputs, results }
    }

    pub fn numbers(&mut self, shape: &[usize], low: f32, high: f32) -> Value {
        let list = self.random.numbers(shape.iter().product(), low, high);
        floats(self.element, shape, list)
    }

    pub fn scalar(&self, number: f32) -> Operand {
        Operand::Constant(floats(self.element, &[], vec![number]))
    }

    pub fn constant(&mut self, shape: &[usize]) -> Operand {
        Operand::Constant(self.numbers(shape, -1.0, 1.0))
    }

    /// Constants that do not come near zero.
    pub fn positive(&mut self, shape: &[usize]) -> Operand {
        Operand::Constant(self.numbers(shape, 0.5, 1.5))
    }

    /// Another input of the graph.
    pub fn input(&mut self, value: Value) -> usize {
        let id = self.graph.input_of(&format!("x{}", self.inputs.len()), self.element, &dims(value.shape()));
        self.inputs.push(value.clone());
        // No input needs to be a result.
        self.values.push((id, value));
        self.used.push(true);
        self.values.len() - 1
    }

    /// A value to go on with: most often the last.
    pub fn any(&mut self) -> usize {
        if self.random.percent(65) { self.values.len() - 1 } else { self.random.below(self.values.len()) }
    }

    pub fn shape(&self, at: usize) -> Vec<usize> {
        self.values[at].1.shape().to_vec()
    }

    /// A value of so many axes.
    pub fn of_rank(&mut self, ranks: std::ops::RangeInclusive<usize>) -> Option<usize> {
        let at = self.any();
        ranks.contains(&self.shape(at).len()).then_some(at)
    }

    /// Another value of the same shape, where there is one, and sometimes the same.
    pub fn partner(&mut self, at: usize) -> usize {
        let list: Vec<usize> =
            (0..self.values.len()).filter(|&other| other != at && self.shape(other) == self.shape(at)).collect();
        if list.is_empty() || self.random.percent(10) { at } else { self.random.pick(&list) }
    }

    /// A node, where it is valid; its results' numbers.
    pub fn add_many(&mut self, op: Op, operands: &[Operand], outputs: usize) -> Option<Vec<usize>> {
        let mut single = Graph::new("single");
        let ids: Vec<Option<ValueId>> = operands
            .iter()
            .map(|operand| match operand {
                Operand::At(at) => Some(single.constant("", self.values[*at].1.clone())),
                Operand::Constant(value) => Some(single.constant("", value.clone())),
                Operand::Absent => None,
            })
            .collect();
        for (number, id) in single.apply_many("", op.clone(), &ids, outputs).into_iter().enumerate() {
            single.output(&number.to_string(), id);
        }
        let single = single.bind(&Bindings::default()).ok()?;
        let results: Vec<Value> =
            (0..outputs).map(|number| single.constant_output(&number.to_string()).expect("all is known").clone()).collect();
        let most = if self.element == ElementType::F16 { 100.0 } else { 1e3 };
        let ordinary = |value: &Value| {
            let magnitude = largest(value);
            (1..4000).contains(&value.len()) && (1e-2..most).contains(&magnitude) && value.to_f64().iter().all(|x| x.is_finite())
        };
        if !results.iter().all(ordinary) {
            return None;
        }
        let ids: Vec<Option<ValueId>> = operands
            .iter()
            .map(|operand| match operand {
                Operand::At(at) => {
                    self.used[*at] = true;
                    Some(self.values[*at].0)
                }
                Operand::Constant(value) => Some(self.graph.constant("", value.clone())),
                Operand::Absent => None,
            })
            .collect();
        let ids = self.graph.apply_many("", op.clone(), &ids, outputs);
        self.nodes.push((op, operands.to_vec()));
        self.values.extend(ids.into_iter().zip(results));
        self.used.resize(self.values.len(), false);
        Some((self.values.len() - outputs..self.values.len()).collect())
    }

    pub fn add(&mut self, op: Op, operands: &[Operand]) -> Option<usize> {
        Some(self.add_many(op, operands, 1)?[0])
    }

    pub fn unary(&mut self, op: Op, x: usize) -> Option<usize> {
        self.add(op, &[Operand::At(x)])
    }
}

/// A list of integers as an operand.
pub fn ints(list: &[i64]) -> Operand {
    Operand::Constant(Value::list(list))
}

pub fn convolution(g: &mut Generator) -> Option<()> {
    let x = g.of_rank(3..=5)?;
    let shape = g.shape(x);
    let (rank, channels) = (shape.len() - 2, shape[1]);
    let divisors: Vec<usize> = (1..=channels).filter(|groups| channels.is_multiple_of(*groups)).collect();
    let groups = if g.random.percent(60) { 1 } else { g.random.pick(&divisors) };
    let each = |g: &mut Generator, list: &[usize]| -> Vec<usize> { (0..rank).map(|_| g.random.pick(list)).collect() };
    let mut op = ConvOp { groups, ..ConvOp::default() };
    let (kernel, out);
    if g.random.percent(35) {
        // Of the same shape as its input.
        let size = g.random.pick(&[1, 3, 3, 3, 5]);
        (kernel, out) = (vec![size; rank], channels);
        op.padding = Pads::Explicit(vec![size / 2; 2 * rank]);
    } else {
        kernel = each(g, &[1, 2, 3, 3, 4]);
        out = groups * g.random.within(1, (12 / groups).max(1));
        op.stride = each(g, &[1, 1, 2, 3]);
        op.dilation = each(g, &[1, 1, 2]);
        op.transposed = g.random.percent(25);
        op.padding = match g.random.below(8) {
            0 => Pads::SameUpper,
            1 => Pads::SameLower,
            2 => Pads::Valid,
            3 => Pads::Explicit(vec![]),
            _ => Pads::Explicit((0..2 * rank).map(|_| g.random.below(3)).collect()),
        };
        if op.transposed && g.random.percent(40) {
            op.output_padding = each(g, &[0, 1]);
        }
    }
    if g.random.percent(15) && !op.transposed {
        op.padding_mode = g.random.pick(&[PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular]);
    }
    if g.random.percent(10) {
        op.epilogue.activation = g.random.pick(ACTIVATIONS);
    }
    let head = if op.transposed { [channels, out / groups] } else { [out, channels / groups] };
    let weight = [&head[..], &kernel].concat();
    let terms = (channels / groups * kernel.iter().product::<usize>()) as f32;
    let weight = g.numbers(&weight, -(3.0 / terms).sqrt(), (3.0 / terms).sqrt());
    let weight = if g.random.percent(6) { Operand::At(g.input(weight)) } else { Operand::Constant(weight) };
    let bias = match g.random.below(20) {
        0 => {
            let list = g.numbers(&[out], -1.0, 1.0);
            Operand::At(g.input(list))
        }
        1..=9 => g.constant(&[out]),
        _ => Operand::Absent,
    };
    g.add(Op::Conv(op), &[Operand::At(x), weight, bias])?;
    Some(())
}

pub const ACTIVATIONS: &[Activation] = &[
    Activation::Relu,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { alpha: 0.1 },
    Activation::Elu { alpha: 0.7 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Silu,
    Activation::HardSwish,
    Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Mish,
    Activation::Softplus,
    Activation::Clamp { min: -0.3, max: 0.8 },
];

pub fn batch_norm(g: &mut Generator) -> Option<()> {
    let x = g.of_rank(2..=5)?;
    let channels = g.shape(x)[1];
    let list = [g.positive(&[channels]), g.constant(&[channels]), g.constant(&[channels]), g.positive(&[channels])];
    let [scale, shift, mean, variance] = list;
    let epsilon = g.random.pick(&[0.0, 1e-5, 1e-3]);
    g.add(Op::BatchNorm { epsilon, momentum: 0.9, training: false }, &[Operand::At(x), scale, shift, mean, variance])?;
    Some(())
}

pub fn activation(g: &mut Generator) -> Option<()> {
    let (x, activation) = (g.any(), g.random.pick(ACTIVATIONS));
    g.unary(Op::Activation(activation), x)?;
    Some(())
}

pub fn relu(g: &mut Generator) -> Option<()> {
    let x = g.any();
    g.unary(Op::Activation(Activation::Relu), x)?;
    Some(())
}

/// Activations as exporters write them.
pub fn written_out(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let times = |g: &mut Generator, a: usize, b: usize| {
        let (a, b) = if g.random.percent(50) { (a, b) } else { (b, a) };
        g.add(Op::Binary(Binary::Mul), &[Operand::At(a), Operand::At(b)])
    };
    match g.random.below(3) {
        0 => {
            let gate = g.random.pick(&[Activation::Sigmoid, Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }]);
            let gate = g.unary(Op::Activation(gate), x)?;
            times(g, x, gate)?;
        }
        1 => {
            let soft = g.unary(Op::Activation(Activation::Softplus), x)?;
            let gate = g.unary(Op::Activation(Activation::Tanh), soft)?;
            times(g, x, gate)?;
        }
        _ => {
            let (root, one, half) = (g.scalar(std::f32::consts::SQRT_2), g.scalar(1.0), g.scalar(0.5));
            let tail = g.add(Op::Binary(Binary::Div), &[Operand::At(x), root])?;
            let tail = g.unary(Op::Unary(Unary::Erf), tail)?;
            let tail = g.add(Op::Binary(Binary::Add), &[Operand::At(tail), one])?;
            let halved = if g.random.percent(50) { x } else { tail };
            let scaled = g.add(Op::Binary(Binary::Mul), &[Operand::At(halved), half])?;
            times(g, scaled, if halved == x { tail } else { x })?;
        }
    }
    Some(())
}

impl Generator {
    /// A constant's shape that broadcasts with this one; now and then it widens the result.
    fn broadcastable(&mut self, shape: &[usize]) -> Vec<usize> {
        let rank = shape.len();
        match self.random.below(10) {
            0 => vec![],
            1 => vec![1; self.random.within(1, rank + 1)],
            2..=4 if rank >= 2 => [&[shape[1]][..], &vec![1; rank - 2]].concat(),
            5 => shape.to_vec(),
            6 => shape.iter().map(|&size| if size == 1 { self.random.within(1, 2) } else { size }).collect(),
            _ => {
                let from = self.random.within(0, rank);
                shape[from..].iter().map(|&size| if self.random.percent(50) { size } else { 1 }).collect()
            }
        }
    }
}

pub fn clip(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let low = if g.random.percent(80) { g.scalar(-0.4) } else { Operand::Absent };
    let high = if g.random.percent(80) { g.scalar(0.9) } else { Operand::Absent };
    g.add(Op::Clip, &[Operand::At(x), low, high])?;
    Some(())
}

pub fn prelu(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape = g.shape(x);
    let slopes = g.broadcastable(&shape);
    let slopes = g.constant(&slopes);
    g.add(Op::Binary(Binary::Prelu), &[Operand::At(x), slopes])?;
    Some(())
}

pub fn with_constant(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape = g.shape(x);
    let shape = g.broadcastable(&shape);
    let binary = g.random.pick(&[Binary::Add, Binary::Add, Binary::Mul, Binary::Mul, Binary::Sub, Binary::Div]);
    let constant = if binary == Binary::Div { g.positive(&shape) } else { g.constant(&shape) };
    let turned = binary != Binary::Div && g.random.percent(40);
    g.add(Op::Binary(binary), &if turned { [constant, Operand::At(x)] } else { [Operand::At(x), constant] })?;
    Some(())
}

pub fn with_another(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let other = if g.random.percent(85) { g.partner(x) } else { g.any() };
    let (a, b) = if g.random.percent(50) { (x, other) } else { (other, x) };
    let op = match g.random.below(10) {
        0..=4 => Op::Binary(Binary::Add),
        5 => Op::Variadic(Variadic::Sum),
        6 => Op::Binary(Binary::Sub),
        7 => Op::Binary(Binary::Mul),
        8 => Op::Binary(Binary::Prelu),
        _ => Op::Variadic(g.random.pick(&[Variadic::Mean, Variadic::Max, Variadic::Min])),
    };
    g.add(op, &[Operand::At(a), Operand::At(b)])?;
    Some(())
}

pub fn pad(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let rank = g.shape(x).len();
    let mode = g.random.pick(&[PadMode::Constant, PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
    let everywhere = g.random.percent(15);
    let pads: Vec<i64> = (0..2 * rank)
        .map(|at| if at % rank < 2 && rank > 2 && !everywhere { 0 } else { g.random.below(4) as i64 - i64::from(everywhere) })
        .collect();
    let mut operands = vec![Operand::At(x), ints(&pads)];
    if mode == PadMode::Constant && g.random.percent(40) {
        operands.push(g.scalar(0.25));
    }
    g.add(Op::Pad(mode), &operands)?;
    Some(())
}

/// A fully connected layer as it is.
pub fn linear(g: &mut Generator) -> Option<()> {
    let x = g.of_rank(2..=5)?;
    let (k, out) = (*g.shape(x).last()?, g.random.within(1, 12));
    let bound = (3.0 / k as f32).sqrt();
    let weight = Operand::Constant(g.numbers(&[out, k], -bound, bound));
    let bias = if g.random.percent(50) { g.constant(&[out]) } else { Operand::Absent };
    g.add(Op::Linear(Epilogue::default()), &[Operand::At(x), weight, bias])?;
    Some(())
}

/// The last node once more, or an earlier one.
pub fn again(g: &mut Generator) -> Option<()> {
    let (op, operands) = g.nodes.get(g.random.below(g.nodes.len().max(1)))?.clone();
    g.add(op, &operands)?;
    Some(())
}
