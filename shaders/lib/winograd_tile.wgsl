// Which tile of which channel an invocation of a Winograd transform works on. Expects g, OUT_*.
// Columns count the tiles of all planes of a channel: batch item, z, tiles of y, tiles of x.

struct Tile {
    channel: i32,
    column: i32,
    columns: i32, // of a channel
    item: i32,
    z: i32,
    y: i32,       // its first output
    x: i32,
}

fn tile_of(index: i32) -> Tile {
    let tiles_y = (g.output.y + OUT_Y - 1) / OUT_Y;
    let tiles_x = (g.output.z + OUT_X - 1) / OUT_X;
    let columns = g.batch * g.output.x * tiles_y * tiles_x;
    let channel = index / columns;
    let column = index - channel * columns;
    let row = column / tiles_x;
    let slice = row / tiles_y;
    let item = slice / g.output.x;
    let y = (row - slice * tiles_y) * OUT_Y;
    return Tile(channel, column, columns, item, slice - item * g.output.x, y, (column - row * tiles_x) * OUT_X);
}
