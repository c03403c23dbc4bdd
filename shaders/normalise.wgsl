// Softmax and normalisation of rows. Expects KIND, EPSILON, row.wgsl and one of its rows, put(), WORKGROUP, workgroup_index(); p[0].w:
// elements of a row.

const SOFTMAX: i32 = 0;      // exp(x - max) / sum(exp(x - max))
const LOG_SOFTMAX: i32 = 1;  // x - max - log(sum(exp(x - max)))
const HARDMAX: i32 = 2;      // 1 at the first greatest element
const MEAN_VARIANCE: i32 = 3; // (x - mean) / sqrt(variance + EPSILON)
const DEVIATION: i32 = 4;    // (x - mean) / (sqrt(variance) + EPSILON)
const ROOT_MEAN_SQUARE: i32 = 5; // x / sqrt(mean(x * x) + EPSILON)
const LP_1: i32 = 6;         // x / sum(abs(x)), 0 where that is 0
const LP_2: i32 = 7;         // x / sqrt(sum(x * x)), 0 where that is 0

// The greatest element of the row or its mean, once that is known.
var<private> centre: Value;
var<private> is_centred: bool;

// What is summed or compared.
fn element(x: Value) -> Value {
    if (KIND <= DEVIATION && !is_centred) {
        return x;
    }
    if (KIND <= LOG_SOFTMAX) {
        return exp(x - centre);
    }
    if (KIND == LP_1) {
        return abs(x);
    }
    let far = x - centre; // of 0, but for a mean
    return far * far;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let local = i32(local_id.x);
    let index = workgroup_index(id, count) * (WORKGROUP / LANES) + member_of(local);
    // Invocations without a row go the way of the first, to every barrier.
    let here = index >= 0 && index < p[0].x;
    let row = row_of(select(0, index, here));
    let length = f32(p[0].w);

    var greatest = Number(-1);
    if (KIND <= HARDMAX) {
        let found = together(row, local, GREATEST);
        centre = found.value;
        greatest = found.at;
    } else if (KIND <= DEVIATION) {
        centre = together(row, local, SUM).value / length;
    }
    is_centred = true;
    var factor = Value();
    if (KIND != HARDMAX) {
        factor = together(row, local, SUM).value;
    }
    if (KIND == MEAN_VARIANCE || KIND == ROOT_MEAN_SQUARE) {
        factor = sqrt(factor / length + EPSILON);
    } else if (KIND == DEVIATION) {
        factor = sqrt(factor / length) + EPSILON;
    } else if (KIND == LP_2) {
        factor = sqrt(factor);
    } else if (KIND == LOG_SOFTMAX) {
        factor = log(factor);
    }
    if (!here) {
        return;
    }
    for (var turn = lane_of(local); turn < turns_of(row); turn += LANES) {
        let x = loaded(row, turn);
        var y = Value();
        if (KIND == SOFTMAX) {
            y = exp(x - centre) / factor;
        } else if (KIND == LOG_SOFTMAX) {
            y = x - centre - factor;
        } else if (KIND == HARDMAX) {
            y = select(Value(), Value(1.0), numbers(row, turn) == greatest);
        } else if (KIND <= ROOT_MEAN_SQUARE) {
            y = (x - centre) / factor;
        } else {
            y = select(x / factor, Value(), factor == Value());
        }
        put(row, turn, y);
    }
}
