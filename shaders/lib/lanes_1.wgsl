// One channel of an invocation. Expects load_input(), weights.

alias Lanes = f32;

fn input_lanes(index: i32) -> f32 {
    return load_input(index);
}

fn weight_lanes(index: i32) -> f32 {
    return f32(weights[index]);
}
