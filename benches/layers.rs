//! One convolution or pooling of each algorithm on the device, and the host's cost of planning.
//!
//! `cargo bench` measures on the adapter that `WGPU_ADAPTER_NAME` names, or the best there is. Times include submitting and waiting
//! but neither upload nor read-back. Compare only figures of one run on one machine.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgconv::{Algorithm, DeviceLimits, Engine, EngineDesc, Layer, Problem, Weights};

/// Algorithms and a layer that they are made for.
const LAYERS: &[(&str, &[&str])] = &[
    ("conv 1x64x28x28 o64 k3x3 p1x1 f32 bias relu", &["direct", "gemm", "subgroup_gemm", "winograd"]),
    ("conv 1x128x28x28 o64 k1x1 f32 bias relu", &["matmul", "subgroup_matmul"]),
    ("conv 1x96x28x28 o96 k3x3 p1x1 g96 f32 bias relu6", &["depthwise"]),
    ("max_pool 1x64x56x56 k3x3 s2x2 p1x1 f32", &["pool_patch", "pool"]),
    ("global_avg_pool 1x256x14x14 f32", &["pool_plane", "pool_tree"]),
];

fn layers(criterion: &mut Criterion) {
    let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("the benches need a GPU adapter: {error}"));
    eprintln!("adapter: {}", engine.adapter());
    for (line, names) in LAYERS {
        let problem: Problem = line.parse().expect("a sound line");
        let mut group = criterion.benchmark_group(*line);
        group.sample_size(10);
        let candidates = engine.candidates(&problem).expect("a sound layer");
        for name in *names {
            // The best tile; an adapter without subgroups of one size has none for two of the names.
            let Some(algorithm) = candidates.algorithms.iter().find(|algorithm| algorithm.name() == *name) else {
                eprintln!("{name} is refused: {:?}", candidates.refusals.iter().find(|refusal| refusal.algorithm == *name));
                continue;
            };
            let plan = engine.plan(&problem, algorithm).expect("a candidate");
            group.throughput(Throughput::Elements(plan.work().flop));
            let run = prepare(&engine, &problem, algorithm);
            group.bench_function(BenchmarkId::from_parameter(algorithm), |bencher| bencher.iter(&run));
        }
    }
}

/// A closure that runs the layer once and waits.
fn prepare(engine: &Engine, problem: &Problem, algorithm: &Algorithm) -> Box<dyn Fn()> {
    let data = vec![0.5; problem.input.elements().expect("a sound shape")];
    let x = engine.upload(&data, &problem.input).expect("room for the input");
    let engine = engine.clone();
    match &problem.layer {
        Layer::Conv(desc) => {
            let kernel = vec![0.5; desc.weight_shape().expect("sound groups").iter().product()];
            let bias = vec![0.5; desc.out_channels];
            let weights = Weights { kernel: &kernel, bias: desc.epilogue.bias.then_some(&bias[..]), ..Default::default() };
            let conv = engine.conv_with(desc, &problem.input, weights, algorithm).expect("a candidate");
            Box::new(move || {
                conv.run(&x).and_then(|_| engine.wait()).expect("the layer runs");
            })
        }
        Layer::Pool(desc) => {
            let pool = engine.pool_with(desc, &problem.input, algorithm).expect("a candidate");
            Box::new(move || {
                pool.run(&x).and_then(|_| engine.wait()).expect("the layer runs");
            })
        }
    }
}

fn planning(criterion: &mut Criterion) {
    let limits = DeviceLimits { subgroup: Some(32), f16: true, ..Default::default() };
    let problem: Problem = LAYERS[0].0.parse().expect("a sound line");
    let best = Algorithm::candidates(&problem, &limits).expect("a sound layer").algorithms[0];
    let mut group = criterion.benchmark_group("host");
    group.bench_function("parse a problem line", |bencher| bencher.iter(|| LAYERS[0].0.parse::<Problem>()));
    group.bench_function("candidates", |bencher| bencher.iter(|| Algorithm::candidates(&problem, &limits)));
    group.bench_function("plan", |bencher| bencher.iter(|| best.plan(&problem, &limits)));
    group.bench_function("plan and write the WGSL", |bencher| {
        bencher.iter(|| best.plan(&problem, &limits).map(|plan| plan.steps[0].kernel.wgsl()))
    });
}

criterion_group!(benches, planning, layers);
criterion_main!(benches);
