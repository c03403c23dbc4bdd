// Each invocation copies one element: output[o, j, i] = input[o, indices[j], i]. Negative indices count from the end, or are zeros.
// Expects ZEROS, Elem, WORKGROUP, workgroup_index(). p[0]: count, size of the axis, elements behind it, indices.

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
    let size = p[0].y;
    let row = index / p[0].z;
    let outer = row / p[0].w;
    var at = indices[row - outer * p[0].w];
    if (ZEROS && at < 0) {
        output[index] = Elem(0);
        return;
    }
    at = select(at, at + size, at < 0);
    output[index] = input[(outer * size + at) * p[0].z + index - row * p[0].z];
}
