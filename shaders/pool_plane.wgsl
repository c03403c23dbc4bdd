// Pooling of whole planes: LANES invocations for each, which load four elements at a time: of one plane, or, where channels are
// last, of four planes that lie side by side.
// Expects input_4(), layout.wgsl, four.wgsl, pool_window.wgsl, put(), WORKGROUP, OVERLAP, LANES (a power of two that divides it), workgroup_index().
// input: [batch, channels, plane], or [batch, plane, channels]; output: [batch, channels].

var<workgroup> partials: array<vec4<f32>, WORKGROUP>;

fn elements(four: i32) -> vec4<f32> {
    return element(vec4<f32>(input_4(u32(four))));
}

// The same where some of the four are not of the plane from `start` to `end`: nothing to a sum, to a maximum another one of the plane.
fn edge(four: i32, start: i32, end: i32) -> vec4<f32> {
    let x = elements(four);
    let at = vec4<i32>(4 * four) + vec4<i32>(0, 1, 2, 3);
    let inside = (at >= vec4<i32>(start)) & (at < vec4<i32>(end));
    var other = 0.0;
    if (KIND == MAX) {
        other = x[max(start - 4 * four, 0)];
    }
    return select(vec4<f32>(other), x, inside);
}

// A NaN wins, as in `replaces`.
fn joined(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    if (KIND == MAX) {
        return select(a, b, (b > a) | are_nan(b));
    }
    return a + b;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let local = i32(local_id.x);
    let lane = local % LANES;
    let index = workgroup_index(id, count) * (WORKGROUP / LANES) + local / LANES;
    let outputs = select(g.outputs, g.outputs / 4, INPUT_LAST);
    // Invocations without an output go the way of the first, to every barrier.
    let here = index >= 0 && index < outputs;
    let plane = select(0, index, here);

    // The fours of the plane: from `first` to `last`, `step` apart.
    var start = plane * g.input_plane;
    var end = start + g.input_plane;
    var first = start / 4;
    var last = (end - 1) / 4;
    var step = 1;
    if (INPUT_LAST) {
        step = g.in_channels / 4;
        let item = quotient(plane, step);
        first = item * step * g.input_plane + plane - item * step;
        last = first + (g.input_plane - 1) * step;
        // All four elements are of planes of this invocation, at either end.
        start = 4 * first;
        end = 4 * last + 4;
    }
    let stride = LANES * step;

    var result = vec4<f32>();
    if (KIND == MAX) {
        result = edge(first, start, end); // the same element twice does no harm
    }
    var four = first + lane * step;
    if (four <= last) {
        result = joined(result, edge(four, start, end));
        four += stride;
    }
    // Four at a time, so that loads do not wait for each other where they OVERLAP: elsewhere they would only make the text long.
    for (; OVERLAP && four < last - 3 * stride; four += 4 * stride) {
        let a = elements(four);
        let b = elements(four + stride);
        let c = elements(four + 2 * stride);
        let d = elements(four + 3 * stride);
        result = joined(result, joined(joined(a, b), joined(c, d)));
    }
    for (; four < last; four += stride) {
        result = joined(result, elements(four));
    }
    if (four == last) {
        result = joined(result, edge(last, start, end));
    }

    if (LANES > 1) {
        partials[local] = result;
        for (var half = LANES / 2; half > 0; half /= 2) {
            workgroupBarrier();
            if (lane < half) {
                result = joined(result, partials[local + half]);
                partials[local] = result;
            }
        }
    }
    if (lane != 0 || !here) {
        return;
    }
    if (!INPUT_LAST) {
        let two = joined(vec4<f32>(result.xy, result.xy), vec4<f32>(result.zw, result.zw));
        result = joined(two.xxxx, two.yyyy);
    }
    put(plane, finish(result, g.input_plane));
}
