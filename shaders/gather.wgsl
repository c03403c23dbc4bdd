// each() copies one element: output[o, j, i] = input[o, indices[j], i]. Negative indices count from the end. What no index
// names is missing(): a NaN, or 0 among integers.
// Ranges of the tensors may be bound: what lies in another range of the input is left to the dispatch that has that.
// Expects Elem, missing(), and FLAT, whether there is one outer item of single elements.
// p[0]: count, size of the axis, elements behind it, indices; p[1]: the first element, and the first that is bound of the output, of the
// indices and of the input; p[2].x: how many are bound of the input; p[2].y: the bits of a NaN.

fn each(number: i32) {
    let index = number + p[1].x;
    var row = index;
    var outer = 0;
    if (!FLAT) {
        row = quotient(index, p[0].z);
        outer = quotient(row, p[0].w);
    }
    var at = indices[row - outer * p[0].w - p[1].z];
    at = select(at, at + p[0].y, at < 0);
    if (at < 0 || at >= p[0].y) {
        output[index - p[1].y] = missing();
        return;
    }
    let place = (outer * p[0].y + at) * p[0].z + index - row * p[0].z - p[1].w;
    if (place >= 0 && place < p[2].x) {
        output[index - p[1].y] = input[place];
    }
}
