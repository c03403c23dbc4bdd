// Which tile of which channel an invocation of a Winograd transform works on. Expects g, blocks.wgsl, OUT_*, ALPHA_*,
// and PADS, whether channels of the workspaces begin at multiples of four places.
// Places of a channel: z, rows, tiles of x. A row is a tile where y is transformed, which ALPHA_Y > 1 says, and else a row as it is.
// The outputs and the inputs of a tile lie a dilation apart, so that tiles interleave.

const FILTERS_Y: bool = ALPHA_Y > 1;

struct Tile {
    item: i32,
    channel: i32,
    place: i32,  // among those of the channel
    channel_step: i32, // from a channel to the next
    z: i32,
    y: i32,      // its first output
    x: i32,
}

fn tile_count(outputs: i32, tile: i32, dilation: i32) -> i32 {
    return block_count(outputs, tile * dilation) * dilation;
}

// `size` is that of the tensor whose z, and whose y where it is not transformed, count the places.
fn tile_of(index: i32, size: vec3<i32>, channels: i32) -> Tile {
    let tiles_y = select(size.y, tile_count(g.output.y, OUT_Y, g.dilation.y), FILTERS_Y);
    let tiles_x = tile_count(g.output.z, OUT_X, g.dilation.z);
    let row = quotient(index, tiles_x);
    let slice = quotient(row, tiles_y);
    let plane = quotient(slice, size.x);
    let item = quotient(plane, channels);
    let places = size.x * tiles_y * tiles_x;
    let tile_y = row - slice * tiles_y;
    let y = select(tile_y, block_start(tile_y, OUT_Y, g.dilation.y), FILTERS_Y);
    let x = block_start(index - row * tiles_x, OUT_X, g.dilation.z);
    let padded = select(places, (places + 3) / 4 * 4, PADS);
    return Tile(item, plane - item * channels, index - plane * places, padded, slice - plane * size.x, y, x);
}

// Where a component of a tile is in a workspace, [batch, ALPHA_Y * ALPHA_X, channels, places and padding].
fn component_at(tile: Tile, component: i32, channels: i32) -> i32 {
    return ((tile.item * ALPHA_Y * ALPHA_X + component) * channels + tile.channel) * tile.channel_step + tile.place;
}
