//! Tensors of more bytes than a buffer has: what lies in several buffers is, from outside, a tensor as all others.

use wgconv::{Engine, EngineDesc, ErrorKind, Graph, Layout, Network, NetworkDesc, Op, PoolDesc, TensorDesc, Value, wgpu};

mod support;
use support::Random;

/// Bytes of a buffer in these tests. It is no multiple of 256, at which bindings begin.
const BUFFER: u64 = 20_000;

fn engine(max_buffer_bytes: Option<u64>, memory_budget: Option<u64>) -> Engine {
    let desc = EngineDesc { max_buffer_bytes, memory_budget, ..Default::default() };
    Engine::new(&desc).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

#[test]
fn what_is_uploaded_comes_back_by_every_way() {
    let engine = engine(Some(BUFFER), None);
    let mut descs =
        vec![TensorDesc::f32(&[1, 3, 41, 67]), TensorDesc::f32(&[4992]), TensorDesc::f32(&[4993]), TensorDesc::f32(&[3, 9984])];
    if engine.limits().f16 {
        descs.push(TensorDesc::f16(&[29_999]));
    }
    for desc in descs {
        let numbers: Vec<f32> = (0..desc.elements().unwrap()).map(|number| (number % 2039) as f32).collect();
        let tensor = engine.upload(&numbers, &desc).unwrap();
        assert!(tensor.to_vec::<f32>().unwrap() == numbers, "{desc}");
        assert!(pollster::block_on(tensor.to_vec_async::<f32>()).unwrap() == numbers, "{desc}");
        assert!(tensor.clone().into_vec::<f32>().unwrap() == numbers, "{desc}");
        let flat = tensor.reshape(&[numbers.len()]).unwrap();
        drop(tensor);
        // No clone is left: read where it lies.
        assert!(flat.into_vec::<f32>().unwrap() == numbers, "{desc}");
        assert!(engine.zeros(&desc).unwrap().to_vec::<f32>().unwrap().iter().all(|&number| number == 0.0), "{desc}");
    }
    // Whatever the tensors had is used again, buffer by buffer.
    let stats = engine.buffers();
    assert!(stats.in_use == 0 && stats.allocations < 40 && stats.reuses > 10, "{stats}");
}

#[test]
fn layouts_are_converted_across_buffers() {
    let engine = engine(Some(BUFFER), None);
    let desc = TensorDesc::f32(&[2, 5, 33, 47]);
    let numbers: Vec<f32> = (0..desc.elements().unwrap()).map(|number| number as f32).collect();
    let first = engine.upload(&numbers, &desc).unwrap();
    let last = first.to_layout(Layout::ChannelsLast).unwrap();
    assert!(last.to_vec::<f32>().unwrap() == numbers);
    assert!(last.to_layout(Layout::ChannelsFirst).unwrap().to_vec::<f32>().unwrap() == numbers);
}

#[test]
fn a_budget_counts_all_buffers_of_a_tensor_and_refuses_it_as_one() {
    let engine = engine(Some(1 << 20), Some(4 << 20));
    let desc = TensorDesc::f32(&[3 << 18]);
    let held = engine.zeros(&desc).unwrap();
    assert_eq!(engine.buffers().in_use, 3 << 20);
    let error = engine.zeros(&TensorDesc::f32(&[1 << 19])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    for part in ["2097152 bytes are asked for", "3145728 in use", "4194304 allowed", "memory_budget"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(engine.buffers().in_use, 3 << 20);
    drop(held);
    let _again = engine.zeros(&desc).unwrap();
    assert_eq!((engine.buffers().in_use, engine.buffers().reuses), (3 << 20, 3));
}

/// Layers, a sum, movements and two results, on values of several buffers each.
fn network() -> Graph {
    let (mut graph, [first, sum]) = support::large();
    let both = graph.apply(Op::Concat { axis: 1 }, &[first, sum]);
    let pooled = graph.pool(&PoolDesc::max([2, 2]), both);
    graph.output("y", pooled);
    graph
}

#[test]
fn networks_run_on_values_in_several_buffers() {
    let (small, whole) = (engine(Some(BUFFER), None), engine(None, None));
    let desc = NetworkDesc::default();
    let x = Value::new(&[2, 4, 70, 66], Random::new(5).numbers(2 * 4 * 70 * 66, -1.0, 1.0)).unwrap();
    let network = Network::new(&small, &network(), &desc).unwrap();
    assert!(network.host_nodes().is_empty(), "{}", network.explain());
    let wanted = Network::new(&whole, &self::network(), &desc).unwrap().run_values(std::slice::from_ref(&x)).unwrap();
    let got = network.run_values(std::slice::from_ref(&x)).unwrap();
    for (got, wanted) in got.iter().zip(&wanted) {
        assert!(support::difference(got, wanted) < 1e-6);
    }
    // As tensors, and as frames of a stream, the results are the same bits.
    let tensor = small.upload(&x.to_f32(), &TensorDesc::f32(x.shape())).unwrap();
    let tensors = network.run(&[&tensor]).unwrap();
    let frames: Vec<_> = network.stream(2).unwrap().run_all((0..3).map(|_| [x.clone()])).collect::<Result<_, _>>().unwrap();
    for (number, got) in got.iter().enumerate() {
        assert!(tensors[number].to_vec::<f32>().unwrap() == got.to_f32());
        assert!(frames.iter().all(|frame| frame[number] == *got));
    }
    let found = network.verify(&[x]).unwrap();
    assert!(found.passed(), "{found}");
}

#[test]
fn a_callers_buffer_may_be_larger_than_those_of_plans() {
    let engine = engine(Some(BUFFER), None);
    let desc = TensorDesc::f32(&[1, 4, 40, 41]);
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer =
        engine.device().create_buffer(&wgpu::BufferDescriptor { label: None, size: 40_000, usage, mapped_at_creation: false });
    let numbers: Vec<f32> = (0..6560).map(|number| (number % 97) as f32).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    engine.queue().write_buffer(&buffer, 512, &bytes);
    let foreign = engine.tensor_from_buffer(&buffer, 512, &desc).unwrap();
    assert!(foreign.to_vec::<f32>().unwrap() == numbers);
    let pool = engine.pool(&PoolDesc::max([3, 3]), &desc).unwrap();
    assert!(pool.plan().split.is_some(), "{}", pool.plan());
    let own = engine.upload(&numbers, &desc).unwrap();
    assert!(pool.run(&foreign).unwrap().to_vec::<f32>().unwrap() == pool.run(&own).unwrap().to_vec::<f32>().unwrap());
}
