// Pooling: each invocation walks the window of one output.
// Expects Elem, layout.wgsl, pool_window.wgsl, WORKGROUP, workgroup_index(), and store_index(), which does nothing where nobody wants indices.
// input and output: [batch, channels, z, y, x] in the order of their layouts.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count) * WORKGROUP + i32(local_id.x);
    if (index >= g.outputs || index < 0) {
        return;
    }
    let place = output_place(index);
    let start = input_start(place.item, place.channel);
    let w = window(place.at);

    let first = (w.first.x * g.input.y + w.first.y) * g.input.z + w.first.z;
    var result = Partial(0.0, first);
    if (KIND == MAX) {
        result.value = f32(input[start + first * input_step()]);
    }
    for (var z = 0; z < w.size.x; z += 1) {
        for (var y = 0; y < w.size.y; y += 1) {
            var at = ((w.first.x + z * w.step.x) * g.input.y + w.first.y + y * w.step.y) * g.input.z + w.first.z;
            for (var x = 0; x < w.size.z; x += 1) {
                let value = f32(input[start + at * input_step()]);
                if (KIND == MAX) {
                    // In this order an equal element is a later one and does not win; a NaN does, as it compares with nothing.
                    let wins = value > result.value || (are_nan(value) && !are_nan(result.value));
                    result.value = select(result.value, value, wins);
                    result.at = select(result.at, at, wins);
                } else {
                    result.value += element(value);
                }
                at += w.step.z;
            }
        }
    }
    output[index] = Elem(finish(result.value, w.positions));
    store_index(index, place.item * g.out_channels + place.channel, result.at);
}
