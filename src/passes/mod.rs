//! Rewrites of bound graphs. Each is a pure function from a graph to one that computes the same with less; [`steps`] gives the graph
//! after each, to be printed or compared.
//!
//! They know what a node means and not how a device computes it: layouts, buffers and kernels come later.

mod edit;
mod fold;
mod fuse;
mod layout;
mod pointwise;
mod quantised;
mod recognise;
mod tidy;
pub(crate) mod tiles;

pub use fold::{fold_affine, gemm_to_linear};
pub use fuse::{absorb_pads, fuse_epilogues};
pub use layout::sink_transposes;
pub use pointwise::{fuse_pointwise, merge_affine};
pub use quantised::fuse_quantised;
pub use recognise::recognise_activations;
pub use tidy::{merge_movements, remove_identities, remove_unused, share_common};

use crate::graph::Graph;

/// A pass: its name and what it does.
pub type Pass = (&'static str, fn(&Graph) -> Graph);

/// All passes in the order in which [`optimise`] runs them. Constants are folded before, by [`Graph::bind`].
pub const PASSES: &[Pass] = &[
    ("fuse_quantised", fuse_quantised),
    ("remove_identities", remove_identities),
    ("merge_movements", merge_movements),
    ("sink_transposes", sink_transposes),
    ("share_common", share_common),
    ("recognise_activations", recognise_activations),
    ("absorb_pads", absorb_pads),
    ("gemm_to_linear", gemm_to_linear),
    ("fold_affine", fold_affine),
    ("fuse_epilogues", fuse_epilogues),
    ("merge_affine", merge_affine),
    ("fuse_pointwise", fuse_pointwise),
    ("remove_unused", remove_unused),
];

/// The graph after all passes.
pub fn optimise(graph: &Graph) -> Graph {
    PASSES.iter().fold(graph.clone(), |graph, (_, pass)| pass(&graph))
}

/// The graph after each pass, with the pass's name.
pub fn steps(graph: &Graph) -> Vec<(&'static str, Graph)> {
    let mut current = graph.clone();
    PASSES
        .iter()
        .map(|(name, pass)| {
            current = pass(&current);
            (*name, current.clone())
        })
        .collect()
}
