// each() reads what one tap of one channel meets at one place of a deformed convolution's output.
// Expects Elem, weight_of().
// p[0]: count, channels, offset groups; p[1]: input rows and columns, output rows and columns; p[2]: taps, stride; p[3]: dilation,
// padding. input: [n, c, y, x], offsets: [n, group, tap, 2, place], mask: [n, group, tap, place], output: [n, c, tap, place].

// An element of a channel, or a zero outside.
fn element_at(plane: i32, y: i32, x: i32) -> f32 {
    let inside = y >= 0 && y < p[1].x && x >= 0 && x < p[1].y;
    return select(0.0, f32(input[select(0, (plane * p[1].x + y) * p[1].y + x, inside)]), inside);
}

fn each(index: i32) {
    let places = p[1].z * p[1].w;
    let taps = p[2].x * p[2].y;
    let row = quotient(index, places);
    let place = index - row * places;
    let plane = quotient(row, taps);
    let tap = row - plane * taps;
    let item = quotient(plane, p[0].y);
    let channel = plane - item * p[0].y;
    let group = item * p[0].z + quotient(channel, quotient(p[0].y, p[0].z));
    let shift = ((group * taps + tap) * 2) * places + place;
    let out_y = quotient(place, p[1].w);
    let tap_y = quotient(tap, p[2].y);
    let y = f32(out_y * p[2].z + tap_y * p[3].x - p[3].z) + f32(offsets[shift]);
    let x = f32((place - out_y * p[1].w) * p[2].w + (tap - tap_y * p[2].y) * p[3].y - p[3].w) + f32(offsets[shift + places]);
    // Far outside all four corners are zeros; held there, coordinates stay within 32 bits.
    let low_y = clamp(floor(y), -2.0, f32(p[1].x));
    let low_x = clamp(floor(x), -2.0, f32(p[1].y));
    let part_y = y - floor(y);
    let part_x = x - floor(x);
    let at_y = i32(low_y);
    let at_x = i32(low_x);
    let upper = (1.0 - part_x) * element_at(plane, at_y, at_x) + part_x * element_at(plane, at_y, at_x + 1);
    let lower = (1.0 - part_x) * element_at(plane, at_y + 1, at_x) + part_x * element_at(plane, at_y + 1, at_x + 1);
    let value = (1.0 - part_y) * upper + part_y * lower;
    output[index] = Elem(value * weight_of((group * taps + tap) * places + place));
}
