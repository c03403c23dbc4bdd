//! [`Network::verify`]: every value that a network computes on the device, judged by the reference on the very inputs that the device
//! had for it. So an error shows at the node that makes it, and not at those that only pass it on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::convert;
use super::execute::{self, Executable};
use super::program::Work;
use super::{Network, check_values, lower, reference};
use crate::algorithm::Algorithm;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::graph::ops::{conv_desc, conv_operands, evaluate, linear_problem};
use crate::graph::{Node, Op, ValueId};
use crate::problem::Problem;
use crate::reference as definition;
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::{ElementType, Value};
use crate::verify::Judge;

/// What became of one node's results.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedNode {
    /// The node, by operation and name.
    pub node: String,
    /// Its largest error as a part of its tolerance: at most 1 where it is right.
    pub error: f64,
    /// Where and how far the worst element is off; empty where all are right.
    pub detail: String,
}

/// What [`Network::verify`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// Each node that the device computed, in order.
    pub nodes: Vec<VerifiedNode>,
    /// The largest difference of the results from [`Network::run_reference`], relative to each result's largest magnitude.
    pub end_to_end: f64,
}

impl Verification {
    /// Whether every node is within its tolerance.
    pub fn passed(&self) -> bool {
        self.first_failure().is_none()
    }

    /// The first node that leaves its tolerance.
    pub fn first_failure(&self) -> Option<&VerifiedNode> {
        self.nodes.iter().find(|node| node.error > 1.0)
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = self.nodes.iter().map(|node| node.error).fold(0.0, f64::max);
        match self.first_failure() {
            Some(node) => {
                let failed = self.nodes.iter().filter(|node| node.error > 1.0).count();
                write!(f, "FAILED first at {}: {}; {failed} of {} nodes failed", node.node, node.detail, self.nodes.len())?;
            }
            None => write!(f, "{} nodes within their tolerances, the worst at {:.1} % of it", self.nodes.len(), 100.0 * worst)?,
        }
        write!(f, "; results {:.1e} from the reference's, relative to the largest", self.end_to_end)
    }
}

impl Network {
    /// Runs the network with every intermediate value kept, and judges each by the reference.
    ///
    /// Layers are judged by [`Algorithm::tolerance`], other operations by `1e-4` of each result plus `1e-5` of the largest, f16 by its
    /// own half step besides.
    ///
    /// # Errors
    /// As [`run_values`](Network::run_values).
    pub fn verify(&self, inputs: &[Value]) -> Result<Verification> {
        let (engine, graph) = (&self.0.engine, &self.0.graph);
        check_values(graph, inputs)?;
        let program = lower::lower(engine, graph, self.0.layout)?;
        let executable = Executable::new(&engine.gpu(), graph, Arc::new(program), false, None)?;
        let operands: Vec<_> = inputs.iter().map(execute::Operand::Value).collect();
        let outputs = executable.start(graph, &operands)?.wait()?;

        let placed: HashMap<ValueId, _> = executable.program.placed.iter().copied().collect();
        let algorithms: HashMap<usize, Algorithm> = executable
            .program
            .steps
            .iter()
            .filter_map(|step| match &step.work {
                Work::Layer { plan, .. } => Some((step.node, plan.algorithm)),
                _ => None,
            })
            .collect();
        let mut values: HashMap<ValueId, Arc<Value>> =
            graph.inputs.iter().zip(inputs).map(|(&id, value)| (id, Arc::new(value.clone()))).collect();
        let mut nodes = Vec::new();
        let mut uses = graph.use_counts();
        for (number, node) in graph.nodes.iter().enumerate() {
            let find = |id: &ValueId| graph.info(*id).constant.clone().or_else(|| values.get(id).cloned());
            let list: Vec<Option<Arc<Value>>> = node.inputs.iter().map(|id| id.as_ref().and_then(find)).collect();
            let expected = evaluate(&node.op, &list, node.outputs.len()).map_err(|error| graph.at_node(node, error))?;
            let mut worst = (0.0, String::new());
            let mut on_device = false;
            for (output, (&id, expected)) in node.outputs.iter().zip(expected).enumerate() {
                let tensor = placed.get(&id).and_then(|&device| executable.find(device));
                let got = match tensor.filter(|_| uses[id.0] > 0) {
                    Some(tensor) => {
                        on_device = true;
                        convert::tensor_to_value(tensor, expected.element())?
                    }
                    None => expected.clone(),
                };
                let found = judge(node, output, algorithms.get(&number), &list, &expected, &got)?;
                if found.0 > worst.0 {
                    worst = found;
                }
                values.insert(id, Arc::new(got));
            }
            if on_device {
                let label = graph.node_label(node).trim_start_matches("node ").to_string();
                let detail = if worst.0 <= 1.0 { String::new() } else { worst.1 };
                nodes.push(VerifiedNode { node: label, error: worst.0, detail });
            }
            for id in node.inputs.iter().flatten() {
                uses[id.0] -= 1;
                if uses[id.0] == 0 {
                    values.remove(id);
                }
            }
        }
        let wanted = reference(&self.0.original, inputs)?;
        let end_to_end = outputs.iter().zip(&wanted).map(|(got, wanted)| difference(got, wanted)).fold(0.0, f64::max);
        Ok(Verification { nodes, end_to_end })
    }
}

/// The largest difference relative to the largest magnitude.
fn difference(got: &Value, wanted: &Value) -> f64 {
    let (got, wanted) = (got.to_f64(), wanted.to_f64());
    let largest = wanted.iter().filter(|value| value.is_finite()).fold(0.0, |most: f64, value| most.max(value.abs()));
    let each = got.iter().zip(&wanted).map(|(a, b)| if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() });
    let most = each.fold(0.0, |most: f64, value| if value.is_nan() { f64::INFINITY } else { most.max(value) });
    if most == 0.0 { 0.0 } else { most / largest.max(f64::MIN_POSITIVE) }
}

/// The largest error of a result as a part of its tolerance, and what the worst element is.
fn judge(
    node: &Node,
    output: usize,
    algorithm: Option<&Algorithm>,
    inputs: &[Option<Arc<Value>>],
    expected: &Value,
    got: &Value,
) -> Result<(f64, String)> {
    let (wanted, found) = (expected.to_f64(), got.to_f64());
    let parts: Vec<f64> = match (algorithm, layer_problem(node, inputs)?) {
        (Some(algorithm), Some(problem)) if output == 0 => {
            let lists: Vec<Option<Vec<f32>>> = inputs.iter().map(|value| value.as_ref().map(|value| value.to_f32())).collect();
            let operands = conv_operands(&lists);
            let geometry = Geometry::new(&problem)?;
            let exact = definition::conv(&problem, &operands)?;
            let judge = Judge::new(&problem, &geometry, algorithm, &operands);
            let plane = (geometry.output_plane() as usize).max(1);
            let largest: Vec<f64> = exact.magnitude.chunks(plane).map(|list| list.iter().copied().fold(0.0, f64::max)).collect();
            let magnitude =
                |index: usize| if judge.shares_magnitudes() { largest[index / plane] } else { exact.magnitude[index] };
            (0..found.len())
                .map(|index| match (exact.values[index], found[index]) {
                    (a, b) if a == b || (a.is_nan() && b.is_nan()) => 0.0,
                    (value, got) => judge.error(index, (value, magnitude(index)), got as f32),
                })
                .collect()
        }
        _ => {
            let largest = wanted.iter().filter(|value| value.is_finite()).fold(0.0, |most: f64, value| most.max(value.abs()));
            // The scale of what is summed or cancelled.
            let scale = inputs.iter().flatten().filter(|value| value.element().is_float()).fold(largest, |most, value| {
                let list = value.to_f64();
                list.iter().filter(|value| value.is_finite()).fold(most, |most: f64, value| most.max(value.abs()))
            });
            let step = if expected.element() == ElementType::F16 { 1e-3 } else { 0.0 };
            let exact = !expected.element().is_float();
            // A float that is rounded to steps may lie on the other side of a half.
            let steps = if node.op.rounds_to_steps() { 1.0 } else { 0.0 };
            wanted
                .iter()
                .zip(&found)
                .map(|(&a, &b)| {
                    if a == b || (a.is_nan() && b.is_nan()) {
                        0.0
                    } else if exact && (a - b).abs() <= steps {
                        (a - b).abs()
                    } else if exact || !a.is_finite() || !b.is_finite() {
                        f64::INFINITY
                    } else {
                        (a - b).abs() / ((1e-4 + step) * a.abs() + 1e-5 * scale + 1e-30)
                    }
                })
                .collect()
        }
    };
    let worst = (0..parts.len()).max_by(|&a, &b| parts[a].total_cmp(&parts[b]));
    Ok(worst.map_or((0.0, String::new()), |index| {
        let part = if parts[index].is_nan() { f64::INFINITY } else { parts[index] };
        (part, format!("element {index} of {:?} is {} instead of {}", expected.shape(), found[index], wanted[index]))
    }))
}

/// The layer that a node is, where it is a convolution.
fn layer_problem(node: &Node, inputs: &[Option<Arc<Value>>]) -> Result<Option<Problem>> {
    let (Some(Some(x)), Some(Some(weight))) = (inputs.first(), inputs.get(1)) else { return Ok(None) };
    let bias = inputs.get(2).is_some_and(Option::is_some);
    let dtype = if x.element() == ElementType::F16 { DType::F16 } else { DType::F32 };
    let problem = match &node.op {
        Op::Conv(conv) => {
            let desc = conv_desc(conv, x.shape(), weight.shape(), bias)?;
            Problem::conv(&desc, &TensorDesc::f32(x.shape()))
        }
        Op::Linear(epilogue) => linear_problem(x.shape(), weight.shape(), bias, epilogue).0,
        _ => return Ok(None),
    };
    Ok(Some(problem.with_dtype(dtype)))
}
