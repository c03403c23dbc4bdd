// Elements of rows where they lie in the input, four at once. Expects row_along.wgsl or row_across.wgsl, output: array<vec4<Elem>>, Elem.

fn put(row: Row, turn: i32, y: Value) {
    output[place(row, turn)] = vec4<Elem>(y);
}
