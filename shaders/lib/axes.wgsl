// The place of the element with a number among some axes. Expects p, whose rows from `first` on are size and stride of each axis,
// outermost first.

fn place_of(number: i32, first: i32, axes: i32) -> i32 {
    var rest = number;
    var place = 0;
    for (var axis = axes - 1; axis > 0; axis -= 1) {
        let size = p[first + axis].x;
        let outer = quotient(rest, size);
        place += (rest - outer * size) * p[first + axis].y;
        rest = outer;
    }
    if (axes > 0) {
        place += rest * p[first].y;
    }
    return place;
}
