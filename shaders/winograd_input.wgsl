// The first step of a Winograd convolution: each invocation transforms one tile of one channel, V = B^T d B.
// Neighbouring tiles overlap by two inputs; a tile gives OUT_Y x OUT_X outputs.
// Expects Elem, g, layout.wgsl, tile_of(), source(), inside(), OUT_*, ALPHA_* (inputs of a tile on an axis), transform_input() for x, transform_input_y(),
// workgroup_index(), WORKGROUP.
// input: [batch, in_channels, z, y, x] in the order of its layout, transformed: [ALPHA_Y * ALPHA_X, in_channels, columns], columns: batch, z, tiles of y, of x.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local);
    let tile = tile_of(index);
    if (index < 0 || tile.channel >= g.in_channels) {
        return;
    }
    let step = input_step();
    let start = input_start(tile.item, tile.channel) + tile.z * g.input.y * g.input.z * step;
    let first_y = tile.y - g.pad_begin.y;
    let first_x = tile.x - g.pad_begin.z;

    var half: array<f32, ALPHA_Y * ALPHA_X>; // B^T d
    for (var c = 0; c < ALPHA_X; c += 1) {
        let x = source(first_x + c, g.input.z);
        var values: array<f32, ALPHA_Y>;
        for (var r = 0; r < ALPHA_Y; r += 1) {
            let y = source(first_y + r, g.input.y);
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
            transformed[((r * ALPHA_X + c) * g.in_channels + tile.channel) * tile.columns + tile.column] = values[c];
        }
    }
}
