// Four rows of B that are neighbours in memory, as Numbers, or zeros where there are none; the first row, and the place of its input, are
// multiples of 4. Expects input: array<vec4<Elem>>.

alias Operand = vec4<Number>;

fn loaded(at: i32, met: bool) -> Operand {
    return select(Operand(), Operand(input[at / 4]), met);
}
