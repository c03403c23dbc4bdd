//! Models that are broken, or made to do harm, and models that ask for what is not there: an error, at once, that says all of it.

#![allow(dead_code)] // not all of the messages' fields are needed

#[path = "../src/onnx/proto.rs"]
mod proto;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message;
use proto::{Attribute, Dimension, Entry, Function, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, ValueInfo};
use wgconv::{Bindings, ErrorKind, Graph, Value, onnx};

fn value_info(name: &str, dims: &[i64]) -> ValueInfo {
    let dim = dims.iter().map(|&size| Dimension { dim_value: Some(size), dim_param: None }).collect();
    let tensor_type = Some(TensorType { elem_type: 1, shape: Some(Shape { dim }) });
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type, ..Default::default() }) }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<Attribute>) -> Node {
    let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    Node { op_type: op.into(), input: list(inputs), output: list(outputs), attribute, ..Default::default() }
}

fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), kind: 2, ..Default::default() }
}

fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(value), kind: 1, ..Default::default() }
}

fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), s: Some(value.as_bytes().to_vec().into()), kind: 3, ..Default::default() }
}

fn opset(domain: &str, version: i64) -> OperatorSet {
    OperatorSet { domain: domain.into(), version }
}

/// A model from `x` of `[2, 3]` to `y`.
fn model(version: i64, node: Vec<Node>) -> Model {
    let graph = proto::Graph {
        node,
        name: "test".into(),
        input: vec![value_info("x", &[2, 3])],
        output: vec![value_info("y", &[2, 3])],
        ..Default::default()
    };
    Model { ir_version: 8, graph: Some(graph), opset_import: vec![opset("", version)], functions: Vec::new() }
}

fn import(model: &Model) -> wgconv::Result<Graph> {
    let start = Instant::now();
    let result = onnx::from_bytes(&model.encode_to_vec());
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    result
}

/// The error of a model, which must be of this kind and say all of this.
fn check_error(model: &Model, kind: ErrorKind, parts: &[&str]) {
    let error = import(model).expect_err("an error");
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{part:?} is not in: {error}");
    }
}

/// The numbers of `y` for `x` of 0 to 5.
fn numbers(graph: &Graph) -> Vec<f32> {
    let x = Value::new(&[2, 3], (0..6).map(|value| value as f32).collect::<Vec<_>>()).expect("a value");
    let bound = graph.bind(&Bindings { fixed: vec![("x".into(), x)], ..Default::default() }).expect("a graph");
    bound.constant_output("y").expect("a constant").to_f32()
}

#[test]
fn everything_that_is_not_supported_stands_in_one_report() {
    let mut named = node("Loop", &["", "", "x"], &["a"], vec![]);
    named.name = "repeat".into();
    let nodes = vec![
        named,
        node(
            "If",
            &["x"],
            &["b"],
            vec![Attribute { name: "then_branch".into(), g: Some(vec![].into()), kind: 5, ..Default::default() }],
        ),
        node("Conv", &["x", "x"], &["c"], vec![text("auto_pad", "SAME"), int("colour", 3)]),
        node("Relu", &["x"], &["y"], vec![]),
        Node { domain: "com.example".into(), ..node("Blur", &["x"], &["d"], vec![]) },
    ];
    check_error(
        &model(13, nodes),
        ErrorKind::Unsupported,
        &[
            "node `repeat` (Loop, opset 13): the operator is not supported: it runs subgraphs",
            "node of `b` (If, opset 13): ",
            "node of `c` (Conv, opset 13): attribute auto_pad = \"SAME\" is not one of NOTSET, SAME_UPPER, SAME_LOWER, VALID",
            "node of `c` (Conv, opset 13): attribute colour = 3 is not known in this opset",
            "node of `d` (com.example.Blur, opset 13): domain `com.example` is not supported",
        ],
    );
}

#[test]
fn attributes_and_operators_belong_to_their_opsets() {
    check_error(&model(13, vec![node("Squeeze", &["x"], &["y"], vec![int("axes", 0)])]), ErrorKind::Unsupported, &["axes = 0"]);
    check_error(&model(13, vec![node("Gelu", &["x"], &["y"], vec![])]), ErrorKind::Invalid, &["from opset 20 on"]);
    check_error(&model(99, vec![node("Relu", &["x"], &["y"], vec![])]), ErrorKind::Unsupported, &["99 is newer than 28"]);
    check_error(&model(0, vec![node("Relu", &["x"], &["y"], vec![])]), ErrorKind::Invalid, &["0 is not at least 1"]);
    check_error(&model(13, vec![node("Flatten", &["x"], &["y"], vec![float("axis", 1.0)])]), ErrorKind::Invalid, &["type float"]);
    let twice = node("Flatten", &["x"], &["y"], vec![int("axis", 1), int("axis", 0)]);
    check_error(&model(13, vec![twice]), ErrorKind::Invalid, &["axis is given twice"]);
    check_error(&model(13, vec![node("Add", &["x"], &["y"], vec![])]), ErrorKind::Invalid, &["has 1 inputs, but takes 2"]);
}

#[test]
fn names_that_lead_nowhere_are_named() {
    check_error(&model(13, vec![]), ErrorKind::Invalid, &["output `y`: is never computed"]);
    let later = vec![node("Relu", &["z"], &["y"], vec![]), node("Relu", &["x"], &["z"], vec![])];
    check_error(&model(13, later), ErrorKind::Invalid, &["node of `y` (Relu, opset 13): input `z` is not computed before it"]);
    let twice = vec![node("Relu", &["x"], &["y"], vec![]), node("Relu", &["x"], &["y"], vec![])];
    check_error(&model(13, twice), ErrorKind::Invalid, &["output `y` is computed already"]);
    let mut inputs = model(13, vec![node("Relu", &["x"], &["y"], vec![])]);
    inputs.graph.as_mut().expect("a graph").input.push(value_info("x", &[1]));
    check_error(&inputs, ErrorKind::Invalid, &["input `x`: is given twice"]);
    check_error(&Model::default(), ErrorKind::Invalid, &["has no graph"]);
    let mut silent = model(13, vec![]);
    silent.graph.as_mut().expect("a graph").output.clear();
    check_error(&silent, ErrorKind::Invalid, &["graph: has no outputs"]);
}

#[test]
fn giant_shapes_take_no_memory() {
    for dims in [vec![1 << 40], vec![i64::MAX, i64::MAX], vec![1 << 31, 1 << 31, 0, 1 << 31], vec![-5]] {
        let mut model = model(13, vec![node("Relu", &["x"], &["y"], vec![])]);
        let tensor = Tensor { name: "w".into(), dims: dims.clone(), data_type: 1, ..Default::default() };
        model.graph.as_mut().expect("a graph").initializer.push(tensor);
        let empty = dims.contains(&0);
        assert_eq!(import(&model).is_ok(), empty, "{dims:?}");
    }
    let giant = Tensor { dims: vec![1 << 40], data_type: 1, raw_data: Some(vec![0; 4].into()), ..Default::default() };
    assert!(onnx::tensor(&giant.encode_to_vec()).is_err());
    // A shape that is only declared is refused when the graph is bound.
    let mut declared = model(13, vec![node("Relu", &["x"], &["y"], vec![])]);
    declared.graph.as_mut().expect("a graph").input = vec![value_info("x", &[1 << 40, 1 << 40])];
    assert!(import(&declared).expect("a graph").bind(&Bindings::default()).is_err());
}

#[test]
fn functions_take_the_place_of_their_calls() {
    let scaled = Function {
        name: "Scaled".into(),
        domain: "test".into(),
        input: vec!["a".into(), "b".into()],
        output: vec!["c".into()],
        attribute: vec!["slope".into()],
        node: vec![
            node("LeakyRelu", &["a"], &["r"], vec![Attribute { ref_attr_name: "slope".into(), ..float("alpha", 0.0) }]),
            node("Add", &["r", "b"], &["c"], vec![]),
        ],
        opset_import: vec![opset("", 16)],
        ..Default::default()
    };
    let calls = vec![
        node("Neg", &["x"], &["n"], vec![]),
        Node { domain: "test".into(), ..node("Scaled", &["n", "x"], &["m"], vec![float("slope", 0.5)]) },
        Node { domain: "test".into(), ..node("Scaled", &["m", "m"], &["y"], vec![]) },
    ];
    let mut model = model(13, calls);
    model.functions.push(scaled);
    // -x/2 + x, and twice that.
    assert_eq!(numbers(&import(&model).expect("a graph")), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn calls_without_end_are_an_error() {
    let calls = |name: &str| Node { domain: "test".into(), ..node(name, &["a"], &["b"], vec![]) };
    let function = |name: &str, node: Vec<Node>| Function {
        name: name.into(),
        domain: "test".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node,
        opset_import: vec![opset("", 13)],
        ..Default::default()
    };
    let call = |function: &str| Node { domain: "test".into(), ..node(function, &["x"], &["y"], vec![]) };
    let mut itself = model(13, vec![call("F")]);
    itself.functions = vec![function("F", vec![calls("F"), calls("F")])];
    check_error(&itself, ErrorKind::Invalid, &["deeper than 32"]);
    // Twenty levels that each call the next a hundred times.
    let mut many = model(13, vec![call("F0")]);
    let level = |level: usize| {
        let body = (0..100).map(|at| {
            let mut node = if level < 20 { calls(&format!("F{}", level + 1)) } else { node("Relu", &["a"], &[""], vec![]) };
            node.output = vec![if at == 99 { "b".into() } else { format!("b{at}") }];
            node
        });
        function(&format!("F{level}"), body.collect())
    };
    many.functions = (0..=20).map(level).collect();
    check_error(&many, ErrorKind::Invalid, &["repeat more than"]);
}

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx_hostile").join(name);
    std::fs::create_dir_all(folder.join("inner")).expect("a folder");
    folder
}

/// A model that adds to `x` the three floats that these entries describe.
fn with_external(entries: &[(&str, &str)]) -> Model {
    let mut model = model(13, vec![node("Add", &["x", "w"], &["y"], vec![])]);
    let external_data = entries.iter().map(|(key, value)| Entry { key: key.to_string(), value: value.to_string() }).collect();
    let tensor = Tensor { name: "w".into(), dims: vec![3], data_type: 1, external_data, data_location: 1, ..Default::default() };
    model.graph.as_mut().expect("a graph").initializer.push(tensor);
    model
}

#[test]
fn external_data_is_read_from_the_models_folder() {
    let folder = folder("read");
    let bytes: Vec<u8> = [9.0f32, 1.0, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(folder.join("inner/weights.bin"), bytes).expect("a file");
    let model = with_external(&[("location", "inner/weights.bin"), ("offset", "4"), ("length", "12")]);
    let path = folder.join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("a file");
    assert_eq!(numbers(&onnx::load(&path).expect("a graph")), [1.0, 3.0, 5.0, 4.0, 6.0, 8.0]);
    check_error(&model, ErrorKind::Invalid, &["initialiser `w`", "inner/weights.bin", "given as bytes"]);
    // Values of the caller's own need no file.
    let replaced = onnx::load_with(&path, |name| (name == "w").then(|| Value::scalar(1.0f32))).expect("a graph");
    assert_eq!(numbers(&replaced), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn data_that_many_tensors_share_is_not_read_any_number_of_times() {
    let folder = folder("share");
    std::fs::write(folder.join("weights.bin"), [0; 12]).expect("a file");
    let mut model = with_external(&[("location", "weights.bin")]);
    let graph = model.graph.as_mut().expect("a graph");
    for copy in 0..4 {
        let tensor = Tensor { name: format!("w{copy}"), ..graph.initializer[0].clone() };
        graph.initializer.push(tensor);
    }
    let path = folder.join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("a file");
    let error = onnx::load(&path).expect_err("an error");
    assert!(error.message().starts_with("initialiser `w3`: external_data is in the file `weights.bin`, which other"), "{error}");
}

#[test]
fn a_file_of_empty_messages_is_refused_before_it_is_decoded() {
    let mut model = model(13, vec![node("Relu", &["x"], &["y"], vec![])]);
    model.graph.as_mut().expect("a graph").node = vec![Node::default(); 1 << 18];
    check_error(&model, ErrorKind::Invalid, &["bytes of messages"]);
    model.graph.as_mut().expect("a graph").node = vec![Node::default(); 10_000];
    model.graph.as_mut().expect("a graph").name = "long".repeat(10_000);
    check_error(&model, ErrorKind::Invalid, &["and 9001 more"]);
}

#[test]
fn external_data_elsewhere_is_refused() {
    let folder = folder("refuse");
    std::fs::write(folder.join("secret.bin"), [0; 12]).expect("a file");
    std::fs::write(folder.join("inner/short.bin"), [0; 11]).expect("a file");
    let absolute = folder.join("secret.bin").display().to_string();
    #[cfg(unix)]
    {
        let _ = std::fs::remove_file(folder.join("inner/link.bin"));
        std::os::unix::fs::symlink(folder.join("secret.bin"), folder.join("inner/link.bin")).expect("a link");
    }
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[("location", "../secret.bin")], "outside of the model's folder"),
        (&[("location", "a/../../secret.bin")], "outside of the model's folder"),
        (&[("location", &absolute)], "outside of the model's folder"),
        (&[("location", "..\\secret.bin")], "outside of the model's folder"),
        (&[("location", "")], "outside of the model's folder"),
        (&[("location", "none.bin")], "cannot be opened"),
        (&[("location", "short.bin")], "which has 11 bytes"),
        (&[("location", "short.bin"), ("offset", "18446744073709551615")], "which has 11 bytes"),
        (&[("offset", "0")], "has no location"),
    ];
    let path = folder.join("inner/model.onnx");
    let check = |entries: &[(&str, &str)], what: &str| {
        std::fs::write(&path, with_external(entries).encode_to_vec()).expect("a file");
        let error = onnx::load(&path).expect_err("an error");
        assert!(error.message().contains(what), "{what:?} is not in: {error}");
    };
    cases.iter().for_each(|(entries, what)| check(entries, what));
    if cfg!(unix) {
        check(&[("location", "link.bin")], "outside of the model's folder");
    }
}
