// each() of a resampling with axes behind it: one output, or four neighbours behind the axis, which share their taps. Expects resampled(),
// put(). p[0]: counts of what each() computes at once.

fn each(index: i32) {
    let inner = p[0].w;
    let row = quotient(index, inner);
    let outer = quotient(row, p[0].z);
    put(index, resampled(outer * p[0].y * inner + index - row * inner, row - outer * p[0].z, inner));
}
