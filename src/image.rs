//! [`ImageDesc`]: how the texels of a picture are the elements of a tensor. Plain data: no texture is touched here.

use std::fmt;

use crate::error::{Error, Result};

/// The format of a texture, by WebGPU's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Four components of 8 bits that mean 0 to 1.
    Rgba8Unorm,
    /// The same with the colours in sRGB; reading gives linear ones. It cannot be written to.
    Rgba8UnormSrgb,
    /// [`Rgba8Unorm`](Self::Rgba8Unorm) with blue first in memory: components are r, g, b, a all the same. It cannot be written to.
    Bgra8Unorm,
    /// Four 16-bit floats.
    Rgba16Float,
    /// One 32-bit float.
    R32Float,
}

impl ImageFormat {
    /// Components of a texel.
    pub fn components(self) -> usize {
        if self == ImageFormat::R32Float { 1 } else { 4 }
    }

    /// The type of a texture that a shader writes to; `None` where WebGPU has none without optional features.
    pub(crate) fn storage_type(self) -> Option<&'static str> {
        match self {
            ImageFormat::Rgba8Unorm => Some("texture_storage_2d<rgba8unorm, write>"),
            ImageFormat::Rgba16Float => Some("texture_storage_2d<rgba16float, write>"),
            ImageFormat::R32Float => Some("texture_storage_2d<r32float, write>"),
            ImageFormat::Rgba8UnormSrgb | ImageFormat::Bgra8Unorm => None,
        }
    }

    /// The numbers that a component holds; whatever is written is clamped to them.
    pub(crate) fn range(self) -> Option<[f32; 2]> {
        match self {
            ImageFormat::Rgba8Unorm | ImageFormat::Rgba8UnormSrgb | ImageFormat::Bgra8Unorm => Some([0.0, 1.0]),
            ImageFormat::Rgba16Float => Some([-65504.0, 65504.0]),
            ImageFormat::R32Float => None,
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// How a texture is a tensor `[1, channels, height, width]` of one to four channels, in the order r, g, b, a.
///
/// Read, `element[c] = (component[c] - mean[c]) / std[c]`; written, `component[c] = element[c] * std[c] + mean[c]`, clamped to what the
/// format holds. A tensor of one channel is written as grey, and components that a tensor has not are 0, alpha is 1.
///
/// # Examples
/// ```
/// use wgconv::{ImageDesc, ImageFormat};
/// // What networks trained on ImageNet want.
/// let desc = ImageDesc {
///     mean: [0.485, 0.456, 0.406, 0.0],
///     std: [0.229, 0.224, 0.225, 1.0],
///     ..ImageDesc::new(ImageFormat::Rgba8Unorm)
/// };
/// assert_eq!(desc.format.components(), 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageDesc {
    /// The texture's format.
    pub format: ImageFormat,
    /// What is taken off each component.
    pub mean: [f32; 4],
    /// What each component is then divided by.
    pub std: [f32; 4],
}

impl ImageDesc {
    /// Components as they are: mean 0, standard deviation 1.
    pub fn new(format: ImageFormat) -> Self {
        Self { format, mean: [0.0; 4], std: [1.0; 4] }
    }

    /// Height and width of the texture that is a tensor of this shape.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the shape is no picture's, or a mean or deviation is no usable number.
    pub(crate) fn size(&self, name: &str, shape: &[usize]) -> Result<[u32; 2]> {
        let about = |text: String| Error::invalid("image", format!("`{name}` {text}"));
        let most = self.format.components();
        let &[1, channels @ 1..=4, height, width] = shape else {
            return Err(about(format!("is {shape:?}, but a picture is [1, channels, height, width] with 1 to 4 channels")));
        };
        if channels > most {
            return Err(about(format!("has {channels} channels, but {} has {most} components", self.format)));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(about(format!("has a mean of {mean}, but a mean is a finite number")));
        }
        if let Some(std) = self.std.iter().find(|std| !std.is_normal()) {
            return Err(about(format!("has a std of {std}, but a standard deviation is a finite number other than 0")));
        }
        match (u32::try_from(height), u32::try_from(width)) {
            (Ok(height @ 1..), Ok(width @ 1..)) => Ok([height, width]),
            _ => Err(about(format!("is {shape:?}, but a texture has at least one texel and sizes of 32 bits"))),
        }
    }
}
