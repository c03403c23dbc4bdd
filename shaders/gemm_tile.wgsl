// The loop of a tiled matrix product through workgroup memory. A workgroup computes BLOCK_M x BLOCK_N of C in steps of BLOCK_K;
// an invocation computes THREAD_M x THREAD_N of them in registers. It knows no convolution: its operands come from locate(),
// set_column(), slice_tiles(), begin_k_tile(), fetch_b(), met_b() and masked(), load_b(), which is all three, panel_start() and
// column_output(), outputs of a column are output_channel_step() apart. Nor does it know its numbers: those are Number, Four, Run and Sums,
// with widened(), begun(), multiply(), ended() and column_term() (lib/floats.wgsl, lib/halves.wgsl, lib/bytes.wgsl), and finish_together(). RUN products
// of a step are summed as a Run, which may be narrower.
// With BUFFERS = 2 the next step's operands are on their way in registers while this one's are multiplied, and go into a second pair of
// tiles: a barrier a step, and loads that nobody waits for. What is done with a loaded number, even to choose it or a zero, would wait: it
// is done on the way to the tile. Rows need no padding: neighbours read and write neighbouring words.
// An invocation has runs of QUAD neighbouring columns, which one load reads from its tile; runs lie THREADS_N apart. finish_together() takes
// TOGETHER sums: those of a run, or, with CHANNELS_TOGETHER, of four rows.
// Expects also ROWS and LOADED_COLUMNS, the rows or the columns that a load of B brings, and put_b(), which puts them into tile_b; WORKGROUP,
// COLUMNS, the loads of an invocation along n, workgroup_index(), and weights in panels [BLOCK_K, BLOCK_M].

const VECTORS_M: i32 = BLOCK_M / 4;               // vec4s of a row of tile_a
const VECTORS: i32 = THREAD_M / 4;                // vec4s of an invocation's rows
const THREADS_N: i32 = BLOCK_N / THREAD_N;        // invocations along n
const THREADS_M: i32 = BLOCK_M / THREAD_M;        // invocations along m
const RUNS_N: i32 = THREAD_N / QUAD;              // an invocation's runs of QUAD neighbouring columns
const LOADERS: i32 = min(WORKGROUP, BLOCK_N / LOADED_COLUMNS); // invocations along n while loading
const LOADED_ROWS: i32 = WORKGROUP / LOADERS;     // rows that are loaded at a time
const TILE_A: i32 = BLOCK_K * VECTORS_M;
const LOADS_A: i32 = (TILE_A + WORKGROUP - 1) / WORKGROUP;                              // vec4s of A that an invocation loads
const LOADS_B: i32 = (BLOCK_K + ROWS * LOADED_ROWS - 1) / (ROWS * LOADED_ROWS);         // rows of B

const_assert BLOCK_K % ROWS == 0 && BLOCK_K % RUN == 0;
const_assert THREAD_M % 4 == 0 && BLOCK_M % THREAD_M == 0 && BLOCK_N % THREAD_N == 0 && THREAD_N % QUAD == 0;
const_assert WORKGROUP == THREADS_M * THREADS_N && (LOADED_COLUMNS == 1 || LOADED_COLUMNS == QUAD);
const_assert WORKGROUP % LOADERS == 0 && BLOCK_N == LOADERS * LOADED_COLUMNS * COLUMNS;

// Arrays of arrays, so that the bounds of an index are tested once for all rows and columns of an invocation, and not for each.
alias RowsA = array<array<Four, VECTORS>, THREADS_M>;
alias RowsB = array<array<array<Number, QUAD>, THREADS_N>, RUNS_N>;

var<workgroup> tile_a: array<array<RowsA, BLOCK_K>, BUFFERS>; // [BUFFERS, BLOCK_K, BLOCK_M / 4]
var<workgroup> tile_b: array<array<RowsB, BLOCK_K>, BUFFERS>; // [BUFFERS, BLOCK_K, BLOCK_N]

// Unsigned, as a quotient of signed numbers by a power of two is no shift.
fn put_a(buffer: i32, at: i32, four: Four) {
    let row = u32(at) / u32(VECTORS_M);
    let m = u32(at) % u32(VECTORS_M);
    tile_a[buffer][row][m / u32(VECTORS)][m % u32(VECTORS)] = four;
}

fn put_number(buffer: i32, row: i32, column: i32, b: Number) {
    let run = u32(column) / u32(QUAD);
    tile_b[buffer][row][run / u32(THREADS_N)][run % u32(THREADS_N)][u32(column) % u32(QUAD)] = b;
}

// What an invocation loads of a step, on its way to the tiles.
var<private> next_a: array<Four, LOADS_A>;
var<private> next_b: array<Operand, LOADS_B * COLUMNS>;

fn fetch(local: i32, loader_row: i32) {
    let panel_at = panel_start();
    for (var i = 0; i < LOADS_A; i += 1) {
        // Those that have none to load load the last: what some load and others do not is waited for.
        next_a[i] = widened(weights_4(u32(panel_at + min(local + i * WORKGROUP, TILE_A - 1))));
    }
    for (var i = 0; i < LOADS_B; i += 1) {
        for (var j = 0; j < COLUMNS; j += 1) {
            next_b[i * COLUMNS + j] = fetch_b(min(ROWS * (loader_row + i * LOADED_ROWS), BLOCK_K - ROWS), j);
        }
    }
}

fn put(buffer: i32, local: i32, loader_row: i32, loader_column: i32) {
    for (var i = 0; i < LOADS_A; i += 1) {
        let at = local + i * WORKGROUP;
        if (TILE_A % WORKGROUP == 0 || at < TILE_A) {
            put_a(buffer, at, next_a[i]);
        }
    }
    for (var i = 0; i < LOADS_B; i += 1) {
        let row = ROWS * (loader_row + i * LOADED_ROWS);
        if (BLOCK_K % (ROWS * LOADED_ROWS) == 0 || row < BLOCK_K) {
            for (var j = 0; j < COLUMNS; j += 1) {
                put_b(buffer, row, loader_column + j * LOADERS * LOADED_COLUMNS, masked(next_b[i * COLUMNS + j], met_b(row, j)));
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    if (!locate(workgroup_index(id, count))) {
        return;
    }
    let local = i32(local_id.x);
    let loader_row = i32(local_id.x / u32(LOADERS));
    let loader_column = i32(local_id.x % u32(LOADERS)) * LOADED_COLUMNS;
    let thread_m = i32(local_id.x / u32(THREADS_N));
    let thread_n = i32(local_id.x % u32(THREADS_N));
    for (var j = 0; j < COLUMNS; j += 1) {
        set_column(j, block_n * BLOCK_N + loader_column + j * LOADERS * LOADED_COLUMNS);
    }

    var sums: array<Sums, VECTORS * THREAD_N>; // [THREAD_M / 4, THREAD_N]
    var columns: array<i32, THREAD_N>;
    let tiles = slice_tiles();
    var buffer = 0;
    if (BUFFERS == 2 && tiles.x < tiles.y) {
        begin_k_tile(tiles.x);
        fetch(local, loader_row);
        put(buffer, local, loader_row, loader_column);
    }
    for (var tile = tiles.x; tile < tiles.y; tile += 1) {
        if (BUFFERS == 1) {
            // Straight to the tiles: by way of fetch() and put() the product takes 1.09 to 1.27 times as long on lavapipe of Mesa 25.0.7.
            begin_k_tile(tile);
            let panel_at = panel_start();
            for (var at = local; at < TILE_A; at += WORKGROUP) {
                put_a(0, at, widened(weights_4(u32(panel_at + at))));
            }
            for (var row = ROWS * loader_row; row < BLOCK_K; row += ROWS * LOADED_ROWS) {
                for (var j = 0; j < COLUMNS; j += 1) {
                    put_b(0, row, loader_column + j * LOADERS * LOADED_COLUMNS, load_b(row, j));
                }
            }
        }
        workgroupBarrier();
        let more = BUFFERS == 2 && tile + 1 < tiles.y;
        if (BUFFERS == 2) {
            // What was loaded before is in the tiles: nobody need keep it where nothing is loaded now.
            next_a = array<Four, LOADS_A>();
            next_b = array<Operand, LOADS_B * COLUMNS>();
        }
        if (more) {
            begin_k_tile(tile + 1);
            fetch(local, loader_row);
        }
        // Bounds that compilers know, so that those that want to write the loops out can.
        for (var run = 0; run < BLOCK_K / RUN; run += 1) {
            var runs: array<Run, VECTORS * THREAD_N>;
            for (var i = 0; i < VECTORS * THREAD_N; i += 1) {
                runs[i] = begun(sums[i]);
            }
            for (var number = 0; number < RUN; number += 1) {
                let k = run * RUN + number;
                var a: array<Four, VECTORS>;
                for (var i = 0; i < VECTORS; i += 1) {
                    a[i] = tile_a[buffer][k][thread_m][i];
                }
                for (var j = 0; j < THREAD_N; j += 1) {
                    let b = tile_b[buffer][k][j / QUAD][thread_n][j % QUAD];
                    columns[j] += column_term(b);
                    for (var i = 0; i < VECTORS; i += 1) {
                        runs[i * THREAD_N + j] = multiply(a[i], b, runs[i * THREAD_N + j]);
                    }
                }
            }
            for (var i = 0; i < VECTORS * THREAD_N; i += 1) {
                sums[i] = ended(runs[i], sums[i]);
            }
        }
        if (BUFFERS == 1) {
            workgroupBarrier();
        }
        if (more) {
            buffer = 1 - buffer; // all have read it: they are past this step's barrier
            put(buffer, local, loader_row, loader_column);
        }
    }

    let first_m = block_m * BLOCK_M + thread_m * THREAD_M;
    let terms = (tiles.y - tiles.x) * BLOCK_K;
    for (var run = 0; run < RUNS_N; run += 1) {
        let start = column_output(block_n * BLOCK_N + (run * THREADS_N + thread_n) * QUAD);
        if (start >= 0) {
            for (var i = 0; i < THREAD_M; i += select(1, TOGETHER, CHANNELS_TOGETHER)) {
                let m = first_m + i;
                if (WHOLE_M || m < g.group_out) {
                    var row: array<Sum, TOGETHER>;
                    for (var j = 0; j < TOGETHER; j += 1) {
                        if (CHANNELS_TOGETHER) {
                            row[j] = sums[(i / 4) * THREAD_N + run][j];
                        } else {
                            row[j] = sums[(i / 4) * THREAD_N + run * QUAD + j][i % 4];
                        }
                    }
                    finish_together(row, columns[run * QUAD], terms, group * g.group_out + m, start + m * output_channel_step());
                }
            }
        }
    }
}
