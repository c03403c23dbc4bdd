// Functions of numbers that WGSL lacks, or leaves open for some arguments. Where drivers take `x != x` for false, bits tell a NaN.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_inf(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

// A NaN that no compiler can see coming: constant ones are errors.
fn nan_of(x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 1u) | 0x7fc00000u);
}

fn truth(x: bool) -> f32 {
    return select(0.0, 1.0, x);
}

// A NaN wins, as in the frameworks.
fn greatest(a: f32, b: f32) -> f32 {
    return select(select(b, a, a >= b), a, is_nan(a));
}

fn least(a: f32, b: f32) -> f32 {
    return select(select(b, a, a <= b), a, is_nan(a));
}

// a^b for any sign of a: the sign follows an odd whole b, and other exponents of negative numbers give NaN.
fn power(a: f32, b: f32) -> f32 {
    if (b == 0.0 || a == 1.0) {
        return 1.0;
    }
    if (b == 2.0) {
        return a * a;
    }
    if (b == 0.5) {
        return sqrt(a);
    }
    if (a == 0.0) {
        return select(0.0, 1.0 / abs(a), b < 0.0);
    }
    let size = whole_power(a, b);
    if (a > 0.0) {
        return size;
    }
    if (b != floor(b)) {
        return nan_of(a);
    }
    return select(size, -size, floor(b * 0.5) * 2.0 != b);
}

// |a|^b; small whole exponents by products, which are exact where the result is.
fn whole_power(a: f32, b: f32) -> f32 {
    let base = abs(a);
    if (b == floor(b) && abs(b) <= 64.0) {
        var result = 1.0;
        var square = base;
        var bits = u32(abs(b));
        for (var step = 0; step < 7; step += 1) {
            if ((bits & 1u) == 1u) {
                result *= square;
            }
            square *= square;
            bits = bits >> 1u;
        }
        return select(result, 1.0 / result, b < 0.0);
    }
    return pow(base, b);
}

fn error_function(x: f32) -> f32 {
    let s = x * x;
    let series = x * (1.1283792 - s * (0.37612639 - s * (0.11283792 - s * (0.026866171 - s * (0.0052239776 - s * 0.00085483270)))));
    let tail = 1.0 - erfc_positive(abs(x));
    return select(select(tail, -tail, x < 0.0), series, abs(x) < 0.6);
}

// Halves to even.
fn nearest(x: f32) -> f32 {
    let low = floor(x);
    let rest = x - low;
    let odd = low - 2.0 * floor(low * 0.5);
    let up = rest > 0.5 || (rest == 0.5 && odd == 1.0);
    return select(low, low + 1.0, up);
}

// The remainder with the sign of the divisor; by infinity it is the number itself, or infinity where the signs differ.
fn floor_mod(a: f32, b: f32) -> f32 {
    if (is_inf(b) && !is_inf(a)) {
        return select(b, a, a == 0.0 || is_nan(a) || (a < 0.0) == (b < 0.0));
    }
    return a - b * floor(a / b);
}

// The remainder with the sign of the dividend; by infinity it is the number itself.
fn trunc_mod(a: f32, b: f32) -> f32 {
    if (is_inf(b) && !is_inf(a)) {
        return a;
    }
    return a - b * trunc(a / b);
}

fn safe_asinh(x: f32) -> f32 {
    let size = abs(x);
    let far = log(size + sqrt(size * size + 1.0));
    let s = x * x;
    let near = size * (1.0 - s * (1.0 / 6.0 - s * (3.0 / 40.0 - s * (15.0 / 336.0))));
    return sign(x) * select(far, near, size < 0.3);
}

fn safe_acosh(x: f32) -> f32 {
    return log(x + sqrt(x * x - 1.0));
}

fn safe_atanh(x: f32) -> f32 {
    let s = x * x;
    let near = x * (1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0))));
    return select(0.5 * log((1.0 + x) / (1.0 - x)), near, abs(x) < 0.2);
}

fn safe_sinh(x: f32) -> f32 {
    let grown = expm1(abs(x));
    return sign(x) * 0.5 * (grown + grown / (grown + 1.0));
}

// Drivers' asin and acos are polynomials of four digits; their arc tangents are not.
fn safe_asin(x: f32) -> f32 {
    return atan2(x, sqrt((1.0 - x) * (1.0 + x)));
}

fn safe_acos(x: f32) -> f32 {
    return atan2(sqrt((1.0 - x) * (1.0 + x)), x);
}
