//! Tuning from outside: what is measured is right and found again, and whatever is wrong with a table costs speed only.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

use wgconv::{Algorithm, Engine, EngineDesc, Layer, Precision, Problem, Tuning, verify};

const LINE: &str = "conv 1x8x12x12 o8 k3x3 p1x1 f32 bias relu";
const MEASURE: Tuning = Tuning::Measure { budget: Duration::from_secs(2) };

/// The warnings of all tests; each knows its own by the path in it.
struct Warnings(Mutex<Vec<String>>);
static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() <= log::Level::Warn && metadata.target().starts_with("wgconv")
    }
    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

fn warned(part: &str) -> bool {
    WARNINGS.0.lock().unwrap().iter().any(|warning| warning.contains(part))
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        static LOGGER: Once = Once::new();
        LOGGER.call_once(|| {
            log::set_logger(&WARNINGS).expect("no other logger is set");
            log::set_max_level(log::LevelFilter::Warn);
        });
        let path = std::env::temp_dir().join(format!("wgconv-tuning-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn table(&self) -> PathBuf {
        self.0.join("tuning.txt")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn engine(tuning: Tuning, table: &Path) -> Engine {
    let desc = EngineDesc { tuning, tuning_table: Some(table.into()), ..Default::default() };
    Engine::new(&desc).unwrap_or_else(|error| panic!("the tuning tests need a GPU adapter: {error}"))
}

fn problem(line: &str) -> Problem {
    line.parse().unwrap()
}

/// What the engine takes for a layer.
fn chosen(engine: &Engine, line: &str) -> Algorithm {
    let problem = problem(line);
    match &problem.layer {
        Layer::Conv(desc) => {
            let kernel = vec![0.5; desc.weight_shape().unwrap().iter().product()];
            let bias = vec![0.5; desc.out_channels];
            let bias = desc.epilogue.bias.then_some(&bias[..]);
            let weights = wgconv::Weights { kernel: &kernel, bias, ..Default::default() };
            engine.conv(desc, &problem.input, weights).unwrap().plan().algorithm
        }
        Layer::Pool(desc) => engine.pool(desc, &problem.input).unwrap().plan().algorithm,
    }
}

fn candidates(line: &str) -> Vec<Algorithm> {
    let unused = Path::new("unused");
    engine(Tuning::Heuristic, unused).candidates(&problem(line)).unwrap().algorithms
}

/// The name of this device's section, from a table that was measured.
fn device() -> &'static str {
    static DEVICE: OnceLock<String> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let folder = Folder::new("device");
        chosen(&engine(MEASURE, &folder.table()), LINE);
        let text = std::fs::read_to_string(folder.table()).unwrap();
        text.lines().find(|line| line.starts_with('[')).expect("a table has a section").to_string()
    })
}

#[test]
fn what_is_measured_is_right_and_is_found_again_without_measuring() {
    let folder = Folder::new("found");
    let table = folder.table();
    for line in [LINE, "avg_pool 1x8x20x20 k9x9 f32"] {
        let first = engine(MEASURE, &table);
        let best = chosen(&first, line);
        let report = verify::check(&first, &problem(line), &best, 7).unwrap();
        assert!(report.passed(), "{report}");
        let text = std::fs::read_to_string(&table).unwrap();
        assert!(text.starts_with("wgconv tuning 1\n") && text.contains(&format!("\n{line} = {best}\n")), "{text}");
        assert_eq!(chosen(&engine(Tuning::Cached, &table), line), best);

        // An entry that no measurement and no guess would give is taken as it stands: so nothing was measured.
        let last = *candidates(line).last().unwrap();
        std::fs::write(&table, text.replace(&format!("{line} = {best}"), &format!("{line} = {last}"))).unwrap();
        assert_eq!(chosen(&engine(Tuning::Cached, &table), line), last);
        assert_eq!(chosen(&engine(MEASURE, &table), line), last);
        assert_eq!(engine(Tuning::Cached, &table).explain(&problem(line)).unwrap().plan.algorithm, last);
        assert_eq!(chosen(&engine(Tuning::Heuristic, &table), line), candidates(line)[0]);
    }
}

#[test]
fn damage_of_any_kind_is_a_warning_and_a_miss() {
    let folder = Folder::new("damage");
    let (device, guess) = (device(), candidates(LINE)[0]);
    let entry = |algorithm: &str| format!("wgconv tuning 1\n{device}\n{LINE} = {algorithm}\n").into_bytes();
    // Each with what the warning says.
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("truncated", entry("gemm(64x64x16,8x4)")[..12].to_vec(), "line 1"),
        ("half a section", format!("wgconv tuning 1\n{}", &device[..20]).into_bytes(), "line 2"),
        ("half a line", format!("wgconv tuning 1\n{device}\n{LINE} ").into_bytes(), "line 3"),
        ("half an algorithm", entry("gemm(64x6"), "gemm(64x6"),
        ("binary", vec![0xff, 0xfe, 0, 1, 2, 3, 0x80], "not text"),
        ("zeros", vec![0; 4096], "line 1"),
        ("version", entry("direct").iter().map(|&b| if b == b'1' { b'9' } else { b }).collect(), "line 1"),
        ("unknown algorithm", entry("magic(3)"), "magic(3)"),
        ("impossible tile", entry("gemm(0x0x0,0x0)"), "gemm(0x0x0,0x0)"),
        ("another layer's algorithm", entry("pool"), "pool is no candidate"),
        ("unplannable tile", entry("gemm(4096x4096x4096,1x1)"), "gemm(4096x4096x4096,1x1)"),
    ];
    for (number, (name, bytes, message)) in cases.iter().enumerate() {
        let table = folder.0.join(format!("damage-{number}.txt"));
        std::fs::write(&table, bytes).unwrap();
        let engine = engine(Tuning::Cached, &table);
        assert_eq!(chosen(&engine, LINE), guess, "{name}");
        assert!(warned(message), "{name}: no warning has {message:?}");
        assert_eq!(&std::fs::read(&table).unwrap(), bytes, "{name}: Cached writes nothing");
    }
    // A folder in its place cannot be read at all.
    assert_eq!(chosen(&engine(Tuning::Cached, &folder.0), LINE), guess);
    assert!(warned(&folder.0.display().to_string()));
}

#[test]
fn kernels_of_the_fast_precision_do_not_leak_into_exact_engines() {
    let folder = Folder::new("precision");
    let fast = EngineDesc { precision: Precision::Fast, ..Default::default() };
    let fast = Engine::new(&fast).unwrap().candidates(&problem(LINE)).unwrap().algorithms;
    let inexact = fast.iter().find(|algorithm| !algorithm.is_exact()).expect("F(4, 3) takes this layer");
    std::fs::write(folder.table(), format!("wgconv tuning 1\n{}\n{LINE} = {inexact}\n", device())).unwrap();
    assert_eq!(chosen(&engine(Tuning::Cached, &folder.table()), LINE), candidates(LINE)[0]);
    assert!(warned(&inexact.to_string()));
}

#[test]
fn engines_with_one_table_lose_none_of_each_others_entries() {
    let folder = Folder::new("two");
    let table = folder.table();
    let foreign = "[another GPU | wgconv 9.9.9]\nconv from the future = magic\n";
    std::fs::write(&table, format!("wgconv tuning 1\n{foreign}")).unwrap();
    let lines = [LINE, "conv 1x8x12x12 o4 k1x1 f32"];
    let engines = lines.map(|_| engine(MEASURE, &table));
    // Both have read the table before either has written.
    for engine in &engines {
        chosen(engine, "avg_pool 1x1x4x4 k3x3 f32");
    }
    std::thread::scope(|scope| {
        for (engine, line) in engines.iter().zip(lines) {
            scope.spawn(move || chosen(engine, line));
        }
    });
    let text = std::fs::read_to_string(&table).unwrap();
    for part in [foreign, &format!("{} = ", lines[0]), &format!("{} = ", lines[1])] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[test]
fn a_table_that_cannot_be_written_is_a_warning() {
    let folder = Folder::new("unwritable");
    let file = folder.0.join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let table = file.join("tuning.txt");
    let engine = engine(MEASURE, &table);
    let best = chosen(&engine, LINE);
    assert!(verify::check(&engine, &problem(LINE), &best, 1).unwrap().passed());
    assert!(warned(&table.display().to_string()));
    // The engine itself remembers.
    let start = Instant::now();
    assert_eq!(chosen(&engine, LINE), best);
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[test]
#[cfg(unix)]
fn a_folder_without_write_permission_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("read-only");
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o555)).unwrap();
    let engine = engine(MEASURE, &folder.table());
    let best = chosen(&engine, LINE);
    assert!(candidates(LINE).contains(&best));
    // Whoever is root may write everywhere.
    assert!(folder.table().exists() || warned(&folder.table().display().to_string()));
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_budget_is_kept() {
    let folder = Folder::new("budget");
    let none = engine(Tuning::Measure { budget: Duration::ZERO }, &folder.table());
    assert_eq!(chosen(&none, LINE), candidates(LINE)[0]);
    assert!(!folder.table().exists(), "nothing was measured, so nothing is written");
    let budget = Duration::from_millis(500);
    let some = engine(Tuning::Measure { budget }, &folder.table());
    let start = Instant::now();
    chosen(&some, LINE);
    // The candidate that began within it, its compilation and the check come on top.
    assert!(start.elapsed() < budget + Duration::from_secs(20), "{:?}", start.elapsed());
}

/// What a driver keeps of kernels, from one engine to the next.
#[test]
fn a_file_of_pipelines_is_written_read_and_never_believed() {
    let folder = Folder::new("pipelines");
    let path = folder.0.join("deep").join("pipelines.bin");
    let problem: Problem = LINE.parse().unwrap();
    let works = |path: &Path| {
        let desc = EngineDesc { pipeline_cache: Some(path.into()), ..Default::default() };
        let engine = Engine::new(&desc).unwrap();
        let report = verify::check(&engine, &problem, &Algorithm::Direct, 1).unwrap();
        assert!(report.passed());
        engine.device().features().contains(wgconv::wgpu::Features::PIPELINE_CACHE)
    };
    if !works(&path) {
        eprintln!("the device has no pipeline caches: only that they are passed over was tested");
        assert!(!path.exists());
        return;
    }
    let written = std::fs::read(&path).unwrap();
    assert!(written.starts_with(b"wgconv pipeline1"));
    works(&path);
    assert!(!warned("pipelines.bin"));
    // A damaged one is a warning, and is whole again afterwards.
    let mut damaged = written.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    works(&path);
    assert!(warned("pipelines.bin: is damaged"));
    assert_ne!(std::fs::read(&path).unwrap(), damaged);
    // So is one that cannot be written.
    std::fs::write(folder.0.join("file"), "no folder").unwrap();
    works(&folder.0.join("file").join("other.bin"));
    assert!(warned("other.bin"));
}
