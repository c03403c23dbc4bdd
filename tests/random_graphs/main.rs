//! Random graphs: what passes make of them, what devices compute, and that values which share memory do not meet. A failure prints
//! its seed; `WGCONV_SEEDS=7..7` runs it alone and `WGCONV_SEEDS=0..999` a thousand.

mod around;
mod generate;
#[path = "../support/mod.rs"]
mod support;

use generate::{Generated, Generator, Kind};
use support::{by_reference, difference};
use wgconv::{Bindings, ElementType, Engine, EngineDesc, Layout, Network, NetworkDesc, passes};

/// What nodes there are, and how often.
const KINDS: &[(usize, Kind)] = &[
    (16, generate::convolution),
    (6, generate::batch_norm),
    (7, generate::activation),
    (4, generate::relu),
    (3, generate::written_out),
    (3, generate::clip),
    (3, generate::prelu),
    (8, generate::with_constant),
    (9, generate::with_another),
    (5, generate::pad),
    (1, generate::linear),
    (2, generate::again),
    (4, around::nothing),
    (4, around::concat),
    (3, around::split),
    (3, around::slice),
    (4, around::transpose),
    (4, around::reshape),
    (3, around::gemm),
    (4, around::matmul),
    (5, around::pool),
    (3, around::resize),
    (2, around::softmax),
    (4, around::normalise),
    (2, around::reduce),
    (3, around::rearrange),
];

/// Those of networks in 16-bit floats.
const HALF_KINDS: &[(usize, Kind)] = &[
    (12, generate::convolution),
    (8, generate::batch_norm),
    (8, generate::relu),
    (4, generate::activation),
    (4, generate::with_another),
    (3, generate::with_constant),
    (2, generate::prelu),
    (5, around::pool),
    (3, generate::linear),
    (3, around::gemm),
    (2, around::softmax),
    (1, around::reshape),
];

/// How far results may be from those wanted, relative to the largest.
struct Tolerance {
    passes: f64,
    device: f64,
}

/// The first thing that is wrong with a graph.
fn fault(engine: &Engine, generated: &Generated, layout: Layout, tolerance: &Tolerance) -> Result<(), String> {
    let Generated { graph, inputs, results } = generated;
    let compare = |what: &str, got: &[wgconv::Value], wanted: &[wgconv::Value], tolerance: f64| {
        let apart = got.iter().zip(wanted).map(|(got, wanted)| difference(got, wanted));
        match apart.enumerate().find(|(_, apart)| *apart > tolerance) {
            Some((number, apart)) => Err(format!("{what}: y{number} is {apart:.1e} off")),
            None => Ok(()),
        }
    };
    let within = |what: &'static str| move |error: wgconv::Error| format!("{what}: {error}");
    let mut optimised = graph.bind(&Bindings::default()).map_err(within("bind"))?;
    for (name, pass) in passes::PASSES {
        let next = pass(&optimised);
        let got = by_reference(&next, inputs).map_err(|error| format!("{name}: {error}\n{optimised}{next}"))?;
        compare(name, &got, results, tolerance.passes).map_err(|error| format!("{error}\n{optimised}{next}"))?;
        optimised = next;
    }
    let network =
        Network::new(engine, graph, &NetworkDesc { layout: Some(layout), ..Default::default() }).map_err(within("new"))?;
    let first = network.run_values(inputs).map_err(within("run"))?;
    let reference = network.run_reference(inputs).map_err(within("reference"))?;
    compare("reference", &reference, results, 0.0)?;
    let verified = network.verify(inputs).map_err(within("verify"))?;
    if !verified.passed() {
        return Err(format!("verify: {verified}\n{}", network.graph()));
    }
    compare("device", &first, &reference, tolerance.device).map_err(|error| format!("{error}\n{}", network.graph()))?;
    let second = network.run_values(inputs).map_err(within("run again"))?;
    if first != second {
        return Err(format!("a second run gives other bits\n{}", network.explain()));
    }
    let plain = NetworkDesc { unoptimised: true, ..Default::default() };
    let plain = Network::new(engine, graph, &plain).map_err(within("new unoptimised"))?;
    let got = plain.run_values(inputs).map_err(within("run unoptimised"))?;
    compare("unoptimised", &got, &first, tolerance.device)
}

/// The seeds asked for, or so many from 0.
fn seeds(count: u64) -> std::ops::RangeInclusive<u64> {
    let Ok(text) = std::env::var("WGCONV_SEEDS") else { return 0..=count - 1 };
    let ends = text.split_once("..").and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last) = ends.unwrap_or_else(|| panic!("WGCONV_SEEDS is `{text}`, but a range is written first..last"));
    first..=last
}

fn check(count: u64, element: ElementType, kinds: &[(usize, Kind)], sizes: (usize, usize), tolerance: &Tolerance) {
    let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("{error}"));
    println!("{}", engine.adapter());
    if element == ElementType::F16 && !engine.limits().f16 {
        println!("has no 16-bit floats: nothing to test");
        return;
    }
    let mut faults = Vec::new();
    for seed in seeds(count) {
        let mut generator = Generator::new(seed, element);
        let nodes = generator.random.within(sizes.0, sizes.1);
        let generated = generator.generate(kinds, nodes);
        let layout = if seed % 2 == 0 { Layout::ChannelsFirst } else { Layout::ChannelsLast };
        if let Err(fault) = fault(&engine, &generated, layout, tolerance) {
            println!("seed {seed}: {fault}\ngiven as {}", generated.graph);
            faults.push(format!("seed {seed}: {}", fault.lines().next().unwrap_or_default()));
        }
    }
    assert!(faults.is_empty(), "{} graphs:\n{}\nrepeat with WGCONV_SEEDS=first..last", faults.len(), faults.join("\n"));
}

const HALF: Tolerance = Tolerance { passes: 2e-2, device: 2e-2 };

#[test]
fn random_graphs_compute_the_same_through_every_pass_and_on_the_device() {
    check(60, ElementType::F32, KINDS, (8, 25), &Tolerance { passes: 1e-4, device: 1e-3 });
}

#[test]
fn random_graphs_of_16_bit_floats_compute_the_same_through_every_pass_and_on_the_device() {
    check(20, ElementType::F16, KINDS, (6, 14), &HALF);
}

#[test]
fn random_networks_of_16_bit_floats_compute_the_same_through_every_pass_and_on_the_device() {
    check(20, ElementType::F16, HALF_KINDS, (6, 14), &HALF);
}
