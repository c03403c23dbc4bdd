//! What the program prints: digits as blocks of characters, the table of layers, progress. No colours but red for a wrong reading,
//! and that only on a terminal: the output reads the same in a file.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::data::{Cells, Digit, FULL, SIDE};
use crate::reading::Reading;

/// Paper to ink. Two characters make one cell, so that it is about square.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Characters of one digit.
const ART_WIDTH: usize = 2 * SIDE;
/// Digits side by side, to fit 80 characters with gaps of 3.
const DIGITS_PER_LINE: usize = 4;

/// One layer in the table.
pub struct Row {
    pub layer: &'static str,
    /// The problem line.
    pub problem: String,
    /// The algorithm with its tile.
    pub algorithm: String,
    /// Workgroups of each dispatch.
    pub grid: String,
    /// Floating-point operations, two for each multiply-add.
    pub flop: u64,
    pub time: Duration,
    pub clock: Clock,
}

/// What a time was measured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clock {
    /// The device's own timestamps around the kernels.
    Device,
    /// The host's clock, waiting included.
    Wall,
}

/// The rows of a digit, each [`ART_WIDTH`] characters.
fn art(cells: &Cells) -> impl Iterator<Item = String> {
    let shade = |cell: u8| SHADES[(usize::from(cell.min(FULL)) * (SHADES.len() - 1) + 8) / usize::from(FULL)];
    cells.chunks(SIDE).map(move |row| row.iter().flat_map(|&cell| [shade(cell); 2]).collect())
}

/// Red on a terminal whose user has not asked for none (no-color.org).
fn red(text: &str) -> String {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if colours { format!("\x1b[1;31m{text}\x1b[0m") } else { text.to_owned() }
}

/// Test digits side by side, each with its name, its reading, and its label.
pub fn gallery<'a>(digits: impl Iterator<Item = (&'a Digit, &'a Reading)>) -> String {
    let mut text = String::new();
    let digits: Vec<_> = digits.collect();
    for line in digits.chunks(DIGITS_PER_LINE) {
        let column = |text: String| format!("{text:<ART_WIDTH$}");
        let mut rows = vec![Vec::new(); SIDE + 2];
        for (digit, reading) in line {
            for (row, art) in rows.iter_mut().zip(art(&digit.cells)) {
                row.push(art);
            }
            let label = digit.label.map_or(String::new(), |label| format!(", label {label}"));
            rows[SIDE].push(column(format!("{}{label}", digit.name)));
            let verdict = column(format!("read as {}{}", reading.class(), if reading.is_wrong(digit) { "  WRONG" } else { "" }));
            rows[SIDE + 1].push(if reading.is_wrong(digit) { red(&verdict) } else { verdict });
        }
        for row in rows {
            let _ = writeln!(text, "{}", format!("  {}", row.join("   ")).trim_end());
        }
        text.push('\n');
    }
    text
}

/// One of the user's pictures as the network saw it, beside the three likeliest readings.
pub fn portrait(digit: &Digit, reading: &Reading) -> String {
    let mut text = format!("  {}\n", digit.name);
    for (row, art) in art(&digit.cells).enumerate() {
        // The readings stand in rows 2 to 4, about half way up.
        let ranked = row.checked_sub(2).and_then(|rank| reading.ranked()[..3].get(rank)).map_or(String::new(), |(class, p)| {
            let bar = "█".repeat((p * 30.0).round() as usize);
            format!("      {class}  {:5.1} %  {bar}", 100.0 * p)
        });
        let _ = writeln!(text, "{}", format!("  {art}{ranked}").trim_end());
    }
    text
}

/// A duration with the unit that suits it.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        1e-3.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.1} us", seconds * 1e6),
    }
}

/// The layers, one line each, and their sum.
pub fn table(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let rate = row.flop as f64 / row.time.as_secs_f64().max(1e-9) / 1e9;
        let numbers = [format!("{:.2}", row.flop as f64 / 1e6), time(row.time), format!("{rate:.2}")];
        let [flop, time, rate] = numbers;
        [row.layer.to_owned(), row.problem.clone(), row.algorithm.clone(), row.grid.clone(), flop, time, rate]
    };
    let mut lines = vec![["layer", "problem", "algorithm", "grid", "MFLOP", "time", "GFLOP/s"].map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let (flop, total) = (rows.iter().map(|row| row.flop).sum::<u64>(), rows.iter().map(|row| row.time).sum::<Duration>());
    let mut sum: [String; 7] = Default::default();
    (sum[0], sum[4], sum[5]) = ("all".into(), format!("{:.2}", flop as f64 / 1e6), time(total));
    lines.push(sum);
    let widths: [usize; 7] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate();
        let padded = cells.map(|(column, (cell, width))| match column {
            0..4 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "  {}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// Progress over a known number of digits. Like all progress it goes to stderr, and only where that is a terminal.
pub fn bar(what: &'static str, digits: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} digits").expect("the template is constant and valid");
    ProgressBar::new(digits as u64).with_style(style).with_message(what)
}

/// Progress of unknown length.
pub fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
