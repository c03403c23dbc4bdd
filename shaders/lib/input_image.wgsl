// The elements of a convolution's input, from the texels of a picture, as if it were [channels, y, x]. Expects g, texel_value().

fn load_input(index: i32) -> f32 {
    let at = texel_of(index);
    return texel_value(at.x, at.y, at.z);
}

// Four neighbours of a row.
fn load_input_4(index: i32) -> vec4<f32> {
    let at = texel_of(index);
    return vec4<f32>(
        texel_value(at.x, at.y, at.z),
        texel_value(at.x + 1, at.y, at.z),
        texel_value(at.x + 2, at.y, at.z),
        texel_value(at.x + 3, at.y, at.z),
    );
}

// x, y and channel of an element.
fn texel_of(index: i32) -> vec3<i32> {
    let channel = index / g.input_plane;
    let at = index - channel * g.input_plane;
    let y = at / g.input.z;
    return vec3<i32>(at - y * g.input.z, y, channel);
}
