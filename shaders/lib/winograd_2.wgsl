// One-dimensional transforms of Winograd's F(2, 3): two outputs of a three-tap filter with four products instead of six.

fn transform_input(d: array<f32, 4>) -> array<f32, 4> {
    return array<f32, 4>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

fn transform_output(m: array<f32, 4>) -> array<f32, 2> {
    return array<f32, 2>(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}
