// The input four neighbours at a time, which are counted in fours. Expects input_4(), Value.

fn input_value(at: i32) -> Value {
    return Value(input_4(u32(at)));
}
