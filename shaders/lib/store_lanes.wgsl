// Four channels of an invocation stored one by one, as they may be planes. Expects layout.wgsl, store().

fn store_lanes(sums: vec4<f32>, channel: i32, index: i32) {
    let step = output_channel_step();
    store(sums.x, channel, index);
    store(sums.y, channel + 1, index + step);
    store(sums.z, channel + 2, index + 2 * step);
    store(sums.w, channel + 3, index + 3 * step);
}
