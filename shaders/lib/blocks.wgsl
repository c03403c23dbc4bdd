// Blocks of outputs that an invocation computes on an axis, `spread` apart, so that the inputs of neighbours are shared whatever the
// dilation is.

fn block_count(outputs: i32, block: i32) -> i32 {
    return (outputs + block - 1) / block;
}

// The first output of a block on an axis: blocks take turns within a run of tile * spread outputs.
fn block_start(block: i32, tile: i32, spread: i32) -> i32 {
    return (block / spread) * tile * spread + block % spread;
}
