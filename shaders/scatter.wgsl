// Each invocation puts one element where its index says; no two indices are the same. Expects Elem, WORKGROUP, workgroup_index().
// p[0]: count, elements of the output.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local);
    if (index >= p[0].x || index < 0) {
        return;
    }
    let at = indices[index];
    if (at >= 0 && at < p[0].y) {
        output[at] = input[index];
    }
}
