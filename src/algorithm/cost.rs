//! What a plan costs, for the order of candidates: how often each operation is done, and what a class of devices takes for it.
//!
//! The counts are formulas beside each kernel; the prices are fitted to measured tables by the program `fit`, which reads what
//! `bench --regret --json` writes. A guess: it must only be right about who wins.

use std::ops::{Add, Mul};

use crate::limits::{DeviceClass, DeviceLimits};

/// How often each operation is done, for 8 invocations of the core that does the most; or the price of each, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Operations {
    /// Load of one element from a storage buffer.
    pub load: f64,
    /// Load of four neighbouring elements.
    pub load4: f64,
    /// Load or store of one word of workgroup memory.
    pub shared: f64,
    /// Load or store of four neighbouring words.
    pub shared4: f64,
    /// Fused multiply-add.
    pub fma: f64,
    /// Broadcast of one word over a subgroup.
    pub broadcast: f64,
    /// A barrier.
    pub barrier: f64,
    /// Starting a workgroup.
    pub workgroup: f64,
}

impl Operations {
    /// Their names, in the order of [`values`](Self::values).
    pub const NAMES: [&'static str; 8] = ["load", "load4", "shared", "shared4", "fma", "broadcast", "barrier", "workgroup"];

    const NONE: Self =
        Self { load: 0.0, load4: 0.0, shared: 0.0, shared4: 0.0, fma: 0.0, broadcast: 0.0, barrier: 0.0, workgroup: 0.0 };
    pub(super) const LOAD: Self = Self { load: 1.0, ..Self::NONE };
    pub(super) const LOAD4: Self = Self { load4: 1.0, ..Self::NONE };
    pub(super) const SHARED: Self = Self { shared: 1.0, ..Self::NONE };
    pub(super) const SHARED4: Self = Self { shared4: 1.0, ..Self::NONE };
    pub(super) const FMA: Self = Self { fma: 1.0, ..Self::NONE };
    pub(super) const BROADCAST: Self = Self { broadcast: 1.0, ..Self::NONE };
    pub(super) const BARRIER: Self = Self { barrier: 1.0, ..Self::NONE };
    pub(super) const WORKGROUP: Self = Self { workgroup: 1.0, ..Self::NONE };

    /// All numbers, in the order of [`NAMES`](Self::NAMES).
    pub fn values(&self) -> [f64; 8] {
        let Self { load, load4, shared, shared4, fma, broadcast, barrier, workgroup } = *self;
        [load, load4, shared, shared4, fma, broadcast, barrier, workgroup]
    }

    /// What [`values`](Self::values) gives.
    pub fn of_values([load, load4, shared, shared4, fma, broadcast, barrier, workgroup]: [f64; 8]) -> Self {
        Self { load, load4, shared, shared4, fma, broadcast, barrier, workgroup }
    }

    /// The prices on a class of devices, in nanoseconds.
    pub fn prices(class: DeviceClass) -> Self {
        match class {
            // Fitted to lavapipe of Mesa 22.3.6 (LLVM 15, 256 bits), which loads from buffers and workgroup memory lane by lane.
            // Newer ones gather (Mesa 25: 11, 32, 6 and 16), which leaves the order of tiles as it is.
            DeviceClass::Software => Self {
                load: 64.0,
                load4: 256.0,
                shared: 64.0,
                shared4: 256.0,
                fma: 0.46,
                broadcast: 0.32,
                barrier: 19.0,
                workgroup: 350.0,
            },
            // Not measured: rates that vendors publish, with cached loads and two invocations' latency hidden by others.
            DeviceClass::Integrated | DeviceClass::Discrete => Self {
                load: 8.0,
                load4: 16.0,
                shared: 1.0,
                shared4: 4.0,
                fma: 0.5,
                broadcast: 2.0,
                barrier: 20.0,
                workgroup: 100.0,
            },
        }
    }

    /// The time of so many of each at these prices, in nanoseconds.
    pub fn time(&self, prices: &Self) -> f64 {
        self.values().iter().zip(prices.values()).map(|(count, price)| count * price).sum()
    }

    /// Those of `workgroups` of `threads` invocations that do `per_thread` each: they run in rounds of as many as the device holds at
    /// once, and the last round costs as much as a full one.
    pub(super) fn total(limits: &DeviceLimits, workgroups: u64, threads: f64, per_thread: Self) -> Self {
        let rounds = workgroups.div_ceil(u64::from(limits.parallelism.max(1)));
        (Self::WORKGROUP + per_thread * (threads / 8.0)) * rounds as f64
    }
}

impl Add for Operations {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (a, b) = (self.values(), other.values());
        Self::of_values(std::array::from_fn(|number| a[number] + b[number]))
    }
}

impl Mul<f64> for Operations {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self::of_values(self.values().map(|value| value * times))
    }
}

/// Sorts by the time on a class of devices; equals stay in their order.
pub(super) fn cheapest_first<T>(class: DeviceClass, candidates: impl Iterator<Item = (Operations, T)>) -> Vec<(Operations, T)> {
    let prices = Operations::prices(class);
    let mut list: Vec<_> = candidates.collect();
    list.sort_by(|a, b| a.0.time(&prices).total_cmp(&b.0.time(&prices)));
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Problem};

    #[test]
    fn candidates_are_sorted_by_the_time_of_their_operations() {
        let limits = DeviceLimits { subgroup: Some(8), class: DeviceClass::Software, ..DeviceLimits::default() };
        let prices = Operations::prices(limits.class);
        for line in ["conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu", "max_pool 1x8x32x32 k3x3 s2x2 p1x1 f32"] {
            let problem: Problem = line.parse().unwrap();
            let candidates = Algorithm::candidates(&problem, &limits).unwrap().algorithms;
            let time = |algorithm: &Algorithm| algorithm.operations(&problem, &limits).unwrap().time(&prices);
            assert!(candidates.is_sorted_by(|a, b| time(a) <= time(b)) && time(&candidates[0]) > 0.0);
        }
        let problem: Problem = "conv 1x64x56x56 o64 k3x3 p1x1 f32".parse().unwrap();
        let error = Algorithm::Pool.operations(&problem, &limits).unwrap_err();
        assert!(error.message().contains("pool does not take"), "{error}");
    }

    #[test]
    fn operations_add_up_and_scale() {
        let sum = Operations::LOAD * 3.0 + Operations::FMA;
        assert_eq!(sum.time(&Operations { load: 2.0, fma: 0.5, ..Operations::default() }), 6.5);
        assert_eq!(Operations::of_values(sum.values()), sum);
        assert_eq!(Operations::NAMES.len(), sum.values().len());
    }
}
