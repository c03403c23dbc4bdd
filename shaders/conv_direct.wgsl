// Convolution by its definition: each invocation sums one output over the group's channels and the taps that meet an input.
// Any shape, stride, dilation, padding mode and phase; the fallback of every other kernel, and the slowest.
// Expects Elem, g, layout.wgsl, PADDING_MODE, WORKGROUP, workgroup_index(), source(), first_tap(), load_input(), store().
// input and output: [batch, channels, z, y, x] in the order of their layouts, weights: [out_channels, group_in, taps].

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);
    // The grid may end past the last output, and 32 bits past that.
    if (index >= g.outputs || index < 0) {
        return;
    }
    let place = output_place(index);
    let at = place.at;
    let channel = place.channel;
    let group = quotient(channel, g.group_out);

    let phase = at % g.input_dilation;
    let first = vec3<i32>(first_tap(phase.x, 0), first_tap(phase.y, 1), first_tap(phase.z, 2));
    let origin = at * g.stride;
    let start = vec3<i32>(tap_source(origin.x, first.x, 0), tap_source(origin.y, first.y, 1), tap_source(origin.z, first.z, 2));

    let step = input_step();
    var sum = 0.0;
    for (var c = 0; c < g.group_in; c += 1) {
        let inputs = input_start(place.item, group * g.group_in + c);
        let taps = (channel * g.group_in + c) * g.taps;
        var at_z = start.x;
        for (var tap_z = first.x; tap_z < g.kernel.x; tap_z += g.tap_step.x) {
            let z = source(at_z, g.input.x);
            at_z += g.source_step.x;
            var at_y = start.y;
            for (var tap_y = first.y; tap_y < g.kernel.y; tap_y += g.tap_step.y) {
                let y = source(at_y, g.input.y);
                at_y += g.source_step.y;
                let whole = inside(z, g.input.x) && inside(y, g.input.y);
                let input_row = inputs + (z * g.input.y + y) * g.input.z * step;
                let tap_row = taps + (tap_z * g.kernel.y + tap_y) * g.kernel.z;
                var at_x = start.z;
                for (var tap_x = first.z; tap_x < g.kernel.z; tap_x += g.tap_step.z) {
                    let x = source(at_x, g.input.z);
                    at_x += g.source_step.z;
                    if (whole && inside(x, g.input.z)) {
                        sum = fma(f32(weights[tap_row + tap_x]), load_input(input_row + x * step), sum);
                    }
                }
            }
        }
    }
    store(sum, channel, index);
}
