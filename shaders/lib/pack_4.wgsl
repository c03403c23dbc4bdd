// Four weights of a packed order, of channels behind each other, all of which are bound. Expects pack.wgsl's p, put_output_4(), Elem.

fn weight(channel: i32, place: i32) -> Elem {
    if (channel >= p[0].w) {
        return Elem(0);
    }
    return input[place];
}

fn put(index: i32, channel: i32, place: i32) {
    let step = p[4].y;
    let four = vec4<Elem>(
        weight(channel, place),
        weight(channel + 1, place + step),
        weight(channel + 2, place + 2 * step),
        weight(channel + 3, place + 3 * step),
    );
    put_output_4(u32(index), four);
}
