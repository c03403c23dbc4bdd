//! Kernels whose input or output is a picture in place of a tensor.

use super::{Kernel, Slot, float, vectors};
use crate::image::{ImageDesc, ImageFormat};

/// How a convolution reads its input where it is a buffer.
const INPUT_BUFFER: &str = include_str!("../../shaders/lib/input_buffer.wgsl");

/// The same with fours of neighbours.
const INPUT_FOURS: &str = include_str!("../../shaders/lib/input_fours.wgsl");

/// How a finished output goes to a buffer; see [`Kernel::with_epilogue`].
pub(super) const OUTPUT_BUFFER: &str = "output[index] = Elem(value);";

/// And to a picture: positions are numbered alike in all channels, which are planes or neighbours.
const OUTPUT_IMAGE: &str =
    "put_element(value, channel, select(index - channel * TARGET_TEXELS, index / TARGET_CHANNELS, OUTPUT_LAST));";

/// The type of a texture that is read.
const TEXTURE: &str = "texture_2d<f32>";

impl Kernel {
    /// A convolution's input, and `load_input(index)` that reads an element of it.
    pub(crate) fn input(self, slot: Slot) -> Self {
        self.input_of("array<Elem>", slot)
    }

    /// [`input`](Self::input) of an array of other elements than the output's.
    pub(crate) fn input_of(self, ty: &'static str, slot: Slot) -> Self {
        self.binding("input", ty, slot).fragment(INPUT_BUFFER)
    }

    /// A convolution's input in fours, and besides `load_input_4(index)`, which reads those from a multiple of 4 on.
    pub(crate) fn input_in_fours(self, slot: Slot) -> Self {
        let fours = vectors(self.dtype);
        self.binding("input", fours, slot).fragment(INPUT_FOURS)
    }

    /// A picture, and `texel_value(x, y, channel)` that reads an element of the tensor that it is.
    pub(crate) fn image(self, name: &'static str, slot: Slot, image: &ImageDesc) -> Self {
        let mut kernel = self.binding(name, TEXTURE, slot);
        kernel.set_image(slot, TEXTURE, image.format);
        kernel.fragment(source_constants(image)).fragment(include_str!("../../shaders/lib/image.wgsl"))
    }

    /// A picture that the kernel writes to, and `put_element()` that does; `None` for formats that no shader can write to.
    pub(crate) fn image_target(self, slot: Slot, image: &ImageDesc, shape: &TargetShape) -> Option<Self> {
        let ty = image.format.storage_type()?;
        let mut kernel = self.written("output", ty, slot);
        kernel.set_image(slot, ty, image.format);
        Some(kernel.with_target(image, shape))
    }

    /// The same kernel with its input read from a picture; `None` for kernels that read it neither by [`input`](Self::input) nor by
    /// [`input_in_fours`](Self::input_in_fours).
    pub(crate) fn reading_image(mut self, image: &ImageDesc) -> Option<Self> {
        let fragment = self.fragments.iter_mut().find(|fragment| **fragment == INPUT_BUFFER || **fragment == INPUT_FOURS)?;
        *fragment = include_str!("../../shaders/lib/input_image.wgsl").into();
        self.set_image(Slot::Input, TEXTURE, image.format);
        self.label += " of an image";
        Some(self.fragment(source_constants(image)).fragment(include_str!("../../shaders/lib/image.wgsl")))
    }

    /// The same kernel with its output written to a picture; `None` for kernels that do not store by
    /// [`with_epilogue`](Self::with_epilogue), and formats that no shader can write to. An invocation must store all channels of
    /// a position in their order.
    pub(crate) fn writing_image(mut self, image: &ImageDesc, shape: &TargetShape) -> Option<Self> {
        let ty = image.format.storage_type()?;
        let fragment = self.fragments.iter_mut().find(|fragment| fragment.contains(OUTPUT_BUFFER))?;
        *fragment = fragment.replace(OUTPUT_BUFFER, OUTPUT_IMAGE).into();
        self.set_image(Slot::Output, ty, image.format);
        self.label += " to an image";
        let [height, width] = shape.size;
        Some(self.constant("TARGET_TEXELS", i64::from(height) * i64::from(width)).with_target(image, shape))
    }

    /// Whether an image is bound to this slot.
    pub(crate) fn has_image(&self, slot: Slot) -> bool {
        self.bindings.iter().any(|binding| binding.slot == slot && binding.image.is_some())
    }

    fn set_image(&mut self, slot: Slot, ty: &'static str, format: ImageFormat) {
        for binding in self.bindings.iter_mut().filter(|binding| binding.slot == slot) {
            (binding.ty, binding.image) = (ty, Some(format));
        }
    }

    /// What `shaders/lib/image_target.wgsl` expects, and that.
    fn with_target(self, image: &ImageDesc, shape: &TargetShape) -> Self {
        let range = image.format.range();
        let [low, high] = range.unwrap_or_default();
        let constants = format!("const TARGET_MEAN = {};\nconst TARGET_STD = {};\n", vector(&image.mean), vector(&image.std));
        self.constant("TARGET_CHANNELS", shape.channels as i64)
            .constant("TARGET_WIDTH", i64::from(shape.size[1]))
            .flag("BOUNDED", range.is_some())
            .float("LOW", low)
            .float("HIGH", high)
            .fragment(constants)
            .fragment(include_str!("../../shaders/lib/image_target.wgsl"))
    }
}

/// The tensor `[1, channels, height, width]` that a picture is written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TargetShape {
    /// 1 to 4.
    pub channels: usize,
    /// Height and width.
    pub size: [u32; 2],
}

/// What `shaders/lib/image.wgsl` expects.
fn source_constants(image: &ImageDesc) -> String {
    let factor = image.std.map(|std| 1.0 / std);
    format!("const IMAGE_MEAN = {};\nconst IMAGE_FACTOR = {};\n", vector(&image.mean), vector(&factor))
}

/// Four numbers as a WGSL expression with the same bits.
fn vector(values: &[f32; 4]) -> String {
    format!("vec4<f32>({})", values.map(float).join(", "))
}
