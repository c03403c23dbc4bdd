// The first step of a Winograd convolution: each invocation transforms one tile of one channel, V = B^T d B.
// Neighbouring tiles overlap by two inputs; a tile gives OUT_Y x OUT_X outputs.
// Expects Elem, g, layout.wgsl, winograd_tile.wgsl, source(), inside(), OUT_*, ALPHA_* (inputs of a tile on an axis), transform_input() for x,
// transform_input_y(), component(), which may scale and round, workgroup_index(), WORKGROUP.
// input: [batch, in_channels, z, y, x] in the order of its layout,
// transformed: [batch, ALPHA_Y * ALPHA_X, in_channels, z, rows or tiles of y, tiles of x], with padding.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);
    let tile = tile_of(index, g.input, g.in_channels);
    if (index < 0 || tile.item >= g.batch) {
        return;
    }
    let step = input_step();
    let start = input_start(tile.item, tile.channel) + tile.z * g.input.y * g.input.z * step;
    // Rows that are not transformed are taken as they lie; the product pads them.
    let first_y = tile.y - select(0, g.pad_begin.y, FILTERS_Y);
    let first_x = tile.x - g.pad_begin.z;

    var half: array<f32, ALPHA_Y * ALPHA_X>; // B^T d
    for (var c = 0; c < ALPHA_X; c += 1) {
        let x = source(first_x + c * g.dilation.z, g.input.z);
        var values: array<f32, ALPHA_Y>;
        for (var r = 0; r < ALPHA_Y; r += 1) {
            let y = source(first_y + r * g.dilation.y, g.input.y);
            let met = inside(y, g.input.y) && inside(x, g.input.z);
            values[r] = select(0.0, f32(input[select(0, start + (y * g.input.z + x) * step, met)]), met);
        }
        values = transform_input_y(values);
        for (var r = 0; r < ALPHA_Y; r += 1) {
            half[r * ALPHA_X + c] = values[r];
        }
    }
    for (var r = 0; r < ALPHA_Y; r += 1) {
        var values: array<f32, ALPHA_X>;
        for (var c = 0; c < ALPHA_X; c += 1) {
            values[c] = half[r * ALPHA_X + c];
        }
        values = transform_input(values);
        for (var c = 0; c < ALPHA_X; c += 1) {
            transformed[component_at(tile, r * ALPHA_X + c, g.in_channels)] = component(values[c]);
        }
    }
}
