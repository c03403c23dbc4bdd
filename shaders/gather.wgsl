// each() copies one element: output[o, j, i] = input[o, indices[j], i]. Negative indices count from the end, or are zeros.
// Expects ZEROS, Elem. p[0]: count, size of the axis, elements behind it, indices.

fn each(index: i32) {
    let size = p[0].y;
    let row = index / p[0].z;
    let outer = row / p[0].w;
    var at = indices[row - outer * p[0].w];
    if (ZEROS && at < 0) {
        output[index] = Elem(0);
        return;
    }
    at = select(at, at + size, at < 0);
    output[index] = input[(outer * size + at) * p[0].z + index - row * p[0].z];
}
