//! Register patches on an axis: which outputs an invocation computes, so that their windows overlap at any stride and dilation.

use crate::geometry::{Geometry, gcd};

/// How the windows of an axis lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlap {
    /// Distance of an invocation's outputs.
    pub spread: u32,
    /// Distance of their inputs, in dilations.
    pub share: u32,
}

impl Overlap {
    pub fn new(stride: u32, dilation: u32) -> Self {
        let common = gcd(i64::from(stride), i64::from(dilation)) as u32; // a divisor of two u32 is one
        Self { spread: dilation / common, share: stride / common }
    }

    /// That of a convolution's axis: of outputs of one phase.
    pub fn of(geometry: &Geometry, axis: usize) -> Self {
        Self::new(geometry.stride[axis], geometry.source_step()[axis])
    }

    /// Blocks of `tile` outputs each that cover an axis.
    pub fn blocks(self, outputs: u32, tile: u32) -> u64 {
        let run = u64::from(tile) * u64::from(self.spread);
        u64::from(outputs).div_ceil(run) * u64::from(self.spread)
    }
}
