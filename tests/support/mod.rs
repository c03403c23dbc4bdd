//! What tests of graphs share: numbers that are the same everywhere, a graph's results by the reference alone, their difference.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use wgconv::{Activation, Binary, Bindings, ConvDesc, Data, Dim, ElementType, Error, Graph, Op, Value, ValueId};

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// A number in a range, both ends included.
    pub fn within(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, cases: usize) -> bool {
        self.below(100) < cases
    }

    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// A number between -1 and 1.
    pub fn number(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// So many numbers between `low` and `high`.
    pub fn numbers(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        (0..count).map(|_| low + (self.number() + 1.0) / 2.0 * (high - low)).collect()
    }
}

/// Numbers as a value of a floating-point type.
pub fn floats(element: ElementType, shape: &[usize], numbers: Vec<f32>) -> Value {
    let data: Data = match element {
        ElementType::F32 => numbers.into(),
        ElementType::F64 => numbers.into_iter().map(f64::from).collect::<Vec<_>>().into(),
        ElementType::F16 => numbers.into_iter().map(half::f16::from_f32).collect::<Vec<_>>().into(),
        _ => panic!("{element} is of no use to these tests"),
    };
    Value::new(shape, data).unwrap()
}

pub fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| size.into()).collect()
}

/// Results by the reference alone: with all inputs known, binding a graph computes it.
pub fn by_reference(graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>, Error> {
    let names = graph.input_names();
    let fixed = names.iter().zip(inputs).map(|(name, value)| (name.to_string(), value.clone())).collect();
    let bound = graph.bind(&Bindings { fixed, ..Default::default() })?;
    Ok(bound.output_names().into_iter().map(|name| bound.constant_output(name).expect("all is known").clone()).collect())
}

/// The largest magnitude of the finite elements.
pub fn largest(value: &Value) -> f64 {
    value.to_f64().into_iter().filter(|value| value.is_finite()).fold(0.0, |most, value| most.max(value.abs()))
}

/// The largest difference of two values, relative to the largest magnitude of the second; infinite where types or shapes differ.
pub fn difference(got: &Value, wanted: &Value) -> f64 {
    if got.element() != wanted.element() || got.shape() != wanted.shape() {
        return f64::INFINITY;
    }
    let each = got.to_f64().into_iter().zip(wanted.to_f64()).map(|(a, b)| match (a - b).abs() {
        _ if a == b || (a.is_nan() && b.is_nan()) => 0.0,
        apart if apart.is_nan() => f64::INFINITY,
        apart => apart,
    });
    let most = each.fold(0.0, f64::max);
    if most == 0.0 { 0.0 } else { most / largest(wanted).max(f64::MIN_POSITIVE) }
}

/// Runs `work` on a thread of its own and fails where it takes longer: a hang would stop the whole run.
pub fn within<T: Send + 'static>(seconds: u64, what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || {
        // Nobody listens any more once the time is over.
        let _ = sender.send(work());
    });
    match receiver.recv_timeout(Duration::from_secs(seconds)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{what}: still running after {seconds} seconds"),
        Err(RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().expect_err("it ended without a result")),
    }
}

/// A small network whose every layer and sum is larger than a binding or a buffer of the tests that use it, without the pooling that
/// ends it: the first layer and the sum, on an input of 2x4x70x66.
pub fn large() -> (Graph, [ValueId; 2]) {
    let mut random = Random::new(4);
    let mut constant = |graph: &mut Graph, shape: &[usize]| {
        let count = shape.iter().product();
        graph.constant("w", Value::new(shape, random.numbers(count, -0.5, 0.5)).unwrap())
    };
    let mut graph = Graph::new("large");
    let x = graph.input("x", &dims(&[2, 4, 70, 66]));
    let (w, b) = (constant(&mut graph, &[12, 4, 3, 3]), constant(&mut graph, &[12]));
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 12, [3, 3]) };
    let first = graph.conv(&desc, x, w, Some(b));
    let first = graph.apply(Op::Activation(Activation::Relu), &[first]);
    let (w, desc) = (constant(&mut graph, &[12, 12, 3, 3]), ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(12, 12, [3, 3]) });
    let second = graph.conv(&desc, first, w, None);
    let sum = graph.apply(Op::Binary(Binary::Add), &[first, second]);
    let turned = graph.apply(Op::Transpose { permutation: vec![0, 1, 3, 2] }, &[sum]);
    graph.output("turned", turned);
    (graph, [first, sum])
}
