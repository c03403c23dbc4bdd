//! Threads that share one engine, building, running and dropping networks and layers at random, get the bits that one thread gets;
//! and whatever an engine made may be dropped in any order.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Random, dims, within};
use wgconv::{
    Activation, ConvDesc, ElementType, Engine, EngineDesc, Graph, Network, NetworkDesc, Op, PoolDesc, Problem, Reduce,
    TensorDesc, Tuning, Value, Weights,
};

const THREADS: usize = 16;

fn new_engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

/// Networks of several kinds, the last with a step of the host.
fn graph(kind: usize) -> Graph {
    let mut random = Random::new(kind as u64);
    let width = 4 + kind;
    let mut graph = Graph::new("small");
    let x = graph.input("x", &dims(&[1, 4, 10, 10]));
    let kernel = Value::new(&[width, 4, 3, 3], random.numbers(width * 4 * 9, -1.0, 1.0)).unwrap();
    let kernel = graph.constant("", kernel);
    let y = graph.conv(&ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, width, [3, 3]) }, x, kernel, None);
    let y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    let y = if kind == 3 {
        let whole = graph.apply(Op::Cast(ElementType::I64), &[y]);
        graph.apply(Op::Cast(ElementType::F32), &[whole])
    } else {
        y
    };
    graph.output("y", y);
    graph
}

const KINDS: usize = 4;

fn image(seed: u64) -> Value {
    Value::new(&[1, 4, 10, 10], Random::new(seed).numbers(400, -2.0, 2.0)).unwrap()
}

const IMAGES: u64 = 5;

fn bits(list: &[f32]) -> Vec<u32> {
    list.iter().map(|number| number.to_bits()).collect()
}

/// What one thread gets, by network and image.
fn wanted(engine: &Engine) -> Vec<Vec<Vec<u32>>> {
    let by_image = |kind| {
        let network = Network::new(engine, &graph(kind), &NetworkDesc::default()).unwrap();
        (0..IMAGES).map(|seed| bits(&network.run_values(&[image(seed)]).unwrap()[0].to_f32())).collect()
    };
    (0..KINDS).map(by_image).collect()
}

/// Lets the threads do as they like for a while; how often they ran something.
fn share(time: Duration) -> usize {
    let engine = new_engine();
    let wanted = wanted(&engine);
    let shared = Network::new(&engine, &graph(1), &NetworkDesc::default()).unwrap();
    let (start, runs) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, wanted, shared, runs) = (engine.clone(), &wanted, shared.clone(), &runs);
            scope.spawn(move || {
                let mut random = Random::new(1000 + thread as u64);
                let mut own: Vec<(usize, Network)> = Vec::new();
                while start.elapsed() < time {
                    let seed = random.below(IMAGES as usize);
                    match random.below(8) {
                        0 => {
                            let kind = random.below(KINDS);
                            own.push((kind, Network::new(&engine, &graph(kind), &NetworkDesc::default()).unwrap()));
                        }
                        1 if !own.is_empty() => drop(own.swap_remove(random.below(own.len()))),
                        2 => engine.trim(),
                        3 => {
                            // A result that nobody reads.
                            let x = engine.upload(&image(seed as u64).to_f32(), &TensorDesc::f32(&[1, 4, 10, 10])).unwrap();
                            drop(shared.run(&[&x]).unwrap());
                        }
                        4 => {
                            let frames = (0..IMAGES).map(|seed| [image(seed)]);
                            for (seed, results) in shared.stream(2).unwrap().run_all(frames).enumerate() {
                                assert_eq!(bits(&results.unwrap()[0].to_f32()), wanted[1][seed], "stream, thread {thread}");
                            }
                        }
                        _ => {
                            let at = random.below(own.len() + 1);
                            let (kind, network) = own.get(at).map_or((1, &shared), |(kind, network)| (*kind, network));
                            let got = network.run_values(&[image(seed as u64)]).unwrap();
                            assert_eq!(bits(&got[0].to_f32()), wanted[kind][seed], "network {kind}, thread {thread}");
                        }
                    }
                    runs.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    drop(shared);
    engine.wait().unwrap();
    assert_eq!(engine.buffers().in_use, 0, "{}", engine.buffers());
    runs.into_inner()
}

#[test]
fn sixteen_threads_share_an_engine_for_three_seconds() {
    let runs = within(120, "threads", || share(Duration::from_secs(3)));
    println!("{runs} steps");
    assert!(runs > THREADS);
}

#[test]
#[ignore = "takes a minute: tests/run.sh --long"]
fn long_sixteen_threads_share_an_engine_for_a_minute() {
    let runs = within(300, "threads", || share(Duration::from_secs(60)));
    println!("{runs} steps");
    assert!(runs > 1000);
}

/// Between the submissions of one run those of another would overwrite what it has computed.
#[test]
fn runs_of_several_submissions_do_not_mix() {
    within(240, "runs of several submissions", || {
        let bound = Duration::from_nanos(100);
        let engine = Engine::new(&EngineDesc { submission_bound: Some(bound), ..Default::default() }).unwrap();
        let mut graph = Graph::new("chain");
        let mut y = graph.input("x", &dims(&[1, 4, 10, 10]));
        let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 4, [3, 3]) };
        for layer in 0..6 {
            let kernel = graph.constant("", Value::new(&[4, 4, 3, 3], Random::new(layer).numbers(144, -0.5, 0.5)).unwrap());
            y = graph.conv(&desc, y, kernel, None);
        }
        graph.output("y", y);
        let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
        assert!(network.explain().contains("submissions"), "{}", network.explain());
        let by_network = |seed: u64| bits(&network.run_values(&[image(seed)]).unwrap()[0].to_f32());
        // A layer of several dispatches and a workspace.
        let (input, kernel) = (TensorDesc::f32(&[1, 4, 10, 10]), Random::new(9).numbers(144, -1.0, 1.0));
        let weights = Weights { kernel: &kernel, ..Default::default() };
        let algorithms = engine.candidates(&Problem::conv(&desc, &input)).unwrap().algorithms;
        let algorithm = algorithms.iter().find(|algorithm| algorithm.name() == "winograd").unwrap();
        let conv = engine.conv_with(&desc, &input, weights, algorithm).unwrap();
        let by_layer = |seed: u64| {
            let x = engine.upload(&image(seed).to_f32(), &input).unwrap();
            bits(&conv.run(&x).unwrap().to_vec::<f32>().unwrap())
        };
        let wanted: Vec<_> = (0..IMAGES).map(|seed| [by_network(seed), by_layer(seed)]).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (by_network, by_layer, wanted) = (&by_network, &by_layer, &wanted);
                scope.spawn(move || {
                    for run in 0..100 {
                        let seed = (run + thread) % IMAGES;
                        let got = [by_network(seed), by_layer(seed)];
                        assert!(got == wanted[seed as usize], "run {run} of thread {thread}");
                    }
                });
            }
        });
    });
}

#[test]
fn what_an_engine_made_may_be_dropped_in_any_order() {
    within(120, "drop orders", || {
        // All orders of four things.
        let all =
            (0..4usize).flat_map(|a| (0..4).flat_map(move |b| (0..4).map(move |c| [a, b, c, 6usize.wrapping_sub(a + b + c)])));
        let orders: Vec<[usize; 4]> = all.filter(|order| (0..4).all(|thing| order.contains(&thing))).collect();
        assert_eq!(orders.len(), 24);
        let keeper = new_engine();
        let input = TensorDesc::f32(&[1, 4, 10, 10]);
        let kernel = vec![0.5; 4 * 4 * 9];
        for order in orders {
            // A fresh device now and then: the last handle may be anything then.
            let engine = if order[0] == 0 { new_engine() } else { keeper.clone() };
            let network = Network::new(&engine, &graph(1), &NetworkDesc::default()).unwrap();
            let weights = Weights { kernel: &kernel, ..Default::default() };
            let conv = engine.conv(&ConvDesc::new(4, 4, [3, 3]), &input, weights).unwrap();
            let pool = engine.pool(&PoolDesc::max([2, 2]), &input).unwrap();
            let x = engine.upload(&[1.0; 400], &input).unwrap();
            // Work that is under way when its operands go.
            let results = (network.run(&[&x]).unwrap(), conv.run(&x).unwrap(), pool.run(&x).unwrap());
            let mut things: Vec<Option<Box<dyn std::any::Any>>> =
                vec![Some(Box::new(engine)), Some(Box::new(network)), Some(Box::new((conv, pool))), Some(Box::new(x))];
            for thing in order {
                things[thing] = None;
            }
            assert_eq!(results.1.to_vec::<f32>().unwrap()[0], 18.0);
            assert_eq!(results.2.to_vec::<f32>().unwrap()[0], 1.0);
            assert!(results.0[0].to_vec::<f32>().is_ok());
        }
    });
}

/// A network whose host part the reference spreads over threads: sums of 64-bit integers.
fn sums_of_the_host() -> Graph {
    let mut graph = Graph::new("sums");
    let x = graph.input("x", &dims(&[1, 4, 10, 10]));
    let whole = graph.apply(Op::Cast(ElementType::I64), &[x]);
    let axes = graph.constant("axes", Value::list(&[1, 2]));
    let sum = graph.apply(Op::Reduce { kind: Reduce::Sum, keep_dims: true, noop_with_empty_axes: false }, &[whole, axes]);
    let y = graph.apply(Op::Cast(ElementType::F32), &[sum]);
    graph.output("y", y);
    graph
}

/// Runs a task many times on a pool of rayon's, whose workers take up other tasks whenever they wait in rayon.
fn in_a_pool(tasks: usize, task: impl Fn(usize) + Sync) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let task = &task;
    pool.scope(|scope| (0..tasks).for_each(|number| scope.spawn(move |_| task(number))));
}

#[test]
fn tasks_of_a_rayon_pool_share_a_network_with_steps_of_the_host() {
    within(120, "tasks of a pool", || {
        let engine = new_engine();
        let network = Network::new(&engine, &sums_of_the_host(), &NetworkDesc::default()).unwrap();
        assert!(network.explain().contains("host"), "{}", network.explain());
        let wanted: Vec<Vec<f32>> = (0..IMAGES).map(|seed| network.run_values(&[image(seed)]).unwrap()[0].to_f32()).collect();
        let run = |number: usize| {
            let seed = number % IMAGES as usize;
            assert_eq!(network.run_values(&[image(seed as u64)]).unwrap()[0].to_f32(), wanted[seed]);
        };
        in_a_pool(300, run);
        // The pool that rayon gives to whoever asks for none, and threads that are in no pool, at once.
        std::thread::scope(|scope| {
            (0..3).for_each(|_| drop(scope.spawn(|| (0..100).for_each(run))));
            let run = &run;
            rayon::scope(|tasks| (0..300).for_each(|number| tasks.spawn(move |_| run(number))));
        });
    });
}

#[test]
fn tasks_of_a_rayon_pool_share_a_tuner() {
    let path = std::env::temp_dir().join(format!("wgconv-threads-{}", std::process::id()));
    let table = path.clone();
    within(120, "tuning tasks of a pool", move || {
        let tuning = Tuning::Measure { budget: Duration::from_millis(30) };
        let desc = EngineDesc { tuning, tuning_table: Some(table), ..Default::default() };
        let engine = Engine::new(&desc).unwrap();
        let input = TensorDesc::f32(&[1, 4, 34, 34]);
        let layer = |number: usize| {
            let channels = 2 + number % 10;
            let kernel = vec![0.5; channels * 4 * 9];
            let weights = Weights { kernel: &kernel, ..Default::default() };
            let x = engine.upload(&vec![1.0; 4 * 34 * 34], &input).unwrap();
            let conv = engine.conv(&ConvDesc::new(4, channels, [3, 3]), &input, weights).unwrap();
            assert_eq!(conv.run(&x).unwrap().to_vec::<f32>().unwrap()[0], 18.0);
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        // One after the other, so that a worker without a task helps the one that measures, which then looks for another.
        pool.in_place_scope(|tasks| {
            for number in 0..60 {
                let layer = &layer;
                tasks.spawn(move |_| layer(number));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    });
    let _ = std::fs::remove_file(path.with_extension("lock"));
    let _ = std::fs::remove_file(path);
}
