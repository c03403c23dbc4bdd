// each() puts one element where its index says, if that is bound; no two indices are the same. Expects Elem.
// p[0]: count, elements that are bound before the first one, of the input and of the indices; p[1]: the first element of the output
// that is bound, and the one behind the last.

fn each(number: i32) {
    let at = indices[number + p[0].z];
    if (at >= p[1].x && at < p[1].y) {
        output[at - p[1].x] = input[number + p[0].y];
    }
}
