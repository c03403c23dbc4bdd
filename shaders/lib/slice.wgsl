// Split-K: a workgroup sums over one of SPLIT_K equal slices of the steps along k; locate() finds which. Expects k_tiles().

var<private> slice: i32;

// The first step of the slice, and the one behind its last; the last slices may have none.
fn slice_tiles() -> vec2<i32> {
    let tiles = k_tiles();
    if (SPLIT_K == 1) {
        return vec2<i32>(0, tiles);
    }
    let each = (tiles + SPLIT_K - 1) / SPLIT_K;
    return min(vec2<i32>(slice, slice + 1) * each, vec2<i32>(tiles));
}
