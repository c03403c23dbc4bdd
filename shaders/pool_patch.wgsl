// Pooling in register patches: each invocation walks down TILE_Y outputs of TILE_X columns of one plane, or, where channels are last, of
// four planes side by side. A row of inputs is loaded once for all columns and reduced along x. Each reduced row is joined
// to what the windows that see it have found so far, and those stay in registers.
// As in conv_depthwise.wgsl, outputs of an invocation lie SPREAD = dilation / gcd(dilation, stride) apart.
// Elements beyond the input are loaded from its edge and then left out by a select: no branch, and none is needed, because a select
// costs a small part of a load.
// Expects Elem, layout.wgsl, pool_window.wgsl, patch.wgsl, pool_row.wgsl or pool_row_fours.wgsl, CHANNELS (1, or 4 without positions), put(), KERNEL_*, STRIDE_*, SHARE_*, INDEXED (somebody wants positions), WHOLE
// (no window leaves the input), WORKGROUP, workgroup_index(), store_index(), and
// - STEP_X = min(SHARE_X, KERNEL_X): loaded columns between the windows of two outputs, in a row of COLUMNS;
// - FRESH: rows of a window that none before it has seen, which are all KERNEL_Y where windows share none;
// - OPEN = ceil(KERNEL_Y / FRESH): windows that see a row.
// input and output: [batch, channels, z, y, x] in the order of their layouts.

const_assert COLUMNS == (TILE_X - 1) * STEP_X + KERNEL_X && OPEN == (KERNEL_Y + FRESH - 1) / FRESH;

struct Row {
    value: array<Value, TILE_X>,
    at: array<Number, TILE_X>,
}

// Where an invocation's columns are.
struct Columns {
    at: array<i32, COLUMNS>,      // within the row
    inside: array<bool, COLUMNS>, // whether that is where the window looks
}

// What combines with anything and leaves no trace: -inf for a maximum, which is no constant, as compilers refuse one.
fn nothing(z: i32) -> Partial {
    return Partial(Value(select(0.0, bitcast<f32>((u32(z) & 0u) | 0xff800000u), KIND == MAX)), Number(-1));
}

// `b` comes after `a`; of a window of several slices, where positions are asked for, anywhere.
fn join(a: Partial, b: Partial) -> Partial {
    if (KIND != MAX) {
        return Partial(a.value + b.value, Number());
    }
    if (INDEXED) {
        var wins = (b.value > a.value) | (are_nan(b.value) & !are_nan(a.value));
        if (KERNEL_Z > 1) {
            wins = replaces(b, a);
        }
        return Partial(select(a.value, b.value, wins), select(a.at, b.at, wins));
    }
    return Partial(select(a.value, b.value, (b.value > a.value) | are_nan(b.value)), Number());
}

// One row of the windows of all columns: a row in each slice of a window.
fn reduced_row(start: i32, at_z: i32, y: i32, columns: Columns) -> Row {
    let none = nothing(at_z);
    var row: Row;
    for (var tile_x = 0; tile_x < TILE_X; tile_x += 1) {
        row.value[tile_x] = none.value;
        row.at[tile_x] = none.at;
    }
    for (var tap_z = 0; tap_z < KERNEL_Z; tap_z += 1) {
        let z = at_z + tap_z * g.dilation.x;
        let met = WHOLE || (inside(z, g.input.x) && inside(y, g.input.y));
        let at = (clamp(z, 0, g.input.x - 1) * g.input.y + clamp(y, 0, g.input.y - 1)) * g.input.z;
        var values = loaded_row(start, at, columns);
        for (var column = 0; column < COLUMNS; column += 1) {
            values[column] = select(none.value, element(values[column]), WHOLE || columns.inside[column]);
        }
        for (var tile_x = 0; tile_x < TILE_X; tile_x += 1) {
            var part = none;
            for (var tap_x = 0; tap_x < KERNEL_X; tap_x += 1) {
                let column = tile_x * STEP_X + tap_x;
                let position = select(-1, at + columns.at[column], WHOLE || columns.inside[column]);
                part = join(part, Partial(values[column], Number(position)));
            }
            part = Partial(select(none.value, part.value, met), select(none.at, part.at, met));
            part = join(Partial(row.value[tile_x], row.at[tile_x]), part);
            row.value[tile_x] = part.value;
            row.at[tile_x] = part.at;
        }
    }
    return row;
}

// `b` comes after `a`, if that is no first row.
fn joined(a: Row, b: Row, is_first: bool, z: i32) -> Row {
    let none = nothing(z);
    var row: Row;
    for (var tile_x = 0; tile_x < TILE_X; tile_x += 1) {
        var before = none;
        if (!is_first) {
            before = Partial(a.value[tile_x], a.at[tile_x]);
        }
        let both = join(before, Partial(b.value[tile_x], b.at[tile_x]));
        row.value[tile_x] = both.value;
        row.at[tile_x] = both.at;
    }
    return row;
}

// Positions of a window on an axis that an average divides by.
fn positions(start: i32, kernel: i32, axis: i32) -> i32 {
    var count = 0;
    for (var tap = 0; tap < kernel; tap += 1) {
        let at = start + tap * g.dilation[axis];
        count += select(0, 1, (COUNT_PADDING || at >= 0) && at < g.input[axis] + select(0, PAD_END[axis], COUNT_PADDING));
    }
    return count;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);
    let place = patch_of(index);
    // Of outputs that lie apart the last patch may have none.
    if (index < 0 || place.item >= g.batch || place.at.y >= g.output.y) {
        return;
    }
    let plane = place.item * g.out_channels + place.channel;
    let start = input_start(place.item, place.channel);
    let step = output_step();
    let outputs = output_start(place.item, place.channel) + place.at.x * g.output.y * g.output.z * step;
    let at_z = place.at.x * STRIDE_Z - g.pad_begin.x;
    let at_y = place.at.y * STRIDE_Y - g.pad_begin.y;
    let at_x = place.at.z * STRIDE_X - g.pad_begin.z;

    var columns: Columns;
    for (var column = 0; column < COLUMNS; column += 1) {
        // Windows that do not overlap leave inputs between them out.
        let step = select(column, (column / KERNEL_X) * SHARE_X + column % KERNEL_X, SHARE_X > KERNEL_X);
        let x = at_x + step * g.dilation.z;
        columns.at[column] = clamp(x, 0, g.input.z - 1);
        columns.inside[column] = inside(x, g.input.z);
    }
    let counted = KIND == AVERAGE && DIVISOR == 0 && !WHOLE;
    var counts: array<i32, TILE_X>; // of positions on z and x
    if (counted) {
        let count_z = positions(at_z, KERNEL_Z, 0);
        for (var tile_x = 0; tile_x < TILE_X; tile_x += 1) {
            counts[tile_x] = count_z * positions(at_x + tile_x * SHARE_X * g.dilation.z, KERNEL_X, 2);
        }
    }

    let windows = min(TILE_Y, (g.output.y - place.at.y + SPREAD_Y - 1) / SPREAD_Y);
    // A patch of several rows is a loop whose end no compiler knows: written out, each load would stand in the text for every row. One row of
    // outputs has as many as a window, which is a constant.
    let rows = select((windows - 1) * FRESH + KERNEL_Y, KERNEL_Y, TILE_Y == 1);
    var open: array<Row, OPEN>; // what windows that see the row have found so far, the newest first
    for (var row_number = 0; row_number < rows; row_number += 1) {
        let seen = select(row_number, (row_number / KERNEL_Y) * SHARE_Y + row_number % KERNEL_Y, OPEN == 1);
        let row = reduced_row(start, at_z, at_y + seen * g.dilation.y, columns);
        let fresh = row_number % FRESH;
        if (OPEN > 1 && fresh == 0) {
            for (var window = OPEN - 1; window > 0; window -= 1) {
                open[window] = open[window - 1];
            }
        }
        for (var window = 0; window < OPEN; window += 1) {
            // The oldest may have ended.
            if (KERNEL_Y % FRESH == 0 || window < OPEN - 1 || fresh < KERNEL_Y % FRESH) {
                open[window] = joined(open[window], row, window == 0 && fresh == 0, at_z);
            }
        }
        let ended = row_number + 1 - KERNEL_Y;
        if (ended >= 0 && ended % FRESH == 0) {
            let window = open[OPEN - 1];
            let tile_y = ended / FRESH;
            let first_y = at_y + tile_y * SHARE_Y * g.dilation.y;
            let y = place.at.y + tile_y * SPREAD_Y;
            let count_y = select(KERNEL_Y, positions(first_y, KERNEL_Y, 1), counted);
            for (var tile_x = 0; tile_x < TILE_X; tile_x += 1) {
                let x = place.at.z + tile_x * SPREAD_X;
                if (x < g.output.z) {
                    let count = count_y * select(KERNEL_Z * KERNEL_X, counts[tile_x], counted);
                    let at = outputs + (y * g.output.z + x) * step;
                    put(at, finish(window.value[tile_x], count));
                    var position = window.at[tile_x];
                    // In order nothing is greater than nothing at all, where all of a window is -inf: then the first element has it.
                    if (INDEXED && any(position < Number())) {
                        let first = vec3<i32>(at_z, first_y, at_x + tile_x * SHARE_X * g.dilation.z);
                        let met = first + (max(-first, vec3<i32>()) + g.dilation - 1) / g.dilation * g.dilation;
                        position = Number((met.x * g.input.y + met.y) * g.input.z + met.z);
                    }
                    store_index(at, plane, position);
                }
            }
        }
    }
}
