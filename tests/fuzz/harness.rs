//! Mutations of a corpus without libFuzzer: always the same from one seed, for a bounded time.
//!
//! `WGCONV_FUZZ_SECONDS` says how long, `WGCONV_FUZZ_SEED` begins elsewhere, `WGCONV_FUZZ_FIRST` at a later mutation, and
//! `WGCONV_FUZZ_LAST` names a file for each mutation's bytes, for when the process is killed.

use std::time::{Duration, Instant};

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

    pub fn pick<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }
}

/// One to eight changes of bytes. `extremes` are what is hard on whoever reads them.
pub fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], extremes: &[&[u8]], random: &mut Random) {
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
                let other = random.pick(corpus);
                let from = random.below(other.len().max(1)).min(other.len());
                let end = (from + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            7 => bytes[at] = random.below(8) as u8,
            _ => {
                let extreme = *random.pick(extremes);
                bytes.splice(at..at + 1, extreme.iter().copied());
            }
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Exercises bytes, and says which they were if it takes long.
pub fn within_seconds(bytes: &[u8], exercise: fn(&[u8])) {
    let start = Instant::now();
    exercise(bytes);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?} for {:?}", start.elapsed(), String::from_utf8_lossy(bytes));
}

/// Exercises what `make` makes, of the mutation's number and a stream of its own, for a `part` of the time that is to be spent; how
/// many there were.
pub fn run(part: u32, make: impl Fn(u64, &mut Random) -> Vec<u8>, exercise: fn(&[u8])) -> u64 {
    let time = Duration::from_secs(number("WGCONV_FUZZ_SECONDS", 20)) / part;
    let last = std::env::var_os("WGCONV_FUZZ_LAST");
    let (start, mut count) = (Instant::now(), number("WGCONV_FUZZ_FIRST", 0));
    let seed = number("WGCONV_FUZZ_SEED", 1);
    while start.elapsed() < time {
        let bytes = make(count, &mut Random(seed.wrapping_mul(1 << 32).wrapping_add(count)));
        // A process that is killed says nothing: what it was doing is in this file then.
        if let Some(file) = &last {
            std::fs::write(file, &bytes).expect("a file to write");
        }
        let panicked = std::panic::catch_unwind(|| within_seconds(&bytes, exercise)).is_err();
        assert!(!panicked, "seed {seed}, mutation {count}: {bytes:?}, as text {:?}", String::from_utf8_lossy(&bytes));
        count += 1;
    }
    assert!(count > 100, "only {count} mutations in {time:?}");
    count
}
