// Depthwise convolution (one input channel to a group, any number of output channels for it): each invocation computes
// TILE_Y x TILE_X outputs of one channel in registers and loads each input row once for all of them.
// Outputs of an invocation lie SPREAD = dilation / gcd(dilation, stride) apart, so that the inputs of neighbours are a whole number
// (SHARE = stride / gcd) of dilations apart and are shared whatever the dilation is.
// Expects g, layout.wgsl, patch.wgsl, KERNEL_*, SHARE_*, source(), inside(), store(), workgroup_index(), WORKGROUP.
// input and output: [batch, channels, z, y, x] in the order of their layouts, weights: [out_channels, taps].

const SPAN_X: i32 = (TILE_X - 1) * SHARE_X + KERNEL_X; // inputs of a row that an invocation's outputs see
const SPAN_Y: i32 = (TILE_Y - 1) * SHARE_Y + KERNEL_Y; // rows that they see

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local);
    let place = patch_of(index);
    let channel = place.channel;
    if (index < 0 || place.item >= g.batch) {
        return;
    }
    let inputs = input_start(place.item, channel / g.group_out);
    let step = input_step();
    let out_step = output_step();
    let outputs = output_start(place.item, channel) + place.at.x * g.output.y * g.output.z * out_step;
    let at = place.at * g.stride - g.pad_begin;

    var sums: array<f32, TILE_Y * TILE_X>; // [TILE_Y, TILE_X]
    for (var tap_z = 0; tap_z < KERNEL_Z; tap_z += 1) {
        let z = source(at.x + tap_z * g.dilation.x, g.input.x);
        let taps = (channel * KERNEL_Z + tap_z) * KERNEL_Y * KERNEL_X;
        var kernel: array<f32, KERNEL_Y * KERNEL_X>;
        for (var tap = 0; tap < KERNEL_Y * KERNEL_X; tap += 1) {
            kernel[tap] = f32(weights[taps + tap]);
        }
        for (var span_y = 0; span_y < SPAN_Y; span_y += 1) {
            let y = source(at.y + span_y * g.dilation.y, g.input.y);
            let whole = inside(z, g.input.x) && inside(y, g.input.y);
            let input_row = inputs + (z * g.input.y + y) * g.input.z * step;
            var values: array<f32, SPAN_X>;
            for (var span_x = 0; span_x < SPAN_X; span_x += 1) {
                let x = source(at.z + span_x * g.dilation.z, g.input.z);
                let met = whole && inside(x, g.input.z);
                values[span_x] = select(0.0, f32(input[select(0, input_row + x * step, met)]), met);
            }
            for (var tile_y = 0; tile_y < TILE_Y; tile_y += 1) {
                let tap_y = span_y - tile_y * SHARE_Y;
                if (tap_y >= 0 && tap_y < KERNEL_Y) {
                    for (var tap_x = 0; tap_x < KERNEL_X; tap_x += 1) {
                        let weight = kernel[tap_y * KERNEL_X + tap_x];
                        for (var tile_x = 0; tile_x < TILE_X; tile_x += 1) {
                            sums[tile_y * TILE_X + tile_x] = fma(weight, values[tile_x * SHARE_X + tap_x], sums[tile_y * TILE_X + tile_x]);
                        }
                    }
                }
            }
        }
    }
    for (var tile_y = 0; tile_y < TILE_Y; tile_y += 1) {
        for (var tile_x = 0; tile_x < TILE_X; tile_x += 1) {
            let y = place.at.y + tile_y * SPREAD_Y;
            let x = place.at.z + tile_x * SPREAD_X;
            if (y < g.output.y && x < g.output.z) {
                store(sums[tile_y * TILE_X + tile_x], channel, outputs + (y * g.output.z + x) * out_step);
            }
        }
    }
}
