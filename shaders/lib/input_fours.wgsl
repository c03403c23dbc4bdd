// The elements of a convolution's input, from a buffer of fours. Expects input: array<vec4<Elem>>.

fn load_input(index: i32) -> f32 {
    return f32(input[u32(index) / 4][u32(index) % 4]);
}

// Those from a multiple of 4 on.
fn load_input_4(index: i32) -> vec4<f32> {
    return vec4<f32>(input[u32(index) / 4]);
}
