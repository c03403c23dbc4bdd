// One-dimensional transforms of Winograd's F(4, 3): four outputs of a three-tap filter with six products instead of twelve.

fn transform_input(d: array<f32, 6>) -> array<f32, 6> {
    let even = d[4] - 4.0 * d[2];
    let odd = d[3] - 4.0 * d[1];
    let near = d[4] - d[2];
    let far = 2.0 * (d[3] - d[1]);
    return array<f32, 6>(4.0 * d[0] - 5.0 * d[2] + d[4], even + odd, even - odd, near + far, near - far, 4.0 * d[1] - 5.0 * d[3] + d[5]);
}

fn transform_output(m: array<f32, 6>) -> array<f32, 4> {
    let plus = m[1] + m[2];
    let minus = m[1] - m[2];
    let plus_2 = m[3] + m[4];
    let minus_2 = m[3] - m[4];
    return array<f32, 4>(m[0] + plus + plus_2, minus + 2.0 * minus_2, plus + 4.0 * plus_2, minus + 8.0 * minus_2 + m[5]);
}
