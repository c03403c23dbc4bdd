// A weighted sum along one axis. Expects Value, what is computed at once, input_value(), TAPS (0: p[1].x of them).
// p[0]: count, input size, output size, elements behind the axis; p[1]: taps, the bits of the value outside.
// indices, weights: [output, taps].

// The output at `at` of the axis whose inputs begin at `start`, `inner` apart.
fn resampled(start: i32, at: i32, inner: i32) -> Value {
    let taps = select(TAPS, p[1].x, TAPS == 0);
    let first = at * taps;
    if (indices[first] < 0) {
        return Value(bitcast<f32>(p[1].y));
    }
    var sum = Value();
    for (var tap = 0; tap < taps; tap += 1) {
        sum = fma(Value(weights[first + tap]), input_value(start + indices[first + tap] * inner), sum);
    }
    return sum;
}
