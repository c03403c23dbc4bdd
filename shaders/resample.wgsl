// each() computes one output as a weighted sum along one axis. Expects Elem.
// p[0]: count, input size, output size, elements behind the axis; p[1]: taps, the bits of the value outside.
// indices, weights: [output, taps].

fn each(index: i32) {
    let inner = p[0].w;
    let row = quotient(index, inner);
    let outer = quotient(row, p[0].z);
    let first = (row - outer * p[0].z) * p[1].x;
    if (indices[first] < 0) {
        output[index] = Elem(bitcast<f32>(p[1].y));
        return;
    }
    let start = outer * p[0].y * inner + index - row * inner;
    var sum = 0.0;
    for (var tap = 0; tap < p[1].x; tap += 1) {
        sum = fma(weights[first + tap], f32(input[start + indices[first + tap] * inner]), sum);
    }
    output[index] = Elem(sum);
}
