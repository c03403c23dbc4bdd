//! From ONNX's operators to [`Op`](crate::Op)s, over all opsets: each family is one file with a function that knows its operators,
//! and what older opsets wrote in attributes becomes the constant inputs that it is today.

mod layers;
mod movement;
mod norm;
mod pointwise;
mod quant;
mod reduce;
mod resize;
mod sample;
mod shape;

use super::node::Node;
use crate::graph::ValueId;

/// The operators of one file.
type Family = fn(&mut Node) -> Option<Vec<ValueId>>;

/// The results of a node, in the order of its outputs; `None` where no family knows the operator.
///
/// Whatever is wrong with the node is noted in it, and the results then mean nothing.
pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    let families: [Family; 9] = [
        layers::import,
        pointwise::import,
        movement::import,
        norm::import,
        reduce::import,
        shape::import,
        resize::import,
        quant::import,
        sample::import,
    ];
    families.iter().find_map(|family| family(node))
}
