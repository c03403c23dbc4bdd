//! The house has one direction of dependency: each module uses only modules below it. This reads the `use crate::` lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules from the top down. What stands in one row may not know each other.
const LAYERS: &[&[&str]] = &[
    &["multi", "tiles"],
    &["array", "network", "onnx", "safetensors"],
    &["verify"],
    &["engine"],
    &["tune"],
    &["trial"],
    &["layer"],
    &["tensor"],
    &["gpu"],
    &["files"],
    // Below this line: no wgpu, no I/O, no clock, no async.
    &["passes"],
    &["graph"],
    &["operation"],
    &["algorithm"],
    &["kernel"],
    &["limits", "reference"],
    &["weights"],
    &["geometry"],
    &["problem"],
    &["desc"],
    &["activation", "image", "tensor_desc", "value"],
    &["spatial", "layout", "parallel", "problems", "recent"],
    &["error"],
];

fn row(module: &str) -> usize {
    let found = LAYERS.iter().position(|row| row.contains(&module));
    found.unwrap_or_else(|| panic!("src/{module}.rs has no place in the layers of tests/layers.rs"))
}

/// A file itself, or all files in a folder.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.into()];
    }
    let entries = std::fs::read_dir(path).expect("a folder can be listed");
    entries.flat_map(|entry| files(&entry.expect("it too").path())).collect()
}

/// Every module of `src` with its text, tests left out.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(root).expect("src exists") {
        let path = entry.expect("src can be listed").path();
        let module = path.file_stem().expect("an entry of src has a name").to_string_lossy().into_owned();
        for file in files(&path) {
            let text = std::fs::read_to_string(&file).expect("a source file can be read");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_string();
            if module != "lib" {
                sources.push((module.clone(), code));
            }
        }
    }
    assert!(sources.len() > 20);
    sources
}

/// The modules that a text names behind `crate::`, in code and not in comments.
fn uses(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let names = code
        .split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_string());
    names.filter(|name| name.starts_with(|c: char| c.is_lowercase())).collect()
}

#[test]
fn every_module_uses_only_modules_below_it() {
    for (module, text) in sources() {
        for used in uses(&text).into_iter().filter(|used| *used != module) {
            let allowed = row(&used) > row(&module);
            assert!(allowed, "{module} uses {used}, which does not stand below it");
        }
    }
}

#[test]
fn only_the_gpu_folder_says_wgpu() {
    for (module, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let says = code.filter(|line| line.contains("wgpu::")).count();
        assert!(says == 0 || module == "gpu", "src/{module} says wgpu:: {says} times");
    }
}

/// What takes part of a caller's threads could wait for itself: see `src/parallel.rs`.
#[test]
fn only_one_module_says_rayon() {
    for (module, text) in sources() {
        let says = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("rayon::"));
        assert!(says == (module == "parallel"), "src/{module} and rayon");
    }
}
