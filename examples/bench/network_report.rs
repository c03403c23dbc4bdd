//! The figures of networks, as a table for people and as JSON for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::network::{Figures, Slow, Throughput};
use crate::numbers::counted;
use crate::report::short;

const HEADS: [&str; 14] = [
    "nodes",
    "GFLOP",
    "weights MB",
    "values MB",
    "load ms",
    "cold ms",
    "cached ms",
    "warm ms",
    "run ms",
    "host us",
    "device ms",
    "GFLOP/s",
    "items/s",
    "at",
];

/// What the columns mean, for whoever sees the table first.
pub const LEGEND: &str = "\
nodes     as given>as run; weights and values: MB (1e6 bytes) on the device, values being the peak of intermediate ones
cold      opening the device, loading, preparing and a first run in a fresh process, the driver's cache on disk off
cached    the same with what wgpu's pipeline cache has kept in a file; - where the device has none
warm      the same with the driver's cache filled
run       a run at the batch of the model's inputs, 1 unless said below, submitted and waited for, inputs on the device
host      microseconds of the host to record a run, for each node as run, wgpu's own part included
at        what items/s is of: a batch of so many, or 8x1: eight runs of one submitted back to back and then waited for
error     the largest difference as a part of the largest number; right up to 0.001";

/// The width of the column of names.
pub struct Table {
    pub name: usize,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn gflops(figures: &Figures) -> f64 {
    figures.flop as f64 / figures.device.as_nanos().max(1) as f64
}

impl Table {
    pub fn header(&self) -> String {
        self.line("network", &HEADS.map(String::from)) + "     error"
    }

    /// A line of figures, and below it what else is to be said.
    pub fn row(&self, figures: &Figures) -> String {
        let Throughput { batch, runs, per_second, reason } = &figures.throughput;
        let columns = [
            format!("{}>{}", figures.nodes[0], figures.nodes[1]),
            short(figures.flop as f64 / 1e9),
            short(figures.weights as f64 / 1e6),
            short(figures.values as f64 / 1e6),
            short(ms(figures.load)),
            short(ms(figures.cold.total())),
            figures.cached.map_or("-".into(), |first| short(ms(first.total()))),
            short(ms(figures.warm.total())),
            short(ms(figures.latency)),
            figures.record.map_or("-".into(), |time| short(1e3 * ms(time))),
            short(ms(figures.device)),
            short(gflops(figures)),
            short(*per_second),
            if *runs == 1 { batch.to_string() } else { format!("{runs}x{batch}") },
        ];
        let mut text = self.line(&figures.name, &columns) + &format!("  {:>8}", short(figures.error));
        if !figures.is_right() {
            text += " WRONG";
        }
        let mut add = |line: String| text += &format!("\n{:<width$}  {line}", "", width = self.name);
        let slow = |Slow { node, algorithm, share }: &Slow| format!("{:.0} % {node} by {algorithm}", 100.0 * share);
        add(format!("slowest: {}", figures.slowest.iter().map(slow).collect::<Vec<_>>().join("; ")));
        if figures.batch > 1 {
            add(format!("a run is of {} items, as the model's inputs are", figures.batch));
        }
        reason.iter().for_each(|reason| add(format!("throughput: {reason}")));
        if figures.host_nodes > 0 {
            add(format!("{} computed by the host", counted(figures.host_nodes, "node is", "nodes are")));
        }
        if !figures.resident {
            add("inputs that are not floats are copied from the host in each run".into());
        }
        if !figures.timestamps {
            add("the device has no timestamps: device ms is of waiting for each step".into());
        }
        add(format!("judged by {}", figures.judged_by));
        text
    }

    /// A network that was not measured.
    pub fn note(&self, name: &str, text: &str) -> String {
        format!("{name:<width$}  {text}", width = self.name)
    }

    fn line(&self, name: &str, columns: &[String; 14]) -> String {
        let numbers: String =
            HEADS.iter().zip(columns).map(|(head, column)| format!("  {column:>w$}", w = head.len().max(7))).collect();
        format!("{name:<width$}{numbers}", width = self.name)
    }
}

/// `{NAME: {..}}`; times in milliseconds, sizes in bytes.
pub fn json(list: &[Figures]) -> Value {
    let one = |figures: &Figures| {
        let Throughput { batch, runs, per_second, reason } = &figures.throughput;
        let slow = |Slow { node, algorithm, share }: &Slow| json!({"node": node, "algorithm": algorithm, "share": share});
        json!({
            "nodes_given": figures.nodes[0],
            "nodes_run": figures.nodes[1],
            "host_nodes": figures.host_nodes,
            "load_ms": ms(figures.load),
            "prepare_ms": ms(figures.prepare),
            "first_cold": figures.cold.json(),
            "first_cached": figures.cached.map(|first| first.json()),
            "first_warm": figures.warm.json(),
            "batch": figures.batch,
            "inputs_on_device": figures.resident,
            "latency_ms": ms(figures.latency),
            "rounds": figures.rounds,
            "record_us_per_node": figures.record.map(|time| 1e3 * ms(time)),
            "device_ms": ms(figures.device),
            "timestamps": figures.timestamps,
            "throughput": {"per_second": per_second, "batch": batch, "runs": runs, "reason": reason},
            "gflop": figures.flop as f64 / 1e9,
            "gflops": gflops(figures),
            "weight_bytes": figures.weights,
            "peak_value_bytes": figures.values,
            "slowest": figures.slowest.iter().map(slow).collect::<Vec<_>>(),
            "error": figures.error,
            "judged_by": figures.judged_by,
            "right": figures.is_right(),
        })
    };
    let mut map = Map::new();
    for figures in list {
        // Two files may have one name.
        let mut name = figures.name.clone();
        for number in 2.. {
            if !map.contains_key(&name) {
                break;
            }
            name = format!("{} #{number}", figures.name);
        }
        map.insert(name, one(figures));
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::first::First;

    fn figures() -> Figures {
        let [engine, load, prepare, run] = [1, 2, 3, 4].map(Duration::from_millis);
        let first = First { engine, load, prepare, run };
        Figures {
            name: "net".into(),
            nodes: [9, 4],
            host_nodes: 0,
            load,
            prepare,
            cold: first,
            cached: None,
            warm: first,
            batch: 1,
            resident: true,
            latency: Duration::from_millis(5),
            rounds: 3,
            record: Some(Duration::from_micros(2)),
            device: Duration::from_millis(4),
            timestamps: true,
            throughput: Throughput { batch: 1, runs: 8, per_second: 200.0, reason: Some("the batch is fixed".into()) },
            flop: 8_000_000,
            weights: 1_000,
            values: 2_000,
            slowest: vec![Slow { node: "Conv `a`".into(), algorithm: "direct".into(), share: 0.5 }],
            error: 1e-6,
            judged_by: "test_data_set_0",
        }
    }

    #[test]
    fn columns_stay_under_their_heads() {
        let table = Table { name: 12 };
        let row = table.row(&figures());
        let lines: Vec<&str> = row.lines().collect();
        assert_eq!(lines[0].len(), table.header().len());
        assert!(lines[0].contains(" 8x1 ") && lines[1].contains("50 % Conv `a` by direct"), "{row}");
        let wrong = Figures { error: 0.1, ..figures() };
        assert!(table.row(&wrong).contains(" WRONG"));
    }

    #[test]
    fn the_json_has_a_key_for_each_network() {
        let value = json(&[figures(), figures()]);
        assert_eq!(value["net"]["first_cold"]["ms"], 10.0);
        assert_eq!(value["net #2"]["gflops"], 2.0);
    }
}
