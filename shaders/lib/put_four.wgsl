// Elements of rows where they lie in the input, four at once; not those that the row does not have. Expects row_along.wgsl or
// row_across.wgsl, output: array<vec4<Elem>>, Elem.

fn put(row: Row, turn: i32, y: Value) {
    let four = place(row, turn);
    let are_inside = numbers(row, turn) >= Number();
    if (ALL_INSIDE || all(are_inside)) {
        output[four] = vec4<Elem>(y);
        return;
    }
    for (var one = 0; one < 4; one += 1) {
        if (are_inside[one]) {
            output[four][one] = Elem(y[one]);
        }
    }
}
