// each() samples one channel at one place of a grid. Expects SPATIAL (2 or 3 axes), TAPS (2: linear, 4: cubic), PADDING, ALIGN, Elem,
// numbers.wgsl.
// p[0]: count, channels, places; p[1]: size of each axis, the first 1 where there are two. input: [n, c, z, y, x],
// grid: [n, place, SPATIAL], x first, output: [n, c, place].

const ZEROS: i32 = 0;
const BORDER: i32 = 1;
const REFLECTION: i32 = 2;

// A coordinate mirrored at the nearer border until it lies between both.
fn reflect_between(at: f32, least: f32, most: f32) -> f32 {
    let range = most - least;
    if (range <= 0.0) {
        return least;
    }
    let far = at - least;
    let distance = far - floor(far / (2.0 * range)) * 2.0 * range;
    let mirrored = least + clamp(min(distance, 2.0 * range - distance), 0.0, range);
    return select(mirrored, at, at >= least && at <= most);
}

fn border() -> f32 {
    return select(-0.5, 0.0, ALIGN);
}

// Where a number of the grid is among so many elements; beyond them by no more than taps reach.
fn coordinate(number: f32, size: i32) -> f32 {
    let length = f32(size);
    let at = select(((number + 1.0) * length - 1.0) * 0.5, (number + 1.0) * 0.5 * (length - 1.0), ALIGN);
    let most = length - 1.0 - border();
    if (PADDING == REFLECTION) {
        return reflect_between(at, border(), most);
    }
    if (PADDING == BORDER) {
        return select(at, clamp(at, 0.0, length - 1.0), at < border() || at > most);
    }
    return select(clamp(at, -4.0, length + 4.0), -4.0, is_nan(at));
}

// The element that a tap reads, or -1 where that is a zero.
fn element_of(tap: f32, size: i32) -> i32 {
    let last = f32(size) - 1.0;
    if (PADDING == ZEROS && (tap < 0.0 || tap > last)) {
        return -1;
    }
    let inside = select(tap, reflect_between(tap, border(), last - border()), PADDING == REFLECTION);
    return i32(clamp(inside, 0.0, last));
}

// Keys (1981) with -0.75, of a distance up to 2.
fn cubic(distance: f32) -> f32 {
    let inner = (1.25 * distance - 2.25) * distance * distance + 1.0;
    let outer = ((-0.75 * distance + 3.75) * distance - 6.0) * distance + 3.0;
    return select(outer, inner, distance <= 1.0);
}

// The weight of a tap, of which the first is the one below the coordinate, or one before that; `part` is what the coordinate is above it.
fn weight_of(tap: i32, part: f32) -> f32 {
    if (TAPS == 4) {
        return cubic(abs(part + 1.0 - f32(tap)));
    }
    return select(1.0 - part, part, tap == 1);
}

fn each(index: i32) {
    let row = quotient(index, p[0].z);
    let place = index - row * p[0].z;
    let item = quotient(row, p[0].y);
    let at = (item * p[0].z + place) * SPATIAL;
    let x = coordinate(f32(grid[at]), p[1].z);
    let y = coordinate(f32(grid[at + 1]), p[1].y);
    var z = 0.0;
    if (SPATIAL == 3) {
        z = coordinate(f32(grid[at + SPATIAL - 1]), p[1].x);
    }
    let first = f32(1 - TAPS / 2);
    var sum = 0.0;
    for (var tap_z = 0; tap_z < select(1, TAPS, SPATIAL == 3); tap_z += 1) {
        let plane = select(element_of(floor(z) + first + f32(tap_z), p[1].x), 0, SPATIAL == 2);
        let weight_z = select(weight_of(tap_z, z - floor(z)), 1.0, SPATIAL == 2);
        for (var tap_y = 0; tap_y < TAPS; tap_y += 1) {
            let line = element_of(floor(y) + first + f32(tap_y), p[1].y);
            let weight_y = weight_z * weight_of(tap_y, y - floor(y));
            for (var tap_x = 0; tap_x < TAPS; tap_x += 1) {
                let column = element_of(floor(x) + first + f32(tap_x), p[1].z);
                let inside = plane >= 0 && line >= 0 && column >= 0;
                let place_in = ((row * p[1].x + plane) * p[1].y + line) * p[1].z + column;
                let value = select(0.0, f32(input[select(0, place_in, inside)]), inside);
                sum += weight_y * weight_of(tap_x, x - floor(x)) * value;
            }
        }
    }
    output[index] = Elem(sum);
}
