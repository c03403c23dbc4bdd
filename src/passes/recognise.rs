//! Activations that exporters write as several nodes are recognised as the one function that they are.

use super::edit::Links;
use super::tidy::remove_unused;
use crate::activation::Activation;
use crate::graph::{Binary, Graph, Node, Op, Unary, ValueId};

/// Makes one node of `x sigmoid(x)`, `x hard_sigmoid(x)`, `x tanh(softplus(x))` and `x/2 (1 + erf(x / sqrt 2))`.
pub fn recognise_activations(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let mut links = Links::new(&result);
    for number in 0..result.nodes.len() {
        let node = result.nodes[number].clone();
        if !graph.fact(node.outputs[0]).element.is_float() {
            continue;
        }
        if let Some((activation, x)) = product(&result, &links, &node).filter(|(_, x)| same_type(&result, *x, node.outputs[0])) {
            links.replace(&mut result, number, Node { op: Op::Activation(activation), inputs: vec![Some(x)], ..node });
        }
    }
    remove_unused(&result)
}

fn same_type(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let (a, b) = (graph.fact(a), graph.fact(b));
    a.shape == b.shape && a.element == b.element
}

/// The activation of `x` that a product is.
fn product(graph: &Graph, links: &Links, node: &Node) -> Option<(Activation, ValueId)> {
    if node.op != Op::Binary(Binary::Mul) {
        return None;
    }
    let mut factors: Vec<ValueId> = node.inputs.iter().copied().flatten().collect();
    // A product of three is two nodes, in any order.
    for at in 0..factors.len() {
        if let Some(inner) = links.node(graph, factors[at]).filter(|inner| inner.op == Op::Binary(Binary::Mul)) {
            let more = inner.inputs.iter().copied().flatten();
            let rest = factors[1 - at.min(1)];
            let three: Vec<ValueId> = more.chain([rest]).collect();
            if let Some(x) = gelu(graph, links, &three) {
                return Some((Activation::Gelu, x));
            }
        }
    }
    factors.truncate(2);
    let &[a, b] = factors.as_slice() else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| gated(graph, links, x, gate).map(|activation| (activation, x)))
}

/// The activation that `x` times a function of itself is.
fn gated(graph: &Graph, links: &Links, x: ValueId, gate: ValueId) -> Option<Activation> {
    let node = links.node(graph, gate)?;
    let input = node.inputs.first().copied().flatten()?;
    match &node.op {
        Op::Activation(Activation::Sigmoid) if input == x => Some(Activation::Silu),
        Op::Activation(Activation::HardSigmoid { alpha, beta })
            if input == x && *beta == 0.5 && (alpha - 1.0 / 6.0).abs() < 1e-6 =>
        {
            Some(Activation::HardSwish)
        }
        Op::Activation(Activation::Tanh) => {
            let inner = links.node(graph, input)?;
            let softplus = inner.op == Op::Activation(Activation::Softplus) && inner.inputs.first() == Some(&Some(x));
            softplus.then_some(Activation::Mish)
        }
        _ => None,
    }
}

/// The `x` of which three factors are the GELU: `x`, a half, `1 + erf(x / sqrt 2)`.
fn gelu(graph: &Graph, links: &Links, factors: &[ValueId]) -> Option<ValueId> {
    let near = |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 1e-5);
    let &half = factors.iter().find(|&&id| near(graph.scalar_of(id), 0.5))?;
    let others: Vec<ValueId> = factors.iter().copied().filter(|&id| id != half).collect();
    let &[a, b] = others.as_slice() else { return None };
    let input = |node: &Node, index: usize| node.input(index);
    let operand_of = |id: ValueId, op: &Op| links.node(graph, id).filter(|node| node.op == *op);
    [(a, b), (b, a)].into_iter().find_map(|(x, tail)| {
        let sum = operand_of(tail, &Op::Binary(Binary::Add))?;
        let (first, second) = (input(sum, 0)?, input(sum, 1)?);
        let erf = if near(graph.scalar_of(second), 1.0) {
            first
        } else if near(graph.scalar_of(first), 1.0) {
            second
        } else {
            return None;
        };
        let scaled = input(operand_of(erf, &Op::Unary(Unary::Erf))?, 0)?;
        let node = links.node(graph, scaled)?;
        let (of, by) = (input(node, 0)?, graph.scalar_of(input(node, 1)?));
        let root = std::f64::consts::SQRT_2;
        let fits = match node.op {
            Op::Binary(Binary::Div) => near(by, root),
            Op::Binary(Binary::Mul) => near(by, 1.0 / root),
            _ => false,
        };
        (fits && of == x).then_some(x)
    })
}
