//! [`Activation`]: the pointwise functions that every convolution kernel can apply to its result.
//!
//! The formulas stand here once, in f64 for the reference. The kernels' f32 versions are in `shaders/lib/activations.wgsl`.

use std::fmt;

use crate::error::{Error, Result};

/// A pointwise function applied to a convolution's result `x`.
///
/// Names and default parameters are PyTorch's and ONNX's. A NaN stays a NaN under all of them.
///
/// # Examples
/// ```
/// use wgconv::Activation;
/// let activation: Activation = "leaky_relu(0.1)".parse().unwrap();
/// assert_eq!(activation, Activation::LeakyRelu { alpha: 0.1 });
/// assert_eq!(activation.to_string(), "leaky_relu(0.1)");
/// assert_eq!(activation.apply(-2.0, 0.0), -2.0 * f64::from(0.1f32));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `min(max(x, min), max)`; with `min > max` every output is `max`, as ONNX's Clip says.
    Clamp {
        /// The least output.
        min: f32,
        /// The greatest output.
        max: f32,
    },
    /// `x` where `x >= 0`, else `alpha x` (Maas et al., 2013).
    LeakyRelu {
        /// The slope below zero; 0.01 by default elsewhere.
        alpha: f32,
    },
    /// `x` where `x >= 0`, else `slope[c] x`, one learned slope for each output channel (He et al., 2015).
    Prelu,
    /// `x` where `x >= 0`, else `alpha (exp(x) - 1)` (Clevert et al., 2015).
    Elu {
        /// The negated limit for `x` towards minus infinity.
        alpha: f32,
    },
    /// `gamma x` where `x >= 0`, else `gamma alpha (exp(x) - 1)` (Klambauer et al., 2017); see [`Activation::selu`].
    Selu {
        /// 1.6732632 in the paper.
        alpha: f32,
        /// 1.050701 in the paper.
        gamma: f32,
    },
    /// `max(x, 0) + min(0, alpha (exp(x / alpha) - 1))` (Barron, 2017).
    Celu {
        /// The scale; not 0.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `min(max(alpha x + beta, 0), 1)`; ONNX's defaults are 0.2 and 0.5, PyTorch's 1/6 and 0.5.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `tanh(x)`
    Tanh,
    /// `x sigmoid(x)`, also called swish (Elfwing et al., 2017).
    Silu,
    /// `x min(max(x/6 + 1/2, 0), 1)` (Howard et al., 2019).
    HardSwish,
    /// `x/2 (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel, 2016).
    Gelu,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, the approximation of the same paper.
    GeluTanh,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x tanh(ln(1 + exp(x)))` (Misra, 2019).
    Mish,
    /// `min(max(round(slope[c] x) + zero, min), max)`, the product in f32, halves to even: what a quantised layer makes of sums of whole
    /// numbers, with a scale for each output channel (ONNX QLinearConv; Jacob et al., 2018). As a step function it turns the least error
    /// of a sum into one of a whole step; sums of whole numbers below 2^24 have none.
    Quantize {
        /// The whole number that stands for 0.
        zero: f32,
        /// The least output.
        min: f32,
        /// The greatest output.
        max: f32,
    },
}

/// The constants of Klambauer et al. (2017), as ONNX writes them.
const SELU: (f32, f32) = (1.673_263_2, 1.050_701);

impl Activation {
    /// SELU with the constants of its paper.
    pub fn selu() -> Self {
        Activation::Selu { alpha: SELU.0, gamma: SELU.1 }
    }

    /// The name in problem lines, without parameters.
    pub fn name(&self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::Clamp { .. } => "clamp",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Prelu => "prelu",
            Activation::Elu { .. } => "elu",
            Activation::Selu { .. } => "selu",
            Activation::Celu { .. } => "celu",
            Activation::Sigmoid => "sigmoid",
            Activation::HardSigmoid { .. } => "hard_sigmoid",
            Activation::Tanh => "tanh",
            Activation::Silu => "silu",
            Activation::HardSwish => "hard_swish",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Softplus => "softplus",
            Activation::Softsign => "softsign",
            Activation::Mish => "mish",
            Activation::Quantize { .. } => "quantize",
        }
    }

    /// The parameters, in the order in which they are declared and printed.
    pub(crate) fn parameters(&self) -> Vec<f32> {
        match *self {
            Activation::Clamp { min, max } => vec![min, max],
            Activation::LeakyRelu { alpha } | Activation::Elu { alpha } | Activation::Celu { alpha } => vec![alpha],
            Activation::Selu { alpha, gamma } => vec![alpha, gamma],
            Activation::HardSigmoid { alpha, beta } => vec![alpha, beta],
            Activation::Quantize { zero, min, max } => vec![zero, min, max],
            _ => Vec::new(),
        }
    }

    /// Whether it has one number for each output channel, [`Weights::slope`](crate::Weights::slope): `prelu` and `quantize`.
    pub fn has_slope(&self) -> bool {
        matches!(self, Activation::Prelu | Activation::Quantize { .. })
    }

    /// Whether the parameters are usable.
    pub(crate) fn check(&self) -> Result<()> {
        for parameter in self.parameters() {
            // A clamp may be open on one side; no other parameter can be infinite and mean something.
            if parameter.is_nan() || (parameter.is_infinite() && !matches!(self, Activation::Clamp { .. })) {
                return Err(Error::invalid(
                    "activation",
                    format!("{self} has the parameter {parameter}, which is not a finite number"),
                ));
            }
        }
        if matches!(self, Activation::Celu { alpha: 0.0 }) {
            return Err(Error::invalid("activation", "celu has alpha 0, by which it would divide"));
        }
        Ok(())
    }

    /// The function itself, in f64; `slope` is the channel's where the activation [has slopes](Self::has_slope) and unused otherwise.
    pub fn apply(&self, x: f64, slope: f64) -> f64 {
        if x.is_nan() {
            return x;
        }
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        match *self {
            Activation::Identity => x,
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Clamp { min, max } => x.max(f64::from(min)).min(f64::from(max)),
            Activation::LeakyRelu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    f64::from(alpha) * x
                }
            }
            Activation::Prelu => {
                if x >= 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Activation::Elu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    f64::from(alpha) * x.exp_m1()
                }
            }
            Activation::Selu { alpha, gamma } => f64::from(gamma) * if x >= 0.0 { x } else { f64::from(alpha) * x.exp_m1() },
            Activation::Celu { alpha } => {
                let alpha = f64::from(alpha);
                x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0)
            }
            Activation::Sigmoid => sigmoid(x),
            Activation::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
            Activation::Tanh => x.tanh(),
            Activation::Silu => {
                if x == f64::NEG_INFINITY {
                    0.0
                } else {
                    x * sigmoid(x)
                }
            }
            Activation::HardSwish => {
                if x <= -3.0 {
                    0.0
                } else {
                    x * (x / 6.0 + 0.5).min(1.0)
                }
            }
            Activation::Gelu => {
                if x == f64::NEG_INFINITY {
                    0.0
                } else {
                    0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
                }
            }
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                if x == f64::NEG_INFINITY { 0.0 } else { 0.5 * x * (1.0 + inner.tanh()) }
            }
            Activation::Softplus => softplus(x),
            Activation::Softsign => {
                if x.is_infinite() {
                    x.signum()
                } else {
                    x / (1.0 + x.abs())
                }
            }
            Activation::Mish => {
                if x == f64::NEG_INFINITY {
                    0.0
                } else {
                    x * softplus(x).tanh()
                }
            }
            Activation::Quantize { zero, min, max } => {
                let steps = f64::from(x as f32 * slope as f32).round_ties_even();
                (steps + f64::from(zero)).max(f64::from(min)).min(f64::from(max))
            }
        }
    }

    /// How much the function may jump where an error moves a sum over the edge of a step.
    pub(crate) fn step(&self) -> f64 {
        if matches!(self, Activation::Quantize { .. }) { 1.0 } else { 0.0 }
    }

    /// An upper bound of `|f'|` between steps, near the result `value`: how much an error of the sum can grow on its way through the function.
    pub(crate) fn lipschitz(&self, slope: f64, value: f64) -> f64 {
        let alpha = |alpha: f32| f64::from(alpha).abs().max(1.0);
        match *self {
            Activation::LeakyRelu { alpha: a } | Activation::Elu { alpha: a } => alpha(a),
            // The exponential of a negative scale grows with the sum, and its slope with it.
            Activation::Celu { alpha } if alpha < 0.0 => 1.0 + (value / f64::from(alpha)).abs(),
            Activation::Prelu => slope.abs().max(1.0),
            Activation::Quantize { .. } => slope.abs(),
            Activation::Selu { alpha: a, gamma } => f64::from(gamma).abs() * alpha(a),
            Activation::HardSigmoid { alpha: a, .. } => f64::from(a).abs(),
            Activation::Sigmoid => 0.25,
            Activation::HardSwish => 1.5,
            // The greatest slopes of silu (1.0998), gelu (1.129) and mish (1.0885), rounded up.
            Activation::Silu | Activation::Gelu | Activation::GeluTanh | Activation::Mish => 1.13,
            _ => 1.0,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if *self == Activation::selu() {
            return Ok(());
        }
        for (index, parameter) in self.parameters().iter().enumerate() {
            write!(f, "{}{parameter}", if index == 0 { '(' } else { ',' })?;
        }
        if self.parameters().is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl std::str::FromStr for Activation {
    type Err = Error;

    /// Parses what `Display` prints: `relu`, `clamp(-1,1)`, `selu` (with the paper's constants).
    fn from_str(text: &str) -> Result<Self> {
        let bad = |message: String| Error::invalid("activation", message);
        let (name, parameters) = match text.split_once('(') {
            None => (text, Vec::new()),
            Some((name, rest)) => {
                let list = rest.strip_suffix(')').ok_or_else(|| bad(format!("`{text}` lacks its closing parenthesis")))?;
                let numbers = list
                    .split(',')
                    .map(|number| number.parse::<f32>().map_err(|_| bad(format!("`{number}` in `{text}` is not a number"))));
                (name, numbers.collect::<Result<Vec<f32>>>()?)
            }
        };
        let activation = match (name, parameters.as_slice()) {
            ("identity", []) => Activation::Identity,
            ("relu", []) => Activation::Relu,
            ("relu6", []) => Activation::Relu6,
            ("clamp", &[min, max]) => Activation::Clamp { min, max },
            ("leaky_relu", &[alpha]) => Activation::LeakyRelu { alpha },
            ("prelu", []) => Activation::Prelu,
            ("elu", &[alpha]) => Activation::Elu { alpha },
            ("selu", []) => Activation::selu(),
            ("selu", &[alpha, gamma]) => Activation::Selu { alpha, gamma },
            ("celu", &[alpha]) => Activation::Celu { alpha },
            ("sigmoid", []) => Activation::Sigmoid,
            ("hard_sigmoid", &[alpha, beta]) => Activation::HardSigmoid { alpha, beta },
            ("tanh", []) => Activation::Tanh,
            ("silu", []) => Activation::Silu,
            ("hard_swish", []) => Activation::HardSwish,
            ("gelu", []) => Activation::Gelu,
            ("gelu_tanh", []) => Activation::GeluTanh,
            ("softplus", []) => Activation::Softplus,
            ("softsign", []) => Activation::Softsign,
            ("mish", []) => Activation::Mish,
            ("quantize", &[zero, min, max]) => Activation::Quantize { zero, min, max },
            _ => return Err(bad(format!("`{text}` is not an activation, or has the wrong number of parameters"))),
        };
        Ok(activation)
    }
}
