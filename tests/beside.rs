//! Beside a renderer: ranges of a caller's buffers, textures as inputs and outputs of networks, on a device of the caller's.

#[path = "support/pictures.rs"]
mod pictures;

use wgconv::wgpu::{self, BufferUsages, TextureFormat, TextureUsages};
use wgconv::{
    Activation, ConvDesc, DeviceClass, Engine, EngineDesc, Epilogue, ErrorKind, Graph, ImageDesc, ImageFormat, Network,
    NetworkDesc, Place, PoolDesc, TensorDesc, Value, Weights,
};

use pictures::{ALL, FORMATS, Picture, beside, buffer, conv, conv_graph, images, read, texture};

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
        (texture(&engine, [12, 8], TextureFormat::Rgba8Unorm, usage), "is 8 x 12, but 12 x 8 is needed"),
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

    // One dispatch stores a picture, so that one binding must hold it as a tensor.
    let small = Engine::new(&EngineDesc { max_binding_bytes: Some(1024), ..Default::default() }).unwrap();
    let desc = NetworkDesc { image_outputs: images("out", image), ..Default::default() };
    let error = Network::new(&small, &graph, &desc).unwrap_err();
    assert!(error.message().contains("1152 bytes") && error.message().contains("1024"), "{error}");

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
