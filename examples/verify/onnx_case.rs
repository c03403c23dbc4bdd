//! A folder in the format of ONNX's backend tests: a model, inputs, and the outputs that they must give.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use wgconv::{ErrorKind, Graph, Value, onnx};

use crate::numbers::counted;
use crate::onnx_recipe::Recipe;

/// What came of a case, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Pass(String),
    Fail(String),
    Unsupported(String),
    Skip(String),
}

/// Results on inputs, in the order of the graph's inputs.
pub type Run<'a> = dyn Fn(&Graph, &[Value]) -> wgconv::Result<Vec<Value>> + 'a;

/// A folder with `model.onnx`.
#[derive(Debug, Clone)]
pub struct Case {
    /// The names of the folder and of the one that it is in.
    pub name: String,
    /// The operator that it is about.
    pub operator: String,
    /// What `cases.tsv` says of its kind; empty where there is none.
    pub tier: String,
    folder: PathBuf,
    /// Why its expectation counts for nothing.
    unscored: Option<String>,
}

/// What a line of `cases.tsv` says.
struct Line {
    operator: String,
    tier: String,
    scored: String,
}

/// Every case below these directories, by name.
///
/// # Errors
/// A text where a directory cannot be read, or none has a case.
pub fn find(directories: &[PathBuf]) -> Result<Vec<Case>, String> {
    let (mut folders, mut lines) = (Vec::new(), HashMap::new());
    for directory in directories {
        walk(directory, &mut folders, &mut lines).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    folders.sort();
    folders.dedup();
    if folders.is_empty() {
        let list: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
        return Err(format!("{} has no folder with a model.onnx", list.join(", ")));
    }
    Ok(folders.into_iter().map(|folder| Case::new(folder, &lines)).collect())
}

fn walk(directory: &Path, folders: &mut Vec<PathBuf>, lines: &mut HashMap<String, Line>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(&path, folders, lines)?;
        } else if name == "model.onnx" {
            folders.push(directory.into());
        } else if name == "cases.tsv" {
            read_lines(&std::fs::read_to_string(&path)?, lines);
        }
    }
    Ok(())
}

/// The columns of `cases.tsv` that matter here, found by their titles.
fn read_lines(text: &str, lines: &mut HashMap<String, Line>) {
    let mut rows = text.lines().map(|row| row.split('\t').collect::<Vec<_>>());
    let Some(titles) = rows.next() else { return };
    let column = |row: &[&str], title: &str| {
        let at = titles.iter().position(|name| *name == title);
        at.and_then(|at| row.get(at)).map_or(String::new(), |text| text.to_string())
    };
    for row in rows {
        let key = format!("{}/{}", column(&row, "kind"), column(&row, "name"));
        let line = Line { operator: column(&row, "op"), tier: column(&row, "tier"), scored: column(&row, "scored") };
        lines.insert(key, line);
    }
}

impl Case {
    fn new(folder: PathBuf, lines: &HashMap<String, Line>) -> Self {
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map_or(String::new(), |name| name.to_string_lossy().into_owned())
        };
        let name = format!("{}/{}", part(folder.parent()), part(Some(&folder)));
        let line = lines.get(&name);
        let unscored =
            line.map(|line| line.scored.as_str()).filter(|scored| scored.starts_with("no") || scored.starts_with("disputed"));
        let unscored = unscored.map(|scored| format!("cases.tsv says {scored}"));
        let operator = line.map_or_else(|| operator(&folder), |line| line.operator.clone());
        Self { name, operator, tier: line.map_or(String::new(), |line| line.tier.clone()), folder, unscored }
    }

    /// All that may be read: the files of its folder, and of the folders in that.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) = entries(&self.folder).partition(|path| path.is_dir());
        files.extend(folders.iter().flat_map(|folder| entries(folder)));
        files
    }

    /// Runs the model on every set of inputs and compares.
    pub fn judge(&self, run: &Run) -> Verdict {
        if let Some(reason) = &self.unscored {
            return Verdict::Skip(reason.clone());
        }
        self.judge_sets(run).unwrap_or_else(|verdict| verdict)
    }

    fn judge_sets(&self, run: &Run) -> Result<Verdict, Verdict> {
        let recipe = match self.read("recipe.json") {
            Ok(bytes) => Some(Recipe::read(&bytes).map_err(|error| Verdict::Fail(format!("recipe.json: {error}")))?),
            Err(_) => None,
        };
        let model = self.folder.join("model.onnx");
        let graph = onnx::load_with(model, |name| recipe.as_ref()?.parameter(name)).map_err(|error| of_error(&error))?;
        let tolerance = match &recipe {
            Some(_) => Tolerance { relative_to_largest: true, rtol: 1e-3, atol: 0.0 },
            None => self.tolerance().map_err(Verdict::Fail)?,
        };
        let mut sets = Vec::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("test_data_set_") {
                sets.push(entry.path());
            }
        }
        sets.sort();
        if sets.is_empty() {
            return Err(Verdict::Fail("has no test_data_set_*".into()));
        }
        let mut worst = 0.0f64;
        for set in sets {
            worst = worst.max(judge_set(&graph, &set, recipe.as_ref(), &tolerance, run)?);
        }
        Ok(Verdict::Pass(format!("{worst:.1e} of its tolerance")))
    }

    fn read(&self, file: &str) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(file))
    }

    /// The test's own tolerance, or that of ONNX's runner.
    fn tolerance(&self) -> Result<Tolerance, String> {
        let mut tolerance = Tolerance { relative_to_largest: false, rtol: 1e-3, atol: 1e-7 };
        if let Ok(bytes) = self.read("data.json") {
            let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| format!("data.json: {error}"))?;
            let number = |name: &str| json.get(name).and_then(serde_json::Value::as_f64);
            tolerance.rtol = number("rtol").unwrap_or(tolerance.rtol);
            tolerance.atol = number("atol").unwrap_or(tolerance.atol);
        }
        Ok(tolerance)
    }
}

/// The one operator of a model that has one, beside constants.
fn operator(folder: &Path) -> String {
    let list = std::fs::read(folder.join("model.onnx")).ok().and_then(|bytes| onnx::operators(&bytes).ok()).unwrap_or_default();
    let list: Vec<String> = list.into_iter().map(|(name, _)| name).filter(|name| name != "Constant").collect();
    match list.as_slice() {
        [one] => one.clone(),
        [] => "none".into(),
        _ => "several".into(),
    }
}

/// The share of the tolerance that the worst number of a set needs.
fn judge_set(graph: &Graph, set: &Path, recipe: Option<&Recipe>, tolerance: &Tolerance, run: &Run) -> Result<f64, Verdict> {
    let names = graph.input_names();
    let mut inputs = tensors(set, "input").map_err(Verdict::Fail)?;
    if let (Some(recipe), [_]) = (recipe, names.as_slice()) {
        inputs = vec![recipe.input()];
    }
    if inputs.len() != names.len() {
        let (count, names) = (counted(inputs.len(), "input", "inputs"), names.join(", "));
        return Err(Verdict::Fail(format!("has {count} in its files, but the graph's are {names}")));
    }
    let expected = tensors(set, "output").map_err(Verdict::Fail)?;
    let got = run(graph, &inputs).map_err(|error| of_error(&error))?;
    if got.len() != expected.len() {
        return Err(Verdict::Fail(format!("has {} instead of {}", counted(got.len(), "output", "outputs"), expected.len())));
    }
    let mut worst = 0.0f64;
    for ((name, got), expected) in graph.output_names().iter().zip(&got).zip(&expected) {
        let share = tolerance.compare(got, expected).map_err(|wrong| Verdict::Fail(format!("output `{name}`: {wrong}")))?;
        worst = worst.max(share);
    }
    Ok(worst)
}

fn of_error(error: &wgconv::Error) -> Verdict {
    match error.kind() {
        ErrorKind::Unsupported => Verdict::Unsupported(error.to_string()),
        _ => Verdict::Fail(error.to_string()),
    }
}

/// `input_0.pb`, `input_1.pb`, ..
fn tensors(set: &Path, what: &str) -> Result<Vec<Value>, String> {
    let mut list = Vec::new();
    loop {
        let file = set.join(format!("{what}_{}.pb", list.len()));
        let Ok(bytes) = std::fs::read(&file) else { return Ok(list) };
        list.push(onnx::tensor(&bytes).map_err(|error| format!("{}: {error}", file.display()))?);
    }
}

/// How far a number may be from what is expected: `atol + rtol * |expected|`.
struct Tolerance {
    rtol: f64,
    atol: f64,
    /// Whether the largest number of the output stands for each.
    relative_to_largest: bool,
}

impl Tolerance {
    /// The share of the tolerance that the worst number needs, or what is wrong. Integers and truth values must be equal.
    fn compare(&self, got: &Value, expected: &Value) -> Result<f64, String> {
        if got.shape() != expected.shape() || got.element() != expected.element() {
            return Err(format!("is {got}, but {expected} is expected"));
        }
        if !expected.element().is_float() {
            return match got.data() == expected.data() {
                true => Ok(0.0),
                false => Err(first_difference(got, expected)),
            };
        }
        let (got, expected) = (got.to_f64(), expected.to_f64());
        let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let mut worst = 0.0f64;
        for (at, (&got, &expected)) in got.iter().zip(&expected).enumerate() {
            if got == expected || (got.is_nan() && expected.is_nan()) {
                continue;
            }
            let magnitude = if self.relative_to_largest { largest } else { expected.abs() };
            let share = (got - expected).abs() / (self.atol + self.rtol * magnitude);
            // Neither NaN nor infinity is within anything.
            if !(share <= 1.0 && got.is_finite() && expected.is_finite()) {
                return Err(format!("{got} instead of {expected} at {at}"));
            }
            worst = worst.max(share);
        }
        Ok(worst)
    }
}

fn first_difference(got: &Value, expected: &Value) -> String {
    let (got, expected) = (got.to_i128(), expected.to_i128());
    let at = got.iter().zip(&expected).position(|(got, expected)| got != expected).unwrap_or(0);
    format!("{} instead of {} at {at}", got[at], expected[at])
}
