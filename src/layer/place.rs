//! [`Place`]: where what a layer or network reads and writes lies.

use crate::gpu::Texture;
use crate::tensor::Tensor;

/// Where an input lies, or where an output goes.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A tensor, over a caller's buffer or not.
    Tensor(&'a Tensor),
    /// A texture, for an input or output that [`ConvImages`](crate::ConvImages) or [`NetworkDesc`](crate::NetworkDesc) says to be a
    /// picture.
    Texture(&'a Texture),
}

impl<'a> Place<'a> {
    /// The tensor, if it is one.
    pub(crate) fn tensor(self) -> Option<&'a Tensor> {
        match self {
            Place::Tensor(tensor) => Some(tensor),
            Place::Texture(_) => None,
        }
    }

    /// The texture, if it is one.
    pub(crate) fn texture(self) -> Option<&'a Texture> {
        match self {
            Place::Tensor(_) => None,
            Place::Texture(texture) => Some(texture),
        }
    }
}

impl<'a> From<&'a Tensor> for Place<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Place::Tensor(tensor)
    }
}

impl<'a> From<&'a Texture> for Place<'a> {
    fn from(texture: &'a Texture) -> Self {
        Place::Texture(texture)
    }
}
