//! Pictures to tensors and back, one dispatch each: for networks whose first layer cannot read the texture itself, and for results.

use super::{EACH, Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::image::ImageDesc;
use crate::kernel::{Kernel, Slot, vector};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// A picture and the tensor `[1, channels, height, width]` that it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Image<'a> {
    pub desc: &'a ImageDesc,
    pub dtype: DType,
    pub channels: usize,
    /// Height and width.
    pub size: [u32; 2],
}

impl Image<'_> {
    fn texels(&self) -> i64 {
        i64::from(self.size[0]) * i64::from(self.size[1])
    }

    /// From the texture, which is operand 0, to the tensor.
    pub fn load(&self, limits: &DeviceLimits) -> Result<Operation> {
        let count = self.texels().saturating_mul(self.channels as i64);
        let parameters = vec![[word(count)?, word(i64::from(self.size[1]))?, word(self.texels())?, 0]];
        let kernel = Kernel::new(format!("image_load {} {}", self.desc.format, self.dtype), self.dtype, WORKGROUP)
            .image("input", Slot::Operand(0), self.desc)
            .written("output", array(self.dtype), Slot::Output)
            .fragment(EACH)
            .fragment(include_str!("../../shaders/image_load.wgsl"));
        Operation::new(kernel, (count as u64).div_ceil(u64::from(WORKGROUP)), parameters, limits)
    }

    /// From the tensor, which is operand 0, to the texture.
    pub fn store(&self, limits: &DeviceLimits) -> Result<Operation> {
        let format = self.desc.format;
        let ty = format.storage_type().ok_or_else(|| {
            Error::unsupported(
                "image",
                format!("of {format} cannot be written to by a shader: Rgba8Unorm, Rgba16Float and R32Float can"),
            )
        })?;
        word(self.texels().saturating_mul(self.channels as i64))?;
        let parameters = vec![[word(self.texels())?, word(i64::from(self.size[1]))?, 0, 0]];
        let range = format.range();
        let [low, high] = range.unwrap_or_default();
        let constants =
            format!("const IMAGE_MEAN = {};\nconst IMAGE_STD = {};\n", vector(&self.desc.mean), vector(&self.desc.std));
        let kernel = Kernel::new(format!("image_store {format} {}", self.dtype), self.dtype, WORKGROUP)
            .constant("CHANNELS", self.channels as i64)
            .flag("BOUNDED", range.is_some())
            .float("LOW", low)
            .float("HIGH", high)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .written_image("output", ty, Slot::Output, format)
            .fragment(constants)
            .fragment(EACH)
            .fragment(include_str!("../../shaders/image_store.wgsl"));
        Operation::new(kernel, (self.texels() as u64).div_ceil(u64::from(WORKGROUP)), parameters, limits)
    }
}
