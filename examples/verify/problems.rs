//! Files of problem lines: every line by every algorithm on f32 and f16, through the library's own three checks.

use std::io::Read;
use std::path::{Path, PathBuf};

use wgconv::verify::Case;
use wgconv::{DType, ErrorKind, Problem};

use crate::device::Device;
use crate::report::Report;

/// A line and where it is.
pub struct Line {
    place: String,
    text: String,
}

/// The lines of the files, `-` for what is typed; a `#` begins a comment.
///
/// # Errors
/// A text where a file cannot be read, or no line is in any.
pub fn lines(files: &[PathBuf]) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for file in files {
        let about = |error| format!("{}: {error}", file.display());
        let mut text = String::new();
        if file == Path::new("-") {
            std::io::stdin().read_to_string(&mut text).map_err(about)?;
        } else {
            text = std::fs::read_to_string(file).map_err(about)?;
        }
        let spoken = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let numbered = (1..).zip(spoken).filter(|(_, line)| !line.is_empty());
        let line =
            |(number, text): (usize, &str)| Line { place: format!("{}: line {number}", file.display()), text: text.into() };
        lines.extend(numbered.map(line));
    }
    if lines.is_empty() { Err("there is no problem line in the files".into()) } else { Ok(lines) }
}

/// Judges every line: one verdict for each algorithm and element type, refusals included.
pub fn run(lines: &[Line], device: &Device, seed: u64, report: &mut Report) {
    for Line { place, text } in lines {
        match text.parse::<Problem>() {
            Err(error) => report.fail(&format!("{place}: {text}"), &error.to_string()),
            Ok(problem) => {
                for dtype in [DType::F32, DType::F16] {
                    judge(&problem.with_dtype(dtype), device, seed, report);
                }
            }
        }
        report.advance();
    }
}

fn judge(problem: &Problem, device: &Device, seed: u64, report: &mut Report) {
    let line = problem.to_string();
    let candidates = match device.choose(problem) {
        Ok(candidates) => candidates,
        Err(error) if error.kind() == ErrorKind::Unsupported => return report.skip(&line, error.message()),
        Err(error) => return report.fail(&line, &error.to_string()),
    };
    if !candidates.algorithms.is_empty() {
        match Case::new(problem, seed) {
            Err(error) => report.fail(&line, &error.to_string()),
            Ok(case) => {
                for algorithm in &candidates.algorithms {
                    match case.check(&device.engine, algorithm) {
                        Err(error) => report.fail(&format!("{line} by {algorithm}"), &error.to_string()),
                        Ok(found) if found.passed() => report.pass(&found.to_string(), ""),
                        Ok(found) => report.fail(&found.to_string(), ""),
                    }
                }
            }
        }
    }
    let reasons: Vec<String> = candidates.refusals.iter().map(ToString::to_string).collect();
    report.skip_all(&line, &reasons);
}
