// Which outputs a register patch has. Expects g, layout.wgsl, blocks.wgsl, TILE_*, SPREAD_*, CHANNELS (of an
// invocation, a divisor of all).

// Patches of a plane on y, and on x.
fn patches_y() -> i32 {
    return block_count(g.phase_output.y, TILE_Y * SPREAD_Y) * SPREAD_Y;
}

fn patches_x() -> i32 {
    return block_count(g.phase_output.z, TILE_X * SPREAD_X) * SPREAD_X;
}

// The first output of the patch with this number, among those of a phase: all, but of transposed convolutions with a stride. Patches are numbered as inputs lie, so that neighbours load neighbouring elements.
fn patch_of(index: i32) -> Place {
    let blocks_y = patches_y();
    let blocks_x = patches_x();
    let vectors = g.out_channels / CHANNELS;
    let column = select(index, quotient(index, vectors), INPUT_LAST);
    let row = quotient(column, blocks_x);
    let slice = quotient(row, blocks_y);
    let plane = quotient(slice, g.phase_output.x);
    let y = block_start(row - slice * blocks_y, TILE_Y, SPREAD_Y);
    let at = vec3<i32>(slice - plane * g.phase_output.x, y, block_start(column - row * blocks_x, TILE_X, SPREAD_X));
    if (INPUT_LAST) {
        return Place(plane, (index - column * vectors) * CHANNELS, at);
    }
    let item = quotient(plane, vectors);
    return Place(item, (plane - item * vectors) * CHANNELS, at);
}
