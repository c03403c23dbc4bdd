//! Layers in parts: what one binding does not hold is computed in parts, to the same bits, or refused with the numbers.

use wgconv::{
    Algorithm, DType, Engine, EngineDesc, ErrorKind, Graph, Layout, Network, NetworkDesc, Op, PoolDesc, PoolKind, Problem,
    Specialise, Split, SplitAxis, Tensor, TensorDesc, Value, Weights, verify,
};

mod support;
use support::{Random, dims};

/// Bytes of a binding in these tests.
const BINDING: u64 = 64 << 10;

/// Bytes of a buffer in these tests, less than most of the tensors have.
const BUFFER: u64 = 40_000;

fn engine(binding: Option<u64>) -> Engine {
    engine_of(binding, None)
}

fn engine_of(max_binding_bytes: Option<u64>, max_buffer_bytes: Option<u64>) -> Engine {
    let desc = EngineDesc { max_binding_bytes, max_buffer_bytes, specialise: Specialise::Never, ..Default::default() };
    Engine::new(&desc).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

fn lines() -> Vec<Problem> {
    let text = include_str!("problems/split.txt");
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
    lines.map(|line| line.parse().unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// The best tile of each algorithm that takes a layer.
fn one_of_each(engine: &Engine, problem: &Problem) -> Vec<Algorithm> {
    let mut list: Vec<Algorithm> = Vec::new();
    for algorithm in engine.candidates(problem).unwrap_or_else(|error| panic!("{problem}: {error}")).algorithms {
        if list.iter().all(|other| other.name() != algorithm.name()) {
            list.push(algorithm);
        }
    }
    list
}

#[test]
fn layers_in_parts_are_what_the_reference_says() {
    let engine = engine(Some(BINDING));
    println!("{}", engine.adapter());
    let (mut checked, mut axes, mut wrong) = (0, Vec::<SplitAxis>::new(), Vec::new());
    for problem in lines() {
        let (first, last) = (Layout::ChannelsFirst, Layout::ChannelsLast);
        for (dtype, layout) in [(DType::F32, first), (DType::F16, first), (DType::F32, last)] {
            let problem = problem.with_dtype(dtype).with_layout(layout);
            if dtype == DType::F16 && !engine.limits().f16 {
                continue;
            }
            let case = verify::Case::new(&problem, 1).unwrap();
            // Elements of 16 bits, or with channels last, lie elsewhere; the algorithms are the same.
            let most = if (dtype, layout) == (DType::F32, first) { usize::MAX } else { 1 };
            for algorithm in one_of_each(&engine, &problem).into_iter().take(most) {
                let plan = engine.plan(&problem, &algorithm).unwrap();
                if let Some(split) = plan.split {
                    axes.extend(split.axes);
                    checked += 1;
                }
                match case.check(&engine, &algorithm) {
                    Ok(report) if report.passed() => {}
                    Ok(report) => wrong.push(report.to_string()),
                    Err(error) => wrong.push(format!("{problem} by {algorithm}: {error}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let all = [SplitAxis::Batch, SplitAxis::Groups, SplitAxis::OutputChannels, SplitAxis::Rows];
    assert!(checked > 60 && all.iter().all(|axis| axes.contains(axis)), "{checked} layers in parts, by {axes:?}");
}

/// What a layer gives for random operands: bits of the results, and positions.
fn results(engine: &Engine, problem: &Problem, algorithm: &Algorithm) -> (Vec<u32>, Vec<i32>, Option<Split>) {
    let mut random = Random::new(7);
    let mut tensor = |engine: &Engine, desc: &TensorDesc| -> Tensor {
        engine.upload(&random.numbers(desc.elements().unwrap(), -1.0, 1.0), desc).unwrap()
    };
    let x = tensor(engine, &problem.input);
    let (y, indices, split) = match problem.layer {
        wgconv::Layer::Conv(desc) => {
            let count = desc.weight_shape().unwrap().iter().product();
            let kernel = Random::new(8).numbers(count, -1.0, 1.0);
            let per_channel = Random::new(9).numbers(desc.out_channels, -1.0, 1.0);
            let weights = Weights {
                kernel: &kernel,
                bias: desc.epilogue.bias.then_some(per_channel.as_slice()),
                slope: desc.epilogue.activation.has_slope().then_some(per_channel.as_slice()),
                ..Default::default()
            };
            let conv = engine.conv_with(&desc, &problem.input, weights, algorithm).unwrap();
            let y = if desc.epilogue.residual == wgconv::Residual::None {
                conv.run(&x).unwrap()
            } else {
                let residual = tensor(engine, conv.output_desc());
                conv.run((&x, &residual)).unwrap()
            };
            (y, Vec::new(), conv.plan().split.clone())
        }
        wgconv::Layer::Pool(desc) => {
            let pool = engine.pool_with(&desc, &problem.input, algorithm).unwrap();
            let split = pool.plan().split.clone();
            if matches!(desc.kind, PoolKind::Max { indices: Some(_) }) {
                let (y, indices) = pool.run_with_indices(&x).unwrap();
                (y, indices.to_vec().unwrap(), split)
            } else {
                (pool.run(&x).unwrap(), Vec::new(), split)
            }
        }
    };
    (y.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect(), indices, split)
}

/// How many layers are in parts on an engine; each has the bits that it has as a whole.
fn compare_with_the_whole(small: &Engine, whole: &Engine, problem: &Problem, most: usize) -> usize {
    let mut count = 0;
    for algorithm in one_of_each(small, problem).into_iter().take(most) {
        count += usize::from(bits_are_the_wholes(small, whole, problem, &algorithm));
    }
    count
}

/// Compares; whether the layer is in parts on the first engine.
fn bits_are_the_wholes(small: &Engine, whole: &Engine, problem: &Problem, algorithm: &Algorithm) -> bool {
    let (bits, indices, split) = results(small, problem, algorithm);
    let (wanted, wanted_indices, none) = results(whole, problem, algorithm);
    assert_eq!(none, None);
    let apart = bits.iter().zip(&wanted).filter(|(a, b)| a != b).count();
    assert_eq!(apart, 0, "{problem} by {algorithm}: {apart} of {} results differ", bits.len());
    assert!(indices == wanted_indices, "{problem} by {algorithm}: positions differ");
    split.is_some()
}

#[test]
fn parts_have_the_bits_of_the_whole_layer() {
    let (small, whole) = (engine(Some(BINDING)), engine(None));
    let count: usize = lines().iter().map(|problem| compare_with_the_whole(&small, &whole, problem, usize::MAX)).sum();
    assert!(count > 30, "{count} layers in parts");
}

#[test]
fn layers_on_tensors_in_several_buffers_have_the_bits_of_those_in_one() {
    let (small, whole) = (engine_of(None, Some(BUFFER)), engine(None));
    let mut count = 0;
    for problem in lines() {
        count += compare_with_the_whole(&small, &whole, &problem, usize::MAX);
        // Elements of 16 bits, or with channels last, lie elsewhere; the algorithms are the same.
        count += compare_with_the_whole(&small, &whole, &problem.with_layout(Layout::ChannelsLast), 1);
        if whole.limits().f16 {
            count += compare_with_the_whole(&small, &whole, &problem.with_dtype(DType::F16), 1);
        }
    }
    assert!(count > 100, "{count} layers in parts");
}

/// Its stride does not matter, but as a layer of its own it would have strips of other segments of taps: other panels of weights, and
/// another order of sums.
#[test]
fn a_part_of_one_row_has_the_steps_of_the_whole() {
    let (small, whole) = (engine(Some(BINDING)), engine(None));
    let problem: Problem = "conv 1x64x6980 o8 k10 s5 f32".parse().unwrap();
    let algorithm: Algorithm = "subgroup_strip(8x4,8)".parse().unwrap();
    match small.plan(&problem, &algorithm) {
        Ok(plan) => {
            let split = plan.split.expect("a binding holds no input");
            assert_eq!(split.parts.last().unwrap().to_string(), "conv 1x64x10 o8 k10 s5 f32");
            let report = verify::Case::new(&problem, 1).unwrap().check(&small, &algorithm).unwrap();
            assert!(report.passed(), "{report}");
            assert!(bits_are_the_wholes(&small, &whole, &problem, &algorithm));
        }
        Err(error) => assert_ne!(small.limits().subgroup, Some(8), "{error}"),
    }
}

/// Whatever their rows are, which end in a patch that is not full.
#[test]
fn parts_of_patches_have_the_bits_of_the_whole() {
    let (small, whole) = (engine(Some(BINDING)), engine(None));
    let Some(lanes) = small.limits().subgroup else { return eprintln!("no subgroups of a known size: no patch is checked") };
    for (line, tile) in [
        ("conv 1x8x99x70 o4 k3x3 p1x1 f32 bias relu", "4x4x4"),
        ("conv 1x6x90x81 o9 k5x3 s2x1 d1x2 p2x2 f32 residual=before", "8x2x7"),
        ("conv 2x4x99x60 o6 k3x3 p3x1 d3x1 f32", "4x7x4"),
    ] {
        let (problem, algorithm) =
            (line.parse::<Problem>().unwrap(), format!("subgroup_strip({tile},{lanes})").parse::<Algorithm>().unwrap());
        assert!(small.plan(&problem, &algorithm).unwrap().split.is_some(), "{line}");
        let report = verify::Case::new(&problem, 1).unwrap().check(&small, &algorithm).unwrap();
        assert!(report.passed(), "{report}");
        assert!(bits_are_the_wholes(&small, &whole, &problem, &algorithm), "{line}");
    }
}

#[test]
fn what_cannot_be_split_is_refused_with_the_numbers() {
    let engine = engine(Some(BINDING));
    for (line, bytes) in [
        ("conv 1x1x2x20000 o1 k1x1 f32", "160000"),
        ("global_avg_pool 1x2x200x200 f32", "320000"),
        ("conv 1x1x300x100 o1 k3x3 p1x1 circular f32", "120000"),
    ] {
        let error = engine.candidates(&line.parse().unwrap()).unwrap_err();
        let message = error.message();
        assert!(
            error.kind() == ErrorKind::Unsupported && message.contains(bytes) && message.contains("65536"),
            "{line}: {error}"
        );
    }
    // So is a row that is more than a buffer, with what a binding of it would be.
    let engine = engine_of(None, Some(BUFFER));
    let error = engine.candidates(&"conv 1x1x2x20000 o1 k1x1 f32".parse().unwrap()).unwrap_err();
    assert!(error.message().contains("160000") && error.message().contains("39936"), "{error}");
    // Weights that no buffer holds are in several.
    let problem: Problem = "conv 1x200x4x4 o400 k3x3 p1x1 f32 bias".parse().unwrap();
    let best = engine.candidates(&problem).unwrap().algorithms[0];
    let report = verify::check(&engine, &problem, &best, 3).unwrap();
    assert!(report.passed(), "{report}");
}

/// A network whose every layer and sum is larger than a binding.
fn network() -> Graph {
    let (mut graph, [_, sum]) = support::large();
    let pooled = graph.pool(&PoolDesc::max([2, 2]), sum);
    graph.output("y", pooled);
    graph
}

#[test]
fn networks_run_layers_in_parts_and_say_so() {
    let desc = NetworkDesc::default();
    let small = Network::new(&engine(Some(BINDING)), &network(), &desc).unwrap();
    let whole = Network::new(&engine(None), &network(), &desc).unwrap();
    assert!(small.explain().contains("by batch, rows into"), "{}", small.explain());
    assert!(small.host_nodes().is_empty(), "{}", small.explain());
    let x = Value::new(&[2, 4, 70, 66], Random::new(5).numbers(2 * 4 * 70 * 66, -1.0, 1.0)).unwrap();
    let (got, wanted) =
        (small.run_values(std::slice::from_ref(&x)).unwrap(), whole.run_values(std::slice::from_ref(&x)).unwrap());
    assert_eq!(got.len(), 2);
    for (got, wanted) in got.iter().zip(&wanted) {
        let error = support::difference(got, wanted);
        assert!(error < 1e-6, "{error:e}");
    }
    let found = small.verify(&[x]).unwrap();
    assert!(found.passed(), "{found}");
}

#[test]
fn products_of_computed_matrices_are_done_in_parts_too() {
    let small = engine(Some(BINDING));
    // A batch of products is one layer with a group for each, whose weights are the left matrices.
    for (a, b, axes) in [([8, 20, 24], [8, 24, 200], "by groups"), ([1, 4000, 16], [1, 16, 40], "by batch")] {
        let mut graph = Graph::new("product");
        let (x, y) = (graph.input("a", &dims(&a)), graph.input("b", &dims(&b)));
        let x = graph.apply(Op::Activation(wgconv::Activation::Relu), &[x]);
        let product = graph.apply(Op::MatMul, &[x, y]);
        graph.output("product", product);
        let network = Network::new(&small, &graph, &NetworkDesc::default()).unwrap();
        assert!(network.explain().contains(axes) && network.host_nodes().is_empty(), "{}", network.explain());
        let mut random = Random::new(6);
        let mut value = |shape: &[usize]| Value::new(shape, random.numbers(shape.iter().product(), -1.0, 1.0)).unwrap();
        let found = network.verify(&[value(&a), value(&b)]).unwrap();
        assert!(found.passed(), "{found}");
    }
}

/// 276 MB of inputs and of outputs: more than WebGPU has in a buffer, and more than lavapipe binds at once.
#[test]
#[ignore = "takes two gigabytes: tests/run.sh --long"]
fn long_a_layer_on_more_than_a_real_buffer_is_right_everywhere() {
    let engine = Engine::new(&EngineDesc { webgpu_limits: true, ..Default::default() }).unwrap();
    let (height, width) = (8300, 8300);
    let problem: Problem = format!("conv 1x1x{height}x{width} o1 k3x3 p1x1 f32").parse().unwrap();
    let wgconv::Layer::Conv(desc) = problem.layer else { unreachable!("the line says conv") };
    let kernel = [1.0f32, -2.0, 3.0, 2.0, 1.0, -1.0, -3.0, 2.0, 1.0];
    let image: Vec<f32> = (0..height * width).map(|index| ((index * 7919) % 13) as f32 - 6.0).collect();
    let conv = engine.conv(&desc, &problem.input, Weights { kernel: &kernel, ..Default::default() }).unwrap();
    let split = conv.plan().split.as_ref().expect("it is more than a binding");
    assert_eq!(split.axes, [SplitAxis::Rows], "{split}");
    let got = conv.run(&engine.upload(&image, &problem.input).unwrap()).unwrap().to_vec::<f32>().unwrap();
    let at = |y: usize, x: usize| -> f32 {
        // One further than the image's own coordinates, so that the padding has some too.
        let inside = (1..=height).contains(&y) && (1..=width).contains(&x);
        if inside { image[(y - 1) * width + x - 1] } else { 0.0 }
    };
    for y in 0..height {
        for x in 0..width {
            let sum: f32 = (0..9).map(|tap| kernel[tap] * at(y + tap / 3, x + tap % 3)).sum();
            assert_eq!(got[y * width + x], sum, "row {y}, column {x}");
        }
    }
}

/// A layer as a line, with numbers of all kinds.
fn random_line(random: &mut Random) -> String {
    let rank = random.within(1, 3);
    let list = |random: &mut Random, low: usize, high: usize| {
        (0..rank).map(|_| random.within(low, high).to_string()).collect::<Vec<_>>().join("x")
    };
    let most = [400, 40, 14][rank - 1];
    let (groups, channels) = (random.within(1, 3), random.within(1, 4));
    let (batch, input) = (random.within(1, 3), list(random, 5, most));
    let (kernel, stride, dilation) = (list(random, 1, 4), list(random, 1, 3), list(random, 1, 2));
    let shape = format!("{batch}x{}x{input}", groups * channels);
    let layout = random.pick(&["", " nhwc", " nchw out=nhwc"]);
    let numbers = format!("k{kernel} s{stride} d{dilation}");
    if random.percent(60) {
        let (name, more) = random.pick(&[("conv", ""), ("conv", " replicate"), ("conv", " reflect"), ("conv_transpose", "")]);
        let outputs = groups * random.within(1, 5);
        let epilogue = random.pick(&["", " bias relu", " residual=before", " bias prelu"]);
        let padding = list(random, 0, 2);
        return format!("{name} {shape} o{outputs} {numbers} p{padding}{more} g{groups} f32{layout}{epilogue}");
    }
    let name = random.pick(&["max_pool", "avg_pool"]);
    let more = if name == "max_pool" {
        random.pick(&["", " indices=plane", " indices=tensor", " indices=tensor_column_major"])
    } else {
        random.pick(&["", " exclude_pad"])
    };
    let ceil = random.pick(&["", " ceil"]);
    format!("{name} {shape} {numbers} p{}{ceil} f32{layout}{more}", list(random, 0, 1))
}

#[test]
#[ignore = "takes minutes: tests/run.sh --long"]
fn long_random_layers_in_parts_are_what_the_reference_says() {
    let engines = [(2048, None), (6000, None), (20_000, None), (20_000, Some(5000))]
        .map(|(binding, buffer)| engine_of(Some(binding), buffer));
    let mut random = Random::new(1);
    let (mut split, mut refused, mut wrong) = (0, 0, Vec::new());
    for number in 0..200 {
        let line = random_line(&mut random);
        let problem: Problem = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        let engine = &engines[number % engines.len()];
        let Ok(candidates) = engine.candidates(&problem) else {
            refused += 1;
            continue;
        };
        let algorithm = random.pick(&candidates.algorithms);
        split += usize::from(engine.plan(&problem, &algorithm).unwrap().split.is_some());
        match verify::check(engine, &problem, &algorithm, number as u64) {
            Ok(report) if report.passed() => {}
            Ok(report) => wrong.push(report.to_string()),
            Err(error) => wrong.push(format!("{problem} by {algorithm}: {error}")),
        }
    }
    println!("{split} of 200 layers in parts, {refused} refused or not valid");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(split > 60, "{split} in parts, {refused} refused");
}
