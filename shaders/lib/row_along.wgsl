// Rows whose elements are neighbours, four a load; those of neighbouring rows at either end are left out. Where no row has such an end,
// ALL_INSIDE, rows may have outer axes too. Expects four.wgsl, value_4.wgsl, KEPT, REDUCED, place_of().
// p[0]: rows, fours of each or elements where they have ends; then size and stride of each kept axis, and of each axis of a row: in
// fours, or elements.

struct Row {
    start: i32,
}

fn row_of(index: i32) -> Row {
    return Row(place_of(index, 1, KEPT));
}

fn turns_of(row: Row) -> i32 {
    if (ALL_INSIDE) {
        return p[0].y;
    }
    return (row.start + p[0].y - 1) / 4 - row.start / 4 + 1;
}

fn place(row: Row, turn: i32) -> i32 {
    if (ALL_INSIDE) {
        return row.start + place_of(turn, 1 + KEPT, REDUCED);
    }
    return row.start / 4 + turn;
}

fn loaded(row: Row, turn: i32) -> vec4<f32> {
    return input_value(place(row, turn));
}

fn numbers(row: Row, turn: i32) -> vec4<i32> {
    let four = vec4<i32>(4 * turn) + vec4<i32>(0, 1, 2, 3);
    if (ALL_INSIDE) {
        return four;
    }
    let at = four - vec4<i32>(row.start % 4);
    return select(vec4<i32>(-1), at, at < vec4<i32>(p[0].y));
}

// All four of what the row has.
fn folded(own: Partial, how: i32) -> Partial {
    let two = combine(own, Partial(own.value.zwxy, own.at.zwxy), how);
    return combine(two, Partial(two.value.yxwz, two.at.yxwz), how);
}
