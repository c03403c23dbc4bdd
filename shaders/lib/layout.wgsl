// Where elements lie in memory. The position of an element is its number among the spatial axes, row-major.
// Expects g, INPUT_LAST and OUTPUT_LAST: whether the channels of a position are neighbours, [n, z, y, x, c], or not, [n, c, z, y, x].

// Elements from an input to that of the next position.
fn input_step() -> i32 {
    return select(1, g.in_channels, INPUT_LAST);
}

// Elements from an input to that of the next channel.
fn input_channel_step() -> i32 {
    return select(g.input_plane, 1, INPUT_LAST);
}

// The input at position 0 of a channel.
fn input_start(item: i32, channel: i32) -> i32 {
    return item * g.in_channels * g.input_plane + channel * input_channel_step();
}

fn output_step() -> i32 {
    return select(1, g.out_channels, OUTPUT_LAST);
}

fn output_channel_step() -> i32 {
    return select(g.output_plane, 1, OUTPUT_LAST);
}

fn output_start(item: i32, channel: i32) -> i32 {
    return item * g.out_channels * g.output_plane + channel * output_channel_step();
}

struct Place {
    item: i32,
    channel: i32,
    at: vec3<i32>,
}

// The place of the output with this number in memory.
fn output_place(index: i32) -> Place {
    let column = select(index, quotient(index, g.out_channels), OUTPUT_LAST);
    let row = quotient(column, g.output.z);
    let slice = quotient(row, g.output.y);
    let plane = quotient(slice, g.output.x);
    let at = vec3<i32>(slice - plane * g.output.x, row - slice * g.output.y, column - row * g.output.z);
    if (OUTPUT_LAST) {
        return Place(plane, index - column * g.out_channels, at);
    }
    let item = quotient(plane, g.out_channels);
    return Place(item, plane - item * g.out_channels, at);
}
