// Four channels of an invocation, neighbours in the input. Expects input_4() and weights_4().

alias Lanes = vec4<f32>;

fn input_lanes(index: i32) -> vec4<f32> {
    return vec4<f32>(input_4(u32(index) / 4));
}

fn weight_lanes(index: i32) -> vec4<f32> {
    return vec4<f32>(weights_4(u32(index)));
}
