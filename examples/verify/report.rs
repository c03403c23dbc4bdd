//! What was found, case by case: printed as it comes, counted, and written as JSON.

use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::output;

/// The counts and the listing of one run.
pub struct Report {
    bar: ProgressBar,
    start: Instant,
    passed: usize,
    failed: usize,
    skipped: usize,
    results: Vec<Value>,
}

impl Report {
    /// For so many cases; the bar draws itself only on a terminal, elsewhere the listing is the progress.
    pub fn new(cases: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} cases, {eta} left").expect("a template of known parts");
        let bar = ProgressBar::new(cases as u64).with_style(style);
        Self { bar, start: Instant::now(), passed: 0, failed: 0, skipped: 0, results: Vec::new() }
    }

    /// One more case is done.
    pub fn advance(&self) {
        self.bar.inc(1);
    }

    pub fn pass(&mut self, case: &str, detail: &str) {
        self.passed += 1;
        self.list("ok", case, detail);
    }

    pub fn fail(&mut self, case: &str, detail: &str) {
        self.failed += 1;
        self.list("FAIL", case, detail);
    }

    pub fn skip(&mut self, case: &str, reason: &str) {
        self.skip_all(case, &[reason.into()]);
    }

    /// A case that would have been judged once for each of these reasons not to.
    pub fn skip_all(&mut self, case: &str, reasons: &[String]) {
        if !reasons.is_empty() {
            self.skipped += reasons.len();
            self.list("skip", case, &reasons.join("; "));
        }
    }

    /// Something to know that counts as nothing.
    pub fn note(&mut self, case: &str, detail: &str) {
        self.list("note", case, detail);
    }

    fn list(&mut self, verdict: &str, case: &str, detail: &str) {
        let separator = if detail.is_empty() { "" } else { ": " };
        self.bar.suspend(|| output::say(format!("{verdict:<4}  {case}{separator}{detail}")));
        self.results.push(json!({ "verdict": verdict, "case": case, "detail": detail }));
    }

    /// Writes the JSON where one is wanted and prints the counts, as the very last line;
    /// whether something passed and nothing failed, the file included.
    pub fn finish(self, adapter: Option<&str>, file: Option<&Path>) -> bool {
        let Self { bar, start, passed, failed, skipped, results } = self;
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        output::say(format!("adapter: {}, {seconds:.1} s", adapter.unwrap_or("none")));
        let mut written = true;
        if let Some(file) = file {
            let report = json!({
                "adapter": adapter, "seconds": seconds, "passed": passed, "failed": failed, "skipped": skipped, "results": results,
            });
            let text = serde_json::to_string_pretty(&report).expect("strings and numbers are JSON");
            written = kept(output::write(file, text.as_bytes()));
        }
        if passed + failed == 0 {
            output::say("nothing was checked");
        }
        output::say(format!("{passed} passed, {failed} failed, {skipped} skipped"));
        passed > 0 && failed == 0 && written
    }
}

/// Whether a file was written; if not, says why.
pub fn kept(written: Result<(), String>) -> bool {
    written.inspect_err(|message| eprintln!("error: {message}")).is_ok()
}
