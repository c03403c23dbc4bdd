// Products of packed bytes: four signed numbers of 8 bits to a word, the first in the lowest bits. What is wanted is the sum over k of
// (x[k] - zero) * (w[k] - terms.y), which is x.w - zero * sum(w) - terms.y * (sum(x) - count * zero) in 32-bit integers that wrap.
// All sums go over every byte that the loop sees: where there is no input, x is the zero point; where there is no weight, w is 0.
// Expects input: array<u32>, zero: array<i32>, terms: array<vec2<i32>>, output: array<i32>; CENTRED, whether any terms.y is not 0.
// lib/floats.wgsl has the same names for floats.

alias Operand = u32;     // what a load brings
alias Number = u32;      // a word of B
alias Four = vec4<u32>;  // four rows of A
alias Run = Sums;        // a part of four rows' sums: here they go on as they are
alias Sum = i32;         // of products
alias Sums = vec4<i32>;  // of four rows

const ONES: u32 = 0x01010101u;

fn fetched(at: i32) -> Operand {
    return input[at];
}

fn masked(operand: Operand, met: bool) -> Operand {
    return select((u32(zero[0]) & 0xffu) * ONES, operand, met);
}

fn widened(stored: vec4<u32>) -> Four {
    return stored;
}

// The sum of an input's bytes, where it is needed.
fn column_term(b: Number) -> i32 {
    if (CENTRED) {
        return dot4I8Packed(b, ONES);
    }
    return 0;
}

fn begun(sums: Sums) -> Run {
    return sums;
}

fn ended(run: Run, sums: Sums) -> Sums {
    return run;
}

// Adds the products of the bytes of four rows and one column.
fn multiply(a: Four, b: Number, run: Run) -> Run {
    return run + Run(dot4I8Packed(a.x, b), dot4I8Packed(a.y, b), dot4I8Packed(a.z, b), dot4I8Packed(a.w, b));
}

// Takes the zero points off a sum of so many words' products and writes it; `column` is the sum of its column's inputs.
fn finish(sum: i32, column: i32, words: i32, channel: i32, index: i32) {
    let of_filter = terms[channel]; // the sum of its weights, their zero point
    output[index] = sum - zero[0] * of_filter.x - of_filter.y * (column - 4 * words * zero[0]);
}
