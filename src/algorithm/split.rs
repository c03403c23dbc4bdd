//! [`Split`]: a layer in parts, where a tensor, the weights or the workspace are more than one binding holds.
//!
//! Each part is a layer of its own, a smaller one, by the same algorithm and tile: kernels know nothing of it, and every sum is made
//! in the same order. A part reads and writes ranges of the layer's tensors, bound where they begin at a multiple of 256 bytes and lie in
//! one buffer; what is no such range, as some rows of all channels are not, is moved through the workspace (`part.rs`).

use std::fmt;
use std::ops::Range;

use super::cut::{self, Blocks, Cutting, MAX_PARTS};
use super::pack::{PackOrder, WeightSource};
use super::plan::{Plan, Step, View};
use super::{Algorithm, Packing, part};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::limits::{DeviceLimits, Ranges};
use crate::problem::Problem;

/// What a layer is divided along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SplitAxis {
    /// Batch items.
    Batch,
    /// Groups of channels; the channels of a pooling.
    Groups,
    /// Output channels of each group; every part reads all inputs.
    OutputChannels,
    /// Outputs along the first spatial axis; neighbours read some inputs both.
    Rows,
}

impl fmt::Display for SplitAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SplitAxis::Batch => "batch",
            SplitAxis::Groups => "groups",
            SplitAxis::OutputChannels => "output channels",
            SplitAxis::Rows => "rows",
        })
    }
}

/// How a layer is done in parts. Prints as `by batch, rows into 12 parts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// What it is divided along.
    pub axes: Vec<SplitAxis>,
    /// The layers that compute the parts, in the order in which they run.
    pub parts: Vec<Problem>,
    /// The sets of weights, each in a buffer of its own.
    pub(crate) weights: Vec<WeightPart>,
    /// What each step of the plan is bound to.
    pub(crate) steps: Vec<StepBindings>,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<_> = self.axes.iter().map(ToString::to_string).collect();
        write!(f, "by {} into {} parts", axes.join(", "), self.parts.len())
    }
}

/// What a step of a split plan is bound to, where that is not the whole of each buffer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepBindings {
    /// The set of weights.
    pub weights: usize,
    /// Ranges of buffers; a slot that has none is bound as a whole.
    pub views: Vec<View>,
    /// The numbers of [`Slot::Parameters`](crate::kernel::Slot::Parameters).
    pub parameters: Vec<[i32; 4]>,
}

/// The weights of some of a layer's output channels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightPart {
    /// Of the layer that they are for.
    pub geometry: Geometry,
    /// How its kernels read them.
    pub packing: Packing,
    groups: Range<usize>,
    /// Of each of those groups.
    channels: Range<usize>,
}

impl WeightPart {
    /// All weights of a plan that is not split.
    pub fn whole(plan: &Plan) -> Self {
        let (groups, channels) = (0..plan.geometry.groups as usize, 0..plan.geometry.group_out() as usize);
        Self { geometry: plan.geometry.clone(), packing: plan.packing, groups, channels }
    }

    /// The output channels that they compute, of a layer with so many in each group.
    pub fn outputs(&self, group_out: usize) -> Range<usize> {
        cut::outputs(&self.groups, &self.channels, group_out)
    }

    /// Where the part's weights are, of those of the whole layer.
    pub fn source(&self, whole: &WeightSource) -> WeightSource {
        whole.part(self.groups.clone(), self.channels.start)
    }

    /// How a device lays out the part of weights that no host has seen; `None` for Winograd, whose weights are computed.
    pub fn order(&self, whole: &WeightSource) -> Option<PackOrder> {
        PackOrder::new(&self.geometry, self.packing, self.source(whole))
    }
}

/// What plans a part, from its numbers.
pub(super) type PlanPart<'a> = dyn Fn(&Problem, Geometry) -> Result<Plan> + 'a;

/// The plan of a layer in parts; `refusal` is why it has none as a whole.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where even the smallest parts pass the limit.
pub(super) fn plan(whole: Plan, limits: &DeviceLimits, plan_part: &PlanPart, refusal: Error) -> Result<Plan> {
    // Winograd's tiles begin at every fourth row in each part, as they do in the whole.
    let row_step = if matches!(whole.algorithm, Algorithm::Winograd(_)) { 4 } else { 1 };
    let (problem, geometry, ranges) = (&whole.problem, &whole.geometry, Ranges::of(limits));
    let cutting = Cutting { problem, geometry, ranges, row_step };
    let mut last = None;
    for blocks in cutting.choices() {
        match build(&cutting, &blocks, limits.workgroups, plan_part) {
            Ok((split, steps, workspace)) => return Ok(Plan { steps, workspace, split: Some(split), ..whole }),
            Err(error) => last = Some(error),
        }
    }
    let why = match last {
        Some(error) => format!("{}; in parts: {error}", refusal.message()),
        None => format!("{}, nor does a row of one channel or a part of {MAX_PARTS}", refusal.message()),
    };
    Err(Error::unsupported(refusal.field().map_or("input", |field| field), why))
}

/// The split into parts of such blocks, its steps, and the bytes of its workspace.
fn build(cutting: &Cutting, blocks: &Blocks, workgroups: u32, plan_part: &PlanPart) -> Result<(Split, Vec<Step>, Vec<u64>)> {
    let geometry = cutting.geometry;
    let mut split = Split { axes: cutting.axes(blocks), parts: Vec::new(), weights: Vec::new(), steps: Vec::new() };
    let mut assembly = part::Assembly::new(geometry, cutting.problem.input.dtype(), cutting.ranges, workgroups);
    let mut plans: Vec<Plan> = Vec::new();
    for cut in cutting.cuts(blocks)? {
        let plan = match plans.iter().rev().find(|plan| plan.problem == cut.problem) {
            Some(plan) => plan.clone(),
            None => plan_part(&cut.problem, cut.geometry.clone())?,
        };
        if split.weights.last().is_none_or(|set| (&set.groups, &set.channels) != (&cut.groups, &cut.channels)) {
            let (geometry, packing) = (plan.geometry.clone(), plan.packing);
            split.weights.push(WeightPart { geometry, packing, groups: cut.groups.clone(), channels: cut.channels.clone() });
        }
        let piece = part::Piece {
            plan: &plan,
            weights: split.weights.len() - 1,
            inputs: cut.inputs(geometry),
            outputs: cut.outputs(geometry),
            items: cut.items,
            input_rows: cut.input_rows,
            rows: cut.rows,
            row_axis: cutting.row_axis(),
            indices: cutting.problem.indices(),
        };
        assembly.add(&piece)?;
        split.parts.push(cut.problem);
        if plans.last().is_none_or(|last| *last != plan) {
            plans.push(plan);
        }
    }
    let (steps, bindings, workspace) = assembly.finish();
    split.steps = bindings;
    Ok((split, steps, workspace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_axis_that_makes_parts_fit_is_the_one_that_is_split() {
        let limits = DeviceLimits { storage_binding_bytes: 4096, ..Default::default() };
        let split = |line: &str| {
            let problem: Problem = line.parse().unwrap();
            let algorithm = if line.starts_with("conv") { Algorithm::Direct } else { Algorithm::Pool };
            let plan = algorithm.plan(&problem, &limits).unwrap_or_else(|error| panic!("{line}: {error}"));
            plan.split.map_or("whole".into(), |split| split.to_string())
        };
        assert_eq!(split("conv 1x4x10x10 o4 k3x3 p1x1 f32"), "whole");
        assert_eq!(split("conv 8x4x10x10 o4 k3x3 p1x1 f32"), "by batch into 4 parts");
        assert_eq!(split("conv 1x16x10x10 o16 k3x3 p1x1 g4 f32"), "by groups into 2 parts");
        assert_eq!(split("conv 1x4x10x10 o64 k3x3 p1x1 f32"), "by output channels into 8 parts");
        assert_eq!(split("max_pool 1x4x20x20 k2x2 f32"), "by groups into 2 parts");
        assert_eq!(split("conv 1x4x40x10 o4 k3x3 p1x1 f32"), "by rows into 2 parts");
        // A row of one channel is 8,000 bytes.
        let wide: Problem = "conv 1x1x2x2000 o1 k1x1 f32".parse().unwrap();
        let error = Algorithm::candidates(&wide, &limits).unwrap_err();
        assert!(error.message().contains("16000") && error.message().contains("4096"), "{error}");
    }
}
