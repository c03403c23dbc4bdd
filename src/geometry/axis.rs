//! One axis of a layer: how far a kernel reaches, what padding it gets, how many outputs it has. All in checked 64-bit arithmetic.

use crate::error::{Error, Result};
use crate::tensor_desc::MAX_ELEMENTS;

/// A size that must fit the kernels' 32-bit coordinates.
pub(super) fn to_u32(field: &'static str, what: &str, value: u64) -> Result<u32> {
    if value <= MAX_ELEMENTS as u64 {
        return Ok(value as u32);
    }
    Err(Error::invalid(field, format!("{what} is {value}, more than {MAX_ELEMENTS} (2^31 - 1)")))
}

/// One axis of a layer as the user gave it.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub index: usize,
    pub input: u64,
    pub kernel: u64,
    pub stride: u64,
    pub dilation: u64,
    pub padding: AxisPadding,
}

#[derive(Clone, Copy)]
pub(super) enum AxisPadding {
    Explicit { begin: u64, end: u64 },
    Same { odd_at_end: bool },
}

impl Axis {
    /// `dilation * (kernel - 1) + 1`: the inputs from a kernel's first tap to its last.
    fn extent(&self) -> Result<u64> {
        let too_far = || {
            let field = if self.dilation > self.kernel { "dilation" } else { "kernel" };
            Error::invalid(
                field,
                format!(
                    "axis {}: kernel {} with dilation {} spans more than {MAX_ELEMENTS} elements (2^31 - 1)",
                    self.index, self.kernel, self.dilation
                ),
            )
        };
        let extent = self.dilation.checked_mul(self.kernel - 1).and_then(|span| span.checked_add(1)).ok_or_else(too_far)?;
        if extent <= MAX_ELEMENTS as u64 { Ok(extent) } else { Err(too_far()) }
    }

    /// The padding in elements, and the padded size, checked to fit.
    fn padding(&self, extent: u64) -> Result<(u64, u64)> {
        let (begin, end) = match self.padding {
            AxisPadding::Explicit { begin, end } => (begin, end),
            AxisPadding::Same { odd_at_end } => {
                let outputs = self.input.div_ceil(self.stride);
                let reach = ((outputs - 1) * self.stride).saturating_add(extent);
                split_odd(reach.saturating_sub(self.input), odd_at_end)
            }
        };
        let padded = self.input.checked_add(begin).and_then(|sum| sum.checked_add(end));
        match padded {
            Some(padded) if padded <= MAX_ELEMENTS as u64 => Ok((begin, end)),
            _ => Err(Error::invalid(
                "padding",
                format!(
                    "axis {}: input {} with padding {begin} and {end} is more than {MAX_ELEMENTS} elements (2^31 - 1)",
                    self.index, self.input
                ),
            )),
        }
    }

    fn too_large(&self, extent: u64, begin: u64, end: u64) -> Error {
        Error::invalid(
            "kernel",
            format!(
                "axis {}: kernel {} with dilation {} spans {extent} elements, but the input has {} with padding {begin} and {end}",
                self.index, self.kernel, self.dilation, self.input
            ),
        )
    }

    /// `(output, begin, end)` of a convolution or pooling.
    pub fn forward(&self, ceil_mode: bool) -> Result<(u64, u64, u64)> {
        let extent = self.extent()?;
        let (begin, end) = self.padding(extent)?;
        let padded = self.input + begin + end;
        // A stride that saturates steps over everything: one output either way.
        let reach = if ceil_mode { padded.saturating_add(self.stride - 1) } else { padded };
        if reach < extent {
            return Err(self.too_large(extent, begin, end));
        }
        let mut output = (reach - extent) / self.stride + 1;
        // PyTorch's rule: the last window must start inside the input or its first padding.
        if ceil_mode && (output - 1) * self.stride >= self.input + begin {
            output -= 1;
        }
        Ok((output, begin, end))
    }

    /// `(output, begin, end)` of a transposed convolution, with the padding of the equivalent convolution.
    pub fn transposed(&self, output_padding: u64) -> Result<(u64, i64, i64)> {
        let extent = self.extent()?;
        let stretched = (self.input - 1).checked_mul(self.stride).and_then(|v| v.checked_add(1)).unwrap_or(u64::MAX);
        to_u32("stride", &format!("axis {}: input {} at stride {}", self.index, self.input, self.stride), stretched)?;
        let full = (stretched + extent - 1).saturating_add(output_padding);
        to_u32("stride", &format!("axis {}: the output before cropping", self.index), full)?;
        let (begin, end, output) = match self.padding {
            AxisPadding::Explicit { begin, end } => {
                let cropped = begin.checked_add(end).filter(|&crop| crop < full);
                let crop = cropped.ok_or_else(|| {
                    Error::invalid(
                        "padding",
                        format!("axis {}: padding {begin} and {end} crops all of the {full} outputs", self.index),
                    )
                })?;
                (begin, end, full - crop)
            }
            AxisPadding::Same { odd_at_end } => {
                let output = self.input * self.stride;
                let (begin, end) = split_odd(full.saturating_sub(output), odd_at_end);
                (begin, end, output)
            }
        };
        // The taps beyond the described end only ever meet zeros, so the end may be whatever gives `output` positions.
        let pad_begin = extent as i64 - 1 - begin as i64;
        let pad_end = output as i64 - stretched as i64 - pad_begin + extent as i64 - 1;
        debug_assert!(
            matches!(self.padding, AxisPadding::Same { .. }) || pad_end == (extent + output_padding) as i64 - 1 - end as i64
        );
        Ok((output, pad_begin, pad_end))
    }
}

/// Halves a padding; the odd element goes to the named side.
fn split_odd(total: u64, odd_at_end: bool) -> (u64, u64) {
    let (small, large) = (total / 2, total - total / 2);
    if odd_at_end { (small, large) } else { (large, small) }
}
