// The loop of gemm_tile.wgsl over packed bytes: BLOCK_K counts words of four. Same tiles, same functions of the operands; sums in i32.
// Expects also bytes.wgsl, and weights: array<vec4<u32>> in panels [BLOCK_K, BLOCK_M].

const VECTORS_M: i32 = BLOCK_M / 4;
const VECTORS: i32 = THREAD_M / 4;
const THREADS_N: i32 = BLOCK_N / THREAD_N;
const LOADERS: i32 = min(WORKGROUP, BLOCK_N);
const LOADED_ROWS: i32 = WORKGROUP / LOADERS;

const_assert THREAD_M % 4 == 0 && BLOCK_M % THREAD_M == 0 && BLOCK_N % THREAD_N == 0;
const_assert WORKGROUP == (BLOCK_M / THREAD_M) * THREADS_N;
const_assert WORKGROUP % LOADERS == 0 && BLOCK_N == LOADERS * COLUMNS && BLOCK_K % LOADED_ROWS == 0;

var<workgroup> tile_a: array<vec4<u32>, BLOCK_K * VECTORS_M>; // [BLOCK_K, BLOCK_M / 4]
var<workgroup> tile_b: array<u32, BLOCK_K * BLOCK_N>;         // [BLOCK_K, BLOCK_N]

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) local_index: u32,
) {
    if (!locate(workgroup_index(id, count))) {
        return;
    }
    let local = i32(local_index);
    let loader_row = local / LOADERS;
    let loader_column = local - loader_row * LOADERS;
    let thread_m = local / THREADS_N;
    let thread_n = local - thread_m * THREADS_N;
    for (var j = 0; j < COLUMNS; j += 1) {
        set_column(j, block_n * BLOCK_N + loader_column + j * LOADERS);
    }

    var sums: array<vec4<i32>, VECTORS * THREAD_N>; // [THREAD_M / 4, THREAD_N]
    var columns: array<i32, THREAD_N>;
    let tiles = k_tiles();
    for (var tile = 0; tile < tiles; tile += 1) {
        begin_k_tile(tile);
        let panel_at = panel_start();
        for (var at = local; at < BLOCK_K * VECTORS_M; at += WORKGROUP) {
            tile_a[at] = weights[panel_at + at];
        }
        for (var row = loader_row; row < BLOCK_K; row += LOADED_ROWS) {
            for (var j = 0; j < COLUMNS; j += 1) {
                tile_b[row * BLOCK_N + loader_column + j * LOADERS] = load_b(row, j);
            }
        }
        workgroupBarrier();
        for (var k = 0; k < BLOCK_K; k += 1) {
            var a: array<vec4<u32>, VECTORS>;
            for (var i = 0; i < VECTORS; i += 1) {
                a[i] = tile_a[k * VECTORS_M + thread_m * VECTORS + i];
            }
            for (var j = 0; j < THREAD_N; j += 1) {
                let b = tile_b[k * BLOCK_N + thread_n + j * THREADS_N];
                columns[j] += byte_sum(b);
                for (var i = 0; i < VECTORS; i += 1) {
                    sums[i * THREAD_N + j] = multiply(a[i], b, sums[i * THREAD_N + j]);
                }
            }
        }
        workgroupBarrier();
    }

    let first_m = block_m * BLOCK_M + thread_m * THREAD_M;
    for (var j = 0; j < THREAD_N; j += 1) {
        let start = column_output(block_n * BLOCK_N + thread_n + j * THREADS_N);
        if (start >= 0) {
            for (var i = 0; i < THREAD_M; i += 1) {
                let m = first_m + i;
                if (m < g.group_out) {
                    let sum = sums[(i / 4) * THREAD_N + j][i % 4];
                    store(sum, columns[j], tiles * BLOCK_K * 4, group * g.group_out + m, start + m * output_channel_step());
                }
            }
        }
    }
}
