//! The engine's own behaviour: callers' devices and passes, reuse, threads, wrong operands, lost devices.

use std::sync::OnceLock;

use wgconv::{
    Activation, ConvDesc, DType, Engine, EngineDesc, Epilogue, ErrorKind, IndexOrder, PoolDesc, PoolKind, Problem, Residual,
    Spatial, Specialise, TensorDesc, Value, Weights, wgpu,
};

fn new_engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("the engine tests need a GPU adapter: {error}"))
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(new_engine)
}

/// A 2x2 box sum: `[1, 2, 3; 4, 5, 6; 7, 8, 9]` gives `[12, 16; 24, 28]`.
const BOX: ([f32; 9], [f32; 4], [f32; 4]) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [1.0; 4], [12.0, 16.0, 24.0, 28.0]);

fn box_desc() -> (ConvDesc, TensorDesc) {
    (ConvDesc::new(1, 1, [2, 2]), TensorDesc::f32(&[1, 1, 3, 3]))
}

fn weights(kernel: &[f32]) -> Weights<'_> {
    Weights { kernel, ..Default::default() }
}

#[test]
fn elements_of_every_type_come_and_go() {
    let halves: Vec<half::f16> = [1.0, -0.5, 3.0].map(half::f16::from_f32).to_vec();
    let x = engine().upload_elements(&[7, -8, i32::MAX], &TensorDesc::new(&[3], DType::I32)).unwrap();
    assert_eq!(x.to_vec::<i32>().unwrap(), [7, -8, i32::MAX]);
    x.overwrite(&[1, 2, 3]).unwrap();
    assert_eq!(x.to_vec::<i32>().unwrap(), [1, 2, 3]);
    let x = engine().upload_elements(&halves, &TensorDesc::f16(&[3])).unwrap();
    assert_eq!(x.to_vec::<half::f16>().unwrap(), halves);
    x.overwrite(&[0.1f32, 0.25, 65504.0]).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [0.099_975_586, 0.25, 65504.0]);
    // In another layout too.
    let desc = TensorDesc::f32(&[1, 2, 1, 3]).with_layout(wgconv::Layout::ChannelsLast);
    let x = engine().upload(&[0.0; 6], &desc).unwrap();
    x.overwrite(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for error in [x.overwrite(&[1.0f32; 5]), x.overwrite(&[1; 6]), engine().upload_elements(&[1], &desc).map(drop)] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    }
    for (value, words) in [
        (Value::new(&[2], vec![5i64, -6]).unwrap(), vec![5, -6]),
        (Value::new(&[2], vec![true, false]).unwrap(), vec![1, 0]),
        (Value::new(&[0], Vec::<i32>::new()).unwrap(), vec![]),
    ] {
        assert_eq!(engine().upload_value(&value).unwrap().to_vec::<i32>().unwrap(), words);
    }
    assert_eq!(engine().upload_value(&Value::new(&[1], vec![200u8]).unwrap()).unwrap().to_vec::<f32>().unwrap(), [200.0]);
    for value in [Value::scalar(1i64 << 40), Value::scalar(1.0f64)] {
        assert_eq!(engine().upload_value(&value).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert!(engine().zeros(&TensorDesc::f32(&[0, 3])).unwrap().to_vec::<f32>().unwrap().is_empty());
}

#[test]
fn a_buffer_of_another_engine_is_an_error() {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false };
    let other = new_engine();
    for _ in 0..3 {
        let buffer = other.device().create_buffer(&descriptor);
        let error = engine().tensor_from_buffer(&buffer, 0, &TensorDesc::f32(&[8])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    }
}

#[test]
fn a_layer_runs_from_upload_to_read_back() {
    let (desc, input) = box_desc();
    let x = engine().upload(&BOX.0, &input).unwrap();
    let conv = engine().conv(&desc, x.desc(), weights(&BOX.1)).unwrap();
    let y = conv.run(&x).unwrap();
    assert_eq!(y.desc(), &TensorDesc::f32(&[1, 1, 2, 2]));
    assert_eq!(y.to_vec::<f32>().unwrap(), BOX.2);
    assert_eq!(pollster::block_on(y.to_vec_async::<f32>()).unwrap(), BOX.2);
    assert_eq!(y.reshape(&[4]).unwrap().to_vec::<f32>().unwrap(), BOX.2);
    let timing = conv.profile(&x).unwrap();
    assert!(timing.wall.as_secs() < 60);
}

#[test]
fn an_engine_can_be_made_without_blocking() {
    let engine = pollster::block_on(Engine::new_async(&EngineDesc::default())).unwrap();
    assert!(!engine.adapter_name().is_empty());
}

#[test]
fn a_layer_keeps_giving_right_results_as_its_tensors_come_and_go() {
    let (desc, input) = box_desc();
    let conv = engine().conv(&desc, &input, weights(&BOX.1)).unwrap();
    let into = engine().zeros(conv.output_desc()).unwrap();
    for run in 0..50 {
        let scale = run as f32;
        let x = engine().upload(&BOX.0.map(|v| v * scale), &input).unwrap();
        let y = conv.run(&x).unwrap();
        conv.run_into(&x, &into).unwrap();
        let expected = BOX.2.map(|v| v * scale);
        assert_eq!(y.to_vec::<f32>().unwrap(), expected);
        assert_eq!(into.to_vec::<f32>().unwrap(), expected);
    }
}

#[test]
fn layers_chain_without_waiting_and_the_residual_is_added() {
    let desc = ConvDesc {
        padding: [1, 1].into(),
        epilogue: Epilogue { residual: Residual::BeforeActivation, activation: Activation::Relu, ..Default::default() },
        ..ConvDesc::new(1, 1, [3, 3])
    };
    let kernel = [0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0];
    let x = engine().upload(&BOX.0, &TensorDesc::f32(&[1, 1, 3, 3])).unwrap();
    let minus = engine().conv(&desc, x.desc(), weights(&kernel)).unwrap();
    // relu(-x + x) = 0, then relu(-0 + x) = x.
    let zero = minus.run((&x, &x)).unwrap();
    let back = minus.run((&zero, &x)).unwrap();
    assert_eq!(zero.to_vec::<f32>().unwrap(), [0.0; 9]);
    assert_eq!(back.to_vec::<f32>().unwrap(), BOX.0);
}

#[test]
fn a_pooling_gives_indices_where_they_are_asked_for() {
    let x = engine().upload(&BOX.0, &TensorDesc::f32(&[1, 1, 3, 3])).unwrap();
    let desc =
        PoolDesc { kind: PoolKind::Max { indices: Some(IndexOrder::Plane) }, stride: [1, 1].into(), ..PoolDesc::max([2, 2]) };
    let pool = engine().pool(&desc, x.desc()).unwrap();
    let (values, indices) = pool.run_with_indices(&x).unwrap();
    assert_eq!(values.to_vec::<f32>().unwrap(), [5.0, 6.0, 8.0, 9.0]);
    assert_eq!(indices.to_vec::<i32>().unwrap(), [4, 5, 7, 8]);
    assert_eq!(pool.run(&x).unwrap().to_vec::<f32>().unwrap(), [5.0, 6.0, 8.0, 9.0]);
    assert_eq!(indices.to_vec::<f32>().unwrap_err().kind(), ErrorKind::Invalid);
    let plain = engine().pool(&PoolDesc::max([2, 2]), x.desc()).unwrap();
    assert_eq!(plain.run_with_indices(&x).unwrap_err().field(), Some("indices"));
}

#[test]
fn half_floats_are_rounded_on_upload_and_widened_on_the_way_back() {
    if !engine().limits().f16 {
        let error = engine().conv(&box_desc().0, &TensorDesc::f16(&[1, 1, 3, 3]), weights(&BOX.1)).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        return;
    }
    let x = engine().upload(&BOX.0, &TensorDesc::f16(&[1, 1, 3, 3])).unwrap();
    assert_eq!(x.to_vec::<half::f16>().unwrap().len(), 9);
    let conv = engine().conv(&box_desc().0, x.desc(), weights(&BOX.1)).unwrap();
    let y = conv.run(&x).unwrap();
    assert_eq!(y.desc().dtype(), DType::F16);
    assert_eq!(y.to_vec::<f32>().unwrap(), BOX.2);
}

#[test]
fn wrong_operands_are_refused_by_name_and_leave_the_engine_usable() {
    let (desc, input) = box_desc();
    let x = engine().upload(&BOX.0, &input).unwrap();
    let conv = engine().conv(&desc, &input, weights(&BOX.1)).unwrap();
    let field = |error: wgconv::Error| error.field().unwrap_or_default();
    assert_eq!(field(engine().upload(&BOX.0[1..], &input).unwrap_err()), "input");
    assert_eq!(field(engine().conv(&desc, &input, weights(&BOX.1[1..])).map(|_| ()).unwrap_err()), "weight");
    assert_eq!(field(conv.run(&x.reshape(&[1, 1, 9, 1]).unwrap()).unwrap_err()), "input");
    assert_eq!(field(conv.run((&x, &x)).unwrap_err()), "residual");
    assert_eq!(field(conv.run_into(&x, &x).unwrap_err()), "output");
    assert_eq!(field(x.reshape(&[4]).unwrap_err()), "shape");
    // The same buffer as input and output, under a fitting shape.
    let same = engine().conv(&ConvDesc::new(1, 1, [1, 1]), &input, weights(&[1.0])).unwrap();
    assert_eq!(field(same.run_into(&x, &x).unwrap_err()), "output");
    let other = new_engine();
    assert_eq!(field(other.conv(&desc, &input, weights(&BOX.1)).unwrap().run(&x).unwrap_err()), "input");
    assert_eq!(conv.run(&x).unwrap().to_vec::<f32>().unwrap(), BOX.2);
}

#[test]
fn what_one_binding_must_hold_and_does_not_is_refused_with_the_numbers() {
    let limits = engine().limits();
    let elements = usize::try_from(limits.storage_binding_bytes / 4 + 64).unwrap();
    // Windows that depend on the whole length are not those of any part.
    let problem: Problem = format!("adaptive_max_pool 1x1x{elements} to64 f32").parse().unwrap();
    let error = engine().candidates(&problem).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains(&limits.storage_binding_bytes.to_string()), "{error}");
}

#[test]
fn a_caller_can_record_layers_into_a_pass_on_a_device_of_its_own() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    // No feature, and the limits that every device has.
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let engine = Engine::from_wgpu(&adapter, device.clone(), queue.clone(), &EngineDesc::default()).unwrap();
    assert!(!engine.limits().f16);
    assert_eq!(engine.limits().workgroup_invocations, 256);

    let (desc, input) = box_desc();
    let x = engine.upload(&BOX.0, &input).unwrap();
    let conv = engine.conv(&desc, &input, weights(&BOX.1)).unwrap();
    let pool = engine.pool(&PoolDesc::max([2, 2]), conv.output_desc()).unwrap();
    let (sums, most) = (engine.zeros(conv.output_desc()).unwrap(), engine.zeros(pool.output_desc()).unwrap());
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        conv.encode(&mut pass, &x, &sums).unwrap();
        pool.encode(&mut pass, &sums, &most, None).unwrap();
    }
    assert_eq!(most.to_vec::<f32>().unwrap(), [0.0], "nothing runs before the caller submits");
    queue.submit([encoder.finish()]);
    assert_eq!(sums.to_vec::<f32>().unwrap(), BOX.2);
    assert_eq!(most.to_vec::<f32>().unwrap(), [28.0]);
}

#[test]
fn webgpu_limits_plan_what_runs_anywhere() {
    let engine = Engine::new(&EngineDesc { webgpu_limits: true, ..Default::default() }).unwrap();
    let limits = engine.limits();
    assert!(limits.workgroup_invocations <= 256 && limits.workgroup_bytes <= 16_384 && limits.subgroup.is_none() && !limits.f16);
    let (desc, input) = box_desc();
    let x = engine.upload(&BOX.0, &input).unwrap();
    assert_eq!(engine.conv(&desc, &input, weights(&BOX.1)).unwrap().run(&x).unwrap().to_vec::<f32>().unwrap(), BOX.2);
}

#[test]
fn sizes_as_constants_and_as_a_buffer_give_the_same_bits() {
    let problem: Problem = "conv_transpose 1x6x7x7 o8 k3x3 s2x2 p1x1 op1x1 g2 f32 bias tanh".parse().unwrap();
    let wgconv::Layer::Conv(desc) = problem.layer else { unreachable!() };
    let data = |count: usize| (0..count).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
    let (kernel, bias) = (data(desc.weight_shape().unwrap().iter().product()), data(8));
    let weights = Weights { kernel: &kernel, bias: Some(&bias), ..Default::default() };
    let run = |specialise| {
        let engine = Engine::new(&EngineDesc { specialise, ..Default::default() }).unwrap();
        let x = engine.upload(&data(6 * 49), &problem.input).unwrap();
        let algorithms = engine.candidates(&problem).unwrap().algorithms;
        algorithms
            .iter()
            .map(|algorithm| {
                engine.conv_with(&desc, &problem.input, weights, algorithm).unwrap().run(&x).unwrap().to_vec::<f32>().unwrap()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(Specialise::Always), run(Specialise::Never));
}

#[test]
fn threads_share_an_engine_and_a_layer() {
    let (desc, input) = box_desc();
    let conv = engine().conv(&desc, &input, weights(&BOX.1)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (conv, input) = (&conv, &input);
            scope.spawn(move || {
                for run in 0..20 {
                    let scale = (thread * 100 + run) as f32;
                    let x = engine().upload(&BOX.0.map(|v| v * scale), input).unwrap();
                    let own = engine().conv(&box_desc().0, input, weights(&BOX.1)).unwrap();
                    let expected = BOX.2.map(|v| v * scale);
                    assert_eq!(conv.run(&x).unwrap().to_vec::<f32>().unwrap(), expected);
                    assert_eq!(own.run(&x).unwrap().to_vec::<f32>().unwrap(), expected);
                }
            });
        }
    });
}

#[test]
fn everything_on_a_lost_device_says_so_and_nothing_hangs() {
    let engine = new_engine();
    let (desc, input) = box_desc();
    let x = engine.upload(&BOX.0, &input).unwrap();
    let conv = engine.conv(&desc, &input, weights(&BOX.1)).unwrap();
    let y = conv.run(&x).unwrap();
    engine.device().destroy();
    // The driver may tell only when it is asked.
    let _ = engine.wait();
    let lost = |error: wgconv::Error| assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}");
    lost(engine.wait().unwrap_err());
    lost(conv.run(&x).unwrap_err());
    lost(y.to_vec::<f32>().unwrap_err());
    lost(pollster::block_on(y.to_vec_async::<f32>()).unwrap_err());
    lost(engine.upload(&BOX.0, &input).unwrap_err());
    lost(engine.conv(&desc, &input, weights(&BOX.1)).map(|_| ()).unwrap_err());
    lost(conv.profile(&x).unwrap_err());
}

#[test]
fn a_callers_device_that_is_lost_gives_errors_and_no_panic() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let engine = Engine::from_wgpu(&adapter, device.clone(), queue, &EngineDesc::default()).unwrap();
    let (desc, input) = box_desc();
    let x = engine.upload(&BOX.0, &input).unwrap();
    let conv = engine.conv(&desc, &input, weights(&BOX.1)).unwrap();
    device.destroy();
    let first = conv.run(&x).and_then(|y| y.to_vec::<f32>()).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::DeviceLost, "{first}");
    let later = engine.upload(&BOX.0, &input).unwrap_err();
    assert_eq!(later.kind(), ErrorKind::DeviceLost, "{later}");
}

#[test]
fn tensors_outlive_their_engine() {
    let engine = new_engine();
    let x = engine.upload(&[1.0, 2.0], &TensorDesc::f32(&[2])).unwrap();
    drop(engine);
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(Spatial::splat(2, 1), [1, 1].into());
}

#[test]
fn a_read_back_that_nobody_waits_for_any_more_leaves_the_engine_usable() {
    use std::future::Future;
    use std::task::{Context, Waker};
    let engine = new_engine();
    let x = engine.upload(&BOX.0, &TensorDesc::f32(&[1, 1, 3, 3])).unwrap();
    for _ in 0..3 {
        let mut reading = Box::pin(x.to_vec_async::<f32>());
        let _ = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(reading);
        assert_eq!(x.to_vec::<f32>().unwrap(), BOX.0);
    }
}

#[test]
fn a_nan_in_a_window_wins_its_maximum_on_the_device_too() {
    let input = TensorDesc::f32(&[1, 1, 4]);
    let x = engine().upload(&[0.0, f32::NAN, 1.0, 2.0], &input).unwrap();
    let y = engine().pool(&PoolDesc::max([2]), &input).unwrap().run(&x).unwrap().to_vec::<f32>().unwrap();
    assert!(y[0].is_nan() && y[1] == 2.0, "{y:?}");
}

#[test]
fn an_infinity_outside_a_window_leaves_no_trace() {
    // Ten taps at stride 5 in few channels: kernels pad taps, rows of weights and columns, and a weight of 0 times infinity is no 0.
    let problem: wgconv::Problem = "conv 1x2x65 o9 k10 s5 f32".parse().unwrap();
    let wgconv::Layer::Conv(desc) = &problem.layer else { unreachable!("the line is a convolution") };
    let mut data = vec![1.0; 130];
    (data[34], data[65 + 49]) = (f32::INFINITY, f32::NAN);
    let weights = vec![1.0; 9 * 2 * 10];
    let x = engine().upload(&data, &problem.input).unwrap();
    let candidates = engine().candidates(&problem).unwrap().algorithms;
    for algorithm in candidates.iter().filter(|algorithm| algorithm.name() != "winograd") {
        let layer =
            engine().conv_with(desc, &problem.input, Weights { kernel: &weights, ..Default::default() }, algorithm).unwrap();
        let y = layer.run(&x).unwrap().to_vec::<f32>().unwrap();
        // Output i sees elements 5 i to 5 i + 9.
        for (number, value) in y.iter().enumerate() {
            let at = number % 12;
            match at {
                5 | 6 => assert_eq!(*value, f32::INFINITY, "{algorithm}, {at}"),
                8 | 9 => assert!(value.is_nan(), "{algorithm}, {at}: {value}"),
                _ => assert_eq!(*value, 20.0, "{algorithm}, {at}"),
            }
        }
    }
}
