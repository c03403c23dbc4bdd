// Four neighbouring inputs of a row, which begin at a multiple of 4 as rows do: there are all of them, or none. Expects g, source.wgsl,
// load_input_4(), and padding of zeros.

fn inputs_at(row: i32, at_x: i32) -> vec4<f32> {
    let met = row >= 0 && inside(at_x, g.input.z);
    return select(vec4<f32>(), load_input_4(select(0, row + at_x, met)), met);
}
