//! [`Deform`]: what the taps of a deformed convolution meet (Dai et al., "Deformable Convolutional Networks", 2017).

use super::{Operation, WORKGROUP, array, word};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// `columns[n, c, tap, place] = mask * x(place * stride + tap * dilation - padding + offset)`, bilinear with zeros outside; operands are
/// the input, the offsets and, where there is one, the mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deform<'a> {
    pub dtype: DType,
    /// Of the convolution without its offsets, over two axes.
    pub geometry: &'a Geometry,
    pub offset_groups: usize,
    pub mask: bool,
}

impl Deform<'_> {
    /// The kernel.
    pub fn operation(&self, limits: &DeviceLimits) -> Result<Operation> {
        let geometry = self.geometry;
        let count = u64::from(geometry.batch) * u64::from(geometry.in_channels) * geometry.taps() * geometry.output_plane();
        let words = |values: [u32; 4]| -> Result<[i32; 4]> {
            let [a, b, c, d] = values.map(|value| word(i64::from(value)));
            Ok([a?, b?, c?, d?])
        };
        let (input, output, kernel) = (geometry.input, geometry.output, geometry.kernel);
        let groups = u32::try_from(self.offset_groups).unwrap_or(geometry.in_channels);
        let parameters = vec![
            [word(count as i64)?, word(i64::from(geometry.in_channels))?, word(i64::from(groups))?, 0],
            words([input[1], input[2], output[1], output[2]])?,
            words([kernel[1], kernel[2], geometry.stride[1], geometry.stride[2]])?,
            [
                word(i64::from(geometry.dilation[1]))?,
                word(i64::from(geometry.dilation[2]))?,
                geometry.pad_begin[1],
                geometry.pad_begin[2],
            ],
        ];
        let mut shader = Kernel::new(format!("deform {}", self.dtype), self.dtype, WORKGROUP)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .binding("offsets", array(self.dtype), Slot::Operand(1))
            .written("output", array(self.dtype), Slot::Output)
            .fragment(include_str!("../../shaders/deform.wgsl"));
        shader = if self.mask {
            shader
                .binding("mask", array(self.dtype), Slot::Operand(2))
                .fragment("fn weight_of(at: i32) -> f32 {\n    return f32(mask[at]);\n}")
        } else {
            shader.fragment("fn weight_of(at: i32) -> f32 {\n    return 1.0;\n}")
        };
        // Four neighbours of each place.
        let bytes = 4 * count * self.dtype.bytes() as u64;
        Ok(Operation::each(shader, count, parameters, limits)?.reading_again(bytes, limits))
    }
}
