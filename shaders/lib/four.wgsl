// Four elements at a time.

alias Value = vec4<f32>;
alias Number = vec4<i32>;
alias Truth = vec4<bool>;

// By their bits: drivers take `x != x` for false.
fn are_nan(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}
