//! One batch over several engines, here the same adapter more than once.

use wgconv::{Bindings, ConvDesc, Dim, Engine, EngineDesc, ErrorKind, Graph, MultiEngine, Network, NetworkDesc, PoolDesc, Value};

/// Two layers and a pooling, of small integers: sums are exact, whatever kernel is chosen.
fn graph(batch: Dim) -> Graph {
    let mut graph = Graph::new("layers");
    let x = graph.input("x", &[batch, 3.into(), 10.into(), 8.into()]);
    let numbers = |count: usize| (0..count).map(|at| ((at * 5 + at / 4) % 7) as f32 - 3.0).collect::<Vec<_>>();
    let first = graph.constant("first", Value::new(&[6, 3, 3, 3], numbers(162)).unwrap());
    let second = graph.constant("second", Value::new(&[4, 6, 1, 1], numbers(24)).unwrap());
    let y = graph.conv(&ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(3, 6, [3, 3]) }, x, first, None);
    let y = graph.pool(&PoolDesc { stride: [2, 2].into(), ..PoolDesc::max([2, 2]) }, y);
    let z = graph.conv(&ConvDesc::new(6, 4, [1, 1]), y, second, None);
    graph.output("z", z);
    graph.output("y", y);
    graph
}

fn batch(items: usize) -> Value {
    Value::new(&[items, 3, 10, 8], (0..items * 240).map(|at| ((at * 13 + at / 7) % 11) as f32 - 5.0).collect::<Vec<_>>()).unwrap()
}

fn engines(count: usize) -> MultiEngine {
    MultiEngine::new(&vec![EngineDesc::default(); count])
        .unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

#[test]
fn batches_of_any_size_give_what_one_engine_gives() {
    let engines = engines(2);
    let network = engines.network(&graph(Dim::Symbol("N".into())), &NetworkDesc::default()).unwrap();
    let unknown = engines.network(&graph(Dim::Unknown), &NetworkDesc::default()).unwrap();
    for (items, speeds) in [(1, [1.0, 1.0]), (2, [1.0, 1.0]), (5, [1.0, 1.0]), (7, [1.0, 3.0]), (4, [0.0, 1.0])] {
        network.set_speeds(&speeds).unwrap();
        let bindings = Bindings { dims: vec![("N".into(), items)], ..Default::default() };
        let desc = NetworkDesc { bindings, ..Default::default() };
        let alone = Network::new(&engines.engines()[0], &graph(Dim::Symbol("N".into())), &desc).unwrap();
        let wanted = alone.run_values(&[batch(items)]).unwrap();
        assert_eq!(network.run_values(&[batch(items)]).unwrap(), wanted, "{items} items at {speeds:?}");
        assert_eq!(network.shares(items).iter().sum::<usize>(), items);
        assert_eq!(unknown.run_values(&[batch(items)]).unwrap(), wanted);
    }
}

#[test]
fn speeds_are_measured_and_decide_the_shares() {
    let engines = engines(2);
    let network = engines.network(&graph(Dim::Symbol("N".into())), &NetworkDesc::default()).unwrap();
    assert_eq!(network.shares(9), [5, 4]);
    let speeds = network.measure(&[batch(6)]).unwrap();
    assert!(speeds.iter().all(|speed| *speed > 0.0), "{speeds:?}");
    assert_eq!(network.speeds(), speeds);
    network.set_speeds(&[2.0, 1.0]).unwrap();
    assert_eq!(network.shares(9), [6, 3]);
    for wrong in [&[1.0][..], &[1.0, -1.0], &[f64::NAN, 1.0], &[0.0, 0.0], &[f64::INFINITY, 1.0]] {
        assert_eq!(network.set_speeds(wrong).unwrap_err().field(), Some("speeds"), "{wrong:?}");
    }
}

#[test]
fn what_cannot_be_shared_is_refused_and_an_error_names_the_adapter() {
    assert_eq!(MultiEngine::new(&[]).unwrap_err().kind(), ErrorKind::Invalid);
    let missing = EngineDesc { adapter: Some("no such adapter".into()), ..Default::default() };
    let error = MultiEngine::new(&[EngineDesc::default(), missing]).unwrap_err();
    assert!(error.kind() == ErrorKind::NoAdapter && error.message().contains("engine 1 of 2"), "{error}");

    let engines = engines(2);
    let error = engines.network(&graph(4.into()), &NetworkDesc::default()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("`x` has a first axis of 4"), "{error}");
    let network = engines.network(&graph(Dim::Symbol("N".into())), &NetworkDesc::default()).unwrap();
    for wrong in [
        vec![],
        vec![batch(2), batch(2)],
        vec![Value::scalar(1.0f32)],
        vec![Value::new(&[0, 3, 10, 8], Vec::<f32>::new()).unwrap()],
    ] {
        assert_eq!(network.run_values(&wrong).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let shape = Value::new(&[4, 5, 10, 8], vec![0.0f32; 1600]).unwrap();
    let error = network.run_values(&[shape]).unwrap_err();
    assert!(error.message().contains("engine 0") && error.message().contains(engines.engines()[0].adapter_name()), "{error}");

    // An engine whose device is gone: the error says which one, and the others stay usable.
    let pair =
        MultiEngine::from_engines(vec![Engine::new(&EngineDesc::default()).unwrap(), engines.engines()[0].clone()]).unwrap();
    let network = pair.network(&graph(Dim::Symbol("N".into())), &NetworkDesc::default()).unwrap();
    network.run_values(&[batch(4)]).unwrap();
    pair.engines()[0].device().destroy();
    let error = network.run_values(&[batch(4)]).unwrap_err();
    assert!(error.kind() == ErrorKind::DeviceLost && error.message().contains("engine 0 ("), "{error}");
    network.set_speeds(&[0.0, 1.0]).unwrap();
    network.run_values(&[batch(4)]).unwrap();
}
