//! Each pass by itself: what it makes of small graphs, what it must leave alone, and that the graph computes the same before and after.

mod build;
mod fold;
mod fuse;
mod pads;
mod quantised;
mod recognise;
#[path = "../support/mod.rs"]
mod support;
mod tidy;

use build::{Build, gemm};
use support::{by_reference, difference};
use wgconv::passes::{self, PASSES};
use wgconv::{Activation, Bindings, ElementType, Graph, Op, PadMode, PoolDesc};

const F16: ElementType = ElementType::F16;
const F32: ElementType = ElementType::F32;

/// A graph and the nodes that a pass leaves of it: for each the operation, and words that its printed line contains.
struct Case {
    about: &'static str,
    element: ElementType,
    build: fn(&mut Build),
    left: &'static [&'static str],
}

fn case(about: &'static str, build: fn(&mut Build), left: &'static [&'static str]) -> Case {
    Case { about, element: F32, build, left }
}

fn typed(element: ElementType, about: &'static str, build: fn(&mut Build), left: &'static [&'static str]) -> Case {
    Case { about, element, build, left }
}

/// The printed lines of the nodes, from the operation on.
fn nodes(graph: &Graph) -> Vec<String> {
    let text = graph.to_string();
    let lines = text.lines().filter(|line| !line.starts_with("output ")).filter_map(|line| line.split_once(" = "));
    lines.map(|(_, node)| node.to_string()).collect()
}

/// Whether a node's line is of this operation and contains the other words; lists are written without blanks.
fn is(line: &str, wanted: &str) -> bool {
    let line = line.replace(", ", ",");
    let mut words = wanted.split(' ');
    line.split('(').next() == words.next() && words.all(|word| line.contains(word))
}

/// What is wrong with one case.
fn fault(pass: fn(&Graph) -> Graph, case: &Case) -> Option<String> {
    let mut build = Build::new(case.element);
    (case.build)(&mut build);
    let before = build.graph.bind(&Bindings::default()).unwrap_or_else(|error| panic!("{}: {error}", case.about));
    let after = pass(&before);
    let found = nodes(&after);
    let texts = format!("{before}becomes\n{after}");
    if found.len() != after.node_count() || !after.output_names().iter().all(|name| texts.contains(&format!("output  {name} =")))
    {
        return Some(format!("{}: is not printed as it is:\n{texts}", case.about));
    }
    if found.len() != case.left.len() || !found.iter().zip(case.left).all(|(line, wanted)| is(line, wanted)) {
        return Some(format!("{}: {:?} was expected:\n{texts}", case.about, case.left));
    }
    if nodes(&pass(&after)).len() != found.len() {
        return Some(format!("{}: the pass finds more in its own result:\n{}{texts}", case.about, pass(&after)));
    }
    let wanted = by_reference(&before, &build.inputs).unwrap_or_else(|error| panic!("{}: {error}", case.about));
    let got = match by_reference(&after, &build.inputs) {
        Ok(got) => got,
        Err(error) => return Some(format!("{}: {error}:\n{texts}", case.about)),
    };
    // What is rounded once less is off by a rounding, of an intermediate value that may be larger.
    let tolerance = if case.element == F16 { 2e-3 } else { 1e-6 };
    let apart = got.iter().zip(&wanted).map(|(got, wanted)| difference(got, wanted)).fold(0.0, f64::max);
    (apart > tolerance).then(|| format!("{}: results are {apart:.1e} apart:\n{texts}", case.about))
}

fn check(pass: &str, cases: &[Case]) {
    let (_, run) = PASSES.iter().find(|(name, _)| *name == pass).expect("the pass exists");
    let faults: Vec<String> = cases.iter().filter_map(|case| fault(*run, case)).collect();
    assert!(faults.is_empty(), "{} of {} cases of {pass}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

/// A block of a residual network as exporters write it.
fn exported(b: &mut Build) {
    let x = b.input(&[2, 4, 6, 6]);
    let y = b.pad(PadMode::Constant, x, &[0, 0, 1, 1, 0, 0, 1, 1]);
    let y = b.apply(Op::Dropout, &[y]);
    let y = b.conv(y, &[4, 4, 3, 3]);
    let y = b.norm(y, 4, 0.5, 1e-3);
    let gate = b.activation(Activation::Sigmoid, y);
    let y = b.mul(y, gate);
    let y = b.same(y, 4);
    let y = b.norm(y, 4, 0.5, 1e-3);
    let y = b.add(x, y);
    let y = b.relu(y);
    let y = b.graph.pool(&PoolDesc::global_average(), y);
    let y = b.reshape(y, &[2, 4, 1]);
    let y = b.apply(Op::Flatten { axis: 1 }, &[y]);
    let (w, c) = (b.weight(&[10, 4]), b.numbers(&[10]));
    let y = b.apply(gemm(1.0, 1.0, false, true), &[y, w, c]);
    let y = b.relu(y);
    b.output(y);
}

#[test]
fn all_passes_together_leave_the_layers_of_a_network() {
    let all: fn(&Graph) -> Graph = passes::optimise;
    let left = &["Conv x0 p[1,1,1,1] silu", "Conv x0 residual=before relu", "AveragePool", "Reshape 2x4", "Linear relu"];
    let found = fault(all, &case("a residual block", exported, left));
    assert!(found.is_none(), "{}", found.unwrap_or_default());
}

#[test]
fn steps_are_the_graph_after_each_pass() {
    let mut build = Build::new(F32);
    exported(&mut build);
    let bound = build.graph.bind(&Bindings::default()).unwrap();
    let steps = passes::steps(&bound);
    assert_eq!(steps.iter().map(|(name, _)| *name).collect::<Vec<_>>(), PASSES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert_eq!(nodes(&steps.last().unwrap().1), nodes(&passes::optimise(&bound)));
    let wanted = by_reference(&bound, &build.inputs).unwrap();
    for (name, graph) in steps {
        let got = by_reference(&graph, &build.inputs).unwrap();
        assert!(difference(&got[0], &wanted[0]) < 1e-5, "{name}: {graph}");
    }
}
