// Rows of any strides, an element of each a load: one row, or four that lie side by side. Expects one.wgsl and
// value_1.wgsl, or four.wgsl and value_4.wgsl; KEPT, REDUCED, place_of().
// p[0]: rows or fours of them, elements of each row; then size and stride of each kept axis, and of each axis of a row, in what a load brings.

struct Row {
    start: i32,
}

fn row_of(index: i32) -> Row {
    return Row(place_of(index, 1, KEPT));
}

fn turns_of(row: Row) -> i32 {
    return p[0].y;
}

fn place(row: Row, turn: i32) -> i32 {
    return row.start + place_of(turn, 1 + KEPT, REDUCED);
}

fn loaded(row: Row, turn: i32) -> Value {
    return input_value(place(row, turn));
}

fn numbers(row: Row, turn: i32) -> Number {
    return Number(turn);
}

fn folded(own: Partial, how: i32) -> Partial {
    return own;
}
