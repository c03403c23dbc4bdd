// each() finds the weights of COLUMNS neighbours of a packed order, [group, block, panel, row][column], or zeros where those are padding.
// Expects RANK, the axes of the groups; PANELS, whether a block has several; NESTED, whether rows or panels are two axes each; put().
// p[0]: count, the first, columns of a block, all three by COLUMNS; channels of a group;
// p[1]: rows of a panel, those that are no padding, panels of a block, blocks of a group;
// p[2]: the inner axis of rows and of panels, how many of an inner row's are no padding, and of all inner panels' together;
// p[3]: strides of rows, outer and inner, and of panels;
// p[4]: the first weight, the stride of channels, elements that are bound, the first group;
// p[5]: by how many weights an inner panel begins behind the one before, and an inner row;
// then for each axis of the groups, outermost first: size, stride.

// A number as one of the outer axis and one of the inner.
fn parts(number: i32, inner: i32) -> vec2<i32> {
    if (!NESTED) {
        return vec2<i32>(number, 0);
    }
    let outer = quotient(number, inner);
    return vec2<i32>(outer, number - outer * inner);
}

// Elements from the first group to this one.
fn of_group(group: i32) -> i32 {
    var place = 0;
    var rest = group;
    for (var axis = RANK; axis > 0; axis -= 1) {
        var outer = 0;
        if (axis > 1) {
            outer = quotient(rest, p[5 + axis].x);
        }
        place += (rest - outer * p[5 + axis].x) * p[5 + axis].y;
        rest = outer;
    }
    return place;
}

fn each(number: i32) {
    let index = number + p[0].y;
    let line = quotient(index, p[0].z);
    let in_panels = quotient(line, p[1].x);
    let row = line - in_panels * p[1].x;
    var in_blocks = in_panels;
    var panel = 0;
    if (PANELS) {
        in_blocks = quotient(in_panels, p[1].z);
        panel = in_panels - in_blocks * p[1].z;
    }
    let group = quotient(in_blocks, p[1].w);
    let channel = ((in_blocks - group * p[1].w) * p[0].z + index - line * p[0].z) * COLUMNS;
    let rows = parts(row, p[2].x);
    let panels = parts(panel, p[2].y);
    let padding = row >= p[1].y || rows.y >= p[2].z || panels.y * p[5].x + rows.y * p[5].y >= p[2].w;
    let inside = rows.x * p[3].x + rows.y * p[3].y + panels.x * p[3].z + panels.y * p[3].w;
    let place = p[4].x + of_group(group + p[4].w) + channel * p[4].y + inside;
    put(index, select(channel, p[0].w, padding), place);
}
