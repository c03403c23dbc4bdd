// What surrounds a product of cooperative matrices (src/algorithm/cooperative.rs writes the loop). A workgroup computes BLOCK_M x BLOCK_N
// of C in steps of BLOCK_K, each of its SUBGROUPS_M x SUBGROUPS_N subgroups an equal part, as matrices of SIZE x SIZE.
// Both operands go through workgroup memory with k as the last axis, in which the lanes of most devices want them, RUN numbers at a time.
// While a step is multiplied the next one's are on their way in registers; what is done with a loaded number would wait for it, and is
// done when it is put into a tile.
// Expects the functions of the operands (conv_gemm_operands.wgsl), panel_rows(), weights_4(), WORKGROUP, COLUMNS, LANES, ROWS, the rows that a load
// of B brings, put_b(), which puts them into tile_b, MATRICES_N, the matrices of a subgroup along n, finish_sums(), which stores WIDTH columns at
// once, ACROSS, the lanes that do so side by side, and weights: array<vec4<f16>>, [group, output channel][row].

const RUN: i32 = 4;
const RUNS: i32 = BLOCK_K / RUN;                                       // of a row of a tile
const STRIDE: i32 = RUNS + 2;                                          // with what keeps rows out of each other's banks, at 16 bytes
const LOADERS: i32 = min(WORKGROUP, BLOCK_N);                          // invocations along n while loading
const LOADED_RUNS: i32 = WORKGROUP / LOADERS;                          // runs of a column that are loaded at a time
const PARTS: i32 = RUN / ROWS;                                         // loads of a run of B
const LOADS_A: i32 = (BLOCK_M * RUNS + WORKGROUP - 1) / WORKGROUP;     // runs of A that an invocation loads
const LOADS_B: i32 = (RUNS + LOADED_RUNS - 1) / LOADED_RUNS;           // runs of each of its columns of B
const COLUMNS_C: i32 = MATRICES_N * SIZE;                              // columns of a subgroup

const_assert WORKGROUP == SUBGROUPS_M * SUBGROUPS_N * LANES && LANES % ACROSS == 0;
const_assert BLOCK_M % (SUBGROUPS_M * SIZE) == 0 && BLOCK_N == SUBGROUPS_N * COLUMNS_C && BLOCK_K % SIZE == 0 && SIZE % RUN == 0;
const_assert COLUMNS_C % (ACROSS * WIDTH) == 0 && LANES % SIZE == 0 && WORKGROUP % LOADERS == 0 && BLOCK_N == LOADERS * COLUMNS;

var<workgroup> tile_a: array<array<array<f16, RUN>, STRIDE>, BLOCK_M>;                  // [BLOCK_M, BLOCK_K]
var<workgroup> tile_b: array<array<array<f16, RUN>, STRIDE>, BLOCK_N>;                  // [BLOCK_N, BLOCK_K]
var<workgroup> tile_c: array<array<f32, SIZE * COLUMNS_C>, SUBGROUPS_M * SUBGROUPS_N>;  // [subgroup][SIZE, COLUMNS_C], or [COLUMNS_C, SIZE]

// What an invocation loads of a step, on its way to the tiles.
var<private> next_a: array<vec4<f16>, LOADS_A>;
var<private> next_b: array<Operand, LOADS_B * COLUMNS * PARTS>;

fn set_columns(local: u32) {
    for (var j = 0; j < COLUMNS; j += 1) {
        set_column(j, block_n * BLOCK_N + i32(local % u32(LOADERS)) + j * LOADERS);
    }
}

// Begins to load a step.
fn fetch(local: u32, tile: i32) {
    begin_k_tile(tile);
    // Those that have nothing to load load the last: what some load and others do not is waited for.
    for (var i = 0; i < LOADS_A; i += 1) {
        let at = min(local + u32(i * WORKGROUP), u32(BLOCK_M * RUNS - 1));
        // Rows beyond the last are computed like any others, and not stored.
        let m = min(block_m * BLOCK_M + i32(at / u32(RUNS)), g.group_out - 1);
        next_a[i] = weights_4(u32(((group * g.group_out + m) * panel_rows() + panel_row) / RUN) + at % u32(RUNS));
    }
    for (var i = 0; i < LOADS_B; i += 1) {
        let run = min(i32(local / u32(LOADERS)) + i * LOADED_RUNS, RUNS - 1);
        for (var j = 0; j < COLUMNS; j += 1) {
            for (var part = 0; part < PARTS; part += 1) {
                next_b[(i * COLUMNS + j) * PARTS + part] = fetch_b(run * RUN + part * ROWS, j);
            }
        }
    }
}

// Puts it into the tiles.
fn put(local: u32) {
    for (var i = 0; i < LOADS_A; i += 1) {
        let at = local + u32(i * WORKGROUP);
        if (BLOCK_M * RUNS % WORKGROUP == 0 || at < u32(BLOCK_M * RUNS)) {
            let four = next_a[i];
            let row = at / u32(RUNS);
            let run = at % u32(RUNS);
            tile_a[row][run][0] = four.x;
            tile_a[row][run][1] = four.y;
            tile_a[row][run][2] = four.z;
            tile_a[row][run][3] = four.w;
        }
    }
    let column = local % u32(LOADERS);
    for (var i = 0; i < LOADS_B; i += 1) {
        let run = i32(local / u32(LOADERS)) + i * LOADED_RUNS;
        if (RUNS % LOADED_RUNS == 0 || run < RUNS) {
            for (var j = 0; j < COLUMNS; j += 1) {
                for (var part = 0; part < PARTS; part += 1) {
                    let met = met_b(run * RUN + part * ROWS, j);
                    put_b(column + u32(j * LOADERS), u32(run), part, masked(next_b[(i * COLUMNS + j) * PARTS + part], met));
                }
            }
        }
    }
}

// Finishes the sums of a row of matrices, which a subgroup has in tile_c; they begin at this row and column of the workgroup's block.
// Lanes store neighbours in memory side by side.
fn store_sums(exists: bool, subgroup: i32, lane: i32, first_m: i32, first_n: i32) {
    let from_m = block_m * BLOCK_M + first_m;
    let from_n = block_n * BLOCK_N + first_n;
    if (OUTPUT_LAST) {
        let m = from_m + lane % SIZE;
        for (var first = 0; first < COLUMNS_C; first += LANES / SIZE) {
            let column = first + lane / SIZE;
            let start = column_output(from_n + column);
            if ((COLUMNS_C % (LANES / SIZE) == 0 || column < COLUMNS_C) && exists && start >= 0 && (WHOLE_M || m < g.group_out)) {
                finish_sums(subgroup, column * SIZE + lane % SIZE, group * g.group_out + m, start + m * output_channel_step());
            }
        }
        return;
    }
    for (var first = 0; first < COLUMNS_C; first += ACROSS * WIDTH) {
        let column = first + lane % ACROSS * WIDTH;
        let start = column_output(from_n + column);
        if (exists && start >= 0) {
            for (var first_row = 0; first_row < SIZE; first_row += LANES / ACROSS) {
                let row = first_row + lane / ACROSS;
                let m = from_m + row;
                if ((SIZE % (LANES / ACROSS) == 0 || row < SIZE) && (WHOLE_M || m < g.group_out)) {
                    finish_sums(subgroup, row * COLUMNS_C + column, group * g.group_out + m, start + m * output_channel_step());
                }
            }
        }
    }
}
