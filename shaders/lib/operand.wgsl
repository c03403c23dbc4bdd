// The element of B that a product multiplies, as a Number: an input, or a zero where there is none. Expects load_input(), which is exact.

alias Operand = Number;

fn loaded(at: i32, met: bool) -> Operand {
    return select(Number(), Number(load_input(at)), met);
}
