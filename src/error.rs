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
    message: String,
}

impl Error {
    /// An error of any kind that is not about one field.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, field: None, message: message.into() }))
    }

    /// An [`ErrorKind::Invalid`] error about `field`.
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Invalid, field: Some(field), message: message.into() }))
    }

    /// An [`ErrorKind::Unsupported`] error about `field`.
    pub(crate) fn unsupported(field: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Unsupported, field: Some(field), message: message.into() }))
    }

    /// The same error with the place where it arose before its message.
    pub(crate) fn within(mut self, place: &str) -> Self {
        let field = self.0.field.take().map_or(String::new(), |field| format!("{field} "));
        self.0.message = format!("{place}: {field}{}", self.0.message);
        self
    }

    /// What sort of problem this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The field of the description, or the operand, that is at fault, by its name in this crate's API.
    pub fn field(&self) -> Option<&'static str> {
        self.0.field
    }

    /// The message without the kind and the field before it.
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
        match self.0.field {
            Some(field) => write!(f, "{kind} {field}: {}", self.0.message),
            None => write!(f, "{kind}: {}", self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {}
