// The activations in f32, each safe for every finite input: no overflow to NaN on the way, a NaN stays a NaN.
// Their definitions, in f64, are in src/activation.rs; `select` keeps a NaN because a comparison with it is false.

fn relu(x: f32) -> f32 {
    return select(x, 0.0, x < 0.0);
}

fn at_least(x: f32, low: f32) -> f32 {
    return select(x, low, x < low);
}

fn at_most(x: f32, high: f32) -> f32 {
    return select(x, high, x > high);
}

fn leaky_relu(x: f32, alpha: f32) -> f32 {
    return select(x, alpha * x, x < 0.0);
}

// exp(x) - 1 without cancellation: five terms of its series near 0, where they are exact to f32.
fn expm1(x: f32) -> f32 {
    let series = x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0)))));
    return select(exp(x) - 1.0, series, abs(x) < 0.125);
}

fn elu(x: f32, alpha: f32) -> f32 {
    return select(x, alpha * expm1(min(x, 0.0)), x < 0.0);
}

fn selu(x: f32, alpha: f32, gamma: f32) -> f32 {
    return gamma * elu(x, alpha);
}

fn celu(x: f32, alpha: f32) -> f32 {
    // For alpha < 0 the exponent grows with x: stopped where f32 ends, and min() takes the other branch there.
    return relu(x) + min(alpha * expm1(min(x / alpha, 88.0)), 0.0);
}

fn sigmoid(x: f32) -> f32 {
    let small = exp(-abs(x));
    return select(1.0, small, x < 0.0) / (1.0 + small);
}

fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    return at_most(relu(alpha * x + beta), 1.0);
}

// tanh() of a driver may overflow for large arguments: exp(-2|x|) cannot.
fn safe_tanh(x: f32) -> f32 {
    let small = expm1(-2.0 * abs(x));
    return -sign(x) * small / (small + 2.0);
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn hard_swish(x: f32) -> f32 {
    return x * at_most(relu(x / 6.0 + 0.5), 1.0);
}

// 1 - erf(x) for x >= 0, absolute error 1.5e-7: Abramowitz and Stegun (1964), formula 7.1.26.
fn erfc_positive(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * x);
    let polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return polynomial * exp(-x * x);
}

fn gelu(x: f32) -> f32 {
    let tail = 0.5 * erfc_positive(abs(x) * 0.70710678);
    return x * select(1.0 - tail, tail, x < 0.0);
}

fn gelu_tanh(x: f32) -> f32 {
    // x/2 (1 + tanh(u)) = x sigmoid(2u); u is held where the sigmoid has long been 0 or 1.
    let u = 0.7978845608 * (x + 0.044715 * x * x * x);
    return x * sigmoid(2.0 * u);
}

// ln(1 + x) for 0 <= x <= 1, by a series near 0 where the sum would lose x.
fn log1p(x: f32) -> f32 {
    let series = x * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * 0.25)));
    return select(log(1.0 + x), series, x < 0.01);
}

fn softplus(x: f32) -> f32 {
    return relu(x) + log1p(exp(-abs(x)));
}

fn softsign(x: f32) -> f32 {
    return x / (1.0 + abs(x));
}

// tanh(ln(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2) with e = exp(x); above 20 the quotient is 1.
fn mish(x: f32) -> f32 {
    let e = exp(min(x, 20.0));
    let n = e * (e + 2.0);
    return x * (n / (n + 2.0));
}
