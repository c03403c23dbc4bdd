// The input an element at a time. Expects input, Value.

fn input_value(at: i32) -> Value {
    return Value(input[at]);
}
