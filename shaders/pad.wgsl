// found() is which coordinate of the input stands at one of a padded output. each(), which is written by Rust with a line for each axis, finds
// the element, or the value.
// Expects MODE. p[0]: count, the value's bits; then for each axis, outermost first: output size, input size, elements before, the input's
// stride.

const VALUE: i32 = 0;
const REFLECT: i32 = 1;
const EDGE: i32 = 2;
const WRAP: i32 = 3;

// The remainder that is never negative.
fn modulo(x: i32, n: i32) -> i32 {
    let size = select(x, -1 - x, x < 0);
    let rest = size - quotient(size, n) * n;
    return select(rest, n - 1 - rest, x < 0);
}

// The coordinate that stands at `at`, which may be far outside; -1 for the fill value.
fn found(at: i32, size: i32) -> i32 {
    if (MODE == REFLECT) {
        let period = max(2 * (size - 1), 1);
        let within = modulo(at, period);
        return min(within, period - within);
    }
    if (MODE == EDGE) {
        return clamp(at, 0, size - 1);
    }
    if (MODE == WRAP) {
        return modulo(at, size);
    }
    return select(-1, at, at >= 0 && at < size);
}
