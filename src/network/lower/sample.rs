//! Layers that are made of others: quantised ones, deformable and causal convolutions.

use super::{Done, Lowering};
use crate::error::Result;
use crate::graph::Node;
use crate::graph::ops::Fact;

impl Lowering<'_> {
    pub(super) fn sample(&mut self, _node: &Node, _facts: &[Option<Fact>], _results: &[Fact]) -> Result<Done> {
        Ok(false)
    }
}
