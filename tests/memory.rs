//! A long run holds its memory. A process of its own, because it measures the process.

#![cfg(target_os = "linux")] // where a process can read its own size without a dependency

use wgconv::{Activation, ConvDesc, Engine, EngineDesc, Graph, Network, NetworkDesc, Op, TensorDesc, Value, Weights};

/// Bytes of this process that are in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("its second number");
    pages * 4096
}

/// Runs 200 times, then 2,000 times, and holds the sizes of the process against each other.
fn check(mut run: impl FnMut(usize)) {
    let mut resident_after = |count: usize| {
        (0..count).for_each(&mut run);
        resident_bytes()
    };
    let before = resident_after(200);
    let after = resident_after(2000);
    // Leaked inputs alone would take 260 MB.
    assert!(after < before + (32 << 20), "{before} bytes, then {after}");
}

/// The network of a long run.
fn small(engine: &Engine) -> Network {
    let mut graph = Graph::new("small");
    let x = graph.input("x", &[1.into(), 3.into(), 8.into(), 8.into()]);
    let w = graph.constant("w", Value::new(&[4, 3, 3, 3], vec![0.1f32; 108]).unwrap());
    let y = graph.conv(&ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(3, 4, [3, 3]) }, x, w, None);
    let y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    graph.output("y", y);
    Network::new(engine, &graph, &NetworkDesc::default()).unwrap()
}

#[test]
#[ignore = "takes minutes: tests/run.sh --long"]
fn long_a_hundred_thousand_runs_hold_their_memory() {
    const RUNS: usize = 100_000;
    let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("this test needs a GPU adapter: {error}"));
    let network = small(&engine);
    let desc = TensorDesc::f32(&[1, 3, 8, 8]);
    let image = |number: usize| (0..192).map(|at| ((number * 31 + at) % 251) as f32 / 251.0).collect::<Vec<f32>>();
    let (sender, mut receiver) = network.stream(2).unwrap().split();
    let kept: Vec<_> = (0..3).map(|number| engine.upload(&image(number), &desc).unwrap()).collect();
    let mut run = |number: usize| {
        // A new tensor, one of a few that stay, values of the host, a frame of a stream.
        match number % 4 {
            0 => network.run(&[&engine.upload(&image(number), &desc).unwrap()]).unwrap()[0].to_vec::<f32>().unwrap(),
            1 => network.run(&[&kept[number / 4 % 3]]).unwrap()[0].to_vec::<f32>().unwrap(),
            2 => network.run_values(&[Value::new(desc.shape(), image(number)).unwrap()]).unwrap().swap_remove(0).into_f32(),
            _ => {
                // One frame stays in flight.
                sender.send([&image(number)]).unwrap();
                if number < 4 { Vec::new() } else { receiver.recv().unwrap().unwrap().swap_remove(0).into_f32() }
            }
        }
    };
    (0..RUNS / 100).for_each(|number| drop(run(number)));
    let (before, resident) = (engine.buffers(), resident_bytes());
    for number in RUNS / 100..RUNS + RUNS / 100 {
        run(number);
        if number % (RUNS / 10) == 0 {
            println!("{number}: {} KiB resident; {}", resident_bytes() >> 10, engine.buffers());
        }
    }
    let (after, resident_after) = (engine.buffers(), resident_bytes());
    println!("{resident} bytes, then {resident_after}; {after}");
    assert_eq!(
        (after.in_use, after.cached, after.peak, after.allocations),
        (before.in_use, before.cached, before.peak, before.allocations),
        "{before}, then {after}"
    );
    // A hundred bytes lost in each run would be ten million.
    assert!(resident_after < resident + (8 << 20), "{resident} bytes, then {resident_after}");
}

// One test, as each would measure the other.
#[test]
fn two_thousand_runs_with_new_inputs_take_no_more_memory_than_two_hundred() {
    let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("this test needs a GPU adapter: {error}"));
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(8, 8, [3, 3]) };
    let input = TensorDesc::f32(&[1, 8, 64, 64]);
    let kernel = vec![0.1; 8 * 8 * 9];
    let conv = engine.conv(&desc, &input, Weights { kernel: &kernel, ..Default::default() }).unwrap();
    let mut image = vec![0.0; 8 * 64 * 64];
    check(|number| {
        image[number % 4096] = number as f32;
        let x = engine.upload(&image, &input).unwrap();
        conv.run(&x).unwrap().to_vec::<f32>().unwrap();
    });

    let mut graph = Graph::new("two layers");
    let x = graph.input("x", &[1.into(), 8.into(), 64.into(), 64.into()]);
    let w = graph.constant("w", Value::new(&[8, 8, 3, 3], kernel.clone()).unwrap());
    let y = graph.conv(&desc, x, w, None);
    let y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    let y = graph.conv(&desc, y, w, None);
    graph.output("y", y);
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    check(|number| {
        image[number % 4096] = number as f32;
        let x = engine.upload(&image, &input).unwrap();
        network.run(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
    });
    let mut stream = network.stream(3).unwrap();
    check(|number| {
        image[number % 4096] = number as f32;
        if stream.is_full() {
            stream.recv().unwrap().unwrap();
        }
        stream.send([&image]).unwrap();
    });
}
