//! Register patches: which outputs an invocation computes, so that their windows overlap at any stride and dilation, and how it loads the
//! rows of inputs that those see.

use std::fmt;

use super::cost::Operations;
use crate::desc::PaddingMode;
use crate::geometry::{Geometry, gcd};
use crate::layout::Layout;

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

/// Which of the neighbouring inputs of a row are loaded four at a time: those between the first and the last multiple of 4, where all rows
/// begin at one. The others are loaded one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowFours {
    /// Inputs before the first four.
    pub before: u32,
    /// Loads of four.
    pub count: u32,
}

impl RowFours {
    pub const NONE: Self = Self { before: 0, count: 0 };

    /// Those of `outputs` neighbours, whose windows of `taps` inputs lie `stride` apart, in a tensor of f32 or f16.
    pub fn new(geometry: &Geometry, outputs: u32, stride: u32, taps: u32) -> Self {
        let rows = geometry.input_layout == Layout::ChannelsFirst && geometry.input[2].is_multiple_of(4);
        let patches = (u64::from(outputs) * u64::from(stride)).is_multiple_of(4);
        let zeros = geometry.padding_mode == PaddingMode::Zeros;
        let neighbours = geometry.source_step()[2] == 1 && !geometry.is_phased() && stride <= taps;
        if !(rows && patches && zeros && neighbours) {
            return Self::NONE;
        }
        // A patch begins `pad_begin` before a multiple of 4.
        let before = geometry.pad_begin[2].rem_euclid(4) as u32;
        let inputs = u64::from(outputs - 1) * u64::from(stride) + u64::from(taps);
        match inputs.saturating_sub(before.into()) / 4 {
            0 => Self::NONE,
            count => Self { before, count: u32::try_from(count).expect("a patch's row fits registers") },
        }
    }

    pub fn is_none(self) -> bool {
        self.count == 0
    }

    /// The first input of each.
    pub fn firsts(self) -> impl Iterator<Item = u32> {
        (0..self.count).map(move |number| self.before + 4 * number)
    }

    /// The inputs of the one that begins there, each with its lane.
    pub fn lanes(first: u32) -> impl Iterator<Item = (u32, &'static str)> {
        (first..).zip(["x", "y", "z", "w"])
    }

    /// Whether one of them has this input.
    pub fn has(self, input: impl Into<u64>) -> bool {
        (u64::from(self.before)..u64::from(self.before + 4 * self.count)).contains(&input.into())
    }

    /// Whether one of them begins with it.
    pub fn begins_at(self, input: u32) -> bool {
        self.has(input) && (input - self.before).is_multiple_of(4)
    }

    /// How many loads of one take as long as loading so many inputs of a row.
    pub fn loads(self, inputs: f64) -> f64 {
        inputs - (4.0 - Operations::FOUR) * f64::from(self.count)
    }
}
