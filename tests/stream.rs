//! Streams: the results are those of single runs, in order; nothing is lost, held or waited for without end, wherever they are cut off.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wgconv::{
    Activation, Binary, BufferStats, ConvDesc, ElementType, Engine, EngineDesc, ErrorKind, Graph, Network, NetworkDesc, Op,
    Stream, Value,
};

fn engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("this test needs a GPU adapter: {error}"))
}

fn network(engine: &Engine, graph: &Graph) -> Network {
    Network::new(engine, graph, &NetworkDesc::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A convolution and an activation.
fn layers() -> Graph {
    let mut graph = Graph::new("layers");
    let x = graph.input("x", &[1.into(), 3.into(), 9.into(), 7.into()]);
    let weights: Vec<f32> = (0..108).map(|number| (number % 11) as f32 - 5.0).collect();
    let w = graph.constant("w", Value::new(&[4, 3, 3, 3], weights).unwrap());
    let y = graph.conv(&ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(3, 4, [3, 3]) }, x, w, None);
    let y = graph.apply(Op::Activation(Activation::Relu), &[y]);
    graph.output("y", y);
    graph
}

/// Two inputs, three results, of which one is an input.
fn several() -> Graph {
    let mut graph = Graph::new("several");
    let a = graph.input("a", &[2.into(), 5.into()]);
    let b = graph.input("b", &[2.into(), 5.into()]);
    let sum = graph.apply(Op::Binary(Binary::Add), &[a, b]);
    let product = graph.apply(Op::Binary(Binary::Mul), &[a, b]);
    graph.output("sum", sum);
    graph.output("product", product);
    graph.output("again", b);
    graph
}

/// Floats on the device, then 64-bit integers, which the host computes.
fn mixed() -> Graph {
    let mut graph = Graph::new("mixed");
    let x = graph.input("x", &[4.into()]);
    let n = graph.input_of("n", ElementType::I64, &[4.into()]);
    let double = graph.apply(Op::Binary(Binary::Add), &[x, x]);
    let whole = graph.apply(Op::Cast(ElementType::I64), &[double]);
    let square = graph.apply(Op::Binary(Binary::Mul), &[whole, n]);
    let back = graph.apply(Op::Cast(ElementType::F32), &[square]);
    let y = graph.apply(Op::Binary(Binary::Add), &[back, x]);
    graph.output("y", y);
    graph.output("square", square);
    graph
}

/// Inputs of a network that differ from frame to frame.
fn frame(network: &Network, number: usize) -> Vec<Value> {
    let value = |(at, (_, element, shape)): (usize, (String, ElementType, Vec<usize>))| {
        let count = shape.iter().product::<usize>();
        let list = (0..count).map(|index| ((number * 7 + at * 3 + index) % 23) as i64 - 11);
        match element {
            ElementType::I64 => Value::new(&shape, list.collect::<Vec<i64>>()).unwrap(),
            _ => Value::new(&shape, list.map(|value| value as f32).collect::<Vec<f32>>()).unwrap(),
        }
    };
    network.inputs().into_iter().enumerate().map(value).collect()
}

/// What a single run gives.
fn single(network: &Network, number: usize) -> Vec<Value> {
    network.run_values(&frame(network, number)).unwrap()
}

fn bytes(stats: BufferStats) -> (u64, u64) {
    (stats.in_use, stats.in_use + stats.cached)
}

/// Polls once and gives up.
fn begin<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn fill(stream: &mut Stream, network: &Network, first: usize) {
    while !stream.is_full() {
        let number = first + stream.in_flight();
        stream.send(&frame(network, number)).unwrap();
    }
}

#[test]
fn results_are_those_of_single_runs_in_order_at_any_depth() {
    let engine = engine();
    for graph in [layers(), several(), mixed()] {
        let network = network(&engine, &graph);
        let wanted: Vec<_> = (0..12).map(|number| single(&network, number)).collect();
        assert_ne!(wanted[0], wanted[1]);
        for depth in [1, 2, 3, 20] {
            let frames = (0..12).map(|number| frame(&network, number));
            let found: Vec<_> = network.stream(depth).unwrap().run_all(frames).map(Result::unwrap).collect();
            assert_eq!(found, wanted, "{} at depth {depth}", graph.name());
        }
    }
}

#[test]
fn lists_of_f32_are_frames_too() {
    let engine = engine();
    let network = network(&engine, &layers());
    let images = (0..5).map(|number| [frame(&network, number)[0].to_f32()]);
    let results = network.stream(2).unwrap().run_all(images);
    for (number, result) in results.enumerate() {
        assert_eq!(result.unwrap(), single(&network, number));
    }
    let lists: Vec<Vec<f32>> = (0..5).map(|number| frame(&network, number)[0].to_f32()).collect();
    let results = network.stream(2).unwrap().run_all(lists.iter().map(|list| [list]));
    assert_eq!(results.filter_map(Result::ok).count(), 5);
    let mut stream = network.stream(1).unwrap();
    for wrong in [188, 190] {
        let error = stream.send([&vec![0.0; wrong][..]]).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains(&wrong.to_string()), "{error}");
    }
    let mixed = self::network(&engine, &mixed());
    let error = mixed.stream(1).unwrap().send([&[0.0; 4][..], &[0.0; 4]]).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("i64"), "{error}");
}

#[test]
fn a_wrong_frame_is_an_error_in_its_place_and_does_not_disturb_the_others() {
    let engine = engine();
    let network = network(&engine, &layers());
    let wrong = |number: usize| number % 4 == 1;
    let frames = (0..13).map(|number| match number {
        5 => Vec::new(),
        _ if wrong(number) => vec![Value::new(&[2], vec![0.0f32; 2]).unwrap()],
        _ => frame(&network, number),
    });
    let results: Vec<_> = network.stream(3).unwrap().run_all(frames).collect();
    assert_eq!(results.len(), 13);
    for (number, result) in results.into_iter().enumerate() {
        match result {
            Ok(found) => assert!(!wrong(number) && found == single(&network, number), "frame {number}"),
            Err(error) => assert!(wrong(number) && error.kind() == ErrorKind::Invalid, "frame {number}: {error}"),
        }
    }
}

#[test]
fn a_ring_has_at_least_one_place_and_a_full_one_says_so() {
    let engine = engine();
    let network = network(&engine, &several());
    for depth in [0, 1025, usize::MAX] {
        let error = network.stream(depth).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.field() == Some("depth"), "{error}");
    }
    let mut stream = network.stream(2).unwrap();
    assert!(stream.recv().is_none());
    fill(&mut stream, &network, 0);
    let error = stream.send(&frame(&network, 9)).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("receive"), "{error}");
    for number in 0..2 {
        assert_eq!(stream.recv().unwrap().unwrap(), single(&network, number));
    }
    assert!(stream.recv().is_none() && stream.in_flight() == 0 && stream.depth() == 2);
}

#[test]
fn a_sender_waits_for_the_receiver_and_nothing_grows() {
    const FRAMES: usize = 200;
    let engine = engine();
    let network = network(&engine, &several());
    single(&network, 0);
    let (sender, mut receiver) = network.stream(3).unwrap().split();
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (network, sent) = (&network, &sent);
        scope.spawn(move || {
            for number in 0..FRAMES {
                sender.send(&frame(network, number)).unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut most = (0, 0);
        for number in 0..FRAMES {
            if number == 10 {
                std::thread::sleep(Duration::from_millis(50));
                most = bytes(engine.buffers());
            }
            // Counted after it is sent, so that one may be under way besides.
            assert!(sent.load(Ordering::SeqCst) <= number + 4);
            assert_eq!(receiver.recv().unwrap().unwrap()[0].len(), 10);
            assert!(number < 10 || bytes(engine.buffers()).1 <= most.1, "{}", engine.buffers());
        }
        assert!(receiver.recv().is_none() && receiver.recv().is_none());
    });
}

#[test]
fn frames_of_several_threads_are_received_in_the_order_in_which_they_were_submitted() {
    let engine = engine();
    let network = network(&engine, &mixed());
    let (sender, mut receiver) = network.stream(4).unwrap().split();
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let sender = std::sync::Arc::new(sender);
        for thread in 0..3 {
            let (network, sender) = (&network, sender.clone());
            scope.spawn(move || (0..6).for_each(|number| sender.send(&frame(network, thread * 6 + number)).unwrap()));
        }
        drop(sender);
        found.extend(std::iter::from_fn(|| receiver.recv()).map(Result::unwrap));
    });
    let at = |number: usize| found.iter().position(|results| *results == single(&network, number)).expect("every frame arrives");
    let places: Vec<_> = (0..18).map(at).collect();
    assert_eq!(found.len(), 18);
    for thread in places.chunks(6) {
        assert!(thread.is_sorted(), "{places:?}");
    }
}

#[test]
fn streams_beside_each_other_do_not_mix_their_frames() {
    let engine = engine();
    let networks = [layers(), several(), mixed()].map(|graph| network(&engine, &graph));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let network = &networks[thread % 3];
            let wanted: Vec<_> = (0..30).map(|number| single(network, thread + number)).collect();
            scope.spawn(move || {
                let frames = (0..30).map(|number| frame(network, thread + number));
                for (number, results) in network.stream(3).unwrap().run_all(frames).enumerate() {
                    assert_eq!(results.unwrap(), wanted[number], "thread {thread}, frame {number}");
                }
            });
        }
    });
}

#[test]
fn dropped_at_any_point_a_stream_gives_everything_back() {
    let engine = engine();
    for graph in [layers(), mixed()] {
        let network = network(&engine, &graph);
        let wanted = single(&network, 0);
        let before = engine.buffers().in_use;
        for sent in 0..4 {
            for received in 0..=sent {
                let mut stream = network.stream(4).unwrap();
                (0..sent).for_each(|number| stream.send(&frame(&network, number)).unwrap());
                (0..received).for_each(|_| drop(stream.recv()));
                drop(stream);
                assert_eq!(engine.buffers().in_use, before, "{sent} sent, {received} received");
            }
        }
        let mut results = network.stream(3).unwrap().run_all((0..100).map(|number| frame(&network, number)));
        assert_eq!(results.next().unwrap().unwrap(), wanted);
        drop(results);
        assert_eq!(engine.buffers().in_use, before);
        // Halves in either order.
        let (sender, receiver) = network.stream(2).unwrap().split();
        sender.send(&frame(&network, 0)).unwrap();
        drop(sender);
        drop(receiver);
        let (sender, receiver) = network.stream(2).unwrap().split();
        sender.send(&frame(&network, 0)).unwrap();
        drop(receiver);
        let error = sender.send(&frame(&network, 1)).unwrap_err();
        assert!(error.message().contains("receiver was dropped"), "{error}");
        assert_eq!(engine.buffers().in_use, before);
        assert_eq!(single(&network, 0), wanted);
    }
}

#[test]
fn a_sender_that_waits_ends_when_the_receiver_is_dropped() {
    let engine = engine();
    let network = network(&engine, &several());
    let before = engine.buffers().in_use;
    let (sender, receiver) = network.stream(1).unwrap().split();
    sender.send(&frame(&network, 0)).unwrap();
    assert!(!sender.try_send(&frame(&network, 1)).unwrap());
    let network = &network;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || sender.send(&frame(network, 1)));
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished());
        drop(receiver);
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Invalid);
    });
    assert_eq!(engine.buffers().in_use, before);
}

#[test]
fn futures_given_up_halfway_lose_no_frame_and_send_none() {
    let engine = engine();
    let network = network(&engine, &layers());
    let before = engine.buffers().in_use;
    let (sender, mut receiver) = network.stream(2).unwrap().split();
    assert!(begin(receiver.recv_async()).is_pending());
    pollster::block_on(async {
        sender.send_async(&frame(&network, 0)).await.unwrap();
        sender.send_async(&frame(&network, 1)).await.unwrap();
    });
    // The ring is full: what is given up here is never sent.
    assert!(begin(sender.send_async(&frame(&network, 7))).is_pending());
    let mut received = Vec::new();
    for number in 2..20 {
        // Begun several times: it is the same frame that comes.
        let mut tries = 0;
        let results = loop {
            match begin(receiver.recv_async()) {
                Poll::Ready(results) => break results,
                Poll::Pending if tries < 3 => tries += 1,
                Poll::Pending => break pollster::block_on(receiver.recv_async()),
            }
        };
        received.push(results.unwrap().unwrap());
        pollster::block_on(sender.send_async(&frame(&network, number))).unwrap();
    }
    drop(sender);
    received.extend(std::iter::from_fn(|| pollster::block_on(receiver.recv_async())).map(Result::unwrap));
    assert_eq!(received.len(), 20);
    for (number, results) in received.into_iter().enumerate() {
        assert_eq!(results, single(&network, number), "frame {number}");
    }
    assert_eq!(engine.buffers().in_use, before);
}

#[test]
fn one_thread_awaits_both_ends() {
    let engine = engine();
    let network = network(&engine, &layers());
    let (sender, mut receiver) = network.stream(2).unwrap().split();
    let mut send = Box::pin(async {
        for number in 0..10 {
            sender.send_async(&frame(&network, number)).await.unwrap();
        }
    });
    let mut results = Vec::new();
    let mut receive = Box::pin(async {
        while results.len() < 10 {
            results.push(receiver.recv_async().await.unwrap().unwrap());
        }
    });
    let mut sending = true;
    pollster::block_on(std::future::poll_fn(|context| {
        if sending {
            sending = send.as_mut().poll(context).is_pending();
        }
        receive.as_mut().poll(context)
    }));
    drop(receive);
    for (number, found) in results.into_iter().enumerate() {
        assert_eq!(found, single(&network, number), "frame {number}");
    }
}

#[test]
fn a_lost_device_is_an_error_for_every_frame_in_flight_and_nothing_hangs() {
    let engine = engine();
    let network = network(&engine, &layers());
    let mut stream = network.stream(3).unwrap();
    fill(&mut stream, &network, 0);
    engine.device().destroy();
    let _ = engine.wait();
    for _ in 0..3 {
        // What the device had finished may still arrive.
        if let Err(error) = stream.recv().expect("three are in flight") {
            assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}");
        }
    }
    assert_eq!(stream.send(&frame(&network, 3)).unwrap_err().kind(), ErrorKind::DeviceLost);
    assert!(stream.recv().is_none());
}
