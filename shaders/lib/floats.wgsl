// Products of floats, in f32 whatever is stored: what the loops of matrix products do with their numbers. lib/bytes.wgsl and
// lib/halves.wgsl have the same names for packed bytes and for f16.

alias Number = f32;      // an element of B
alias Four = vec4<f32>;  // four rows of A
alias Run = Sums;        // a part of four rows' sums: here they go on as they are
alias Sum = f32;         // of products
alias Sums = vec4<f32>;  // of four rows

fn widened(stored: vec4<Elem>) -> Four {
    return vec4<f32>(stored);
}

fn begun(sums: Sums) -> Run {
    return sums;
}

fn multiply(a: Four, b: Number, run: Run) -> Run {
    return fma(a, vec4<f32>(b), run);
}

fn ended(run: Run, sums: Sums) -> Sums {
    return run;
}

// What is summed of a column beside its products: nothing.
fn column_term(b: Number) -> i32 {
    return 0;
}
