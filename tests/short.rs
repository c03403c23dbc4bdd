//! One submission stays short: what is predicted to take longer than `EngineDesc::submission_bound` goes to the device in several, a
//! long layer in parts, and results are the same to the bit.

use std::time::Duration;

use wgconv::{
    Activation, ConvDesc, Engine, EngineDesc, Graph, IndexOrder, Network, NetworkDesc, Op, Plan, PoolDesc, PoolKind, Problem,
    Tensor, TensorDesc, Value, Weights,
};

fn engine(bound: Option<Duration>) -> Engine {
    let desc = EngineDesc { submission_bound: bound, ..Default::default() };
    Engine::new(&desc).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

/// One for which this plan is three times too long.
fn hasty(plan: &Plan) -> Engine {
    engine(Some(Duration::from_nanos(plan.nanoseconds / 3)))
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|number| ((number * 7919) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Of pictures of 64 channels.
const ROWS: usize = 24;

#[test]
fn a_long_layer_is_computed_in_parts_and_submissions_with_the_same_bits() {
    let patient = engine(None);
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(64, 64, [3, 3]) };
    let input = TensorDesc::f32(&[2, 64, ROWS, 24]);
    let problem = Problem::conv(&desc, &input);
    let (image, kernel) = (numbers(2 * 64 * ROWS * 24), numbers(64 * 64 * 9));
    let weights = Weights { kernel: &kernel, ..Default::default() };
    let mut names = Vec::new();
    for algorithm in patient.candidates(&problem).unwrap().algorithms {
        if names.contains(&algorithm.name()) {
            continue;
        }
        names.push(algorithm.name());
        let hasty = hasty(&patient.plan(&problem, &algorithm).unwrap());
        let [whole, parts] = [&patient, &hasty].map(|engine| engine.conv_with(&desc, &input, weights, &algorithm).unwrap());
        assert!(whole.plan().split.is_none() && parts.plan().split.is_some(), "{algorithm}");
        let run = |engine: &Engine, conv: &wgconv::Conv| bits(&conv.run(&engine.upload(&image, &input).unwrap()).unwrap());
        assert_eq!(run(&patient, &whole), run(&hasty, &parts), "{algorithm}");
        parts.profile(&hasty.upload(&image, &input).unwrap()).unwrap();
    }
    assert!(names.len() > 2);
    let short = patient.explain(&problem).unwrap();
    let long = hasty(&short.plan).explain(&problem).unwrap();
    assert_eq!(short.submissions, 1);
    assert!(!short.to_string().contains("submits"), "{short}");
    assert!(long.submissions > 2, "{long}");
    assert!(long.to_string().contains(&format!("submits    {} times", long.submissions)), "{long}");
}

#[test]
fn a_long_pooling_numbers_its_positions_as_a_short_one_does() {
    let input = TensorDesc::f32(&[2, 96, 96, 96]);
    let kind = PoolKind::Max { indices: Some(IndexOrder::Tensor) };
    let desc = PoolDesc { kind, stride: [1, 1].into(), ..PoolDesc::max([3, 3]) };
    let image = numbers(2 * 96 * 96 * 96);
    let patient = engine(None);
    let hasty = hasty(&patient.explain(&Problem::pool(&desc, &input)).unwrap().plan);
    let results = [patient, hasty].map(|engine| {
        let pool = engine.pool(&desc, &input).unwrap();
        let (largest, positions) = pool.run_with_indices(&engine.upload(&image, &input).unwrap()).unwrap();
        (pool.plan().split.is_some(), bits(&largest), positions.to_vec::<i32>().unwrap())
    });
    assert_eq!((results[0].0, results[1].0), (false, true));
    assert!(results[0].1 == results[1].1 && results[0].2 == results[1].2);
}

#[test]
fn a_long_network_is_several_submissions_and_gives_the_same_bits() {
    let mut graph = Graph::new("long");
    let x = graph.input("x", &[2.into(), 64.into(), ROWS.into(), 24.into()]);
    let mut y = x;
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(64, 64, [3, 3]) };
    for layer in 0..3 {
        let kernel = numbers(64 * 64 * 9).into_iter().map(|number| number / 100.0 * (layer + 1) as f32).collect::<Vec<_>>();
        let kernel = graph.constant("", Value::new(&[64, 64, 3, 3], kernel).unwrap());
        y = graph.conv(&desc, y, kernel, None);
        y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    }
    graph.output("y", y);
    let image = Value::new(&[2, 64, ROWS, 24], numbers(2 * 64 * ROWS * 24)).unwrap();
    let patient = engine(None);
    let problem = Problem::conv(&desc, &TensorDesc::f32(&[2, 64, ROWS, 24]));
    let hasty = hasty(&patient.explain(&problem).unwrap().plan);
    let results = [patient, hasty].map(|engine| {
        let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
        let text = network.explain();
        let once = text.contains("one submission a run");
        assert!(once || text.contains("submissions a run"), "{text}");
        let profile = network.profile(std::slice::from_ref(&image)).unwrap();
        assert_eq!(profile.layers.len(), network.graph().node_count());
        let list = network.run_values(std::slice::from_ref(&image)).unwrap()[0].to_f32();
        (once, list.into_iter().map(f32::to_bits).collect::<Vec<_>>())
    });
    assert_eq!(results[0].1, results[1].1);
    assert!(results[0].0 && !results[1].0);
}
