//! Texts of libFuzzer's making, as problem lines.

#![no_main]

#[allow(dead_code, reason = "the other targets use the rest")]
#[path = "../texts.rs"]
mod texts;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| texts::line(bytes));
