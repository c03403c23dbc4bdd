// Four rows that lie side by side, an element of each a load. Expects four.wgsl, input: array<vec4<..>>, KEPT, REDUCED, place_of().
// p[0]: fours of rows, elements of each row; then size and stride in fours of each kept axis, and of each axis of a row.

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

fn loaded(row: Row, turn: i32) -> vec4<f32> {
    return vec4<f32>(input[place(row, turn)]);
}

fn numbers(row: Row, turn: i32) -> vec4<i32> {
    return vec4<i32>(turn);
}

fn folded(own: Partial, how: i32) -> Partial {
    return own;
}
