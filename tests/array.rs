//! Arrays of `ndarray` to tensors and values and back, whatever their strides.

use ndarray::{Array, Array1, Array2, Array4, ArrayD, Axis, arr0, s};
use wgconv::{ConvDesc, DType, Engine, EngineDesc, ErrorKind, TensorDesc, Value, Weights};

fn engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

/// 0, 1, 2, ..
fn numbers(shape: (usize, usize, usize, usize)) -> Array4<f32> {
    let count = shape.0 * shape.1 * shape.2 * shape.3;
    Array::from_iter((0..count).map(|number| number as f32)).into_shape_with_order(shape).unwrap()
}

#[test]
fn views_of_any_strides_are_uploaded_in_row_major_order_and_come_back() {
    let engine = engine();
    let all = numbers((2, 4, 6, 3));
    let round = |view: ndarray::ArrayViewD<f32>| {
        let tensor = engine.upload_array(&view, DType::F32).unwrap();
        assert_eq!(tensor.desc(), &TensorDesc::f32(view.shape()));
        assert_eq!(tensor.to_array::<f32>().unwrap(), view);
    };
    round(all.view().into_dyn());
    round(all.view().permuted_axes([0, 3, 1, 2]).into_dyn());
    round(all.slice(s![.., 1..;2, ..;-1, 1]).into_dyn());
    round(all.slice(s![1, .., 2..4, ..]).reversed_axes().into_dyn());
    round(all.index_axis(Axis(0), 1).into_dyn());
    round(all.slice(s![.., 0..0, .., ..]).into_dyn());
    let broadcast = Array1::from(vec![1.0f32, 2.0, 3.0]);
    round(broadcast.broadcast((4, 3)).unwrap().into_dyn());
    round(arr0(7.0f32).view().into_dyn());
}

#[test]
fn an_array_with_channels_last_is_a_layers_input_after_its_axes_are_permuted() {
    let engine = engine();
    let pictures = numbers((1, 2, 2, 3));
    let x = engine.upload_array(&pictures.view().permuted_axes([0, 3, 1, 2]), DType::F32).unwrap();
    // Each output is channel 0 + 10 channel 1 + 100 channel 2.
    let conv = engine.conv(&ConvDesc::new(3, 1, [1, 1]), x.desc(), Weights { kernel: &[1.0, 10.0, 100.0], ..Default::default() });
    let y = pollster::block_on(conv.unwrap().run(&x).unwrap().to_array_async::<f32>()).unwrap();
    let expected = Array::from_shape_vec((1, 1, 2, 2), vec![210.0, 543.0, 876.0, 1209.0]).unwrap();
    assert_eq!(y, expected.into_dyn());
}

#[test]
fn elements_of_f16_are_rounded_and_other_types_are_refused() {
    let engine = engine();
    let array = Array2::from_elem((2, 3), 1.0f32 + 1e-6);
    if engine.limits().f16 {
        let x = engine.upload_array(&array, DType::F16).unwrap();
        assert_eq!(x.to_array::<f32>().unwrap(), Array2::from_elem((2, 3), 1.0f32).into_dyn());
        assert_eq!(x.to_array::<half::f16>().unwrap(), Array2::from_elem((2, 3), half::f16::ONE).into_dyn());
        assert_eq!(x.to_array::<i32>().unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(engine.upload_array(&array, DType::I32).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn values_of_every_element_type_are_arrays_and_back() {
    fn round<T: Clone + PartialEq + std::fmt::Debug>(list: Vec<T>)
    where
        wgconv::Data: From<Vec<T>>,
        for<'a> &'a [T]: TryFrom<&'a wgconv::Data, Error = wgconv::Error>,
    {
        let array = Array::from_shape_vec((2, 3), list).unwrap();
        let value = Value::from(&array.t());
        assert_eq!(value.shape(), [3, 2]);
        assert_eq!(value.to_array::<T>().unwrap(), array.t().into_dyn());
    }
    round(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    round(vec![1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0]);
    round((1..7u8).map(half::f16::from).collect());
    round((1..7u8).map(half::bf16::from).collect());
    round((1..7i8).collect());
    round((1..7i64).collect());
    round((1..7u32).collect());
    round(vec![true, false, false, true, true, false]);
    let error = Value::list(&[1, 2]).to_array::<f32>().unwrap_err();
    assert_eq!(error.to_string(), "invalid value: has elements of i64, but f32 is asked for");
    let scalar: ArrayD<i64> = Value::scalar(7i64).to_array().unwrap();
    assert_eq!(scalar, arr0(7i64).into_dyn());
}
