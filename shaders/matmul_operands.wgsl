// The operands of a plain matrix product, C[m, n] = sum over k of A[m, k] B[k, n], for a group of a convolution whose kernel is
// one tap at stride 1: B is the input itself, so that no index arithmetic is left in the loop. The planner brings fully connected
// layers to this form. Same functions as conv_gemm_operands.wgsl.
// Expects g, layout.wgsl, slice.wgsl, block.wgsl, Operand, fetched() and masked(), BLOCK_M, BLOCK_N, BLOCK_K and COLUMNS, the loads of an
// invocation along n: columns, or the first of four columns each (through subgroups the first quarter of COLUMNS then).

var<private> group: i32;
var<private> panel_row: i32;                     // the current tile's first row of weights, among those of its block
var<private> rows: i32;                          // rows of the current tile that are channels
var<private> column_start: array<i32, COLUMNS>;  // input of the group's first channel
var<private> column_input: array<i32, COLUMNS>;  // input of the current tile's row 0

fn blocks_n() -> i32 {
    return (g.columns + BLOCK_N - 1) / BLOCK_N;
}

fn k_tiles() -> i32 {
    return (g.group_in + BLOCK_K - 1) / BLOCK_K;
}

fn locate(tile: i32) -> bool {
    let groups = set_block(tile);
    slice = quotient(groups, g.groups);
    group = groups - slice * g.groups;
    return tile >= 0 && slice < SPLIT_K;
}

// Columns behind the last load what that one does, and are not stored.
fn set_column(j: i32, n: i32) {
    let column = min(n, g.columns - 1);
    let item = quotient(column, g.input_plane);
    column_start[j] = input_start(item, group * g.group_in) + (column - item * g.input_plane) * input_step();
}

fn begin_k_tile(tile: i32) {
    panel_row = tile * BLOCK_K;
    rows = g.group_in - panel_row;
    for (var j = 0; j < COLUMNS; j += 1) {
        column_input[j] = column_start[j] + panel_row * input_channel_step();
    }
}

fn met_b(row: i32, j: i32) -> bool {
    return WHOLE_K || row < rows;
}

fn fetch_b(row: i32, j: i32) -> Operand {
    return fetched(select(0, column_input[j] + row * input_channel_step(), met_b(row, j)));
}

fn load_b(row: i32, j: i32) -> Operand {
    return masked(fetch_b(row, j), met_b(row, j));
}

fn panel_rows() -> i32 {
    return padded_rows();
}

fn panel_start() -> i32 {
    return ((group * blocks_m() + block_m) * panel_rows() + panel_row) * (BLOCK_M / 4);
}

fn column_output(n: i32) -> i32 {
    let item = quotient(n, g.output_plane);
    let start = output_start(item, group * g.group_out) + (n - item * g.output_plane) * output_step();
    return select(-1, start, n < g.columns);
}
