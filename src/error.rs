//! The one error type of the crate.
//!
//! An [`Error`] has a [`kind`](Error::kind) for programs, the [`field`](Error::field) it is about where there is one, and a
//! message for people: what is wrong, the numbers, the rule. It does not carry backtraces or wrap foreign error types:
//! whatever another crate reports is put into the message.

use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of problem an [`Error`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The description, data or text is wrong in itself: no device could run it.
    Invalid,
    /// Valid, but not possible here: a limit of the device, or something this crate does not do.
    Unsupported,
    /// No adapter could be found on this machine.
    NoAdapter,
    /// The device, or a budget, has no room for what was asked.
    OutOfMemory,
    /// The device is gone: this call and all later ones on its engine fail.
    DeviceLost,
    /// wgpu or the driver refused something that the plan thought possible. This is worth a bug report.
    Device,
}

/// An error: its kind, the field it is about, and a message.
///
/// # Examples
/// ```
/// use wgconv::{ConvDesc, ErrorKind, Geometry, Problem, TensorDesc};
/// let desc = ConvDesc { stride: [0, 1].into(), ..ConvDesc::new(4, 4, [3, 3]) };
/// let error = Geometry::new(&Problem::conv(&desc, &TensorDesc::f32(&[1, 4, 8, 8]))).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert_eq!(error.field(), Some("stride"));
/// assert_eq!(error.to_string(), "invalid stride: axis 0 has stride 0, but a stride is at least 1");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    field: Option<&'static str>,
    /// Whether the message names the field itself, behind the place where it is.
    told: bool,
    message: String,
}

impl Error {
    /// An error of any kind that is not about one field.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, field: None, told: false, message: message.into() }))
    }

    /// An [`ErrorKind::Invalid`] error about `field`.
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Invalid, field: Some(field), told: false, message: message.into() }))
    }

    /// An [`ErrorKind::Unsupported`] error about `field`.
    pub(crate) fn unsupported(field: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Unsupported, field: Some(field), told: false, message: message.into() }))
    }

    /// The same error about another thing of the field: `part` stands before its message.
    pub(crate) fn of(mut self, part: &str) -> Self {
        self.0.message = format!("{part} {}", self.0.message);
        self
    }

    /// The same error with the place where it arose before its message.
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.0.message = format!("{place}: {}", self.text());
        self.0.told = true;
        self
    }

    /// The message with the field before it.
    pub(crate) fn text(&self) -> String {
        match self.0.field.filter(|_| !self.0.told) {
            Some(field) => format!("{field} {}", self.0.message),
            None => self.0.message.clone(),
        }
    }

    /// What sort of problem this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The field of the description, or the operand, that is at fault, by its name in this crate's API.
    pub fn field(&self) -> Option<&'static str> {
        self.0.field
    }

    /// The message without the kind and the field before it. Where the error arose inside of something, as at a node of a graph, that and the
    /// field are at its beginning.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0.kind {
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::NoAdapter => "no adapter",
            ErrorKind::OutOfMemory => "out of memory",
            ErrorKind::DeviceLost => "device lost",
            ErrorKind::Device => "device error",
        };
        match self.0.field.filter(|_| !self.0.told) {
            Some(field) => write!(f, "{kind} {field}: {}", self.0.message),
            None => write!(f, "{kind}: {}", self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_stays_known_wherever_the_error_arose() {
        let error = Error::invalid("stride", "is 0");
        assert_eq!(error.to_string(), "invalid stride: is 0");
        let error = error.within("node Conv").within("model");
        assert_eq!((error.field(), error.to_string().as_str()), (Some("stride"), "invalid: model: node Conv: stride is 0"));
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
