// What a convolution in patches of one output channel does around its sums: patches, inputs and weights found and loaded, rows of outputs
// found. The walk over the rows of a patch is written out by src/algorithm/depthwise.rs.
// Where channels are last an invocation may do CHANNELS = 4 of them at once: Lanes is f32, or vec4<f32>.
// PHASED: outputs of a transposed convolution with a stride are of several phases, and a patch is of one of them. Coordinates of outputs
// count those of the phase.
// Expects g, Lanes, input_lanes(), weight_lanes(), layout.wgsl, patch.wgsl, phase.wgsl, source.wgsl.
// input and output: [batch, channels, z, y, x] in the order of their layouts, weights: [out_channels, group_in, taps],
// or [out_channels / 4, taps] of fours.

// The patch with this number: those of each phase behind those of the phase before.
fn patch_with(number: i32) -> Place {
    if (!PHASED) {
        return patch_of(number);
    }
    let patches = g.batch * (g.out_channels / CHANNELS) * g.phase_output.x * patches_y() * patches_x();
    let phases = quotient(number, patches);
    let before = set_phase(phases);
    var place = patch_of(number - phases * patches);
    place.item = select(g.batch, place.item, before == 0); // behind the last phase there is no item
    return place;
}

// The input that the first tap of an output meets.
fn first_source(at: vec3<i32>) -> vec3<i32> {
    if (PHASED) {
        return at + phase_source(first);
    }
    return at * g.stride - g.pad_begin;
}

// One past the last output on each axis.
fn output_ends() -> vec3<i32> {
    if (PHASED) {
        return phase_ends();
    }
    return g.output;
}

// How many taps outputs have.
fn tap_counts() -> vec3<i32> {
    if (PHASED) {
        return phase_counts();
    }
    return g.kernel;
}

// The first input of a row that a patch sees of an input channel of its group, or -1 where the row is outside.
fn input_row(place: Place, channel: i32, at_z: i32, at_y: i32) -> i32 {
    let z = source(at_z, g.input.x);
    let y = source(at_y, g.input.y);
    let plane = input_start(place.item, quotient(place.channel, g.group_out) * g.group_in + channel);
    let start = plane + (z * g.input.y + y) * g.input.z * input_step();
    return select(-1, start, inside(z, g.input.x) && inside(y, g.input.y));
}

fn input_at(row: i32, at_x: i32) -> Lanes {
    let x = source(at_x, g.input.z);
    let met = row >= 0 && inside(x, g.input.z);
    return select(Lanes(), input_lanes(select(0, row + x * input_step(), met)), met);
}

// Where the weight of a tap of the phase lies.
fn first_weight(channel: i32, input_channel: i32, tap: vec3<i32>) -> i32 {
    var at = tap;
    if (PHASED) {
        at = first + tap * g.tap_step;
    }
    return (channel / CHANNELS * g.group_in + input_channel) * g.taps + (at.x * g.kernel.y + at.y) * g.kernel.z + at.z;
}

// The first output of a row of the tensor.
fn output_row(place: Place, row: i32) -> i32 {
    var at = vec2<i32>(place.at.x, row);
    if (PHASED) {
        at = at * g.input_dilation.xy + phase.xy;
    }
    return output_start(place.item, place.channel) + (at.x * g.output.y + at.y) * g.output.z * output_step();
}

// From there to an output of the row.
fn output_column(x: i32) -> i32 {
    return select(x, x * g.input_dilation.z + phase.z, PHASED) * output_step();
}
