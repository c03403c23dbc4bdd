// Four rows or columns of B that are neighbours in memory, as Numbers, or zeros where none are met; the first, and the place of its input,
// are multiples of 4. Expects input_4().

alias Operand = vec4<Number>;

fn fetched(at: i32) -> Operand {
    return Operand(input_4(u32(at) / 4));
}

fn masked(operand: Operand, met: bool) -> Operand {
    return select(Operand(), operand, met);
}
