//! Pictures to tensors and back, one dispatch each: for networks whose first layer cannot read the texture itself, and for results.

use super::{Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::image::ImageDesc;
use crate::kernel::{Kernel, Slot, TargetShape};
use crate::limits::{DeviceLimits, Ranges};
use crate::tensor_desc::DType;

/// A picture and the tensor `[1, channels, height, width]` that it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Image<'a> {
    /// Of the input or the output that it is.
    pub name: &'a str,
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

    /// Checks that one binding holds the tensor: a picture is loaded and stored by one dispatch.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with its name, its bytes and the limit where none does.
    pub fn check(&self, limits: &DeviceLimits) -> Result<()> {
        let bytes = self.texels() as u64 * self.channels as u64 * self.dtype.bytes() as u64;
        let Ranges { most, .. } = Ranges::of(limits);
        if bytes <= most {
            return Ok(());
        }
        Err(Error::unsupported(
            "image",
            format!(
                "`{}` is a tensor of {bytes} bytes, but a binding has at most {most}: use a tensor, or tiles of the picture",
                self.name
            ),
        ))
    }

    /// From the texture, which is operand 0, to the tensor.
    pub fn load(&self, limits: &DeviceLimits) -> Result<Operation> {
        self.check(limits)?;
        let count = self.texels().saturating_mul(self.channels as i64);
        let parameters = vec![[word(count)?, word(i64::from(self.size[1]))?, word(self.texels())?, 0]];
        let kernel = Kernel::new(format!("image_load {} {}", self.desc.format, self.dtype), self.dtype, WORKGROUP)
            .image("input", Slot::Operand(0), self.desc)
            .written("output", array(self.dtype), Slot::Output)
            .fragment(include_str!("../../shaders/image_load.wgsl"));
        Operation::each(kernel, count as u64, parameters, limits)
    }

    /// From the tensor, which is operand 0, to the texture.
    pub fn store(&self, limits: &DeviceLimits) -> Result<Operation> {
        self.check(limits)?;
        let format = self.desc.format;
        word(self.texels().saturating_mul(self.channels as i64))?;
        let texels = word(self.texels())?;
        let shape = TargetShape { channels: self.channels, size: self.size };
        let kernel = Kernel::new(format!("image_store {format} {}", self.dtype), self.dtype, WORKGROUP)
            .binding("input", array(self.dtype), Slot::Operand(0))
            .image_target(Slot::Output, self.desc, &shape)
            .ok_or_else(|| {
                Error::unsupported(
                    "image",
                    format!("of {format} cannot be written to by a shader: Rgba8Unorm, Rgba16Float and R32Float can"),
                )
            })?
            .fragment(include_str!("../../shaders/image_store.wgsl"));
        Operation::each(kernel, self.texels() as u64, vec![[texels, 0, 0, 0]], limits)
    }
}
