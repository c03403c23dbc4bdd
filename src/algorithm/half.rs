//! Products of f16 that are multiplied in f16: which tiles do, what a device and a layer must have for it, and how far it is from f32.
//!
//! A sum in f16 alone has no more than 11 bits, which a few hundred terms use up. So only *runs* of a few products are summed in f16, by
//! fused multiply-adds of vectors that many GPUs do at twice the rate of f32, and each run is added to a sum in f32.

use std::fmt;

use super::{Operations, Refusal};
use crate::limits::{DeviceClass, DeviceLimits, Precision};
use crate::tensor_desc::DType;

/// Lengths that a run may have. Errors grow with it, and so does the part of the work that is in f16.
const RUNS: [u32; 2] = [8, 4];

/// Prints the length of a run behind a tile's sizes: `,h8`, and nothing where there are no runs.
pub(super) struct Runs(pub u32);

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, ",h{}", self.0) }
    }
}

/// What a tile says before its runs, and their length, as `64x64x16,8x4,h8` prints them.
pub(super) fn parse(tile: &str) -> Option<(&str, u32)> {
    match tile.rsplit_once(",h") {
        Some((sizes, run)) => Some((sizes, run.parse().ok().filter(|run| RUNS.contains(run))?)),
        None => Some((tile, 0)),
    }
}

/// Why a tile with such runs does not take a product of such elements on a device.
pub(super) fn supports(dtype: DType, limits: &DeviceLimits, run: u32) -> Result<(), String> {
    if run == 0 {
        return Ok(());
    }
    if !RUNS.contains(&run) {
        return Err(format!("runs of {run} products are not summed in f16, only of {} or {}", RUNS[1], RUNS[0]));
    }
    if dtype != DType::F16 {
        return Err(format!("the tile multiplies f16, and the product is in {dtype}"));
    }
    if limits.precision < Precision::Half {
        return Err(format!("arithmetic in f16 is less exact than Precision::{:?} allows", limits.precision));
    }
    Ok(())
}

/// The lengths of runs to choose from for a step of `block_k` products: none at all, and the longest that divides it where a device and
/// a layer allow it.
pub(super) fn choices(dtype: DType, limits: &DeviceLimits, block_k: u32) -> impl Iterator<Item = u32> {
    let fits = move |run: &&u32| block_k.is_multiple_of(**run) && supports(dtype, limits, **run).is_ok();
    [0].into_iter().chain(RUNS.iter().find(fits).copied())
}

/// That tiles in f16 are left out for a layer that others of `algorithm` take, where it is the precision that forbids them.
pub(super) fn refusal(algorithm: &'static str, dtype: DType, limits: &DeviceLimits) -> Option<Refusal> {
    let reason = supports(dtype, limits, RUNS[0]).err().filter(|_| dtype == DType::F16)?;
    Some(Refusal { algorithm, reason: format!("tiles with h{} or h{}: {reason}", RUNS[1], RUNS[0]) })
}

/// The most that a run is off, as a part of the sum of its terms' magnitudes: each term is rounded as a product, where a device does not
/// fuse it with its addition, and in each partial sum. `u / (1 - u)` for so many roundings `u` (Higham 2002, section 3.1).
pub(super) fn error(run: u32) -> f64 {
    let roundings = if run == 0 { 0.0 } else { f64::from(run) + 1.0 };
    let all = roundings / 2048.0;
    all / (1.0 - all)
}

/// What a product and its part of ending a run cost. Of GPUs not measured: the rate that vendors publish, twice that of f32.
pub(super) fn product(class: DeviceClass, run: u32) -> Operations {
    match (class, run) {
        (_, 0) => Operations::FMA,
        (DeviceClass::Software, _) => Operations::FMA * 8.0,
        (DeviceClass::Integrated | DeviceClass::Discrete, run) => Operations::FMA * (0.5 + 1.0 / f64::from(run)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Problem};

    const LINE: &str = "conv 1x64x28x28 o64 k3x3 p1x1 f16";

    fn limits(precision: Precision) -> DeviceLimits {
        DeviceLimits { f16: true, subgroup: Some(32), precision, ..Default::default() }
    }

    fn candidates(line: &str, limits: &DeviceLimits) -> crate::algorithm::Candidates {
        Algorithm::candidates(&line.parse::<Problem>().unwrap(), limits).unwrap()
    }

    #[test]
    fn runs_print_and_parse() {
        for tile in [
            "gemm(64x64x16,8x4,h8)",
            "matmul(64x64x16,8x4,b2,h4,k2)",
            "subgroup_gemm(32x4,8,h8)",
            "subgroup_matmul(32x4,8,h4,k3)",
        ] {
            assert_eq!(tile.parse::<Algorithm>().unwrap().to_string(), tile);
        }
        for bad in [
            "gemm(64x64x16,8x4,h0)",
            "gemm(64x64x16,8x4,h5)",
            "gemm(64x64x4,4x4,h8)",
            "gemm(64x64x16,8x4,k2,h8)",
            "subgroup_strip(32x4,8,h8)",
        ] {
            assert!(bad.parse::<Algorithm>().is_err(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_in_f16_is_offered_only_where_layer_device_and_precision_allow_it() {
        let of = |line: &str, precision: Precision| {
            let found = candidates(line, &limits(precision));
            let families = ["gemm(", "matmul(", "subgroup_gemm(", "subgroup_matmul("];
            let offered = |family: &&str| {
                found.algorithms.iter().any(|a| a.to_string().starts_with(*family) && a.to_string().contains(",h"))
            };
            (families.iter().filter(|family| offered(family)).count(), found.refusals)
        };
        assert_eq!(of("conv 1x64x28x28 o64 k1x1 f16", Precision::Half).0, 4);
        assert_eq!(of(LINE, Precision::Half).0, 2);
        assert_eq!(of("conv 1x64x28x28 o64 k3x3 p1x1 f32", Precision::Half).0, 0);
        let (count, refusals) = of(LINE, Precision::Fast);
        let reason = &refusals.iter().find(|refusal| refusal.algorithm == "gemm").unwrap().reason;
        assert!(count == 0 && reason.contains("arithmetic in f16") && reason.contains("Precision::Fast"), "{reason}");
    }

    #[test]
    fn what_may_not_be_in_f16_is_refused_with_the_reason() {
        let refused = |algorithm: &str, line: &str, precision: Precision| {
            let algorithm: Algorithm = algorithm.parse().unwrap();
            algorithm.plan(&line.parse().unwrap(), &limits(precision)).unwrap_err().message().to_string()
        };
        let message = refused("gemm(64x64x16,8x4,h8)", LINE, Precision::Exact);
        assert!(message.contains("Precision::Exact"), "{message}");
        let message = refused("gemm(64x64x16,8x4,h8)", "conv 1x64x28x28 o64 k3x3 p1x1 f32", Precision::Half);
        assert!(message.contains("product is in f32"), "{message}");
        let message = refused("winograd(2,gemm,64x64x16,8x4,h8)", LINE, Precision::Half);
        assert!(message.contains("product is in f32"), "{message}");
    }

    #[test]
    fn the_bound_grows_with_the_run() {
        assert!(error(0) == 0.0 && error(4) > 5.0 / 2048.0 && error(8) < 0.0045 && error(8) > error(4));
    }
}
