// The operands of a convolution as a matrix product, for one phase of one group: C[m, n] = sum over k of A[m, k] B[k, n].
//   m: output channel of the group; n: batch item and output position; k: tap and input channel, walked in tiles of BLOCK_K
//   channels of one tap, so that a tile's taps and bounds are the same for all its rows and cost nothing per element.
// B is never stored: load_b() reads the input that stands at a row and column, or a zero (Chetlur et al., cuDNN, 2014).
// Bounds that nothing can pass are no part of the text's meaning: ALL_INPUTS says that every column has an input at every tap, WHOLE_K
// that every row that is loaded is a channel.
// Expects g, layout.wgsl, source.wgsl, phase.wgsl, slice.wgsl, block.wgsl, Operand, fetched() and masked(), BLOCK_M, BLOCK_N, BLOCK_K and COLUMNS, the loads of an
// invocation along n: columns, or the first of four columns each.

var<private> group: i32;
var<private> counts: vec3<i32>;                  // taps of the phase
var<private> panel_row: i32;                     // the current tile's first row of weights, among those of its block
var<private> rows: i32;                          // rows of the current tile that are channels
var<private> column_start: array<i32, COLUMNS>;  // first input of the item's and group's first channel
var<private> column_at: array<vec3<i32>, COLUMNS>;
var<private> column_input: array<i32, COLUMNS>;  // input of the current tile's row 0; -1 where there is none

fn blocks_n() -> i32 {
    return (g.columns + BLOCK_N - 1) / BLOCK_N;
}

fn blocks_k() -> i32 {
    return (g.group_in + BLOCK_K - 1) / BLOCK_K;
}

// Finds the tile of C with this index; false behind the last one.
fn locate(tile: i32) -> bool {
    let groups = set_block(tile);
    let phases = quotient(groups, g.groups);
    group = groups - phases * g.groups;
    slice = set_phase(phases);
    counts = phase_counts();
    return tile >= 0 && slice < SPLIT_K;
}

// Splits a column into batch item and position among the phase's outputs.
fn column_position(n: i32) -> vec4<i32> {
    let row = quotient(n, g.phase_output.z);
    let plane = quotient(row, g.phase_output.y);
    let item = quotient(plane, g.phase_output.x);
    return vec4<i32>(plane - item * g.phase_output.x, row - plane * g.phase_output.y, n - row * g.phase_output.z, item);
}

// Prepares column n of C to be loaded as the invocation's column j. Columns behind the last load what that one does, and are not stored.
fn set_column(j: i32, n: i32) {
    let position = column_position(min(n, g.columns - 1));
    column_at[j] = position.xyz * g.stride;
    column_start[j] = input_start(position.w, group * g.group_in);
}

fn k_tiles() -> i32 {
    return counts.x * counts.y * counts.z * blocks_k();
}

fn begin_k_tile(tile: i32) {
    let tap_index = quotient(tile, blocks_k());
    let block_k = tile - tap_index * blocks_k();
    let tap_row = quotient(tap_index, counts.z);
    let tap_plane = quotient(tap_row, counts.y);
    let tap = first + vec3<i32>(tap_plane, tap_row - tap_plane * counts.y, tap_index - tap_row * counts.z) * g.tap_step;
    let channel = block_k * BLOCK_K;
    panel_row = ((tap.x * g.kernel.y + tap.y) * g.kernel.z + tap.z) * padded_rows() + channel;
    rows = g.group_in - channel;
    let offset = phase_source(tap);
    for (var j = 0; j < COLUMNS; j += 1) {
        let at = column_at[j] + offset;
        let z = source(at.x, g.input.x);
        let y = source(at.y, g.input.y);
        let x = source(at.z, g.input.z);
        let met = inside(z, g.input.x) && inside(y, g.input.y) && inside(x, g.input.z);
        let address = column_start[j] + channel * input_channel_step() + ((z * g.input.y + y) * g.input.z + x) * input_step();
        column_input[j] = select(-1, address, ALL_INPUTS || met);
    }
}

fn met_b(row: i32, j: i32) -> bool {
    return (ALL_INPUTS || column_input[j] >= 0) && (WHOLE_K || row < rows);
}

fn fetch_b(row: i32, j: i32) -> Operand {
    return fetched(select(0, column_input[j] + row * input_channel_step(), met_b(row, j)));
}

fn load_b(row: i32, j: i32) -> Operand {
    return masked(fetch_b(row, j), met_b(row, j));
}

// The rows of weights of a block of output channels.
fn panel_rows() -> i32 {
    return g.taps * padded_rows();
}

// The vec4 of the weights that the current tile's, [BLOCK_K, BLOCK_M], begin with.
fn panel_start() -> i32 {
    return ((group * blocks_m() + block_m) * panel_rows() + panel_row) * (BLOCK_M / 4);
}

// The output of column n in the group's first channel, or -1 where the column does not exist.
fn column_output(n: i32) -> i32 {
    let position = column_position(n);
    let at = position.xyz * g.input_dilation + phase;
    let exists = n < g.columns && all(at < g.output);
    let start = output_start(position.w, group * g.group_out);
    return select(-1, start + ((at.x * g.output.y + at.y) * g.output.z + at.z) * output_step(), exists);
}
