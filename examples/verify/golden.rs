//! Golden files: layers with the values that another implementation gave, `.safetensors` with the config in their metadata.
//!
//! The format is told in `tests/golden/README.md`. The reference is judged by the file, and so is every algorithm that takes the layer;
//! a case is one verdict over all of them. NaN and infinity (`values: special`) are judged on the reference alone, as a driver may
//! treat them as it likes: what the device makes of them is a note.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wgconv::reference::{self, ConvOperands, Output};
use wgconv::safetensors::{self, Tensors};
use wgconv::{Data, ErrorKind, Geometry, IndexOrder, Layer, Problem, Weights};

use crate::config::{self, Defaults};
use crate::device::Device;
use crate::json::{Fields, Refused, missing};
use crate::report::Report;

/// A golden file, read.
pub struct Golden {
    pub problem: Problem,
    special: bool,
    atol: f64,
    rtol: f64,
    input: Vec<f32>,
    weight: Vec<f32>,
    weight_shape: Vec<usize>,
    bias: Option<Vec<f32>>,
    slope: Option<Vec<f32>>,
    residual: Option<Vec<f32>>,
    output: Vec<f32>,
    indices: Option<Vec<i32>>,
}

/// The files of a directory, by name.
///
/// # Errors
/// A text where there is no such directory, or no such file in it.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let about = |error: std::io::Error| format!("{}: {error}", directory.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(directory).map_err(about)?.collect();
    let mut files: Vec<PathBuf> = entries.map_err(about)?.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    if files.is_empty() { Err(format!("{} has no .safetensors file", directory.display())) } else { Ok(files) }
}

impl Golden {
    /// Reads a file's bytes, which may be anything.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let file = safetensors::read(bytes).map_err(|error| Refused::new("file", error.message()))?;
        let config = file.metadata.get("config").ok_or_else(|| missing("config"))?;
        let config: Value =
            serde_json::from_str(config).map_err(|error| Refused::new("config", format!("is not JSON: {error}")))?;
        let fields = Fields::new("config", &config)?;
        let has = |name: &str| file.tensors.contains_key(name);
        let defaults = Defaults { bias: has("bias"), indices: has("indices").then_some(IndexOrder::Plane), ..Default::default() };
        let problem = config::read(&fields, defaults)?;
        let tolerance = |name: &str| {
            let value = fields.float(name)?.ok_or_else(|| missing(name))?;
            if value >= 0.0 { Ok(value) } else { Err(Refused::new(name, format!("is {value}, but a tolerance is at least 0"))) }
        };
        let (atol, rtol) = (tolerance("atol")?, tolerance("rtol")?);
        let special = fields.word("values")? == Some("special");
        fields.check_all_read()?;

        let output_shape = Geometry::new(&problem)?.output_shape();
        let floats = |name: &str, shape: Option<&[usize]>| has(name).then(|| floats(&file, name, shape)).transpose();
        let needed = |name: &str, shape: &[usize]| floats(name, Some(shape))?.ok_or_else(|| missing(name));
        let weight_shape = file.tensors.get("weight").map_or(Vec::new(), |value| value.shape().to_vec());
        Ok(Self {
            special,
            atol,
            rtol,
            input: needed("input", problem.input.shape())?,
            weight: floats("weight", None)?.unwrap_or_default(),
            weight_shape,
            bias: floats("bias", None)?,
            slope: floats("slope", None)?,
            residual: floats("residual", Some(&output_shape))?,
            output: needed("output", &output_shape)?,
            indices: has("indices").then(|| indices(&file, &output_shape)).transpose()?,
            problem,
        })
    }

    fn operands(&self) -> ConvOperands<'_> {
        let weights = Weights {
            kernel: &self.weight,
            kernel_shape: Some(&self.weight_shape),
            bias: self.bias.as_deref(),
            slope: self.slope.as_deref(),
        };
        ConvOperands { input: &self.input, weights, residual: self.residual.as_deref() }
    }

    /// The share of its tolerance that the reference needs, or what is wrong.
    pub fn judge_reference(&self) -> Result<f64, String> {
        let output = match self.problem.layer {
            Layer::Conv(_) => reference::conv(&self.problem, &self.operands()),
            Layer::Pool(_) => reference::pool(&self.problem, &self.input),
        };
        let Output { values, indices, .. } = output.map_err(|error| error.to_string())?;
        self.judge(&values, indices.as_deref())
    }

    /// The share of the tolerance that these results need: NaN and infinity at the same places, indices equal.
    fn judge(&self, values: &[f64], indices: Option<&[i32]>) -> Result<f64, String> {
        if values.len() != self.output.len() {
            return Err(format!("{} values instead of {}", values.len(), self.output.len()));
        }
        let mut worst = 0.0f64;
        for (at, (&got, &expected)) in values.iter().zip(&self.output).enumerate() {
            let expected = f64::from(expected);
            if got == expected || (got.is_nan() && expected.is_nan()) {
                continue;
            }
            let share = (got - expected).abs() / (self.atol + self.rtol * expected.abs());
            // Also where the share itself is NaN: one of the two is not finite.
            if !(share <= 1.0 && expected.is_finite()) {
                return Err(format!("{got} instead of {expected} at {at} of {}", values.len()));
            }
            worst = worst.max(share);
        }
        let (Some(expected), Some(got)) = (&self.indices, indices) else { return Ok(worst) };
        // Of several NaNs in a window none is the greatest.
        let wrong = (0..values.len()).find(|&at| got[at] != expected[at] && !values[at].is_nan());
        wrong.map_or(Ok(worst), |at| Err(format!("index {} instead of {} at {at} of {}", got[at], expected[at], values.len())))
    }
}

/// The numbers of a tensor that must be f32, and have this shape.
fn floats(file: &Tensors, name: &str, shape: Option<&[usize]>) -> Result<Vec<f32>, Refused> {
    let value = file.tensor(name).map_err(|error| Refused::new(name, error))?;
    let list = value.as_slice::<f32>().map_err(|error| Refused::new(name, error.message()))?;
    check_shape(name, value.shape(), shape.unwrap_or(value.shape()))?;
    Ok(list.to_vec())
}

fn indices(file: &Tensors, shape: &[usize]) -> Result<Vec<i32>, Refused> {
    let value = file.tensor("indices").map_err(|error| Refused::new("indices", error))?;
    check_shape("indices", value.shape(), shape)?;
    match value.data() {
        Data::I32(list) => Ok(list.clone()),
        Data::I64(list) => {
            let fits = |&index| i32::try_from(index).map_err(|_| Refused::new("indices", format!("has {index}")));
            list.iter().map(fits).collect()
        }
        _ => Err(Refused::new("indices", format!("has elements of {}, but i32 or i64 is needed", value.element()))),
    }
}

fn check_shape(name: &str, got: &[usize], expected: &[usize]) -> Result<(), Refused> {
    if got == expected {
        return Ok(());
    }
    Err(Refused::new(name, format!("has shape {got:?}, but the config says {expected:?}")))
}

/// Judges every file: one verdict for each.
pub fn run(files: &[PathBuf], device: Option<&Device>, report: &mut Report) {
    for file in files {
        let name = file.file_stem().map_or_else(|| file.display().to_string(), |stem| stem.to_string_lossy().into_owned());
        let bytes = std::fs::read(file).map_err(|error| Refused::new("file", error));
        match bytes.and_then(|bytes| Golden::read(&bytes)) {
            Err(refused) => report.fail(&name, &refused.to_string()),
            Ok(golden) => judge_case(&name, &golden, device, report),
        }
        report.advance();
    }
}

fn judge_case(name: &str, golden: &Golden, device: Option<&Device>, report: &mut Report) {
    let case = format!("{name} `{}`", golden.problem);
    let reference = match golden.judge_reference() {
        Ok(share) => format!("of its tolerance: reference {share:.2}"),
        Err(wrong) => return report.fail(&case, &format!("reference: {wrong}")),
    };
    let Some(device) = device else { return report.pass(&case, &reference) };
    if golden.special {
        report.pass(&case, &reference);
        let found = judge_device(golden, device).map_or_else(|wrong| wrong, |shares| format!("as in the file: {shares}"));
        return report.note(&case, &format!("NaN and infinity on the device, not counted: {found}"));
    }
    match device.choose(&golden.problem) {
        Ok(candidates) if candidates.algorithms.is_empty() => {
            let reasons: Vec<String> = candidates.refusals.iter().map(ToString::to_string).collect();
            return report.skip(&case, &reasons.join("; "));
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => return report.skip(&case, &error.to_string()),
        _ => {}
    }
    match judge_device(golden, device) {
        Ok(shares) => report.pass(&case, &format!("{reference}, {shares}")),
        Err(wrong) => report.fail(&case, &wrong),
    }
}

/// The share of the tolerance that each algorithm needs, or who is wrong and how.
fn judge_device(golden: &Golden, device: &Device) -> Result<String, String> {
    let candidates = device.choose(&golden.problem).map_err(|error| error.to_string())?;
    let (mut shares, mut wrong) = (Vec::new(), Vec::new());
    for algorithm in &candidates.algorithms {
        let output = device.run(&golden.problem, &golden.operands(), None, algorithm).map_err(|error| error.to_string());
        let judged = output.and_then(|(values, indices)| {
            golden.judge(&values.into_iter().map(f64::from).collect::<Vec<_>>(), indices.as_deref())
        });
        match judged {
            Ok(share) => shares.push(format!("{algorithm} {share:.2}")),
            Err(what) => wrong.push(format!("{algorithm}: {what}")),
        }
    }
    if wrong.is_empty() { Ok(shares.join(", ")) } else { Err(wrong.join("; ")) }
}
