// Elements of a row where they lie in the input, of four those that the row has: the others are another invocation's, and to write a part of
// a vector may be to write all of it. Expects row_along.wgsl, output: array<Elem>, Elem.

fn put(row: Row, turn: i32, y: Value) {
    let first = 4 * place(row, turn);
    let are_inside = numbers(row, turn) >= Number();
    for (var one = 0; one < 4; one += 1) {
        if (are_inside[one]) {
            output[first + one] = Elem(y[one]);
        }
    }
}
