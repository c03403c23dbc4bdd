//! Graphs on a device: every operation against the reference, and what networks promise besides.

use wgconv::{
    Activation, Binary, Bindings, ConvDesc, ConvOp, Data, Dim, ElementType, Engine, EngineDesc, ErrorKind, Graph, Layout,
    Network, NetworkDesc, Op, PadMode, Pads, PoolDesc, Reduce, SampleMode, SamplePadding, SoftmaxKind, TensorDesc, Unary, Value,
    ValueId, Variadic,
};

fn engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers between -1 and 1 that are the same everywhere.
fn random(shape: &[usize], seed: u64) -> Value {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    Value::new(shape, (0..shape.iter().product()).map(|_| next()).collect::<Vec<f32>>()).unwrap()
}

/// A graph of one operation: inputs of these shapes, then constants.
struct Single {
    op: Op,
    inputs: Vec<Value>,
    constants: Vec<Value>,
    outputs: usize,
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| size.into()).collect()
}

impl Single {
    fn new(op: Op, shapes: &[&[usize]], constants: &[Value]) -> Self {
        let inputs = (1..).zip(shapes).map(|(seed, shape)| random(shape, seed)).collect();
        Self { op, inputs, constants: constants.to_vec(), outputs: 1 }
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new("single");
        let mut ids: Vec<ValueId> = Vec::new();
        for (number, value) in self.inputs.iter().enumerate() {
            ids.push(graph.input_of(&format!("x{number}"), value.element(), &dims(value.shape())));
        }
        ids.extend(self.constants.iter().map(|value| graph.constant("", value.clone())));
        let ids: Vec<_> = ids.into_iter().map(Some).collect();
        for (number, id) in graph.apply_many("", self.op.clone(), &ids, self.outputs).into_iter().enumerate() {
            graph.output(&format!("y{number}"), id);
        }
        graph
    }

    /// What is wrong with the operation on a device.
    fn check(&self, engine: &Engine) -> Result<(), String> {
        let about = |error: wgconv::Error| format!("{:?}: {error}", self.op);
        let network = Network::new(engine, &self.graph(), &NetworkDesc::default()).map_err(about)?;
        if !network.host_nodes().is_empty() {
            return Err(format!("{:?} ran on the host", self.op));
        }
        let found = network.verify(&self.inputs).map_err(about)?;
        if found.passed() && found.end_to_end < 1e-4 { Ok(()) } else { Err(format!("{:?}: {found}", self.op)) }
    }
}

/// Checks every case and says of all what is wrong.
fn check_all(cases: &[Single]) {
    let engine = engine();
    println!("{}", engine.adapter());
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.check(&engine).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_operation_on_the_device_gives_what_the_reference_gives() {
    let mut cases = Vec::new();
    let mut add = |op: Op, shapes: &[&[usize]], constants: &[Value]| cases.push(Single::new(op, shapes, constants));
    for activation in ["relu", "gelu", "mish", "elu(0.5)", "selu", "hard_swish", "softplus", "clamp(-0.5,0.5)"] {
        add(Op::Activation(activation.parse::<Activation>().unwrap()), &[&[2, 3, 5]], &[]);
    }
    for unary in
        [Unary::Neg, Unary::Abs, Unary::Sign, Unary::Exp, Unary::Floor, Unary::Ceil, Unary::Round, Unary::Erf, Unary::Sin]
    {
        add(Op::Unary(unary), &[&[2, 3, 5]], &[]);
    }
    for unary in [Unary::Sinh, Unary::Asinh, Unary::Atanh, Unary::Asin, Unary::Acos, Unary::Atan, Unary::Tan, Unary::Cosh] {
        add(Op::Unary(unary), &[&[7, 9]], &[]);
    }
    for binary in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Prelu, Binary::Greater, Binary::LessOrEqual] {
        add(Op::Binary(binary), &[&[2, 3, 4, 5], &[3, 1, 5]], &[]);
        add(Op::Binary(binary), &[&[2, 3, 4], &[2, 3, 4]], &[]);
        // Rows that workgroups have parts of: of fours and of single elements, broadcast along and across.
        add(Op::Binary(binary), &[&[2, 3, 1, 1000], &[3, 1, 1]], &[]);
        add(Op::Binary(binary), &[&[2, 3, 3, 301], &[3, 1, 301]], &[]);
    }
    add(Op::Transpose { permutation: vec![1, 0, 2] }, &[&[3, 2, 1204]], &[]);
    add(Op::Transpose { permutation: vec![0, 2, 1] }, &[&[2, 1204, 3]], &[]);
    add(Op::Binary(Binary::Div), &[&[2, 3]], &[Value::scalar(3.0f32)]);
    add(Op::Binary(Binary::Pow), &[&[2, 3]], &[Value::scalar(3.0f32)]);
    for variadic in [Variadic::Sum, Variadic::Mean, Variadic::Max, Variadic::Min] {
        add(Op::Variadic(variadic), &[&[2, 3], &[3], &[2, 1]], &[]);
    }
    for (kind, axes) in [
        (Reduce::Sum, &[1i64][..]),
        (Reduce::Mean, &[0, 2]),
        (Reduce::Max, &[2]),
        (Reduce::Min, &[-1, 0]),
        (Reduce::Prod, &[1]),
        (Reduce::L1, &[0, 1, 2]),
        (Reduce::L2, &[2]),
        (Reduce::SumSquare, &[0]),
        (Reduce::LogSumExp, &[1, 2]),
    ] {
        for keep_dims in [false, true] {
            add(Op::Reduce { kind, keep_dims, noop_with_empty_axes: false }, &[&[3, 5, 7]], &[Value::list(axes)]);
        }
        add(Op::Reduce { kind, keep_dims: true, noop_with_empty_axes: false }, &[&[3, 9, 70]], &[Value::list(axes)]);
    }
    for (min, last) in [(false, false), (true, true)] {
        add(Op::ArgReduce { min, axis: 1, keep_dims: false, last }, &[&[3, 5, 7]], &[]);
        add(Op::ArgReduce { min, axis: 1, keep_dims: true, last }, &[&[2, 300]], &[]);
    }
    for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax, SoftmaxKind::Hardmax] {
        add(Op::Softmax { kind, axis: 1, flatten: false }, &[&[2, 5, 3]], &[]);
        add(Op::Softmax { kind, axis: 1, flatten: true }, &[&[2, 5, 30]], &[]);
    }
    let list = |length: usize, seed: u64| {
        let positive: Vec<f32> = random(&[length], seed).to_f32().into_iter().map(|value| value.abs() + 0.5).collect();
        Value::new(&[length], positive).unwrap()
    };
    let four = [list(3, 1), list(3, 2), list(3, 3), list(3, 4)];
    add(Op::BatchNorm { epsilon: 1e-5, momentum: 0.9, training: false }, &[&[2, 3, 4, 5]], &four);
    add(Op::InstanceNorm { epsilon: 1e-5 }, &[&[2, 3, 4, 5]], &four[..2]);
    add(Op::GroupNorm { groups: 3, epsilon: 1e-5 }, &[&[2, 6, 9, 9]], &[list(6, 1), list(6, 2)]);
    add(Op::GroupNorm { groups: 3, epsilon: 1e-5 }, &[&[2, 6, 4]], &[list(3, 1), list(3, 2)]);
    add(Op::RmsNorm { axis: -1, epsilon: 1e-5 }, &[&[2, 3, 100]], &[list(100, 3)]);
    add(Op::MeanVarianceNorm { axes: vec![0, 2, 3] }, &[&[2, 3, 4, 5]], &[]);
    add(Op::LpNorm { axis: 1, p: 1 }, &[&[2, 3, 4]], &[]);
    add(Op::LpNorm { axis: -1, p: 2 }, &[&[2, 3, 4]], &[]);
    add(Op::Lrn { size: 5, alpha: 0.1, beta: 0.75, bias: 1.0 }, &[&[2, 7, 3, 3]], &[]);
    add(Op::Lrn { size: 4, alpha: 0.1, beta: 0.75, bias: 1.0 }, &[&[1, 3, 3]], &[]);

    add(Op::Concat { axis: -2 }, &[&[2, 3, 4], &[2, 1, 4], &[2, 5, 4]], &[]);
    add(
        Op::Slice,
        &[&[5, 6, 7]],
        &[Value::list(&[1, -1]), Value::list(&[5, i64::MIN]), Value::list(&[0, 2]), Value::list(&[2, -3])],
    );
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        add(Op::Pad(mode), &[&[2, 3, 5]], &[Value::list(&[0, 1, 2, 0, -1, 4])]);
    }
    add(Op::Pad(PadMode::Constant), &[&[3, 5]], &[Value::list(&[1, 2, 0, 1]), Value::scalar(7.5f32)]);
    add(Op::Transpose { permutation: vec![2, 0, 3, 1] }, &[&[2, 3, 4, 5]], &[]);
    // By fours: neighbours of both tensors, of one only, at an offset that is a multiple of four or none, and a number for all four.
    for permutation in [[1, 0, 2, 3], [0, 2, 1, 3], [3, 1, 0, 2], [0, 1, 3, 2]] {
        add(Op::Transpose { permutation: permutation.to_vec() }, &[&[2, 3, 8, 12]], &[]);
    }
    for (a, b) in [
        (&[2, 3, 8][..], &[8][..]),
        (&[3, 8], &[3, 1]),
        (&[2, 4, 4], &[1]),
        (&[2, 1, 8], &[2, 3, 8]),
        (&[4, 1], &[4]),
        (&[3, 6], &[6]),
    ] {
        add(Op::Binary(Binary::Sub), &[a, b], &[]);
    }
    for (start, end) in [(4, 12), (3, 11), (0, 6), (-4, i64::MAX)] {
        add(Op::Slice, &[&[3, 12]], &[Value::list(&[start]), Value::list(&[end]), Value::list(&[1])]);
    }
    add(Op::Concat { axis: 1 }, &[&[2, 8], &[2, 4], &[2, 4]], &[]);
    add(Op::Concat { axis: 1 }, &[&[2, 6], &[2, 4], &[2, 6]], &[]);
    add(Op::Expand, &[&[3, 1, 2]], &[Value::list(&[4, 1, 5, 2])]);
    add(Op::Tile, &[&[2, 3]], &[Value::list(&[3, 2])]);
    add(Op::Reshape { allow_zero: false }, &[&[2, 3, 4]], &[Value::list(&[0, -1])]);
    add(Op::Gather { axis: 1 }, &[&[3, 5, 2]], &[Value::new(&[2, 2], vec![0i64, -1, 3, 2]).unwrap()]);
    add(Op::DepthToSpace { block: 2, channels_first: true }, &[&[1, 8, 2, 3]], &[]);
    add(Op::DepthToSpace { block: 2, channels_first: false }, &[&[1, 8, 2, 3]], &[]);
    add(Op::SpaceToDepth { block: 2 }, &[&[1, 2, 4, 6]], &[]);
    add(Op::CenterCropPad { axes: vec![] }, &[&[5, 4]], &[Value::list(&[2, 7])]);

    add(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false }, &[&[3, 5], &[5, 4], &[4]], &[]);
    add(Op::Gemm { alpha: 0.5, beta: 2.0, trans_a: true, trans_b: true }, &[&[5, 3], &[4, 5], &[3, 1]], &[]);
    add(Op::Gemm { alpha: 0.5, beta: 2.0, trans_a: true, trans_b: true }, &[&[5, 3]], &[random(&[4, 5], 8), random(&[1, 4], 9)]);
    for (a, b) in [
        (&[3, 5][..], &[5, 4][..]),
        (&[2, 3, 5], &[5, 4]),
        (&[2, 3, 5], &[2, 5, 4]),
        (&[3, 5], &[2, 5, 4]),
        (&[2, 1, 3, 5], &[1, 6, 5, 4]),
        (&[5], &[5, 4]),
        (&[2, 3, 5], &[5]),
        (&[5], &[5]),
    ] {
        add(Op::MatMul, &[a, b], &[]);
        add(Op::MatMul, &[a], &[random(b, 5)]);
    }
    let conv = ConvOp { padding: Pads::Explicit(vec![1, 1, 1, 1]), ..ConvOp::default() };
    add(Op::Conv(conv.clone()), &[&[1, 8, 9, 9]], &[random(&[16, 8, 3, 3], 3), random(&[16], 4)]);
    add(Op::Conv(conv.clone()), &[&[2, 8, 9, 9], &[16, 8, 3, 3], &[16]], &[]);
    add(Op::Conv(ConvOp { groups: 8, ..conv.clone() }), &[&[2, 8, 9, 9], &[16, 1, 3, 3]], &[]);
    add(Op::Conv(ConvOp { transposed: true, stride: vec![2, 2], ..conv }), &[&[2, 6, 5, 5], &[6, 4, 3, 3]], &[]);
    add(Op::Pool(PoolDesc::max([3])), &[&[1, 2, 10]], &[]);
    check_all(&cases);
    assert!(cases.len() > 110, "{}", cases.len());
}

#[test]
fn computed_weights_are_packed_on_the_device() {
    let mut cases = Vec::new();
    let mut add = |op: Op, shapes: &[&[usize]]| cases.push(Single::new(op, shapes, &[]));
    // Of each item, of items that share them, and of axes that do.
    for (a, b) in [
        (&[2, 3, 65, 70][..], &[2, 3, 70, 33][..]),
        (&[1, 3, 65, 70], &[2, 3, 70, 33]),
        (&[2, 1, 65, 70], &[2, 3, 70, 33]),
        (&[3, 65, 70], &[2, 1, 70, 33]),
        (&[2, 1, 3, 5, 7], &[1, 4, 3, 7, 2]),
        (&[65, 70], &[2, 3, 70, 33]),
        (&[2, 3, 65, 70], &[70, 33]),
        (&[4, 1, 197], &[4, 197, 64]),
    ] {
        add(Op::MatMul, &[a, b]);
    }
    // Panels over channels and over taps, strips, groups of one channel.
    let conv = ConvOp { padding: Pads::Explicit(vec![1, 1, 1, 1]), ..ConvOp::default() };
    add(Op::Conv(conv.clone()), &[&[1, 20, 17, 30], &[35, 20, 3, 3]]);
    add(Op::Conv(conv.clone()), &[&[4, 3, 3, 3], &[33, 3, 5, 5]]);
    add(Op::Conv(ConvOp { stride: vec![2, 2], ..conv.clone() }), &[&[1, 6, 17, 30], &[35, 6, 3, 4]]);
    for groups in [2, 12] {
        add(Op::Conv(ConvOp { groups, ..conv.clone() }), &[&[1, 12, 17, 30], &[36, 12 / groups, 3, 3]]);
        let transposed = ConvOp { transposed: true, stride: vec![2, 2], groups, ..conv.clone() };
        add(Op::Conv(transposed), &[&[1, 12, 7, 9], &[12, 5, 3, 4]]);
    }
    check_all(&cases);
    let engine = engine();
    for mut case in cases.into_iter().filter(|_| engine.limits().f16) {
        let half = |value: &Value| {
            let list = value.to_f32().into_iter().map(half::f16::from_f32).collect::<Vec<_>>();
            Value::new(value.shape(), list).unwrap()
        };
        case.inputs = case.inputs.iter().map(half).collect();
        let network = Network::new(&engine, &case.graph(), &NetworkDesc::default()).unwrap();
        let found = network.verify(&case.inputs).unwrap();
        assert!(found.passed() && found.end_to_end < 2e-3, "{:?}: {found}", case.op);
    }
}

/// Bytes from 0 to 255 that are the same everywhere.
fn bytes(shape: &[usize], seed: u64) -> Value {
    let list = random(shape, seed).to_f32().into_iter().map(|value| ((value + 1.0) * 127.99) as u8).collect::<Vec<u8>>();
    Value::new(shape, list).unwrap()
}

#[test]
fn numbers_are_quantised_and_back_on_the_device() {
    let mut cases = Vec::new();
    let mut add = |op: Op, inputs: Vec<Value>, constants: &[Value]| {
        cases.push(Single { op, inputs, constants: constants.to_vec(), outputs: 1 });
    };
    let list = Value::new(&[3], vec![0.1f32, 0.02, 0.3]).unwrap();
    let zeros = Value::new(&[3], vec![1u8, 128, 200]).unwrap();
    let op = Op::QuantizeLinear { axis: 1, block: 0, output: ElementType::U8 };
    add(op, vec![random(&[2, 3, 50], 7)], &[list.clone(), zeros.clone()]);
    add(Op::DequantizeLinear { axis: 1, block: 0 }, vec![bytes(&[2, 3, 50], 8)], &[list, zeros]);
    let blocks = random(&[2, 3], 9);
    let blocks = Value::new(&[2, 3], blocks.to_f32().iter().map(|value| value.abs() + 0.1).collect::<Vec<f32>>()).unwrap();
    add(Op::QuantizeLinear { axis: -1, block: 2, output: ElementType::I8 }, vec![random(&[2, 6], 10)], &[blocks]);
    check_all(&cases);
}

#[test]
fn deformed_and_causal_convolutions_are_convolutions_of_the_device() {
    let conv = ConvOp { padding: Pads::Explicit(vec![1, 1, 1, 1]), stride: vec![2, 1], groups: 2, ..ConvOp::default() };
    let shapes: &[&[usize]] = &[&[2, 4, 7, 6], &[6, 2, 3, 3], &[2, 36, 4, 6], &[6], &[2, 18, 4, 6]];
    let causal = Op::CausalConvWithState { activation: Activation::Silu };
    check_all(&[
        Single::new(Op::DeformConv { conv, offset_groups: 2 }, shapes, &[]),
        Single { outputs: 2, ..Single::new(causal.clone(), &[&[2, 3, 5], &[3, 1, 4], &[3], &[2, 3, 3]], &[]) },
        Single { outputs: 2, ..Single::new(causal, &[&[2, 3, 5], &[3, 1, 1]], &[]) },
    ]);
}

#[test]
fn operations_with_several_results_give_all_of_them() {
    let x = random(&[2, 6, 4], 1);
    let ones = Value::new(&[4], vec![1.0f32, 0.5, 2.0, 1.0]).unwrap();
    let cases = [
        (Op::Split { axis: 1 }, vec![Value::list(&[1, 2, 3])], 3),
        (Op::LayerNorm { axis: -1, epsilon: 1e-5 }, vec![ones.clone(), ones], 3),
        (
            Op::Pool(PoolDesc {
                kind: wgconv::PoolKind::Max { indices: Some(wgconv::IndexOrder::Tensor) },
                ..PoolDesc::max([2])
            }),
            vec![],
            2,
        ),
    ];
    check_all(&cases.map(|(op, constants, outputs)| Single { op, inputs: vec![x.clone()], constants, outputs }));
}

/// Two convolutions with what networks put around them.
fn block(graph: &mut Graph, x: ValueId) -> ValueId {
    let first = graph.constant("first", random(&[8, 4, 3, 3], 11));
    let second = graph.constant("second", random(&[4, 8, 3, 3], 12));
    let list = |length: usize, seed: u64| {
        Value::new(&[length], random(&[length], seed).to_f32().into_iter().map(|value| value.abs() + 0.5).collect::<Vec<f32>>())
            .unwrap()
    };
    let statistics: Vec<ValueId> = (0..4).map(|seed| graph.constant("", list(8, 20 + seed))).collect();
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 8, [3, 3]) };
    let y = graph.conv(&desc, x, first, None);
    let norm = Op::BatchNorm { epsilon: 1e-5, momentum: 0.9, training: false };
    let y = graph.apply(norm, &[y, statistics[0], statistics[1], statistics[2], statistics[3]]);
    let y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    let y = graph.apply(Op::Identity, &[y]);
    let y = graph.conv(&ConvDesc { in_channels: 8, out_channels: 4, ..desc }, y, second, None);
    let y = graph.apply(Op::Binary(Binary::Add), &[y, x]);
    graph.apply(Op::Activation(Activation::Relu), &[y])
}

fn residual_network() -> Graph {
    let mut graph = Graph::new("residual");
    let x = graph.input("x", &["N".into(), 4.into(), 12.into(), 12.into()]);
    let mut y = block(&mut graph, x);
    for _ in 0..3 {
        y = block(&mut graph, y);
    }
    let pool = graph.pool(&PoolDesc::global_average(), y);
    let flat = graph.apply(Op::Flatten { axis: 1 }, &[pool]);
    let w = graph.constant("head", random(&[4, 10], 30));
    let logits = graph.apply(Op::MatMul, &[flat, w]);
    graph.output("logits", logits);
    graph
}

fn with_batch(batch: usize) -> NetworkDesc {
    NetworkDesc { bindings: Bindings { dims: vec![("N".into(), batch)], ..Default::default() }, ..Default::default() }
}

#[test]
fn a_residual_network_becomes_its_convolutions_and_shares_its_memory() {
    let engine = engine();
    let network = Network::new(&engine, &residual_network(), &with_batch(2)).unwrap();
    // Eight convolutions, the pooling, the matrix product and the view between them.
    assert_eq!(network.graph().node_count(), 11, "{}", network.graph());
    let x = random(&[2, 4, 12, 12], 1);
    let found = network.verify(std::slice::from_ref(&x)).unwrap();
    assert!(found.passed(), "{found}");
    assert!(found.end_to_end < 1e-5, "{found}");
    // Input, output and a third: blocks follow each other.
    let one = 2 * 8 * 12 * 12 * 4;
    assert!(network.peak_bytes() < 4 * one, "{}", network.explain());
    let plain = Network::new(&engine, &residual_network(), &NetworkDesc { unoptimised: true, ..with_batch(2) }).unwrap();
    assert_eq!(plain.graph().node_count(), residual_network().node_count());
    let (a, b) = (network.run_values(std::slice::from_ref(&x)).unwrap(), plain.run_values(&[x]).unwrap());
    for (a, b) in a[0].to_f32().iter().zip(b[0].to_f32()) {
        assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{a} {b}");
    }
}

/// What the blocks add up lies as the network's input does, as the first of them adds to that; what is inside of them need not.
#[test]
fn layers_keep_channels_last_among_themselves_where_they_are_asked_to() {
    let engine = engine();
    let desc = |layout| NetworkDesc { layout, ..with_batch(2) };
    let [last, first] = [Some(Layout::ChannelsLast), Some(Layout::ChannelsFirst)]
        .map(|layout| Network::new(&engine, &residual_network(), &desc(layout)).unwrap());
    assert!(last.explain().contains("4 values among layers keep channels last; 0 conversions"), "{}", last.explain());
    assert!(first.explain().contains("nothing is converted"), "{}", first.explain());
    let x = [random(&[2, 4, 12, 12], 1)];
    let found = last.verify(&x).unwrap();
    assert!(found.passed() && found.end_to_end < 1e-5, "{found}");
    let (a, b) = (last.run_values(&x).unwrap(), first.run_values(&x).unwrap());
    for (a, b) in a[0].to_f32().iter().zip(b[0].to_f32()) {
        assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{a} {b}");
    }
}

/// Two convolutions as an exporter that keeps channels last writes them: a transposition before and behind each.
#[test]
fn transpositions_around_layers_cancel() {
    let engine = engine();
    let mut graph = Graph::new("channels last");
    let x = graph.input("x", &dims(&[1, 6, 5, 3]));
    let turn = |graph: &mut Graph, x: ValueId, permutation: &[usize]| {
        graph.apply(Op::Transpose { permutation: permutation.to_vec() }, &[x])
    };
    let conv = |graph: &mut Graph, x: ValueId, channels: [usize; 2], seed: u64| {
        let w = graph.constant("w", random(&[channels[1], channels[0], 3, 3], seed));
        let x = turn(graph, x, &[0, 3, 1, 2]);
        let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(channels[0], channels[1], [3, 3]) };
        let y = graph.conv(&desc, x, w, None);
        turn(graph, y, &[0, 2, 3, 1])
    };
    let first = conv(&mut graph, x, [3, 8], 1);
    let bias = graph.constant("bias", random(&[8], 2));
    let y = graph.apply(Op::Binary(Binary::Add), &[first, bias]);
    let y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    let second = conv(&mut graph, y, [8, 8], 3);
    let both = graph.apply(Op::Binary(Binary::Add), &[second, y]);
    let joined = graph.apply(Op::Concat { axis: -1 }, &[both, y]);
    let last = conv(&mut graph, joined, [16, 4], 4);
    graph.output("y", last);
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    // Of six transpositions the first and the last are left.
    let text = network.graph().to_string();
    assert_eq!(text.matches("Transpose(").count(), 2, "{text}");
    assert_eq!(network.graph().node_count(), 6, "{text}");
    let found = network.verify(&[random(&[1, 6, 5, 3], 5)]).unwrap();
    assert!(found.passed() && found.end_to_end < 1e-5, "{found}");
}

#[test]
fn runs_from_several_threads_give_the_same_bits_as_one_after_the_other() {
    let engine = engine();
    let network = Network::new(&engine, &residual_network(), &with_batch(1)).unwrap();
    let inputs: Vec<Value> = (0..8).map(|seed| random(&[1, 4, 12, 12], seed)).collect();
    let alone: Vec<Vec<Value>> = inputs.iter().map(|x| network.run_values(std::slice::from_ref(x)).unwrap()).collect();
    let (network, inputs, alone) = (&network, &inputs, &alone);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for (x, wanted) in inputs.iter().zip(alone) {
                    assert_eq!(&network.run_values(std::slice::from_ref(x)).unwrap(), wanted);
                }
            });
        }
    });
}

#[test]
fn a_run_after_the_first_asks_the_device_for_no_buffer() {
    let engine = engine();
    let network = Network::new(&engine, &residual_network(), &with_batch(1)).unwrap();
    let run = |seed: u64| {
        let x = random(&[1, 4, 12, 12], seed).to_f32();
        let x = engine.upload(&x, &TensorDesc::f32(&[1, 4, 12, 12])).unwrap();
        network.run(&[&x]).unwrap()[0].to_vec::<f32>().unwrap()
    };
    let first = run(1);
    let before = engine.buffers();
    assert!(before.allocations > 0 && before.in_use > network.peak_bytes() && before.peak >= before.in_use, "{before:?}");
    for seed in 2..20 {
        assert_ne!(run(seed), first);
    }
    let now = engine.buffers();
    assert_eq!((now.in_use, now.cached, now.allocations), (before.in_use, before.cached, before.allocations), "{now}");
    assert!(now.reuses > before.reuses, "{now}");
    drop(network);
    let after = engine.buffers();
    assert!(after.in_use == 0 && after.cached > 0, "{after:?}");
}

#[test]
fn a_network_records_into_an_encoder_of_the_callers() {
    let engine = engine();
    let network = Network::new(&engine, &residual_network(), &with_batch(1)).unwrap();
    let value = random(&[1, 4, 12, 12], 5);
    let x = engine.upload(&value.to_f32(), &TensorDesc::f32(&[1, 4, 12, 12])).unwrap();
    let y = engine.zeros(&TensorDesc::f32(&[1, 10])).unwrap();
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    network.encode(&mut encoder, &[&x], &[&y]).unwrap();
    engine.queue().submit([encoder.finish()]);
    assert_eq!(y.to_vec::<f32>().unwrap(), network.run(&[&x]).unwrap()[0].to_vec::<f32>().unwrap());
    let wrong = engine.zeros(&TensorDesc::f32(&[1, 11])).unwrap();
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    assert_eq!(network.encode(&mut encoder, &[&x], &[&wrong]).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Positions inside, at the border, and far outside.
#[test]
fn elements_are_sampled_where_a_grid_says() {
    let engine = engine();
    for (shape, grid) in
        [(vec![2, 3, 5, 6], vec![2, 4, 7, 2]), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 3]), (vec![1, 1, 1, 1], vec![1, 3, 3, 2])]
    {
        let scaled = random(&grid, 3).to_f32().into_iter().map(|number| 1.6 * number).collect::<Vec<_>>();
        let mut places = scaled.clone();
        places[..6].copy_from_slice(&[-1.0, 1.0, 0.0, 1e9, -1e9, 0.5]);
        for places in [scaled, places] {
            for mode in [SampleMode::Linear, SampleMode::Cubic] {
                for padding in [SamplePadding::Zeros, SamplePadding::Border, SamplePadding::Reflection] {
                    for align_corners in [false, true] {
                        if mode == SampleMode::Cubic && shape.len() > 4
                            || padding == SamplePadding::Reflection && places[3] == 1e9
                        {
                            continue;
                        }
                        let op = Op::GridSample { mode, padding, align_corners };
                        let mut single = Single::new(op, &[&shape, &grid], &[]);
                        single.inputs[1] = Value::new(&grid, places.clone()).unwrap();
                        single.check(&engine).unwrap();
                    }
                }
            }
        }
    }
}

/// Where functions of numbers end, and where formulas for them overflow on the way.
#[test]
fn functions_are_right_at_the_ends_of_their_numbers() {
    let engine = engine();
    let mut wrong = Vec::new();
    let mut check = |op: Op, lists: &[Vec<f32>]| {
        let mut graph = Graph::new("ends");
        let inputs: Vec<Value> = lists.iter().map(|list| Value::new(&[list.len()], list.clone()).unwrap()).collect();
        let ids: Vec<ValueId> =
            (0..inputs.len()).map(|number| graph.input(&format!("x{number}"), &dims(inputs[0].shape()))).collect();
        let y = graph.apply(op.clone(), &ids);
        graph.output("y", y);
        let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
        let [got, wanted] = [network.run_values(&inputs), network.run_reference(&inputs)].map(|list| list.unwrap()[0].to_f32());
        for (at, (got, wanted)) in got.into_iter().zip(wanted).enumerate() {
            // Vulkan's exp(x) may be 2 |x| + 3 units off.
            let bound = if wanted.abs() < 1e4 { 3e-6 * wanted.abs().max(0.05) } else { 3e-5 * wanted.abs() };
            let same = got == wanted || got.is_nan() && wanted.is_nan() || (got - wanted).abs() <= bound;
            if !same {
                wrong.push(format!(
                    "{op:?} of {:?}: {got} and not {wanted}",
                    lists.iter().map(|list| list[at]).collect::<Vec<_>>()
                ));
            }
        }
    };
    let both = |list: &[f32]| list.iter().flat_map(|&x| [x, -x]).collect::<Vec<f32>>();
    let wide = both(&[0.0, 1e-30, 0.3, 1.0, 20.0, 87.0, 88.5, 89.0, 89.4, 89.5, 100.0, 1e8, 1e19, 3e38, f32::INFINITY, f32::NAN]);
    for unary in [
        Unary::Exp,
        Unary::Sinh,
        Unary::Cosh,
        Unary::Asinh,
        Unary::Erf,
        Unary::Atan,
        Unary::Reciprocal,
        Unary::Sign,
        Unary::Round,
    ] {
        check(Op::Unary(unary), std::slice::from_ref(&wide));
    }
    let from_one: Vec<f32> = wide.iter().copied().filter(|x| *x >= 1.0 || x.is_nan()).collect();
    check(Op::Unary(Unary::Acosh), &[from_one]);
    check(Op::Unary(Unary::Log), &[vec![1e-30, 0.5, 1.0, 3e38, 0.0, f32::INFINITY, f32::NAN]]);
    let to_one = both(&[0.0, 1e-30, 0.1, 0.2, 0.3, 0.7, 0.99, 0.999_999, 1.0]);
    for unary in [Unary::Asin, Unary::Acos, Unary::Atanh] {
        check(Op::Unary(unary), std::slice::from_ref(&to_one));
    }
    let turns = both(&[0.0, 1e-3, 3.0, 100.0, 1e4, 1e5]);
    for unary in [Unary::Sin, Unary::Cos, Unary::Tan] {
        check(Op::Unary(unary), std::slice::from_ref(&turns));
    }
    // Written for finite numbers.
    let finite: Vec<f32> = wide.iter().copied().filter(|x| !x.is_infinite()).collect();
    for activation in [
        "relu",
        "relu6",
        "elu(0.5)",
        "selu",
        "celu(0.5)",
        "sigmoid",
        "hard_sigmoid(0.2,0.5)",
        "tanh",
        "silu",
        "hard_swish",
        "gelu",
        "softplus",
        "softsign",
        "mish",
    ] {
        check(Op::Activation(activation.parse().unwrap()), std::slice::from_ref(&finite));
    }
    let dividends = both(&[0.0, 1.0, 6.0, 7.5, 9.0, 1e8, 16_777_216.0, 3e38, f32::INFINITY, f32::NAN]);
    for divisor in both(&[0.1, 1.0, 3.0, 7.0, 1e8, f32::INFINITY, 0.0]) {
        for binary in [Binary::Mod, Binary::Fmod] {
            check(Op::Binary(binary), &[dividends.clone(), vec![divisor; dividends.len()]]);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn inputs_and_results_go_by_their_names() {
    let engine = engine();
    let mut graph = Graph::new("named");
    let (a, b) = (graph.input("a", &dims(&[2])), graph.input("b", &dims(&[2])));
    let difference = graph.apply(Op::Binary(Binary::Sub), &[a, b]);
    let quotient = graph.apply(Op::Binary(Binary::Div), &[a, b]);
    graph.output("difference", difference);
    graph.output("quotient", quotient);
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    let [x, y] = [[8.0, 9.0], [2.0, 3.0]].map(|list| engine.upload(&list, &TensorDesc::f32(&[2])).unwrap());
    let results = network.run_named(&[("b", &y), ("a", &x)]).unwrap();
    let results: Vec<_> = results.iter().map(|(name, tensor)| (name.as_str(), tensor.to_vec::<f32>().unwrap())).collect();
    assert_eq!(results, [("difference", vec![6.0, 6.0]), ("quotient", vec![4.0, 3.0])]);
    let wide = engine.upload(&[0.0; 3], &TensorDesc::f32(&[3])).unwrap();
    for (inputs, words) in [
        (vec![("a", &x)], ["lack `b`", ""]),
        (vec![("a", &x), ("b", &y), ("a", &x)], ["`a` more than once", ""]),
        (vec![("a", &x), ("c", &y)], ["`c`", "a, b"]),
        (vec![("b", &wide), ("a", &x)], ["`b` is 3 f32", "2 f32"]),
    ] {
        let error = network.run_named(&inputs).unwrap_err();
        assert!(error.field() == Some("inputs") && words.iter().all(|word| error.message().contains(word)), "{error}");
    }
}

/// A table of words: indices that come from the host are checked there, and those that only the device has name nothing where they are
/// outside.
#[test]
fn an_index_outside_of_its_axis_is_an_error_or_nothing() {
    let engine = engine();
    let mut graph = Graph::new("words");
    let words = graph.input_of("words", ElementType::I64, &dims(&[4]));
    let numbers = graph.input("numbers", &dims(&[1, 6]));
    let table = graph.constant("table", Value::new(&[3, 2], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap());
    let rows = graph.apply(Op::Gather { axis: 0 }, &[table, words]);
    let largest = graph.apply(Op::ArgReduce { min: false, axis: 1, keep_dims: false, last: false }, &[numbers]);
    let row = graph.apply(Op::Gather { axis: 0 }, &[table, largest]);
    let column = graph.apply(Op::Gather { axis: 1 }, &[table, largest]);
    for (name, value) in [("rows", rows), ("row", row), ("column", column)] {
        graph.output(name, value);
    }
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    assert!(network.host_nodes().is_empty() && network.explain().contains("one submission"), "{}", network.explain());
    let run = |words: &[i64], largest: usize| {
        let numbers: Vec<f32> = (0..6).map(|at| if at == largest { 1.0 } else { 0.0 }).collect();
        let results = network.run_values(&[Value::list(words), Value::new(&[1, 6], numbers).unwrap()])?;
        Ok::<_, wgconv::Error>(results.iter().map(Value::to_f32).collect::<Vec<_>>())
    };
    assert_eq!(
        run(&[2, 0, -1, -3], 1).unwrap(),
        [vec![5.0, 6.0, 1.0, 2.0, 5.0, 6.0, 1.0, 2.0], vec![3.0, 4.0], vec![2.0, 4.0, 6.0]]
    );
    for outside in [3, -4, 1 << 40] {
        let error = run(&[0, outside, 0, 0], 0).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.field() == Some("indices"), "{error}");
        assert!(error.message().contains(&outside.to_string()) && error.message().contains('3'), "{error}");
    }
    for outside in [3, 5] {
        let results = run(&[0; 4], outside).unwrap();
        assert!(results[1].iter().chain(&results[2]).all(|number| number.is_nan()), "{results:?}");
    }
}

#[test]
fn what_the_host_computes_is_named_and_right() {
    let engine = engine();
    let mut graph = Graph::new("mixed");
    let x = graph.input("x", &[2.into(), 3.into()]);
    let double = graph.apply(Op::Binary(Binary::Add), &[x, x]);
    let whole = graph.apply(Op::Cast(ElementType::I64), &[double]);
    let back = graph.apply(Op::Cast(ElementType::F32), &[whole]);
    let y = graph.apply(Op::Unary(Unary::Neg), &[back]);
    graph.output("y", y);
    graph.output("whole", whole);
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    assert_eq!(network.host_nodes().len(), 2, "{}", network.explain());
    assert!(network.explain().contains("ON THE HOST"));
    let x = Value::new(&[2, 3], vec![0.4f32, 0.6, -1.2, 3.0, -7.9, 100.0]).unwrap();
    let results = network.run_values(&[x]).unwrap();
    assert_eq!(results[0].to_f32(), [0.0, -1.0, 2.0, -6.0, 15.0, -200.0]);
    assert_eq!(results[1].data(), &Data::I64(vec![0, 1, -2, 6, -15, 200]));
}

#[test]
fn what_cannot_be_planned_or_run_is_an_error_with_its_numbers() {
    let engine = engine();
    let graph = residual_network();
    let unknown = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap_err();
    assert!(unknown.kind() == ErrorKind::Unsupported && unknown.message().contains("`N`"), "{unknown}");
    let limited = NetworkDesc { memory_limit: Some(1000), ..with_batch(1) };
    let error = Network::new(&engine, &graph, &limited).unwrap_err();
    assert!(error.kind() == ErrorKind::OutOfMemory && error.message().contains("1000"), "{error}");
    let network = Network::new(&engine, &graph, &with_batch(1)).unwrap();
    for (inputs, word) in [(vec![], "0"), (vec![random(&[2, 4, 12, 12], 1)], "[1, 4, 12, 12]")] {
        let error = network.run_values(&inputs).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains(word), "{error}");
    }
    let mut graph = Graph::new("wrong");
    let x = graph.input("x", &[1.into(), 3.into(), 8.into(), 8.into()]);
    let w = graph.constant("w", random(&[4, 2, 3, 3], 1));
    let y = graph.conv(&ConvDesc::new(2, 4, [3, 3]), x, w, None);
    graph.output("y", y);
    let far = graph.apply(Op::Transpose { permutation: vec![0, 1] }, &[x]);
    let behind = graph.apply(Op::Unary(Unary::Neg), &[far]);
    graph.output("far", behind);
    // Both that are wrong, and not the one that only lies behind.
    let error = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap_err();
    assert!(error.message().contains("node Conv") && error.message().contains("node Transpose"), "{error}");
    assert_eq!(error.message().lines().count(), 2, "{error}");
}

/// Batches, parts and sums of nothing: their results are empty, or zeros.
#[test]
fn nothing_is_computed_of_nothing() {
    let engine = engine();
    let constant = |shape: &[usize]| random(shape, 9);
    let pool = |desc: PoolDesc| Op::Pool(desc);
    let gemm = Op::Gemm { alpha: 1.0, beta: 2.0, trans_a: false, trans_b: false };
    let cases = [
        (Op::Conv(ConvOp::default()), vec![vec![0, 3, 5, 5]], vec![constant(&[4, 3, 3, 3])], 1),
        (Op::Conv(ConvOp { transposed: true, ..ConvOp::default() }), vec![vec![0, 3, 5]], vec![constant(&[3, 4, 3])], 1),
        (pool(PoolDesc::max([2, 2])), vec![vec![0, 3, 5, 5]], vec![], 2),
        (pool(PoolDesc::average([2, 2])), vec![vec![0, 3, 5, 5]], vec![], 1),
        (Op::MatMul, vec![vec![5, 0]], vec![constant(&[0, 3])], 1),
        (Op::MatMul, vec![vec![5, 0], vec![0, 3]], vec![], 1),
        (gemm, vec![vec![5, 0]], vec![constant(&[0, 3]), constant(&[3])], 1),
        (Op::Split { axis: 0 }, vec![vec![4, 3]], vec![Value::list(&[4, 0])], 2),
        (Op::Split { axis: 1 }, vec![vec![2, 4]], vec![Value::list(&[2, 0, 2])], 3),
        (Op::Split { axis: 0 }, vec![vec![5, 2]], vec![], 4),
    ];
    for (op, shapes, constants, outputs) in cases {
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        let single = Single { outputs, ..Single::new(op.clone(), &shapes, &constants) };
        let network =
            Network::new(&engine, &single.graph(), &NetworkDesc::default()).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        let got = network.run_values(&single.inputs).unwrap();
        assert_eq!(got, network.run_reference(&single.inputs).unwrap(), "{op:?}");
    }
    // Numbers that a kernel's text cannot hold.
    for op in [
        Op::GroupNorm { groups: 1, epsilon: f32::INFINITY },
        Op::Activation(Activation::HardSigmoid { alpha: f32::NAN, beta: 0.0 }),
    ] {
        let single = Single::new(op.clone(), &[&[1, 2, 3]], &[constant(&[2]), constant(&[2])]);
        let error = single.graph().bind(&Bindings::default()).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("finite"), "{error}");
    }
}

#[test]
fn what_fits_no_graph_is_an_error_and_no_panic() {
    let (mut small, mut large) = (Graph::new("small"), Graph::new("large"));
    let x = small.input("x", &["N".into(), 4.into(), 8.into(), 8.into()]);
    let mut far = large.input("x", &dims(&[1, 4]));
    for _ in 0..5 {
        far = large.apply(Op::Unary(Unary::Neg), &[far]);
    }
    // A value of another graph.
    let mut foreign = small.clone();
    let y = foreign.apply(Op::Unary(Unary::Neg), &[far]);
    foreign.set_name(far, "far");
    foreign.output("y", y);
    assert!(foreign.to_string().contains("Neg") && foreign.constant_output("y").is_none());
    // Channels that the weights have not, two inputs of one name, symbols that there are none of, or twice.
    let conv = |from: usize, to: usize| {
        let mut graph = small.clone();
        let weights = graph.constant("w", random(&[4, 4, 3, 3], 1));
        let y = graph.conv(&ConvDesc::new(from, to, [3, 3]), x, weights, None);
        graph.output("y", y);
        graph
    };
    let mut twice = conv(4, 4);
    twice.input("x", &dims(&[1]));
    let n = |size: usize| ("N".to_string(), size);
    let cases = [
        (&foreign, vec![n(1)], "graph", "another graph"),
        (&conv(3, 4), vec![n(1)], "in_channels", "is 3, but"),
        (&conv(4, 5), vec![n(1)], "out_channels", "is 5, but"),
        (&twice, vec![n(1)], "graph", "`x`"),
        (&conv(4, 4), vec![n(1), ("M".into(), 1)], "dims", "`M`"),
        (&conv(4, 4), vec![n(1), n(3)], "dims", "more than once"),
    ];
    for (graph, dims, field, word) in cases {
        let error = graph.bind(&Bindings { dims, ..Default::default() }).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.field() == Some(field) && error.message().contains(word), "{error}");
    }
    assert!(conv(4, 4).bind(&Bindings { dims: vec![n(2)], ..Default::default() }).is_ok());
}

/// 136 MB of floats, where lavapipe and WebGPU bind 128 MiB.
#[test]
fn what_no_binding_holds_is_computed_in_parts_or_on_the_host_or_refused_with_the_numbers() {
    let engine = Engine::new(&EngineDesc { webgpu_limits: true, ..Default::default() }).unwrap_or_else(|error| panic!("{error}"));
    let mut graph = Graph::new("large");
    let x = graph.input("x", &dims(&[40_000]));
    let shape = graph.constant("shape", Value::list(&[850, 40_000]));
    let wide = graph.apply(Op::Expand, &[x, shape]);
    let axes = graph.constant("axes", Value::list(&[0]));
    let mean = graph.apply(Op::Reduce { kind: Reduce::Mean, keep_dims: false, noop_with_empty_axes: false }, &[wide, axes]);
    graph.output("mean", mean);
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    assert!(network.host_nodes().is_empty(), "{}", network.explain());
    let x = random(&[40_000], 1);
    let got = network.run_values(std::slice::from_ref(&x)).unwrap()[0].to_f32();
    assert!(got.iter().zip(x.to_f32()).all(|(a, b)| (a - b).abs() < 1e-6));
    // A single row that no binding holds is reduced in slices.
    let axes = graph.constant("axes", Value::list(&[0, 1]));
    let mean = graph.apply(Op::Reduce { kind: Reduce::Mean, keep_dims: false, noop_with_empty_axes: false }, &[wide, axes]);
    graph.output("all", mean);
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    assert!(network.host_nodes().is_empty(), "{}", network.explain());
    let got = network.run_values(std::slice::from_ref(&x)).unwrap()[1].to_f32()[0];
    let wanted = x.to_f64().iter().sum::<f64>() / 40_000.0;
    assert!((f64::from(got) - wanted).abs() < 1e-6, "{got} {wanted}");

    let pooling = |desc: &PoolDesc, shape: &[usize]| {
        let mut graph = Graph::new("large");
        let x = graph.input("x", &dims(shape));
        let pool = graph.pool(desc, x);
        graph.output("y", pool);
        Network::new(&engine, &graph, &NetworkDesc::default())
    };
    let network = pooling(&PoolDesc::max([2, 2]), &[1, 8, 2100, 2100]).unwrap();
    assert!(network.explain().contains("by groups into 2 parts"), "{}", network.explain());
    let error = pooling(&PoolDesc::adaptive_max([8, 8]), &[1, 1, 5940, 5940]).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("141134400"), "{error}");
}

#[test]
fn a_profile_has_a_time_for_every_node() {
    let engine = engine();
    let network = Network::new(&engine, &residual_network(), &with_batch(1)).unwrap();
    let profile = network.profile(&[random(&[1, 4, 12, 12], 1)]).unwrap();
    assert_eq!(profile.layers.len(), 10, "{profile}");
    assert!(profile.total_ns() > 0.0 && profile.layers.iter().filter(|layer| layer.flop > 0).count() == 10, "{profile}");
    assert!(profile.to_trace_json().contains("\"traceEvents\""));
}
