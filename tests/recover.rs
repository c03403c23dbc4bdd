//! Devices that are lost in the middle of things, and everything that goes on after [`Engine::recover`]: tuners, streams, several
//! engines, other threads' runs.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::{Random, within};
use wgconv::{
    ConvDesc, Dim, ElementType, Engine, EngineDesc, Error, ErrorKind, Graph, MultiEngine, Network, NetworkDesc, Op, Reduce,
    Result, TensorDesc, Tuning, Value, Weights,
};

/// Seconds after which something hangs.
const PATIENCE: u64 = 120;

fn new_engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

/// Two layers of small integers, and on demand sums of 64-bit integers between them, which the host computes. Its batch is open.
fn graph(host: bool) -> Graph {
    let mut random = Random::new(5);
    let mut weights = |graph: &mut Graph, shape: [usize; 4]| {
        let numbers = (0..shape.iter().product()).map(|_| random.below(5) as f32 - 2.0).collect::<Vec<_>>();
        graph.constant("", Value::new(&shape, numbers).unwrap())
    };
    let mut graph = Graph::new("two layers");
    let x = graph.input("x", &[Dim::Symbol("N".into()), 4.into(), 12.into(), 12.into()]);
    let kernel = weights(&mut graph, [6, 4, 3, 3]);
    let y = graph.conv(&ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 6, [3, 3]) }, x, kernel, None);
    let y = if host {
        let whole = graph.apply(Op::Cast(ElementType::I64), &[y]);
        let axes = graph.constant("axes", Value::list(&[3]));
        let sums = Op::Reduce { kind: Reduce::Sum, keep_dims: true, noop_with_empty_axes: false };
        let sums = graph.apply(sums, &[whole, axes]);
        graph.apply(Op::Cast(ElementType::F32), &[sums])
    } else {
        y
    };
    let kernel = weights(&mut graph, [4, 6, 1, 1]);
    let y = graph.conv(&ConvDesc::new(6, 4, [1, 1]), y, kernel, None);
    graph.output("y", y);
    graph
}

fn network(engine: &Engine, host: bool) -> Network {
    let mut desc = NetworkDesc::default();
    desc.bindings.dims.push(("N".into(), 1));
    Network::new(engine, &graph(host), &desc).unwrap()
}

fn batch(items: usize, seed: u64) -> Value {
    let mut random = Random::new(seed);
    Value::new(&[items, 4, 12, 12], (0..items * 576).map(|_| random.below(7) as f32 - 3.0).collect::<Vec<_>>()).unwrap()
}

fn is_lost(error: &Error) -> bool {
    error.kind() == ErrorKind::DeviceLost
}

/// A result, or none where the device was lost.
fn unless_lost<T>(result: Result<T>) -> Option<T> {
    result.map_err(|error| assert!(is_lost(&error), "{error}")).ok()
}

#[test]
fn a_tuner_whose_device_was_lost_goes_on_after_a_recovery() {
    let folder = std::env::temp_dir().join(format!("wgconv-recover-{}", std::process::id()));
    let table = folder.join("tuning.txt");
    let wanted = table.clone();
    within(PATIENCE, "tuning", move || {
        for milliseconds in [1, 40, 200] {
            let tuning = Tuning::Measure { budget: Duration::from_millis(200) };
            let engine = Engine::new(&EngineDesc { tuning, tuning_table: Some(wanted.clone()), ..Default::default() }).unwrap();
            let destroy = engine.clone();
            let losing = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(milliseconds));
                destroy.device().destroy();
            });
            let conv = |channels: usize| {
                let kernel = vec![1.0; channels * 4 * 9];
                let weights = Weights { kernel: &kernel, ..Default::default() };
                engine.conv(&ConvDesc::new(4, channels, [3, 3]), &TensorDesc::f32(&[1, 4, 12, 12]), weights)
            };
            let lost = (3..).find(|&channels| unless_lost(conv(channels)).is_none()).expect("the device is destroyed");
            losing.join().unwrap();
            engine.recover().unwrap();
            // The very layer that was being measured, and another one.
            for channels in [lost, 2] {
                let x = engine.upload(&[1.0; 576], &TensorDesc::f32(&[1, 4, 12, 12])).unwrap();
                let y = conv(channels).unwrap().run(&x).unwrap().to_vec::<f32>().unwrap();
                assert!(y.len() == channels * 100 && y.iter().all(|&sum| sum == 36.0), "{channels} channels");
            }
            let text = std::fs::read_to_string(&wanted).unwrap();
            assert!(text.contains(" o2 k3x3"), "what was measured after the recovery is kept: {text}");
        }
    });
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_stream_with_frames_in_flight_goes_on_after_a_recovery() {
    within(PATIENCE, "streams", || {
        for host in [false, true] {
            let engine = new_engine();
            let network = network(&engine, host);
            let wanted: Vec<Vec<Value>> = (0..8).map(|seed| network.run_values(&[batch(1, seed)]).unwrap()).collect();
            let mut stream = network.stream(3).unwrap();
            for _ in 0..3 {
                for seed in 0..3 {
                    stream.send(&[batch(1, seed)]).unwrap();
                }
                engine.device().destroy();
                for wanted in &wanted[..3] {
                    // What had arrived before is right, and what had not is lost: its place in the order is kept.
                    let got = unless_lost(stream.recv().expect("three are in flight"));
                    assert!(got.is_none_or(|got| got == *wanted));
                }
                assert!(stream.recv().is_none());
                let error = stream.send(&[batch(1, 0)]).unwrap_err();
                assert!(is_lost(&error) && stream.in_flight() == 0, "{error}");
                engine.recover().unwrap();
                for seed in 3..6 {
                    stream.send(&[batch(1, seed)]).unwrap();
                }
                for wanted in &wanted[3..6] {
                    assert_eq!(stream.recv().unwrap().unwrap(), *wanted);
                }
            }
        }
    });
}

/// A camera that does not stop when the device does: frames that are lost are missing, those that come are right and in order.
#[test]
fn the_halves_of_a_stream_on_two_threads_go_on_while_a_third_recovers() {
    within(PATIENCE, "halves of a stream", || {
        let engine = new_engine();
        let network = network(&engine, false);
        let wanted: Vec<Vec<Value>> = (0..5).map(|seed| network.run_values(&[batch(1, seed)]).unwrap()).collect();
        let (sender, mut receiver) = network.stream(2).unwrap().split();
        let (done, arrived) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let camera = scope.spawn(|| {
                let mut sent = Vec::new();
                for number in 0.. {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    if unless_lost(sender.send(&[batch(1, number % 5)])).is_some() {
                        sent.push(number % 5);
                    }
                }
                drop(sender);
                sent
            });
            let screen = scope.spawn(|| {
                let mut results = Vec::new();
                while let Some(result) = receiver.recv() {
                    arrived.fetch_add(1, Ordering::AcqRel);
                    results.push(unless_lost(result));
                }
                results
            });
            for _ in 0..4 {
                let before = arrived.load(Ordering::Acquire);
                while arrived.load(Ordering::Acquire) < before + 5 {
                    std::thread::yield_now();
                }
                engine.device().destroy();
                engine.recover().unwrap();
            }
            let before = arrived.load(Ordering::Acquire);
            while arrived.load(Ordering::Acquire) < before + 5 {
                std::thread::yield_now();
            }
            done.store(true, Ordering::Release);
            let (sent, results) = (camera.join().unwrap(), screen.join().unwrap());
            assert_eq!(sent.len(), results.len());
            let right = |(seed, result): (&u64, &Option<Vec<Value>>)| result.as_ref().map(|got| *got == wanted[*seed as usize]);
            let verdicts: Vec<bool> = sent.iter().zip(&results).filter_map(right).collect();
            assert!(verdicts.len() >= 5 && verdicts.iter().all(|right| *right));
        });
    });
}

#[test]
fn several_engines_go_on_when_the_lost_one_is_recovered() {
    within(PATIENCE, "several engines", || {
        let engines = MultiEngine::new(&vec![EngineDesc::default(); 3]).unwrap();
        let network = engines.network(&graph(true), &NetworkDesc::default()).unwrap();
        let wanted = network.run_values(&[batch(7, 1)]).unwrap();
        for lost in 0..3 {
            engines.engines()[lost].device().destroy();
            let error = network.run_values(&[batch(7, 1)]).unwrap_err();
            let place = format!("engine {lost} ({})", engines.engines()[lost].adapter_name());
            assert!(is_lost(&error) && error.message().contains(&place), "{error}");
            // Without it, and then with it again.
            let speeds: Vec<f64> = (0..3).map(|engine| f64::from(u8::from(engine != lost))).collect();
            network.set_speeds(&speeds).unwrap();
            assert_eq!(network.run_values(&[batch(7, 1)]).unwrap(), wanted);
            network.set_speeds(&[1.0; 3]).unwrap();
            engines.engines()[lost].recover().unwrap();
            assert_eq!(network.run_values(&[batch(7, 1)]).unwrap(), wanted);
        }
    });
}

#[test]
fn other_threads_runs_end_right_or_lost_while_one_recovers() {
    within(PATIENCE, "runs beside a recovery", || {
        let engine = new_engine();
        let networks = [network(&engine, false), network(&engine, true)];
        let wanted: Vec<Vec<Value>> = networks.iter().map(|network| network.run_values(&[batch(1, 9)]).unwrap()).collect();
        let (done, right) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (network, wanted, done, right) = (&networks[thread % 2], &wanted[thread % 2], &done, &right);
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        if let Some(got) = unless_lost(network.run_values(&[batch(1, 9)])) {
                            assert_eq!(got, *wanted, "thread {thread}");
                            right.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                });
            }
            for round in 0..6 {
                let before = right.load(Ordering::Acquire);
                while right.load(Ordering::Acquire) < before + 20 {
                    std::thread::yield_now();
                }
                // A device that is well stays, whoever runs on it.
                if round % 2 == 0 {
                    engine.device().destroy();
                }
                engine.recover().unwrap();
            }
            let before = right.load(Ordering::Acquire);
            while right.load(Ordering::Acquire) < before + 20 {
                std::thread::yield_now();
            }
            done.store(true, Ordering::Release);
        });
        drop(networks);
        engine.wait().unwrap();
        assert_eq!(engine.buffers().in_use, 0, "{}", engine.buffers());
    });
}
