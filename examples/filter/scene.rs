//! The renderer: plain wgpu, which knows nothing of convolutions. It opens a device of its own and draws a scene into a texture.

use wgconv::{Engine, wgpu};

use crate::Result;

/// What the scene is drawn into: a network reads it, writes it, and it is copied to the host for its PNG.
pub const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// Samples of each pixel, which every WebGPU device has: edges of polygons are no stairs.
const SAMPLES: u32 = 4;
/// Polygons, and the background.
const INSTANCES: u32 = 10;
/// Up to six triangles for each.
const VERTICES: u32 = 18;

/// The renderer's device.
pub struct Opened {
    pub adapter: wgpu::Adapter,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

/// Opens the adapter of this number or name in the engine's list, the best one without it.
pub fn open(wanted: Option<&str>) -> Result<Opened> {
    let list = Engine::adapters();
    let named = |wanted: &str| {
        let number = wanted.parse::<usize>().ok().and_then(|number| list.get(number));
        number.or_else(|| list.iter().find(|adapter| adapter.summary.name.to_lowercase().contains(&wanted.to_lowercase())))
    };
    let names = || list.iter().map(|adapter| format!("{}: {}", adapter.index, adapter.summary)).collect::<Vec<_>>().join("; ");
    let chosen = wanted.map_or(list.first(), named).ok_or_else(|| match wanted {
        Some(wanted) if !list.is_empty() => format!("no adapter has the number or a name with `{wanted}`; there is {}", names()),
        _ => "no adapter: install a GPU's driver, or a software one such as mesa-vulkan-drivers".into(),
    })?;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let same = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        info.name == chosen.summary.name && format!("{:?}", info.backend) == chosen.summary.backend
    };
    let adapter = adapters.into_iter().find(same).ok_or_else(|| format!("{} is gone", chosen.summary))?;
    // With nothing asked for: what every WebGPU device has is enough.
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    Ok(Opened { adapter, device, queue })
}

/// The scene with its pipeline.
pub struct Scene {
    pipeline: wgpu::RenderPipeline,
    bind_group: wgpu::BindGroup,
    /// `Frame` of scene.wgsl.
    frame: wgpu::Buffer,
    /// What is drawn into, before the mean of each pixel's samples goes to the target.
    samples: wgpu::Texture,
}

impl Scene {
    /// For targets of this size.
    pub fn new(device: &wgpu::Device, size: [u32; 2]) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("scene"),
            source: wgpu::ShaderSource::Wgsl(include_str!("scene.wgsl").into()),
        });
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("scene"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("vertex"),
                compilation_options: Default::default(),
                buffers: &[],
            },
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState { count: SAMPLES, ..Default::default() },
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("fragment"),
                compilation_options: Default::default(),
                targets: &[Some(FORMAT.into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let frame =
            device.create_buffer(&wgpu::BufferDescriptor { label: Some("frame"), size: 8, usage, mapped_at_creation: false });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("scene"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: frame.as_entire_binding() }],
        });
        Self { pipeline, bind_group, frame, samples: texture(device, size, SAMPLES, wgpu::TextureUsages::empty()) }
    }

    /// A texture that the scene can be drawn into and a network can filter.
    pub fn target(device: &wgpu::Device, size: [u32; 2]) -> wgpu::Texture {
        let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC;
        texture(device, size, 1, usage)
    }

    /// Records the scene at a time, in seconds.
    pub fn draw(&self, queue: &wgpu::Queue, encoder: &mut wgpu::CommandEncoder, target: &wgpu::Texture, time: f32) {
        let aspect = target.height() as f32 / target.width() as f32;
        queue.write_buffer(&self.frame, 0, &[time.to_le_bytes(), aspect.to_le_bytes()].concat());
        let [samples, target] =
            [&self.samples, target].map(|texture| texture.create_view(&wgpu::TextureViewDescriptor::default()));
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("scene"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &samples,
                depth_slice: None,
                resolve_target: Some(&target),
                ops: wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Discard },
            })],
            ..Default::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.draw(0..VERTICES, 0..INSTANCES);
    }
}

/// One that can be drawn into, for the rest of these usages too.
fn texture(device: &wgpu::Device, [width, height]: [u32; 2], samples: u32, usage: wgpu::TextureUsages) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: Some("scene"),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: samples,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage: usage | wgpu::TextureUsages::RENDER_ATTACHMENT,
        view_formats: &[],
    })
}

/// A texture on its way to the host.
pub struct Copied {
    buffer: wgpu::Buffer,
    size: [u32; 2],
    /// Bytes from a row to the next: a copy wants multiples of 256.
    row: u32,
}

impl Copied {
    /// Records the copy.
    pub fn record(device: &wgpu::Device, encoder: &mut wgpu::CommandEncoder, texture: &wgpu::Texture) -> Self {
        let size = [texture.width(), texture.height()];
        let row = (size[0] * 4).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("picture"),
            size: u64::from(row) * u64::from(size[1]),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
        let target = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
        Self { buffer, size, row }
    }

    /// Waits for what was submitted, and gives the picture.
    pub fn wait(self, device: &wgpu::Device) -> Result<image::RgbaImage> {
        self.buffer.map_async(wgpu::MapMode::Read, .., |_| {});
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let bytes = self.buffer.get_mapped_range(..)?;
        let rows = bytes.chunks(self.row as usize).flat_map(|row| &row[..self.size[0] as usize * 4]);
        let pixels: Vec<u8> = rows.copied().collect();
        let [width, height] = self.size;
        image::RgbaImage::from_raw(width, height, pixels).ok_or_else(|| "the picture has not as many bytes as it should".into())
    }
}
