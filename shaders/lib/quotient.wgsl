// Whole numbers divided by numbers that are not constants.

// a / b for a >= 0 and b > 0. Devices without a division of whole numbers go through floats themselves, with signs and zeros that nobody has
// here; software adapters divide lane by lane.
fn quotient(a: i32, b: i32) -> i32 {
    let inverse = 1.0 / f32(b);
    let near = i32(f32(a) * inverse); // off by at most a part in 2^20, and by one
    let nearer = near + i32(f32(a - near * b) * inverse); // off by at most one
    let rest = a - nearer * b;
    return nearer + select(0, 1, rest >= b) - select(0, 1, rest < 0);
}
