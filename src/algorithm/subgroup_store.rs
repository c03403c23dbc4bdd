//! How a product through subgroup broadcasts ends: which columns a lane has, and the text that stores their sums.

use std::fmt::Write as _;

use super::SubgroupTile;
use super::subgroup::Reads;

/// Where the columns of a lane are, if they are no strip.
#[derive(Clone, Copy)]
pub(super) enum Columns {
    /// LANES apart.
    Apart,
    /// Four neighbours, stored at once.
    Neighbours,
}

impl Columns {
    /// The column with this number of a lane.
    pub fn at(self, j: &str) -> String {
        match self {
            Columns::Apart => format!("block_n * BLOCK_N + lane + {j} * LANES"),
            Columns::Neighbours => format!("block_n * BLOCK_N + lane * COLUMNS + {j}"),
        }
    }
}

/// What is done with the sums. Either way it is a loop, as the text of a store is long on devices that store lane by lane, and code that a
/// cache does not hold is slow. Measured on lavapipe, and not understood: with a loop over an array of the sums Mesa 25.0.7 makes the loop
/// before it a third faster, which pays for `long` sums; without the array, by choosing, few terms of many outputs take two thirds of
/// the time on Mesa 22.3.6.
pub(super) fn ending(tile: &SubgroupTile, reads: &Reads, long: bool) -> String {
    let vectors = tile.block_m / 4;
    let mut text = String::from("    let first_m = block_m * BLOCK_M;\n    let terms = (tiles.y - tiles.x) * BLOCK_K;\n");
    let mut line = |text_line: String| {
        let _ = writeln!(text, "{text_line}"); // writing to a String cannot fail
    };
    let output = |j: &str| match reads {
        Reads::Strip(_) => format!("strip_output(block_n * LANES + lane, {j})"),
        Reads::One | Reads::Four => format!("column_output({})", Columns::Apart.at(j)),
    };
    if long {
        for j in 0..tile.thread_n {
            let sums: Vec<String> = (0..vectors).map(|i| format!("sum_{i}_{j}")).collect();
            let sums = format!("array<Sums, BLOCK_M / 4>({})", sums.join(", "));
            line(format!("    store_column({}, first_m, column_{j}, terms, {sums});", output(&j.to_string())));
        }
        line("}\n".into());
        line("fn store_column(start: i32, first_m: i32, column: i32, terms: i32, sums: array<Sums, BLOCK_M / 4>) {".into());
        line("    var values = sums;".into());
        line("    for (var i = 0; i < BLOCK_M; i += 1) {".into());
        line("        store_one(values[i / 4][i % 4], first_m + i, column, terms, start);".into());
        line("    }".into());
    } else {
        line("    for (var j = 0; j < COLUMNS; j += 1) {".into());
        line(format!("        let start = {};", output("j")));
        line(format!("        let column = {};", chosen("column", tile.thread_n)));
        for i in 0..vectors {
            line(format!("        let four_{i} = {};", chosen(&format!("sum_{i}"), tile.thread_n)));
            for (row, part) in ["x", "y", "z", "w"].into_iter().enumerate() {
                line(format!("        store_one(four_{i}.{part}, first_m + {}, column, terms, start);", 4 * i as usize + row));
            }
        }
        line("    }".into());
    }
    line("}\n".into());
    line("// One row of a column.".into());
    line("fn store_one(sum: Sum, m: i32, column: i32, terms: i32, start: i32) {".into());
    line("    if (start >= 0 && (WHOLE_M || m < g.group_out)) {".into());
    line("        finish(sum, column, terms, group * g.group_out + m, start + m * output_channel_step());".into());
    line("    }".into());
    line("}".into());
    text
}

/// The same for columns of which four and four are neighbours: rows of four.
pub(super) fn ending_of_4(tile: &SubgroupTile, reads: &Reads, long: bool) -> String {
    let vectors = tile.block_m / 4;
    let mut text = String::from("    let first_m = block_m * BLOCK_M;\n");
    let mut line = |text_line: String| {
        let _ = writeln!(text, "{text_line}"); // writing to a String cannot fail
    };
    for first in (0..tile.thread_n).step_by(4) {
        let start = match reads {
            Reads::Strip(_) => format!("strip_output(block_n * LANES + lane, {first})"),
            Reads::One | Reads::Four => format!("column_output({})", Columns::Neighbours.at(&first.to_string())),
        };
        if long {
            let column = |j: u32| {
                let sums = (0..vectors).map(|i| format!("sum_{i}_{j}")).collect::<Vec<_>>().join(", ");
                format!("Column({sums})")
            };
            let columns = (first..first + 4).map(column).collect::<Vec<_>>().join(", ");
            line(format!("    store_columns({start}, first_m, {columns});"));
            continue;
        }
        line(format!("    let start_{first} = {start};"));
        line("    for (var i = 0; i < BLOCK_M / 4; i += 1) {".into());
        for j in first..first + 4 {
            let sums = (1..vectors).fold(format!("sum_0_{j}"), |text, i| format!("select({text}, sum_{i}_{j}, i == {i})"));
            line(format!("        let four_{j} = {sums};"));
        }
        for (row, part) in ["x", "y", "z", "w"].into_iter().enumerate() {
            let sums = [0, 1, 2, 3].map(|j| format!("four_{}.{part}", first + j)).join(", ");
            line(format!("        store_row(vec4<f32>({sums}), first_m + 4 * i + {row}, start_{first});"));
        }
        line("    }".into());
    }
    if long {
        line("}\n".into());
        line("alias Column = array<Sums, BLOCK_M / 4>;\n".into());
        line(
            "fn store_columns(start: i32, first_m: i32, sums_0: Column, sums_1: Column, sums_2: Column, sums_3: Column) {".into(),
        );
        (0..4).for_each(|j| line(format!("    var column_{j} = sums_{j};")));
        line("    for (var i = 0; i < BLOCK_M; i += 1) {".into());
        let sums = [0, 1, 2, 3].map(|j| format!("column_{j}[i / 4][i % 4]")).join(", ");
        line(format!("        store_row(vec4<f32>({sums}), first_m + i, start);"));
        line("    }".into());
    }
    line("}\n".into());
    line("// A row of four columns.".into());
    line("fn store_row(sums: vec4<f32>, m: i32, start: i32) {".into());
    line("    if (start >= 0 && (WHOLE_M || m < g.group_out)) {".into());
    line("        store_4(sums, group * g.group_out + m, start + m * output_channel_step());".into());
    line("    }".into());
    line("}".into());
    text
}

/// The `name_j` of a variable `j` below `count`.
fn chosen(name: &str, count: u32) -> String {
    (1..count).fold(format!("{name}_0"), |text, j| format!("select({text}, {name}_{j}, j == {j})"))
}
