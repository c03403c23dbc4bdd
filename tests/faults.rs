//! Files that are damaged and disks that are full: the programs end with one line and a code that is not 0, and never with a wrong
//! result; and what the library says where there is no adapter.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use wgconv::{Engine, EngineDesc, ErrorKind};

/// The programs, built once, as `cargo test` builds examples that have tests as tests only.
fn program(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let names = ["classify", "digits", "explain", "features"].map(|name| ["--example", name]).concat();
        let root = env!("CARGO_MANIFEST_DIR");
        let status = Command::new(cargo).current_dir(root).args(["build", "--quiet"]).args(names).status().expect("cargo runs");
        assert!(status.success(), "the programs do not build");
        // The tests lie in target/debug/deps, or in release's.
        let tests = std::env::current_exe().expect("a test has a path");
        tests.ancestors().nth(3).expect("it lies in the target folder").join("debug/examples")
    });
    Command::new(folder.join(name))
}

/// What a run says, where it fails as it should: a code that is not 0 and one line that is an error, and no panic.
fn failure(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{what}: ended well: {}{text}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.code().is_some_and(|code| code != 101), "{what}: {text}");
    assert!(!text.contains("panicked"), "{what}: {text}");
    // A driver may have lines of its own.
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error") && !line.contains("XDG_RUNTIME_DIR")).collect();
    assert_eq!(errors.len(), 1, "{what}: {text}");
    errors[0].into()
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wgconv-faults-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the tests");
    folder.join(name)
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

/// Damaged versions of a file: cut short, empty, other bytes in the middle, and not of its kind at all.
fn damaged(file: &Path, name: &str) -> Vec<PathBuf> {
    let bytes = std::fs::read(file).expect("a file of the repository");
    let mut broken = bytes.clone();
    let middle = broken.len() / 2;
    let end = (middle + 64).min(broken.len());
    broken[middle..end].fill(0xff);
    let versions: [&[u8]; 4] = [&bytes[..bytes.len() / 2], b"", &broken, b"this is no such file"];
    let write = |(number, version): (usize, &&[u8])| {
        let path = scratch(&format!("{number}-{name}"));
        std::fs::write(&path, version).expect("a file for the tests");
        path
    };
    versions.iter().enumerate().map(write).collect()
}

#[test]
fn programs_end_with_one_line_on_a_damaged_picture_or_model() {
    for path in damaged(&data("png/digit_00_label9.png"), "digit.png") {
        let digits = failure("digits", &program("digits").arg(&path).output().expect("it runs"));
        assert!(digits.contains("digit.png"), "{digits}");
        let mut classify = program("classify");
        let classify = failure("classify", &classify.arg(data("dsnet.onnx")).arg(&path).output().expect("it runs"));
        assert!(classify.contains("digit.png"), "{classify}");
    }
    for (number, path) in damaged(&data("dsnet.onnx"), "model.onnx").into_iter().enumerate() {
        // Other weights are another model, and no damage that a file could show.
        if number != 2 {
            let text = failure("classify", &program("classify").arg(&path).output().expect("it runs"));
            assert!(text.contains("model.onnx"), "{text}");
        }
    }
    let text = failure("explain", &program("explain").arg("conv 1x3x8x8 o4 k3x3 p1x1 f33").output().expect("it runs"));
    assert!(text.contains("f33"), "{text}");
}

#[test]
fn a_picture_that_cannot_be_written_is_one_line() {
    // A folder's rights do not stop an administrator; a file in the place of a folder does.
    let file = scratch("file");
    std::fs::write(&file, "no folder").expect("a file for the tests");
    let mut targets = vec![file.join("out.png")];
    #[cfg(target_os = "linux")]
    {
        let full = scratch("full.png");
        let _ = std::fs::remove_file(&full);
        std::os::unix::fs::symlink("/dev/full", &full).expect("a link for the tests");
        targets.push(full);
    }
    for target in targets {
        let run = program("features").args(["--size", "64", "--out"]).arg(&target).output().expect("it runs");
        let text = failure("features", &run);
        assert!(text.contains(&*target.to_string_lossy()), "{text}");
    }
}

/// Run by the test below in a process that finds no driver.
#[test]
#[ignore = "a part of where_there_is_no_gpu_the_error_says_how_to_get_one"]
fn without_a_driver() {
    let error = Engine::new(&EngineDesc::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoAdapter);
    assert!(error.message().contains("mesa-vulkan-drivers"), "{error}");
}

#[test]
fn where_there_is_no_gpu_the_error_says_how_to_get_one() {
    let nowhere = scratch("no-driver.json");
    let output = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--ignored", "--exact", "without_a_driver"])
        .env("WGPU_BACKEND", "vulkan")
        .envs([("VK_DRIVER_FILES", &nowhere), ("VK_ICD_FILENAMES", &nowhere)])
        .output()
        .expect("a test runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
