//! Files that are damaged and disks that are full: the programs end with one line and a code that is not 0, and never with a wrong
//! result; and what the library says where there is no adapter.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use wgconv::{Engine, EngineDesc, ErrorKind};

const PROGRAMS: [&str; 11] =
    ["bench", "classify", "digits", "explain", "features", "filter", "fit", "series", "tiles", "verify", "volume"];

/// The programs, built once, as `cargo test` builds examples that have tests as tests only.
fn program(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let names = PROGRAMS.map(|name| ["--example", name]).concat();
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
    assert!(matches!(output.status.code(), Some(1 | 2)), "{what}: {text}");
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
fn every_program_takes_an_adapter_and_says_where_there_is_none_of_that_name() {
    let picture = data("png/digit_00_label9.png");
    let model = data("dsnet.onnx");
    let programs: [(&str, Vec<PathBuf>); 9] = [
        ("bench", arguments(&["--line", "conv 1x3x8x8 o4 k3x3 f32"])),
        ("classify", vec![model, picture.clone()]),
        ("digits", vec![picture]),
        ("explain", arguments(&["conv 1x3x8x8 o4 k3x3 f32"])),
        ("features", Vec::new()),
        ("filter", Vec::new()),
        ("series", Vec::new()),
        ("tiles", Vec::new()),
        ("volume", Vec::new()),
    ];
    let missing = ["--adapter", "no such adapter"];
    for (name, list) in programs {
        let run = program(name).args(list).args(missing).output().expect("it runs");
        let text = failure(name, &run);
        assert!(text.contains("no such adapter"), "{name}: {text}");
    }
    // Of what could not be verified there is a report.
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems/regressions.txt");
    let run = program("verify").arg("problems").arg(regressions).args(missing).output().expect("it runs");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.code() == Some(1) && text.contains("no such adapter"), "verify: {text}");
}

/// What each program writes: its name, its arguments, and the last of them, which a path follows.
const WRITERS: [(&str, &[&str]); 8] = [
    ("features", &["--size", "64", "--out"]),
    ("digits", &["DIGIT", "--png"]),
    ("series", &["--png"]),
    ("volume", &["--png"]),
    ("verify", &["problems", "PROBLEMS", "--json"]),
    ("verify", &["onnx", "MODELS", "--reference", "--report"]),
    ("bench", &["--line", "conv 1x3x8x8 o4 k3x3 f32", "--seconds", "0.01", "--json"]),
    ("bench", &["--line", "conv 1x3x8x8 o4 k3x3 f32", "--seconds", "0.01", "--plot"]),
];

/// The arguments of a writer.
fn arguments(list: &[&str]) -> Vec<PathBuf> {
    // Written once: a program of another test may be reading it.
    static PROBLEMS: OnceLock<PathBuf> = OnceLock::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let problems = PROBLEMS.get_or_init(|| {
        let file = scratch("problems.txt");
        std::fs::write(&file, "conv 1x3x8x8 o4 k3x3 f32\n").expect("a file for the tests");
        file
    });
    let argument = |&argument: &&str| match argument {
        "PROBLEMS" => problems.clone(),
        "DIGIT" => data("png/digit_00_label9.png"),
        "MODEL" => data("dsnet.onnx"),
        "LINE" => "conv 1x3x8x8 o4 k3x3 f32".into(),
        "MODELS" => root.join("tests/onnx/pytorch-operator"),
        _ => argument.into(),
    };
    list.iter().map(argument).collect()
}

/// A folder's rights do not stop an administrator; a file in the place of a folder does.
#[test]
fn where_no_file_can_be_each_program_says_so_in_one_line() {
    let file = scratch("file");
    std::fs::write(&file, "no folder").expect("a file for the tests");
    for (name, list) in WRITERS {
        let target = file.join("out");
        let run = program(name).args(arguments(list)).arg(&target).output().expect("it runs");
        let text = failure(name, &run);
        assert!(run.status.code() == Some(1) && text.contains(&*target.to_string_lossy()), "{name}: {text}");
    }
}

/// Words for programs that must be refused, and what must be said of them.
const REFUSED: [(&str, &[&str], &str); 50] = [
    ("classify", &["--range", "inf"], "'inf' for '--range <WHITE>': is inf, but a finite number is needed"),
    ("classify", &["--range", "0"], "'--range <WHITE>': is 0, by which nothing can be divided"),
    ("classify", &["--std", "1,nan,1"], "'nan' for '--std <R,G,B>': is nan"),
    ("classify", &["--std", "-1,0"], "'0' for '--std <R,G,B>': is 0"),
    ("classify", &["--mean", "-inf"], "'--mean <R,G,B>': is -inf"),
    ("classify", &["--mean", "much"], "'--mean <R,G,B>': is not a number"),
    ("classify", &["--top", "0"], "'--top <K>': is 0, but at least 1 is needed"),
    ("classify", &["--top", "-1"], "'--top <K>': is -1, but at least 1 is needed"),
    ("classify", &["--batch", "0"], "'--batch <N>': is 0, but at least 1 is needed"),
    ("classify", &["--batch", "-1"], "'--batch <N>': is -1, but at least 1 is needed"),
    ("classify", &["--batch", "two"], "'--batch <N>': is not a whole number"),
    ("classify", &["--labels", "PROBLEMS"], "problems.txt: has 1 name, but the network has 10 classes"),
    ("classify", &["--imagenet"], "--imagenet: has 3 numbers, but the network has 1 channel"),
    ("classify", &["--bgr"], "--bgr: is an order of channels, but the network has 1 channel"),
    ("digits", &["--batch", "-1"], "'--batch <N>': is -1, but at least 1 is needed"),
    ("digits", &["--show", "-1"], "'--show <N>': is -1, but at least 0 is needed"),
    ("features", &["--digit", "-1"], "'--digit <N>': is -1, but at least 0 is needed"),
    ("features", &["--size", "7000"], "'--size <PIXELS>': is 7000, but at most 512 is possible"),
    ("filter", &["--frames", "-1"], "'--frames <COUNT>': is -1, but at least 1 is needed"),
    ("filter", &["--size", "7x7"], "'--size <WIDTHxHEIGHT>': is not WIDTHxHEIGHT with sides of 8 to 8192 pixels"),
    ("filter", &["--out", "frames.png"], "--out: frames.png is a file, not a folder"),
    ("filter", &["--out", "MODEL"], "is a file, not a folder"),
    ("filter", &["--out", "no/such/folder"], "there is no folder no/such"),
    ("filter", &["--size", "-1x9"], "'--size <WIDTHxHEIGHT>': is not WIDTHxHEIGHT"),
    ("classify", &["--size", "-1x9"], "'--size <WxH>': is not WIDTHxHEIGHT"),
    ("digits", &["DIGIT", "--show", "3"], "'[FILE.png]...' cannot be used with '--show <N>'"),
    ("tiles", &["--tile", "0"], "'--tile <N>': is 0, but at least 1 is needed"),
    ("tiles", &["--size", "99999999999999999999"], "'--size <N>': is 99999999999999999999, but at most 65535 is possible"),
    ("bench", &["--line", "LINE", "--seconds", "-1"], "'--seconds <SECONDS>': is -1, but at least a nanosecond is needed"),
    ("bench", &["--line", "LINE", "--seconds", "1e-30"], "is 1e-30, but at least a nanosecond is needed"),
    ("bench", &["--line", "LINE", "--seconds", "1e9"], "is 1e9, but at most 86400 seconds are possible"),
    ("bench", &["--line", "LINE", "--seed", "-1"], "'--seed <SEED>': is -1, but at least 0 is needed"),
    ("bench", &["--network", "MODEL", "--stream", "0"], "'--stream <FRAMES>': is 0, but at least 1 is needed"),
    ("bench", &["--network", "MODEL", "--stream", "4", "--depth", "0"], "'--depth <FRAMES>...': is 0, but at least 1 is needed"),
    ("bench", &["--network", "MODEL", "--stream", "4", "--frame-ms", "-1"], "'--frame-ms <MS>': is -1, but 0 to"),
    ("bench", &["--network", "MODEL", "--stream", "4", "--seconds", "1"], "cannot be used with"),
    ("bench", &["--line", "LINE", "--frame-ms", "1"], "--frame-ms: is of --stream, which is not given"),
    ("bench", &["--line", "LINE", "--depth", "1"], "--depth: is of --stream, which is not given"),
    ("bench", &["--network", "MODEL", "--algorithm", "gemm"], "--algorithm: is of layers and not of --network"),
    ("bench", &["--network", "MODEL", "--plot", "new.png"], "--plot: is of layers and not of --network"),
    ("bench", &["--network", "MODEL", "--regret"], "--regret: is of layers and not of --network"),
    (
        "explain",
        &["--limits", "webgpu", "--adapter", "0", "LINE"],
        "'--limits <LIMITS>' cannot be used with '--adapter <ADAPTER>'",
    ),
    ("explain", &["--adapters", "--adapter", "0"], "'--adapters' cannot be used with '--adapter <ADAPTER>'"),
    (
        "verify",
        &["onnx", "MODELS", "--reference", "--adapter", "0"],
        "--reference: computes without a device: leave out --adapter",
    ),
    ("verify", &["onnx", "MODELS", "--every-tile"], "--every-tile"),
    ("verify", &["problems", "PROBLEMS", "--seed", "-1"], "'--seed <SEED>': is -1, but at least 0 is needed"),
    ("verify", &["problems", "PROBLEMS", "--adapter", ""], "'--adapter <NAME>'"),
    ("explain", &["--adapter", "", "LINE"], "'--adapter <ADAPTER>'"),
    ("digits", &["--adapter", ""], "'--adapter <NAME>'"),
    ("filter", &["--adapter", ""], "'--adapter <NAME|NUMBER>'"),
];

#[test]
fn what_cannot_be_or_would_be_ignored_is_refused_with_its_option() {
    let wrong: Vec<String> = REFUSED
        .iter()
        .filter_map(|(name, list, wanted)| {
            let text = failure(&format!("{name} {list:?}"), &program(name).args(arguments(list)).output().expect("it runs"));
            (!text.contains(wanted)).then(|| format!("{name} {list:?}: {text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_program_says_its_version() {
    for name in PROGRAMS {
        let run = program(name).arg("--version").output().expect("it runs");
        assert_eq!(
            String::from_utf8_lossy(&run.stdout).split(' ').next_back(),
            Some(concat!(env!("CARGO_PKG_VERSION"), "\n")),
            "{name}"
        );
    }
}

#[test]
fn where_nothing_is_checked_verify_does_not_end_well_and_a_bad_line_has_its_number() {
    let run = program("verify").args(arguments(&["problems", "PROBLEMS", "--algorithm", "depthwise"])).output().expect("it runs");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.code() == Some(1) && text.contains("nothing was checked\n0 passed, 0 failed, "), "{text}");
    let file = scratch("bad-lines.txt");
    std::fs::write(&file, "# one that is none\n\nconv 1x3x8x8 o4 k3x3 f33\n").expect("a file for the tests");
    let run = program("verify").arg("problems").arg(&file).output().expect("it runs");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.code() == Some(1) && text.contains("bad-lines.txt: line 3: conv 1x3x8x8 o4 k3x3 f33: "), "{text}");
}

/// Where there is no device there is no folder for its frames either.
#[test]
fn a_filter_without_an_adapter_makes_no_folder() {
    let folder = scratch("no-frames");
    let run = program("filter").args(["--adapter", "no such adapter", "--out"]).arg(&folder).output().expect("it runs");
    failure("filter", &run);
    assert!(!folder.exists());
}

/// Files of the user's in a folder of a test's own, and the same folder by another path.
fn own_files(name: &str) -> [PathBuf; 2] {
    let folder = scratch(name);
    std::fs::create_dir_all(folder.join("below")).expect("a folder for the tests");
    for (from, to) in [("dsnet.onnx", "net.onnx"), ("png/digit_00_label9.png", "digit.png")] {
        std::fs::copy(data(from), folder.join(to)).expect("a file for the tests");
    }
    std::fs::write(folder.join("lines.txt"), "conv 1x3x8x8 o4 k3x3 f32\n").expect("a file for the tests");
    let other = folder.join("below/..");
    [folder, other]
}

#[test]
fn no_program_writes_over_what_it_reads_or_writes_besides() {
    // Words with a dot are files of a folder, those with a plus the same by another path.
    let cases: [(&str, &[&str], &str); 13] = [
        ("classify", &["net.onnx", "digit.png", "--profile=", "+net.onnx"], "--profile: "),
        ("classify", &["net.onnx", "digit.png", "--profile=", "digit.png"], "--profile: "),
        ("classify", &["net.onnx", "--labels", "lines.txt", "--profile=", "lines.txt"], "--profile: "),
        ("digits", &["digit.png", "--png", "+digit.png"], "--png: "),
        ("features", &["--image", "digit.png", "--out", "+digit.png"], "--out: "),
        ("bench", &["--layers", "lines.txt", "--json", "+lines.txt"], "--json: "),
        ("bench", &["--layers", "lines.txt", "--plot", "lines.txt"], "--plot: "),
        ("bench", &["--network", "net.onnx", "--json", "net.onnx"], "--json: "),
        ("bench", &["--layers", "lines.txt", "--plot", "new.png", "--json", "+new.png"], "--plot: "),
        ("verify", &["problems", "lines.txt", "--json", "+lines.txt"], "--json: "),
        ("verify", &["configs", "lines.txt", "--json", "lines.txt"], "--json: "),
        ("digits", &["digit.png", "--png", "new.jpg"], "--png: "),
        ("tiles", &["--out", "new.JPEG"], "--out: "),
    ];
    for (number, (name, words, option)) in cases.into_iter().enumerate() {
        let [folder, other] = own_files(&format!("own-{number}"));
        let before = ["net.onnx", "digit.png", "lines.txt"].map(|file| std::fs::read(folder.join(file)).expect("it is there"));
        let mut list: Vec<String> = Vec::new();
        for word in words {
            let path = match word.strip_prefix('+') {
                Some(file) => other.join(file),
                None if word.contains('.') => folder.join(word),
                None => word.into(),
            };
            match list.last_mut().filter(|last| last.ends_with('=')) {
                Some(last) => last.push_str(&path.to_string_lossy()),
                None => list.push(path.to_string_lossy().into_owned()),
            }
        }
        let text = failure(name, &program(name).args(&list).output().expect("it runs"));
        assert!(text.contains(option), "{name} {words:?}: {text}");
        let reason = [" is read as well", " is written by --json too", " is written as PNG: give it the ending .png"];
        assert!(reason.iter().any(|reason| text.ends_with(reason)), "{name} {words:?}: {text}");
        for (file, before) in ["net.onnx", "digit.png", "lines.txt"].into_iter().zip(before) {
            assert!(std::fs::read(folder.join(file)).expect("it is there") == before, "{name} {words:?} wrote over {file}");
        }
    }
    // A trace is asked for with its name behind an equals sign: what stands apart is the model.
    let [folder, _] = own_files("profile");
    let run = program("classify").arg("--profile").arg(folder.join("net.onnx")).output().expect("it runs");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && !text.contains("trace: "), "{text}");
    assert!(
        std::fs::read(folder.join("net.onnx")).expect("it is there") == std::fs::read(data("dsnet.onnx")).expect("it is there")
    );
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_each_program_says_so_and_ends_with_status_1() {
    for (number, (name, list)) in WRITERS.into_iter().enumerate() {
        let full = scratch(&format!("full-{number}"));
        let _ = std::fs::remove_file(&full);
        std::os::unix::fs::symlink("/dev/full", &full).expect("a link for the tests");
        let run = program(name).args(arguments(list)).arg(&full).output().expect("it runs");
        let text = failure(name, &run);
        assert!(run.status.code() == Some(1) && text.contains(&*full.to_string_lossy()), "{name}: {:?} {text}", run.status);
        // What is printed is on the same disk as often as not.
        let target = scratch(&format!("out-{number}"));
        let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let run = program(name).args(arguments(list)).arg(&target).stdout(nowhere).output().expect("it runs");
        failure(name, &run);
        assert_eq!(run.status.code(), Some(1), "{name}");
    }
}

/// A disk that fills while a file is written, as the limit of a file's size is met: what was there before is still there, and nothing
/// beside it.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_halfway_leaves_the_file_as_it_was() {
    for (number, (name, list)) in WRITERS.into_iter().enumerate() {
        let folder = scratch(&format!("fills-{number}"));
        std::fs::create_dir_all(&folder).expect("a folder for the tests");
        for before in [None, Some("what was there")] {
            let target = folder.join("out");
            let _ = std::fs::remove_file(&target);
            before.iter().for_each(|text| std::fs::write(&target, text).expect("a file for the tests"));
            // The program, with files of at most a few bytes: the signal that would end it is turned off.
            let wanted = program(name);
            let mut shell = Command::new("bash");
            shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]).arg(wanted.get_program());
            let run = shell.args(arguments(list)).arg(&target).output().expect("it runs");
            let text = failure(name, &run);
            assert!(run.status.code() == Some(1) && text.contains(&*target.to_string_lossy()), "{name}: {:?} {text}", run.status);
            assert_eq!(std::fs::read_to_string(&target).ok().as_deref(), before, "{name}");
            let names: Vec<_> =
                std::fs::read_dir(&folder).expect("it is there").map(|entry| entry.unwrap().file_name()).collect();
            assert!(names.len() == usize::from(before.is_some()), "{name} left {names:?}");
        }
    }
}

#[test]
fn what_the_library_warns_of_is_shown_without_being_asked_for() {
    let table = scratch("damaged-tuning.txt");
    std::fs::write(&table, "no table").expect("a file for the tests");
    let line = "conv 1x3x8x8 o4 k3x3 f32";
    let shown = |name: &str, list: &[&str], log: Option<&str>| {
        let mut program = program(name);
        program.args(list).args(["--tuning", "cached"]).env("WGCONV_TUNING_TABLE", &table).env_remove("RUST_LOG");
        if let Some(log) = log {
            program.env("RUST_LOG", log);
        }
        let run = program.output().expect("it runs");
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "{name}: {text}");
        text.contains("damaged-tuning.txt") || text.contains("tuning table")
    };
    for (name, list) in [("explain", [line].as_slice()), ("bench", &["--line", line, "--seconds", "0.01"])] {
        assert!(shown(name, list, None), "{name} says nothing of a damaged table");
        assert!(!shown(name, list, Some("off")), "{name} is asked to be silent");
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
