// What surrounds a product of cooperative matrices (src/algorithm/cooperative.rs writes the loop). A workgroup computes BLOCK_M x BLOCK_N
// of C in steps of BLOCK_K, each of its SUBGROUPS_M x SUBGROUPS_N subgroups an equal part, as matrices of SIZE x SIZE.
// Expects the functions of the operands (conv_gemm_operands.wgsl), store(), WORKGROUP, COLUMNS, LANES, and weights: array<f16> in panels
// [BLOCK_K, BLOCK_M], in which a matrix of A lies column by column.

const LOADERS: i32 = min(WORKGROUP, BLOCK_N);  // invocations along n while loading
const LOADED_ROWS: i32 = WORKGROUP / LOADERS;  // rows that are loaded at a time

const_assert WORKGROUP == SUBGROUPS_M * SUBGROUPS_N * LANES && LANES % SIZE == 0;
const_assert BLOCK_M % (SUBGROUPS_M * SIZE) == 0 && BLOCK_N % (SUBGROUPS_N * SIZE) == 0 && BLOCK_K % SIZE == 0;
const_assert WORKGROUP % LOADERS == 0 && BLOCK_N == LOADERS * COLUMNS && BLOCK_K % LOADED_ROWS == 0;

var<workgroup> tile_b: array<f16, BLOCK_K * BLOCK_N>;                        // [BLOCK_K, BLOCK_N]
var<workgroup> tile_c: array<f32, SUBGROUPS_M * SUBGROUPS_N * SIZE * SIZE>;  // [subgroup][SIZE, SIZE]

fn set_columns(local: i32) {
    for (var j = 0; j < COLUMNS; j += 1) {
        set_column(j, block_n * BLOCK_N + local % LOADERS + j * LOADERS);
    }
}

// Brings the current step's rows of B.
fn load_tile(local: i32) {
    for (var row = local / LOADERS; row < BLOCK_K; row += LOADED_ROWS) {
        for (var j = 0; j < COLUMNS; j += 1) {
            tile_b[row * BLOCK_N + local % LOADERS + j * LOADERS] = load_b(row, j);
        }
    }
}

// Finishes the sums that a subgroup has in tile_c; they begin at this row and column of the workgroup's block.
fn store_matrix(exists: bool, subgroup: i32, lane: i32, first_m: i32, first_n: i32) {
    let column = lane % SIZE;
    let start = column_output(block_n * BLOCK_N + first_n + column);
    for (var row = lane / SIZE; row < SIZE; row += LANES / SIZE) {
        let m = block_m * BLOCK_M + first_m + row;
        if (exists && start >= 0 && (WHOLE_M || m < g.group_out)) {
            let sum = tile_c[(subgroup * SIZE + row) * SIZE + column];
            store(sum, group * g.group_out + m, start + m * output_channel_step());
        }
    }
}
