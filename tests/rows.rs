//! Reductions and normalisations: every kind over rows that are loaded by fours, along and across, and one by one, by one invocation or by
//! several, on a device planned for as it is and as a GPU.

use wgconv::{
    DeviceClass, ElementType, Engine, EngineDesc, Graph, Network, NetworkDesc, Op, Reduce, SoftmaxKind, Value, ValueId,
};

mod support;
use support::{Random, dims, floats};

const REDUCTIONS: [Reduce; 9] = [
    Reduce::Sum,
    Reduce::Mean,
    Reduce::Max,
    Reduce::Min,
    Reduce::Prod,
    Reduce::L1,
    Reduce::L2,
    Reduce::SumSquare,
    Reduce::LogSumExp,
];

fn engines() -> [Engine; 2] {
    [None, Some(DeviceClass::Discrete)]
        .map(|class| Engine::new(&EngineDesc { class, ..Default::default() }).unwrap_or_else(|error| panic!("{error}")))
}

fn reduction(kind: Reduce) -> Op {
    Op::Reduce { kind, keep_dims: false, noop_with_empty_axes: false }
}

/// All operations of one input as one graph.
fn graph_of(shape: &[usize], element: ElementType, add: &dyn Fn(&mut Graph, ValueId)) -> Graph {
    let mut graph = Graph::new("rows");
    let x = graph.input_of("x", element, &dims(shape));
    add(&mut graph, x);
    graph
}

fn reductions_along(graph: &mut Graph, x: ValueId, axes: &[i64], kinds: &[Reduce]) {
    let axes = graph.constant("axes", Value::list(axes));
    for &kind in kinds {
        let y = graph.apply(reduction(kind), &[x, axes]);
        graph.output(&format!("{kind:?}"), y);
    }
}

fn along_one_axis(graph: &mut Graph, x: ValueId, axis: i64, all: bool) {
    let mut add = |name: String, op: Op| {
        let y = graph.apply(op, &[x]);
        graph.output(&name, y);
    };
    add("arg max".into(), Op::ArgReduce { min: false, axis, keep_dims: false, last: true });
    add("softmax".into(), Op::Softmax { kind: SoftmaxKind::Softmax, axis, flatten: false });
    if !all {
        return;
    }
    add("arg min".into(), Op::ArgReduce { min: true, axis, keep_dims: false, last: false });
    for kind in [SoftmaxKind::LogSoftmax, SoftmaxKind::Hardmax] {
        add(format!("{kind:?}"), Op::Softmax { kind, axis, flatten: false });
    }
    for p in [1, 2] {
        add(format!("lp {p}"), Op::LpNorm { axis, p });
    }
}

/// Shapes and axes: by fours along rows, also with outer axes; across them; rows that begin between two fours; one by one.
const CASES: [(&[usize], &[i64]); 26] = [
    // More turns of a loop than software drivers count, if an invocation had a row to itself; more elements than a workgroup should walk.
    (&[16, 64, 43, 44], &[0, 2, 3]),
    (&[1050, 1000], &[0, 1]),
    // Few rows of many elements, in parts: all of a tensor, with an axis between, across; at last of a length without divisors.
    (&[2, 6, 130, 200], &[0, 1, 2, 3]),
    (&[60, 2, 3000], &[0, 2]),
    (&[3, 300, 301], &[1, 2]),
    (&[40_000, 8], &[0]),
    (&[300_007], &[0]),
    (&[3, 5, 8], &[2]),
    (&[3, 5, 264], &[2]),
    (&[3, 5, 5000], &[2]),
    (&[40, 3, 1200], &[1, 2]),
    (&[3, 7, 12], &[0, 2]),
    (&[20, 6, 36], &[0, 1, 2]),
    (&[3, 5, 8], &[1]),
    (&[2, 300, 12], &[1]),
    (&[2, 2100, 4], &[1]),
    (&[30, 6, 36], &[0]),
    (&[9, 4, 13, 20], &[0, 2]),
    (&[4, 3, 7, 7], &[2, 3]),
    (&[60, 1, 97], &[2]),
    (&[4, 2, 1501], &[2]),
    (&[12, 9], &[1]),
    (&[3, 5, 7], &[1]),
    (&[3, 5, 7], &[2]),
    (&[3, 901, 7], &[1]),
    (&[5, 3, 307], &[0, 2]),
];

#[test]
fn rows_are_what_the_reference_says_however_they_are_loaded() {
    let mut wrong = Vec::new();
    for engine in engines() {
        println!("{} as {:?}", engine.adapter(), engine.limits().class);
        for element in [ElementType::F32, ElementType::F16] {
            if element == ElementType::F16 && !engine.limits().f16 {
                continue;
            }
            // Elements of 16 bits, and other lanes, are the same functions.
            let all = element == ElementType::F32 && engine.limits().class == DeviceClass::Software;
            for (shape, axes) in CASES.into_iter().step_by(if element == ElementType::F16 { 3 } else { 1 }) {
                let graph = graph_of(shape, element, &|graph, x| {
                    reductions_along(graph, x, axes, if all { &REDUCTIONS } else { &[Reduce::Mean, Reduce::Min, Reduce::Prod] });
                    let y = graph.apply(Op::MeanVarianceNorm { axes: axes.to_vec() }, &[x]);
                    graph.output("mean variance", y);
                    if let &[axis] = axes {
                        along_one_axis(graph, x, axis, all);
                    }
                });
                let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
                assert!(network.host_nodes().is_empty());
                let x = Random::new(3).numbers(shape.iter().product(), -1.0, 1.0);
                let report = network.verify(&[floats(element, shape, x)]).unwrap();
                if !report.passed() {
                    wrong.push(format!("{element:?} {shape:?} along {axes:?}, {:?}: {report}", engine.limits().class));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A NaN is the greatest and the least; infinities are numbers; of equals the first or the last is found.
#[test]
fn extremes_of_rows_with_equals_and_without_numbers() {
    let fill = |row: usize, at: usize, length: usize| match row % 6 {
        0 => f32::NEG_INFINITY,
        1 => f32::INFINITY,
        2 if at == length / 2 || at == length - 1 => f32::NAN,
        3 => ((at * 7) % 3) as f32,
        4 if at % 5 == 3 => f32::INFINITY,
        _ => -1.5 - (at % 4) as f32,
    };
    for engine in engines() {
        for (shape, axis) in
            [([24, 16], 1), ([24, 300], 1), ([24, 19], 1), ([16, 24], 0), ([300, 24], 0), ([23, 6], 1), ([6, 33], 0)]
        {
            let graph = graph_of(&shape, ElementType::F32, &|graph, x| {
                let axes = graph.constant("axes", Value::list(&[axis]));
                for kind in [Reduce::Max, Reduce::Min] {
                    let y = graph.apply(reduction(kind), &[x, axes]);
                    graph.output(&format!("{kind:?}"), y);
                }
                for (min, last) in [(false, false), (false, true), (true, false), (true, true)] {
                    let y = graph.apply(Op::ArgReduce { min, axis, keep_dims: false, last }, &[x]);
                    graph.output(&format!("arg {min} {last}"), y);
                }
            });
            let x: Vec<f32> = (0..shape[0] * shape[1])
                .map(|place| match axis {
                    1 => fill(place / shape[1], place % shape[1], shape[1]),
                    _ => fill(place % shape[1], place / shape[1], shape[0]),
                })
                .collect();
            let x = [Value::new(&shape, x).unwrap()];
            let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
            let (found, wanted) = (network.run_values(&x).unwrap(), network.run_reference(&x).unwrap());
            for (number, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                let (found, wanted) = (found.to_f32(), wanted.to_f32());
                let apart = found.iter().zip(&wanted).position(|(a, b)| !(a == b || a.is_nan() && b.is_nan()));
                let apart = apart.map(|at| (at, found[at], wanted[at]));
                assert_eq!(apart, None, "result {number} of {shape:?} along {axis}, {:?}", engine.limits().class);
            }
        }
    }
}
