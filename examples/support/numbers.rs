//! Numbers on the command line: what is wrong with one is said in plain words, behind the option and the text, which clap names.
//!
//! And counts in sentences.

#![allow(dead_code, reason = "each program uses a part of it")]

use std::ops::RangeInclusive;

/// A whole number within bounds.
pub fn whole<T: TryFrom<u64>>(bounds: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let (least, most) = (bounds.start(), bounds.end());
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err("is not a whole number".into());
        }
        let below = || format!("is {text}, but at least {least} is needed");
        if text.starts_with('-') && digits.bytes().any(|digit| digit != b'0') {
            return Err(below());
        }
        match digits.parse::<u64>() {
            Ok(number) if number < *least => Err(below()),
            Ok(number) if number <= *most => T::try_from(number).map_err(|_| "is too large".into()),
            _ => Err(format!("is {text}, but at most {most} is possible")),
        }
    }
}

/// A whole number from 1 on.
pub fn count(text: &str) -> Result<usize, String> {
    whole(1..=usize::MAX as u64)(text)
}

/// A number that is neither infinite nor none.
pub fn finite(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "is not a number")?;
    if number.is_finite() { Ok(number) } else { Err(format!("is {text}, but a finite number is needed")) }
}

/// One that can be divided by.
pub fn not_zero(text: &str) -> Result<f32, String> {
    match finite(text)? {
        0.0 => Err("is 0, by which nothing can be divided".into()),
        number => Ok(number),
    }
}

/// A number and what it counts, as in `1 entry` and `2 entries`.
pub fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}
