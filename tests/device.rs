//! Every line of `tests/problems/*.txt` by every algorithm that accepts it, in f32 and f16, judged by the reference.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use wgconv::{
    Algorithm, ConvDesc, DType, DeviceClass, DeviceLimits, Engine, EngineDesc, Epilogue, Layer, Precision, Problem, Specialise,
    Weights, verify,
};

/// Without an adapter every test fails with the hint of the error.
fn open(desc: &EngineDesc) -> Engine {
    Engine::new(desc).unwrap_or_else(|error| panic!("the device tests need a GPU adapter: {error}"))
}

/// An engine for each core, for the whole run: a software adapter compiles on the one thread of its queue. They may choose any kernel.
fn engines() -> &'static [Engine] {
    static ENGINES: OnceLock<Vec<Engine>> = OnceLock::new();
    ENGINES.get_or_init(|| {
        // One pipeline for all shapes of a kind: a software adapter takes about a second to compile one.
        let desc = EngineDesc {
            specialise: Specialise::Never,
            precision: Precision::Fast,
            cooperative_matrix: true,
            ..Default::default()
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let engines: Vec<_> = std::iter::repeat_with(|| open(&desc)).take(cores.min(4)).collect();
        eprintln!("adapter: {}", engines[0].adapter());
        engines
    })
}

fn engine() -> &'static Engine {
    &engines()[0]
}

fn lines(file: &str) -> Vec<Problem> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
    lines.map(|line| line.parse().unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Pairs of operand tiles of a product through workgroup memory, where they are not one.
fn buffers(algorithm: &Algorithm) -> Option<u32> {
    let text = algorithm.to_string();
    [(",b0", 0), (",b2", 2)].into_iter().find_map(|(part, buffers)| text.contains(part).then_some(buffers))
}

/// Whether an algorithm sums in slices.
fn is_sliced(algorithm: &Algorithm) -> bool {
    algorithm.to_string().contains(",k")
}

/// The best tile of each algorithm, and of those that have tiles of four channels, of two buffers or of none, or of sums in slices,
/// the best of these too.
fn one_of_each(algorithms: &[Algorithm]) -> Vec<Algorithm> {
    let mut kinds = Vec::new();
    let new = |algorithm: &&Algorithm| {
        let channels = match algorithm {
            Algorithm::Depthwise(tile) => tile.channels,
            Algorithm::PoolPatch(tile) => tile.channels,
            _ => 1,
        };
        let kind = (algorithm.name(), channels, buffers(algorithm), is_sliced(algorithm));
        let new = !kinds.contains(&kind);
        kinds.push(kind);
        new
    };
    algorithms.iter().filter(new).copied().collect()
}

/// Checks problems with the algorithms that `choose` takes of the candidates, each engine on a thread of its own.
fn check(problems: &[Problem], dtypes: &[DType], choose: fn(&[Algorithm]) -> Vec<Algorithm>) {
    check_on(engines(), problems, dtypes, &among_candidates(choose));
}

/// Which algorithms an engine is to check for a problem.
type Choice<'a> = &'a (dyn Fn(&Engine, &Problem) -> wgconv::Result<Vec<Algorithm>> + Sync);

/// What `choose` takes of the candidates.
fn among_candidates(choose: fn(&[Algorithm]) -> Vec<Algorithm>) -> impl Fn(&Engine, &Problem) -> wgconv::Result<Vec<Algorithm>> {
    move |engine, problem| engine.candidates(problem).map(|list| choose(&list.algorithms))
}

/// The lines for which there is one to check.
fn with_any(lines: impl IntoIterator<Item = Problem>, choose: Choice) -> Vec<Problem> {
    lines.into_iter().filter(|line| choose(engine(), line).is_ok_and(|list| !list.is_empty())).collect()
}

/// Checks problems with the algorithms that `choose` names, each engine on a thread of its own.
fn check_on(engines: &[Engine], problems: &[Problem], dtypes: &[DType], choose: Choice) {
    let (next, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let work: Vec<Problem> = problems.iter().flat_map(|problem| dtypes.iter().map(|&dtype| problem.with_dtype(dtype))).collect();
    let worker = |engine: &Engine| {
        while let Some(problem) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let case = verify::Case::new(problem, 1).unwrap_or_else(|error| panic!("{problem}: {error}"));
            for algorithm in choose(engine, problem).unwrap_or_else(|error| panic!("{problem}: {error}")) {
                count.fetch_add(1, Ordering::Relaxed);
                match case.check(engine, &algorithm) {
                    Ok(report) if report.passed() => {}
                    Ok(report) => failures.lock().unwrap().push(report.to_string()),
                    Err(error) => failures.lock().unwrap().push(format!("{problem} by {algorithm}: {error}")),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for engine in engines {
            let worker = &worker;
            scope.spawn(move || worker(engine));
        }
    });
    let (failures, count) = (failures.into_inner().unwrap(), count.into_inner());
    assert!(failures.is_empty(), "{} of {count} checks failed:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= work.len(), "only {count} checks for {} problems", work.len());
    eprintln!("{count} checks on {}", engine().adapter_name());
}

/// f16 beside f32 where the adapter has it; its absence is said, and then `cargo test` has not covered it.
fn dtypes() -> Vec<DType> {
    if engine().limits().f16 {
        return vec![DType::F32, DType::F16];
    }
    eprintln!("{} has no f16: only f32 is checked", engine().adapter_name());
    vec![DType::F32]
}

/// Every line in one type: where both change nothing for each other.
fn check_in_turn(file: &str, choose: fn(&[Algorithm]) -> Vec<Algorithm>) {
    check_lines_in_turn(&lines(file), &among_candidates(choose));
}

/// The same of these lines.
fn check_lines_in_turn(lines: &[Problem], choose: Choice) {
    let dtypes = dtypes();
    for (number, dtype) in dtypes.iter().enumerate() {
        let lines: Vec<Problem> = lines.iter().skip(number).step_by(dtypes.len()).cloned().collect();
        check_on(engines(), &lines, &[*dtype], choose);
    }
}

#[test]
fn convolutions_match_the_reference() {
    check(&lines("conv.txt"), &dtypes(), one_of_each);
}

#[test]
fn strips_match_the_reference_with_every_tile() {
    let strips = |algorithms: &[Algorithm]| algorithms.iter().filter(|a| a.name() == "subgroup_strip").copied().collect();
    if engine().limits().subgroup.is_some() {
        check_in_turn("strip.txt", strips);
    }
    check(&lines("strip.txt"), &[DType::F32], one_of_each);
}

/// How wide subgroups are is no choice of this device's where `LP_NATIVE_VECTOR_WIDTH` says it.
#[test]
#[ignore = "the other tests do the same at this device's own width: tests/run.sh runs it at others"]
fn subgroups_of_other_widths_match_the_reference() {
    let Some(width) = engine().limits().subgroup else {
        return eprintln!("{} has no subgroups of a known size: none is checked", engine().adapter_name());
    };
    eprintln!("subgroups of {width}");
    let by_subgroups = |engine: &Engine, problem: &Problem| {
        let all = engine.candidates(problem)?.algorithms.into_iter();
        Ok(one_of_each(&all.filter(|algorithm| algorithm.to_string().contains("subgroup")).collect::<Vec<_>>()))
    };
    let files =
        ["conv.txt", "transposed.txt", "winograd.txt", "strip.txt", "nhwc.txt", "vectors.txt", "split_k.txt", "regressions.txt"];
    let lines = with_any(files.into_iter().flat_map(lines), &by_subgroups);
    assert!(lines.len() >= 100, "{} lines", lines.len());
    check_lines_in_turn(&lines, &by_subgroups);
}

/// Whether the planner offers them on this device or not: they are for drivers of a kind.
#[test]
fn patches_of_subgroups_match_the_reference() {
    let Some(lanes) = engine().limits().subgroup else {
        return eprintln!("{} has no subgroups of a known size: no patch is checked", engine().adapter_name());
    };
    let patches = |engine: &Engine, problem: &Problem| {
        let tiles: &[&str] = match problem.input.dtype() {
            DType::F32 => &["4x4x4", "4x7x4", "8x2x7"],
            _ => &["4x4x7", "8x4x4", "16x2x4", "4x3x2"],
        };
        let named = tiles.iter().map(|tile| format!("subgroup_strip({tile},{lanes})").parse());
        let all = named.collect::<wgconv::Result<Vec<Algorithm>>>()?;
        Ok(all.into_iter().filter(|algorithm| algorithm.plan(problem, engine.limits()).is_ok()).collect::<Vec<_>>())
    };
    let lines = with_any(lines("strip.txt"), &patches);
    assert!(lines.len() >= 20, "{} lines", lines.len());
    check_lines_in_turn(&lines, &patches);
}

#[test]
fn depthwise_convolutions_match_the_reference() {
    check(&lines("depthwise.txt"), &dtypes(), one_of_each);
}

#[test]
fn transposed_convolutions_match_the_reference() {
    check(&lines("transposed.txt"), &dtypes(), one_of_each);
}

#[test]
fn winograd_convolutions_match_the_reference_with_every_tile() {
    let winograd = |algorithms: &[Algorithm]| algorithms.iter().filter(|a| a.name() == "winograd").copied().collect();
    check(&lines("winograd.txt"), &dtypes(), winograd);
}

#[test]
fn cooperative_matrices_match_the_reference_with_every_tile() {
    let Some(size) = engine().limits().cooperative_matrix else {
        return eprintln!("{} has no cooperative matrices of f16 with sums in f32: none is checked", engine().adapter_name());
    };
    eprintln!("cooperative matrices of {size}");
    let cooperative = |algorithms: &[Algorithm]| {
        let says = |algorithm: &&Algorithm| algorithm.to_string().contains("coop");
        let list: Vec<Algorithm> = algorithms.iter().filter(says).copied().collect();
        list
    };
    let files = ["conv.txt", "transposed.txt", "depthwise.txt", "winograd.txt", "regressions.txt", "vectors.txt"];
    let problems: Vec<Problem> = files.into_iter().flat_map(lines).filter(|line| matches!(line.layer, Layer::Conv(_))).collect();
    check(&problems, &[DType::F16], cooperative);
    // This device has too few cores for slices to pay.
    let sliced = |algorithms: &[Algorithm]| {
        let whole = |algorithm: &&Algorithm| algorithm.to_string().contains("coop") && !is_sliced(algorithm);
        let slice = |algorithm: &Algorithm| algorithm.to_string().replace(')', ",k3)").parse().expect("a tile with slices");
        algorithms.iter().filter(whole).map(slice).collect::<Vec<Algorithm>>()
    };
    check(&lines("split_k.txt"), &[DType::F16], sliced);
}

#[test]
fn products_in_f16_match_the_reference_with_every_tile() {
    let desc = EngineDesc { specialise: Specialise::Never, precision: Precision::Half, ..Default::default() };
    let engines: Vec<_> = engines().iter().map(|_| open(&desc)).collect();
    if !engines[0].limits().f16 {
        return eprintln!("{} has no f16: no product in it is checked", engines[0].adapter_name());
    }
    // Of tiles with two buffers one does, and of those in slices.
    let in_f16 = |engine: &Engine, problem: &Problem| {
        let all = [engine.candidates(problem)?.algorithms, gpu_products(engine, problem)?].concat();
        let halves: Vec<Algorithm> = all.into_iter().filter(|algorithm| algorithm.to_string().contains(",h")).collect();
        Ok(one_of_each(&halves))
    };
    check_on(&engines, &lines("half.txt"), &[DType::F16], &in_f16);
}

#[test]
fn sums_in_slices_match_the_reference_with_every_tile() {
    let sliced = |algorithms: &[Algorithm]| algorithms.iter().filter(|algorithm| is_sliced(algorithm)).copied().collect();
    check_in_turn("split_k.txt", sliced);
}

#[test]
fn products_of_few_channels_match_the_reference_with_every_tile() {
    let direct = |algorithms: &[Algorithm]| {
        let direct = algorithms.iter().filter(|algorithm| algorithm.name() != "winograd" && buffers(algorithm) == Some(0));
        direct.copied().collect()
    };
    let dtypes = dtypes();
    for problem in lines("groups.txt") {
        let dtype = if dtypes.contains(&problem.input.dtype()) { problem.input.dtype() } else { DType::F32 };
        check(&[problem], &[dtype], direct);
    }
}

/// The matrix products that the planner chooses among on a GPU, as far as this device can run them.
fn gpu_products(engine: &Engine, problem: &Problem) -> wgconv::Result<Vec<Algorithm>> {
    let limits = DeviceLimits { class: DeviceClass::Discrete, parallelism: 4, ..*engine.limits() };
    let product = |algorithm: &Algorithm| algorithm.name().ends_with("gemm") || algorithm.name().ends_with("matmul");
    let own = engine.candidates(problem)?.algorithms;
    let others = Algorithm::candidates(problem, &limits)?.algorithms.into_iter();
    Ok(others.filter(|algorithm| product(algorithm) && !own.contains(algorithm)).collect())
}

#[test]
fn products_of_gpus_match_the_reference_with_every_tile() {
    let dtypes = dtypes();
    for problem in lines("gpu.txt") {
        let dtype = if dtypes.contains(&problem.input.dtype()) { problem.input.dtype() } else { DType::F32 };
        check_on(engines(), &[problem], &[dtype], &gpu_products);
    }
}

#[test]
fn products_by_tiles_of_odd_sizes_match_the_reference() {
    // Five invocations, forty, more rows loaded at a time than a step has, blocks that are no powers of two.
    let tiles = ["(64x20x8,8x4,b2)", "(16x12x3,4x4,b2)", "(4x60x4,4x12,b2)", "(16x24x6,8x8,b2,k2)", "(20x16x5,4x1)"];
    let named = |names: &[&str]| {
        let list = names.iter().flat_map(|name| tiles.map(|tile| format!("{name}{tile}").parse()));
        list.collect::<wgconv::Result<Vec<Algorithm>>>()
    };
    let plain = ["conv 2x11x3x12 o37 k1x1 f32 bias", "conv 3x13x5x5 o37 k1x1 f32 relu"].map(|line| line.parse().unwrap());
    check_on(engines(), &plain, &dtypes(), &|_, _| named(&["gemm", "matmul"]));
    let taps = ["conv 1x9x6x10 o37 k3x3 p1x1 f32", "conv 1x8x6x10 nhwc o37 k3x3 p1x1 f32 out=nchw bias"];
    check_on(engines(), &taps.map(|line| line.parse().unwrap()), &[DType::F32], &|_, problem: &Problem| {
        // Loads of four channels have four rows of a step.
        let list = named(&["gemm"])?;
        Ok(list.into_iter().filter(|algorithm| algorithm.plan(problem, engine().limits()).is_ok()).collect())
    });
}

/// What is another text on a GPU, or offered there only, but the matrix products themselves.
#[test]
fn patches_strips_tiles_and_trees_of_gpus_match_the_reference() {
    let desc = EngineDesc { class: Some(DeviceClass::Discrete), ..Default::default() };
    let engine = [open(&desc)];
    let cheapest = |engine: &Engine, problem: &Problem| {
        let named =
            |algorithm: &Algorithm| ["depthwise", "pool_plane", "pool_tree", "subgroup_strip"].contains(&algorithm.name());
        Ok(engine.candidates(problem)?.algorithms.into_iter().filter(named).take(4).collect::<Vec<_>>())
    };
    let narrow = |_: &Engine, _: &Problem| Ok(vec!["depthwise(4x1)".parse()?, "depthwise(4x2)".parse()?]);
    check_on(&engine, &lines("depthwise.txt"), &[DType::F32], &cheapest);
    check_on(&engine, &lines("depthwise.txt")[..4], &[DType::F32], &narrow);
    if engine[0].limits().subgroup.is_some() {
        let strips = lines("strip.txt").into_iter().filter(|line| {
            let algorithms = engine[0].candidates(line).unwrap().algorithms;
            algorithms.iter().any(|algorithm| algorithm.name() == "subgroup_strip")
        });
        check_on(&engine, &strips.collect::<Vec<_>>(), &[DType::F32], &cheapest);
    }
    // Tiles whose number is no multiple of four, in planes that are padded to one.
    let winograd = |engine: &Engine, problem: &Problem| {
        let named = |algorithm: &Algorithm| algorithm.name() == "winograd";
        Ok(engine.candidates(problem)?.algorithms.into_iter().filter(named).collect::<Vec<_>>())
    };
    let tiles =
        ["conv 2x9x14x14 o6 k3x3 p1x1 f32 bias relu", "conv 1x4x3x9x9 o8 k1x3x3 p0x1x1 g2 f32", "conv 3x5x97 o7 k3 p1 d2 f32"];
    check_on(&engine, &tiles.map(|line| line.parse().unwrap()), &dtypes(), &winograd);
    let windows = lines("pool.txt")
        .into_iter()
        .filter(|line| engine[0].candidates(line).unwrap().algorithms.contains(&Algorithm::PoolTree));
    check_on(&engine, &windows.collect::<Vec<_>>(), &[DType::F32], &cheapest);
}

#[test]
fn products_without_tests_of_bounds_match_the_reference() {
    let desc = EngineDesc { specialise: Specialise::Always, ..Default::default() };
    let engine = [open(&desc)];
    let one_of_all = |engine: &Engine, problem: &Problem| {
        let all = [engine.candidates(problem)?.algorithms, gpu_products(engine, problem)?].concat();
        Ok(one_of_each(&all))
    };
    check_on(&engine, &lines("aligned.txt"), &[DType::F32], &one_of_all);
}

#[test]
fn poolings_match_the_reference() {
    check(&lines("pool.txt"), &dtypes(), one_of_each);
}

/// However many invocations share a plane.
#[test]
fn planes_match_the_reference() {
    let all: Vec<Algorithm> = [1, 2, 4, 16, 64, 256].map(|lanes| format!("pool_plane({lanes})").parse().unwrap()).into();
    let takes = |problem: &Problem| all[0].plan(problem, engine().limits()).is_ok();
    let planes: Vec<_> = lines("pool.txt").into_iter().filter(takes).collect();
    assert!(planes.len() >= 16, "{} lines", planes.len());
    check_on(engines(), &planes, &dtypes(), &|_, _| Ok(all.clone()));
}

/// A NaN is the greatest of all, an infinity is less than nothing, and neither is another plane's.
#[test]
fn maxima_of_planes_know_nan_and_infinity() -> wgconv::Result<()> {
    let [nan, least] = [f32::NAN, f32::NEG_INFINITY];
    let planes = [[1.0, nan, 3.0, -2.0, 0.5], [least; 5], [-1.0, -2.0, -0.5, -7.0, least], [4.0, 3.0, 2.0, 1.0, nan]];
    for line in ["global_max_pool 1x4x5 f32", "global_max_pool 1x4x5 f32 nhwc"] {
        let problem: Problem = line.parse()?;
        let Layer::Pool(pool) = &problem.layer else { unreachable!("{line}") };
        let x = engine().upload(planes.as_flattened(), &problem.input)?;
        for lanes in [1, 4, 64] {
            let algorithm = format!("pool_plane({lanes})").parse()?;
            let y = engine().pool_with(pool, &problem.input, &algorithm)?.run(&x)?.to_vec::<f32>()?;
            assert!(y[0].is_nan() && y[3].is_nan() && y[1..3] == [least, -0.5], "{line}, {algorithm}: {y:?}");
        }
    }
    Ok(())
}

/// Every f16 that there is comes through a layer that changes none, loaded and stored by fours: subnormal numbers, infinities, NaN.
#[test]
fn every_f16_is_loaded_and_stored_as_it_is() -> wgconv::Result<()> {
    if !engine().limits().f16 {
        eprintln!("{} has no f16: none is checked", engine().adapter_name());
        return Ok(());
    }
    let problem: Problem = "conv 1x4x128x128 o4 k1x1 g4 f16".parse()?;
    let Layer::Conv(conv) = &problem.layer else { unreachable!("a convolution") };
    let all: Vec<f32> = (0..=u16::MAX).map(|bits| half::f16::from_bits(bits).to_f32()).collect();
    let x = engine().upload(&all, &problem.input)?;
    let weights = Weights { kernel: &[1.0; 4], ..Default::default() };
    for algorithm in ["depthwise(4x4)", "direct"] {
        let layer = engine().conv_with(conv, &problem.input, weights, &algorithm.parse()?)?;
        let y = layer.run(&x)?.to_vec::<f32>()?;
        let differ: Vec<_> = (0..all.len()).filter(|&i| all[i] != y[i] && !(all[i].is_nan() && y[i].is_nan())).collect();
        assert!(differ.is_empty(), "{algorithm}: {} differ, the first is {:#x}", differ.len(), differ[0]);
        // A sum half-way between two of them goes to the even one.
        let biased = ConvDesc { epilogue: Epilogue { bias: true, ..conv.epilogue }, ..*conv };
        let weights = Weights { bias: Some(&[3.0 / 2048.0; 4]), ..weights };
        let layer = engine().conv_with(&biased, &problem.input, weights, &algorithm.parse()?)?;
        let y = layer.run(&engine().upload(&vec![1.0; all.len()], &problem.input)?)?.to_vec::<f32>()?;
        assert!(y.iter().all(|&y| y == 1.0 + 2.0 / 1024.0), "{algorithm}: {}", y[0]);
    }
    Ok(())
}

#[test]
fn layouts_match_the_reference() {
    // A layout changes addresses, and the other files know both types.
    check_in_turn("nhwc.txt", one_of_each);
}

#[test]
fn four_channels_at_once_match_the_reference_with_every_tile() {
    let dtypes = dtypes();
    for problem in lines("vectors.txt") {
        let dtype = if dtypes.contains(&problem.input.dtype()) { problem.input.dtype() } else { DType::F32 };
        check(&[problem], &[dtype], <[Algorithm]>::to_vec);
    }
}

#[test]
fn rows_that_are_loaded_by_fours_match_the_reference() {
    // Three tiles of each algorithm that load so: patches and strips of several widths begin at other columns.
    let rows = |engine: &Engine, problem: &Problem| {
        let by_fours = |algorithm: &&Algorithm| {
            let plan = algorithm.plan(problem, engine.limits()).expect("a candidate has a plan");
            let text = plan.steps[0].kernel.wgsl();
            text.contains("inputs_at(row_") || text.contains("= load_input_4(from_") || text.contains("const FOURS")
        };
        let all = engine.candidates(problem)?.algorithms;
        let named = |name| all.iter().filter(move |algorithm| algorithm.name() == name).filter(by_fours).take(3).copied();
        Ok(["depthwise", "subgroup_strip", "pool_patch"].into_iter().flat_map(named).collect::<Vec<_>>())
    };
    let lines = with_any(lines("fours.txt"), &rows);
    assert!(lines.len() >= 20, "{} lines", lines.len());
    check_lines_in_turn(&lines, &rows);
}

#[test]
fn epilogues_match_the_reference() {
    check(&lines("epilogue.txt"), &dtypes(), one_of_each);
}

#[test]
fn past_bugs_stay_mended() {
    check(&lines("regressions.txt"), &dtypes(), one_of_each);
}
