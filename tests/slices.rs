//! Operations around layers on tensors that are too large for one dispatch: in slices, on the device, with the results of the whole.

use std::time::Duration;

use wgconv::{
    ConvOp, Coordinates, ElementType, Engine, EngineDesc, Graph, Network, NetworkDesc, Op, PadMode, Pads, Reduce, Resize,
    ResizeMode, SoftmaxKind, Value,
};

mod support;
use support::{Random, difference, dims};

fn engine(desc: &EngineDesc) -> Engine {
    Engine::new(desc).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

/// An operation with its inputs, of which the rest are constants.
struct Case {
    op: Op,
    inputs: Vec<Value>,
    constants: Vec<Option<Value>>,
}

impl Case {
    fn new(op: Op, shapes: &[&[usize]], constants: &[Value]) -> Self {
        let random = |(seed, shape): (u64, &&[usize])| {
            Value::new(shape, Random::new(seed).numbers(shape.iter().product(), -1.0, 1.0)).unwrap()
        };
        Self { op, inputs: (1..).zip(shapes).map(random).collect(), constants: constants.iter().cloned().map(Some).collect() }
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new("single");
        let mut ids = Vec::new();
        for (number, value) in self.inputs.iter().enumerate() {
            ids.push(Some(graph.input_of(&format!("x{number}"), value.element(), &dims(value.shape()))));
        }
        ids.extend(self.constants.iter().map(|value| value.as_ref().map(|value| graph.constant("", value.clone()))));
        let y = graph.apply_many("", self.op.clone(), &ids, 1)[0];
        graph.output("y", y);
        graph
    }
}

/// Bytes as numbers of a type.
fn bytes(element: ElementType, shape: &[usize], seed: u64) -> Value {
    let mut random = Random::new(seed);
    let number = |random: &mut Random| random.below(256) as i32 - if element == ElementType::I8 { 128 } else { 0 };
    let list: Vec<i32> = (0..shape.iter().product()).map(|_| number(&mut random)).collect();
    match element {
        ElementType::I8 => Value::new(shape, list.into_iter().map(|number| number as i8).collect::<Vec<_>>()).unwrap(),
        _ => Value::new(shape, list.into_iter().map(|number| number as u8).collect::<Vec<_>>()).unwrap(),
    }
}

/// Operations whose tensors have 60 to 200 KB.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |op: Op, shapes: &[&[usize]], constants: &[Value]| cases.push(Case::new(op, shapes, constants));
    let reduce = |kind: Reduce| Op::Reduce { kind, keep_dims: false, noop_with_empty_axes: false };
    let softmax = |axis: i64| Op::Softmax { kind: SoftmaxKind::Softmax, axis, flatten: false };
    // Rows behind each other, rows of a part of an item, and rows across all.
    add(reduce(Reduce::Mean), &[&[2, 7, 50, 61]], &[Value::list(&[2, 3])]);
    add(reduce(Reduce::Max), &[&[300, 3, 61]], &[Value::list(&[1])]);
    add(reduce(Reduce::L2), &[&[90, 13, 37]], &[Value::list(&[0])]);
    add(reduce(Reduce::LogSumExp), &[&[2, 40, 700]], &[Value::list(&[1])]);
    add(Op::ArgReduce { min: false, axis: -1, keep_dims: true, last: false }, &[&[400, 101]], &[]);
    add(Op::ArgReduce { min: true, axis: 0, keep_dims: false, last: true }, &[&[101, 400]], &[]);
    add(softmax(-1), &[&[410, 99]], &[]);
    add(softmax(1), &[&[2, 30, 23, 37]], &[]);
    add(Op::MeanVarianceNorm { axes: vec![0, 2, 3] }, &[&[3, 9, 35, 37]], &[]);
    add(Op::LpNorm { axis: 0, p: 2 }, &[&[60, 700]], &[]);
    add(Op::LayerNorm { axis: -1, epsilon: 1e-5 }, &[&[9, 70, 65], &[65], &[65]], &[]);
    add(Op::InstanceNorm { epsilon: 1e-5 }, &[&[2, 9, 45, 47], &[9], &[9]], &[]);
    add(Op::GroupNorm { groups: 3, epsilon: 1e-5 }, &[&[3, 9, 31, 37], &[9], &[9]], &[]);
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        add(Op::Pad(mode), &[&[2, 7, 51, 43]], &[Value::list(&[0, 0, 2, 1, 0, 0, -1, 3])]);
    }
    // Around items too: a value everywhere, and then what it surrounds.
    add(Op::Pad(PadMode::Constant), &[&[70, 501]], &[Value::list(&[3, -2, 1, 5]), Value::scalar(7.5f32)]);
    add(Op::Gather { axis: 1 }, &[&[50, 9, 90]], &[Value::new(&[2, 2], vec![0i64, -1, 3, 2]).unwrap()]);
    add(Op::Gather { axis: 1 }, &[&[3, 400, 30]], &[Value::new(&[7], vec![399i64, -400, 0, 211, 210, 5, -1]).unwrap()]);
    // A table larger than a binding, few rows and more of them than one holds; and an index for each element.
    let rows = |count: usize, size: i64| {
        let list: Vec<i64> = (0..count as i64).map(|row| (row * 7919) % size - if row % 3 == 0 { size } else { 0 }).collect();
        Value::new(&[count], list).unwrap()
    };
    add(Op::Gather { axis: 0 }, &[&[500, 90]], &[Value::new(&[2, 3], vec![0i64, -1, 499, 250, -500, 0]).unwrap()]);
    add(Op::Gather { axis: 0 }, &[&[500, 90]], &[rows(450, 500)]);
    add(Op::Gather { axis: 0 }, &[&[30_011]], &[rows(29_000, 30_011)]);
    // Rows that no binding holds.
    add(Op::Gather { axis: 0 }, &[&[3, 15_000]], &[rows(3, 3)]);
    let places: Vec<i64> = (0..9_000).map(|place| (place * 7919) % 36_000).collect();
    let unpool = Op::MaxUnpool { kernel: vec![2, 2], stride: vec![2, 2], pads: Vec::new() };
    add(unpool, &[&[1, 1, 90, 100]], &[Value::new(&[1, 1, 90, 100], places).unwrap()]);
    // Weights that the network is given, of a convolution and of matrix products.
    let products: [(Op, [&[usize]; 2]); 4] = [
        (Op::Conv(ConvOp::default()), [&[1, 50, 9, 9], &[64, 50, 3, 3]]),
        (Op::Conv(ConvOp { groups: 4, ..ConvOp::default() }), [&[2, 100, 9, 9], &[400, 25, 2, 2]]),
        (Op::MatMul, [&[20, 300], &[300, 190]]),
        (Op::MatMul, [&[7, 20, 90], &[7, 90, 80]]),
    ];
    for (op, shapes) in products {
        add(op, &shapes, &[]);
    }
    // Rows that no binding holds, in slices.
    for kind in
        [Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::Min, Reduce::L1, Reduce::L2, Reduce::SumSquare, Reduce::LogSumExp]
    {
        add(reduce(kind), &[&[30_011]], &[Value::list(&[0])]);
    }
    add(reduce(Reduce::Mean), &[&[70, 3, 301]], &[Value::list(&[0, 2])]);
    for (axis, min, last) in [(1, false, false), (1, true, true), (0, true, false)] {
        let shape: &[usize] = if axis == 1 { &[3, 20_001] } else { &[20_001, 3] };
        add(Op::ArgReduce { min, axis, keep_dims: axis == 1, last }, &[shape], &[]);
    }
    add(softmax(1), &[&[2, 20_001]], &[]);
    add(Op::Softmax { kind: SoftmaxKind::LogSoftmax, axis: 0, flatten: false }, &[&[10_007, 3]], &[]);
    add(Op::MeanVarianceNorm { axes: vec![1, 2] }, &[&[3, 110, 90]], &[]);
    add(Op::LayerNorm { axis: -1, epsilon: 1e-5 }, &[&[3, 12_000], &[12_000], &[12_000]], &[]);
    add(Op::RmsNorm { axis: -1, epsilon: 1e-5 }, &[&[3, 12_000], &[12_000]], &[]);
    add(Op::InstanceNorm { epsilon: 1e-5 }, &[&[1, 3, 101, 90], &[3], &[3]], &[]);
    add(Op::LpNorm { axis: 1, p: 1 }, &[&[2, 10_007]], &[]);
    add(Op::CenterCropPad { axes: vec![1, 2] }, &[&[7, 55, 99]], &[Value::list(&[61, 80])]);
    let conv = ConvOp { padding: Pads::Explicit(vec![1, 1, 1, 1]), ..ConvOp::default() };
    let shapes: &[&[usize]] = &[&[5, 2, 20, 20], &[6, 2, 3, 3], &[5, 18, 20, 20]];
    add(Op::DeformConv { conv: conv.clone(), offset_groups: 1 }, shapes, &[]);
    let resize = Resize { mode: ResizeMode::Linear, coordinates: Coordinates::HalfPixel, ..Resize::default() };
    let scales = Value::new(&[4], vec![1.0f32, 1.0, 1.5, 2.0]).unwrap();
    cases.push(Case { constants: vec![None, Some(scales)], ..Case::new(Op::Resize(resize), &[&[3, 5, 30, 31]], &[]) });
    let table = Value::new(&[500, 90], Random::new(8).numbers(45_000, -1.0, 1.0)).unwrap();
    cases.push(Case { op: Op::Gather { axis: 0 }, inputs: vec![table, rows(450, 500)], constants: Vec::new() });
    // Products of bytes, by batch items.
    let (x, w) = (bytes(ElementType::U8, &[9, 8, 31, 29], 3), bytes(ElementType::I8, &[6, 8, 3, 3], 4));
    let zero = Value::new(&[], vec![7u8]).unwrap();
    cases.push(Case { op: Op::ConvInteger(conv), inputs: vec![x], constants: vec![Some(w), Some(zero)] });
    let (a, b) = (bytes(ElementType::I8, &[700, 40], 5), bytes(ElementType::I8, &[40, 60], 6));
    cases.push(Case { op: Op::MatMulInteger, inputs: vec![a], constants: vec![Some(b)] });
    // By groups, by output channels, by rows, and by both; known weights and given ones.
    let parts: [(usize, [&[usize]; 2]); 4] = [
        (8, [&[1, 160, 15, 17], &[64, 20, 3, 3]]),
        (1, [&[1, 72, 9, 9], &[130, 72, 3, 3]]),
        (1, [&[1, 6, 103, 97], &[5, 6, 3, 3]]),
        (1, [&[1, 7, 99, 65], &[26, 7, 1, 1]]),
    ];
    for (number, (groups, [x, w])) in (20..).zip(parts) {
        let conv = ConvOp { groups, ..ConvOp::default() };
        let (x, w) = (bytes(ElementType::U8, x, number), bytes(ElementType::I8, w, 2 * number));
        let (zero, zeros) = (Value::new(&[], vec![9u8]).unwrap(), bytes(ElementType::I8, &w.shape()[..1], 3 * number));
        let constants = vec![Some(w.clone()), Some(zero.clone()), Some(zeros.clone())];
        cases.push(Case { op: Op::ConvInteger(conv.clone()), inputs: vec![x.clone()], constants });
        cases.push(Case { op: Op::ConvInteger(conv), inputs: vec![x, w], constants: vec![Some(zero), Some(zeros)] });
    }
    let (a, b) = (bytes(ElementType::U8, &[30, 250], 7), bytes(ElementType::U8, &[250, 170], 8));
    cases.push(Case { op: Op::MatMulInteger, inputs: vec![a, b], constants: Vec::new() });
    cases
}

/// Runs every case as a whole and as this engine does it; how many steps there are in all.
fn check(small: &Engine) -> usize {
    let whole = engine(&EngineDesc::default());
    let (mut wrong, mut steps) = (Vec::new(), 0);
    for case in cases() {
        let [got, wanted] = [small, &whole].map(|engine| {
            let network = Network::new(engine, &case.graph(), &NetworkDesc::default())?;
            let text = network.explain();
            let results = network.run_values(&case.inputs)?;
            Ok((results, network.host_nodes(), text))
        });
        let (got, wanted) = match (got, wanted) {
            (Ok(got), Ok(wanted)) => (got, wanted),
            (Err(error), _) | (_, Err(error)) => {
                let error: wgconv::Error = error;
                wrong.push(format!("{:?}: {error}", case.op));
                continue;
            }
        };
        steps += got.2.lines().filter(|line| line.contains(" -> [")).count();
        let apart = difference(&got.0[0], &wanted.0[0]);
        if apart > 1e-6 || !got.1.is_empty() {
            wrong.push(format!("{:?}: {apart:e}, on the host {:?}\n{}", case.op, got.1, got.2));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    steps
}

/// Extremes that come again in other slices of 8,192 elements, NaNs among them, zeros of both signs, infinities.
#[test]
fn positions_of_extremes_in_slices_are_the_references() {
    let engine = engine(&EngineDesc { max_binding_bytes: Some(32 << 10), ..Default::default() });
    const LENGTH: usize = 30_011;
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let rows: [&[(usize, f32)]; 8] = [
        &[(100, 9.0), (8_191, 9.0), (8_192, 9.0), (30_010, 9.0)],
        &[(8_192, -9.0), (20_000, -9.0), (16_383, 9.0), (16_384, 9.0)],
        &[(9_000, nan), (9_001, infinity), (50, infinity)],
        &[(9_000, nan), (29_999, nan), (3, -infinity), (20_000, -infinity)],
        &[(0, nan), (30_010, nan)],
        &[(10_000, infinity), (25_000, infinity), (5, -infinity), (28_000, -infinity)],
        &[],
        &[(16_384, nan), (16_383, 9.0), (8_192, -9.0)],
    ];
    for zeros in [false, true] {
        let list = rows.iter().flat_map(|row| {
            // Equal everywhere, or small integers that come again all the time.
            let mut list: Vec<f32> = (0..LENGTH)
                .map(|at| if zeros { 0.0f32.copysign((at % 3) as f32 - 1.0) } else { (at * 7919 % 11) as f32 - 5.0 })
                .collect();
            row.iter().for_each(|&(at, value)| list[at] = value);
            list
        });
        let value = Value::new(&[rows.len(), LENGTH], list.collect::<Vec<_>>()).unwrap();
        for (min, last) in [(false, false), (false, true), (true, false), (true, true)] {
            let op = Op::ArgReduce { min, axis: 1, keep_dims: false, last };
            let case = Case { op, inputs: vec![value.clone()], constants: Vec::new() };
            let network = Network::new(&engine, &case.graph(), &NetworkDesc::default()).unwrap();
            assert!(network.host_nodes().is_empty(), "{}", network.explain());
            let [got, wanted] =
                [network.run_values(&case.inputs), network.run_reference(&case.inputs)].map(|result| result.unwrap()[0].to_f64());
            assert_eq!(got, wanted, "{:?}, zeros {zeros}", case.op);
        }
    }
}

#[test]
fn hardmax_of_rows_over_a_binding_is_the_hosts_by_name() {
    let engine = engine(&EngineDesc { max_binding_bytes: Some(32 << 10), ..Default::default() });
    let hardmax = |length: usize| {
        let op = Op::Softmax { kind: SoftmaxKind::Hardmax, axis: 1, flatten: false };
        let case = Case::new(op, &[&[3, length]], &[]);
        let network = Network::new(&engine, &case.graph(), &NetworkDesc::default()).unwrap();
        let results = [network.run_values(&case.inputs), network.run_reference(&case.inputs)];
        let [got, wanted] = results.map(|result| result.unwrap().remove(0).to_f64());
        assert_eq!(got, wanted, "{length}");
        (network.host_nodes().len(), network.explain())
    };
    let (count, text) = hardmax(10_007);
    assert!(count == 1 && text.contains("ON THE HOST") && text.contains("host       computes"), "{text}");
    assert_eq!(hardmax(8_000).0, 0);
}

#[test]
fn operations_on_more_than_a_binding_or_a_buffer_are_the_devices_and_right() {
    for (max_binding_bytes, max_buffer_bytes) in [(Some(32 << 10), None), (None, Some(40_000))] {
        let steps = check(&engine(&EngineDesc { max_binding_bytes, max_buffer_bytes, ..Default::default() }));
        assert!(steps > 200, "{steps} steps");
    }
}

#[test]
fn operations_that_would_take_long_are_several_dispatches() {
    let whole = engine(&EngineDesc::default());
    // About a tenth of what the operations take; more cores take less.
    let bound = Duration::from_nanos(20_000 / u64::from(whole.limits().parallelism));
    let steps = check(&engine(&EngineDesc { submission_bound: Some(bound), ..Default::default() }));
    assert!(!whole.is_software() || steps > 200, "{steps} steps");
}
