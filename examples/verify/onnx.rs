//! Models of ONNX's backend tests: each is imported, run, and compared with the outputs in its folder.
//!
//! The verdicts are counted for each operator. What this library does not support is listed with its reason and is no failure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::onnx_case::{Case, Run, Verdict};
use crate::output;
use crate::report::Report;

/// How the cases of one operator went.
#[derive(Debug, Default, Clone, Copy)]
struct Row {
    passed: usize,
    failed: usize,
    unsupported: usize,
    skipped: usize,
}

/// The counts of a run, by operator and by tier, and what did not pass.
#[derive(Debug, Default)]
pub struct Table {
    operators: BTreeMap<String, Row>,
    tiers: BTreeMap<String, Row>,
    misses: Vec<String>,
}

/// Judges every case: one verdict for each.
pub fn run(cases: &[Case], run: &Run, report: &mut Report) -> Table {
    let mut table = Table::default();
    for case in cases {
        let verdict = case.judge(run);
        table.add(case, &verdict);
        let name = match case.tier.as_str() {
            "" => format!("{} ({})", case.name, case.operator),
            tier => format!("{} ({}, {tier})", case.name, case.operator),
        };
        match &verdict {
            Verdict::Pass(detail) => report.pass(&name, detail),
            Verdict::Fail(reason) => report.fail(&name, reason),
            Verdict::Unsupported(reason) => report.skip(&name, reason),
            Verdict::Skip(reason) => report.skip(&name, reason),
        }
        report.advance();
    }
    table
}

impl Table {
    fn add(&mut self, case: &Case, verdict: &Verdict) {
        let tier = if case.tier.is_empty() { "-" } else { &case.tier };
        let operator = self.operators.entry(case.operator.clone()).or_default();
        let tier = self.tiers.entry(tier.into()).or_default();
        for row in [operator, tier] {
            match verdict {
                Verdict::Pass(_) => row.passed += 1,
                Verdict::Fail(_) => row.failed += 1,
                Verdict::Unsupported(_) => row.unsupported += 1,
                Verdict::Skip(_) => row.skipped += 1,
            }
        }
        let miss = match verdict {
            Verdict::Pass(_) => return,
            Verdict::Fail(reason) => format!("fail | {}", one_line(reason)),
            Verdict::Unsupported(reason) => format!("unsupported | {}", one_line(reason)),
            Verdict::Skip(reason) => format!("skip | {}", one_line(reason)),
        };
        self.misses.push(format!("| {} | {} | {} | {miss} |", case.name, case.operator, case.tier));
    }

    /// The table for people at a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (title, rows) in [("operator", &self.operators), ("tier", &self.tiers)] {
            let _ = writeln!(text, "{title:<28} {:>6} {:>6} {:>12} {:>8}", "pass", "fail", "unsupported", "skipped");
            for (name, row) in rows {
                let Row { passed, failed, unsupported, skipped } = row;
                let _ = writeln!(text, "{name:<28} {passed:>6} {failed:>6} {unsupported:>12} {skipped:>8}");
            }
        }
        text
    }

    /// The same in Markdown, with a list of what did not pass.
    pub fn markdown(&self, adapter: &str) -> String {
        let mut text = format!("# ONNX backend tests\n\nRun on: {adapter}\n");
        for (title, rows) in [("operator", &self.operators), ("tier", &self.tiers)] {
            let _ = writeln!(text, "\n| {title} | pass | fail | unsupported | skipped |\n|---|---:|---:|---:|---:|");
            for (name, row) in rows {
                let Row { passed, failed, unsupported, skipped } = row;
                let _ = writeln!(text, "| {name} | {passed} | {failed} | {unsupported} | {skipped} |");
            }
        }
        if !self.misses.is_empty() {
            let _ = writeln!(text, "\n| case | operator | tier | verdict | reason |\n|---|---|---|---|---|");
            self.misses.iter().for_each(|miss| {
                let _ = writeln!(text, "{miss}");
            });
        }
        text
    }

    /// Writes the Markdown.
    ///
    /// # Errors
    /// A text where the file cannot be written.
    pub fn write(&self, file: &Path, adapter: &str) -> Result<(), String> {
        output::write(file, self.markdown(adapter).as_bytes())
    }
}

/// A reason in a cell of a table.
fn one_line(reason: &str) -> String {
    reason.replace('\n', "; ").replace('|', "\\|")
}
