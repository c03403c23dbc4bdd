// Four channels of an invocation, neighbours in the input. Expects input: array<vec4<Elem>>, weights: [out_channels, taps], g,
// layout.wgsl, store(). Outputs are stored one by one, as they may be planes.

alias Lanes = vec4<f32>;

fn input_lanes(index: i32) -> vec4<f32> {
    return vec4<f32>(input[index / 4]);
}

fn weight_lanes(index: i32) -> vec4<f32> {
    return vec4<f32>(vec4<Elem>(weights[index], weights[index + g.taps], weights[index + 2 * g.taps], weights[index + 3 * g.taps]));
}

fn store_lanes(sums: vec4<f32>, channel: i32, index: i32) {
    let step = output_channel_step();
    store(sums.x, channel, index);
    store(sums.y, channel + 1, index + step);
    store(sums.z, channel + 2, index + 2 * step);
    store(sums.w, channel + 3, index + 3 * step);
}
