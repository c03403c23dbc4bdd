// Whole numbers divided by numbers that the compiler knows, and makes a multiplication of.

// a / b for a >= 0 and b > 0.
fn quotient(a: i32, b: i32) -> i32 {
    return a / b;
}
