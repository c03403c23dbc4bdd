// each() computes one element of a tensor [channels, y, x] from a picture. Expects Elem, texel_value().
// p[0]: count, width, texels.

fn each(index: i32) {
    let channel = quotient(index, p[0].z);
    let at = index - channel * p[0].z;
    let y = quotient(at, p[0].y);
    output[index] = Elem(texel_value(at - y * p[0].y, y, channel));
}
