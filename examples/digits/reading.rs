//! From logits to answers: what a digit was read as, how sure the network is, and how far two lists of logits lie apart.

use crate::data::{CLASSES, Digit};

/// The classes of one digit with their probabilities, the likeliest first.
pub struct Reading([(usize, f64); CLASSES]);

impl Reading {
    /// The readings of `[n, CLASSES]` logits.
    pub fn all(logits: &[f64]) -> Vec<Self> {
        logits.as_chunks().0.iter().map(Self::new).collect()
    }

    /// Softmax, then in order; the greatest logit is subtracted first so that no exponential overflows.
    fn new(logits: &[f64; CLASSES]) -> Self {
        let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers = logits.map(|logit| (logit - greatest).exp());
        let sum: f64 = powers.iter().sum();
        let mut ranked: [(usize, f64); CLASSES] = std::array::from_fn(|class| (class, powers[class] / sum));
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self(ranked)
    }

    /// The likeliest class.
    pub fn class(&self) -> usize {
        self.0[0].0
    }

    /// All classes with their probabilities, the likeliest first.
    pub fn ranked(&self) -> &[(usize, f64)] {
        &self.0
    }

    /// Whether this is not the digit's label; a digit without one is never wrong.
    pub fn is_wrong(&self, digit: &Digit) -> bool {
        digit.label.is_some_and(|label| label != self.class())
    }
}

/// The greatest difference of two lists of logits; NaN where either holds one.
pub fn largest_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "both are [n, CLASSES] of the same digits");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, worse)
}

/// The greater of two errors; a NaN is the greatest.
pub fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_ordered_and_sum_to_one() {
        let reading = Reading::new(&[0.0, 1000.0, 999.0, -1000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((reading.class(), reading.ranked()[1].0), (1, 2));
        assert!((reading.ranked().iter().map(|class| class.1).sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_error_of_nan_is_not_lost_among_others() {
        assert_eq!(largest_error(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
        assert!(largest_error(&[f64::NAN, 2.0], &[1.0, 9.0]).is_nan());
        assert!(largest_error(&[2.0, f64::NAN, 2.0], &[9.0, 1.0, 2.0]).is_nan());
    }
}
