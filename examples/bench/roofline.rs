//! What the device can do at most, and what a layer's times are in its light. Numbers only.
//!
//! The roofline model: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009).

use std::time::Duration;

use wgconv::{DType, Work};

/// What was measured at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// FLOP/s of fused multiply-adds of f32, two for each.
    pub fma_f32: f64,
    /// The same of f16, where the device has it.
    pub fma_f16: Option<f64>,
    /// Bytes/s of a kernel that copies, read and written ones both counted.
    pub copy: f64,
    /// Time of an empty dispatch among many.
    pub dispatch: Duration,
    /// Time from submitting a single empty dispatch to having waited for it.
    pub run: Duration,
}

impl Ceilings {
    /// The highest rate of arithmetic that a layer of this type can have: f16 ones may sum in f32.
    pub fn fma(&self, dtype: DType) -> f64 {
        match dtype {
            DType::F16 => self.fma_f16.unwrap_or(0.0).max(self.fma_f32),
            DType::F32 | DType::I32 => self.fma_f32,
        }
    }

    /// FLOP/s that work of so many FLOP a byte can reach.
    pub fn attainable(&self, intensity: f64, dtype: DType) -> f64 {
        self.fma(dtype).min(self.copy * intensity)
    }
}

/// The rates of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// FLOP/s; of a faster algorithm than the definition they are effective ones.
    pub flops: f64,
    /// Bytes/s, each operand's and the output's bytes counted once.
    pub bytes: f64,
    /// The part of the attainable rate.
    pub share: f64,
}

impl Speed {
    /// Of work that took `time`.
    pub fn new(work: &Work, time: Duration, dtype: DType, ceilings: &Ceilings) -> Self {
        // A clock that ticks too slowly for a tiny layer gives 0.
        let seconds = time.as_secs_f64().max(1e-9);
        let flops = work.flop as f64 / seconds;
        Self { flops, bytes: work.bytes as f64 / seconds, share: flops / ceilings.attainable(work.intensity(), dtype) }
    }
}

/// The middle one, or the mean of the two; `None` of no times.
pub fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub const CEILINGS: Ceilings = Ceilings {
        fma_f32: 100e9,
        fma_f16: Some(60e9),
        copy: 10e9,
        dispatch: Duration::from_micros(2),
        run: Duration::from_micros(50),
    };

    #[test]
    fn the_median_is_the_middle() {
        let times = |list: &[u64]| list.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(median(&[]), None);
        assert_eq!(median(&times(&[900, 1, 2])), Some(Duration::from_millis(2)));
        assert_eq!(median(&times(&[4, 900, 1, 2])), Some(Duration::from_millis(3)));
    }

    #[test]
    fn below_the_ridge_memory_is_the_limit_and_above_it_arithmetic() {
        assert_eq!(CEILINGS.attainable(1.0, DType::F32), 10e9);
        assert_eq!(CEILINGS.attainable(10.0, DType::F32), 100e9);
        assert_eq!(CEILINGS.attainable(1000.0, DType::F32), 100e9);
        // Slow f16 arithmetic is no limit to kernels that sum in f32; fast one is a higher limit.
        assert_eq!(CEILINGS.attainable(1000.0, DType::F16), 100e9);
        assert_eq!(Ceilings { fma_f16: Some(200e9), ..CEILINGS }.attainable(1000.0, DType::F16), 200e9);
    }

    #[test]
    fn rates_are_work_by_time() {
        let work = Work { flop: 4_000_000, bytes: 1_000_000 };
        let speed = Speed::new(&work, Duration::from_millis(1), DType::F32, &CEILINGS);
        assert_eq!(speed, Speed { flops: 4e9, bytes: 1e9, share: 0.1 });
        assert!(Speed::new(&work, Duration::ZERO, DType::F32, &CEILINGS).flops.is_finite());
    }
}
