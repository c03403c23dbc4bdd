// From coordinates to inputs, through the padding mode and the phases of transposed convolutions. Expects g and PADDING_MODE.

const ZEROS: i32 = 0;
const REFLECT: i32 = 1;
const REPLICATE: i32 = 2;
const CIRCULAR: i32 = 3;

// The input coordinate that stands at `at` of an axis; out of [0, size) for a zero.
fn source(at: i32, size: i32) -> i32 {
    if (PADDING_MODE == REFLECT) {
        let mirrored = abs(at);
        return select(mirrored, 2 * (size - 1) - mirrored, mirrored >= size);
    }
    if (PADDING_MODE == REPLICATE) {
        return clamp(at, 0, size - 1);
    }
    if (PADDING_MODE == CIRCULAR) {
        return at + select(0, size, at < 0) - select(0, size, at >= size);
    }
    return at;
}

fn inside(at: i32, size: i32) -> bool {
    return u32(at) < u32(size);
}

// The first tap that meets an input, and not a zero between inputs, at outputs of this phase of an axis; `kernel` where none does.
fn first_tap(phase: i32, axis: i32) -> i32 {
    for (var tap = 0; tap < g.tap_step[axis]; tap += 1) {
        let at = abs(phase + tap * g.dilation[axis] - g.pad_begin[axis]);
        if (at == quotient(at, g.input_dilation[axis]) * g.input_dilation[axis]) {
            return tap;
        }
    }
    return g.kernel[axis];
}

// How many taps a phase uses on an axis, from its first one on.
fn tap_count(first: i32, axis: i32) -> i32 {
    return quotient(g.kernel[axis] - first + g.tap_step[axis] - 1, g.tap_step[axis]);
}

// The input coordinate, before padding modes, of a tap at the first output of a phase. The division leaves no remainder.
fn tap_source(phase: i32, tap: i32, axis: i32) -> i32 {
    let at = phase + tap * g.dilation[axis] - g.pad_begin[axis];
    return sign(at) * quotient(abs(at), g.input_dilation[axis]);
}
