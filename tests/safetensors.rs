//! `.safetensors` files to values, and what becomes of damaged ones.

use std::collections::HashMap;

use proptest::prelude::*;
use safetensors::{Dtype, serialize, tensor::TensorView};
use wgconv::{ErrorKind, Value, safetensors as format};

type Entry<'a> = (&'a str, Dtype, Vec<usize>, &'a [u8]);

fn file(entries: &[Entry], metadata: &[(&str, &str)]) -> Vec<u8> {
    let views = entries.iter().map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let metadata: HashMap<String, String> = metadata.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
    serialize(views, Some(metadata)).unwrap()
}

#[test]
fn every_element_type_is_read_with_names_shapes_and_metadata() {
    let bytes: Vec<u8> = (0..24).map(|byte| byte * 7).collect();
    let types = [
        (Dtype::F32, "2x3 f32"),
        (Dtype::F64, "3 f64"),
        (Dtype::F16, "3x4 f16"),
        (Dtype::BF16, "12 bf16"),
        (Dtype::I8, "24 i8"),
        (Dtype::I16, "12 i16"),
        (Dtype::I32, "6 i32"),
        (Dtype::I64, "3 i64"),
        (Dtype::U8, "2x12 u8"),
        (Dtype::U16, "12 u16"),
        (Dtype::U32, "6 u32"),
        (Dtype::U64, "3 u64"),
    ];
    for (dtype, text) in types {
        let shape: Vec<usize> = text.split(' ').next().unwrap().split('x').map(|size| size.parse().unwrap()).collect();
        let read = format::read(&file(&[("layer.weight", dtype, shape, &bytes)], &[("format", "pt")])).unwrap();
        assert_eq!(read.tensor("layer.weight").unwrap().to_string(), text);
        assert_eq!(read.metadata["format"], "pt");
    }
    let halves: Vec<u8> = [half::f16::from_f32(-1.5), half::f16::INFINITY].iter().flat_map(|half| half.to_le_bytes()).collect();
    let read = format::read(&file(
        &[
            ("half", Dtype::F16, vec![2], &halves),
            ("long", Dtype::I64, vec![1], &(-5i64).to_le_bytes()),
            ("truth", Dtype::BOOL, vec![3, 1], &[1, 0, 1]),
            ("none", Dtype::F32, vec![0, 7], &[]),
            ("scalar", Dtype::F32, vec![], &2.5f32.to_le_bytes()),
        ],
        &[],
    ))
    .unwrap();
    assert_eq!(read.tensor("half").unwrap().to_f64(), [-1.5, f64::INFINITY]);
    assert_eq!(read.tensor("long").unwrap(), &Value::list(&[-5]));
    assert_eq!(read.tensor("truth").unwrap().as_slice::<bool>().unwrap(), [true, false, true]);
    assert_eq!(read.tensor("none").unwrap().shape(), [0, 7]);
    assert_eq!(read.tensor("scalar").unwrap(), &Value::scalar(2.5f32));
    let missing = read.tensor("bias").unwrap_err();
    assert_eq!(missing.to_string(), "invalid tensor: `bias` is not in the file; there is half, long, none, scalar, truth");
}

#[test]
fn what_cannot_be_read_is_refused_with_file_tensor_and_rule() {
    let error = format::read(&file(&[("scales", Dtype::F8_E4M3, vec![2], &[0, 1])], &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("tensor `scales`") && error.message().contains("F8_E4M3"), "{error}");
    let error = format::read(&file(&[("mask", Dtype::BOOL, vec![2], &[0, 2])], &[])).unwrap_err();
    assert!(error.message().contains("tensor `mask`") && error.message().contains("0 or 1"), "{error}");

    let path = std::env::temp_dir().join(format!("wgconv-{}.safetensors", std::process::id()));
    std::fs::write(&path, b"not this").unwrap();
    let error = format::load(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains(&path.display().to_string()), "{error}");
    let error = format::load(&path).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains(&path.display().to_string()), "{error}");
    assert_eq!(format::load(std::env::temp_dir()).unwrap_err().kind(), ErrorKind::Invalid);
}

/// A header of these bytes that says it is `length` bytes long, and `data` behind it.
fn raw(length: u64, header: &str, data: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn headers_that_lie_are_refused_and_nothing_is_allocated_for_them() {
    let header = |shape: &str, end: u64| format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    let lies = [
        raw(u64::MAX, "{}", &[]),
        raw(1 << 40, "{}", &[]),
        raw(99_000_000, "{}", &[]),
        raw(2, "[]", &[]),
        raw(0, "", &[]),
        Vec::new(),
        vec![1, 2, 3],
    ];
    for bytes in lies {
        assert_eq!(format::read(&bytes).unwrap_err().kind(), ErrorKind::Invalid);
    }
    for (shape, end) in [
        ("[1099511627776]", 4u64),
        ("[4294967296,4294967296,4294967296]", 4),
        ("[18446744073709551615]", 4),
        ("[1]", 1 << 50),
        ("[2]", 4),
        ("[-1]", 4),
        ("[1.5]", 4),
    ] {
        let text = header(shape, end);
        let error = format::read(&raw(text.len() as u64, &text, &[0; 4])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{shape}");
    }
    let honest = header("[1]", 4);
    assert!(format::read(&raw(honest.len() as u64, &honest, &[0; 4])).is_ok());
}

fn small() -> Vec<u8> {
    file(
        &[
            ("a", Dtype::F32, vec![2, 3], &[1; 24]),
            ("b", Dtype::BOOL, vec![4], &[0, 1, 1, 0]),
            ("c", Dtype::I64, vec![1], &[3; 8]),
        ],
        &[("key", "text")],
    )
}

#[test]
fn a_file_that_is_cut_short_is_refused_at_every_length() {
    let whole = small();
    assert_eq!(format::read(&whole).unwrap().tensors.len(), 3);
    for length in 0..whole.len() {
        assert!(format::read(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_with_broken_bytes_is_read_or_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = small();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = format::read(&bytes) {
            // Offsets that overlap or leave gaps are refused, so no tensor is larger than the file.
            let total: usize = read.tensors.values().map(|value| value.len() * value.element().bytes()).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
