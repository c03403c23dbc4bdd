//! Single convolutions on textures, and outputs of networks that the last layer writes to a texture itself.

#[path = "support/pictures.rs"]
mod pictures;

use std::time::Duration;

use wgconv::wgpu::{TextureFormat, TextureUsages};
use wgconv::{
    Activation, ConvDesc, ConvImages, ConvInputs, Engine, EngineDesc, Epilogue, ErrorKind, Graph, ImageDesc, ImageFormat, Layout,
    Network, NetworkDesc, Place, Problem, Residual, TensorDesc, Value, Weights, wgpu,
};

use pictures::{FORMATS, Picture, beside, beside_as, conv, conv_graph, images, read, texture};

/// The formats that a shader writes to.
const WRITTEN: [(ImageFormat, TextureFormat); 3] = [FORMATS[0], FORMATS[3], FORMATS[4]];

const BOTH: TextureUsages = TextureUsages::STORAGE_BINDING.union(TextureUsages::COPY_SRC);

/// What is taken off and divided by, in powers of two: exact in any order.
fn normalising(format: ImageFormat) -> ImageDesc {
    ImageDesc { mean: [0.5, -1.0, 2.0, 0.25], std: [0.5, 2.0, -0.25, 1.0], ..ImageDesc::new(format) }
}

/// Small integers.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7 + at / 3) % 5) as f32 - 2.0).collect()
}

/// The components that a texture gets of a tensor's elements, `[channels, texels]`.
fn components(image: &ImageDesc, values: &[f32], channels: usize) -> Vec<f32> {
    let texels = values.len() / channels;
    let element = |texel: usize, c: usize| values[c * texels + texel] * image.std[c] + image.mean[c];
    let component = |texel: usize, c: usize| match (channels, c) {
        (_, 3) if channels < 4 => 1.0,
        (1, _) => element(texel, 0),
        _ if c < channels => element(texel, c),
        _ => 0.0,
    };
    let held = |value: f32| match image.format {
        ImageFormat::Rgba8Unorm => value.clamp(0.0, 1.0) * 255.0,
        ImageFormat::Rgba16Float => half::f16::from_f32(value).to_f32(),
        _ => value,
    };
    (0..texels).flat_map(|texel| (0..image.format.components()).map(move |c| held(component(texel, c)))).collect()
}

/// Drivers round to bytes and halves either way; floats are the same.
fn assert_components(what: &str, got: &[f32], wanted: &[f32], format: ImageFormat) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let bound = match format {
            ImageFormat::Rgba8Unorm => 0.51,
            ImageFormat::Rgba16Float => wanted.abs() / 1024.0,
            _ => 0.0,
        };
        assert!((got - wanted).abs() <= bound, "{what}: component {at} is {got} instead of {wanted}");
    }
}

#[test]
fn a_convolution_reads_pictures_of_every_format_and_normalises_them() {
    let engine = beside();
    for (format, _) in FORMATS {
        let picture = Picture::new(&engine, [9, 14], format);
        let image = normalising(format);
        for channels in 1..=format.components() {
            let desc = ConvDesc { padding: [1, 1].into(), stride: [2, 1].into(), ..ConvDesc::new(channels, 5, [3, 3]) };
            let kernel = numbers(5 * channels * 9);
            let weights = Weights { kernel: &kernel, ..Default::default() };
            let input = TensorDesc::f32(&[1, channels, 9, 14]);
            let images = ConvImages { input: Some(image), output: None };
            let got = engine.conv_on_images(&desc, &input, weights, &images).unwrap().run(&picture.texture).unwrap();
            let x = engine.upload(&picture.tensor(&image, channels).to_f32(), &input).unwrap();
            let weights = Weights { kernel: &kernel, ..Default::default() };
            let wanted = engine.conv(&desc, &input, weights).unwrap().run(&x).unwrap().to_vec::<f32>().unwrap();
            let most = wanted.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
            // Drivers decode sRGB by tables.
            let bound = match format {
                ImageFormat::Rgba16Float | ImageFormat::R32Float => 0.0,
                ImageFormat::Rgba8UnormSrgb => 5e-3,
                _ => 1e-5,
            };
            for (got, wanted) in got.to_vec::<f32>().unwrap().iter().zip(&wanted) {
                assert!((got - wanted).abs() <= bound * most, "{format} of {channels}: {got} instead of {wanted}");
            }
        }
    }
}

/// A layer from a tensor of five channels to a texture, and to a tensor.
fn check_target(engine: &Engine, desc: &ConvDesc, image: &ImageDesc, fused: bool) {
    let (channels, wgpu_format) = (desc.out_channels, FORMATS.iter().find(|pair| pair.0 == image.format).unwrap().1);
    let what = format!("{channels} channels in {} groups to {}", desc.groups, image.format);
    let input = TensorDesc::f32(&[1, desc.in_channels, 7, 10]);
    let kernel = numbers(desc.weight_shape().unwrap().iter().product());
    let weights = Weights { kernel: &kernel, ..Default::default() };
    let layer = engine.conv_on_images(desc, &input, weights, &ConvImages { input: None, output: Some(*image) }).unwrap();
    assert_eq!(layer.plan().writing_image(image).is_some(), fused, "{what}: {}", layer.plan());
    let x = engine.upload(&numbers(desc.in_channels * 70), &input).unwrap();
    let y = layer.run(&x).unwrap();
    let [_, _, height, width] = *y.desc().shape() else { panic!("{what}") };
    let target = texture(engine, [height, width], wgpu_format, BOTH);
    layer.run_into(&x, &target).unwrap();
    let wanted = components(image, &y.to_vec::<f32>().unwrap(), channels);
    assert_components(&what, &read(engine, &target), &wanted, image.format);
}

#[test]
fn a_convolution_writes_pictures_of_every_format_denormalised_and_clamped() {
    let engine = beside();
    for (format, _) in WRITTEN {
        let image = ImageDesc { mean: [0.5, 0.25, 0.0, 0.125], std: [0.125, 0.25, -0.5, 1.0], ..ImageDesc::new(format) };
        for channels in 1..=format.components() {
            let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(5, channels, [3, 3]) };
            check_target(&engine, &desc, &image, true);
            check_target(&engine, &ConvDesc::new(4, channels, [1, 1]), &image, true);
            check_target(&engine, &ConvDesc { output_layout: Some(Layout::ChannelsLast), ..desc }, &image, true);
            let grouped = ConvDesc { groups: channels, stride: [2, 1].into(), ..ConvDesc::new(channels, channels, [3, 3]) };
            check_target(&engine, &grouped, &image, channels == 1);
            let up = ConvDesc { transposed: true, stride: [2, 2].into(), ..ConvDesc::new(5, channels, [2, 2]) };
            check_target(&engine, &up, &image, true);
        }
    }
    for format in [ImageFormat::Bgra8Unorm, ImageFormat::Rgba8UnormSrgb] {
        let images = ConvImages { input: None, output: Some(ImageDesc::new(format)) };
        let weights = Weights { kernel: &[1.0], ..Default::default() };
        let input = TensorDesc::f32(&[1, 1, 4, 4]);
        let error = engine.conv_on_images(&ConvDesc::new(1, 1, [1, 1]), &input, weights, &images).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_convolution_goes_from_texture_to_texture_and_in_place_in_a_callers_pass() {
    let engine = beside();
    let image = normalising(ImageFormat::Rgba16Float);
    let images = ConvImages { input: Some(image), output: Some(image) };
    let input = TensorDesc::f32(&[1, 3, 12, 16]);
    let kernel = numbers(3 * 3 * 9);
    let bias = [1.0, -1.0, 0.5];
    let epilogue = Epilogue { bias: true, activation: Activation::Relu, residual: Residual::AfterActivation };
    let desc = ConvDesc { padding: [1, 1].into(), epilogue, ..ConvDesc::new(3, 3, [3, 3]) };
    let weights = || Weights { kernel: &kernel, bias: Some(&bias), ..Default::default() };
    let layer = engine.conv_on_images(&desc, &input, weights(), &images).unwrap();
    assert!(layer.plan().writing_image(&image).is_some(), "{}", layer.plan());
    let picture = Picture::new(&engine, [12, 16], ImageFormat::Rgba16Float);
    let x = engine.upload(&picture.tensor(&image, 3).to_f32(), &input).unwrap();
    let residual = engine.upload(&numbers(3 * 12 * 16), &input).unwrap();
    let plain = engine.conv(&desc, &input, weights()).unwrap();
    let wanted = components(&image, &plain.run((&x, &residual)).unwrap().to_vec::<f32>().unwrap(), 3);

    let other = texture(&engine, [12, 16], TextureFormat::Rgba16Float, BOTH | TextureUsages::TEXTURE_BINDING);
    layer.run_into((&picture.texture, &residual), &other).unwrap();
    assert_components("to another", &read(&engine, &other), &wanted, image.format);
    // In place, twice in one pass: the second reads what the first wrote.
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        layer.encode(&mut pass, (&picture.texture, &residual), &picture.texture).unwrap();
        layer.encode(&mut pass, ConvInputs { input: (&other).into(), residual: Some(&residual) }, &other).unwrap();
    }
    engine.queue().submit([encoder.finish()]);
    assert_components("in place", &read(&engine, &picture.texture), &wanted, image.format);
    let again = read(&engine, &other);
    layer.run_into((&picture.texture, &residual), &picture.texture).unwrap();
    assert_components("twice in place", &read(&engine, &picture.texture), &again, image.format);
}

#[test]
fn what_no_convolution_on_textures_can_be_is_refused_with_the_reason() {
    let engine = beside();
    let image = ImageDesc::new(ImageFormat::Rgba8Unorm);
    let both = ConvImages { input: Some(image), output: Some(image) };
    let make = |desc: &ConvDesc, input: &TensorDesc, images: &ConvImages| {
        let kernel = numbers(desc.weight_shape().unwrap().iter().product());
        engine.conv_on_images(desc, input, Weights { kernel: &kernel, ..Default::default() }, images).map(|_| ())
    };
    let picture = TensorDesc::f32(&[1, 3, 8, 8]);
    let same = ConvDesc::new(3, 3, [1, 1]);
    for (desc, input, images, part) in [
        (&same, &TensorDesc::f32(&[2, 3, 8, 8]), both, "[1, channels, height, width]"),
        (&ConvDesc::new(3, 5, [1, 1]), &picture, both, "`output` is [1, 5, 8, 8]"),
        (&ConvDesc::new(3, 5, [1]), &TensorDesc::f32(&[1, 3, 8]), both, "[1, channels, height, width]"),
        (&same, &picture.clone().with_layout(Layout::ChannelsLast), both, "channels first"),
        (&same, &picture, ConvImages { input: Some(ImageDesc { std: [0.0; 4], ..image }), output: None }, "std of 0"),
        (&same, &picture, ConvImages { input: None, output: Some(ImageDesc::new(ImageFormat::R32Float)) }, "has 1 components"),
    ] {
        let error = make(desc, input, &images).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains(part), "{part} is not in {error}");
    }
    let kernel = numbers(9);
    let weights = || Weights { kernel: &kernel, ..Default::default() };
    let layer = engine.conv_on_images(&same, &picture, weights(), &both).unwrap();
    let plain = engine.conv(&same, &picture, weights()).unwrap();
    let frame = Picture::new(&engine, [8, 8], ImageFormat::Rgba8Unorm).texture;
    let x = engine.zeros(&picture).unwrap();
    let small = texture(&engine, [8, 4], TextureFormat::Rgba8Unorm, BOTH);
    let refused = |result: wgconv::Result<()>, part: &str| {
        let error = result.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(part), "{part} is not in {error}");
    };
    refused(layer.run_into(&x, &frame), "input: is a tensor, but the layer was made for a texture");
    refused(plain.run_into(&frame, &x), "input: is a texture, but the layer was made for a tensor");
    refused(plain.run_into(&x, &frame), "output: is a texture, but the layer was made for a tensor");
    refused(layer.run_into(&frame, &small), "is 4 x 8, but 8 x 8 is needed");
    let no_usage = texture(&engine, [8, 8], TextureFormat::Rgba8Unorm, TextureUsages::COPY_SRC);
    refused(layer.run_into(&no_usage, &frame), "TEXTURE_BINDING");
    refused(layer.run_into(&frame, &no_usage), "STORAGE_BINDING");
    layer.run_into(&frame, &x).unwrap();
    assert_eq!(layer.run(&frame).unwrap().to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
}

#[test]
fn a_picture_over_a_binding_is_refused_by_name_with_its_bytes_and_the_limit() {
    let engine = Engine::new(&EngineDesc { max_binding_bytes: Some(1024), ..Default::default() }).unwrap();
    let image = ImageDesc::new(ImageFormat::Rgba8Unorm);
    let picture = |channels: usize, [height, width]: [usize; 2]| TensorDesc::f32(&[1, channels, height, width]);
    let make = |input: &TensorDesc, out_channels: usize, images: ConvImages| {
        let desc = ConvDesc::new(input.shape()[1], out_channels, [1, 1]);
        let kernel = numbers(desc.weight_shape().unwrap().iter().product());
        engine.conv_on_images(&desc, input, Weights { kernel: &kernel, ..Default::default() }, &images).map(|_| ())
    };
    let refused = |result: wgconv::Result<()>, parts: &[&str]| {
        let error = result.unwrap_err();
        let has = |part: &&str| error.message().contains(*part);
        assert!(error.kind() == ErrorKind::Unsupported && parts.iter().all(has), "{parts:?} is not in {error}");
    };
    let (read, written) = (ConvImages { input: Some(image), output: None }, ConvImages { input: None, output: Some(image) });
    refused(make(&picture(3, [8, 12]), 1, read), &["`input`", "1152 bytes", "1024"]);
    refused(make(&picture(2, [8, 12]), 4, written), &["`output`", "1536 bytes", "1024"]);
    // An output over a binding is computed in parts.
    refused(make(&picture(2, [8, 12]), 8, read), &["by rows into", "tensors only"]);
    let network = |channels: usize, desc: NetworkDesc| {
        let graph = conv_graph(&[1, channels, 8, 12], 4, &ConvDesc::new(channels, 4, [1, 1]));
        Network::new(&engine, &graph, &desc).map(|_| ())
    };
    let inputs = |image| NetworkDesc { image_inputs: images("in", image), ..Default::default() };
    refused(network(3, inputs(image)), &["`in`", "1152 bytes", "1024"]);
    let outputs = NetworkDesc { image_outputs: images("out", image), ..Default::default() };
    refused(network(3, outputs), &["`out`", "1536 bytes", "1024"]);
    make(&picture(2, [8, 12]), 2, ConvImages { input: Some(image), output: Some(image) }).unwrap();
    network(2, inputs(image)).unwrap();
}

#[test]
fn a_long_convolution_reads_its_picture_all_the_same() {
    let image = normalising(ImageFormat::Rgba16Float);
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 32, [3, 3]) };
    let (kernel, input) = (numbers(32 * 4 * 9), TensorDesc::f32(&[1, 4, 80, 96]));
    let problem = Problem::conv(&desc, &input);
    let ns = beside().explain(&problem).unwrap().plan.nanoseconds;
    // Three times too long for the second, which computes it in parts where it is a tensor.
    let results = [None, Some(Duration::from_nanos(ns / 3))].map(|submission_bound| {
        let engine = beside_as(&EngineDesc { submission_bound, ..Default::default() });
        assert_eq!(engine.explain(&problem).unwrap().plan.split.is_some(), submission_bound.is_some());
        let picture = Picture::new(&engine, [80, 96], image.format);
        let images = ConvImages { input: Some(image), output: None };
        let layer = engine.conv_on_images(&desc, &input, Weights { kernel: &kernel, ..Default::default() }, &images).unwrap();
        layer.run(&picture.texture).unwrap().to_vec::<f32>().unwrap()
    });
    assert_eq!(results[0], results[1]);
}

/// Encodes a network from a texture to a texture of the same format, or in place, and compares with its tensors.
fn check_network(engine: &Engine, graph: &Graph, channels: usize, in_place: bool, explained: &str) {
    let image = normalising(ImageFormat::Rgba16Float);
    let desc = NetworkDesc { image_inputs: images("in", image), image_outputs: images("out", image), ..Default::default() };
    let network = Network::new(engine, graph, &desc).unwrap();
    let text = network.explain();
    assert!(text.contains(explained), "{explained} is not in\n{text}");
    let picture = Picture::new(engine, [12, 16], ImageFormat::Rgba16Float);
    let values = network.run(&[&picture.texture]).unwrap()[0].to_vec::<f32>().unwrap();
    let other = texture(engine, [12, 16], TextureFormat::Rgba16Float, BOTH);
    let target = if in_place { &picture.texture } else { &other };
    let copy = engine.zeros(&TensorDesc::f32(&[1, channels, 12, 16])).unwrap();
    let mut encoder = engine.device().create_command_encoder(&Default::default());
    network.encode(&mut encoder, &[Place::Texture(&picture.texture)], &[Place::Tensor(&copy)]).unwrap();
    network.encode(&mut encoder, &[&picture.texture], &[target]).unwrap();
    engine.queue().submit([encoder.finish()]);
    assert_eq!(copy.to_vec::<f32>().unwrap(), values);
    assert_components(explained, &read(engine, target), &components(&image, &values, channels), image.format);
}

#[test]
fn the_last_layer_writes_the_texture_itself_where_it_can() {
    let engine = beside();
    let shape = [1, 3, 12, 16];
    let same = |from: usize, to: usize| ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(from, to, [3, 3]) };
    for in_place in [false, true] {
        for channels in 1..=4 {
            let one = conv_graph(&shape, channels, &same(3, channels));
            check_network(&engine, &one, channels, in_place, "written by the layer itself");
            let mut two = Graph::new("two");
            let x = two.input("in", &shape.map(Into::into));
            let y = conv(&mut two, x, 8, &same(3, 8));
            let y = conv(&mut two, y, channels, &same(8, channels));
            two.output("out", y);
            check_network(&engine, &two, channels, in_place, "written by the layer itself");
        }
        let grouped = conv_graph(&shape, 3, &ConvDesc { groups: 3, ..same(3, 3) });
        check_network(&engine, &grouped, 3, in_place, "written by one dispatch, because no invocation of");
    }
    let mut read_again = Graph::new("read again");
    let x = read_again.input("in", &shape.map(Into::into));
    let y = conv(&mut read_again, x, 3, &same(3, 3));
    let z = conv(&mut read_again, y, 3, &same(3, 3));
    read_again.output("out", y);
    read_again.output("more", z);
    let image = ImageDesc::new(ImageFormat::Rgba16Float);
    let desc = NetworkDesc { image_outputs: images("out", image), ..Default::default() };
    let network = Network::new(&engine, &read_again, &desc).unwrap();
    assert!(network.explain().contains("written by one dispatch, because it is read again"), "{}", network.explain());
    let target = texture(&engine, [12, 16], TextureFormat::Rgba16Float, BOTH);
    let x = engine.upload(&numbers(3 * 12 * 16), &TensorDesc::f32(&shape)).unwrap();
    let more = engine.zeros(&TensorDesc::f32(&shape)).unwrap();
    let mut encoder: wgpu::CommandEncoder = engine.device().create_command_encoder(&Default::default());
    network.encode(&mut encoder, &[&x], &[Place::Texture(&target), Place::Tensor(&more)]).unwrap();
    engine.queue().submit([encoder.finish()]);
    let wanted = network.run_values(&[Value::new(&shape, numbers(3 * 12 * 16)).unwrap()]).unwrap();
    assert_components("read again", &read(&engine, &target), &components(&image, &wanted[0].to_f32(), 3), image.format);
    assert_eq!(more.to_vec::<f32>().unwrap(), wanted[1].to_f32());
}
