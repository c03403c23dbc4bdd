// One invocation for each element: calls each() with its number. Expects each(), WORKGROUP, workgroup_index(); p[0].x is the count.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local);
    // The grid may end past the last element, and 32 bits past that.
    if (index >= p[0].x || index < 0) {
        return;
    }
    each(index);
}
