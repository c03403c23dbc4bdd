// From the elements of a tensor to the texels of a picture. One channel is grey, missing components are 0, alpha is 1.
// Expects output: a storage texture, TARGET_CHANNELS, TARGET_WIDTH, TARGET_MEAN, TARGET_STD, BOUNDED, LOW, HIGH (what a component holds).

var<private> texel: vec4<f32> = vec4<f32>(0.0, 0.0, 0.0, 1.0);

// Takes the element of a channel of a texel, row-major numbered. An invocation brings the channels of a texel one after the other, and
// the last of them writes it.
fn put_element(element: f32, channel: i32, number: i32) {
    texel[channel] = fma(element, TARGET_STD[channel], TARGET_MEAN[channel]);
    if (channel < TARGET_CHANNELS - 1) {
        return;
    }
    var whole = texel;
    if (TARGET_CHANNELS == 1) {
        whole = vec4<f32>(texel.x, texel.x, texel.x, 1.0);
    }
    if (BOUNDED) {
        whole = clamp(whole, vec4<f32>(LOW), vec4<f32>(HIGH));
    }
    let y = number / TARGET_WIDTH;
    textureStore(output, vec2<i32>(number - y * TARGET_WIDTH, y), whole);
}
