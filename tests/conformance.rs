//! The conformance material in `tests/golden` and `tests/configs`, by the modules of the program `verify`.
//!
//! Here the reference is judged, and whether the judge can say no. The same material on a device is at the end of the file.

#![allow(dead_code)] // the program uses the rest of its modules

#[path = "../examples/verify/config.rs"]
mod config;
#[path = "../examples/verify/configs.rs"]
mod configs;
#[path = "../examples/verify/device.rs"]
mod device;
#[path = "../examples/verify/golden.rs"]
mod golden;
#[path = "../examples/verify/json.rs"]
mod json;
#[path = "../examples/verify/naive.rs"]
mod naive;
#[path = "../examples/support/numbers.rs"]
mod numbers;
#[path = "../examples/verify/operands.rs"]
mod operands;
#[path = "../examples/support/output.rs"]
mod output;
#[path = "../examples/verify/report.rs"]
mod report;

use std::collections::HashMap;
use std::path::Path;

use golden::Golden;
use json::Fields;
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use wgconv::Problem;

fn golden_files() -> Vec<std::path::PathBuf> {
    golden::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).expect("the files of the repository")
}

fn golden_bytes(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_reference_agrees_with_every_golden_file() {
    let files = golden_files();
    assert_eq!(files.len(), 158);
    let judge = |file: &std::path::PathBuf| {
        let golden = Golden::read(&std::fs::read(file).map_err(|error| error.to_string())?);
        let share = golden.map_err(|error| error.to_string())?.judge_reference()?;
        // Half a rounding to f32 is all that the file may differ by.
        if share < 0.1 { Ok(()) } else { Err(format!("{share} of the tolerance")) }
    };
    let wrong: Vec<_> = files.iter().filter_map(|file| judge(file).err().map(|error| (file, error))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_config_case_gives_what_it_must() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs/invalid.json"));
    let file: Value = serde_json::from_str(&text.expect("the file of the repository")).expect("JSON");
    let cases = configs::cases(&file).expect("its format");
    assert_eq!(cases.len(), 78);
    let wrong: Vec<_> = cases.iter().filter_map(|case| Some((case.name(), judge(case).err()?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn judge(case: &configs::Case) -> Result<(), String> {
    match case.judge(&case.read_layer(), None)? {
        configs::Verdict::Passed(_) => Ok(()),
        configs::Verdict::Skipped(reason) => Err(format!("skipped: {reason}")),
    }
}

/// Whether a case with this expectation of this config passes.
fn passes(expectation: Value, config: &Value) -> bool {
    let mut case = expectation;
    case["config"] = config.clone();
    let file = json!({ "cases": [case] });
    judge(&configs::cases(&file).expect("a case")[0]).is_ok()
}

#[test]
fn a_config_case_with_the_wrong_outcome_fails() {
    let good = json!({ "op": "conv", "input": [1, 4, 8, 8], "out": 4, "kernel": [3, 3] });
    let bad = json!({ "op": "conv", "input": [1, 4, 8, 8], "out": 4, "kernel": [3, 3], "stride": [0, 1] });
    let poked = json!({ "op": "conv", "input": [1, 1, 4], "out": 1, "kernel": [2], "poke": {"tensor": "input", "value": "nan", "index": 0} });
    assert!(passes(json!({ "expect": "ok", "output": [1, 4, 6, 6] }), &good));
    assert!(!passes(json!({ "expect": "ok", "output": [1, 4, 6, 7] }), &good));
    assert!(!passes(json!({ "expect": "error" }), &good));
    assert!(!passes(json!({ "expect": "propagate" }), &good));
    assert!(!passes(json!({ "expect": "error_or_ok", "output": [1, 4, 6, 7] }), &good));
    assert!(!passes(json!({ "expect": "whatever" }), &good));
    assert!(passes(json!({ "expect": "error", "field": "stride" }), &bad));
    assert!(!passes(json!({ "expect": "error", "field": "kernel" }), &bad));
    assert!(!passes(json!({ "expect": "ok", "output": [1, 4, 6, 6] }), &bad));
    assert!(!passes(json!({ "expect": "propagate" }), &bad));
    assert!(passes(json!({ "expect": "error_or_ok", "field": "stride" }), &bad));
    assert!(!passes(json!({ "expect": "error_or_ok", "field": "kernel" }), &bad));
    assert!(passes(json!({ "expect": "propagate" }), &poked));
    assert!(!passes(json!({ "expect": "ok" }), &json!({ "op": "conv", "input": [1, 1, 4], "out": 1, "kernel": [2], "more": 1 })));
}

#[test]
fn a_config_case_at_the_edge_of_numbers_is_judged() {
    let with = |changes: Value| {
        let mut config = json!({ "op": "conv", "input": [1, 4, 8, 8], "out": 4, "kernel": [3, 3] });
        for (key, value) in changes.as_object().expect("an object of the test") {
            config[key] = value.clone();
        }
        config
    };
    // Finite in f64, infinite as f32.
    assert!(passes(json!({ "expect": "propagate" }), &with(json!({ "input_fill": 3e38, "weight_fill": 3e38 }))));
    assert!(passes(json!({ "expect": "ok" }), &with(json!({ "input_fill": 3e38, "weight_fill": 3e38 }))));
    // Too much to be made, and still the wrong length.
    let huge = u64::MAX / 2;
    for (key, field) in [
        ("data_len", "input"),
        ("weight_data_len", "weight"),
        ("bias_len", "bias"),
        ("slope_len", "slope"),
        ("residual_shape", "residual"),
    ] {
        let value = if key == "residual_shape" { json!([1, 4, 6, huge]) } else { json!(huge) };
        assert!(passes(json!({ "expect": "error", "field": field }), &with(json!({ (key): value }))), "{key}");
    }
    // A step of nearly 2^64 must not wrap.
    for stride in [u64::MAX, u64::MAX / 2] {
        let config = json!({ "op": "max_pool", "input": [1, 4, 8], "kernel": [2], "stride": [stride], "ceil_mode": true });
        assert!(passes(json!({ "expect": "ok", "output": [1, 4, 1] }), &config), "{stride}");
    }
}

#[test]
fn an_unpooling_is_refused_for_its_indices_first() {
    let unpool = |indices: Value| json!({ "op": "max_unpool", "input": [1, 2, 1, 2], "kernel": [2, 2], "stride": [2, 2], "indices": indices });
    for (indices, field) in [
        (json!([0, 2, 0, 2]), "op"),
        (json!([0, 7, 7, 0]), "op"),
        (json!([0, 8, 0, 2]), "indices"),
        (json!([0, -1, 0, 2]), "indices"),
        (json!([0, 0, 0, 2]), "indices"),
        (json!([0, 1, 2]), "indices"),
        (Value::Null, "indices"),
    ] {
        let error = read(&unpool(indices.clone())).expect_err("there is no unpooling");
        assert_eq!(error.field.as_deref(), Some(field), "{indices}: {error}");
    }
    let mut sized = unpool(json!([0, 8, 0, 2]));
    sized["output_size"] = json!([3, 5]);
    assert_eq!(read(&sized).unwrap_err().field.as_deref(), Some("op"));
    sized["output_size"] = json!([3]);
    assert_eq!(read(&sized).unwrap_err().field.as_deref(), Some("output_size"));
}

fn read(config: &Value) -> Result<Problem, json::Refused> {
    config::read(&Fields::new("config", config)?, config::Defaults::default())
}

#[test]
fn a_config_is_the_problem_that_it_says() {
    for (config, line) in [
        (
            json!({ "op": "conv", "input": [1, 4, 8, 8], "out": 8, "kernel": [3, 3], "stride": [2, 1], "pad": [[1, 0], 2], "groups": 4,
                "dilation": [1, 2], "bias": true, "residual": "after", "pad_mode": "circular",
                "activation": { "kind": "clip", "max": 6 } }),
            "conv 1x4x8x8 o8 k3x3 s2x1 p1:0x2:2 circular d1x2 g4 f32 bias residual=after clamp(-inf,6)",
        ),
        (
            json!({ "op": "conv_transpose", "input": [1, 4, 8], "out": 2, "kernel": [3], "stride": [2], "output_padding": [1],
                "pad": "same_upper", "dtype": "f16", "activation": "selu" }),
            "conv_transpose 1x4x8 o2 k3 s2 same_upper op1 f16 selu",
        ),
        (
            json!({ "op": "conv", "input": [1, 4, 8], "out": 2, "kernel": [3], "auto_pad": "SAME_LOWER",
                "activation": { "kind": "leaky_relu" }, "bias": null }),
            "conv 1x4x8 o2 k3 same_lower f32 leaky_relu(0.01)",
        ),
        (
            json!({ "op": "avg_pool", "input": [1, 4, 8], "kernel": [3], "pad": [1], "ceil_mode": true, "count_include_pad": false,
                "divisor_override": 2 }),
            "avg_pool 1x4x8 k3 s1 p1 ceil f32 exclude_pad divisor=2",
        ),
        (json!({ "op": "lp_pool", "input": [1, 4, 8], "kernel": [3], "stride": [3], "p": 1.5 }), "lp_pool 1x4x8 k3 f32 norm=1.5"),
        (json!({ "op": "global_lp_pool", "input": [1, 4, 8] }), "global_lp_pool 1x4x8 f32 norm=2"),
        (json!({ "op": "adaptive_max_pool", "input": [1, 4, 8], "output_size": [3] }), "adaptive_max_pool 1x4x8 to3 f32"),
    ] {
        assert_eq!(read(&config).unwrap_or_else(|error| panic!("{line}: {error}")).to_string(), line);
    }
}

#[test]
fn a_malformed_config_is_refused_by_the_name_of_its_key() {
    let conv = json!({ "op": "conv", "input": [1, 4, 8, 8], "out": 4, "kernel": [3, 3] });
    for (key, value) in [
        ("op", json!("dense")),
        ("op", json!("big_max_pool")),
        ("op", json!("_max_pool")),
        ("op", json!(1)),
        ("op", Value::Null),
        ("input", json!("1x4x8x8")),
        ("input", json!([1, 4, 8.5, 8])),
        ("input", json!([])),
        ("out", json!([4])),
        ("out", json!(-4)),
        ("out", json!("4")),
        ("out", Value::Null),
        ("kernel", json!({})),
        ("kernel", json!([1, 1, 1, 1])),
        ("kernel", json!([3, 1e30])),
        ("stride", json!(2)),
        ("stride", json!(["2", "2"])),
        ("stride", json!(["99999999999999999999", 1])),
        ("dilation", json!([1, null])),
        ("pad", json!("some")),
        ("pad", json!([1, -1])),
        ("pad", json!([[1], [1]])),
        ("auto_pad", json!("SAME")),
        ("pad_mode", json!("mirror")),
        ("groups", json!(true)),
        ("residual", json!("between")),
        ("bias", json!("yes")),
        ("dtype", json!("int8")),
        ("activation", json!({ "kind": "step" })),
        ("activation", json!({ "alpha": 1 })),
        ("activation", json!({ "kind": "relu", "alpha": 1 })),
        ("activation", json!({ "kind": "elu", "alpha": "one" })),
        ("activation", json!({ "kind": "elu(1)" })),
        ("activation", json!(7)),
    ] {
        let mut config = conv.clone();
        config[key] = value;
        let error = read(&config).expect_err(key);
        assert_eq!(error.field.as_deref(), Some(key), "{error}");
    }
    let both = json!({ "op": "conv", "input": [1, 4, 8], "out": 4, "kernel": [3], "pad": [1], "auto_pad": "VALID" });
    assert_eq!(read(&both).unwrap_err().field.as_deref(), Some("auto_pad"));
}

/// What the reference needs of the tolerance of a golden file that is made of these parts.
fn judge_file(config: &Value, tensors: &[(&str, Dtype, Vec<usize>, &[u8])]) -> Result<f64, String> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor of the test")));
    let metadata = HashMap::from([("config".to_string(), config.to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("a file of the test");
    Golden::read(&bytes).map_err(|refused| refused.to_string())?.judge_reference()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_golden_file_with_another_value_or_shape_fails() {
    let config = json!({ "op": "avg_pool", "input": [1, 1, 3], "kernel": [1], "atol": 0.01, "rtol": 0.0 });
    let check = |config: &Value, input: [f32; 3], output: [f32; 3]| {
        let (input, output) = (bytes(&input), bytes(&output));
        let shape = vec![1, 1, 3];
        judge_file(config, &[("input", Dtype::F32, shape.clone(), &input), ("output", Dtype::F32, shape, &output)])
    };
    assert!(check(&config, [1.0, 2.0, 3.0], [1.0, 2.0, 3.005]).is_ok());
    assert!(check(&config, [1.0, 2.0, 3.0], [1.0, 2.0, 3.02]).is_err());
    assert!(check(&config, [1.0, f32::NAN, f32::INFINITY], [1.0, f32::NAN, f32::INFINITY]).is_ok());
    assert!(check(&config, [1.0, f32::NAN, 3.0], [1.0, 2.0, 3.0]).is_err());
    assert!(check(&config, [1.0, 2.0, 3.0], [1.0, f32::NAN, 3.0]).is_err());
    assert!(check(&config, [1.0, 2.0, f32::INFINITY], [1.0, 2.0, f32::NEG_INFINITY]).is_err());
    assert!(check(&config, [1.0, 2.0, 3.0], [1.0, 2.0, f32::INFINITY]).is_err());
    for (key, value) in
        [("input", json!([1, 1, 4])), ("kernel", json!([2])), ("atol", Value::Null), ("rtol", json!(-1)), ("x", json!(1))]
    {
        let mut other = config.clone();
        other[key] = value;
        assert!(check(&other, [1.0; 3], [1.0; 3]).is_err(), "{other}");
    }
    let data = bytes(&[1.0, 2.0, 3.0]);
    let input = ("input", Dtype::F32, vec![1, 1, 3], &data[..]);
    assert!(judge_file(&config, std::slice::from_ref(&input)).is_err());
    assert!(judge_file(&config, &[input.clone(), ("output", Dtype::I32, vec![1, 1, 3], &data)]).is_err());
    assert!(judge_file(&config, &[input.clone(), ("output", Dtype::F32, vec![1, 3], &data)]).is_err());
}

#[test]
fn a_golden_file_with_another_index_fails() {
    let config = json!({ "op": "max_pool", "input": [1, 1, 3], "kernel": [1], "atol": 0.0, "rtol": 0.0 });
    let data = bytes(&[1.0, 2.0, 3.0]);
    let check = |indices: [i32; 3]| {
        let indices: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        let shape = vec![1, 1, 3];
        let tensors = [("input", Dtype::F32, &data), ("output", Dtype::F32, &data), ("indices", Dtype::I32, &indices)];
        judge_file(&config, &tensors.map(|(name, dtype, data)| (name, dtype, shape.clone(), &data[..])))
    };
    assert!(check([0, 1, 2]).is_ok());
    assert!(check([0, 1, 1]).is_err());
}

#[test]
fn a_golden_file_that_is_cut_short_is_refused() {
    let whole = golden_bytes("deg-one-by-one.safetensors");
    assert!(Golden::read(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(Golden::read(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_golden_file_with_broken_bytes_does_not_panic(changes in prop::collection::vec((0..960usize, any::<u8>()), 1..6)) {
        let mut bytes = golden_bytes("deg-one-by-one.safetensors");
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(golden) = Golden::read(&bytes) {
            let _ = golden.judge_reference();
        }
    }

    #[test]
    fn a_config_of_any_values_does_not_panic(
        op in prop::sample::select(vec!["conv", "conv_transpose", "max_pool", "lp_pool", "adaptive_avg_pool", "global_max_pool", "max_unpool"]),
        changes in prop::collection::vec((
            prop::sample::select(vec![
                "input", "out", "kernel", "stride", "pad", "dilation", "groups", "output_padding", "output_size", "weight", "bias_len",
                "data_len", "slope_len", "residual_shape", "p", "divisor_override", "weight_data_len", "batch_norm", "poke", "indices",
            ]),
            prop::sample::select(vec![
                json!(0), json!(-1), json!(1.5), json!(4294967296u64), json!(u64::MAX), json!("9223372036854775807"), json!("nan"),
                json!([]), json!([0]), json!([1, 2]), json!([[1, 1], [2, 2]]), json!([1, 4, 8, 8]), json!([4294967296u64, 4294967296u64]),
                json!([2147483648u64, 1]), json!(true), json!({}), json!({ "len": 3 }), json!([[[1]]]),
                json!({ "tensor": "input", "value": "inf", "index": 7 }),
            ]),
        ), 0..4),
    ) {
        let mut config = json!({ "op": op, "input": [1, 4, 8, 8], "out": 4, "kernel": [3, 3] });
        for (key, value) in changes {
            config[key] = value;
        }
        let file = json!({ "cases": [{ "expect": "error_or_ok", "config": config }] });
        let _ = judge(&configs::cases(&file).expect("a case")[0]);
    }
}

// ======== The same material on a device ========

fn device() -> device::Device {
    let device = device::Device::open(None, Default::default(), None, false)
        .unwrap_or_else(|error| panic!("this test needs a GPU adapter: {error}"));
    eprintln!("adapter: {}", device.engine.adapter());
    device
}

/// Runs a share of the work on each core: kernels take long to compile on a software adapter.
fn all_pass<T: Sync>(list: &[T], run: impl Fn(&[T], &device::Device, &mut report::Report) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let passed: Vec<_> = std::thread::scope(|scope| {
        let work = |share| {
            let run = &run;
            scope.spawn(move || {
                let mut report = report::Report::new(list.len());
                // A device of its own: a software adapter compiles on the one thread of its queue.
                run(share, &device(), &mut report);
                report.finish(None, None)
            })
        };
        let threads: Vec<_> = list.chunks(list.len().div_ceil(threads)).map(work).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(passed.iter().all(|passed| *passed), "see the listing");
}

#[test]
fn every_algorithm_agrees_with_every_golden_file_it_accepts() {
    all_pass(&golden_files(), |files, device, report| golden::run(files, Some(device), report));
}

#[test]
fn every_config_case_gives_what_it_must_on_the_device() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs/invalid.json"));
    let file: Value = serde_json::from_str(&text.expect("the file of the repository")).expect("JSON");
    let cases = configs::cases(&file).expect("its format");
    all_pass(&cases, |cases, device, report| configs::run(cases, Some(device), report));
}
