// each() of a resampling along the last axis: four neighbours on it. Expects resampled() of one number, put_output_4(), Elem.
// p[0].z: the output's size in fours.

fn each(index: i32) {
    let row = quotient(index, p[0].z);
    let start = row * p[0].y;
    let at = (index - row * p[0].z) * 4;
    let sums = vec4<f32>(
        resampled(start, at, 1),
        resampled(start, at + 1, 1),
        resampled(start, at + 2, 1),
        resampled(start, at + 3, 1),
    );
    put_output_4(u32(index), vec4<Elem>(sums));
}
