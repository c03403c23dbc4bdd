//! What a network says of a picture: classes with their probabilities, the likeliest first.

use std::fmt::Write as _;
use std::path::Path;

use wgconv::Value;

use crate::Result;
use crate::numbers::counted;

/// Characters of a bar that stands for all.
const BAR: f64 = 30.0;
/// Outputs whose sum is so near to 1 are probabilities.
const NEAR_ONE: f64 = 1e-3;

/// The classes of one picture.
pub struct Answer {
    /// Class, output, probability; the likeliest first.
    ranked: Vec<(usize, f64, f64)>,
    /// Whether the network gives probabilities itself.
    are_probabilities: bool,
}

impl Answer {
    /// The answers of a batch: the first output, its first axis being the pictures.
    pub fn all(outputs: &[Value], batch: usize) -> Result<Vec<Self>> {
        let output = outputs.first().ok_or("the network has no output")?;
        let numbers = output.to_f64();
        if output.shape().first() != Some(&batch) || numbers.is_empty() {
            return Err(
                format!("the network's output is {output}, which is no list of classes for each of {batch} pictures").into()
            );
        }
        Ok(numbers.chunks(numbers.len() / batch).map(Self::new).collect())
    }

    fn new(outputs: &[f64]) -> Self {
        let sum: f64 = outputs.iter().sum();
        let are_probabilities = (sum - 1.0).abs() < NEAR_ONE && outputs.iter().all(|&output| output >= 0.0);
        // Less the greatest, so that none overflows.
        let most = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exponentials: f64 = outputs.iter().map(|output| (output - most).exp()).sum();
        let probability = |output: f64| if are_probabilities { output } else { (output - most).exp() / exponentials };
        let mut ranked: Vec<_> =
            outputs.iter().enumerate().map(|(class, &output)| (class, output, probability(output))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self { ranked, are_probabilities }
    }

    /// Whether there is a name for each class, and no other.
    pub fn check(&self, labels: &[String]) -> Result<(), String> {
        let (names, classes) = (counted(labels.len(), "name", "names"), counted(self.ranked.len(), "class", "classes"));
        if labels.len() == self.ranked.len() { Ok(()) } else { Err(format!("has {names}, but the network has {classes}")) }
    }

    /// The likeliest classes, one line each.
    pub fn table(&self, top: usize, labels: Option<&[String]>) -> String {
        let shown = &self.ranked[..top.min(self.ranked.len())];
        let name = |class: usize| labels.and_then(|labels| labels.get(class)).map_or("", String::as_str);
        let width = shown.iter().map(|(class, ..)| name(*class).chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for &(class, output, probability) in shown {
            let bar = "█".repeat((probability.clamp(0.0, 1.0) * BAR).round() as usize);
            let logit = if self.are_probabilities { String::new() } else { format!("  logit {output:8.3}") };
            let name = name(class);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{}",
                format!("  {class:>5} {name:<width$} {:6.2} %{logit}  {bar}", 100.0 * probability).trim_end()
            );
        }
        text
    }
}

/// The names of the classes, one in each line.
pub fn labels(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    Ok(text.trim_end().lines().map(|line| line.trim().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_probabilities_and_probabilities_stay() {
        let logits = Answer::new(&[0.0, 1000.0, 999.0]);
        assert_eq!(logits.ranked[0].0, 1);
        assert!((logits.ranked[0].2 - 0.731).abs() < 1e-3 && !logits.are_probabilities);
        let given = Answer::new(&[0.25, 0.75]);
        assert_eq!((given.ranked[0], given.are_probabilities), ((1, 0.75, 0.75), true));
    }

    #[test]
    fn an_output_that_is_no_list_of_classes_is_an_error() {
        let output = Value::new(&[3, 2], vec![0.0f32; 6]).expect("as many numbers as the shape has");
        assert!(Answer::all(std::slice::from_ref(&output), 2).is_err());
        assert_eq!(Answer::all(&[output], 3).map(|answers| answers.len()).ok(), Some(3));
    }
}
