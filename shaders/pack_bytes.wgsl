// each() packs four channels of whole numbers, less `shift`, as signed bytes into a word; channels that do not exist are the fill byte.
// output: [outer, words, inner]; input: [outer, channels, inner] with any strides, in elements; fill: one number.
// p[0]: count, channels, words, inner; p[1]: the input's strides, shift.

fn each(index: i32) {
    let row = quotient(index, p[0].w);
    let inner = index - row * p[0].w;
    let outer = quotient(row, p[0].z);
    let first = (row - outer * p[0].z) * 4;
    let start = outer * p[1].x + inner * p[1].z;
    var word = 0u;
    for (var k = 0; k < 4; k += 1) {
        let channel = first + k;
        let exists = channel < p[0].y;
        let number = i32(input[start + select(0, channel, exists) * p[1].y]) - p[1].w;
        word |= (u32(select(fill[0], number, exists)) & 0xffu) << u32(8 * k);
    }
    output[index] = Elem(word);
}
