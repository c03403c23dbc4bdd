// Four rows or columns of B that are neighbours in memory, as Numbers, or zeros where none are met; the first, and the place of its input,
// are multiples of 4. Expects input: array<vec4<Elem>>.

alias Operand = vec4<Number>;

fn fetched(at: i32) -> Operand {
    return Operand(input[u32(at) / 4]);
}

fn masked(operand: Operand, met: bool) -> Operand {
    return select(Operand(), operand, met);
}
