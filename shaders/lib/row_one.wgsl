// Rows of any strides, an element a load. Expects one.wgsl, input, KEPT, REDUCED, place_of().
// p[0]: rows, elements of each; then size and stride of each kept axis, and of each axis of a row.

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

fn loaded(row: Row, turn: i32) -> f32 {
    return f32(input[place(row, turn)]);
}

fn numbers(row: Row, turn: i32) -> i32 {
    return turn;
}

fn folded(own: Partial, how: i32) -> Partial {
    return own;
}
