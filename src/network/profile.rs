//! [`Network::profile`]: the time of each layer, by timestamps of the device.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use super::execute::Operand;
use super::explain::step_text;
use super::program::Work;
use super::{Network, execute};
use crate::error::Result;
use crate::value::Value;

/// The time of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTime {
    /// The node, by operation and name.
    pub node: String,
    /// The algorithm of a layer, or the kernels of another operation.
    pub algorithm: String,
    /// When its first step began, after the network's first, in nanoseconds.
    pub start_ns: f64,
    /// How long its steps took together, in nanoseconds.
    pub ns: f64,
    /// Floating-point operations of a layer; 0 of another operation.
    pub flop: u64,
    /// Bytes of operands and results, each counted once.
    pub bytes: u64,
}

/// The time of each node of a network, of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// In the order in which they ran.
    pub layers: Vec<LayerTime>,
    /// One whole run as it is usually done, submission and waiting included.
    pub wall: Duration,
    /// Whether the times are the device's own; without timestamps each step was waited for.
    pub timestamps: bool,
}

impl Network {
    /// Runs the network on values of the host and tells the time of each node. Each step gets a pass of its own, so that the sum is a
    /// little more than a usual run, whose time is [`Profile::wall`].
    ///
    /// # Errors
    /// As [`run_values`](Self::run_values).
    pub fn profile(&self, inputs: &[Value]) -> Result<Profile> {
        let (graph, executable) = (&self.0.graph, self.0.executable()?);
        let engine = &self.0.engine;
        // The first run pays for what drivers put off.
        self.run_values(inputs)?;
        let start = Instant::now();
        self.run_values(inputs)?;
        let wall = start.elapsed();

        let _turn = self.turn();
        let mut layers: Vec<(usize, LayerTime)> = Vec::new();
        let mut timestamps = true;
        let operands: Vec<Operand> = inputs.iter().map(execute::Operand::Value).collect();
        let times = executable.run_timed(graph, &operands, &mut timestamps)?;
        engine.wait()?;
        let first = times.iter().map(|[begin, _]| *begin).fold(f64::INFINITY, f64::min);
        for (step, [begin, end]) in executable.program.steps.iter().zip(times) {
            let program = &executable.program;
            let (flop, bytes) = match &step.work {
                Work::Layer { plan, .. } => (plan.work().flop, plan.work().bytes),
                Work::Operation { operands, output, .. } => {
                    (0, operands.iter().chain([output]).map(|&id| program.bytes(id)).sum())
                }
                _ => (0, 0),
            };
            match layers.last_mut().filter(|(node, _)| *node == step.node) {
                Some((_, layer)) => {
                    layer.ns += end - begin;
                    layer.flop += flop;
                    layer.bytes += bytes;
                    let text = step_text(&step.work);
                    if !layer.algorithm.contains(&text) {
                        layer.algorithm = format!("{} + {text}", layer.algorithm);
                    }
                }
                None => layers.push((
                    step.node,
                    LayerTime {
                        node: graph.node_label(&graph.nodes[step.node]).trim_start_matches("node ").into(),
                        algorithm: step_text(&step.work),
                        start_ns: begin - first,
                        ns: end - begin,
                        flop,
                        bytes,
                    },
                )),
            }
        }
        // Products of integers are several operations, none of which knows what they are together.
        for (node, layer) in &mut layers {
            layer.flop = layer.flop.max(graph.integer_flop(&graph.nodes[*node]));
        }
        Ok(Profile { layers: layers.into_iter().map(|(_, layer)| layer).collect(), wall, timestamps })
    }
}

impl Profile {
    /// Nanoseconds of all nodes together.
    pub fn total_ns(&self) -> f64 {
        self.layers.iter().map(|layer| layer.ns).sum()
    }

    /// The profile in the trace event format, which Perfetto and Chrome's tracing open.
    pub fn to_trace_json(&self) -> String {
        let mut text = String::from("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
        for (number, layer) in self.layers.iter().enumerate() {
            let separator = if number == 0 { "" } else { ",\n" };
            let gflops = if layer.ns > 0.0 { layer.flop as f64 / layer.ns } else { 0.0 };
            // Writing to a String cannot fail. Times are in microseconds.
            let _ = write!(
                text,
                "{separator}{{\"name\":{},\"cat\":\"layer\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":{:.3},\"dur\":{:.3},\
                 \"args\":{{\"algorithm\":{},\"flop\":{},\"bytes\":{},\"gflops\":{gflops:.3}}}}}",
                json_string(&layer.node),
                layer.start_ns / 1e3,
                layer.ns / 1e3,
                json_string(&layer.algorithm),
                layer.flop,
                layer.bytes
            );
        }
        text.push_str("\n]}\n");
        text
    }
}

/// A text as a JSON string.
fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total_ns().max(1.0);
        writeln!(f, "{:>9}  {:>6}  {:>8}  {:>7}  {:<40}  algorithm", "ms", "share", "GFLOP/s", "GB/s", "node")?;
        for layer in &self.layers {
            let per_ns = |amount: u64| if layer.ns > 0.0 { amount as f64 / layer.ns } else { 0.0 };
            let gflops = if layer.flop > 0 { format!("{:.2}", per_ns(layer.flop)) } else { "-".into() };
            let node: String = layer.node.chars().take(40).collect();
            writeln!(
                f,
                "{:>9.3}  {:>5.1}%  {gflops:>8}  {:>7.2}  {node:<40}  {}",
                layer.ns / 1e6,
                100.0 * layer.ns / total,
                per_ns(layer.bytes),
                layer.algorithm
            )?;
        }
        let kind = if self.timestamps { "on the device" } else { "by waiting for each: the device has no timestamps" };
        write!(f, "{:>9.3}  all nodes, {kind}; one run takes {:.3} ms", total / 1e6, self.wall.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_json_whatever_nodes_are_called() {
        let layer = |node: &str| LayerTime {
            node: node.into(),
            algorithm: "direct".into(),
            start_ns: 0.0,
            ns: 1500.0,
            flop: 3000,
            bytes: 4,
        };
        let profile = Profile {
            layers: vec![layer("a \"quoted\" \\ name\n"), layer("b")],
            wall: Duration::from_millis(1),
            timestamps: true,
        };
        let value: serde_json::Value = serde_json::from_str(&profile.to_trace_json()).unwrap();
        assert_eq!(value["traceEvents"][0]["name"], "a \"quoted\" \\ name\n");
        assert_eq!(value["traceEvents"][1]["dur"], 1.5);
        assert_eq!(value["traceEvents"][1]["args"]["gflops"], 2.0);
    }
}
