// A reduction over some axes: LANES invocations, 1 or a whole workgroup, for each output.
// Sums are formed in blocks of BLOCK elements of a lane.
// Expects KIND, LAST, LANES, BLOCK, KEPT, REDUCED, Result, place_of(), numbers.wgsl, WORKGROUP, workgroup_index().
// p[0]: outputs, elements of each; then size and stride of each kept axis, and of each reduced one.

const SUM: i32 = 0;
const MEAN: i32 = 1;
const MAX: i32 = 2;
const MIN: i32 = 3;
const PROD: i32 = 4;
const L1: i32 = 5;
const L2: i32 = 6;
const SUM_SQUARE: i32 = 7;
const LOG_SUM: i32 = 8;
const ARG_MAX: i32 = 9;
const ARG_MIN: i32 = 10;

struct Partial {
    value: f32,
    at: i32, // of the element that the value is; -1: no element yet
}

var<workgroup> partials: array<Partial, WORKGROUP>;

fn prepare(x: f32) -> f32 {
    if (KIND == L1) {
        return abs(x);
    }
    if (KIND == L2 || KIND == SUM_SQUARE) {
        return x * x;
    }
    return x;
}

// Whether b is what is looked for, and not a.
fn replaces(b: Partial, a: Partial) -> bool {
    let a_nan = is_nan(a.value);
    let b_nan = is_nan(b.value);
    let beats = select(b.value > a.value, a.value > b.value, KIND == MIN || KIND == ARG_MIN);
    let ties = b.value == a.value || (a_nan && b_nan);
    let place = select(a.at > b.at, b.at > a.at, LAST);
    return b.at >= 0 && (a.at < 0 || (b_nan && !a_nan) || (beats && !a_nan) || (ties && place));
}

fn combine(a: Partial, b: Partial) -> Partial {
    if (KIND == MAX || KIND == MIN || KIND >= ARG_MAX) {
        if (replaces(b, a)) {
            return b;
        }
        return a;
    }
    if (KIND == PROD) {
        return Partial(a.value * b.value, 0);
    }
    return Partial(a.value + b.value, 0);
}

fn finish(sum: Partial) -> Result {
    if (KIND == MEAN) {
        return Result(sum.value / f32(p[0].y));
    }
    if (KIND == L2) {
        return Result(sqrt(sum.value));
    }
    if (KIND == LOG_SUM) {
        return Result(log(sum.value));
    }
    if (KIND >= ARG_MAX) {
        return Result(sum.at);
    }
    return Result(sum.value);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let group = workgroup_index(id, count);
    var index = group;
    var lane = i32(local_id.x);
    if (LANES == 1) {
        index = group * WORKGROUP + i32(local_id.x);
        lane = 0;
    }
    // With LANES > 1 the whole workgroup returns or none of it.
    if (index >= p[0].x || index < 0) {
        return;
    }
    let first = place_of(index, 1, KEPT);
    let none = Partial(select(0.0, 1.0, KIND == PROD), -1);
    var sum = none;
    for (var block = lane; block < p[0].y; block += LANES * BLOCK) {
        var part = none;
        let end = min(block + LANES * BLOCK, p[0].y);
        for (var number = block; number < end; number += LANES) {
            let x = f32(input[first + place_of(number, 1 + KEPT, REDUCED)]);
            part = combine(part, Partial(prepare(x), number));
        }
        sum = combine(sum, part);
    }
    if (LANES > 1) {
        partials[local_id.x] = sum;
        for (var half = WORKGROUP / 2; half > 0; half /= 2) {
            workgroupBarrier();
            if (lane < half) {
                partials[lane] = combine(partials[lane], partials[lane + half]);
            }
        }
        sum = partials[0];
    }
    if (lane == 0) {
        output[index] = finish(sum);
    }
}
