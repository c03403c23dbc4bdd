//! The importer on mutations of the models in `tests/onnx`: always the same from one seed, for a bounded time. See `tests/fuzz`.

#[path = "fuzz/exercise.rs"]
mod exercise;
#[path = "fuzz/harness.rs"]
mod harness;
#[allow(dead_code)] // not all of the messages' fields are mutated
#[path = "../src/onnx/proto.rs"]
mod proto;
#[path = "fuzz/structure.rs"]
mod structure;

use std::path::Path;

use prost::Message;

pub use harness::Random;

/// The models and tensors below a folder.
fn corpus() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                // Models are what there is most to break in.
                Some("onnx") => files.extend([path.clone(), path.clone(), path]),
                Some("pb") => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a file of the repository")).filter(|bytes| bytes.len() < 5000).collect()
}

/// Numbers that are hard on whoever counts.
const EXTREMES: [&[u8]; 6] = [
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // -1
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],       // the greatest i64
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], // the least i64
    &[0xff, 0xff, 0xff, 0xff, 0x07],                               // the greatest i32
    &[0x80, 0x80, 0x40],                                           // 2^20
    &[0x00],
];

#[test]
fn mutations_of_models_are_models_or_errors() {
    let corpus = corpus();
    let models: Vec<proto::Model> = corpus.iter().filter_map(|bytes| proto::Model::decode(bytes.as_slice()).ok()).collect();
    let models: Vec<proto::Model> = models.into_iter().filter(|model| model.graph.is_some()).collect();
    let parts = structure::Parts::of(&models);
    let make = |count: u64, random: &mut Random| {
        if count.is_multiple_of(2) {
            let mut bytes = random.pick(&corpus).clone();
            harness::mutate(&mut bytes, &corpus, &EXTREMES, random);
            bytes
        } else {
            let mut model = random.pick(&models).clone();
            structure::mutate(&mut model, &parts, random);
            model.encode_to_vec()
        }
    };
    let count = harness::run(1, make, exercise::exercise);
    println!("{count} mutations of {} files, {} models", corpus.len(), models.len());
}

#[test]
fn files_that_end_early_are_errors() {
    let corpus = corpus();
    for bytes in corpus.iter().step_by(7) {
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 50) {
            harness::within_seconds(&bytes[..end], exercise::exercise);
        }
    }
}
