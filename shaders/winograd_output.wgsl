// The last step of a Winograd convolution: each invocation turns the products of one tile of one output channel into outputs,
// Y = A^T M A, and finishes them.
// Expects g, layout.wgsl, winograd_tile.wgsl, OUT_*, ALPHA_*, transform_output() for x, transform_output_y(), store(), workgroup_index(),
// WORKGROUP.
// products: [batch, ALPHA_Y * ALPHA_X, out_channels, z, rows or tiles of y, tiles of x], with padding,
// output: [batch, out_channels, z, y, x] in the order of its layout.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);
    let tile = tile_of(index, g.output, g.out_channels);
    if (index < 0 || tile.item >= g.batch) {
        return;
    }
    let step = output_step();
    let start = output_start(tile.item, tile.channel) + tile.z * g.output.y * g.output.z * step;

    var half: array<f32, OUT_Y * ALPHA_X>; // A^T M
    for (var c = 0; c < ALPHA_X; c += 1) {
        var values: array<f32, ALPHA_Y>;
        for (var r = 0; r < ALPHA_Y; r += 1) {
            values[r] = products[component_at(tile, r * ALPHA_X + c, g.out_channels)];
        }
        let sums = transform_output_y(values);
        for (var r = 0; r < OUT_Y; r += 1) {
            half[r * ALPHA_X + c] = sums[r];
        }
    }
    for (var r = 0; r < OUT_Y; r += 1) {
        var values: array<f32, ALPHA_X>;
        for (var c = 0; c < ALPHA_X; c += 1) {
            values[c] = half[r * ALPHA_X + c];
        }
        let sums = transform_output(values);
        for (var c = 0; c < OUT_X; c += 1) {
            let y = tile.y + r * g.dilation.y;
            let x = tile.x + c * g.dilation.z;
            if (y < g.output.y && x < g.output.z) {
                store(sums[c], tile.channel, start + (y * g.output.z + x) * step);
            }
        }
    }
}
