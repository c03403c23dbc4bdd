//! Texts of libFuzzer's making, as tuning tables.

#![no_main]

#[allow(dead_code, reason = "the other targets use the rest")]
#[path = "../texts.rs"]
mod texts;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| texts::table(bytes));
