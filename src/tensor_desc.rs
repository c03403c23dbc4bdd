//! [`TensorDesc`]: the shape, element type and layout of a tensor, and the arithmetic on them.

use std::fmt;

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::spatial::write_dims;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float in storage; arithmetic stays in 32 bits but under [`Precision::Half`](crate::Precision).
    F16,
    /// 32-bit signed integer: the indices that a max pooling gives, and the integers of networks.
    I32,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F16 => 2,
        }
    }

    /// The name in problem lines: `f32`, `f16`, `i32`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::I32 => "i32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Shape, element type and layout of a dense tensor.
///
/// A layer's input and output have the axes `[n, c, w]`, `[n, c, h, w]` or `[n, c, d, h, w]`, in this order whatever the [`Layout`]: that
/// says only how the elements lie on the device.
///
/// # Examples
/// ```
/// use wgconv::TensorDesc;
/// let image = TensorDesc::f32(&[1, 3, 224, 224]);
/// assert_eq!(image.elements().unwrap(), 150_528);
/// assert_eq!(image.to_string(), "1x3x224x224 f32");
/// assert_eq!(image.with_layout(wgconv::Layout::ChannelsLast).to_string(), "1x3x224x224 f32 nhwc");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorDesc {
    shape: Vec<usize>,
    dtype: DType,
    layout: Layout,
}

/// The most elements a tensor may have: kernels index with 32-bit signed integers.
pub(crate) const MAX_ELEMENTS: usize = i32::MAX as usize;

impl TensorDesc {
    /// A description of any shape and type, channels first; nothing is checked yet.
    pub fn new(shape: &[usize], dtype: DType) -> Self {
        Self { shape: shape.to_vec(), dtype, layout: Layout::ChannelsFirst }
    }

    /// An f32 tensor of this shape.
    pub fn f32(shape: &[usize]) -> Self {
        Self::new(shape, DType::F32)
    }

    /// An f16 tensor of this shape.
    pub fn f16(shape: &[usize]) -> Self {
        Self::new(shape, DType::F16)
    }

    /// The sizes of the axes, in elements.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The order of the axes in memory.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The same shape and type in another layout. Fewer than three axes lie the same in both, and stay as they are.
    pub fn with_layout(&self, layout: Layout) -> Self {
        let layout = if self.shape.len() < 3 { Layout::ChannelsFirst } else { layout };
        Self { layout, ..self.clone() }
    }

    /// The same shape and layout of another type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, ..self.clone() }
    }

    /// The number of elements, the product of the shape.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for more than 2^31 - 1 elements.
    pub fn elements(&self) -> Result<usize> {
        self.elements_of("input")
    }

    /// [`elements`](Self::elements), with the tensor's role for the error message.
    pub(crate) fn elements_of(&self, field: &'static str) -> Result<usize> {
        let product = if self.shape.contains(&0) {
            Some(0)
        } else {
            self.shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
        };
        product.filter(|&n| n <= MAX_ELEMENTS).ok_or_else(|| {
            Error::invalid(
                field,
                format!("shape {self} has more than {MAX_ELEMENTS} elements (2^31 - 1), the most a tensor may have"),
            )
        })
    }

    /// The number of bytes of the elements.
    ///
    /// # Errors
    /// As [`elements`](Self::elements).
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.elements()? as u64 * self.dtype.bytes() as u64)
    }

    /// Checks that a slice of `len` elements fills this shape.
    pub(crate) fn check_len(&self, field: &'static str, len: usize) -> Result<()> {
        let elements = self.elements_of(field)?;
        if len == elements {
            return Ok(());
        }
        Err(Error::invalid(field, format!("data has {len} elements, but shape {self} has {elements}")))
    }
}

impl fmt::Display for TensorDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dims(f, &self.shape)?;
        write!(f, "{}{}", if self.shape.is_empty() { "scalar " } else { " " }, self.dtype)?;
        match self.layout {
            Layout::ChannelsFirst => Ok(()),
            Layout::ChannelsLast => write!(f, " {}", self.layout),
        }
    }
}
