// The position of a max pooling's element in the whole input, from that in a part of its plane.
// p: .., (.., .., first plane, elements before the part), (elements of a plane, order, lines of an item or 0, planes of an item),
// (planes' depth, height, width, lines before). With channels first each line is a plane, with channels last it has one element of each.

fn number(value: i32, row: i32, at: i32) -> i32 {
    let position = value + p[1].w;
    if (p[2].y == 0) {
        return position;
    }
    var plane = p[1].z + row;
    if (p[2].z > 0) {
        plane = p[1].z + quotient(p[3].w + row, p[2].z) * p[2].w + at;
    }
    let first = plane * p[2].x;
    if (p[2].y == 1) {
        return first + position;
    }
    // The first axis fastest.
    let line = quotient(position, p[3].z);
    let slice = quotient(line, p[3].y);
    return first + slice + p[3].x * (line - slice * p[3].y + p[3].y * (position - line * p[3].z));
}
