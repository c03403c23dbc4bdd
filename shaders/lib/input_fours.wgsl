// The elements of a convolution's input, from a buffer of fours. Expects input_1() and input_4().

fn load_input(index: i32) -> f32 {
    return f32(input_1(u32(index)));
}

// Those from a multiple of 4 on.
fn load_input_4(index: i32) -> vec4<f32> {
    return vec4<f32>(input_4(u32(index) / 4));
}
