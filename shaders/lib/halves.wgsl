// Products of f16 in f16: runs of a few of them are summed in f16, and the runs in f32. Same names as lib/floats.wgsl.

alias Number = f16;      // an element of B
alias Four = vec4<f16>;  // four rows of A
alias Run = vec4<f16>;   // a part of four rows' sums
alias Sum = f32;         // of products
alias Sums = vec4<f32>;  // of four rows

fn widened(stored: vec4<Elem>) -> Four {
    return stored;
}

fn begun(sums: Sums) -> Run {
    return Run();
}

fn multiply(a: Four, b: Number, run: Run) -> Run {
    return fma(a, vec4<f16>(b), run);
}

fn ended(run: Run, sums: Sums) -> Sums {
    return sums + Sums(run);
}

fn column_term(b: Number) -> i32 {
    return 0;
}
