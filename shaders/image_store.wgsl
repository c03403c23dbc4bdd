// each() writes one texel of a picture from the elements of a tensor [channels, y, x]. Expects TARGET_CHANNELS, put_element().
// p[0]: texels.

fn each(index: i32) {
    for (var channel = 0; channel < TARGET_CHANNELS; channel += 1) {
        put_element(f32(input[channel * p[0].x + index]), channel, index);
    }
}
