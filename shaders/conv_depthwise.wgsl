// What a depthwise convolution (one input channel to a group, any number of output channels for it) does around its sums: inputs found
// and loaded, rows of outputs found. The walk over the rows of a patch is written out by src/algorithm/depthwise.rs.
// Where channels are last an invocation may do CHANNELS = 4 of them at once: Lanes is f32, or vec4<f32>.
// Expects g, Lanes, input_lanes(), weight_lanes(), layout.wgsl, source(), inside().
// input and output: [batch, channels, z, y, x] in the order of their layouts, weights: [out_channels, taps].

// The first input of a row that a patch sees, or -1 where the row is outside.
fn input_row(place: Place, at_z: i32, at_y: i32) -> i32 {
    let z = source(at_z, g.input.x);
    let y = source(at_y, g.input.y);
    let start = input_start(place.item, quotient(place.channel, g.group_out)) + (z * g.input.y + y) * g.input.z * input_step();
    return select(-1, start, inside(z, g.input.x) && inside(y, g.input.y));
}

fn input_at(row: i32, at_x: i32) -> Lanes {
    let x = source(at_x, g.input.z);
    let met = row >= 0 && inside(x, g.input.z);
    return select(Lanes(), input_lanes(select(0, row + x * input_step(), met)), met);
}

fn weight_at(channel: i32, tap: i32) -> Lanes {
    return weight_lanes(channel * g.taps + tap);
}

// The first output of a row.
fn output_row(place: Place, y: i32) -> i32 {
    return output_start(place.item, place.channel) + (place.at.x * g.output.y + y) * g.output.z * output_step();
}
