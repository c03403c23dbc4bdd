// Pooling over large windows: a workgroup computes one output. Each invocation combines every WORKGROUP-th element, then halves of
// the workgroup combine with each other, always in the same order, so that the result repeats to the bit.
// Expects Elem, layout.wgsl, pool_window.wgsl, WORKGROUP (a power of two), workgroup_index(), store_index().

var<workgroup> values: array<f32, WORKGROUP>;
var<workgroup> positions: array<i32, WORKGROUP>;

// The element of a window with this number, or nothing behind the last one.
fn numbered(number: i32, elements: i32, w: Window, start: i32) -> Partial {
    if (number >= elements) {
        return Partial(0.0, -1);
    }
    let window_row = quotient(number, w.size.z);
    let window_slice = quotient(window_row, w.size.y);
    let z = w.first.x + window_slice * w.step.x;
    let y = w.first.y + (window_row - window_slice * w.size.y) * w.step.y;
    let x = w.first.z + (number - window_row * w.size.z) * w.step.z;
    let at = (z * g.input.y + y) * g.input.z + x;
    return Partial(element(f32(input[start + at * input_step()])), at);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count);
    if (index >= g.outputs || index < 0) {
        return;
    }
    let local = i32(local_id.x);
    let place = output_place(index);
    let start = input_start(place.item, place.channel);
    let w = window(place.at);
    let elements = w.size.x * w.size.y * w.size.z;

    var result = Partial(0.0, -1);
    // Eight at a time, written out: a driver may count iterations (DeviceLimits::loop_iterations).
    for (var number = local; number < elements; number += 8 * WORKGROUP) {
        result = combine(result, numbered(number, elements, w, start));
        result = combine(result, numbered(number + WORKGROUP, elements, w, start));
        result = combine(result, numbered(number + 2 * WORKGROUP, elements, w, start));
        result = combine(result, numbered(number + 3 * WORKGROUP, elements, w, start));
        result = combine(result, numbered(number + 4 * WORKGROUP, elements, w, start));
        result = combine(result, numbered(number + 5 * WORKGROUP, elements, w, start));
        result = combine(result, numbered(number + 6 * WORKGROUP, elements, w, start));
        result = combine(result, numbered(number + 7 * WORKGROUP, elements, w, start));
    }
    values[local] = result.value;
    positions[local] = result.at;
    for (var half = WORKGROUP / 2; half > 0; half /= 2) {
        workgroupBarrier();
        if (local < half) {
            let other = Partial(values[local + half], positions[local + half]);
            result = combine(result, other);
            values[local] = result.value;
            positions[local] = result.at;
        }
    }
    if (local == 0) {
        output[index] = Elem(finish(result.value, w.positions));
        store_index(index, place.item * g.out_channels + place.channel, result.at);
    }
}
