// A workgroup for each part of a row: what belongs to the row is found once for all elements of an invocation, which lie a workgroup
// apart. Expects Row, row_of(), each(), AXES, the row of p that has the count of columns, WORKGROUP, workgroup_index(),
// quotient(); p[0].x is the count of rows, the last row's of elements of an invocation: no constant, which compilers would write out.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let group = workgroup_index(id, count);
    let elements = p[PARAMETERS - 1].x;
    let columns = p[AXES].x;
    let parts = (columns + WORKGROUP * elements - 1) / (WORKGROUP * elements);
    let number = quotient(max(group, 0), parts);
    // The grid may end past the last row, and 32 bits past that.
    if (group < 0 || number >= p[0].x) {
        return;
    }
    let row = row_of(number);
    let first = (group - number * parts) * (WORKGROUP * elements) + i32(local_id.x);
    for (var step = 0; step < elements; step += 1) {
        let column = first + step * WORKGROUP;
        if (column < columns) {
            each(row, column);
        }
    }
}
