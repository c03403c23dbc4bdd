// The elements of a convolution's input, from a buffer. Expects input.

fn load_input(index: i32) -> f32 {
    return f32(input[index]);
}
