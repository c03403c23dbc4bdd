// Elements of a row where they lie in the input. Expects row_one.wgsl, output, Elem.

fn put(row: Row, turn: i32, y: Value) {
    output[place(row, turn)] = Elem(y);
}
