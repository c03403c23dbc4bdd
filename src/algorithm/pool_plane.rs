//! Pooling of whole planes, such as a global average: its elements are neighbours, which are loaded four at a time.

use std::fmt;

use super::cost::{Operations, cheapest_first};
use super::{Context, Parts, pool};
use crate::desc::{PoolDesc, PoolKind};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::vectors;
use crate::layout::Layout;
use crate::limits::{DeviceClass, DeviceLimits};
use crate::problem::Layer;

/// How the elements of a plane are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlaneTile {
    /// Invocations that work on a plane, a power of two; where channels are last, on four planes.
    pub lanes: u32,
}

/// Invocations of a workgroup that has several planes.
const WORKGROUP: u32 = 64;

/// The most invocations of a plane: every WebGPU device has workgroups of so many.
const MAX_LANES: u32 = 256;

const LANES: [u32; 5] = [1, 4, 16, 64, 256];

/// Neighbouring invocations of a GPU that one load of memory serves: 128 bytes.
const TOGETHER: f64 = 8.0;

impl fmt::Display for PlaneTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lanes)
    }
}

impl PlaneTile {
    pub(super) fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[lanes] = numbers else { return None };
        (lanes.is_power_of_two() && lanes <= MAX_LANES).then_some(Self { lanes })
    }

    fn workgroup(self) -> u32 {
        WORKGROUP.max(self.lanes)
    }

    fn workgroups(self, geometry: &Geometry) -> u64 {
        let shared = if is_last(geometry) { 4 } else { 1 };
        (geometry.output_elements() / shared).div_ceil(u64::from(self.workgroup() / self.lanes))
    }
}

fn is_last(geometry: &Geometry) -> bool {
    geometry.input_layout == Layout::ChannelsLast
}

/// Fours of elements that the invocations of a plane load.
fn fours(geometry: &Geometry) -> u64 {
    let plane = geometry.input_plane();
    if is_last(geometry) { plane } else { plane.div_ceil(4) }
}

/// Whether the only window of a plane has all of it, and counts nothing else: padding beside it is in no average but where that is asked for.
fn is_whole(context: &Context) -> bool {
    let geometry = context.geometry;
    let counts_padding = matches!(
        context.problem.layer,
        Layer::Pool(PoolDesc { kind: PoolKind::Average { count_include_pad: true, divisor_override: None }, .. })
    );
    (0..3).all(|axis| {
        let [begin, end] = [geometry.pad_begin[axis], geometry.pad_end[axis]];
        let reach = i64::from(geometry.kernel[axis]) - i64::from(begin);
        let has_all = begin >= 0 && end >= 0 && geometry.dilation[axis] == 1 && reach >= i64::from(geometry.input[axis]);
        let padded = (begin, end) != (0, 0);
        geometry.output[axis] == 1 && (geometry.adaptive || (has_all && !(padded && counts_padding)))
    })
}

pub(super) fn supports(context: &Context) -> Result<(), String> {
    pool::supports(context)?;
    let geometry = context.geometry;
    if !is_whole(context) {
        return Err("a window is not a whole plane, or counts padding beside it".into());
    }
    if context.problem.indices().is_some() {
        return Err("four elements at a time have no positions".into());
    }
    let neighbours = if is_last(geometry) { u64::from(geometry.in_channels) } else { geometry.input_elements() };
    if !neighbours.is_multiple_of(4) {
        let what = if is_last(geometry) { "channels" } else { "elements of the input" };
        return Err(format!("{neighbours} {what} are no multiple of 4"));
    }
    Ok(())
}

pub(super) fn tiles(context: &Context) -> Vec<(Operations, PlaneTile)> {
    let fours = fours(context.geometry);
    let tiles = LANES.iter().filter(|&&lanes| lanes == 1 || u64::from(lanes) <= fours);
    let tiles = tiles.filter(|&&lanes| lanes <= context.limits.workgroup_invocations);
    let tiles = tiles.map(|&lanes| PlaneTile { lanes });
    cheapest_first(context.limits.class, tiles.map(|tile| (cost(context.geometry, context.limits, tile), tile)))
}

/// What it does.
fn cost(geometry: &Geometry, limits: &DeviceLimits, tile: PlaneTile) -> Operations {
    use Operations as Of;
    // Invocations of several planes, which lie apart, share no lines of memory.
    let scatter = match limits.class {
        DeviceClass::Integrated | DeviceClass::Discrete if !is_last(geometry) => {
            (TOGETHER / f64::from(tile.lanes)).max(1.0).sqrt()
        }
        _ => 1.0,
    };
    let loads = fours(geometry).div_ceil(u64::from(tile.lanes)) as f64;
    let joins = f64::from(tile.lanes.ilog2());
    let stores = if is_last(geometry) { Of::stores(4.0, true) } else { Of::STORE };
    let per_thread = (Of::LOAD4 * scatter + Of::FMA * 4.0) * loads
        + (Of::BARRIER + Of::SHARED4 * 2.0) * joins
        + Of::LOAD * 2.0
        + stores * f64::from(tile.lanes).recip();
    Of::total(limits, tile.workgroups(geometry), f64::from(tile.workgroup()), per_thread)
}

pub(super) fn plan(context: &Context, tile: &PlaneTile) -> Result<Parts> {
    let geometry = context.geometry;
    let four = vectors(context.dtype());
    let (output, put) = if is_last(geometry) {
        (four, "put_output_4(u32(number), vec4<Elem>(found))")
    } else {
        ("array<Elem>", "output[number] = Elem(found.x)")
    };
    let types = pool::Types { input: four, output, fours: true };
    let overlap = context.limits.overlaps_loads();
    let mut kernel = pool::kernel(context, &format!("pool_plane {tile}"), types, tile.workgroup())?
        .constant("LANES", tile.lanes)
        .flag("OVERLAP", overlap)
        .fragment(format!("fn put(number: i32, found: vec4<f32>) {{\n    {put};\n}}"))
        .fragment(include_str!("../../shaders/pool_plane.wgsl"));
    let turns = fours(geometry).div_ceil(u64::from(tile.lanes));
    kernel.iterations = turns / if overlap { 4 } else { 1 } + 16;
    kernel.workgroup_bytes = 16 * tile.workgroup();
    pool::parts(kernel, tile.workgroups(geometry), context.limits)
}

#[cfg(test)]
mod tests {
    use crate::limits::{DeviceClass, DeviceLimits};
    use crate::{Algorithm, Problem};

    /// Mesa 22.3.6 ends a loop at 65,536 turns; there no four of them are one, as on GPUs.
    #[test]
    fn a_plane_of_more_turns_than_a_driver_runs_is_refused() {
        let plan = |class: DeviceClass, line: &str, algorithm: &str| {
            let limits = DeviceLimits { class, loop_iterations: 65_536, ..DeviceLimits::default() };
            let (problem, algorithm): (Problem, Algorithm) = (line.parse().unwrap(), algorithm.parse().unwrap());
            algorithm.plan(&problem, &limits).map(|_| ())
        };
        for line in ["global_avg_pool 1x4x600x600 f32", "global_avg_pool 1x4x300x300 f32 nhwc"] {
            let error = plan(DeviceClass::Software, line, "pool_plane(1)").unwrap_err();
            assert!(error.message().contains("iterations"), "{error}");
            plan(DeviceClass::Software, line, "pool_plane(4)").unwrap();
            plan(DeviceClass::Discrete, line, "pool_plane(1)").unwrap();
        }
    }

    #[test]
    fn a_window_with_padding_beside_its_plane_is_a_whole_plane_unless_that_counts() {
        for (line, takes) in [
            ("avg_pool 1x8x6x6 k7x7 p0:1x0:1 f32 exclude_pad", true),
            ("avg_pool 1x8x6x6 k7x7 p0:1x0:1 f32 divisor=7", true),
            ("max_pool 2x4x5x6 k9x8 p2x1 f32", true),
            ("avg_pool 1x8x6x6 k7x7 p0:1x0:1 f32", false),
            ("avg_pool 1x8x6x6 k6x6 d2x2 p5x5 f32 exclude_pad", false),
        ] {
            let problem: Problem = line.parse().unwrap();
            let algorithm: Algorithm = "pool_plane(1)".parse().unwrap();
            assert_eq!(algorithm.plan(&problem, &DeviceLimits::default()).is_ok(), takes, "{line}");
        }
    }
}
