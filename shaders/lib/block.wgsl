// Which block of a matrix product a tile is, in which order they follow one another. Expects g, BLOCK_M, PADDED_K, FEW_WEIGHTS, blocks_n(),
// quotient().

var<private> block_n: i32; // which block of columns
var<private> block_m: i32; // which block of output channels

fn blocks_m() -> i32 {
    return (g.group_out + BLOCK_M - 1) / BLOCK_M;
}

// Rows of the weights of a tap, with those of zeros that make them a multiple of PADDED_K.
fn padded_rows() -> i32 {
    return (g.group_in + PADDED_K - 1) / PADDED_K * PADDED_K;
}

// Sets the block of a tile; returns how many whole products lie before it. Those that share columns follow one another where a group has
// few weights.
fn set_block(tile: i32) -> i32 {
    let m_first = FEW_WEIGHTS > 0 && g.group_out * g.group_in * g.taps <= FEW_WEIGHTS;
    let inner = select(blocks_n(), blocks_m(), m_first);
    let outer = select(blocks_m(), blocks_n(), m_first);
    let bands = quotient(tile, inner);
    let products = quotient(bands, outer);
    block_n = select(tile - bands * inner, bands - products * outer, m_first);
    block_m = select(bands - products * outer, tile - bands * inner, m_first);
    return products;
}
