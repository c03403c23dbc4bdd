// Adds the slices of every output's sum in their order and finishes it: the second pass of a product with split-K. One invocation for
// each output. Expects partial: [SPLIT_K, outputs], store(), output_place(), WORKGROUP, workgroup_index().

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);
    if (index >= g.outputs || index < 0) {
        return;
    }
    var sum = partial[index];
    for (var slice = 1; slice < SPLIT_K; slice += 1) {
        sum += partial[slice * g.outputs + index];
    }
    store(sum, output_place(index).channel, index);
}
