//! ONNX's backend tests, by the modules of the program `verify`: a selection that lies in the repository, and all of them where the
//! conformance folder is present. Hostile files are in `onnx_hostile.rs` and `onnx_fuzz.rs`.

#![allow(dead_code)] // the program uses the rest of its modules

#[path = "../examples/support/numbers.rs"]
mod numbers;
#[path = "../examples/verify/onnx_case.rs"]
mod onnx_case;
#[path = "../examples/verify/onnx_recipe.rs"]
mod onnx_recipe;
#[path = "../examples/verify/onnx_run.rs"]
mod onnx_run;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use onnx_case::{Case, Verdict};
use wgconv::{Engine, EngineDesc, ErrorKind, Graph, Value};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// By the reference, which binding runs.
fn run(graph: &Graph, inputs: &[Value]) -> wgconv::Result<Vec<Value>> {
    onnx_run::by_reference(graph, inputs)
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("{error}"));
        println!("{}", engine.adapter());
        engine
    })
}

/// By the device.
fn run_on_device(graph: &Graph, inputs: &[Value]) -> wgconv::Result<Vec<Value>> {
    onnx_run::on_device(engine(), graph, inputs)
}

/// The cases that are scored and do not pass, by the reference or by the device, with their verdicts.
fn misses(cases: &[Case]) -> Vec<(String, Verdict)> {
    let judged = cases.iter().flat_map(|case| {
        let name = |way: &str| format!("{} {way}", case.name);
        [(name("by the reference"), case.judge(&run)), (name("by the device"), case.judge(&run_on_device))]
    });
    judged.filter(|(_, verdict)| matches!(verdict, Verdict::Fail(_) | Verdict::Unsupported(_))).collect()
}

#[test]
fn the_selection_in_the_repository_passes() {
    let cases = onnx_case::find(&[repository("tests/onnx")]).expect("the files of the repository");
    assert!(cases.len() > 130, "{} cases", cases.len());
    let misses = misses(&cases);
    assert!(misses.is_empty(), "{misses:#?}");
}

#[test]
fn all_of_the_conformance_folder_passes() {
    let folder = repository("../shared/conformance/onnx");
    if !folder.is_dir() {
        return eprintln!("{} is not present: nothing is judged", folder.display());
    }
    let mut cases = onnx_case::find(&[folder]).expect("the folder's cases");
    assert!(cases.len() > 800, "{} cases", cases.len());
    cases.retain(|case| case.tier != "network");
    let misses = misses(&cases);
    assert!(misses.is_empty(), "{misses:#?}");
}

#[test]
fn a_wrong_output_is_seen() {
    let cases = onnx_case::find(&[
        repository("tests/onnx/node/test_reciprocal_example"),
        repository("tests/onnx/node/test_argmax_default_axis_example"),
    ]);
    for case in cases.expect("the files of the repository") {
        assert!(matches!(case.judge(&run), Verdict::Pass(_)), "{}", case.name);
        let off = |graph: &Graph, inputs: &[Value]| {
            let outputs = run(graph, inputs)?;
            outputs.iter().map(changed).collect()
        };
        assert!(matches!(case.judge(&off), Verdict::Fail(_)), "{}", case.name);
        let missing = |_: &Graph, _: &[Value]| Ok(Vec::new());
        assert!(matches!(case.judge(&missing), Verdict::Fail(_)), "{}", case.name);
    }
}

/// The value with its last element changed by little.
fn changed(value: &Value) -> wgconv::Result<Value> {
    match value.element().is_float() {
        true => {
            let mut list = value.to_f32();
            list.last_mut().into_iter().for_each(|last| *last = *last * 1.01 + 1e-3);
            Value::new(value.shape(), list)
        }
        false => {
            let mut list: Vec<i64> = value.to_i128().into_iter().map(|value| value as i64).collect();
            list.last_mut().into_iter().for_each(|last| *last += 1);
            Value::new(value.shape(), list)
        }
    }
}

#[test]
fn recipes_are_the_streams_that_they_say() {
    let json = br#"{"seed": "20260101", "input": {"name": "data_0", "shape": [2], "lo": -1.0, "hi": 1.0},
        "parameters": [{"name": "w", "shape": [1, 3], "lo": 0.0, "hi": 1.0}]}"#;
    let recipe = onnx_recipe::Recipe::read(json).expect("a recipe");
    assert_eq!(recipe.parameter("v"), None);
    let weights = recipe.parameter("w").expect("a parameter").to_f32();
    assert!(weights.iter().all(|weight| (0.0..1.0).contains(weight)), "{weights:?}");
    let folder = repository("../shared/conformance/light-reseeded/squeezenet");
    if let (Ok(recipe), Ok(input)) =
        (std::fs::read(folder.join("recipe.json")), std::fs::read(folder.join("test_data_set_0/input_0.pb")))
    {
        let recipe = onnx_recipe::Recipe::read(&recipe).expect("a recipe");
        assert_eq!(recipe.input(), wgconv::onnx::tensor(&input).expect("a tensor"));
    }
    for broken in
        ["", "{}", r#"{"seed": "1", "input": {"name": "x", "shape": [9000000000, 9], "lo": 0, "hi": 1}, "parameters": []}"#]
    {
        assert!(onnx_recipe::Recipe::read(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn a_model_that_is_not_there_is_an_error() {
    let error = wgconv::onnx::load(repository("tests/onnx/none.onnx")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("none.onnx"), "{error}");
}
