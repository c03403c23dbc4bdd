//! A long run holds its memory. A process of its own, because it measures the process.

#![cfg(target_os = "linux")] // where a process can read its own size without a dependency

use wgconv::{ConvDesc, Engine, EngineDesc, TensorDesc, Weights};

/// Bytes of this process that are in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("its second number");
    pages * 4096
}

#[test]
fn two_thousand_runs_with_new_inputs_take_no_more_memory_than_two_hundred() {
    let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("this test needs a GPU adapter: {error}"));
    let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(8, 8, [3, 3]) };
    let input = TensorDesc::f32(&[1, 8, 64, 64]);
    let kernel = vec![0.1; 8 * 8 * 9];
    let conv = engine.conv(&desc, &input, Weights { kernel: &kernel, ..Default::default() }).unwrap();
    let mut image = vec![0.0; 8 * 64 * 64];
    let mut run = |count: usize| {
        for number in 0..count {
            image[number % 4096] = number as f32;
            let x = engine.upload(&image, &input).unwrap();
            conv.run(&x).unwrap().to_vec::<f32>().unwrap();
        }
        resident_bytes()
    };
    let before = run(200);
    let after = run(2000);
    // Leaked inputs alone would take 260 MB.
    assert!(after < before + (32 << 20), "{before} bytes, then {after}");
}
