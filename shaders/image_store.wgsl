// each() writes one texel of a picture from the elements of a tensor [CHANNELS, y, x]; one channel is grey, missing components are 0,
// alpha is 1. Expects CHANNELS, IMAGE_MEAN, IMAGE_STD, BOUNDED, LOW, HIGH (what a component holds).
// p[0]: texels, width.

fn each(index: i32) {
    let y = index / p[0].y;
    var texel = vec4<f32>(0.0, 0.0, 0.0, 1.0);
    for (var channel = 0; channel < CHANNELS; channel += 1) {
        texel[channel] = fma(f32(input[channel * p[0].x + index]), IMAGE_STD[channel], IMAGE_MEAN[channel]);
    }
    if (CHANNELS == 1) {
        texel = vec4<f32>(texel.x, texel.x, texel.x, 1.0);
    }
    if (BOUNDED) {
        texel = clamp(texel, vec4<f32>(LOW), vec4<f32>(HIGH));
    }
    textureStore(output, vec2<i32>(index - y * p[0].y, y), texel);
}
