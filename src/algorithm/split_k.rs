//! Split-K: the sum over k of a matrix product in slices, where a few blocks of a long sum would leave most of the device idle, or where
//! one sum is longer than an invocation's loops may be.
//!
//! A slice is summed by a workgroup of its own, in f32 into the workspace; a second dispatch adds the slices in their order and finishes
//! the sums. Nothing depends on which workgroup is first, so results are the same to the bit each time (Nvidia, "CUTLASS: efficient
//! GEMM", parallel reductions across k).

use std::fmt;

use super::cost::Operations;
use super::plan::Step;
use super::product::Product;
use crate::error::Result;
use crate::kernel::{Kernel, Slot, Stores};
use crate::limits::DeviceLimits;
use crate::tensor_desc::MAX_ELEMENTS;

/// The most slices that a tile can say.
const MAX: u32 = 1 << 16;

/// The most that are chosen where a device's loops do not ask for more.
const MAX_CHOSEN: u32 = 256;

/// The part of the time without them that more slices must not take: a guess is not as exact as that.
const PAYS: f64 = 0.9;

/// Invocations of a workgroup of the second dispatch.
const WORKGROUP: u32 = 64;

/// Prints a number of slices behind a tile's sizes: `,k4`, and nothing where there is one.
pub(super) struct Slices(pub u32);

impl fmt::Display for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 { Ok(()) } else { write!(f, ",k{}", self.0) }
    }
}

/// What a tile says before its slices, and their number, as `64x64x16,8x4,k4` prints them.
pub(super) fn parse(tile: &str) -> Option<(&str, u32)> {
    match tile.rsplit_once(",k") {
        Some((sizes, slices)) => Some((sizes, slices.parse().ok().filter(|slices| (2..=MAX).contains(slices))?)),
        None => Some((tile, 1)),
    }
}

/// The sizes of a tile.
pub(super) fn numbers(sizes: &str) -> Option<Vec<u32>> {
    sizes.split(['x', ',']).map(str::parse).collect::<Result<_, _>>().ok()
}

/// Why a product has no room for its slices.
pub(super) fn supports(product: &Product, limits: &DeviceLimits, split_k: u32) -> Result<(), String> {
    let bytes: u64 = workspace(product, split_k).iter().sum();
    if bytes > limits.workspace_bytes {
        return Err(format!(
            "{split_k} slices of its sums have {bytes} bytes of workspace, more than the {} allowed",
            limits.workspace_bytes
        ));
    }
    if bytes > 4 * MAX_ELEMENTS as u64 {
        return Err(format!("{split_k} slices of its sums have {} elements, more than kernels can index", bytes / 4));
    }
    Ok(())
}

/// Bytes of the slices.
pub(super) fn workspace(product: &Product, split_k: u32) -> Vec<u64> {
    if split_k == 1 { Vec::new() } else { vec![4 * u64::from(split_k) * product.geometry.output_elements()] }
}

/// The numbers of slices to choose from: the fewest with which the device's loops do not end early, and more where that is cheaper.
/// `per_step` is the iterations of a step of `block_k`, `workgroups` their number without slices: where there are enough for the device,
/// a slice more of each is work and no gain.
pub(super) fn choices(
    product: &Product,
    limits: &DeviceLimits,
    block_k: u32,
    per_step: u64,
    workgroups: u64,
    cost: impl Fn(u32) -> Operations,
) -> Vec<(Operations, u32)> {
    let steps = product.most_k_tiles(block_k);
    let steps_at_once = limits.loop_iterations.saturating_sub(product.geometry.first_taps()) / per_step;
    let least = if steps_at_once == 0 { 1 } else { steps.div_ceil(steps_at_once).clamp(1, u64::from(MAX)) as u32 };
    let prices = Operations::prices(limits.class);
    let time = |choice: &(Operations, u32)| choice.0.time(&prices);
    let fewest = (cost(least), least);
    let most = match workgroups < 2 * u64::from(limits.parallelism) {
        true => u64::from(MAX_CHOSEN).min(steps),
        false => 0,
    };
    let more = std::iter::successors(Some(least), |&count| Some(count * 2))
        .skip(1)
        .take_while(|&count| u64::from(count) <= most)
        .filter(|&count| supports(product, limits, count).is_ok())
        .map(|count| (cost(count), count));
    let cheaper = more.filter(|choice| time(choice) < PAYS * time(&fewest)).min_by(|a, b| time(a).total_cmp(&time(b)));
    [Some(fewest), cheaper].into_iter().flatten().collect()
}

/// Of tiles in the order of their cost those without slices, and those with slices that are cheaper than all of them; all, where all
/// need slices.
pub(super) fn that_pay<T>(mut tiles: Vec<(Operations, T)>, split_k: impl Fn(&T) -> u32) -> Vec<(Operations, T)> {
    let whole = tiles.iter().position(|(_, tile)| split_k(tile) == 1).unwrap_or(tiles.len());
    let mut place = 0..;
    tiles.retain(|(_, tile)| place.next().is_some_and(|place| place < whole) || split_k(tile) == 1);
    tiles
}

/// What the second dispatch does. Starting it takes as long as some workgroups do.
pub(super) fn cost(product: &Product, limits: &DeviceLimits, split_k: u32) -> Operations {
    if split_k == 1 {
        return Operations::default();
    }
    let workgroups = product.geometry.output_elements().div_ceil(u64::from(WORKGROUP));
    let loads = Operations::LOAD * f64::from(split_k) + Operations::STORE;
    Operations::total(limits, workgroups, f64::from(WORKGROUP), loads) + Operations::WORKGROUP * 32.0
}

/// A product's dispatch, and behind it the one that adds its slices.
pub(super) fn steps(product: &Product, limits: &DeviceLimits, step: Step, split_k: u32) -> Result<Vec<Step>> {
    if split_k == 1 {
        return Ok(vec![step]);
    }
    let label = format!("split_k {} {split_k}", product.result);
    let kernel = Kernel::new(label, product.result, WORKGROUP)
        .binding("partial", "array<f32>", Slot::Workspace(product.slices))
        .with_geometry(&product.geometry, product.mode)
        .with_epilogue(&product.epilogue, product.output, Stores::One)
        .constant("SPLIT_K", split_k)
        .iterations(u64::from(split_k))
        .fragment(include_str!("../../shaders/split_k.wgsl"));
    let workgroups = product.geometry.output_elements().div_ceil(u64::from(WORKGROUP));
    Ok(vec![step, Step::new(kernel, workgroups, limits)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DeviceClass;
    use crate::{Algorithm, Problem};

    fn algorithms(line: &str, limits: &DeviceLimits) -> Vec<String> {
        let problem: Problem = line.parse().unwrap();
        Algorithm::candidates(&problem, limits).unwrap().algorithms.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn slices_print_and_parse() {
        let tile = "gemm(64x64x16,8x4,k4)";
        assert_eq!(tile.parse::<Algorithm>().unwrap().to_string(), tile);
        for bad in
            ["gemm(64x64x16,8x4,k1)", "gemm(64x64x16,8x4,k)", "gemm(64x64x16,k4,8x4)", "gemm(k4)", "matmul(64x64x16,8x4,k65537)"]
        {
            assert!(bad.parse::<Algorithm>().is_err(), "{bad}");
        }
        let tile = "matmul(64x64x16,8x4,b2,k4)";
        assert_eq!(tile.parse::<Algorithm>().unwrap().to_string(), tile);
        assert!("winograd(2,subgroup,32x4,8,k2)".parse::<Algorithm>().is_ok());
    }

    #[test]
    fn only_long_sums_of_few_outputs_are_sliced() {
        let software = DeviceLimits { class: DeviceClass::Software, subgroup: Some(8), parallelism: 2, ..Default::default() };
        for limits in [DeviceLimits::default(), software] {
            let sliced = |line: &str| {
                let sliced = algorithms(line, &limits).into_iter().filter(|algorithm| algorithm.contains(",k"));
                sliced.collect::<Vec<_>>()
            };
            assert!(!sliced("conv 1x512x3x3 o16 k3x3 p1x1 f32").is_empty());
            for line in ["conv 1x64x112x112 o64 k3x3 p1x1 f32", "conv 1x16x56x56 o64 k1x1 f32"] {
                assert_eq!(sliced(line), [""; 0], "{line} on {}", limits.class);
            }
        }
    }

    #[test]
    fn slices_are_refused_where_the_workspace_is_too_small_for_them() {
        let problem: Problem = "conv 1x512x64x64 o64 k3x3 p1x1 f32".parse().unwrap();
        let limits = DeviceLimits { workspace_bytes: 1 << 20, ..Default::default() };
        let error = "gemm(64x64x16,8x4,k2)".parse::<Algorithm>().unwrap().plan(&problem, &limits).unwrap_err();
        assert!(error.message().contains("2097152") && error.message().contains("1048576"), "{error}");
    }
}
