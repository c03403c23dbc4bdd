// The element of B that a product multiplies, in f32: an input, or a zero where there is none. Expects load_input().

alias Operand = f32;

fn loaded(at: i32, met: bool) -> Operand {
    return select(0.0, load_input(at), met);
}
