// The inputs of a row that a patch of a pooling sees, one by one. Expects input_value(), layout.wgsl, CHANNELS, COLUMNS, Columns.

fn loaded_row(start: i32, at: i32, columns: Columns) -> array<Value, COLUMNS> {
    var values: array<Value, COLUMNS>;
    for (var column = 0; column < COLUMNS; column += 1) {
        values[column] = input_value(i32(u32(start + (at + columns.at[column]) * input_step()) / u32(CHANNELS)));
    }
    return values;
}
