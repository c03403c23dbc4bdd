//! Beside a renderer: ranges of a caller's buffers, textures as inputs and outputs of networks, on a device of the caller's.

use std::sync::OnceLock;

use wgconv::wgpu::{self, BufferUsages, TextureFormat, TextureUsages};
use wgconv::{
    Activation, ConvDesc, DeviceClass, Engine, EngineDesc, Epilogue, ErrorKind, Graph, ImageDesc, ImageFormat, Network,
    NetworkDesc, Place, PoolDesc, TensorDesc, Value, ValueId, Weights,
};

/// A caller's own device and an engine on it, as a renderer would make them. All are of one instance: wgpu tells the resources of two
/// devices apart, but not those of two instances.
fn beside() -> Engine {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    let instance = INSTANCE.get_or_init(|| wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env()));
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
        .unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"));
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    Engine::from_wgpu(&adapter, device, queue, &EngineDesc::default()).unwrap()
}

const ALL: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

fn buffer(engine: &Engine, size: u64, usage: BufferUsages) -> wgpu::Buffer {
    engine.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn box_sum() -> (ConvDesc, Weights<'static>) {
    (ConvDesc::new(1, 1, [2, 2]), Weights { kernel: &[1.0; 4], ..Default::default() })
}

#[test]
fn a_layer_reads_and_writes_ranges_of_a_callers_buffers() {
    let engine = beside();
    let (from, to) = (buffer(&engine, 1024, ALL), buffer(&engine, 1024, ALL));
    engine.queue().write_buffer(&to, 0, bytemuck::cast_slice(&[7.0f32; 256]));
    engine.queue().write_buffer(&from, 256, bytemuck::cast_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]));
    let x = engine.tensor_from_buffer(&from, 256, &TensorDesc::f32(&[1, 1, 3, 3])).unwrap();
    let y = engine.tensor_from_buffer(&to, 512, &TensorDesc::f32(&[1, 1, 2, 2])).unwrap();
    let (desc, weights) = box_sum();
    let conv = engine.conv(&desc, x.desc(), weights).unwrap();
    conv.run_into(&x, &y).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [12.0, 16.0, 24.0, 28.0]);
    assert_eq!(pollster::block_on(x.to_vec_async::<f32>()).unwrap()[8], 9.0);
    assert_eq!(engine.tensor_from_buffer(&from, 256, x.desc()).unwrap().into_vec::<f32>().unwrap()[8], 9.0);
    let whole = engine.tensor_from_buffer(&to, 0, &TensorDesc::f32(&[256])).unwrap().to_vec::<f32>().unwrap();
    let touched = (0..256).filter(|&at| whole[at] != 7.0).collect::<Vec<_>>();
    assert_eq!(touched, [128, 129, 130, 131]);
    // Two ranges of one buffer cannot be an input and an output.
    let same = engine.tensor_from_buffer(&from, 512, &TensorDesc::f32(&[1, 1, 2, 2])).unwrap();
    assert_eq!(conv.run_into(&x, &same).unwrap_err().kind(), ErrorKind::Invalid);

    let pair = NetworkDesc::default();
    let network = Network::new(&engine, &conv_graph(&[1, 1, 3, 3], 1, &desc), &pair).unwrap();
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    network.encode(&mut encoder, &[&x], &[&same]).unwrap();
    engine.queue().submit([encoder.finish()]);
    assert_eq!(same.to_vec::<f32>().unwrap(), network.run(&[&x]).unwrap()[0].to_vec::<f32>().unwrap());
}

#[test]
fn what_no_range_can_be_is_refused_with_numbers_and_rule() {
    let engine = beside();
    let (whole, desc) = (buffer(&engine, 1024, ALL), TensorDesc::f32(&[1, 1, 3, 3]));
    let refused = |buffer: &wgpu::Buffer, offset: u64, part: &str| {
        let error = engine.tensor_from_buffer(buffer, offset, &desc).unwrap_err();
        assert!(error.message().contains(part), "{error}");
        error.kind()
    };
    assert_eq!(refused(&whole, 4, "multiple of 256 bytes"), ErrorKind::Invalid);
    assert_eq!(refused(&whole, 1024, "has 1024 bytes, but the range is 36 bytes from byte 1024 on"), ErrorKind::Invalid);
    assert_eq!(refused(&whole, u64::MAX - 255, "has 1024 bytes"), ErrorKind::Invalid);
    assert_eq!(refused(&buffer(&engine, 1024, BufferUsages::COPY_DST), 0, "needs STORAGE"), ErrorKind::Invalid);
    assert_eq!(refused(&buffer(&beside(), 1024, ALL), 0, "cannot be bound on the engine's device"), ErrorKind::Device);
    // A buffer that cannot be copied from is a layer's operand all the same, but nothing that can be read back.
    let storage = engine.tensor_from_buffer(&buffer(&engine, 1024, BufferUsages::STORAGE), 256, &desc).unwrap();
    let (conv, weights) = box_sum();
    let conv = engine.conv(&conv, storage.desc(), weights).unwrap();
    assert_eq!(conv.run(&storage).unwrap().to_vec::<f32>().unwrap(), [0.0; 4]);
    let error = storage.to_vec::<f32>().unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("COPY_SRC"), "{error}");
    assert_eq!(engine.upload(&[1.0; 9], &desc).unwrap().to_vec::<f32>().unwrap(), [1.0; 9]);
}

/// A graph of one convolution from `in` to `out` with small integers as weights.
fn conv_graph(shape: &[usize], out_channels: usize, desc: &ConvDesc) -> Graph {
    let mut graph = Graph::new("conv");
    let dims: Vec<_> = shape.iter().map(|&size| size.into()).collect();
    let x = graph.input("in", &dims);
    let y = conv(&mut graph, x, out_channels, desc);
    graph.output("out", y);
    graph
}

fn conv(graph: &mut Graph, x: ValueId, out_channels: usize, desc: &ConvDesc) -> ValueId {
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
struct Picture {
    texture: wgpu::Texture,
    format: ImageFormat,
    texels: Vec<[f32; 4]>,
}

const FORMATS: [(ImageFormat, TextureFormat); 5] = [
    (ImageFormat::Rgba8Unorm, TextureFormat::Rgba8Unorm),
    (ImageFormat::Rgba8UnormSrgb, TextureFormat::Rgba8UnormSrgb),
    (ImageFormat::Bgra8Unorm, TextureFormat::Bgra8Unorm),
    (ImageFormat::Rgba16Float, TextureFormat::Rgba16Float),
    (ImageFormat::R32Float, TextureFormat::R32Float),
];

fn texture(engine: &Engine, [height, width]: [usize; 2], format: TextureFormat, usage: TextureUsages) -> wgpu::Texture {
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
    fn new(engine: &Engine, size: [usize; 2], format: ImageFormat) -> Self {
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
    fn tensor(&self, desc: &ImageDesc, channels: usize) -> Value {
        let size = self.texture.size();
        let element = |c: usize| self.texels.iter().map(move |texel| (texel[c] - desc.mean[c]) / desc.std[c]);
        let list: Vec<f32> = (0..channels).flat_map(element).collect();
        Value::new(&[1, channels, size.height as usize, size.width as usize], list).unwrap()
    }
}

/// Components of a texture, texel by texel.
fn read(engine: &Engine, texture: &wgpu::Texture) -> Vec<f32> {
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

fn images(name: &str, desc: ImageDesc) -> Vec<(String, ImageDesc)> {
    vec![(name.into(), desc)]
}

/// Runs a network on a picture, fused as it says, and compares with the reference on the tensor that the picture is.
fn check(engine: &Engine, graph: &Graph, picture: &Picture, channels: usize, expected: &str) {
    // Powers of two are exact in any order.
    let desc = ImageDesc { mean: [0.5, -1.0, 2.0, 0.25], std: [0.5, 2.0, -0.25, 1.0], ..ImageDesc::new(picture.format) };
    let network = Network::new(engine, graph, &NetworkDesc { image_inputs: images("in", desc), ..Default::default() }).unwrap();
    let explained = network.explain();
    assert!(explained.contains(expected), "{expected} is not in\n{explained}");
    let got = network.run(&[&picture.texture]).unwrap()[0].to_vec::<f32>().unwrap();
    let wanted = network.run_reference(&[picture.tensor(&desc, channels)]).unwrap()[0].to_f32();
    let most = wanted.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
    let exact = matches!(picture.format, ImageFormat::Rgba16Float | ImageFormat::R32Float);
    for (at, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        // Drivers decode sRGB by tables.
        let bound = if exact {
            0.0
        } else if picture.format == ImageFormat::Rgba8UnormSrgb {
            5e-3
        } else {
            1e-5
        };
        assert!((got - wanted).abs() <= bound * most, "{:?} {at}: {got} instead of {wanted}\n{explained}", picture.format);
    }
    assert_eq!(got.len(), wanted.len());
    assert_eq!(network.run(&[&picture.texture]).unwrap()[0].to_vec::<f32>().unwrap(), got);
}

#[test]
fn the_first_layer_reads_pictures_of_every_format_and_normalises_them() {
    let engine = beside();
    for (format, _) in FORMATS {
        let picture = Picture::new(&engine, [9, 14], format);
        for channels in 1..=format.components() {
            let desc = ConvDesc { padding: [1, 1].into(), stride: [2, 1].into(), ..ConvDesc::new(channels, 5, [3, 3]) };
            check(&engine, &conv_graph(&[1, channels, 9, 14], 5, &desc), &picture, channels, "read by the layers themselves");
        }
    }
}

#[test]
fn every_kind_of_kernel_that_can_reads_the_picture_and_the_rest_is_told() {
    let engine = beside();
    let picture = Picture::new(&engine, [20, 24], ImageFormat::Rgba16Float);
    let shape = [1, 4, 20, 24];
    let grouped = ConvDesc { groups: 4, padding: [1, 1].into(), ..ConvDesc::new(4, 4, [3, 3]) };
    check(&engine, &conv_graph(&shape, 4, &grouped), &picture, 4, "depthwise");
    // 3x3 at stride 1 and 1x1 have kernels that cannot: others are taken.
    let dense = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 32, [3, 3]) };
    check(&engine, &conv_graph(&shape, 32, &dense), &picture, 4, "of a texture");
    check(&engine, &conv_graph(&shape, 8, &ConvDesc::new(4, 8, [1, 1])), &picture, 4, "of a texture");
    let transposed = ConvDesc { transposed: true, stride: [2, 2].into(), ..ConvDesc::new(4, 4, [3, 3]) };
    check(&engine, &conv_graph(&shape, 4, &transposed), &picture, 4, "of a texture");

    // Two layers on one picture; a pooling reads no texture; a picture that is a result too.
    let mut two = Graph::new("two");
    let x = two.input("in", &shape.map(Into::into));
    let (a, b) = (conv(&mut two, x, 4, &grouped), conv(&mut two, x, 32, &dense));
    two.output("a", a);
    two.output("b", b);
    check(&engine, &two, &picture, 4, "read by the layers themselves");
    let mut pooled = Graph::new("pooled");
    let x = pooled.input("in", &shape.map(Into::into));
    let y = pooled.pool(&PoolDesc { stride: [2, 2].into(), ..PoolDesc::max([2, 2]) }, x);
    pooled.output("out", y);
    check(&engine, &pooled, &picture, 4, "converted by one dispatch, because");
    let mut both = Graph::new("both");
    let x = both.input("in", &shape.map(Into::into));
    let y = conv(&mut both, x, 4, &grouped);
    both.output("out", y);
    both.output("same", x);
    check(&engine, &both, &picture, 4, "converted by one dispatch, because it is a result too");
}

#[test]
fn results_are_written_to_textures_denormalised_and_clamped() {
    let engine = beside();
    for (format, wgpu_format) in FORMATS {
        let picture = Picture::new(&engine, [7, 10], ImageFormat::Rgba16Float);
        let channels = format.components().min(3);
        let desc = ConvDesc { groups: channels, ..ConvDesc::new(channels, channels, [1, 1]) };
        let graph = conv_graph(&[1, channels, 7, 10], channels, &desc);
        let output = ImageDesc { mean: [0.5, 0.25, 0.0, 0.0], std: [0.125, 0.25, -0.5, 1.0], ..ImageDesc::new(format) };
        let network = NetworkDesc {
            image_inputs: images("in", ImageDesc::new(ImageFormat::Rgba16Float)),
            image_outputs: images("out", output),
            ..Default::default()
        };
        let network = Network::new(&engine, &graph, &network);
        if matches!(format, ImageFormat::Bgra8Unorm | ImageFormat::Rgba8UnormSrgb) {
            assert_eq!(network.unwrap_err().kind(), ErrorKind::Unsupported);
            continue;
        }
        let network = network.unwrap();
        let target = texture(&engine, [7, 10], wgpu_format, TextureUsages::STORAGE_BINDING | TextureUsages::COPY_SRC);
        let copy = engine.zeros(&TensorDesc::f32(&[1, channels, 7, 10])).unwrap();
        let mut encoder = engine.device().create_command_encoder(&Default::default());
        network.encode(&mut encoder, &[&picture.texture], &[&target]).unwrap();
        network.encode(&mut encoder, &[Place::Texture(&picture.texture)], &[Place::Tensor(&copy)]).unwrap();
        engine.queue().submit([encoder.finish()]);
        let (got, values) = (read(&engine, &target), copy.to_vec::<f32>().unwrap());
        let components = format.components();
        for texel in 0..70 {
            for c in 0..components {
                let value = |c: usize| values[c * 70 + texel] * output.std[c] + output.mean[c];
                let wanted = match format {
                    ImageFormat::Rgba8Unorm if c == 3 => 255.0,
                    ImageFormat::Rgba8Unorm => value(c).clamp(0.0, 1.0) * 255.0,
                    _ if c == 3 => 1.0,
                    _ => value(c),
                };
                let bound = if format == ImageFormat::Rgba8Unorm { 0.51 } else { 0.0 };
                let found = got[texel * components + c];
                assert!((found - wanted).abs() <= bound, "{format} {texel} {c}: {found} instead of {wanted}");
            }
        }
    }
}

#[test]
fn a_texture_is_filtered_in_place_in_the_callers_encoder() {
    let engine = beside();
    let picture = Picture::new(&engine, [16, 16], ImageFormat::Rgba8Unorm);
    // The mean of a texel and its right neighbour, of each colour.
    let desc = ConvDesc {
        groups: 3,
        padding: wgconv::Padding::Explicit { begin: [0, 0].into(), end: [0, 1].into() },
        ..ConvDesc::new(3, 3, [1, 2])
    };
    let mut graph = Graph::new("blur");
    let x = graph.input("in", &[1, 3, 16, 16].map(Into::into));
    let weight = graph.constant("weight", Value::new(&[3, 1, 1, 2], vec![0.5f32; 6]).unwrap());
    let y = graph.conv(&desc, x, weight, None);
    graph.output("out", y);
    let image = ImageDesc::new(ImageFormat::Rgba8Unorm);
    let network = NetworkDesc { image_inputs: images("in", image), image_outputs: images("out", image), ..Default::default() };
    let network = Network::new(&engine, &graph, &network).unwrap();
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    network.encode(&mut encoder, &[&picture.texture], &[&picture.texture]).unwrap();
    engine.queue().submit([encoder.finish()]);
    let got = read(&engine, &picture.texture);
    for texel in 0..256 {
        let next = if texel % 16 < 15 { picture.texels[texel + 1] } else { [0.0; 4] };
        for c in 0..3 {
            let wanted = (picture.texels[texel][c] + next[c]) / 2.0 * 255.0;
            assert!((got[texel * 4 + c] - wanted).abs() <= 0.51, "{texel} {c}: {} instead of {wanted}", got[texel * 4 + c]);
        }
    }
}

#[test]
fn a_texture_that_does_not_fit_is_refused_with_numbers_and_rule() {
    let engine = beside();
    let desc = ConvDesc {
        epilogue: Epilogue { activation: Activation::Relu, bias: true, ..Default::default() },
        ..ConvDesc::new(3, 3, [1, 1])
    };
    let graph = conv_graph(&[1, 3, 8, 12], 3, &desc);
    let image = ImageDesc::new(ImageFormat::Rgba8Unorm);
    let with = |inputs: Vec<(String, ImageDesc)>, outputs: Vec<(String, ImageDesc)>| {
        Network::new(&engine, &graph, &NetworkDesc { image_inputs: inputs, image_outputs: outputs, ..Default::default() })
    };
    let network = with(images("in", image), images("out", image)).unwrap();
    let usage = TextureUsages::TEXTURE_BINDING | TextureUsages::STORAGE_BINDING;
    let good = texture(&engine, [8, 12], TextureFormat::Rgba8Unorm, usage);
    let tensor = engine.zeros(&TensorDesc::f32(&[1, 3, 8, 12])).unwrap();
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    let mut refused = |input: Place, output: Place, part: &str| {
        let error = network.encode(&mut encoder, &[input], &[output]).unwrap_err();
        assert!(error.to_string().contains(part), "{part} is not in {error}");
    };
    let wrong = [
        (texture(&engine, [12, 8], TextureFormat::Rgba8Unorm, usage), "is 8 x 12, but the network was made for 12 x 8"),
        (texture(&engine, [8, 12], TextureFormat::Rgba16Float, usage), "has the format Rgba16Float, but"),
        (texture(&engine, [8, 12], TextureFormat::Rgba8Unorm, TextureUsages::COPY_DST), "BINDING) is needed"),
    ];
    for (texture, part) in &wrong {
        refused(texture.into(), (&good).into(), part);
        refused((&good).into(), texture.into(), part);
    }
    refused((&tensor).into(), (&good).into(), "`in` is no texture");
    let foreign = texture(&beside(), [8, 12], TextureFormat::Rgba8Unorm, usage);
    refused((&foreign).into(), (&good).into(), "evice");
    // What was refused left the encoder as it was.
    network.encode(&mut encoder, &[&good], &[&tensor]).unwrap();
    engine.queue().submit([encoder.finish()]);
    assert_eq!(tensor.to_vec::<f32>().unwrap()[0], 0.0);

    let plain = with(Vec::new(), Vec::new()).unwrap();
    assert!(plain.run(&[&good]).unwrap_err().message().contains("image_inputs"));
    assert!(network.run_values(&[Value::new(&[1, 3, 8, 12], vec![0.0f32; 288]).unwrap()]).is_err());
    for (name, desc, part) in [
        ("nothing", image, "there is in"),
        ("in", ImageDesc { std: [1.0, 0.0, 1.0, 1.0], ..image }, "std of 0"),
        ("in", ImageDesc { mean: [f32::NAN; 4], ..image }, "mean of NaN"),
        ("in", ImageDesc::new(ImageFormat::R32Float), "3 channels, but R32Float has 1"),
    ] {
        let error = with(images(name, desc), Vec::new()).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains(part), "{error}");
    }
    if engine.adapter().class == DeviceClass::Software {
        eprintln!("adapter: {}", engine.adapter());
    }
}
