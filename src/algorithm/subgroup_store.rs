//! How a product through subgroup broadcasts ends: which columns a lane has, and the text that stores their sums.

use std::fmt::Write as _;

use super::SubgroupTile;
use super::subgroup::Reads;
use crate::limits::{DeviceClass, DeviceLimits};

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

    /// Columns of one store.
    fn width(self) -> u32 {
        match self {
            Columns::Apart => 1,
            Columns::Neighbours => 4,
        }
    }

    /// The sums of a row of them.
    fn row(self, sum: impl Fn(u32) -> String) -> String {
        match self {
            Columns::Apart => sum(0),
            Columns::Neighbours => format!("vec4<f32>({})", listed((0..4).map(sum))),
        }
    }
}

/// How a store comes to its sums.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Each sum, or each four of neighbours, has a store of its own, which is an instruction on a GPU.
    Written,
    /// One store in loops, its sums chosen from all by the loops' numbers. A store is a long text on devices that store lane by lane, and
    /// the loops' ends are none that a compiler knows, which would write it out again: written out, kernels take seven times as long to
    /// compile on Mesa 22.3.6, and are no faster.
    Chosen,
    /// The same, from an array. By choosing Mesa 25.0.7 copies all sums in each turn of the loop before, which then takes half as long
    /// again; Mesa 22.3.6 stores what makes up an array lane by lane, and takes as long to compile as with all stores written out.
    Indexed,
}

impl Found {
    /// What suits a device.
    pub fn on(limits: &DeviceLimits) -> Self {
        match limits.class {
            DeviceClass::Integrated | DeviceClass::Discrete => Self::Written,
            DeviceClass::Software if limits.indexed_arrays => Self::Indexed,
            DeviceClass::Software => Self::Chosen,
        }
    }
}

/// What is done with the sums: `sum_{i}_{j}` are four of column `j`.
pub(super) fn ending(tile: &SubgroupTile, reads: &Reads, columns: Columns, found: Found) -> String {
    let place = |j: &str| match reads {
        Reads::Strip(_) => format!("strip_output(block_n * LANES + lane, {j})"),
        Reads::One | Reads::Four => format!("column_output({})", columns.at(j)),
    };
    let mut text = String::from("    let first_m = block_m * BLOCK_M;\n    let terms = (tiles.y - tiles.x) * BLOCK_K;\n");
    text += &match found {
        Found::Written => written(tile, columns, place),
        Found::Chosen => {
            let fours =
                |part: u32, i: u32| chosen("j", each(tile.thread_n, columns.width()), |j| format!("sum_{i}_{}", j + part));
            let parts = (0..columns.width()).flat_map(|part| (0..tile.block_m / 4).map(move |i| (part, i)));
            let choice =
                parts.map(|(part, i)| format!("        let sums_{i}_{part} = {};\n", fours(part, i))).collect::<String>();
            let column = chosen("j", each(tile.thread_n, columns.width()), |j| format!("column_{j}"));
            let four = |part: u32| chosen("i", each(tile.block_m, 4), |m| format!("sums_{}_{part}", m / 4));
            looped(columns, &place("j"), &(choice + &format!("        let column = {column};\n")), four)
        }
        Found::Indexed => {
            let terms = listed((0..tile.thread_n).map(|j| format!("column_{j}")));
            let sums = listed((0..tile.thread_n).flat_map(|j| (0..tile.block_m / 4).map(move |i| format!("sum_{i}_{j}"))));
            let four = |part: u32| format!("sums[(j + {part}) * (BLOCK_M / 4) + i / 4]");
            format!(
                "    store_sums(lane, first_m, terms, Terms({terms}), AllSums({sums}));\n}}\n\n\
                 alias Terms = array<i32, COLUMNS>;\n\
                 alias AllSums = array<Sums, COLUMNS * BLOCK_M / 4>;\n\n\
                 fn store_sums(lane: i32, first_m: i32, terms: i32, all_terms: Terms, all_sums: AllSums) {{\n\
                 \x20   var columns = all_terms;\n\
                 \x20   var sums = all_sums;\n\
                 {}",
                looped(columns, &place("j"), "        let column = columns[j];\n", four)
            )
        }
    };
    let (parameters, store) = match columns {
        Columns::Apart => ("sum: Sum, m: i32, column: i32, terms: i32, start: i32", "finish(sum, column, terms, "),
        Columns::Neighbours => ("sums: vec4<f32>, m: i32, column: i32, terms: i32, start: i32", "store_4(sums, "),
    };
    text + &format!(
        "}}\n\n\
         // A row of the columns that are stored at once.\n\
         fn store_row({parameters}) {{\n\
         \x20   if (WHOLE_M || m < g.group_out) {{\n\
         \x20       {store}group * g.group_out + m, start + m * output_channel_step());\n\
         \x20   }}\n\
         }}\n"
    )
}

/// A store for each row of each column, or of each four.
fn written(tile: &SubgroupTile, columns: Columns, place: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for j in each(tile.thread_n, columns.width()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    let start_{j} = {};\n    if (start_{j} >= 0) {{", place(&j.to_string()));
        for (m, element) in (0..tile.block_m).zip(["x", "y", "z", "w"].into_iter().cycle()) {
            let row = columns.row(|part| format!("sum_{}_{}.{element}", m / 4, j + part));
            let _ = writeln!(text, "        store_row({row}, first_m + {m}, column_{j}, terms, start_{j});");
        }
        text += "    }\n";
    }
    text
}

/// One store in loops over columns, or fours of them, and rows. What comes before the inner loop finds `column`, and `four` the sums of
/// four rows.
fn looped(columns: Columns, start: &str, before: &str, four: impl Fn(u32) -> String) -> String {
    let width = columns.width();
    let fours = (0..width).map(|part| format!("            let four_{part} = {};\n", four(part))).collect::<String>();
    let rows = ["x", "y", "z", "w"].into_iter().enumerate().map(|(row, element)| {
        let sums = columns.row(|part| format!("four_{part}.{element}"));
        format!("            store_row({sums}, first_m + i + {row}, column, terms, start);\n")
    });
    let rows = rows.collect::<String>();
    format!(
        "    for (var j = 0; j < COLUMNS; j += {width}) {{\n\
         \x20       let start = {start};\n\
         {before}\
         \x20       let rows = select(0, min(BLOCK_M, g.group_out - first_m), start >= 0);\n\
         \x20       for (var i = 0; i < rows; i += 4) {{\n\
         {fours}{rows}\
         \x20       }}\n\
         \x20   }}\n"
    )
}

/// Every `step`th number below `count`.
fn each(count: u32, step: u32) -> impl Iterator<Item = u32> {
    (0..count).step_by(step as usize)
}

/// What belongs to the number in a variable, one of these of which the first is 0.
fn chosen(variable: &str, numbers: impl Iterator<Item = u32>, name: impl Fn(u32) -> String) -> String {
    numbers.skip(1).fold(name(0), |text, number| format!("select({text}, {}, {variable} == {number})", name(number)))
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
