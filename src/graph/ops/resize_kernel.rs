//! Which inputs around a coordinate a resampling looks at, and with what weights.

use crate::graph::{Nearest, Resize, ResizeMode};

/// The input that mode nearest takes.
pub(super) fn nearest_to(x: f64, rule: Nearest) -> i64 {
    let below = x.floor();
    let up = match rule {
        Nearest::RoundPreferFloor => x - below > 0.5,
        Nearest::RoundPreferCeil => x - below >= 0.5,
        Nearest::Floor => false,
        Nearest::Ceil => x > below,
    };
    below as i64 + i64::from(up)
}

/// The function of the distance that modes linear and cubic weigh inputs with.
pub(super) struct Kernel {
    /// Cubic: its parameter (Keys, 1981).
    cubic: Option<f64>,
    /// Below 1 where the function is widened against aliasing.
    squeeze: f64,
    /// Whether the weights are scaled to a sum of 1.
    normalise: bool,
    /// Inputs that have a weight.
    pub taps: usize,
}

impl Kernel {
    /// `None` for mode nearest.
    pub fn new(resize: &Resize, scale: f64) -> Option<Self> {
        let (cubic, radius) = match resize.mode {
            ResizeMode::Nearest => return None,
            ResizeMode::Linear => (None, 1.0),
            ResizeMode::Cubic => (Some(f64::from(resize.cubic_a)), 2.0),
        };
        let squeeze = if resize.antialias { scale.min(1.0) } else { 1.0 };
        // An axis with outputs has a scale of about `1 / input` at least: this is a few times the input at most.
        Some(Self { cubic, squeeze, normalise: resize.antialias, taps: 2 * (radius / squeeze).ceil() as usize })
    }

    fn at(&self, distance: f64) -> f64 {
        let x = (distance * self.squeeze).abs();
        match self.cubic {
            None => (1.0 - x).max(0.0),
            Some(a) if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Some(a) if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            Some(_) => 0.0,
        }
    }

    /// The first input around a coordinate, and the weights from there on. With the size of the input, those outside are 0.
    pub fn weights(&self, x: f64, inside: Option<usize>) -> (i64, Vec<f64>) {
        // At an input's own place the window is that of what lies before it.
        let below = x.ceil() as i64 - 1;
        let first = below + 1 - self.taps as i64 / 2;
        let indices = first..first + self.taps as i64;
        let mut weights: Vec<f64> = indices.clone().map(|index| self.at(index as f64 - x)).collect();
        let normalise = |weights: &mut [f64]| {
            let sum: f64 = weights.iter().sum();
            // Far outside there may be nothing to scale.
            if sum != 0.0 {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
        };
        if self.normalise {
            normalise(&mut weights);
        }
        if let Some(size) = inside {
            let is_inside = |index: i64| usize::try_from(index).is_ok_and(|index| index < size);
            if indices.clone().zip(&weights).any(|(index, weight)| is_inside(index) && *weight != 0.0) {
                weights.iter_mut().zip(indices).filter(|(_, index)| !is_inside(*index)).for_each(|(weight, _)| *weight = 0.0);
                normalise(&mut weights);
            }
        }
        (first, weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_whatever_the_width() {
        for cubic in [None, Some(-0.5), Some(-0.75)] {
            for (squeeze, taps) in [(1.0, 4), (0.6, 8), (0.25, 16)] {
                let kernel = Kernel { cubic, squeeze, normalise: squeeze < 1.0, taps };
                for x in [-0.5, 0.0, 1.25, 2.0] {
                    for inside in [None, Some(3)] {
                        let sum: f64 = kernel.weights(x, inside).1.iter().sum();
                        assert!((sum - 1.0).abs() < 1e-12, "{cubic:?} {squeeze} at {x}: {sum}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_reaches_as_far_to_both_sides() {
        let kernel = Kernel { cubic: None, squeeze: 0.5, normalise: true, taps: 4 };
        assert_eq!(kernel.weights(2.5, None), (1, vec![0.125, 0.375, 0.375, 0.125]));
        assert_eq!(kernel.weights(2.0, None), (0, vec![0.0, 0.25, 0.5, 0.25]));
    }

    #[test]
    fn far_outside_the_border_counts() {
        let kernel = Kernel { cubic: None, squeeze: 1.0, normalise: false, taps: 2 };
        assert_eq!(kernel.weights(-2.5, Some(4)), (-3, vec![0.5, 0.5]));
    }
}
