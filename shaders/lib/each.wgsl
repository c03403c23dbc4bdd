// An invocation for so many elements, a workgroup apart: calls each() with the number of each. Expects each(), WORKGROUP,
// workgroup_index(); p[0].x is the count of all, the last row's of those of an invocation: no constant, which compilers would write out.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let elements = p[PARAMETERS - 1].x;
    let first = workgroup_index(id, count) * (WORKGROUP * elements) + i32(local_id.x);
    for (var step = 0; step < elements; step += 1) {
        let index = first + step * WORKGROUP;
        // The grid may end past the last element, and 32 bits past that.
        if (index < p[0].x && index >= 0) {
            each(index);
        }
    }
}
