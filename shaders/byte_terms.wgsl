// each() makes what a filter's zero point and the input's need: the sum of its bytes, and its zero point.
// input: [filters, words] of packed bytes; zeros: one number for all filters or for each of a run of them; output: [filters, 2].
// p[0]: filters, words, zero points.

fn each(index: i32) {
    var sum = 0;
    for (var k = 0; k < p[0].y; k += 1) {
        sum += dot4I8Packed(u32(input[index * p[0].y + k]), 0x01010101u);
    }
    output[2 * index] = sum;
    output[2 * index + 1] = zeros[index % p[0].z];
}
