//! What happens when the device is lost: whatever was being done ends in `ErrorKind::DeviceLost`, nothing hangs or panics, and after
//! [`Engine::recover`] the same networks and layers give the same results.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use support::{Random, dims, within};
use wgconv::{
    Activation, Conv, ConvDesc, ElementType, Engine, EngineDesc, Epilogue, Error, ErrorKind, Graph, IndexOrder, Network,
    NetworkDesc, Op, Pool, PoolDesc, PoolKind, Result, Tensor, TensorDesc, Tuning, Unary, Value, Weights, wgpu,
};

/// Seconds after which something hangs.
const PATIENCE: u64 = 120;

fn new_engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

fn input_desc() -> TensorDesc {
    TensorDesc::f32(&[1, 4, 12, 12])
}

fn input() -> Vec<f32> {
    Random::new(1).numbers(4 * 12 * 12, -1.0, 1.0)
}

fn value() -> Value {
    Value::new(&[1, 4, 12, 12], input()).unwrap()
}

fn conv_desc(out_channels: usize) -> ConvDesc {
    let epilogue = Epilogue { bias: true, activation: Activation::Relu, ..Default::default() };
    ConvDesc { padding: [1, 1].into(), epilogue, ..ConvDesc::new(4, out_channels, [3, 3]) }
}

fn conv(engine: &Engine, out_channels: usize) -> Result<Conv> {
    let kernel = Random::new(2).numbers(out_channels * 4 * 9, -1.0, 1.0);
    let bias = Random::new(3).numbers(out_channels, -1.0, 1.0);
    engine.conv(&conv_desc(out_channels), &input_desc(), Weights { kernel: &kernel, bias: Some(&bias), ..Default::default() })
}

fn pool(engine: &Engine) -> Result<Pool> {
    let kind = PoolKind::Max { indices: Some(IndexOrder::Plane) };
    engine.pool(&PoolDesc { kind, ..PoolDesc::max([2, 2]) }, &input_desc())
}

/// Layers, operations around them and, on demand, a step of the host.
fn graph(width: usize, host: bool) -> Graph {
    let mut random = Random::new(4);
    let mut graph = Graph::new("small");
    let x = graph.input("x", &dims(&[1, 4, 12, 12]));
    let mut constant = |graph: &mut Graph, shape: &[usize]| {
        let numbers = random.numbers(shape.iter().product(), -1.0, 1.0);
        graph.constant("", Value::new(shape, numbers).unwrap())
    };
    let (kernel, bias) = (constant(&mut graph, &[width, 4, 3, 3]), constant(&mut graph, &[width]));
    let y = graph.conv(&conv_desc(width), x, kernel, Some(bias));
    let y = graph.apply(Op::Unary(Unary::Sin), &[y]);
    let y = if host {
        let whole = graph.apply(Op::Cast(ElementType::I64), &[y]);
        graph.apply(Op::Cast(ElementType::F32), &[whole])
    } else {
        y
    };
    let second = constant(&mut graph, &[4, width, 1, 1]);
    let y = graph.conv(&ConvDesc::new(width, 4, [1, 1]), y, second, None);
    graph.output("y", y);
    graph
}

fn network(engine: &Engine, host: bool) -> Result<Network> {
    Network::new(engine, &graph(6, host), &NetworkDesc::default())
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    Ok(tensor.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn lost<T>(what: &str, result: Result<T>) -> Error {
    let error = result.err().unwrap_or_else(|| panic!("{what}: a lost device gave a result"));
    assert_eq!(error.kind(), ErrorKind::DeviceLost, "{what}: {error}");
    error
}

/// What an engine is used for. Each is made of an engine and then called again and again.
type Use = Box<dyn FnMut(&Engine) -> Result<()> + Send>;

/// Every way to use the device, by name; made on a device that is well.
fn uses(engine: &Engine) -> Vec<(&'static str, Use)> {
    let x = engine.upload(&input(), &input_desc()).unwrap();
    let (layer, window) = (conv(engine, 5).unwrap(), pool(engine).unwrap());
    let (device, host) = (network(engine, false).unwrap(), network(engine, true).unwrap());
    let (of_layer, of_window, of_network, of_timed) = (x.clone(), x.clone(), x.clone(), x.clone());
    let (of_read, of_async, of_encode) = (x.clone(), x.clone(), x);
    let (timed, encoded, verified) = (conv(engine, 5).unwrap(), device.clone(), device.clone());
    let (profiled, values, streamed) = (device.clone(), device.clone(), device.clone());
    let result = engine.zeros(&TensorDesc::f32(&[1, 4, 12, 12])).unwrap();
    let (mut channels, mut width) = (8, 8);
    vec![
        ("upload", Box::new(|engine: &Engine| engine.upload(&input(), &input_desc()).map(|_| ())) as Use),
        ("zeros", Box::new(|engine: &Engine| engine.zeros(&input_desc()).map(|_| ()))),
        ("wait", Box::new(|engine: &Engine| engine.wait())),
        ("read back", Box::new(move |_| of_read.to_vec::<f32>().map(|_| ()))),
        ("read back async", Box::new(move |_| pollster::block_on(of_async.to_vec_async::<f32>()).map(|_| ()))),
        ("run a layer", Box::new(move |_| layer.run(&of_layer)?.to_vec::<f32>().map(|_| ()))),
        ("run a pooling", Box::new(move |_| window.run_with_indices(&of_window)?.1.to_vec::<i32>().map(|_| ()))),
        ("profile a layer", Box::new(move |_| timed.profile(&of_timed).map(|_| ()))),
        ("run a network", Box::new(move |_| device.run(&[&of_network])?[0].to_vec::<f32>().map(|_| ()))),
        ("run a network on values", Box::new(move |_| values.run_values(&[value()]).map(|_| ()))),
        ("run a network with a step of the host", Box::new(move |_| host.run_values(&[value()]).map(|_| ()))),
        ("profile a network", Box::new(move |_| profiled.profile(&[value()]).map(|_| ()))),
        ("verify a network", Box::new(move |_| verified.verify(&[value()]).map(|_| ()))),
        (
            "stream through a network",
            Box::new(move |_| {
                let frames = (0..6).map(|_| [value()]);
                streamed.stream(3)?.run_all(frames).try_for_each(|results| results.map(|_| ()))
            }),
        ),
        (
            "encode a network",
            Box::new(move |engine| {
                let mut encoder = engine.device().create_command_encoder(&Default::default());
                encoded.encode(&mut encoder, &[&of_encode], &[&result])?;
                engine.wait()
            }),
        ),
        (
            "prepare a layer",
            Box::new(move |engine| {
                channels += 1;
                conv(engine, channels).map(|_| ())
            }),
        ),
        (
            "prepare a network",
            Box::new(move |engine| {
                width += 1;
                Network::new(engine, &graph(width, false), &NetworkDesc::default()).map(|_| ())
            }),
        ),
    ]
}

#[test]
fn whatever_is_begun_on_a_lost_device_says_that_it_is_lost() {
    within(PATIENCE, "uses of a lost device", || {
        let engine = new_engine();
        let uses = uses(&engine);
        engine.device().destroy();
        // Nobody has asked the driver yet: the first use must find out for itself.
        for (name, mut work) in uses {
            let error = lost(name, work(&engine));
            assert!(error.message().contains(engine.adapter_name()), "{name}: {error}");
        }
    });
}

#[test]
fn the_first_use_after_a_loss_finds_out_whichever_it_is() {
    within(PATIENCE, "first uses", || {
        for number in 0..uses(&new_engine()).len() {
            let engine = new_engine();
            let (name, mut work) = uses(&engine).swap_remove(number);
            engine.device().destroy();
            lost(name, work(&engine));
        }
    });
}

/// Uses an engine on a thread of its own, again and again, and destroys its device after a while; the error that this ends in.
fn lose_while(name: &'static str, engine: Engine, mut work: Use, after: Duration) -> Error {
    within(PATIENCE, name, move || {
        let begun = Arc::new(AtomicBool::new(false));
        let user = {
            let (engine, begun) = (engine.clone(), begun.clone());
            std::thread::spawn(move || {
                loop {
                    begun.store(true, Ordering::Release);
                    if let Err(error) = work(&engine) {
                        return error;
                    }
                }
            })
        };
        while !begun.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        std::thread::sleep(after);
        engine.device().destroy();
        user.join().expect("a use panicked")
    })
}

#[test]
fn whatever_is_under_way_when_the_device_is_lost_ends_and_says_so() {
    for number in 0..uses(&new_engine()).len() {
        for microseconds in [0, 3_000, 20_000] {
            let engine = new_engine();
            let (name, work) = uses(&engine).swap_remove(number);
            let error = lose_while(name, engine, work, Duration::from_micros(microseconds));
            assert_eq!(error.kind(), ErrorKind::DeviceLost, "{name} after {microseconds} us: {error}");
        }
    }
}

#[test]
fn a_tuner_whose_device_is_lost_says_so() {
    let path = std::env::temp_dir().join(format!("wgconv-lost-{}", std::process::id()));
    let tuning = Tuning::Measure { budget: Duration::from_secs(20) };
    for milliseconds in [1, 30, 300] {
        let desc = EngineDesc { tuning, tuning_table: Some(path.clone()), ..Default::default() };
        let engine = Engine::new(&desc).unwrap();
        let mut channels = 6;
        let work = Box::new(move |engine: &Engine| {
            channels += 1;
            conv(engine, channels).map(|_| ())
        });
        let error = lose_while("tune", engine, work, Duration::from_millis(milliseconds));
        assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}");
    }
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(path.with_extension("lock"));
}

#[test]
fn a_result_that_is_awaited_when_the_device_is_lost_is_right_or_an_error() {
    within(PATIENCE, "awaited results", || {
        let engine = new_engine();
        let wanted = bits(&conv(&engine, 5).unwrap().run(&engine.upload(&input(), &input_desc()).unwrap()).unwrap()).unwrap();
        for _ in 0..5 {
            let engine = new_engine();
            let y = conv(&engine, 5).unwrap().run(&engine.upload(&input(), &input_desc()).unwrap()).unwrap();
            let mut reading = Box::pin(y.to_vec_async::<f32>());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let first = std::future::Future::poll(reading.as_mut(), &mut context);
            engine.device().destroy();
            let result = match first {
                std::task::Poll::Ready(result) => result,
                std::task::Poll::Pending => pollster::block_on(reading),
            };
            match result {
                Ok(got) => assert_eq!(got.into_iter().map(f32::to_bits).collect::<Vec<_>>(), wanted),
                Err(error) => assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}"),
            }
        }
    });
}

/// Everything that an engine makes, and what it gives.
struct Kept {
    conv: Conv,
    pool: Pool,
    networks: [Network; 2],
}

impl Kept {
    fn new(engine: &Engine) -> Self {
        let network = |host| network(engine, host).unwrap();
        Self { conv: conv(engine, 5).unwrap(), pool: pool(engine).unwrap(), networks: [false, true].map(network) }
    }

    fn results(&self, engine: &Engine) -> Result<Vec<Vec<u32>>> {
        let x = engine.upload(&input(), &input_desc())?;
        let (largest, positions) = self.pool.run_with_indices(&x)?;
        let positions = positions.to_vec::<i32>()?.into_iter().map(|position| position as u32).collect();
        let mut results = vec![bits(&self.conv.run(&x)?)?, bits(&largest)?, positions];
        for network in &self.networks {
            results.push(bits(&network.run(&[&x])?[0])?);
        }
        Ok(results)
    }
}

#[test]
fn after_a_recovery_the_same_networks_and_layers_give_the_same_results() {
    within(PATIENCE, "recovery", || {
        let budget = Some(64 << 20);
        let engine = Engine::new(&EngineDesc { memory_budget: budget, ..Default::default() }).unwrap();
        let kept = Kept::new(&engine);
        let wanted = kept.results(&engine).unwrap();
        let x = engine.upload(&input(), &input_desc()).unwrap();
        // A loss of what is new too.
        for _ in 0..2 {
            engine.device().destroy();
            lost("results", kept.results(&engine));
            engine.clone().recover().unwrap();
            assert_eq!(kept.results(&engine).unwrap(), wanted);
            for error in
                [lost("read back", x.to_vec::<f32>()), lost("run", kept.conv.run(&x)), lost("run", kept.networks[0].run(&[&x]))]
            {
                assert!(error.message().contains(engine.adapter_name()), "{error}");
            }
            let error = lost("run", kept.conv.run(&x));
            assert!(error.message().contains("input") && error.message().contains("upload it again"), "{error}");
        }
        assert_eq!(Kept::new(&engine).results(&engine).unwrap(), wanted);
    });
}

#[test]
fn nothing_is_done_to_a_device_that_is_well() {
    let engine = new_engine();
    let x = engine.upload(&[1.0, 2.0], &TensorDesc::f32(&[2])).unwrap();
    engine.recover().unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0, 2.0]);
}

#[test]
fn threads_may_recover_at_once() {
    within(PATIENCE, "recovery by threads", || {
        let engine = new_engine();
        let kept = Arc::new(Kept::new(&engine));
        let wanted = kept.results(&engine).unwrap();
        engine.device().destroy();
        let together = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (engine, kept, wanted, together) = (engine.clone(), kept.clone(), &wanted, &together);
                scope.spawn(move || {
                    lost("results", kept.results(&engine));
                    together.wait();
                    engine.recover().unwrap();
                    assert_eq!(&kept.results(&engine).unwrap(), wanted);
                });
            }
        });
    });
}

fn callers_device(limits: wgpu::Limits) -> (wgpu::Adapter, wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    (adapter, device, queue)
}

#[test]
fn an_engine_on_a_callers_device_recovers_with_another_of_the_callers() {
    within(PATIENCE, "recovery of a caller's device", || {
        let (adapter, device, queue) = callers_device(wgpu::Limits::default());
        let engine = Engine::from_wgpu(&adapter, device.clone(), queue, &EngineDesc::default()).unwrap();
        let kept = Kept::new(&engine);
        let wanted = kept.results(&engine).unwrap();
        device.destroy();
        lost("results", kept.results(&engine));
        let error = engine.recover().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("recover_with"), "{error}");
        // Less than the plans were made for.
        let less = wgpu::Limits { max_compute_invocations_per_workgroup: 64, ..wgpu::Limits::default() };
        let (adapter, device, queue) = callers_device(less);
        let error = engine.recover_with(&adapter, device, queue).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Unsupported, Some("device")));
        assert!(error.message().contains("workgroup_invocations is 64") && error.message().contains("256"), "{error}");
        // One that is gone too.
        let (adapter, device, queue) = callers_device(wgpu::Limits::default());
        device.destroy();
        lost("recover", engine.recover_with(&adapter, device, queue));
        lost("results", kept.results(&engine));
        let (adapter, device, queue) = callers_device(wgpu::Limits::default());
        engine.recover_with(&adapter, device, queue).unwrap();
        assert_eq!(kept.results(&engine).unwrap(), wanted);
    });
}
