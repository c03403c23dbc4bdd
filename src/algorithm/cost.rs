//! What a plan costs: how often each operation is done, and what a class of devices takes for it.
//!
//! The counts are formulas beside each kernel; the prices are fitted to measured tables by the program `fit`, which reads what
//! `bench --regret --json` writes. A guess: it must be right about who wins, and within a few times about how long a submission is.

use std::ops::{Add, Mul};

use crate::limits::{DeviceClass, DeviceLimits};

/// Invocations of a GPU's core that hide the latency of each other's loads. Not measured: fewer do with much independent work in each (Volkov,
/// "Better performance at lower occupancy", 2010), and more are needed with little.
const HIDING: f64 = 256.0;

/// Invocations that a GPU's core holds at once of kernels that take half of its registers.
const RESIDENT: f64 = 1024.0;

/// How often each operation is done, for 8 invocations of the core that does the most; or the price of each, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Operations {
    /// Load of one element from a storage buffer.
    pub load: f64,
    /// Load of four neighbouring elements.
    pub load4: f64,
    /// Store of one element into a storage buffer.
    pub store: f64,
    /// The address of an input by its coordinates, with padding and bounds.
    pub address: f64,
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
    pub const NAMES: [&'static str; 10] =
        ["load", "load4", "store", "address", "shared", "shared4", "fma", "broadcast", "barrier", "workgroup"];

    const NONE: Self = Self::of_values([0.0; 10]);
    pub(super) const LOAD: Self = Self { load: 1.0, ..Self::NONE };
    pub(super) const LOAD4: Self = Self { load4: 1.0, ..Self::NONE };
    pub(super) const STORE: Self = Self { store: 1.0, ..Self::NONE };
    pub(super) const ADDRESS: Self = Self { address: 1.0, ..Self::NONE };
    pub(super) const SHARED: Self = Self { shared: 1.0, ..Self::NONE };
    pub(super) const SHARED4: Self = Self { shared4: 1.0, ..Self::NONE };
    pub(super) const FMA: Self = Self { fma: 1.0, ..Self::NONE };
    pub(super) const BROADCAST: Self = Self { broadcast: 1.0, ..Self::NONE };
    pub(super) const BARRIER: Self = Self { barrier: 1.0, ..Self::NONE };
    pub(super) const WORKGROUP: Self = Self { workgroup: 1.0, ..Self::NONE };

    /// All numbers, in the order of [`NAMES`](Self::NAMES).
    pub fn values(&self) -> [f64; 10] {
        let Self { load, load4, store, address, shared, shared4, fma, broadcast, barrier, workgroup } = *self;
        [load, load4, store, address, shared, shared4, fma, broadcast, barrier, workgroup]
    }

    /// What [`values`](Self::values) gives.
    pub const fn of_values(
        [load, load4, store, address, shared, shared4, fma, broadcast, barrier, workgroup]: [f64; 10],
    ) -> Self {
        Self { load, load4, store, address, shared, shared4, fma, broadcast, barrier, workgroup }
    }

    /// The prices on a class of devices, in nanoseconds.
    pub fn prices(class: DeviceClass) -> Self {
        match class {
            // Fitted to lavapipe (LLVM 15, 256 bits): benches/suite.txt on Mesa 22.3.6 and on 25.0.7.
            DeviceClass::Software => Self {
                load: 4.465,
                load4: 17.477,
                store: 39.486,
                address: 52.699,
                shared: 13.27,
                shared4: 25.463,
                fma: 0.169,
                broadcast: 0.0,
                barrier: 0.245,
                workgroup: 499.955,
            },
            // Not measured: rates that vendors publish, with cached loads and two invocations' latency hidden by others.
            DeviceClass::Integrated | DeviceClass::Discrete => Self {
                load: 8.0,
                load4: 16.0,
                store: 8.0,
                address: 8.0,
                shared: 1.0,
                shared4: 4.0,
                fma: 0.5,
                broadcast: 2.0,
                // Some 30 cycles of a workgroup of 64, while others go on.
                barrier: 4.0,
                workgroup: 100.0,
            },
        }
    }

    /// About how long so many take on a device, in nanoseconds: what decides whether work is too long for one submission.
    pub fn nanoseconds(&self, limits: &DeviceLimits) -> u64 {
        self.time(&Self::prices(limits.class)) as u64
    }

    /// About how many nanoseconds a device takes to load or store so many bytes in words, each with its address. On lavapipe (Mesa 22.3.6,
    /// two cores, other work beside) maps, softmax and sums of 16 MB move 0.5 to 1 GB/s; this says 1.2.
    pub(crate) fn moving(limits: &DeviceLimits, bytes: u64) -> f64 {
        let cores = f64::from(limits.parallelism.max(1));
        let words = bytes as f64 / 4.0;
        let prices = Self::prices(limits.class);
        words / 8.0 / cores * (prices.load + prices.address)
    }

    /// Loads of one element that take as long as one of four neighbours. Measured on lavapipe: 2.6 on Mesa 25.0.7, 2.8 on 22.3.6; on no GPU. The price
    /// of `load4` is that of weights, which lie farther apart.
    pub(super) const FOUR: f64 = 2.7;

    /// Stores of so many elements of an invocation, one by one or by fours: a store of four takes as long as two.
    pub(super) fn stores(count: f64, by_fours: bool) -> Self {
        Self::STORE * (count * if by_fours { 0.5 } else { 1.0 })
    }

    /// So many products over all cores, and nothing else.
    pub(super) fn products(limits: &DeviceLimits, count: u64) -> Self {
        Self::FMA * (count as f64 / 8.0 / f64::from(limits.parallelism.max(1)))
    }

    /// The time of so many of each at these prices, in nanoseconds.
    pub fn time(&self, prices: &Self) -> f64 {
        self.values().iter().zip(prices.values()).map(|(count, price)| count * price).sum()
    }

    /// Those of `workgroups` of `threads` invocations that do `per_thread` each, on the core that does the most.
    ///
    /// A CPU's core runs one workgroup after the other. A GPU's has many at once: few invocations take as long as [`HIDING`] do, as nothing
    /// else runs while they wait for memory, and from [`RESIDENT`] on a workgroup starts when another ends, so that nothing waits for a last
    /// round.
    pub(super) fn total(limits: &DeviceLimits, workgroups: u64, threads: f64, per_thread: Self) -> Self {
        let cores = u64::from(limits.parallelism.max(1));
        let rounds = workgroups.div_ceil(cores) as f64;
        let invocations = match limits.class {
            DeviceClass::Software => rounds * threads,
            DeviceClass::Integrated | DeviceClass::Discrete if rounds * threads <= RESIDENT => (rounds * threads).max(HIDING),
            DeviceClass::Integrated | DeviceClass::Discrete => (workgroups as f64 / cores as f64 * threads).max(RESIDENT),
        };
        Self::WORKGROUP * rounds + per_thread * (invocations / 8.0)
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

    /// On lavapipe of Mesa 22.3.6, in milliseconds, on the machine whose tables the prices were fitted to.
    #[test]
    fn predicted_times_are_in_the_mean_those_that_were_measured() {
        let limits = DeviceLimits {
            subgroup: Some(8),
            class: DeviceClass::Software,
            parallelism: 2,
            loops_over_lanes: true,
            ..DeviceLimits::default()
        };
        let measured = [
            ("conv 1x96x27x27 o256 k5x5 p2x2 g2 f32 bias", 6.02),
            ("conv 1x512x28x28 o512 k3x3 p1x1 f32 bias", 43.2),
            ("conv 1x3x224x224 o64 k7x7 s2x2 p3x3 f32 bias", 6.06),
            ("conv 1x64x56x56 o64 k3x3 p1x1 f32 bias", 2.97),
            ("conv 1x256x56x56 o64 k1x1 f32 bias", 2.35),
            ("conv 1x96x112x112 o96 k3x3 s2x2 p1x1 g96 f32 bias", 0.84),
            ("conv 1x144x56x56 o144 k3x3 p1x1 g144 f32 bias", 0.52),
            ("conv_transpose 1x128x64x64 o64 k2x2 s2x2 f32 bias", 7.52),
            ("conv 1x64x16x56x56 o128 k3x3x3 p1x1x1 f32 bias", 269.0),
            ("max_pool 1x64x112x112 k3x3 s2x2 p1x1 f32", 0.69),
        ];
        let mut product = 1.0;
        for (line, ms) in measured {
            let problem: Problem = line.parse().unwrap();
            let best = Algorithm::candidates(&problem, &limits).unwrap().algorithms[0];
            product *= best.plan(&problem, &limits).unwrap().nanoseconds as f64 / (ms * 1e6);
        }
        let mean = product.powf(1.0 / measured.len() as f64);
        assert!((0.5..2.0).contains(&mean), "predictions are {mean:.2} times what was measured");
    }

    #[test]
    fn operations_add_up_and_scale() {
        let sum = Operations::LOAD * 3.0 + Operations::FMA;
        assert_eq!(sum.time(&Operations { load: 2.0, fma: 0.5, ..Operations::default() }), 6.5);
        assert_eq!(Operations::of_values(sum.values()), sum);
        assert_eq!(Operations::NAMES.len(), sum.values().len());
    }
}
