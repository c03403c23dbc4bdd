// What pool_row.wgsl does, where rows begin at multiples of 4: FOURS loads of four, the first of which is at column BEFORE, and the other
// columns one by one. Beyond a row it is the row's last four that is loaded: as any element there it is left out later.
// Not by input_fours.wgsl: kernels that have that can read pictures, and poolings cannot.
// Expects input_1(), input_4(), COLUMNS, Columns, BEFORE, FOURS.

fn loaded(index: i32) -> f32 {
    return f32(input_1(u32(index)));
}

fn loaded_row(start: i32, at: i32, columns: Columns) -> array<f32, COLUMNS> {
    var values: array<f32, COLUMNS>;
    for (var column = 0; column < BEFORE; column += 1) {
        values[column] = loaded(start + at + columns.at[column]);
    }
    for (var four = 0; four < FOURS; four += 1) {
        let column = BEFORE + 4 * four;
        let found = vec4<f32>(input_4(u32(start + at + columns.at[column]) / 4));
        values[column] = found.x;
        values[column + 1] = found.y;
        values[column + 2] = found.z;
        values[column + 3] = found.w;
    }
    for (var column = BEFORE + 4 * FOURS; column < COLUMNS; column += 1) {
        values[column] = loaded(start + at + columns.at[column]);
    }
    return values;
}
