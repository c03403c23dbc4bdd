// What invocations find out together of a row: LANES of a workgroup, a power of two that divides it, for each row, or for four rows
// that lie side by side. Sums are formed in blocks of BLOCK turns of a lane, so that their rounding is that of short ones.
// Expects one.wgsl or four.wgsl, Row, turns_of(), loaded(), numbers(), folded(), ALL_INSIDE, ROW_LANES (whether the lanes of a row are
// neighbours, as its elements are), LANES, BLOCK, OVERLAP, WORKGROUP, and of the kernel element(), COMPARES_POSITIONS, LAST.

const SUM: i32 = 0;
const PRODUCT: i32 = 1;
const GREATEST: i32 = 2;
const LEAST: i32 = 3;

const LANE_STEP: i32 = select(WORKGROUP / LANES, 1, ROW_LANES);

struct Partial {
    value: Value,
    at: Number, // of the element that the value is, where positions are looked for; -1: no element yet
}

var<workgroup> partials: array<Partial, WORKGROUP>;

fn lane_of(local: i32) -> i32 {
    return select(local / LANE_STEP, local % LANES, ROW_LANES);
}

// The row of the workgroup that an invocation works on.
fn member_of(local: i32) -> i32 {
    return select(local % LANE_STEP, local / LANES, ROW_LANES);
}

// What changes nothing. Infinity is no constant expression.
fn neutral(how: i32) -> Partial {
    var bits = p[0].z;
    if (how == SUM) {
        bits = 0;
    }
    return Partial(Value(bitcast<f32>(bits)), Number(-1));
}

// A NaN wins, as in the frameworks; of equals the first or the last.
fn combine(a: Partial, b: Partial, how: i32) -> Partial {
    if (how == SUM) {
        return Partial(a.value + b.value, a.at);
    }
    if (how == PRODUCT) {
        return Partial(a.value * b.value, a.at);
    }
    var beats = b.value > a.value;
    if (how == LEAST) {
        beats = b.value < a.value;
    }
    let b_nan = are_nan(b.value);
    if (!COMPARES_POSITIONS) {
        return Partial(select(a.value, b.value, beats | b_nan), a.at);
    }
    let a_nan = are_nan(a.value);
    var before = b.at < a.at;
    if (LAST) {
        before = b.at > a.at;
    }
    let ties = (b.value == a.value) | (a_nan & b_nan);
    let wins = (b.at >= Number(0)) & ((a.at < Number(0)) | (b_nan & !a_nan) | (beats & !a_nan) | (ties & before));
    return Partial(select(a.value, b.value, wins), select(a.at, b.at, wins));
}

// What a turn of a lane adds.
fn of_turn(row: Row, turn: i32, how: i32) -> Partial {
    let at = numbers(row, turn);
    let value = element(loaded(row, turn));
    if (ALL_INSIDE) {
        return Partial(value, at);
    }
    return Partial(select(neutral(how).value, value, at >= Number(0)), at);
}

// What there is in a row, for all of its lanes. All invocations of a workgroup come here together.
fn together(row: Row, local: i32, how: i32) -> Partial {
    let lane = lane_of(local);
    let turns = turns_of(row);
    var result = neutral(how);
    for (var block = lane; block < turns; block += LANES * BLOCK) {
        let end = min(block + LANES * BLOCK, turns);
        var part = neutral(how);
        var turn = block;
        // Four at a time, so that loads do not wait for each other where they OVERLAP: elsewhere they would only make the text long.
        for (; OVERLAP && turn < end - 3 * LANES; turn += 4 * LANES) {
            let a = of_turn(row, turn, how);
            let b = of_turn(row, turn + LANES, how);
            let c = of_turn(row, turn + 2 * LANES, how);
            let d = of_turn(row, turn + 3 * LANES, how);
            part = combine(part, combine(combine(a, b, how), combine(c, d, how), how), how);
        }
        for (; turn < end; turn += LANES) {
            part = combine(part, of_turn(row, turn, how), how);
        }
        result = combine(result, part, how);
    }
    if (LANES > 1) {
        workgroupBarrier(); // the lanes of the last reduction have read theirs
        partials[local] = result;
        for (var half = LANES / 2; half > 0; half /= 2) {
            workgroupBarrier();
            if (lane < half) {
                result = combine(result, partials[local + half * LANE_STEP], how);
                partials[local] = result;
            }
        }
        workgroupBarrier();
        result = partials[local - lane * LANE_STEP];
    }
    return folded(result, how);
}
