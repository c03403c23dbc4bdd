//! What was measured, as a table for people and as JSON for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};
use wgconv::{AdapterSummary, DType};

use crate::measure::Measurement;
use crate::roofline::{Ceilings, Speed};

/// A layer by one algorithm.
pub struct Row {
    pub layer: String,
    /// What the plot calls it.
    pub label: String,
    pub dtype: DType,
    pub measurement: Measurement,
    pub speed: Speed,
}

impl Row {
    /// FLOP for each byte.
    pub fn intensity(&self) -> f64 {
        self.measurement.work.intensity()
    }
}

/// The widths of the columns with names.
pub struct Table {
    pub layer: usize,
    pub algorithm: usize,
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// About three digits, whatever the size.
pub fn short(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".into(),
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value if value >= 0.9995 => format!("{value:.2}"),
        0.0 => "0".into(),
        value if value >= 0.0001 => format!("{value:.4}"),
        value => format!("{value:.1e}"),
    }
}

/// The device's limits in one line.
pub fn ceilings(ceilings: &Ceilings) -> String {
    let Ceilings { fma_f32, fma_f16, copy, dispatch, run } = ceilings;
    let half = fma_f16.map(|rate| format!(", {} in f16", short(rate / 1e9))).unwrap_or_default();
    format!(
        "{} GFLOP/s of FMA in f32{half}; {} GB/s copied; {} us an empty dispatch, {} us to submit one and wait",
        short(fma_f32 / 1e9),
        short(copy / 1e9),
        short(dispatch.as_secs_f64() * 1e6),
        short(run.as_secs_f64() * 1e6)
    )
}

impl Table {
    pub fn header(&self) -> String {
        let columns = ["device ms", "wall ms", "GFLOP/s", "GB/s", "% roof", "error", "first ms", "rounds"];
        self.line("layer", "algorithm", &columns.map(String::from))
    }

    pub fn row(&self, row: &Row) -> String {
        let Row { layer, measurement, speed, .. } = row;
        let error = if measurement.is_right() { "" } else { " WRONG" };
        let columns = [
            measurement.device.map_or("-".into(), |time| short(milliseconds(time))),
            short(milliseconds(measurement.wall)),
            short(speed.flops / 1e9),
            short(speed.bytes / 1e9),
            short(100.0 * speed.share),
            short(measurement.error),
            short(milliseconds(measurement.first)),
            measurement.rounds.to_string(),
        ];
        self.line(layer, &measurement.algorithm.to_string(), &columns) + error
    }

    /// A layer that was not measured.
    pub fn note(&self, layer: &str, text: &str) -> String {
        format!("{layer:<width$}  {text}", width = self.layer)
    }

    fn line(&self, layer: &str, algorithm: &str, columns: &[String; 8]) -> String {
        let numbers: String = columns.iter().map(|column| format!("  {column:>9}")).collect();
        format!("{layer:<first$}  {algorithm:<second$}{numbers}", first = self.layer, second = self.algorithm)
    }
}

/// Whether this is the fastest right answer of its layer: the one that a plot labels, and that has the layer's name in the JSON.
pub fn is_fastest(row: &Row, rows: &[Row]) -> bool {
    let key = |row: &Row| (!row.measurement.is_right(), row.measurement.time());
    let same = rows.iter().filter(|other| other.layer == row.layer);
    same.min_by_key(|other| key(other)).is_some_and(|best| std::ptr::eq(best, row))
}

/// `{"device": .., "ceilings": {..}, "layers": {NAME: {..}}}`. Where several algorithms were measured, the fastest right one has the
/// layer's name and the others are called `NAME by ALGORITHM`. What is infinite or was not measured is `null`.
pub fn json(adapter: &AdapterSummary, ceilings: &Ceilings, rows: &[Row]) -> Value {
    let mut layers = Map::new();
    for row in rows {
        let Row { layer, measurement, speed, .. } = row;
        let best = is_fastest(row, rows);
        let name = if best { layer.clone() } else { format!("{layer} by {}", measurement.algorithm) };
        let value = json!({
            "algorithm": measurement.algorithm.to_string(),
            "device_ms": measurement.device.map(milliseconds),
            "wall_ms": milliseconds(measurement.wall),
            "gflops": speed.flops / 1e9,
            "gbs": speed.bytes / 1e9,
            "error": measurement.error,
        });
        layers.insert(name, value);
    }
    json!({
        "device": adapter.to_string(),
        "ceilings": {
            "fma_f32_gflops": ceilings.fma_f32 / 1e9,
            "fma_f16_gflops": ceilings.fma_f16.map(|rate| rate / 1e9),
            "copy_gbs": ceilings.copy / 1e9,
            "empty_dispatch_us": ceilings.dispatch.as_secs_f64() * 1e6,
            "empty_run_us": ceilings.run.as_secs_f64() * 1e6,
        },
        "layers": layers,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use wgconv::{DeviceClass, Work};

    use super::*;
    use crate::roofline::tests::CEILINGS;

    fn row_of(layer: &str, algorithm: &str, work: Work, time: Duration) -> Row {
        let measurement = Measurement {
            algorithm: algorithm.parse().expect("the test's own algorithm"),
            work,
            device: Some(time),
            wall: 2 * time,
            first: 100 * time,
            rounds: 5,
            error: 0.0,
        };
        let speed = Speed::new(&work, time, DType::F32, &CEILINGS);
        Row { layer: layer.into(), label: layer.into(), dtype: DType::F32, speed, measurement }
    }

    /// A layer of so many operations and a megabyte.
    pub fn work_row(layer: &str, flop: u64, milliseconds: u64, error: f64) -> Row {
        let mut row = row_of(layer, "direct", Work { flop, bytes: 1_000_000 }, Duration::from_millis(milliseconds));
        row.measurement.error = error;
        row
    }

    fn row(layer: &str, algorithm: &str, milliseconds: u64, error: f64) -> Row {
        let work = Work { flop: 8_000_000, bytes: 2_000_000 };
        let mut row = row_of(layer, algorithm, work, Duration::from_millis(milliseconds));
        row.measurement.error = error;
        row
    }

    #[test]
    fn the_json_has_the_form_that_was_agreed() {
        let adapter =
            AdapterSummary { name: "A".into(), backend: "Vulkan".into(), driver: "1.2".into(), class: DeviceClass::Software };
        let mut rows = [row("a", "direct", 1, f64::INFINITY), row("a", "gemm(64x64x16,8x4)", 2, 0.5), row("b", "pool", 4, 0.0)];
        rows[2].measurement.device = None;
        let value = json(&adapter, &CEILINGS, &rows);
        let one = json!({
            "algorithm": "gemm(64x64x16,8x4)", "device_ms": 2.0, "wall_ms": 4.0, "gflops": 4.0, "gbs": 1.0, "error": 0.5,
        });
        assert_eq!(value["device"], "A (software, Vulkan, 1.2)");
        assert_eq!(value["ceilings"]["copy_gbs"], 10.0);
        assert_eq!(value["layers"]["a"], one);
        assert_eq!(value["layers"]["a by direct"]["error"], Value::Null);
        assert_eq!(value["layers"]["b"]["device_ms"], Value::Null);
        assert_eq!(value["layers"].as_object().map(Map::len), Some(3));
    }

    #[test]
    fn a_wrong_answer_is_marked_and_columns_stay_under_their_heads() {
        let table = Table { layer: 8, algorithm: 20 };
        let (right, wrong) = (table.row(&row("a", "direct", 1, 0.25)), table.row(&row("a", "direct", 1, 3.0)));
        assert_eq!(right.len(), table.header().len());
        assert_eq!(wrong.strip_suffix(" WRONG").map(str::len), Some(right.len()));
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (12345.6, "12346"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.9999, "1.00"),
            (0.012345, "0.0123"),
            (0.0, "0"),
            (2e-6, "2.0e-6"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(short(f64::INFINITY), "-");
    }
}
