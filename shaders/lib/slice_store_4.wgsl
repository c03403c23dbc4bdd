// Where the slices of a sum are kept until all are there, four neighbours at once. Expects slice, g,
// partial: [SPLIT_K, outputs] as vec4s.

fn store(sum: f32, channel: i32, index: i32) {
    let at = slice * g.outputs + index;
    partial[u32(at) / 4][u32(at) % 4] = sum;
}

fn store_4(sums: vec4<f32>, channel: i32, index: i32) {
    partial[u32(slice * g.outputs + index) / 4] = sums;
}
