//! Products of quantised numbers on a device, through subgroups and through workgroup memory: equal to the reference's integers.

mod support;

use support::{Random, by_reference};
use wgconv::{
    Activation, Binary, Bindings, ConvOp, Data, Dim, ElementType, Engine, EngineDesc, Graph, Network, NetworkDesc, Op, Pads,
    Value, passes,
};

/// Random bytes of a type.
fn bytes(element: ElementType, shape: &[usize], random: &mut Random) -> Value {
    let count = shape.iter().product();
    let list = std::iter::repeat_with(|| random.bits() as u8).take(count);
    let data: Data = match element {
        ElementType::U8 => list.collect::<Vec<u8>>().into(),
        _ => list.map(u8::cast_signed).collect::<Vec<i8>>().into(),
    };
    Value::new(shape, data).unwrap()
}

/// An operation and its operands; `None` is an optional one that is left out.
struct Case {
    op: Op,
    operands: Vec<Option<Value>>,
    /// How many of the operands are inputs of the graph; the others are constants.
    inputs: usize,
}

impl Case {
    fn values(&self) -> Vec<Value> {
        self.operands[..self.inputs].iter().flatten().cloned().collect()
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new("quantised");
        let mut ids = Vec::new();
        for (number, operand) in self.operands.iter().enumerate() {
            ids.push(operand.as_ref().map(|value| {
                if number < self.inputs {
                    let shape: Vec<Dim> = value.shape().iter().map(|&size| size.into()).collect();
                    graph.input_of(&format!("x{number}"), value.element(), &shape)
                } else {
                    graph.constant("", value.clone())
                }
            }));
        }
        let [y] = graph.apply_many("", self.op.clone(), &ids, 1)[..] else { unreachable!("one result") };
        graph.output("y", y);
        graph
    }

    /// How it is computed on a device, or what is wrong there.
    fn check(&self, engine: &Engine) -> Result<String, String> {
        let shapes: Vec<_> = self.operands.iter().map(|operand| operand.as_ref().map(|value| value.shape().to_vec())).collect();
        let about = |what: String| format!("{:?} of {shapes:?}, {} inputs: {what}", self.op, self.inputs);
        let network = Network::new(engine, &self.graph(), &NetworkDesc::default()).map_err(|error| about(error.to_string()))?;
        if !network.host_nodes().is_empty() {
            return Err(about("ran on the host".into()));
        }
        let found = network.run_values(&self.values()).map_err(|error| about(error.to_string()))?.remove(0);
        let expected = network.run_reference(&self.values()).map_err(|error| about(error.to_string()))?.remove(0);
        let (found_list, expected_list) = (found.to_f64(), expected.to_f64());
        match found_list.iter().zip(&expected_list).position(|(a, b)| a != b) {
            None if found.shape() == expected.shape() => Ok(network.explain()),
            None => Err(about(format!("has shape {:?}, expected {:?}", found.shape(), expected.shape()))),
            Some(at) => Err(about(format!("element {at} is {}, expected {}", found_list[at], expected_list[at]))),
        }
    }
}

/// Checks cases with subgroups, where the adapter has them, and within WebGPU's limits; how a software adapter computed them.
fn check_all(cases: &[Case]) -> String {
    let (mut wrong, mut texts) = (Vec::new(), String::new());
    for webgpu_limits in [false, true] {
        let engine = Engine::new(&EngineDesc { webgpu_limits, ..Default::default() }).unwrap_or_else(|error| panic!("{error}"));
        println!("{}", engine.adapter());
        for case in cases {
            match case.check(&engine) {
                Ok(text) if engine.is_software() => texts += &text,
                Ok(_) => {}
                Err(error) => wrong.push(error),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} checks:\n{}", wrong.len(), 2 * cases.len(), wrong.join("\n"));
    texts
}

const TYPES: [ElementType; 2] = [ElementType::U8, ElementType::I8];

#[test]
fn convolutions_of_bytes_are_exact_in_every_form() {
    let mut random = Random::new(1);
    let mut cases = Vec::new();
    let conv = |pads: &[usize], stride: &[usize], dilation: &[usize], groups: usize| ConvOp {
        padding: Pads::Explicit(pads.to_vec()),
        stride: stride.to_vec(),
        dilation: dilation.to_vec(),
        groups,
        ..ConvOp::default()
    };
    let forms: Vec<(ConvOp, &[usize], &[usize])> = vec![
        (conv(&[1, 0, 0, 1], &[1, 1], &[1, 1], 1), &[1, 8, 5, 4], &[6, 8, 3, 3]),
        (conv(&[1, 1, 1, 1], &[2, 1], &[1, 2], 2), &[2, 10, 9, 8], &[14, 5, 3, 3]),
        (conv(&[2, 0], &[3], &[2], 3), &[2, 9, 20], &[12, 3, 4]),
        (conv(&[0, 1, 1, 1, 0, 1], &[1, 2, 1], &[1, 1, 1], 1), &[1, 3, 4, 6, 5], &[5, 3, 2, 3, 3]),
        (conv(&[0, 0, 0, 0], &[1, 1], &[1, 1], 1), &[3, 37, 6, 7], &[33, 37, 1, 1]),
        (conv(&[0, 0, 0, 0], &[1, 1], &[1, 1], 1), &[2, 5, 4, 3], &[9, 5, 4, 3]),
        (conv(&[1, 1, 1, 1], &[2, 2], &[1, 1], 6), &[1, 6, 9, 9], &[12, 1, 3, 3]),
        (conv(&[0, 0], &[1], &[1], 4), &[1, 4, 300], &[4, 1, 290]),
        // 67 words: past a step of the loop, and no whole turns.
        (conv(&[0, 0, 0, 0], &[1, 1], &[1, 1], 1), &[2, 268, 5, 3], &[9, 268, 1, 1]),
        // More than 65,536 products: what halves of four bits could not sum.
        (conv(&[1, 1, 1, 1], &[1, 1], &[1, 1], 1), &[1, 8000, 3, 3], &[3, 8000, 3, 3]),
    ];
    for (number, (op, x, w)) in forms.into_iter().enumerate() {
        for (element_x, element_w) in TYPES.iter().flat_map(|&x| TYPES.map(|w| (x, w))) {
            // All four pairs of types on the first, one on each of the others.
            let turn = element_x as usize + element_w as usize * 2 + number;
            if number > 0 && !turn.is_multiple_of(4) && x[1] != 10 {
                continue;
            }
            let (x, w) = (bytes(element_x, x, &mut random), bytes(element_w, w, &mut random));
            let zero_x = bytes(element_x, &[], &mut random);
            let filters = w.shape()[0];
            let zero_w =
                if number % 2 == 0 { bytes(element_w, &[filters], &mut random) } else { bytes(element_w, &[1], &mut random) };
            let optional = (number != 4).then(|| zero_w.clone());
            let operands = vec![Some(x.clone()), Some(w.clone()), Some(zero_x.clone()), optional];
            // The weights once as a constant, once as an input, whose zero point may be one too.
            cases.push(Case { op: Op::ConvInteger(op.clone()), operands: operands.clone(), inputs: 1 });
            let inputs = if number == 1 { 4 } else { 2 };
            cases.push(Case { op: Op::ConvInteger(op.clone()), operands, inputs });
            let of_filters = |values: Vec<f32>| Value::new(&[filters], values).unwrap();
            let scales = of_filters((0..filters).map(|filter| 0.002 * (filter + 1) as f32).collect());
            let bias =
                Value::new(&[filters], (0..filters).map(|filter| filter as i32 * 5000 - 9000).collect::<Vec<_>>()).unwrap();
            let zero_y = bytes(element_x, &[], &mut random);
            let zero_w = if zero_w.len() == filters { zero_w } else { bytes(element_w, &[filters], &mut random) };
            let parameters = [Value::scalar(0.02f32), zero_x, w, scales, zero_w, Value::scalar(0.7f32), zero_y, bias];
            let operands = std::iter::once(x).chain(parameters).map(Some).collect();
            cases.push(Case { op: Op::QLinearConv(op.clone()), operands, inputs: 1 });
        }
    }
    // Groups of few channels: tiles without workgroup memory where there are no subgroups.
    let (x, w) = (bytes(TYPES[0], &[1, 32, 12, 12], &mut random), bytes(TYPES[1], &[32, 4, 3, 3], &mut random));
    let op = Op::ConvInteger(conv(&[1, 1, 1, 1], &[1, 1], &[1, 1], 8));
    cases.push(Case { op, operands: vec![Some(x), Some(w)], inputs: 1 });
    let texts = check_all(&cases);
    let registers = texts.lines().any(|line| line.contains("_bytes ") && line.contains(",b0"));
    assert!(registers || texts.is_empty(), "{texts}");
    // Known weights of software adapters are multiplied in f32 where that is exact, and scaled where they are stored.
    let quantised: Vec<&str> = texts.lines().filter(|line| line.contains("QLinearConv")).collect();
    let in_floats = quantised.iter().filter(|line| !line.contains("bytes") && !line.contains("saturate")).count();
    assert!(texts.is_empty() || in_floats >= 5 && in_floats < quantised.len(), "{in_floats} in floats of {}", quantised.len());
    assert!(cases.len() > 35, "{}", cases.len());
}

#[test]
fn matrix_products_of_bytes_are_exact_with_any_zero_points() {
    let mut random = Random::new(2);
    let mut cases = Vec::new();
    // Two factors, and the shapes of their zero points; none where it is left out.
    type Form = (&'static [usize], &'static [usize], Option<&'static [usize]>, Option<&'static [usize]>);
    let forms: &[Form] = &[
        (&[3, 20], &[20, 5], Some(&[]), Some(&[])),
        (&[3, 21], &[21, 5], None, None),
        (&[3, 1000], &[1000, 5], Some(&[1]), Some(&[5])),
        (&[3, 268], &[268, 5], Some(&[]), Some(&[5])),
        (&[4, 9], &[9, 5], Some(&[4]), Some(&[])),
        (&[4, 9], &[9, 5], Some(&[4]), Some(&[5])),
        (&[2, 4, 9], &[9, 5], Some(&[2, 4, 1]), None),
        (&[2, 3, 70], &[2, 70, 4], Some(&[]), Some(&[])),
        (&[2, 3, 70], &[2, 70, 4], Some(&[2, 3, 1]), Some(&[2, 1, 4])),
        (&[2, 3, 70], &[2, 70, 4], Some(&[2, 1, 1]), Some(&[2, 1, 1])),
        (&[3, 70], &[2, 70, 4], Some(&[3]), Some(&[4])),
        (&[2, 1, 3, 9], &[3, 9, 4], Some(&[2, 1, 3, 1]), Some(&[3, 1, 4])),
        (&[9], &[9, 4], Some(&[]), Some(&[4])),
        (&[2, 3, 9], &[9], Some(&[]), Some(&[])),
        (&[9], &[9], Some(&[]), Some(&[])),
    ];
    for (number, &(a, b, zero_a, zero_b)) in forms.iter().enumerate() {
        let (element_a, element_b) = (TYPES[number % 2], TYPES[number / 2 % 2]);
        let (a, b) = (bytes(element_a, a, &mut random), bytes(element_b, b, &mut random));
        let zero_a = zero_a.map(|shape| bytes(element_a, shape, &mut random));
        let zero_b = zero_b.map(|shape| bytes(element_b, shape, &mut random));
        let operands = vec![Some(a.clone()), Some(b.clone()), zero_a.clone(), zero_b.clone()];
        for inputs in [1, 2] {
            cases.push(Case { op: Op::MatMulInteger, operands: operands.clone(), inputs });
        }
        if zero_a.is_some() && zero_b.is_some() && a.shape().len() > 1 {
            cases.push(Case { op: Op::MatMulInteger, operands: operands.clone(), inputs: 4 });
            let y = [Value::scalar(40.0f32), bytes(ElementType::U8, &[], &mut random)].map(Some);
            let scale = |value: f32| Some(Value::scalar(value));
            let operands =
                [[Some(a), scale(0.1), zero_a], [Some(b), scale(0.2), zero_b]].into_iter().flatten().chain(y).collect();
            cases.push(Case { op: Op::QLinearMatMul, operands, inputs: 1 });
        }
    }
    check_all(&cases);
    assert!(cases.len() > 40, "{}", cases.len());
}

/// Layers as exporters write them: dequantised numbers in, quantised numbers out.
#[test]
fn layers_between_quantisations_are_exact_too() {
    let mut random = Random::new(3);
    let mut graph = Graph::new("exported");
    let shape = [2, 3, 9, 8];
    let mut y = graph.input_of("x", ElementType::U8, &shape.map(Dim::from));
    let mut scale = 0.02f32;
    let mut zero = graph.constant("", Value::scalar(119u8));
    let dequantize = |axis| Op::DequantizeLinear { axis, block: 0 };
    let layers: [(&[usize], usize, bool); 4] =
        [(&[8, 3, 3, 3], 1, true), (&[8, 1, 3, 3], 8, true), (&[12, 8, 1, 1], 1, false), (&[6, 6, 3, 3], 2, false)];
    for (number, (weights, groups, relu)) in layers.into_iter().enumerate() {
        let x_scale = graph.constant("", Value::scalar(scale));
        let x = graph.apply(dequantize(1), &[y, x_scale, zero]);
        let scales: Vec<f32> = (0..weights[0]).map(|filter| 0.002 + 0.0001 * filter as f32).collect();
        let in_steps: Vec<f32> = scales.iter().map(|step| step * scale).collect();
        let w = graph.constant("", bytes(ElementType::I8, weights, &mut random));
        let w_scale = graph.constant("", Value::new(&[weights[0]], scales).unwrap());
        let w = graph.apply(dequantize(0), &[w, w_scale]);
        let bias: Vec<i32> = (0..weights[0]).map(|filter| filter as i32 * 900 - 3000).collect();
        let bias = graph.constant("", Value::new(&[weights[0]], bias).unwrap());
        let steps = graph.constant("", Value::new(&[weights[0]], in_steps).unwrap());
        let bias = graph.apply(dequantize(0), &[bias, steps]);
        let padding = Pads::Explicit(vec![usize::from(weights[2] == 3); 4]);
        let mut sums = graph.apply(Op::Conv(ConvOp { groups, padding, ..ConvOp::default() }), &[x, w, bias]);
        if relu {
            sums = graph.apply(Op::Activation(Activation::Relu), &[sums]);
        }
        scale = 0.03 + 0.01 * number as f32;
        zero = graph.constant("", Value::scalar(if relu { 0u8 } else { 131 }));
        let step = graph.constant("", Value::scalar(scale));
        y = graph.apply(Op::QuantizeLinear { axis: 1, block: 0, output: ElementType::U8 }, &[sums, step, zero]);
    }
    graph.output("y", y);
    let x = bytes(ElementType::U8, &shape, &mut random);
    for webgpu_limits in [false, true] {
        let engine = Engine::new(&EngineDesc { webgpu_limits, ..Default::default() }).unwrap_or_else(|error| panic!("{error}"));
        let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
        assert!(network.host_nodes().is_empty(), "{}", network.explain());
        let layers = network.explain().lines().filter(|line| line.contains("QLinearConv")).count();
        assert!(layers >= 4, "{}", network.explain());
        let found = network.run_values(std::slice::from_ref(&x)).unwrap().remove(0);
        let in_floats = network.run_reference(std::slice::from_ref(&x)).unwrap().remove(0);
        let bound = graph.bind(&Bindings::default()).unwrap();
        let expected = by_reference(&passes::optimise(&bound), std::slice::from_ref(&x)).unwrap().remove(0);
        let distinct: std::collections::HashSet<u64> = expected.to_f64().iter().map(|number| number.to_bits()).collect();
        assert!(distinct.len() > 20, "the numbers tell nothing: {} of them", distinct.len());
        let wrong = found.to_f64().iter().zip(expected.to_f64()).filter(|(a, b)| **a != *b).count();
        assert_eq!((found.shape(), wrong), (expected.shape(), 0));
        // Sums in floats may lie on the other side of a half, in each of four layers.
        let apart = found.to_f64().iter().zip(in_floats.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart <= 2.0, "{apart} steps from the layers in floats");
    }
}

/// What exporters write around a sum of two quantised numbers: one map, with all six of its scales and zero points as parameters.
#[test]
fn sums_between_quantisations_are_one_step() {
    let mut random = Random::new(4);
    let shape = [2, 5, 7, 6];
    let mut graph = Graph::new("residual");
    let mut constants = |value: Value| graph.constant("", value);
    let scales = [0.02f32, 0.03, 0.025].map(|scale| constants(Value::scalar(scale)));
    let zeros = [constants(Value::scalar(119u8)), constants(Value::scalar(-7i8)), constants(Value::scalar(3u8))];
    let inputs = [("a", ElementType::U8), ("b", ElementType::I8)]
        .map(|(name, element)| graph.input_of(name, element, &shape.map(Dim::from)));
    let [a, b] = [0, 1].map(|at| graph.apply(Op::DequantizeLinear { axis: 1, block: 0 }, &[inputs[at], scales[at], zeros[at]]));
    let sum = graph.apply(Op::Binary(Binary::Add), &[a, b]);
    let sum = graph.apply(Op::Activation(Activation::Relu), &[sum]);
    let y = graph.apply(Op::QuantizeLinear { axis: 1, block: 0, output: ElementType::U8 }, &[sum, scales[2], zeros[2]]);
    let half = graph.constant("", Value::scalar(0.5f32));
    let back = graph.apply(Op::DequantizeLinear { axis: 1, block: 0 }, &[y, scales[2], zeros[2]]);
    let scaled = graph.apply(Op::Binary(Binary::Mul), &[back, half]);
    graph.output("y", y);
    graph.output("scaled", scaled);
    let values = [bytes(ElementType::U8, &shape, &mut random), bytes(ElementType::I8, &shape, &mut random)];
    let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("{error}"));
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    assert!(network.host_nodes().is_empty() && network.explain().matches(" map ").count() == 2, "{}", network.explain());
    let (found, expected) = (network.run_values(&values).unwrap(), network.run_reference(&values).unwrap());
    let largest =
        |at: usize| found[at].to_f64().iter().zip(expected[at].to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(largest(0) <= 1.0 && largest(1) <= 0.5 * 0.025 + 1e-6, "{} {}", largest(0), largest(1));
    let distinct: std::collections::HashSet<u64> = expected[0].to_f64().iter().map(|number| number.to_bits()).collect();
    assert!(distinct.len() > 20, "the numbers tell nothing: {} of them", distinct.len());
    let verified = network.verify(&values).unwrap();
    assert!(verified.passed(), "{verified}");
}
