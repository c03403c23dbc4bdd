// The numbers of a layer on three spatial axes (z, y, x); mirrors `GeometryUniform` of src/kernel.rs field by field.
// `g` is either a uniform buffer, and then one pipeline serves many shapes, or a constant, and then the compiler knows all sizes.

struct Geometry {
    input: vec3<i32>,
    batch: i32,
    output: vec3<i32>,
    in_channels: i32,
    kernel: vec3<i32>,
    out_channels: i32,
    stride: vec3<i32>,
    groups: i32,
    dilation: vec3<i32>,
    group_in: i32,         // in_channels / groups
    input_dilation: vec3<i32>,
    group_out: i32,        // out_channels / groups
    pad_begin: vec3<i32>,
    input_plane: i32,      // elements of one input channel
    phase_output: vec3<i32>, // outputs of the first phase, which has the most
    output_plane: i32,     // elements of one output channel
    phases: vec3<i32>,     // distinct values of output % input_dilation
    columns: i32,          // batch * phase_output: columns of the matrix product of one phase
    tap_step: vec3<i32>,   // distance of two taps that one phase uses: input_dilation / gcd(input_dilation, dilation)
    taps: i32,             // kernel.z * kernel.y * kernel.x
    source_step: vec3<i32>, // distance of the inputs of two such taps: dilation / gcd(input_dilation, dilation)
    outputs: i32,          // all outputs
}
