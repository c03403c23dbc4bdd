//! Whole networks of `zoo/` on a device: fused, as they are, and node by node, all judged by the reference.

mod zoo;

use wgconv::{DeviceClass, Engine, EngineDesc, Network, NetworkDesc, Value};

/// The most that a result may be off, as a part of the largest of its kind.
const BOUND: f64 = 1e-3;

/// The largest difference of two results as a part of the largest magnitude; NaN where either holds one.
fn difference(got: &Value, wanted: &Value) -> f64 {
    assert_eq!((got.shape(), got.element()), (wanted.shape(), wanted.element()));
    let (got, wanted) = (got.to_f64(), wanted.to_f64());
    let largest = wanted.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let worst =
        got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, |a: f64, b| if a.is_nan() || b <= a { a } else { b });
    worst / largest
}

/// What is wrong with a network on a device.
fn check(engine: &Engine, name: &str, (graph, inputs): zoo::Sample) -> Result<String, String> {
    let about = |what: &str, error: wgconv::Error| format!("{name}: {what}: {error}");
    let network = Network::new(engine, &graph, &NetworkDesc::default()).map_err(|error| about("preparing", error))?;
    let wanted = network.run_reference(&inputs).map_err(|error| about("the reference", error))?;
    let largest = wanted.iter().flat_map(Value::to_f64).fold(0.0, |most: f64, value| most.max(value.abs()));
    // Whoever changes the zoo: values that vanish or explode make every test pass, or none.
    if !(0.05..1000.0).contains(&largest) {
        return Err(format!("{name}: the largest result is {largest:.1e}: the weights are scaled badly"));
    }
    let plain = NetworkDesc { unoptimised: true, ..Default::default() };
    let plain = Network::new(engine, &graph, &plain).map_err(|error| about("preparing it as it is", error))?;
    let mut worst = [0.0; 2];
    for (worst, (what, network)) in worst.iter_mut().zip([("fused", &network), ("as it is", &plain)]) {
        let got = network.run_values(&inputs).map_err(|error| about(what, error))?;
        for (got, wanted) in got.iter().zip(&wanted) {
            let off = difference(got, wanted);
            if off.is_nan() || off > BOUND {
                return Err(format!("{name}: {what}: {off:.1e} of the largest result, more than {BOUND:.0e}"));
            }
            *worst = off.max(*worst);
        }
        let again = network.run_values(&inputs).map_err(|error| about(what, error))?;
        if got != again {
            return Err(format!("{name}: {what}: a second run gives other bits"));
        }
    }
    let verification = network.verify(&inputs).map_err(|error| about("verifying", error))?;
    if !verification.passed() {
        return Err(format!("{name}: {verification}"));
    }
    let host = network.host_nodes();
    if !host.is_empty() {
        return Err(format!("{name}: the host computes {}", host.join(", ")));
    }
    let (before, after) = (plain.graph().node_count(), network.graph().node_count());
    Ok(format!("{name}: {before} nodes, fused {after}; off by {:.1e}, as it is by {:.1e}", worst[0], worst[1]))
}

#[test]
fn networks_as_people_build_them_give_what_the_reference_gives() {
    let engine = |desc: EngineDesc| Engine::new(&desc).unwrap_or_else(|error| panic!("{error}"));
    // The adapter's own abilities, what every WebGPU device has, what a GPU would be given: other kernels.
    let own = engine(EngineDesc::default());
    let least = engine(EngineDesc { webgpu_limits: true, ..Default::default() });
    let as_gpu = engine(EngineDesc { class: Some(DeviceClass::Discrete), ..Default::default() });
    eprintln!("adapter: {}", own.adapter());
    let mut failures = Vec::new();
    for (name, sample) in zoo::all() {
        for (engine, limits) in [(&own, ""), (&least, ", WebGPU's limits"), (&as_gpu, ", as on a GPU")] {
            match check(engine, &format!("{name}{limits}"), sample()) {
                Ok(line) => eprintln!("{line}"),
                Err(line) => failures.push(line),
            }
        }
    }
    assert!(failures.is_empty(), "{} networks failed:\n{}", failures.len(), failures.join("\n"));
}
