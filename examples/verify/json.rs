//! Numbers, lists and words out of JSON that may say anything, with errors that name the field.
//!
//! Sizes are whole numbers from 0 on. One above 2^53, which JSON readers may round, may be a string of digits instead; a smaller one
//! in a string is a mistake. `null` is the same as no field.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

/// Why a config is not a layer that can run, and the field at fault by its name in the JSON.
#[derive(Debug, Clone)]
pub struct Refused {
    pub field: Option<String>,
    message: String,
}

impl Refused {
    pub fn new(field: &str, message: impl fmt::Display) -> Self {
        Self { field: Some(field.into()), message: format!("{field}: {message}") }
    }

    /// Whether the error is about this field: by its mark, or at least as a word of its message.
    pub fn names(&self, field: &str) -> bool {
        let mut words = self.message.split(|c: char| !c.is_alphanumeric() && c != '_');
        self.field.as_deref() == Some(field) || words.any(|word| word == field)
    }
}

/// Errors of the library, with the names that the JSON has for its fields.
impl From<wgconv::Error> for Refused {
    fn from(error: wgconv::Error) -> Self {
        let field = error.field().map(|field| match field {
            "padding" => "pad",
            "padding_mode" => "pad_mode",
            "out_channels" => "out",
            "in_channels" => "input",
            other => other,
        });
        Self { field: field.map(Into::into), message: error.to_string() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Keys that describe a case and do not change what it computes; so do those that end in `_err` or `_ok`.
const HARMLESS: [&str; 21] = [
    "abs_sum_max",
    "area",
    "atol",
    "bytes",
    "comment",
    "doc",
    "dup_of",
    "exact",
    "features",
    "format",
    "id",
    "macs",
    "name",
    "note",
    "output",
    "rank",
    "reason",
    "rtol",
    "seed",
    "source",
    "values",
];

/// The fields of an object, which remembers those that were asked for.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    pub fn new(field: &str, value: &'a Value) -> Result<Self, Refused> {
        let map = value.as_object().ok_or_else(|| Refused::new(field, format!("is {value}, but an object is needed")))?;
        Ok(Self { map, asked: RefCell::default() })
    }

    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(field.into());
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    pub fn size(&self, field: &str) -> Result<Option<usize>, Refused> {
        self.get(field).map(|value| size(field, value)).transpose()
    }

    /// A size under one name that is a property of what goes by another, which the error names.
    pub fn size_of(&self, operand: &str, field: &str) -> Result<Option<usize>, Refused> {
        self.size(field).map_err(|refused| Refused::new(operand, refused))
    }

    pub fn list(&self, field: &str) -> Result<Option<Vec<usize>>, Refused> {
        self.get(field).map(|value| items(field, value)?.iter().map(|item| size(field, item)).collect()).transpose()
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>, Refused> {
        let read = |value: &Value| {
            value.as_bool().ok_or_else(|| Refused::new(field, format!("is {value}, but true or false is needed")))
        };
        self.get(field).map(read).transpose()
    }

    pub fn float(&self, field: &str) -> Result<Option<f64>, Refused> {
        self.get(field).map(|value| float(field, value)).transpose()
    }

    pub fn word(&self, field: &str) -> Result<Option<&'a str>, Refused> {
        self.get(field).map(|value| word(field, value)).transpose()
    }

    /// Refuses a key that nobody asked for: it would be ignored in silence.
    pub fn check_all_read(&self) -> Result<(), Refused> {
        let asked = self.asked.borrow();
        let harmless = |key: &str| HARMLESS.contains(&key) || key.ends_with("_err") || key.ends_with("_ok");
        let unknown = self.map.iter().find(|(key, value)| !asked.contains(*key) && !harmless(key) && !value.is_null());
        unknown.map_or(Ok(()), |(key, _)| Err(Refused::new(key, "is not a key of this operation")))
    }
}

pub fn missing(field: &str) -> Refused {
    Refused::new(field, "is missing")
}

pub fn items<'a>(field: &str, value: &'a Value) -> Result<&'a [Value], Refused> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Refused::new(field, format!("is {value}, but a list is needed")))
}

pub fn word<'a>(field: &str, value: &'a Value) -> Result<&'a str, Refused> {
    value.as_str().ok_or_else(|| Refused::new(field, format!("is {value}, but a word is needed")))
}

/// A whole number from 0 on.
pub fn size(field: &str, value: &Value) -> Result<usize, Refused> {
    const EXACT: usize = 1 << 53;
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
        Value::String(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
            digits.parse().ok().filter(|&number| number > EXACT)
        }
        _ => None,
    };
    number.ok_or_else(|| match value {
        Value::String(_) => {
            Refused::new(field, format!("has the string {value}, but only a number above 2^53 is written as one"))
        }
        _ => Refused::new(field, format!("has {value}, but a whole number from 0 to {} is needed", usize::MAX)),
    })
}

/// Any number; those that JSON cannot write are words.
pub fn float(field: &str, value: &Value) -> Result<f64, Refused> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(word) => match word.to_ascii_lowercase().as_str() {
            "nan" => Some(f64::NAN),
            "inf" | "+inf" | "infinity" => Some(f64::INFINITY),
            "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    };
    number.ok_or_else(|| Refused::new(field, format!("has {value}, but a number is needed")))
}
