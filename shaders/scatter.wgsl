// each() puts one element where its index says; no two indices are the same. Expects Elem.
// p[0]: count, elements of the output.

fn each(index: i32) {
    let at = indices[index];
    if (at >= 0 && at < p[0].y) {
        output[at] = input[index];
    }
}
