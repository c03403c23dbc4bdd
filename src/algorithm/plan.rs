//! [`Plan`]: what running a layer means, as data: kernels, grids, packed weights, workspace. The engine executes it.

use std::borrow::Cow;
use std::fmt;

use super::Algorithm;
use super::pack::{self, WeightSource};
use super::split::{Split, WeightPart};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot};
use crate::limits::{DeviceLimits, Ranges, submissions};
use crate::problem::{Layer, Problem};
use crate::tensor_desc::{DType, TensorDesc};

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What runs.
    pub kernel: Kernel,
    /// Workgroups on each dimension.
    pub grid: [u32; 3],
}

/// A range of a buffer that a step is bound to in place of the whole, in bytes; it begins at a multiple of 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct View {
    pub slot: Slot,
    pub offset: u64,
    pub bytes: u64,
}

impl View {
    /// The first byte and how many.
    pub fn range(&self) -> [u64; 2] {
        [self.offset, self.bytes]
    }
}

/// How the weights are laid out for the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// No weights.
    None,
    /// `[out_channels, in/groups, taps]`, as convolution sees them: a transposed kernel flipped and turned.
    Rows,
    /// `[four of channels, tap][4]`: those of depthwise layers that compute four channels at once.
    Fours,
    /// Panels for a tiled matrix product: `[group, block of m, tap, row][block_m]`, zeros where they run over.
    Panels {
        /// Output channels of a panel.
        block_m: u32,
        /// The rows of a tap, its input channels, are padded to a multiple of this.
        padded_k: u32,
        /// Whether the taps of a channel count as channels of their own: the order that a fully connected layer reads.
        flat: bool,
    },
    /// Panels for a product over strips: `[group, block of m, tap on z and y, segment][channel, tap on x][block_m]`, zeros where they run over;
    /// over patches `[group, block of m, tap on z][channel, tap on y and x][block_m]`.
    Strips {
        /// Output channels of a panel.
        block_m: u32,
        /// Taps of a segment: so many of those on x follow each other in a panel. More than there are on x are all of y and x.
        taps: u32,
        /// Rows of a channel: the taps of a segment, and what pads them.
        rows: u32,
        /// Distance of two taps on x that follow one another: more than 1 where phases use some of them each, whose segments are panels then.
        step: u32,
    },
    /// Panels of transformed filters, `[component, group, block of m, tap, row][block_m]`.
    Winograd {
        /// The type of the transformed filters: f32 whatever the layer's type, or f16, where they are twice as large for each transformed
        /// axis, and the transformed inputs half as large.
        dtype: DType,
        /// Outputs of a tile on a transformed axis.
        outputs: u32,
        /// Components of a tile.
        components: u32,
        /// Taps that are not transformed.
        taps: u32,
        /// Output channels of a panel.
        block_m: u32,
        /// The rows of a tap, its input channels, are padded to a multiple of this.
        padded_k: u32,
    },
}

/// A layer's dispatches and everything they need.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The layer.
    pub problem: Problem,
    /// Its numbers.
    pub geometry: Geometry,
    /// What was chosen.
    pub algorithm: Algorithm,
    /// The dispatches, in order; each sees what the ones before it wrote.
    pub steps: Vec<Step>,
    /// The layout of the weights.
    pub packing: Packing,
    /// Bytes of each buffer that the dispatches use among themselves.
    pub workspace: Vec<u64>,
    /// About how long the dispatches take, by [`Operations::nanoseconds`](super::Operations::nanoseconds).
    pub nanoseconds: u64,
    /// How the layer is done in parts, where one binding does not hold what it needs.
    pub split: Option<Split>,
}

/// The numbers that say how hard a layer is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Floating-point operations: two for each product of an input and a weight.
    pub flop: u64,
    /// Bytes of input, weights, residual and output, each counted once.
    pub bytes: u64,
}

impl Work {
    /// Operations for each byte: what decides whether arithmetic or memory is the limit.
    pub fn intensity(&self) -> f64 {
        self.flop as f64 / self.bytes.max(1) as f64
    }
}

impl Plan {
    /// The output's shape and type.
    pub fn output_desc(&self) -> TensorDesc {
        TensorDesc::new(&self.geometry.output_shape(), self.problem.input.dtype()).with_layout(self.geometry.output_layout)
    }

    /// How many submissions a run is, so that none takes longer than [`DeviceLimits::submission_ns`] by the steps that it is made of.
    pub fn submissions(&self, limits: &DeviceLimits) -> usize {
        submissions(self.steps.iter().map(|_| self.step_ns()), limits.submission_ns)
    }

    /// Nanoseconds of each step: a guess, all alike.
    pub(crate) fn step_ns(&self) -> u64 {
        self.nanoseconds / self.steps.len().max(1) as u64
    }

    /// Elements of the packed weights of all parts, padding included.
    pub fn packed_elements(&self) -> u64 {
        self.weight_parts().iter().map(|part| packed_elements(&part.geometry, part.packing)).sum()
    }

    /// The sets of weights, each of which is packed by itself; one where the plan is not split.
    pub(crate) fn weight_parts(&self) -> Vec<WeightPart> {
        match &self.split {
            Some(split) => split.weights.clone(),
            None => vec![WeightPart::whole(self)],
        }
    }

    /// A set of the weights, which are in the user's order, as its kernels read it.
    pub(crate) fn pack<'a>(&self, part: &WeightPart, kernel: &'a [f32]) -> Cow<'a, [f32]> {
        pack::pack(&part.geometry, part.packing, part.source(&WeightSource::of(&self.geometry)), kernel)
    }

    /// The set of weights that a step reads.
    pub(crate) fn weights_of(&self, step: usize) -> usize {
        self.split.as_ref().map_or(0, |split| split.steps[step].weights)
    }

    /// The range of a slot's buffer that a step is bound to, where it is not the whole.
    pub(crate) fn view(&self, step: usize, slot: Slot) -> Option<View> {
        self.split.as_ref()?.steps[step].views.iter().find(|view| view.slot == slot).copied()
    }

    /// The numbers that a step reads in a uniform buffer, with their slot: sizes of its layer or of a copy.
    pub(crate) fn uniform(&self, step: usize) -> Option<(Slot, &[u8])> {
        let kernel = &self.steps[step].kernel;
        let uses = |slot: Slot| kernel.bindings.iter().any(|binding| binding.slot == slot);
        match (&kernel.geometry, &self.split) {
            (Some(uniform), _) if uses(Slot::Geometry) => Some((Slot::Geometry, bytemuck::bytes_of(uniform))),
            (_, Some(split)) if uses(Slot::Parameters) => {
                Some((Slot::Parameters, bytemuck::cast_slice(&split.steps[step].parameters)))
            }
            _ => None,
        }
    }

    /// The type of the packed weights.
    pub fn packed_dtype(&self) -> DType {
        if let Packing::Winograd { dtype, .. } = self.packing { dtype } else { self.problem.input.dtype() }
    }

    /// What the layer asks for, whatever the algorithm.
    pub fn work(&self) -> Work {
        let geometry = &self.geometry;
        let element = self.problem.input.dtype().bytes() as u64;
        let (flop, weights, outputs) = match &self.problem.layer {
            Layer::Conv(desc) => {
                let residual = u64::from(desc.epilogue.residual != crate::Residual::None);
                (geometry.flop(), geometry.weight_elements(), geometry.output_elements() * (1 + residual))
            }
            // One operation for each element of each window.
            Layer::Pool(_) => (geometry.output_elements() * geometry.taps(), 0, geometry.output_elements()),
        };
        Work { flop, bytes: (geometry.input_elements() + weights + outputs) * element }
    }

    /// Whether the elements are of a type that the device has, and its kernels within its limits.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the number asked for and the limit.
    pub(crate) fn check(&self, limits: &DeviceLimits) -> Result<()> {
        let dtype = self.problem.input.dtype();
        if dtype == DType::F16 && !limits.f16 {
            return Err(Error::unsupported(
                "input",
                "has elements of type f16, but the adapter has no 16-bit floats (SHADER_F16)",
            ));
        }
        self.steps.iter().try_for_each(|step| step.check(limits))
    }

    /// Bytes of input and output, by name.
    fn tensors(&self) -> [(&'static str, u64); 2] {
        let element = self.problem.input.dtype().bytes() as u64;
        let output = if self.problem.indices().is_some() { element.max(4) } else { element };
        [("input", self.geometry.input_elements() * element), ("output", self.geometry.output_elements() * output)]
    }

    /// Whether the layer is short enough for one submission.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the time and the limit.
    pub(crate) fn check_length(&self, limits: &DeviceLimits) -> Result<()> {
        limits.check_length(self.nanoseconds)
    }

    /// Whether one binding holds each tensor, the weights, and each workspace.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the number asked for and the limit.
    pub(crate) fn check_bindings(&self, limits: &DeviceLimits) -> Result<()> {
        let weights = ("weight", self.packed_elements() * self.packed_dtype().bytes() as u64);
        let workspaces = self.workspace.iter().map(|&bytes| ("workspace", bytes));
        Ranges::of(limits).check(self.tensors().into_iter().chain([weights]).chain(workspaces))
    }
}

impl Step {
    /// A kernel over so many workgroups.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where no grid has so many.
    pub(crate) fn new(kernel: Kernel, workgroups: u64, limits: &DeviceLimits) -> Result<Self> {
        let kernel = Kernel { wide_words: limits.wide_words, ..kernel };
        Ok(Self { kernel, grid: fold(workgroups, limits.workgroups)? })
    }

    /// Checks what the kernel and its grid ask of a device.
    pub(crate) fn check(&self, limits: &DeviceLimits) -> Result<()> {
        let Kernel { label, invocations, workgroup_bytes, iterations, bindings, .. } = &self.kernel;
        let storage = bindings.iter().filter(|binding| !binding.slot.is_uniform() && binding.image.is_none()).count() as u32;
        let needs = [
            ("invocations", u64::from(*invocations), u64::from(limits.workgroup_invocations)),
            ("bytes of workgroup memory", u64::from(*workgroup_bytes), u64::from(limits.workgroup_bytes)),
            ("storage buffers", u64::from(storage), u64::from(limits.storage_buffers)),
            ("workgroups on a dimension", u64::from(self.grid.into_iter().max().unwrap_or(0)), u64::from(limits.workgroups)),
            ("iterations of an invocation's loops", *iterations, limits.loop_iterations),
        ];
        match needs.iter().find(|(_, needed, limit)| needed > limit) {
            None => Ok(()),
            Some((what, needed, limit)) => {
                Err(Error::unsupported("algorithm", format!("{label} needs {needed} {what}, but the device has {limit}")))
            }
        }
    }
}

/// Elements of packed weights.
pub(crate) fn packed_elements(geometry: &Geometry, packing: Packing) -> u64 {
    let up = |value: u64, block: u32| value.div_ceil(u64::from(block)) * u64::from(block);
    match packing {
        Packing::None => 0,
        Packing::Rows | Packing::Fours => geometry.weight_elements(),
        Packing::Winograd { components, taps, block_m, padded_k, .. } => {
            let rows = up(u64::from(geometry.group_out()), block_m) * up(u64::from(geometry.group_in()), padded_k);
            u64::from(components) * u64::from(taps) * u64::from(geometry.groups) * rows
        }
        Packing::Strips { block_m, taps, rows, step } => {
            let run = strip_taps(geometry, taps);
            let segments = u64::from(step) * u64::from(run.div_ceil(step).div_ceil(taps));
            let taps = geometry.taps() / u64::from(run) * segments * u64::from(rows);
            u64::from(geometry.in_channels) * taps * up(u64::from(geometry.group_out()), block_m)
        }
        Packing::Panels { block_m, padded_k, flat } => {
            let rows = if flat {
                up(geometry.reduction(), padded_k)
            } else {
                geometry.taps() * up(u64::from(geometry.group_in()), padded_k)
            };
            u64::from(geometry.groups) * up(u64::from(geometry.group_out()), block_m) * rows
        }
    }
}

/// The taps that segments of so many are cut from: those on x, or those on y and x, which are then one segment.
pub(crate) fn strip_taps(geometry: &Geometry, segment: u32) -> u32 {
    geometry.kernel[2].max(segment)
}

/// Folds a one-dimensional grid over three dimensions of at most `limit` workgroups each.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where even three dimensions are too few.
pub(super) fn fold(total: u64, limit: u32) -> Result<[u32; 3]> {
    let limit = u64::from(limit);
    let z = total.div_ceil(limit * limit);
    let y = total.div_ceil(z.max(1)).div_ceil(limit);
    let x = total.div_ceil(z.max(1)).div_ceil(y.max(1));
    let grid = [x, y, z].map(|count| u32::try_from(count.max(1)).ok().filter(|&count| u64::from(count) <= limit));
    match grid {
        [Some(x), Some(y), Some(z)] => Ok([x, y, z]),
        _ => Err(Error::unsupported(
            "output",
            format!("needs {total} workgroups, but a dispatch has at most {limit} on each dimension"),
        )),
    }
}

/// Dispatches that a printed plan lists.
const SHOWN: usize = 12;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = self.work();
        writeln!(f, "problem    {}", self.problem)?;
        writeln!(f, "output     {}", self.output_desc())?;
        writeln!(f, "algorithm  {}", self.algorithm)?;
        if let Some(split) = &self.split {
            writeln!(f, "split      {split}, the first of them {}", split.parts[0])?;
        }
        // Of many parts the first few show what they are like.
        for Step { kernel, grid: [x, y, z] } in self.steps.iter().take(SHOWN) {
            let memory = kernel.workgroup_bytes;
            writeln!(
                f,
                "dispatch   {}: {x}x{y}x{z} workgroups of {}, {memory} bytes of workgroup memory",
                kernel.label, kernel.invocations
            )?;
        }
        if self.steps.len() > SHOWN {
            writeln!(f, "           and {} dispatches more", self.steps.len() - SHOWN)?;
        }
        writeln!(f, "workspace  {} bytes", self.workspace.iter().sum::<u64>())?;
        writeln!(f, "weights    {} bytes packed", self.packed_elements() * self.packed_dtype().bytes() as u64)?;
        write!(f, "work       {} FLOP, {} bytes, {:.1} FLOP/byte", work.flop, work.bytes, work.intensity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_longer_than_a_driver_runs_loops_come_in_slices() {
        let limits = DeviceLimits { loop_iterations: 65_536, ..Default::default() };
        for line in ["conv 1x1000000x1 o1 k1 f32", "conv 1x8000000x1 o1 k1 f32", "conv_transpose 1x70000x3x3 o2 k3x3 s2x2 f32"] {
            let long: Problem = line.parse().unwrap();
            let candidates = Algorithm::candidates(&long, &limits).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(candidates.algorithms.iter().any(|algorithm| algorithm.to_string().contains(",k")), "{line}");
        }
        // A kernel that would end early steps aside for one that does not.
        let wide: Problem = "conv 1x20000x1 o3 k1 f32".parse().unwrap();
        let candidates = Algorithm::candidates(&wide, &limits).unwrap();
        assert!(candidates.algorithms.iter().all(|algorithm| *algorithm != Algorithm::Direct));
        assert!(candidates.refusals.iter().any(|refusal| refusal.algorithm == "direct" && refusal.reason.contains("iterations")));
        let whole: Algorithm = "matmul(64x4x16,4x1)".parse().unwrap();
        let long: Problem = "conv 1x1000000x1 o1 k1 f32".parse().unwrap();
        let error = whole.plan(&long, &limits).unwrap_err();
        assert!(error.kind() == crate::ErrorKind::Unsupported && error.message().contains("65536"), "{error}");
    }

    #[test]
    fn a_folded_grid_covers_every_workgroup_within_the_limit() {
        for total in [0, 1, 64, 65_535, 65_536, 70_000, 1 << 24, (1 << 31) - 1] {
            let grid = fold(total, 65_535).unwrap();
            assert!(grid.iter().all(|&count| (1..=65_535).contains(&count)));
            let product: u64 = grid.iter().map(|&count| u64::from(count)).product();
            assert!(product >= total && product < total + total / 60_000 + 65_536, "{total} as {grid:?}");
        }
        assert!(fold(28, 3).is_err());
    }
}
