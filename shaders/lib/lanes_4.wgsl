// Four channels of an invocation, neighbours in the input. Expects input and weights: array<vec4<Elem>>.

alias Lanes = vec4<f32>;

fn input_lanes(index: i32) -> vec4<f32> {
    return vec4<f32>(input[u32(index) / 4]);
}

fn weight_lanes(index: i32) -> vec4<f32> {
    return vec4<f32>(weights[index]);
}
