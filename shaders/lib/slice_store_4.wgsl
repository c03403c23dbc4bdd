// Where the slices of a sum are kept until all are there, four neighbours at once. Expects slice, g,
// put_partial_4(): [SPLIT_K, outputs] in fours.

fn store_4(sums: vec4<f32>, channel: i32, index: i32) {
    put_partial_4(u32(slice * g.outputs + index) / 4, sums);
}
