// The loop of a matrix product without workgroup memory, for few rows: an invocation computes THREAD_M x THREAD_N of C in registers, and
// loads the operands of its products itself. Where a group has no more rows than an invocation, nobody else wants its elements of B; those
// of A are the same for neighbours. A workgroup has BANDS of THREAD_M rows, of one group or of several, phases and slices alike: each is
// what an index of locate() stands for. Same functions and numbers as gemm_tile.wgsl, with BLOCK_M = THREAD_M and COLUMNS = THREAD_N.
// Expects also ROWS, the rows that load_b() brings, row_of(), which gives one of them, and finish_together(), which takes the sums of
// TOGETHER rows, one or four.

const VECTORS: i32 = THREAD_M / 4;                // vec4s of an invocation's rows
const THREADS_N: i32 = BLOCK_N / THREAD_N;        // invocations of a band

const_assert BLOCK_K % ROWS == 0;
const_assert THREAD_M % 4 == 0 && BLOCK_M == THREAD_M && BLOCK_N % THREAD_N == 0 && COLUMNS == THREAD_N;
const_assert WORKGROUP == BANDS * THREADS_N;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_id) local_id: vec3<u32>,
) {
    let index = workgroup_index(id, count);
    let row_of_blocks = quotient(index, blocks_n());
    let band = i32(local_id.x) / THREADS_N;
    let thread_n = i32(local_id.x) - band * THREADS_N;
    if (!locate((row_of_blocks * BANDS + band) * blocks_n() + index - row_of_blocks * blocks_n())) {
        return;
    }
    // Columns of an invocation lie THREADS_N apart, so that neighbours load neighbouring elements.
    for (var j = 0; j < THREAD_N; j += 1) {
        set_column(j, block_n * BLOCK_N + thread_n + j * THREADS_N);
    }

    var sums: array<Sums, VECTORS * THREAD_N>; // [THREAD_M / 4, THREAD_N]
    var columns: array<i32, THREAD_N>;
    let tiles = slice_tiles();
    for (var tile = tiles.x; tile < tiles.y; tile += 1) {
        begin_k_tile(tile);
        let panel_at = panel_start();
        for (var row = 0; row < BLOCK_K; row += ROWS) {
            var loaded_b: array<Operand, THREAD_N>;
            for (var j = 0; j < THREAD_N; j += 1) {
                loaded_b[j] = load_b(row, j);
            }
            for (var number = 0; number < ROWS; number += 1) {
                var a: array<Four, VECTORS>;
                for (var i = 0; i < VECTORS; i += 1) {
                    a[i] = widened(weights_4(u32(panel_at + (row + number) * VECTORS + i)));
                }
                for (var j = 0; j < THREAD_N; j += 1) {
                    let b = row_of(loaded_b[j], number);
                    columns[j] += column_term(b);
                    for (var i = 0; i < VECTORS; i += 1) {
                        sums[i * THREAD_N + j] = multiply(a[i], b, sums[i * THREAD_N + j]);
                    }
                }
            }
        }
    }

    let first_m = block_m * BLOCK_M;
    for (var j = 0; j < THREAD_N; j += 1) {
        let start = column_output(block_n * BLOCK_N + thread_n + j * THREADS_N);
        if (start >= 0) {
            for (var i = 0; i < THREAD_M; i += TOGETHER) {
                let m = first_m + i;
                if (WHOLE_M || m < g.group_out) {
                    var rows: array<Sum, TOGETHER>;
                    for (var row = 0; row < TOGETHER; row += 1) {
                        rows[row] = sums[(i / 4) * THREAD_N + j][i % 4 + row];
                    }
                    let terms = (tiles.y - tiles.x) * BLOCK_K;
                    finish_together(rows, columns[j], terms, group * g.group_out + m, start + m * output_channel_step());
                }
            }
        }
    }
}
