// A weighted sum along one axis. Expects Item, what is computed of at once, TAPS (0: p[1].x of them).
// p[0]: count, input size, output size, elements behind the axis; p[1]: taps, the bits of the value outside.
// indices, weights: [output, taps].

// The output at `at` of the axis whose inputs begin at `start`, `inner` apart.
fn resampled(start: i32, at: i32, inner: i32) -> Item {
    let taps = select(TAPS, p[1].x, TAPS == 0);
    let first = at * taps;
    if (indices[first] < 0) {
        return Item(bitcast<f32>(p[1].y));
    }
    var sum = Item();
    for (var tap = 0; tap < taps; tap += 1) {
        sum = fma(Item(weights[first + tap]), Item(input[start + indices[first + tap] * inner]), sum);
    }
    return sum;
}
