//! Buffers and textures of a caller: what they must be before a kernel is bound to them.

use super::Gpu;
use crate::error::{Error, Result};
use crate::image::ImageFormat;

/// WebGPU's name of a format.
pub(super) fn texture_format(format: ImageFormat) -> wgpu::TextureFormat {
    match format {
        ImageFormat::Rgba8Unorm => wgpu::TextureFormat::Rgba8Unorm,
        ImageFormat::Rgba8UnormSrgb => wgpu::TextureFormat::Rgba8UnormSrgb,
        ImageFormat::Bgra8Unorm => wgpu::TextureFormat::Bgra8Unorm,
        ImageFormat::Rgba16Float => wgpu::TextureFormat::Rgba16Float,
        ImageFormat::R32Float => wgpu::TextureFormat::R32Float,
    }
}

/// Checks that a range of a buffer can be bound as storage: alignment, size, usage, device.
pub(crate) fn check_range(gpu: &Gpu, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<()> {
    let about = |text: String| Err(Error::invalid("buffer", text));
    let alignment = u64::from(gpu.device.limits().min_storage_buffer_offset_alignment);
    if !offset.is_multiple_of(alignment) {
        return about(format!(
            "range begins at byte {offset}, but on this device a range begins at a multiple of {alignment} bytes"
        ));
    }
    if offset.checked_add(bytes).is_none_or(|end| end > buffer.size()) {
        return about(format!("has {} bytes, but the range is {bytes} bytes from byte {offset} on", buffer.size()));
    }
    if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        return about(format!("has the usages {:?}, but a tensor needs STORAGE", buffer.usage()));
    }
    // wgpu tells no buffer's device, but binds none of another one.
    let entry = wgpu::BindGroupLayoutEntry {
        binding: 0,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: false },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let size = wgpu::BufferSize::new(bytes);
    gpu.scoped(|| {
        let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[entry] });
        let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
        let entries = [wgpu::BindGroupEntry { binding: 0, resource }];
        let _ = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
        Ok(())
    })
    .map_err(|error| error.within("the buffer cannot be bound on the engine's device"))
}

/// What a kernel is bound to: the first level of a texture that has this size and format.
pub(crate) fn view(
    gpu: &Gpu,
    name: &str,
    texture: &wgpu::Texture,
    format: ImageFormat,
    [height, width]: [u32; 2],
    written: bool,
) -> Result<wgpu::TextureView> {
    let about = |text: String| Err(Error::invalid("texture", format!("for `{name}` {text}")));
    let size = texture.size();
    if (size.width, size.height) != (width, height) {
        return about(format!("is {} x {}, but {width} x {height} is needed", size.width, size.height));
    }
    if texture.dimension() != wgpu::TextureDimension::D2 || size.depth_or_array_layers != 1 || texture.sample_count() != 1 {
        return about(format!(
            "has dimension {:?}, {} layers and {} samples, but one picture of two dimensions is needed",
            texture.dimension(),
            size.depth_or_array_layers,
            texture.sample_count()
        ));
    }
    if texture.format() != texture_format(format) {
        return about(format!("has the format {:?}, but {format} is needed", texture.format()));
    }
    let usage = if written { wgpu::TextureUsages::STORAGE_BINDING } else { wgpu::TextureUsages::TEXTURE_BINDING };
    if !texture.usage().contains(usage) {
        return about(format!("has the usages {:?}, but {usage:?} is needed", texture.usage()));
    }
    let descriptor = wgpu::TextureViewDescriptor { mip_level_count: Some(1), ..Default::default() };
    gpu.scoped(|| Ok(texture.create_view(&descriptor)))
}
