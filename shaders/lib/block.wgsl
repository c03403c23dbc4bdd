// Which block of a matrix product a tile is, in which order they follow one another. Expects g, BLOCK_M, M_FIRST, blocks_n(), quotient().

var<private> block_n: i32; // which block of columns
var<private> block_m: i32; // which block of output channels

fn blocks_m() -> i32 {
    return (g.group_out + BLOCK_M - 1) / BLOCK_M;
}

// Sets the block of a tile; returns how many whole products lie before it.
fn set_block(tile: i32) -> i32 {
    let inner = select(blocks_n(), blocks_m(), M_FIRST);
    let outer = select(blocks_m(), blocks_n(), M_FIRST);
    let bands = quotient(tile, inner);
    let products = quotient(bands, outer);
    block_n = select(tile - bands * inner, bands - products * outer, M_FIRST);
    block_m = select(bands - products * outer, tile - bands * inner, M_FIRST);
    return products;
}
