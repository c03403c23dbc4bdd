// A reduction over some axes. Expects KIND, HOW, row.wgsl and one of its rows, put(), WORKGROUP, workgroup_index(); p[0].w: elements of a
// row.

const SUM_OF: i32 = 0;
const MEAN: i32 = 1;
const L1: i32 = 2;
const L2: i32 = 3;
const SUM_SQUARE: i32 = 4;
const LOG_SUM: i32 = 5;

fn element(x: Value) -> Value {
    if (KIND == L1) {
        return abs(x);
    }
    if (KIND == L2 || KIND == SUM_SQUARE) {
        return x * x;
    }
    return x;
}

fn finish(sum: Value) -> Value {
    if (KIND == MEAN) {
        return sum / f32(p[0].w);
    }
    if (KIND == L2) {
        return sqrt(sum);
    }
    if (KIND == LOG_SUM) {
        return log(sum);
    }
    return sum;
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
    let found = together(row, local, HOW);
    if (here && lane_of(local) == 0) {
        put(index, finish(found.value), found.at);
    }
}
