// The operands of a convolution as a matrix product whose lanes own strips: COLUMNS outputs of a row each, which lie SPREAD apart. A tile of
// k is all channels and a segment of the x taps, or all of them, of one tap on z and y, so that an input is loaded once for all outputs of a
// strip and all taps of the segment that meet it, and few channels fill a step as well as many do.
// Where ROWS is more than 1 the outputs are a patch: strips of so many rows, which lie SPREAD_Y apart, and a tile has all taps on y too.
// PHASED: of a transposed convolution with a stride a strip is outputs of one phase, which uses some of the taps.
// Expects g, layout.wgsl, source.wgsl, phase.wgsl, slice.wgsl, block.wgsl, blocks.wgsl, Operand, fetched() and masked(), BLOCK_M, BLOCK_K (the
// rows of a channel), COLUMNS, ROWS, SPREAD, SPREAD_Y (1 for strips), LANES, SEGMENTS and SEGMENT_TAPS.

const STRIP: i32 = COLUMNS / ROWS; // outputs of a row

var<private> group: i32;
var<private> counts: vec3<i32>; // taps of the phase
var<private> panel: i32;        // the current tile's panel of weights
var<private> strip_at: vec3<i32>; // input that tap 0 of the strip's first output meets
var<private> strip_start: i32;  // first input of the item's and group's first channel
var<private> plane_start: i32;  // first input of the plane that the current tile reads; -1 where there is none
var<private> row_at: i32;       // the first of its rows that it reads
var<private> segment: i32;      // the current tile's taps on x

// Strips of a row of outputs.
fn strips() -> i32 {
    return block_count(g.phase_output.z, STRIP * SPREAD) * SPREAD;
}

// Rows of strips of a plane.
fn bands() -> i32 {
    return block_count(g.phase_output.y, ROWS * SPREAD_Y) * SPREAD_Y;
}

fn all_strips() -> i32 {
    return g.batch * g.phase_output.x * bands() * strips();
}

fn blocks_n() -> i32 {
    return (all_strips() + LANES - 1) / LANES;
}

fn locate(tile: i32) -> bool {
    group = set_block(tile);
    if (!PHASED) {
        return tile >= 0 && group < g.groups;
    }
    let phases = quotient(group, g.groups);
    group -= phases * g.groups;
    let before = set_phase(phases);
    counts = phase_counts();
    return tile >= 0 && before == 0;
}

// The batch item and the first output of a strip, among those of the phase.
fn strip_position(strip: i32) -> vec4<i32> {
    let row = quotient(strip, strips());
    let plane = quotient(row, bands());
    let item = quotient(plane, g.phase_output.x);
    let y = block_start(row - plane * bands(), ROWS, SPREAD_Y);
    let x = block_start(strip - row * strips(), STRIP, SPREAD);
    return vec4<i32>(plane - item * g.phase_output.x, y, x, item);
}

// Strips behind the last load what that one does, and are not stored.
fn set_strip(strip: i32) {
    let position = strip_position(min(strip, all_strips() - 1));
    strip_at = position.xyz * g.stride - g.pad_begin;
    if (PHASED) {
        strip_at = position.xyz + phase_source(first);
    }
    strip_start = input_start(position.w, group * g.group_in);
}

// Taps that outputs have on each axis.
fn taps() -> vec3<i32> {
    if (PHASED) {
        return counts;
    }
    return g.kernel;
}

fn k_tiles() -> i32 {
    return taps().x * tap_rows() * select(SEGMENTS, 0, taps().z == 0);
}

// Tiles of k on y.
fn tap_rows() -> i32 {
    return select(taps().y, 1, ROWS > 1);
}

fn begin_k_tile(tile: i32) {
    panel = tile;
    let tap_row = tile / SEGMENTS;
    segment = tile - tap_row * SEGMENTS;
    let tap_z = quotient(tap_row, tap_rows());
    let tap_y = tap_row - tap_z * tap_rows();
    if (PHASED) {
        // All taps that follow one another in a phase on x are one panel.
        let row = (first.x + tap_z * g.tap_step.x) * g.kernel.y + first.y + tap_y * g.tap_step.y;
        panel = row * g.tap_step.z + first.z;
    }
    let z = source(strip_at.x + tap_z * g.source_step.x, g.input.x);
    plane_start = select(-1, strip_start + z * g.input.y * g.input.z * input_step(), inside(z, g.input.x));
    row_at = strip_at.y + tap_y * g.source_step.y;
}

// The first input of the row that lies so many dilations below the first one that the current tile reads; -1 where there is none.
fn input_row(offset: i32) -> i32 {
    let y = source(row_at + offset * g.source_step.y, g.input.y);
    return select(-1, plane_start + y * g.input.z * input_step(), inside(y, g.input.y) && plane_start >= 0);
}

// Whether the kernel ends before this tap of the current segment.
fn lacks(tap: i32) -> bool {
    return segment * SEGMENT_TAPS + tap >= taps().z;
}

// Where on x the input is that lies so many dilations after the first one that the strip and the segment see.
fn input_x(offset: i32) -> i32 {
    return source(strip_at.z + (segment * SEGMENT_TAPS + offset) * g.source_step.z, g.input.z);
}

// Whether there is one in a row.
fn meets_input(row: i32, offset: i32) -> bool {
    return row >= 0 && inside(input_x(offset), g.input.z);
}

// That input in the group's first channel; anywhere where there is none.
fn first_input(row: i32, offset: i32, met: bool) -> i32 {
    return select(0, row + input_x(offset) * input_step(), met);
}

// The panels of a block of rows.
fn panels() -> i32 {
    return g.kernel.x * select(g.kernel.y, 1, ROWS > 1) * select(SEGMENTS, g.tap_step.z, PHASED);
}

// The vec4 of the weights that the current tile's panel, [channel][BLOCK_K, BLOCK_M], begins with.
fn panel_start() -> i32 {
    return ((group * blocks_m() + block_m) * panels() + panel) * g.group_in * (BLOCK_K * BLOCK_M / 4);
}

// An output of a strip in the group's first channel, or -1 where it does not exist.
fn strip_output(strip: i32, column: i32) -> i32 {
    let position = strip_position(strip);
    var at = vec3<i32>(position.x, position.y + column / STRIP * SPREAD_Y, position.z + column % STRIP * SPREAD);
    var ends = g.output;
    if (PHASED) {
        ends = phase_ends();
    }
    let exists = strip < all_strips() && all(at < ends);
    if (PHASED) {
        at = at * g.input_dilation + phase;
    }
    let start = output_start(position.w, group * g.group_out);
    return select(-1, start + ((at.x * g.output.y + at.y) * g.output.z + at.z) * output_step(), exists);
}
