// The element of B that a product multiplies, in f16: an input, or a zero where there is none. Expects load_input(), which is exact.

alias Operand = f16;

fn loaded(at: i32, met: bool) -> Operand {
    return select(0h, f16(load_input(at)), met);
}
