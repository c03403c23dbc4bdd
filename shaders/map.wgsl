// each() computes one element of the output from one element of each operand, found by strides, or four neighbours of the last axis.
// Expects RANK (at least 1), ROWS, Elem, and set_output(), which computes what stands at these places.
// p: ROWS rows for the header and for each axis, outermost first. Header: count, the output's offset, the operands' offsets. Axis: size,
// the output's stride, the operands' strides; of the last axis in steps of four, where each() computes four.

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
            let outer = quotient(rest, size);
            inner = rest - outer * size;
            rest = outer;
        }
        for (var row = 0; row < ROWS; row += 1) {
            at[row] += inner * p[axis * ROWS + row];
        }
    }
    set_output(at);
}
