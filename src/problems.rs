//! All that is wrong with a model or graph, in one report.

use crate::error::{Error, ErrorKind, Result};

/// More lines than anyone reads, and fewer than a hostile file could ask for.
const MAX_LINES: usize = 1000;
/// Characters of a name in a line.
const MAX_NAME: usize = 100;

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    lines: Vec<String>,
    /// The first, where it is an error with a field.
    first: Option<Error>,
    more: usize,
    invalid: bool,
}

impl Problems {
    /// Notes one, with the place that it is at.
    pub fn add(&mut self, kind: ErrorKind, place: &str, message: &str) {
        self.add_line(kind, || format!("{place}: {message}"));
    }

    fn add_line(&mut self, kind: ErrorKind, line: impl FnOnce() -> String) {
        self.invalid |= kind != ErrorKind::Unsupported;
        if self.lines.len() < MAX_LINES {
            self.lines.push(line());
        } else {
            self.more += 1;
        }
    }

    /// Notes an error that says where it is.
    pub fn add_whole(&mut self, error: &Error) {
        self.note(error.clone());
    }

    /// Notes an error.
    pub fn add_error(&mut self, place: &str, error: &Error) {
        self.note(error.clone().within(place));
    }

    fn note(&mut self, error: Error) {
        self.add_line(error.kind(), || error.text());
        if self.lines.len() == 1 {
            self.first = Some(error);
        }
    }

    /// Whether one was noted.
    pub fn any(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// The only one, or one with a line for each problem: [`ErrorKind::Unsupported`] where that is what all of them are.
    pub fn finish(mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        if let (Some(error), 1) = (self.first, self.lines.len()) {
            return Err(error);
        }
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        let kind = if self.invalid { ErrorKind::Invalid } else { ErrorKind::Unsupported };
        Err(Error::new(kind, self.lines.join("\n")))
    }
}

/// A name for a message, shortened.
pub(crate) fn short(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}..", &name[..end]),
        None => name.into(),
    }
}
