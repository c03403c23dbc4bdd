//! How a product through subgroup broadcasts ends: which columns a lane has, and the text that stores their sums.

use std::fmt::Write as _;

use super::SubgroupTile;
use super::subgroup::Reads;
use crate::kernel::Stores;
use crate::limits::{DeviceClass, DeviceLimits};

/// The column with this number of a lane, if they are no strip: a neighbour of those that are stored with it, or LANES from the next.
pub(super) fn column_at(stores: Stores, number: &str) -> String {
    match stores {
        Stores::One | Stores::Channels => format!("block_n * BLOCK_N + lane + {number} * LANES"),
        Stores::Columns => format!("block_n * BLOCK_N + lane * COLUMNS + {number}"),
    }
}

/// Columns of one store.
fn columns_of(stores: Stores) -> u32 {
    if stores == Stores::Columns { 4 } else { 1 }
}

/// What is stored of four rows, given the sums of a column: each store with the number of its first row.
fn stored(stores: Stores, fours: &[String]) -> Vec<(u32, String)> {
    let lanes = (0..).zip(["x", "y", "z", "w"]);
    match stores {
        Stores::One => lanes.map(|(row, lane)| (row, format!("{}.{lane}", fours[0]))).collect(),
        Stores::Channels => vec![(0, fours[0].clone())],
        Stores::Columns => lanes
            .map(|(row, lane)| (row, format!("vec4<f32>({})", listed(fours.iter().map(|four| format!("{four}.{lane}"))))))
            .collect(),
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
            DeviceClass::Software if !limits.loops_over_lanes => Self::Indexed,
            DeviceClass::Software => Self::Chosen,
        }
    }
}

/// What is done with the sums: `sum_{i}_{j}` are four of column `j`.
pub(super) fn ending(tile: &SubgroupTile, reads: &Reads, stores: Stores, found: Found) -> String {
    let place = |j: &str| match reads {
        Reads::Strip(_) => format!("strip_output(block_n * LANES + lane, {j})"),
        Reads::One | Reads::Four | Reads::FourColumns => format!("column_output({})", column_at(stores, j)),
    };
    let width = columns_of(stores);
    let mut text = String::from("    let first_m = block_m * BLOCK_M;\n");
    text += &match found {
        Found::Written => written(tile, stores, place),
        Found::Chosen => {
            let fours = |part: u32, i: u32| chosen("j", each(tile.thread_n, width), |j| format!("sum_{i}_{}", j + part));
            let parts = (0..width).flat_map(|part| (0..tile.block_m / 4).map(move |i| (part, i)));
            let choice =
                parts.map(|(part, i)| format!("        let sums_{i}_{part} = {};\n", fours(part, i))).collect::<String>();
            let column = chosen("j", each(tile.thread_n, width), |j| format!("column_{j}"));
            let four = |part: u32| chosen("i", each(tile.block_m, 4), |m| format!("sums_{}_{part}", m / 4));
            let row = |four: &str| chosen("m - i", 0..4, |row| format!("{four}.{}", ["x", "y", "z", "w"][row as usize]));
            looped(stores, &place("j"), &(choice + &format!("        let column = {column};\n")), four, row)
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
                looped(stores, &place("j"), "        let column = columns[j];\n", four, |four| format!("{four}[m - i]"))
            )
        }
    };
    let (parameter, store) = match stores {
        Stores::One => ("sum: Sum", "finish(sum, column, terms, "),
        Stores::Columns | Stores::Channels => ("sums: vec4<f32>", "store_4(sums, "),
    };
    text + &format!(
        "}}\n\n\
         // What is stored at once, of a row or from that on.\n\
         fn store_row({parameter}, m: i32, column: i32, terms: i32, start: i32) {{\n\
         \x20   if (WHOLE_M || m < g.group_out) {{\n\
         \x20       {store}group * g.group_out + m, start + m * output_channel_step());\n\
         \x20   }}\n\
         }}\n"
    )
}

/// The stores of each column, or of each four.
fn written(tile: &SubgroupTile, stores: Stores, place: impl Fn(&str) -> String) -> String {
    let width = columns_of(stores);
    let mut text = String::new();
    for j in each(tile.thread_n, width) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    let start_{j} = {};\n    if (start_{j} >= 0) {{", place(&j.to_string()));
        for i in 0..tile.block_m / 4 {
            let fours: Vec<String> = (0..width).map(|part| format!("sum_{i}_{}", j + part)).collect();
            for (row, sums) in stored(stores, &fours) {
                let m = 4 * i + row;
                let _ = writeln!(text, "        store_row({sums}, first_m + {m}, column_{j}, terms, start_{j});");
            }
        }
        text += "    }\n";
    }
    text
}

/// One store in loops over columns, or fours of them, and rows. What comes before the inner loops finds `column`, `four` the sums of four rows
/// from `i` on, and `row` those of row `m` among them.
fn looped(stores: Stores, start: &str, before: &str, four: impl Fn(u32) -> String, row: impl Fn(&str) -> String) -> String {
    let width = columns_of(stores);
    let names: Vec<String> = (0..width).map(|part| format!("four_{part}")).collect();
    let fours = (0..).zip(&names).map(|(part, name)| format!("            let {name} = {};\n", four(part))).collect::<String>();
    let store = |sums: &str, m: &str| format!("store_row({sums}, first_m + {m}, column, terms, start);\n");
    let rows = match stores {
        // Four numbers are stored one by one, and four rows of them are 16 stores: a loop again, whose end no compiler knows.
        Stores::Columns => {
            let sums = listed(names.iter().map(|name| row(name)));
            let store = store(&format!("vec4<f32>({sums})"), "m");
            format!("            for (var m = i; m < min(i + 4, rows); m += 1) {{\n                {store}            }}\n")
        }
        Stores::One | Stores::Channels => {
            let rows = stored(stores, &names).into_iter();
            rows.map(|(row, sums)| format!("            {}", store(&sums, &format!("i + {row}")))).collect()
        }
    };
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
