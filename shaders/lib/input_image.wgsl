// The elements of a convolution's input, from the texels of a picture, as if it were [channels, y, x]. Expects g, texel_value().

fn load_input(index: i32) -> f32 {
    let channel = index / g.input_plane;
    let at = index - channel * g.input_plane;
    let y = at / g.input.z;
    return texel_value(at - y * g.input.z, y, channel);
}
