//! What the operations of a kernel cost, for the order of candidates. A guess that must only be right about who wins.
//!
//! Unit: nanoseconds of one core for 8 lanes on lavapipe, where they were measured; on GPUs, issue slots for a warp's share.

use crate::limits::{DeviceClass, DeviceLimits};

/// Cost of one operation of one invocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
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

impl Costs {
    pub fn of(class: DeviceClass) -> Self {
        match class {
            // Fitted to lavapipe of Mesa 22.3.6 (LLVM 15, 256 bits), which loads from buffers and workgroup memory lane by lane.
            // Newer ones gather (Mesa 25: 11, 32, 6 and 16), which leaves the order of tiles as it is.
            DeviceClass::Software => Costs {
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
            DeviceClass::Integrated | DeviceClass::Discrete => Costs {
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

    /// The time of `workgroups` of `threads` invocations: they run in rounds of as many as the device holds at once, and the last
    /// round costs as much as a full one.
    pub fn total(&self, limits: &DeviceLimits, workgroups: u64, threads: f64, per_thread: f64) -> f64 {
        let rounds = workgroups.div_ceil(u64::from(limits.parallelism.max(1)));
        rounds as f64 * (self.workgroup + threads / 8.0 * per_thread)
    }
}

/// Sorts by cost; equals stay in their order.
pub(super) fn cheapest_first<T>(candidates: impl Iterator<Item = (f64, T)>) -> Vec<(f64, T)> {
    let mut list: Vec<_> = candidates.collect();
    list.sort_by(|a, b| a.0.total_cmp(&b.0));
    list
}
