//! Every layer of a list by its chosen algorithms or by all, and every network: measured, judged, listed as it comes.

use std::fmt::Display;
use std::path::PathBuf;

use indicatif::ProgressBar;
use wgconv::{Algorithm, Engine};

use crate::case::Case;
use crate::choice::Choice;
use crate::layers::Layer;
use crate::network::{self, Figures, Settings};
use crate::regret::{self, Regret};
use crate::report::{Row, Table};
use crate::roofline::{Ceilings, Speed};
use crate::{Arguments, measure, model, network_report, say};

/// What all that is measured has in common.
pub struct Bench<'a> {
    pub engine: &'a Engine,
    pub args: &'a Arguments,
    pub ceilings: Ceilings,
    pub bar: ProgressBar,
}

impl Bench<'_> {
    /// Every layer by every chosen algorithm; whether all of it is right.
    pub fn layers(&self, layers: &[Layer], rows: &mut Vec<Row>) -> bool {
        let choice = self.args.algorithm.as_ref().unwrap_or(&Choice::Best);
        let chosen: Vec<_> = layers.iter().map(|layer| choice.algorithms(self.engine, &layer.problem)).collect();
        let lists = || chosen.iter().flatten();
        let table = Table {
            layer: width(layers.iter().map(|layer| layer.name.as_str())),
            algorithm: lists().flatten().map(|algorithm| algorithm.to_string().len()).max().unwrap_or(0).max(9),
        };
        self.bar.set_length(lists().map(Vec::len).sum::<usize>() as u64);
        self.say(table.header());
        let mut right = true;
        for (layer, algorithms) in layers.iter().zip(&chosen) {
            match algorithms {
                // Not every layer has to have the family that was asked for; but some should.
                Err(reason) => self.say(table.note(&layer.name, &format!("skipped: {reason}"))),
                Ok(algorithms) => right &= self.measure(layer, algorithms, &table, rows),
            }
        }
        if rows.is_empty() {
            self.say("nothing was measured");
        }
        right && !rows.is_empty()
    }

    /// Every layer by all of its candidates; whether all of it is right.
    pub fn regrets(&self, layers: &[Layer], regrets: &mut Vec<Regret>) -> bool {
        let table = regret::Table { layer: width(layers.iter().map(|layer| layer.name.as_str())) };
        self.bar.set_length(layers.len() as u64);
        self.say(table.header());
        let mut right = true;
        for layer in layers {
            let stage = |text: &str| self.stage(&layer.name, text);
            stage("computing the reference");
            let case = Case::new(&layer.problem, self.args.seed).map_err(|error| error.to_string());
            match case.and_then(|case| regret::measure(self.engine, &layer.name, &case, self.args.seconds, &stage)) {
                Ok(regret) => {
                    right &= regret.wrong.is_empty();
                    self.say(table.row(&regret));
                    regrets.push(regret);
                }
                Err(error) => {
                    right = false;
                    self.say(table.note(&layer.name, &format!("FAILED: {error}")));
                }
            }
            self.bar.inc(1);
        }
        self.say(regret::conclusion(regrets));
        right
    }

    /// Every network; whether all of them ran and gave the right answer.
    pub fn networks(&self, paths: &[PathBuf], follows: bool, list: &mut Vec<Figures>) -> bool {
        if paths.is_empty() {
            return true;
        }
        let table = network_report::Table { name: width(paths.iter().map(|path| model::name(path))) };
        let adapter = self.args.adapter.as_deref();
        let settings = Settings { engine: self.engine, adapter, seed: self.args.seed, budget: self.args.seconds };
        self.bar.set_position(0);
        self.bar.set_length(paths.len() as u64);
        self.say(format!("{}{}", if follows { "\n" } else { "" }, table.header()));
        let mut right = true;
        for path in paths {
            let name = model::name(path);
            match network::measure(&settings, path, &|text| self.stage(&name, text)) {
                Ok(figures) => {
                    right &= figures.is_right();
                    self.say(table.row(&figures));
                    list.push(figures);
                }
                Err(error) => {
                    right = false;
                    self.say(table.note(&name, &format!("FAILED: {error}")));
                }
            }
            self.bar.inc(1);
        }
        if !list.is_empty() {
            self.say(format!("\n{}", network_report::LEGEND));
        }
        right
    }

    /// One layer; whether its answers are right.
    fn measure(&self, layer: &Layer, algorithms: &[Algorithm], table: &Table, rows: &mut Vec<Row>) -> bool {
        self.bar.set_message(format!("{}: computing the reference", layer.name));
        self.bar.tick();
        let failed = |error: wgconv::Error| self.say(table.note(&layer.name, &format!("FAILED: {error}")));
        let case = match Case::new(&layer.problem, self.args.seed) {
            Ok(case) => case,
            Err(error) => {
                failed(error);
                return false;
            }
        };
        let mut right = true;
        for algorithm in algorithms {
            self.bar.set_message(format!("{} by {algorithm}", layer.name));
            self.bar.tick();
            match measure::measure(self.engine, &case, algorithm, self.args.seconds) {
                Err(error) => {
                    failed(error);
                    right = false;
                }
                Ok(measurement) => {
                    let dtype = layer.problem.input.dtype();
                    let speed = Speed::new(&measurement.work, measurement.time(), dtype, &self.ceilings);
                    right &= measurement.is_right();
                    let row = Row { layer: layer.name.clone(), label: layer.label.clone(), dtype, measurement, speed };
                    self.say(table.row(&row));
                    rows.push(row);
                }
            }
            self.bar.inc(1);
        }
        right
    }

    fn stage(&self, name: &str, text: &str) {
        self.bar.set_message(format!("{name}: {text}"));
        self.bar.tick();
    }

    fn say(&self, text: impl Display) {
        self.bar.suspend(|| say(text));
    }
}

/// The most characters of a name, at least those of the column's head.
fn width<T: AsRef<str>>(names: impl Iterator<Item = T>) -> usize {
    names.map(|name| name.as_ref().chars().count()).max().unwrap_or(0).max("network".len())
}
