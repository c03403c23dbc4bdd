// Softmax and normalisation of rows: LANES invocations, 1 or a whole workgroup, for each row.
// Sums are formed in blocks of BLOCK elements of a lane.
// Expects KIND, EPSILON, LANES, BLOCK, KEPT, ROW, Elem, place_of(), numbers.wgsl, WORKGROUP, workgroup_index().
// p[0]: rows, elements of each; then size and stride of each axis that is kept, and of each axis of a row.

const SOFTMAX: i32 = 0;      // exp(x - max) / sum(exp(x - max))
const LOG_SOFTMAX: i32 = 1;  // x - max - log(sum(exp(x - max)))
const HARDMAX: i32 = 2;      // 1 at the first greatest element
const MEAN_VARIANCE: i32 = 3; // (x - mean) / sqrt(variance + EPSILON)
const DEVIATION: i32 = 4;    // (x - mean) / (sqrt(variance) + EPSILON)
const ROOT_MEAN_SQUARE: i32 = 5; // x / sqrt(mean(x * x) + EPSILON)
const LP_1: i32 = 6;         // x / sum(abs(x)), 0 where that is 0
const LP_2: i32 = 7;         // x / sqrt(sum(x * x)), 0 where that is 0

struct Partial {
    value: f32,
    at: i32, // of the greatest element; -1: none yet
}

var<workgroup> partials: array<Partial, WORKGROUP>;

fn combine(a: Partial, b: Partial, greatest_of: bool) -> Partial {
    if (!greatest_of) {
        return Partial(a.value + b.value, 0);
    }
    let b_wins = b.value > a.value || (is_nan(b.value) && !is_nan(a.value)) || (b.value == a.value && b.at < a.at);
    if (b.at >= 0 && (a.at < 0 || b_wins)) {
        return b;
    }
    return a;
}

// What the lanes of a row have found together, for all of them.
fn together(own: Partial, lane: i32, greatest_of: bool) -> Partial {
    if (LANES == 1) {
        return own;
    }
    workgroupBarrier();
    partials[lane] = own;
    for (var half = WORKGROUP / 2; half > 0; half /= 2) {
        workgroupBarrier();
        if (lane < half) {
            partials[lane] = combine(partials[lane], partials[lane + half], greatest_of);
        }
    }
    workgroupBarrier();
    return partials[0];
}

// The second statistic's term of an element, given the first statistic.
fn term(x: f32, first: f32) -> f32 {
    if (KIND <= LOG_SOFTMAX) {
        return exp(x - first);
    }
    if (KIND == MEAN_VARIANCE || KIND == DEVIATION) {
        return (x - first) * (x - first);
    }
    if (KIND == LP_1) {
        return abs(x);
    }
    return x * x;
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
    let start = place_of(index, 1, KEPT);
    let length = p[0].y;

    var first = Partial(0.0, -1);
    let extreme = KIND <= HARDMAX;
    if (KIND <= DEVIATION) {
        for (var block = lane; block < length; block += LANES * BLOCK) {
            var part = Partial(0.0, -1);
            for (var number = block; number < min(block + LANES * BLOCK, length); number += LANES) {
                part = combine(part, Partial(f32(input[start + place_of(number, 1 + KEPT, ROW)]), number), extreme);
            }
            first = combine(first, part, extreme);
        }
        first = together(first, lane, extreme);
    }
    var centre = first.value;
    if (KIND == MEAN_VARIANCE || KIND == DEVIATION) {
        centre = first.value / f32(length);
    }
    var second = Partial(0.0, 0);
    if (KIND != HARDMAX) {
        for (var block = lane; block < length; block += LANES * BLOCK) {
            var part = 0.0;
            for (var number = block; number < min(block + LANES * BLOCK, length); number += LANES) {
                part += term(f32(input[start + place_of(number, 1 + KEPT, ROW)]), centre);
            }
            second.value += part;
        }
        second = together(second, lane, false);
    }
    var factor = second.value;
    if (KIND == MEAN_VARIANCE || KIND == ROOT_MEAN_SQUARE) {
        factor = sqrt(second.value / f32(length) + EPSILON);
    } else if (KIND == DEVIATION) {
        factor = sqrt(second.value / f32(length)) + EPSILON;
    } else if (KIND == LP_2) {
        factor = sqrt(second.value);
    } else if (KIND == LOG_SOFTMAX) {
        factor = log(second.value);
    }
    for (var number = lane; number < length; number += LANES) {
        let place = start + place_of(number, 1 + KEPT, ROW);
        let x = f32(input[place]);
        var y = 0.0;
        if (KIND == SOFTMAX) {
            y = exp(x - centre) / factor;
        } else if (KIND == LOG_SOFTMAX) {
            y = x - centre - factor;
        } else if (KIND == HARDMAX) {
            y = select(0.0, 1.0, number == first.at);
        } else if (KIND == MEAN_VARIANCE || KIND == DEVIATION) {
            y = (x - centre) / factor;
        } else if (KIND == ROOT_MEAN_SQUARE || factor != 0.0) {
            y = x / factor;
        }
        output[place] = Elem(y);
    }
}
