//! The importer on mutations of the models in `tests/onnx`: always the same from one seed, for a bounded time. See `tests/fuzz`.

#[path = "fuzz/exercise.rs"]
mod exercise;
#[allow(dead_code)] // not all of the messages' fields are mutated
#[path = "../src/onnx/proto.rs"]
mod proto;
#[path = "fuzz/structure.rs"]
mod structure;

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;

/// A splitmix64 stream.
pub struct Random(u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below a bound that is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }
}

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

/// One to eight changes.
fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(9) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.draw() as u8,
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes.truncate(at),
            4 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let chunk = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, chunk);
            }
            6 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len().max(1)).min(other.len());
                let end = (from + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            7 => bytes[at] = random.below(8) as u8,
            _ => {
                let extreme = EXTREMES[random.below(EXTREMES.len())];
                bytes.splice(at..at + 1, extreme.iter().copied());
            }
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Exercises bytes, and says which they were if it takes long.
fn within_seconds(bytes: &[u8]) {
    let start = Instant::now();
    exercise::exercise(bytes);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?} for {bytes:?}", start.elapsed());
}

#[test]
fn mutations_of_models_are_models_or_errors() {
    let corpus = corpus();
    let models: Vec<proto::Model> = corpus.iter().filter_map(|bytes| proto::Model::decode(bytes.as_slice()).ok()).collect();
    let models: Vec<proto::Model> = models.into_iter().filter(|model| model.graph.is_some()).collect();
    let parts = structure::Parts::of(&models);
    let seconds = Duration::from_secs(number("WGCONV_FUZZ_SECONDS", 20));
    let last = std::env::var_os("WGCONV_FUZZ_LAST");
    let (start, mut count) = (Instant::now(), number("WGCONV_FUZZ_FIRST", 0));
    let seed = number("WGCONV_FUZZ_SEED", 1);
    while start.elapsed() < seconds {
        let mut random = Random(seed.wrapping_mul(1 << 32).wrapping_add(count));
        let bytes = if count % 2 == 0 {
            let mut bytes = corpus[random.below(corpus.len())].clone();
            mutate(&mut bytes, &corpus, &mut random);
            bytes
        } else {
            let mut model = models[random.below(models.len())].clone();
            structure::mutate(&mut model, &parts, &mut random);
            model.encode_to_vec()
        };
        // A process that is killed says nothing: what it was doing is in this file then.
        if let Some(file) = &last {
            std::fs::write(file, &bytes).expect("a file to write");
        }
        let panicked = std::panic::catch_unwind(|| within_seconds(&bytes)).is_err();
        assert!(!panicked, "seed {seed}, mutation {count}: {bytes:?}");
        count += 1;
    }
    println!("{count} mutations of {} files, {} models", corpus.len(), models.len());
    assert!(count > 100, "only {count} mutations in {seconds:?}");
}

#[test]
fn files_that_end_early_are_errors() {
    let corpus = corpus();
    for bytes in corpus.iter().step_by(7) {
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 50) {
            within_seconds(&bytes[..end]);
        }
    }
}
