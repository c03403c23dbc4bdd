// What a pooling does with a window, or with four at once: where it lies, how its elements combine, how positions are numbered.
// Expects g, one.wgsl or four.wgsl, KIND, ADAPTIVE, COUNT_PADDING, DIVISOR, NORM, PAD_END, INDEX_ORDER.

const MAX: i32 = 0;
const AVERAGE: i32 = 1;
const LP: i32 = 2;

const PLANE: i32 = 0;
const TENSOR: i32 = 1;

// The inputs of a window: from `first`, `size` of them on each axis, `step` apart.
struct Window {
    first: vec3<i32>,
    size: vec3<i32>,
    step: vec3<i32>,
    positions: i32, // what an average divides by
}

// What has been seen of a window: the greatest element and its position in the plane (-1: nothing yet), or a sum.
struct Partial {
    value: Value,
    at: Number,
}

// floor(o * size / outputs) without a product that could pass 32 bits.
fn adaptive_first(o: i32, size: i32, outputs: i32) -> i32 {
    return o * (size / outputs) + i32(u32(o) * u32(size % outputs) / u32(outputs));
}

// ceil((o + 1) * size / outputs)
fn adaptive_end(o: i32, size: i32, outputs: i32) -> i32 {
    let next = u32(o + 1);
    return (o + 1) * (size / outputs) + i32((next * u32(size % outputs) + u32(outputs) - 1u) / u32(outputs));
}

fn window(at: vec3<i32>) -> Window {
    var w: Window;
    var positions = 1;
    for (var axis = 0; axis < 3; axis += 1) {
        if (ADAPTIVE) {
            w.first[axis] = adaptive_first(at[axis], g.input[axis], g.output[axis]);
            w.size[axis] = adaptive_end(at[axis], g.input[axis], g.output[axis]) - w.first[axis];
            w.step[axis] = 1;
        } else {
            let step = g.dilation[axis];
            let start = at[axis] * g.stride[axis] - g.pad_begin[axis];
            let end = start + (g.kernel[axis] - 1) * step + 1;
            let before = quotient(max(-start, 0) + step - 1, step); // positions before the input
            w.first[axis] = start + before * step;
            w.size[axis] = quotient(max(min(end, g.input[axis]) - w.first[axis] + step - 1, 0), step);
            w.step[axis] = step;
            positions *= quotient(max(min(end, g.input[axis] + PAD_END[axis]) - start + step - 1, 0), step);
        }
    }
    w.positions = select(w.size.x * w.size.y * w.size.z, positions, COUNT_PADDING && !ADAPTIVE);
    return w;
}

// Whether `b` replaces `a` as the greatest: the first of equals stays, a NaN wins, as it compares with nothing.
fn replaces(b: Partial, a: Partial) -> Truth {
    let a_nan = are_nan(a.value);
    let b_nan = are_nan(b.value);
    let earlier = (b.at < a.at) & ((b.value == a.value) | (a_nan & b_nan));
    return (b.at >= Number()) & ((a.at < Number()) | (b.value > a.value) | (b_nan & !a_nan) | earlier);
}

fn combine(a: Partial, b: Partial) -> Partial {
    if (KIND == MAX) {
        let wins = replaces(b, a);
        return Partial(select(a.value, b.value, wins), select(a.at, b.at, wins));
    }
    return Partial(a.value + b.value, Number());
}

// What an element of the input adds to a sum, or what a maximum compares.
fn element(value: Value) -> Value {
    if (KIND == LP) {
        if (NORM == 1.0) {
            return abs(value);
        }
        if (NORM == 2.0) {
            return value * value;
        }
        return pow(abs(value), Value(NORM));
    }
    return value;
}

fn finish(sum: Value, positions: i32) -> Value {
    if (KIND == AVERAGE) {
        return sum / f32(select(DIVISOR, positions, DIVISOR == 0));
    }
    if (KIND == LP && NORM == 2.0) {
        return sqrt(sum);
    }
    if (KIND == LP && NORM != 1.0) {
        return pow(sum, Value(1.0 / NORM));
    }
    return sum;
}

// The number of a plane's element in one of the orders that the frameworks use.
fn index_of(plane: i32, at: i32) -> i32 {
    if (INDEX_ORDER == PLANE) {
        return at;
    }
    if (INDEX_ORDER == TENSOR) {
        return plane * g.input_plane + at;
    }
    let row = quotient(at, g.input.z);
    let slice = quotient(row, g.input.y);
    let turned = slice + g.input.x * (row - slice * g.input.y + g.input.y * (at - row * g.input.z));
    return plane * g.input_plane + turned;
}
