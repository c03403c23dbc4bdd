//! What a network's plan is, as text: every step with its algorithm, what the host computes, what memory it takes.

use std::fmt::Write as _;

use super::Network;
use super::program::{LayerWeights, Program, Work};
use crate::graph::Graph;
use crate::layout::Layout;

/// The labels of nodes that the host computes.
pub(super) fn host_nodes(program: &Program, graph: &Graph) -> Vec<String> {
    let host = program.steps.iter().filter(|step| step.work == Work::Host);
    host.map(|step| graph.node_label(&graph.nodes[step.node])).collect()
}

/// One step in a few words: the algorithm or kernel.
pub(super) fn step_text(work: &Work) -> String {
    match work {
        Work::Layer { plan, weights, .. } => {
            let computed = if matches!(weights, LayerWeights::Computed { .. }) { ", weights computed" } else { "" };
            let split = plan.split.as_ref().map_or(String::new(), |split| format!(", {split}"));
            let image = if plan.reads_image() { " of a texture" } else { "" };
            format!("{}{computed}{split}{image}", plan.algorithm)
        }
        Work::Operation { operation, .. } => operation.step.kernel.label.clone(),
        Work::Upload { .. } => "to the device".into(),
        Work::Download { .. } => "to the host".into(),
        Work::Host => "ON THE HOST".into(),
    }
}

impl Network {
    /// How the network is computed: each step with its algorithm, the nodes that the host computes, memory.
    pub fn explain(&self) -> String {
        let (graph, executable) = (&self.0.graph, self.0.executable.last());
        let program = &self.0.program;
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "network    {}: {} nodes as given, {} as run",
            graph.name(),
            self.0.original.node_count(),
            graph.node_count()
        );
        for (number, step) in program.steps.iter().enumerate() {
            let node = &graph.nodes[step.node];
            let shape = node.outputs.first().map_or(Vec::new(), |&id| graph.fact(id).shape);
            let label = graph.node_label(node);
            let _ = writeln!(text, "{number:>4}  {label} -> {shape:?}: {}", step_text(&step.work));
        }
        for line in super::image::lines(program, graph) {
            let _ = writeln!(text, "image      {line}");
        }
        let host = host_nodes(program, graph);
        let _ = match host.as_slice() {
            [] => match executable.submissions() {
                1 => writeln!(text, "host       nothing: one submission a run"),
                count => writeln!(text, "host       nothing: {count} submissions a run, as one would be long"),
            },
            list => writeln!(text, "host       computes {}", list.join(", ")),
        };
        let last = program.devices.iter().filter(|device| device.desc.layout() == Layout::ChannelsLast).count();
        let copies = program.steps.iter().filter(|step| step_text(&step.work).starts_with("map layout ")).count();
        let _ = match last {
            0 => writeln!(text, "layout     n c d h w throughout, so that nothing is converted"),
            _ => writeln!(text, "layout     {last} values among layers keep channels last; {copies} conversions"),
        };
        let _ = writeln!(text, "weights    {} bytes", self.weight_bytes());
        let _ = match program.left_out {
            0 => Ok(()),
            count => writeln!(text, "in place   {count} parts of tensors are written or read where they lie, without a copy"),
        };
        let _ = write!(text, "values     {} bytes in {} buffers", self.peak_bytes(), executable.buffer_count());
        text
    }

    /// The nodes that the host computes, by name; empty where a run is one submission.
    pub fn host_nodes(&self) -> Vec<String> {
        host_nodes(&self.0.program, &self.0.graph)
    }
}
