//! Config cases: layers that are wrong, or only look it, and what each must give.
//!
//! `{"cases": [{"id": .., "expect": .., "field": .., "output": .., "config": {..}}]}`, where `expect` is
//! - `error`: refused, with the field named;
//! - `ok`: the output has this shape, and finite operands give no NaN;
//! - `propagate`: NaN and infinity come out exactly where a second, naive definition has them, and nowhere else;
//! - `error_or_ok`: either of the first two.
//!
//! The library is asked as a user would: description, data, reference. With a device, whatever must be refused must be refused there
//! too; what it makes of NaN and infinity is a note.

use serde_json::Value;
use wgconv::{Algorithm, Geometry, Layer, Problem, Residual, reference};

use crate::config::{self, Defaults};
use crate::device::Device;
use crate::json::{Fields, Refused, items, missing, word};
use crate::naive;
use crate::operands::{Lengths, Operands};
use crate::report::Report;

/// The most products that are computed here; of larger layers only the shape is judged.
const LARGEST: u64 = 1 << 24;

/// A case of the file.
pub struct Case<'a> {
    id: String,
    reason: String,
    expect: &'a str,
    field: Option<&'a str>,
    output: Option<Vec<usize>>,
    config: &'a Value,
}

/// A config that could be read: a layer, and its operands where they are small enough to be made.
pub struct Layered {
    problem: Problem,
    shape: Vec<usize>,
    operands: Option<Operands>,
}

/// What came out of a layer, by the reference and by the naive definition.
pub struct Results {
    values: Vec<f64>,
    naive: Vec<f64>,
}

/// A verdict that is not a failure.
#[derive(Debug)]
pub enum Verdict {
    Passed(String),
    Skipped(String),
}

/// The cases of a file.
///
/// # Errors
/// A text where the file is not of this form.
pub fn cases(file: &Value) -> Result<Vec<Case<'_>>, Refused> {
    let cases = file.get("cases").ok_or_else(|| missing("cases"))?;
    let cases = items("cases", cases)?;
    if cases.is_empty() {
        return Err(Refused::new("cases", "is empty"));
    }
    cases.iter().enumerate().map(|(index, case)| Case::read(index, case)).collect()
}

impl<'a> Case<'a> {
    fn read(index: usize, case: &'a Value) -> Result<Self, Refused> {
        let fields = Fields::new("cases", case)?;
        let text = |name: &str| fields.word(name).map(Option::unwrap_or_default).map(String::from);
        let id = text("id")?;
        Ok(Self {
            id: if id.is_empty() { format!("case-{index:03}") } else { id },
            reason: text("reason")?,
            expect: word("expect", fields.get("expect").ok_or_else(|| missing("expect"))?)?,
            field: fields.word("field")?,
            output: fields.list("output")?,
            config: fields.get("config").ok_or_else(|| missing("config"))?,
        })
    }

    pub fn name(&self) -> String {
        format!("{} ({})", self.id, self.reason)
    }

    /// The layer of the config; most of what is wrong ends here.
    pub fn read_layer(&self) -> Result<Layered, Refused> {
        let fields = Fields::new("config", self.config)?;
        let residual = if fields.has("residual_shape") { Residual::BeforeActivation } else { Residual::None };
        let problem = config::read(&fields, Defaults { bias: true, residual, indices: None })?;
        let geometry = Geometry::new(&problem)?;
        let lengths = Lengths::read(&fields, &problem)?;
        lengths.check_large(&problem)?;
        let small = lengths.are_small() && geometry.output_elements() * geometry.reduction() <= LARGEST;
        let operands = small.then(|| Operands::read(&fields, lengths)).transpose()?;
        if small {
            fields.check_all_read()?;
        }
        Ok(Layered { shape: geometry.output_shape(), problem, operands })
    }

    /// Whether that is what the case must give.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn judge(&self, layered: &Result<Layered, Refused>, device: Option<&Device>) -> Result<Verdict, String> {
        let layered = match layered {
            Ok(layered) => layered,
            Err(refused) => return self.judge_refusal(refused),
        };
        let Some(operands) = &layered.operands else {
            // The description alone may already be more than the device takes.
            return match device.map(|device| device.choose(&layered.problem)) {
                Some(Err(error)) if self.expect == "error" => self.judge_refusal(&error.into()),
                _ => self.judge_shape(&layered.shape),
            };
        };
        match (compute(&layered.problem, operands), self.expect) {
            (Err(refused), _) => {
                let verdict = self.judge_refusal(&refused)?;
                let seen = device.filter(|_| operands.norm().is_none()); // a batch normalisation it does not see
                match seen.and_then(|device| accepting(&layered.problem, operands, device)) {
                    Some(algorithm) => Err(format!("refused by the reference, but {algorithm} runs it on the device")),
                    None => Ok(verdict),
                }
            }
            (Ok(_), "error") => Err(format!("accepted, with output {:?}, but it must be refused", layered.shape)),
            (Ok(results), "ok" | "error_or_ok") => {
                results.check_specials()?;
                // A sum above the largest f32 is infinity; a negative variance has no root, whatever the layer.
                if operands.all_finite() && operands.norm().is_none() && results.values.iter().any(|value| value.is_nan()) {
                    return Err("finite operands give NaN".into());
                }
                self.judge_shape(&layered.shape)
            }
            (Ok(results), "propagate") => {
                results.check_specials()?;
                let (special, all) = (results.specials(), results.values.len());
                if special == 0 {
                    return Err("nothing but finite numbers comes out".into());
                }
                Ok(Verdict::Passed(format!("{special} of {all} outputs are NaN or infinite, as they must be")))
            }
            (Ok(_), other) => Err(format!("expect: {other} is none of error, ok, propagate, error_or_ok")),
        }
    }

    fn judge_refusal(&self, refused: &Refused) -> Result<Verdict, String> {
        match (self.expect, self.field) {
            ("ok" | "propagate", _) => Err(format!("refused, but it is valid: {refused}")),
            (_, Some(field)) if !refused.names(field) => Err(format!("the error does not name `{field}`: {refused}")),
            _ => Ok(Verdict::Passed(refused.to_string())),
        }
    }

    /// All that can be judged of an accepted layer without its values.
    fn judge_shape(&self, shape: &[usize]) -> Result<Verdict, String> {
        match (self.expect, &self.output) {
            ("error" | "propagate", _) => Ok(Verdict::Skipped("is too large to be filled with data here".into())),
            (_, Some(expected)) if expected != shape => Err(format!("output {shape:?} instead of {expected:?}")),
            _ => Ok(Verdict::Passed(format!("output {shape:?}"))),
        }
    }
}

impl Results {
    /// NaN at the same places, infinities of the same sign at the same places, and the rest close.
    fn check_specials(&self) -> Result<(), String> {
        let same = |got: f64, expected: f64| {
            (got.is_nan() && expected.is_nan())
                || got == expected
                || (got.is_finite() && expected.is_finite() && (got - expected).abs() <= 1e-9 * (1.0 + expected.abs()))
        };
        if self.values.len() != self.naive.len() {
            return Err(format!("{} values instead of {}", self.values.len(), self.naive.len()));
        }
        let wrong = self.values.iter().zip(&self.naive).position(|(&got, &expected)| !same(got, expected));
        wrong.map_or(Ok(()), |at| Err(format!("{} instead of {} at {at}", self.values[at], self.naive[at])))
    }

    /// How many outputs are NaN or infinite as the tensor's elements.
    fn specials(&self) -> usize {
        self.values.iter().filter(|&&value| !(value as f32).is_finite()).count()
    }
}

/// Checks the data and runs the reference and the naive definition, a batch normalisation behind them.
fn compute(problem: &Problem, operands: &Operands) -> Result<Results, Refused> {
    let shape = Geometry::new(problem)?.output_shape();
    let unequal = || Refused::new("reference", "has an output where the naive definition has none");
    let Layer::Conv(desc) = &problem.layer else {
        let values = reference::pool(problem, operands.input())?.values;
        return Ok(Results { values, naive: naive::pool(problem, operands.input()).ok_or_else(unequal)?.values });
    };
    operands.check_residual(problem)?;
    let values = reference::conv(problem, &operands.conv())?.values;
    let naive = naive::conv(problem, &operands.conv()).ok_or_else(unequal)?.values;
    let Some(norm) = operands.norm() else { return Ok(Results { values, naive }) };
    // Folded weights may refuse a division by zero; they may not carry it on.
    if let Ok(folded) = norm.fold(desc, &operands.conv().weights)
        && folded.kernel.iter().chain(&folded.bias).any(|value| !value.is_finite())
    {
        return Err(Refused::new("batch_norm", "folds into weights that are not finite"));
    }
    Ok(Results { values: reference::batch_norm(&norm, &shape, &values)?, naive: naive::batch_norm(&norm, &shape, &naive) })
}

/// An algorithm that takes these operands on the device.
fn accepting(problem: &Problem, operands: &Operands, device: &Device) -> Option<Algorithm> {
    let runs = |algorithm: &Algorithm| device.run(problem, &operands.conv(), operands.residual_desc(), algorithm).is_ok();
    device.choose(problem).ok()?.algorithms.into_iter().find(runs)
}

/// Judges every case.
pub fn run(cases: &[Case], device: Option<&Device>, report: &mut Report) {
    for case in cases {
        let layered = case.read_layer();
        match case.judge(&layered, device) {
            Ok(Verdict::Passed(detail)) => report.pass(&case.name(), &detail),
            Ok(Verdict::Skipped(reason)) => report.skip(&case.name(), &reason),
            Err(wrong) => report.fail(&case.name(), &wrong),
        }
        if let (Some(device), Ok(Layered { problem, operands: Some(operands), .. })) = (device, &layered)
            // A batch normalisation has no layer of its own on the device: it is folded into another, or it is not.
            && operands.norm().is_none()
            && let Ok(results) = compute(problem, operands)
        {
            note_device(&case.name(), problem, operands, &results.values, device, report);
        }
        report.advance();
    }
}

/// Lists what the algorithms make of an accepted case, on one line.
fn note_device(name: &str, problem: &Problem, operands: &Operands, values: &[f64], device: &Device, report: &mut Report) {
    let algorithms = match device.choose(problem) {
        Ok(candidates) => candidates.algorithms,
        Err(error) => return report.note(name, &format!("on the device: {error}")),
    };
    let class = |value: f64| (value.is_nan(), value == f64::INFINITY, value == f64::NEG_INFINITY);
    let found = |algorithm: &Algorithm| {
        let (got, _) = match device.run(problem, &operands.conv(), operands.residual_desc(), algorithm) {
            Ok(got) => got,
            Err(error) => return format!("{algorithm}: {error}"),
        };
        let others = got.iter().zip(values).filter(|&(&got, &value)| class(f64::from(got)) != class(value)).count();
        let verdict =
            if others == 0 { "as the reference".into() } else { format!("{others} of {} outputs differ", values.len()) };
        format!("{algorithm}: {verdict}")
    };
    let found: Vec<String> = algorithms.iter().map(found).collect();
    report.note(name, &format!("NaN and infinity on the device, not counted: {}", found.join(", ")));
}
