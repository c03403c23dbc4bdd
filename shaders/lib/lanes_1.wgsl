// One channel of an invocation. Expects load_input(), weights, store().

alias Lanes = f32;

fn input_lanes(index: i32) -> f32 {
    return load_input(index);
}

fn weight_lanes(index: i32) -> f32 {
    return f32(weights[index]);
}

fn store_lanes(sum: f32, channel: i32, index: i32) {
    store(sum, channel, index);
}
