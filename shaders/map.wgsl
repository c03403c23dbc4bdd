// each() computes one element of the output from one element of each operand, found by strides.
// Expects RANK (at least 1), ROWS, Elem, element().
// p: ROWS rows for the header and for each axis, outermost first. Header: count, the output's offset, the operands' offsets. Axis: size,
// the output's stride, the operands' strides.

fn each(index: i32) {
    // Places of the output (second number) and of the operands behind it; the first number means nothing.
    var at: array<vec4<i32>, ROWS>;
    for (var row = 0; row < ROWS; row += 1) {
        at[row] = p[row];
    }
    var rest = index;
    for (var axis = RANK; axis > 0; axis -= 1) {
        var inner = rest;
        if (axis > 1) {
            let size = p[axis * ROWS].x;
            let outer = rest / size;
            inner = rest - outer * size;
            rest = outer;
        }
        for (var row = 0; row < ROWS; row += 1) {
            at[row] += inner * p[axis * ROWS + row];
        }
    }
    output[at[0].y] = element(at);
}
