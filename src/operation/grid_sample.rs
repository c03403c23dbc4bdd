//! [`GridSample`]: elements of a tensor at the positions that another names (Jaderberg et al., "Spatial Transformer Networks", 2015).

use super::{Operation, WORKGROUP, array, word};
use crate::error::Result;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// `output[n, c, place] = input[n, c, grid[n, place]]` between neighbours; operands are the input and the grid, whose numbers name the
/// last axis first and run from -1 to 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GridSample<'a> {
    pub dtype: DType,
    /// Of the grid.
    pub grid: DType,
    /// Items and channels.
    pub outer: [usize; 2],
    /// The two or three axes of the input.
    pub sizes: &'a [usize],
    /// Positions of an item.
    pub places: usize,
    /// Neighbours on each axis: 2 or, over two axes, 4.
    pub taps: u32,
    /// The number of what is outside in the shader: 0 zeros, 1 the border, 2 reflection.
    pub padding: u32,
    /// Whether -1 and 1 are the centres of the first and last elements, and not their outer edges.
    pub align_corners: bool,
}

impl GridSample<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let [items, channels] = self.outer;
        let count = items.saturating_mul(channels).saturating_mul(self.places);
        let size = |axis: usize| match (axis + self.sizes.len()).checked_sub(3) {
            Some(axis) => word(self.sizes[axis] as i64),
            None => Ok(1),
        };
        let parameters =
            vec![[word(count as i64)?, word(channels as i64)?, word(self.places as i64)?, 0], [size(0)?, size(1)?, size(2)?, 0]];
        let (spatial, neighbours) = (self.sizes.len(), u64::from(self.taps).pow(self.sizes.len() as u32));
        let label = format!("grid_sample {} {spatial}d {} {}", self.dtype, self.taps, self.padding);
        let mut kernel = Kernel::new(label, self.dtype, WORKGROUP)
            .constant("SPATIAL", spatial as i64)
            .constant("TAPS", i64::from(self.taps))
            .constant("PADDING", i64::from(self.padding))
            .flag("ALIGN", self.align_corners)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .binding("grid", array(self.grid), Slot::Operand(1))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(include_str!("../../shaders/grid_sample.wgsl"))
            .fragment(include_str!("../../shaders/lib/activations.wgsl"))
            .fragment(include_str!("../../shaders/lib/numbers.wgsl"));
        kernel.iterations = 2 * neighbours;
        let bytes = (count as u64).saturating_mul(neighbours * self.dtype.bytes() as u64);
        Ok(Operation::each(kernel, count as u64, parameters, limits)?.reading_again(bytes, limits))
    }
}
