// Products of floats, in f32 whatever is stored: what the loops of matrix products do with their numbers. lib/bytes.wgsl has the same
// names for packed bytes. Expects store().

alias Number = f32;      // an element of B
alias Four = vec4<f32>;  // four rows of A
alias Sum = f32;         // of products
alias Sums = vec4<f32>;  // of four rows

fn widened(stored: vec4<Elem>) -> Four {
    return vec4<f32>(stored);
}

fn multiply(a: Four, b: Number, sums: Sums) -> Sums {
    return fma(a, vec4<f32>(b), sums);
}

// What is summed of a column beside its products: nothing.
fn column_term(b: Number) -> i32 {
    return 0;
}

fn finish(sum: f32, column: i32, terms: i32, channel: i32, index: i32) {
    store(sum, channel, index);
}
