//! What tests beside a renderer share: a caller's device, textures with known texels, and reading them back.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::OnceLock;

use wgconv::wgpu::{self, BufferUsages, TextureFormat, TextureUsages};
use wgconv::{ConvDesc, Engine, EngineDesc, Graph, ImageDesc, ImageFormat, TensorDesc, Value, ValueId};

/// A caller's own device and an engine on it, as a renderer would make them. All are of one instance: wgpu tells the resources of two
/// devices apart, but not those of two instances.
pub fn beside() -> Engine {
    beside_as(&EngineDesc::default())
}

/// [`beside`], with an engine as described.
pub fn beside_as(desc: &EngineDesc) -> Engine {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    let instance = INSTANCE.get_or_init(|| wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env()));
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
        .unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"));
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    Engine::from_wgpu(&adapter, device, queue, desc).unwrap()
}

pub const ALL: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

pub fn buffer(engine: &Engine, size: u64, usage: BufferUsages) -> wgpu::Buffer {
    engine.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

/// A graph of one convolution from `in` to `out` with small integers as weights.
pub fn conv_graph(shape: &[usize], out_channels: usize, desc: &ConvDesc) -> Graph {
    let mut graph = Graph::new("conv");
    let dims: Vec<_> = shape.iter().map(|&size| size.into()).collect();
    let x = graph.input("in", &dims);
    let y = conv(&mut graph, x, out_channels, desc);
    graph.output("out", y);
    graph
}

pub fn conv(graph: &mut Graph, x: ValueId, out_channels: usize, desc: &ConvDesc) -> ValueId {
    let kernel: Vec<usize> = desc.kernel.as_slice().to_vec();
    let shape = [&[out_channels, desc.in_channels / desc.groups], kernel.as_slice()].concat();
    let count: usize = shape.iter().product();
    let numbers: Vec<f32> = (0..count).map(|at| ((at * 7 + at / 3) % 5) as f32 - 2.0).collect();
    let weight = graph.constant("weight", Value::new(&shape, numbers).unwrap());
    let bias =
        graph.constant("bias", Value::new(&[out_channels], (0..out_channels).map(|at| at as f32).collect::<Vec<_>>()).unwrap());
    graph.conv(desc, x, weight, Some(bias))
}

/// A picture: its texture, and each texel's components as a shader sees them.
pub struct Picture {
    pub texture: wgpu::Texture,
    pub format: ImageFormat,
    pub texels: Vec<[f32; 4]>,
}

pub const FORMATS: [(ImageFormat, TextureFormat); 5] = [
    (ImageFormat::Rgba8Unorm, TextureFormat::Rgba8Unorm),
    (ImageFormat::Rgba8UnormSrgb, TextureFormat::Rgba8UnormSrgb),
    (ImageFormat::Bgra8Unorm, TextureFormat::Bgra8Unorm),
    (ImageFormat::Rgba16Float, TextureFormat::Rgba16Float),
    (ImageFormat::R32Float, TextureFormat::R32Float),
];

pub fn texture(engine: &Engine, [height, width]: [usize; 2], format: TextureFormat, usage: TextureUsages) -> wgpu::Texture {
    engine.device().create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage,
        view_formats: &[],
    })
}

impl Picture {
    pub fn new(engine: &Engine, size: [usize; 2], format: ImageFormat) -> Self {
        let wgpu_format = FORMATS.iter().find(|pair| pair.0 == format).unwrap().1;
        let mut usage = TextureUsages::TEXTURE_BINDING | TextureUsages::COPY_DST | TextureUsages::COPY_SRC;
        if matches!(format, ImageFormat::Rgba8Unorm | ImageFormat::Rgba16Float | ImageFormat::R32Float) {
            usage |= TextureUsages::STORAGE_BINDING;
        }
        let texture = texture(engine, size, wgpu_format, usage);
        let bytes: Vec<[u8; 4]> =
            (0..size[0] * size[1]).map(|at| std::array::from_fn(|c| ((at * 37 + c * 91 + at * at) % 256) as u8)).collect();
        let unit = |byte: u8| f32::from(byte) / 255.0;
        let linear = |byte: u8| {
            let value = unit(byte);
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        // Floats are small integers, so that sums are exact.
        let small = |byte: u8| f32::from(byte % 16) - 8.0;
        let (data, texels): (Vec<u8>, Vec<[f32; 4]>) = match format {
            ImageFormat::Rgba8Unorm => (bytes.concat(), bytes.iter().map(|texel| texel.map(unit)).collect()),
            ImageFormat::Rgba8UnormSrgb => {
                let texels = bytes.iter().map(|&[r, g, b, a]| [linear(r), linear(g), linear(b), unit(a)]);
                (bytes.concat(), texels.collect())
            }
            ImageFormat::Bgra8Unorm => {
                (bytes.concat(), bytes.iter().map(|&[b, g, r, a]| [unit(r), unit(g), unit(b), unit(a)]).collect())
            }
            ImageFormat::Rgba16Float => {
                let halves = bytes.iter().flatten().flat_map(|&byte| half::f16::from_f32(small(byte)).to_le_bytes());
                (halves.collect(), bytes.iter().map(|texel| texel.map(small)).collect())
            }
            ImageFormat::R32Float => {
                let floats = bytes.iter().flat_map(|texel| small(texel[0]).to_le_bytes());
                (floats.collect(), bytes.iter().map(|texel| [small(texel[0]), 0.0, 0.0, 1.0]).collect())
            }
        };
        let row = (data.len() / size[0]) as u32;
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
        engine.queue().write_texture(texture.as_image_copy(), &data, layout, texture.size());
        Self { texture, format, texels }
    }

    /// The tensor that the picture is.
    pub fn tensor(&self, desc: &ImageDesc, channels: usize) -> Value {
        let size = self.texture.size();
        let element = |c: usize| self.texels.iter().map(move |texel| (texel[c] - desc.mean[c]) / desc.std[c]);
        let list: Vec<f32> = (0..channels).flat_map(element).collect();
        Value::new(&[1, channels, size.height as usize, size.width as usize], list).unwrap()
    }
}

/// Components of a texture, texel by texel.
pub fn read(engine: &Engine, texture: &wgpu::Texture) -> Vec<f32> {
    let (size, format) = (texture.size(), texture.format());
    let texel = format.block_copy_size(None).unwrap();
    let row = (size.width * texel).next_multiple_of(256);
    let usage = BufferUsages::COPY_DST | BufferUsages::COPY_SRC | BufferUsages::STORAGE;
    let staging = buffer(engine, u64::from(row * size.height), usage);
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &staging, layout }, size);
    engine.queue().submit([encoder.finish()]);
    let words = engine.tensor_from_buffer(&staging, 0, &TensorDesc::f32(&[(row * size.height / 4) as usize])).unwrap();
    let bytes: Vec<u8> = words.to_vec::<f32>().unwrap().into_iter().flat_map(f32::to_le_bytes).collect();
    let rows = bytes.chunks(row as usize).flat_map(|line| &line[..(size.width * texel) as usize]).copied().collect::<Vec<u8>>();
    match format {
        TextureFormat::Rgba8Unorm => rows.iter().map(|&byte| f32::from(byte)).collect(),
        TextureFormat::Rgba16Float => rows.as_chunks().0.iter().map(|&pair| half::f16::from_le_bytes(pair).to_f32()).collect(),
        _ => rows.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect(),
    }
}

pub fn images(name: &str, desc: ImageDesc) -> Vec<(String, ImageDesc)> {
    vec![(name.into(), desc)]
}
