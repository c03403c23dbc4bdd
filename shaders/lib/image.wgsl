// From the texels of a picture to the elements of a tensor. Expects input: texture_2d<f32>, IMAGE_MEAN, IMAGE_FACTOR (1 / deviation).

fn texel_value(x: i32, y: i32, channel: i32) -> f32 {
    let texel = textureLoad(input, vec2<i32>(x, y), 0);
    return (texel[channel] - IMAGE_MEAN[channel]) * IMAGE_FACTOR[channel];
}
