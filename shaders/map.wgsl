// Each invocation computes one element of the output from one element of each operand, found by strides.
// Expects RANK (at least 1), Elem, element(), WORKGROUP, workgroup_index().
// p[0]: count, the output's offset; p[1]: the operands' offsets; then for each axis, outermost first: size and the output's stride,
// the operands' strides.

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
    var rest = index;
    var place = p[0].y;
    var at = p[1];
    for (var axis = RANK - 1; axis > 0; axis -= 1) {
        let size = p[2 + 2 * axis].x;
        let outer = rest / size;
        let inner = rest - outer * size;
        rest = outer;
        place += inner * p[2 + 2 * axis].y;
        at += inner * p[3 + 2 * axis];
    }
    output[place + rest * p[2].y] = element(at + rest * p[3]);
}
