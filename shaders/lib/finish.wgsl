// What is done with a finished sum of floats, which is stored by itself; lib/bytes.wgsl has the same name. Expects store().

fn finish(sum: f32, column: i32, terms: i32, channel: i32, index: i32) {
    store(sum, channel, index);
}
