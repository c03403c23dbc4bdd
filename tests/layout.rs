//! Layouts at the API: data stays in the order of its shape, elements lie as the description says, and what does not fit is refused.

use std::sync::OnceLock;

use wgconv::{
    Algorithm, ConvDesc, DType, DeviceLimits, Engine, EngineDesc, ErrorKind, IndexOrder, Layout, PoolDesc, PoolKind, Problem,
    TensorDesc, Weights,
};

use Layout::{ChannelsFirst, ChannelsLast};

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("the layout tests need a GPU adapter: {error}"))
    })
}

fn count(shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product::<usize>()).map(|number| (number % 251) as f32).collect()
}

#[test]
fn data_goes_to_the_device_and_back_in_the_order_of_its_shape() {
    for shape in [&[2, 3, 5][..], &[1, 4, 3, 2], &[2, 5, 2, 3, 3], &[7, 3], &[5]] {
        for dtype in [DType::F32, DType::F16] {
            if dtype == DType::F16 && !engine().limits().f16 {
                continue;
            }
            let data = count(shape);
            let first = engine().upload(&data, &TensorDesc::new(shape, dtype)).unwrap();
            let last = engine().upload(&data, &TensorDesc::new(shape, dtype).with_layout(ChannelsLast)).unwrap();
            let (turned, back) = (first.to_layout(ChannelsLast).unwrap(), last.to_layout(ChannelsFirst).unwrap());
            assert_eq!((turned.desc(), back.desc()), (last.desc(), first.desc()));
            for tensor in [first, last, turned, back] {
                assert_eq!(tensor.to_vec::<f32>().unwrap(), data, "{tensor:?}");
                assert_eq!(pollster::block_on(tensor.to_vec_async::<f32>()).unwrap(), data, "{tensor:?}");
            }
        }
    }
}

#[test]
fn a_layer_gives_the_layout_that_it_was_asked_for_and_takes_no_other() {
    let shape = [1, 3, 4, 5];
    let (data, kernel) = (count(&shape), count(&[2, 3, 2, 2]));
    let weights = Weights { kernel: &kernel, ..Default::default() };
    let plain = ConvDesc::new(3, 2, [2, 2]);
    let first = engine().upload(&data, &TensorDesc::f32(&shape)).unwrap();
    let last = first.to_layout(ChannelsLast).unwrap();
    let expected = engine().conv(&plain, first.desc(), weights).unwrap().run(&first).unwrap().to_vec::<f32>().unwrap();
    for (input, asked, given) in [
        (&first, None, ChannelsFirst),
        (&last, None, ChannelsLast),
        (&first, Some(ChannelsLast), ChannelsLast),
        (&last, Some(ChannelsFirst), ChannelsFirst),
    ] {
        let conv = engine().conv(&ConvDesc { output_layout: asked, ..plain }, input.desc(), weights).unwrap();
        let output = conv.run(input).unwrap();
        assert_eq!(output.desc().layout(), given);
        assert_eq!(output.desc(), conv.output_desc());
        assert_eq!(output.to_vec::<f32>().unwrap(), expected);
        let other = if input.desc().layout() == ChannelsFirst { &last } else { &first };
        let error = conv.run(other).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("input")));
        assert!(error.message().contains("1x3x4x5 f32 nhwc"), "{error}");
    }
}

#[test]
fn positions_are_numbered_as_the_shape_says_and_lie_as_the_output_does() {
    let shape = [2, 3, 4, 4];
    let desc = PoolDesc { kind: PoolKind::Max { indices: Some(IndexOrder::Tensor) }, ..PoolDesc::max([2, 2]) };
    let first = engine().upload(&count(&shape), &TensorDesc::f32(&shape)).unwrap();
    let last = first.to_layout(ChannelsLast).unwrap();
    let [(values, indices), (values_last, indices_last)] =
        [&first, &last].map(|input| engine().pool(&desc, input.desc()).unwrap().run_with_indices(input).unwrap());
    assert_eq!(indices_last.desc().layout(), ChannelsLast);
    assert_eq!(values.to_vec::<f32>().unwrap(), values_last.to_vec::<f32>().unwrap());
    assert_eq!(indices.to_vec::<i32>().unwrap(), indices_last.to_vec::<i32>().unwrap());
    assert_eq!(indices.to_vec::<i32>().unwrap()[..2], [5, 7]);
}

#[test]
fn elements_that_are_not_in_row_major_order_have_no_other_shape() {
    let tensor = engine().zeros(&TensorDesc::f32(&[1, 2, 2, 2]).with_layout(ChannelsLast)).unwrap();
    let error = tensor.reshape(&[8]).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("shape")));
    assert!(tensor.to_layout(ChannelsFirst).unwrap().reshape(&[8]).is_ok());
}

#[test]
fn what_no_plain_product_is_with_channels_last_is_said() {
    let grouped: Problem = "conv 3x8x5x5 o6 k5x5 g2 f32 nhwc".parse().unwrap();
    let candidates = Algorithm::candidates(&grouped, &DeviceLimits::default()).unwrap();
    let refusal = candidates.refusals.iter().find(|refusal| refusal.algorithm == "matmul").unwrap();
    assert!(refusal.reason.contains("channels last"), "{refusal}");
}
