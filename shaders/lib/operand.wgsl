// The element of B that a product multiplies, as a Number: an input, or a zero where none is met. Expects load_input(), which is exact.

alias Operand = Number;

fn fetched(at: i32) -> Operand {
    return Number(load_input(at));
}

fn masked(operand: Operand, met: bool) -> Operand {
    return select(Operand(), operand, met);
}
