// The phase of a transposed convolution that an invocation computes outputs of. Expects g, source.wgsl, quotient().

var<private> phase: vec3<i32>;
var<private> first: vec3<i32>; // first tap of the phase

// Sets the phase with this number; returns how many times all phases lie before it.
fn set_phase(number: i32) -> i32 {
    let row = quotient(number, g.phases.z);
    let plane = quotient(row, g.phases.y);
    let before = quotient(plane, g.phases.x);
    phase = vec3<i32>(plane - before * g.phases.x, row - plane * g.phases.y, number - row * g.phases.z);
    first = vec3<i32>(first_tap(phase.x, 0), first_tap(phase.y, 1), first_tap(phase.z, 2));
    return before;
}

// How many taps the phase has.
fn phase_counts() -> vec3<i32> {
    return vec3<i32>(tap_count(first.x, 0), tap_count(first.y, 1), tap_count(first.z, 2));
}

// The input, before padding modes, that a tap of the phase meets at its first output.
fn phase_source(tap: vec3<i32>) -> vec3<i32> {
    return vec3<i32>(tap_source(phase.x, tap.x, 0), tap_source(phase.y, tap.y, 1), tap_source(phase.z, tap.z, 2));
}

// One past the last output on each axis, counted among those of the phase.
fn phase_ends() -> vec3<i32> {
    return (g.output - phase + g.input_dilation - vec3<i32>(1)) / g.input_dilation;
}
