// One weight of a packed order, where a range of the input may be bound: what lies in another one is left to the dispatch that has that.
// Expects pack.wgsl's p, Elem.

fn put(index: i32, channel: i32, place: i32) {
    if (channel >= p[0].w) {
        output[index] = Elem(0);
    } else if (place >= 0 && place < p[4].z) {
        output[index] = input[place];
    }
}
