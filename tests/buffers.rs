//! The buffer manager: what it counts, its budget, what it gives back, and that running out of memory leaves the engine usable.

use wgconv::{
    Activation, ConvDesc, Engine, EngineDesc, Error, ErrorKind, Graph, Network, NetworkDesc, Op, Tensor, TensorDesc, Value,
    Weights,
};

const MIB: usize = 1 << 20;

fn engine(memory_budget: Option<u64>) -> Engine {
    let desc = EngineDesc { memory_budget, ..Default::default() };
    Engine::new(&desc).unwrap_or_else(|error| panic!("this test needs a GPU adapter: {error}"))
}

fn tensor(engine: &Engine, bytes: usize) -> Result<Tensor, Error> {
    engine.zeros(&TensorDesc::f32(&[bytes / 4]))
}

/// Runs a layer and compares with what it must give.
fn works(engine: &Engine) {
    let input = TensorDesc::f32(&[1, 1, 2, 2]);
    let conv = engine
        .conv(&ConvDesc::new(1, 1, [1, 1]), &input, Weights { kernel: &[2.0], ..Default::default() })
        .expect("a small layer");
    let x = engine.upload(&[1.0, 2.0, 3.0, 4.0], &input).expect("four numbers");
    assert_eq!(conv.run(&x).and_then(|y| y.to_vec::<f32>()).expect("a run"), [2.0, 4.0, 6.0, 8.0]);
}

fn network(size: usize) -> Graph {
    let mut graph = Graph::new("two layers");
    let x = graph.input("x", &[1.into(), 4.into(), size.into(), size.into()]);
    let w = graph.constant("w", Value::new(&[4, 4, 3, 3], vec![0.1f32; 144]).unwrap());
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 4, [3, 3]) };
    let y = graph.conv(&desc, x, w, None);
    let y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    let y = graph.conv(&desc, y, w, None);
    graph.output("y", y);
    graph
}

#[test]
fn a_budget_is_kept_and_its_error_names_what_is_asked_in_use_and_allowed() {
    let engine = engine(Some(4 * MIB as u64));
    let mut held: Vec<_> = (0..4).map(|_| tensor(&engine, MIB).expect("it fits")).collect();
    let before = engine.buffers();
    assert_eq!((before.in_use, before.cached, before.budget), (4 * MIB as u64, 0, Some(4 * MIB as u64)));
    let error = tensor(&engine, MIB).expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    for part in ["1048576 bytes are asked for", "4194304 in use", "0 cached", "4194304 allowed", "memory_budget"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(engine.buffers(), before);
    held.pop();
    // A buffer of another size does not fit beside the one that waits, which is freed for it.
    let other = tensor(&engine, MIB / 2).expect("what waits makes room");
    let after = engine.buffers();
    assert_eq!((after.in_use, after.cached, after.freed), (3 * MIB as u64 + MIB as u64 / 2, 0, 1), "{after}");
    drop((held, other));
    works(&engine);
}

#[test]
fn what_was_unused_the_longest_is_freed_first() {
    let engine = engine(Some(4 * MIB as u64));
    let [old, new] = [MIB, MIB + MIB / 4].map(|bytes| tensor(&engine, bytes).unwrap());
    drop(old);
    drop(new);
    let before = engine.buffers();
    assert_eq!((before.allocations, before.cached), (2, 2 * MIB as u64 + MIB as u64 / 4));
    let _held = tensor(&engine, 2 * MIB).unwrap();
    assert_eq!(engine.buffers().freed, 1);
    let _new = tensor(&engine, MIB + MIB / 4).unwrap();
    let after = engine.buffers();
    assert_eq!((after.allocations, after.reuses), (3, 1), "{after}");
}

#[test]
fn a_network_beyond_the_budget_is_refused_and_leaves_nothing_behind() {
    let engine = engine(Some(2 * MIB as u64));
    works(&engine);
    let before = engine.buffers().in_use;
    let error = Network::new(&engine, &network(512), &NetworkDesc::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    assert_eq!(engine.buffers().in_use, before);
    let small = Network::new(&engine, &network(16), &NetworkDesc::default()).unwrap();
    let x = Value::new(&[1, 4, 16, 16], vec![1.0f32; 1024]).unwrap();
    assert!(small.verify(&[x]).unwrap().passed());
    works(&engine);
}

#[test]
fn trimming_frees_what_waits_and_nothing_else() {
    let engine = engine(None);
    let input = TensorDesc::f32(&[1, 4, 32, 32]);
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 4, [3, 3]) };
    let conv = engine.conv(&desc, &input, Weights { kernel: &[0.5; 144], ..Default::default() }).unwrap();
    let image: Vec<f32> = (0..4096).map(|number| (number % 17) as f32).collect();
    let run = || conv.run(&engine.upload(&image, &input).unwrap()).unwrap().to_vec::<f32>().unwrap();
    let first = run();
    let big = tensor(&engine, MIB).unwrap();
    drop(big);
    let before = engine.buffers();
    assert!(before.cached > MIB as u64);
    // The small ones are older.
    engine.trim_to(MIB as u64);
    assert_eq!(engine.buffers().cached, MIB as u64);
    engine.trim();
    let after = engine.buffers();
    assert_eq!((after.cached, after.in_use), (0, before.in_use), "{after}");
    assert_eq!(run(), first);
}

#[test]
fn sizes_that_change_for_ever_do_not_pile_up() {
    let engine = engine(None);
    for step in 1..400 {
        tensor(&engine, 64 * 1024 * step).unwrap();
        let stats = engine.buffers();
        assert!(stats.in_use + stats.cached <= (2 * stats.peak).max(64 * MIB as u64), "{stats}");
    }
    let stats = engine.buffers();
    assert!(stats.freed > 0, "{stats}");
}

#[test]
fn statistics_print_as_a_line() {
    let engine = engine(Some(64 * MIB as u64));
    drop(tensor(&engine, MIB).unwrap());
    let _held = tensor(&engine, MIB).unwrap();
    let wanted = "1.0 MiB in use, 0 KiB cached, 1.0 MiB at the peak, 64.0 MiB allowed; 1 buffers made, 1 used again, 0 freed";
    assert_eq!(engine.buffers().to_string(), wanted);
}

/// Marks the process that has little room.
const SMALL: &str = "WGCONV_TEST_SMALL_ADDRESS_SPACE";

#[test]
#[cfg(target_os = "linux")] // where a shell can limit a process's address space, from which a software adapter takes its memory
fn a_device_without_room_is_an_error_with_numbers_and_the_engine_stays_usable() {
    use std::process::Command;

    if std::env::var_os(SMALL).is_none() {
        let name = "a_device_without_room_is_an_error_with_numbers_and_the_engine_stays_usable";
        let status = Command::new("sh")
            .args(["-c", "ulimit -v 2000000 && exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().expect("a test has a file"))
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(SMALL, "1")
            .status()
            .expect("there is a shell");
        assert!(status.success(), "{status}");
        return;
    }
    let engine = engine(None);
    if !engine.is_software() {
        eprintln!("{}: its memory is not the process's, so that it cannot be limited here", engine.adapter_name());
        return;
    }
    works(&engine);
    // One that waits, and has to make room first.
    let waits = 320 * MIB;
    drop(tensor(&engine, waits).unwrap());
    let mut held = Vec::new();
    let error = loop {
        match tensor(&engine, 256 * MIB) {
            Ok(tensor) => held.push(tensor),
            Err(error) => break error,
        }
        assert!(held.len() < 16, "2 GB held more");
    };
    let stats = engine.buffers();
    println!("{error}\n{stats}");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    for part in [format!("{} bytes are asked for", 256 * MIB), format!("{} in use", stats.in_use), "any number allowed".into()] {
        assert!(error.message().contains(&part), "{error}: {part}");
    }
    assert!(stats.cached == 0 && stats.freed > 0, "{stats}");
    held.pop();
    works(&engine);
    drop(held);
    assert_eq!(tensor(&engine, waits).unwrap().to_vec::<f32>().unwrap().len(), waits / 4);
}

#[test]
fn a_tensor_is_read_where_it_lies_and_its_buffer_is_used_again() {
    let engine = engine(None);
    let desc = TensorDesc::f32(&[1, 1, 64, 64]);
    let conv = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(1, 1, [3, 3]) };
    let conv = engine.conv(&conv, &desc, Weights { kernel: &[0.5; 9], ..Default::default() }).unwrap();
    for step in 0..20 {
        let image: Vec<f32> = (0..4096).map(|number| ((number * 7 + step) % 13) as f32).collect();
        // Written and never submitted by anybody else.
        assert_eq!(engine.upload(&image, &desc).unwrap().into_vec::<f32>().unwrap(), image);
        let x = engine.upload(&image, &desc).unwrap();
        let y = conv.run(&x).unwrap();
        let kept = y.clone();
        let wanted = y.to_vec::<f32>().unwrap();
        // A clone is left, and then none.
        assert_eq!(y.into_vec::<f32>().unwrap(), wanted);
        assert_eq!(kept.into_vec::<f32>().unwrap(), wanted);
        assert_eq!(pollster::block_on(conv.run(&x).unwrap().into_vec_async::<f32>()).unwrap(), wanted);
        assert_eq!(x.clone().into_vec::<i32>().unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(x.into_vec::<i32>().unwrap_err().kind(), ErrorKind::Invalid);
    }
    let stats = engine.buffers();
    assert!(stats.allocations < 10, "{stats}");
    assert_eq!(engine.upload(&[], &TensorDesc::f32(&[0])).unwrap().into_vec::<f32>().unwrap(), [0.0; 0]);
}

#[test]
fn large_uploads_go_in_parts_and_arrive_whole() {
    let engine = engine(None);
    for elements in [(4 << 20) / 4 - 1, (4 << 20) / 4, (4 << 20) / 4 + 1, (9 << 20) / 4 + 3] {
        let numbers: Vec<f32> = (0..elements).map(|number| (number % 65_521) as f32).collect();
        let tensor = engine.upload(&numbers, &TensorDesc::f32(&[elements])).unwrap();
        assert!(tensor.to_vec::<f32>().unwrap() == numbers, "{elements} elements");
    }
}

/// What wgpu was given to write and has not submitted, or the device still reads, must not get in the way of what is written next to the
/// same buffer: by way of wgpu's memory where it is small or in use, and where it lies where not.
#[test]
fn an_upload_into_a_buffer_that_is_used_again_is_what_is_read() {
    let engine = engine(None);
    for elements in [1000, 500_000, 530_000, 1_500_000] {
        let desc = TensorDesc::f32(&[1, 1, 1, elements]);
        let conv = engine
            .conv(&ConvDesc::new(1, 1, [1, 1]), &desc, Weights { kernel: &[2.0], ..Default::default() })
            .expect("a small layer");
        let numbers = |round: usize| (0..elements).map(|at| ((at + round) % 100) as f32).collect::<Vec<_>>();
        let mut results = Vec::new();
        for round in 0..6 {
            // Never read: nothing was submitted when its buffer goes back.
            drop(engine.upload(&vec![-1.0; elements], &desc).expect("an upload"));
            let x = engine.upload(&numbers(round), &desc).expect("an upload");
            if round % 2 == 0 {
                assert_eq!(x.to_vec::<f32>().expect("a read"), numbers(round), "{elements} elements, round {round}");
            }
            // Given back while the device may still read it.
            results.push(conv.run(&x).expect("a run"));
        }
        for (round, result) in results.into_iter().enumerate() {
            let doubled: Vec<f32> = numbers(round).iter().map(|number| 2.0 * number).collect();
            assert_eq!(result.into_vec::<f32>().expect("a read"), doubled, "{elements} elements, round {round}");
        }
    }
}

/// Results are written into tensors of their own, whatever the next run does; of several outputs of one value, and of an input that is
/// an output, each is one.
#[test]
fn results_of_a_network_are_their_owners_and_their_buffers_are_used_again() {
    let engine = engine(None);
    let mut graph = Graph::new("outputs");
    let x = graph.input("x", &[1.into(), 4.into(), 16.into(), 16.into()]);
    let w = graph.constant("w", Value::new(&[4, 4, 3, 3], (0..144).map(|at| (at % 5) as f32 - 2.0).collect::<Vec<_>>()).unwrap());
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(4, 4, [3, 3]) };
    let first = graph.conv(&desc, x, w, None);
    let relu = graph.apply(Op::Activation(Activation::Relu), &[first]);
    let shape = graph.constant("shape", Value::list(&[4, 256]));
    let flat = graph.apply(Op::Reshape { allow_zero: false }, &[relu, shape]);
    let last = graph.conv(&desc, relu, w, None);
    for (name, id) in [("first", first), ("relu", relu), ("again", relu), ("flat", flat), ("last", last), ("x", x)] {
        graph.output(name, id);
    }
    let network = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
    let image = |step: usize| (0..1024).map(|at| ((at * 7 + step * 5) % 13) as f32 - 6.0).collect::<Vec<f32>>();
    let value = |step: usize| Value::new(&[1, 4, 16, 16], image(step)).unwrap();
    // Small integers, so that sums are exact.
    let wanted: Vec<Vec<Vec<f32>>> =
        (0..24).map(|step| network.run_reference(&[value(step)]).unwrap().iter().map(Value::to_f32).collect()).collect();
    let run = |step: usize| {
        let x = engine.upload(&image(step), &TensorDesc::f32(&[1, 4, 16, 16])).unwrap();
        network.run(&[&x]).unwrap()
    };
    let round = || {
        let kept: Vec<Vec<Tensor>> = (0..12).map(run).collect();
        for (step, wanted) in wanted.iter().enumerate().skip(12) {
            let results = network.run_values(&[value(step)]).unwrap();
            assert!(results.iter().zip(wanted).all(|(got, wanted)| got.to_f32() == *wanted), "values {step}");
        }
        for (step, results) in network.stream(3).unwrap().run_all((0..24).map(|step| [value(step)])).enumerate() {
            assert!(results.unwrap().iter().zip(&wanted[step]).all(|(got, wanted)| got.to_f32() == *wanted), "frame {step}");
        }
        for (results, wanted) in kept.into_iter().zip(&wanted) {
            for (got, wanted) in results.into_iter().zip(wanted) {
                assert_eq!(got.to_vec::<f32>().unwrap(), *wanted);
                assert_eq!(got.into_vec::<f32>().unwrap(), *wanted);
            }
        }
    };
    round();
    let before = engine.buffers();
    round();
    let after = engine.buffers();
    assert_eq!((after.allocations, after.in_use), (before.allocations, before.in_use), "{after}");
}
