// Where the slices of a sum are kept until all are there. Expects slice, g, partial: [SPLIT_K, outputs].

fn store(sum: f32, channel: i32, index: i32) {
    partial[slice * g.outputs + index] = sum;
}
