//! Register patches: which outputs an invocation computes, so that their windows overlap at any stride and dilation.

use std::fmt;

use crate::geometry::{Geometry, gcd};

/// The outputs of a plane that an invocation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PatchTile {
    /// Rows of the patch, which are computed one after the other.
    pub y: u32,
    /// Columns of the patch, which are computed at once.
    pub x: u32,
    /// Channels that are computed at once: 1, or 4 where channels are last.
    pub channels: u32,
}

impl fmt::Display for PatchTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.y, self.x)?;
        if self.channels == 1 { Ok(()) } else { write!(f, ",{}", self.channels) }
    }
}

impl PatchTile {
    /// `[y, x]`, or `[y, x, 4]` where four channels at once have at most `fours` columns.
    pub(super) fn from_numbers(numbers: &[u32], fours: u32) -> Option<Self> {
        let (y, x, channels) = match *numbers {
            [y, x] => (y, x, 1),
            [y, x, 4] if x <= fours => (y, x, 4),
            _ => return None,
        };
        ((1..=64).contains(&y) && (1..=16).contains(&x)).then_some(Self { y, x, channels })
    }
}

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
