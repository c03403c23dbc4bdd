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

// A NaN has no sign, and drivers give 0.
fn safe_sign(x: f32) -> f32 {
    return select(sign(x), x, is_nan(x));
}

// The remainder of 0 <= a by b > 0, both normal numbers. b times the greatest power of 2 that leaves something, again and again: each
// difference is exact. Between the ends of f32 lie 277 powers.
fn remainder(a: f32, b: f32) -> f32 {
    var rest = a;
    for (var step = 0; step < 280 && rest >= b; step += 1) {
        // b with the exponent of the rest.
        let part = bitcast<f32>((bitcast<u32>(rest) & 0x7f800000u) | (bitcast<u32>(b) & 0x007fffffu));
        rest -= select(part, 0.5 * part, part > rest);
    }
    return rest;
}

// The remainder with the sign of the dividend; by infinity it is the number itself.
fn trunc_mod(a: f32, b: f32) -> f32 {
    // Drivers may take what is smaller than the normal numbers for 0.
    if (is_nan(a) || is_inf(a) || is_nan(b) || abs(b) < 1.17549435e-38) {
        return nan_of(a);
    }
    let rest = remainder(abs(a), abs(b));
    // The sign of a zero too.
    return select(rest, -rest, (bitcast<u32>(a) >> 31u) == 1u);
}

// The remainder with the sign of the divisor; by infinity it is the number itself, or infinity where the signs differ.
fn floor_mod(a: f32, b: f32) -> f32 {
    let rest = trunc_mod(a, b);
    if (rest == 0.0) {
        return select(0.0, -0.0, b < 0.0);
    }
    return select(rest, rest + b, (rest < 0.0) != (b < 0.0));
}

// From here on exp(x)^2 is all that counts, and log(x^2 + 1) is 2 log(x).
const FAR = 20.0;
const VAST = 1e9;
const LOG_2 = 0.69314718;

fn safe_sinh(x: f32) -> f32 {
    let size = abs(x);
    let grown = expm1(size);
    // In two steps, as exp(x) overflows before exp(x) / 2 does.
    let root = exp(0.5 * size);
    let result = select(0.5 * (grown + grown / (grown + 1.0)), 0.5 * root * root, size > FAR);
    return select(result, -result, x < 0.0);
}

fn safe_cosh(x: f32) -> f32 {
    let root = exp(0.5 * abs(x));
    return 0.5 * root * root + 0.5 / root / root;
}

fn safe_asinh(x: f32) -> f32 {
    let size = abs(x);
    let far = log(size + sqrt(size * size + 1.0));
    let s = x * x;
    let near = size * (1.0 - s * (1.0 / 6.0 - s * (3.0 / 40.0 - s * (15.0 / 336.0))));
    let result = select(select(far, near, size < 0.3), log(size) + LOG_2, size > VAST);
    return select(result, -result, x < 0.0);
}

fn safe_acosh(x: f32) -> f32 {
    return select(log(x + sqrt(x * x - 1.0)), log(x) + LOG_2, x > VAST);
}

fn safe_atanh(x: f32) -> f32 {
    let s = x * x;
    let near = x * (1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0))));
    return select(0.5 * log((1.0 + x) / (1.0 - x)), near, abs(x) < 0.2);
}

// Drivers' arc functions are polynomials of four to six digits, and take a NaN for 0. The reduction to |y| < tan(pi / 8) and the
// polynomial are those of Cephes' atanf (Moshier, 1992).
fn safe_atan(x: f32) -> f32 {
    let size = abs(x);
    let middle = size > 0.41421356;
    let far = size > 2.4142136;
    let y = select(select(size, (size - 1.0) / (size + 1.0), middle), -1.0 / size, far);
    let base = select(select(0.0, 0.78539816, middle), 1.5707963, far);
    let z = y * y;
    let series = (((0.0805374450 * z - 0.138776856) * z + 0.199777106) * z - 0.333329492) * z * y + y;
    let result = base + series;
    return select(result, -result, x < 0.0);
}

fn safe_asin(x: f32) -> f32 {
    return safe_atan(x / sqrt((1.0 - x) * (1.0 + x)));
}

fn safe_acos(x: f32) -> f32 {
    return 2.0 * safe_atan(sqrt((1.0 - x) / (1.0 + x)));
}
