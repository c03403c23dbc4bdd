// One element at a time.

alias Value = f32;
alias Number = i32;
alias Truth = bool;

// By its bits: drivers take `x != x` for false.
fn are_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
