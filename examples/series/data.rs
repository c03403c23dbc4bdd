//! The sunspot numbers, what was measured when the model was trained, and the model: compiled in, so that the program needs no file.

use serde_json::Value as Json;
use wgconv::safetensors;

use crate::Result;

/// The trained network; source and licence: `examples/data/series/NOTICE`.
pub const MODEL: &[u8] = include_bytes!("../data/series/tcn.onnx");
const NUMBERS: &str = include_str!("../data/series/sunspots.csv");
const INFO: &str = include_str!("../data/series/info.json");
const TEST: &[u8] = include_bytes!("../data/series/tcn_test.safetensors");

/// A number for each year, without gaps.
pub struct Series {
    /// The year of the first.
    pub first: i32,
    pub values: Vec<f64>,
}

/// What was measured in PyTorch.
pub struct Stated {
    /// The first test year and the last; the model has not seen them in training.
    pub test_years: (i32, i32),
    /// Root of the mean square error over the test years.
    pub test_rmse: f64,
    pub persistence_rmse: f64,
    pub cycle_rmse: f64,
    /// PyTorch's predictions for the test years in float64, scaled as the network's outputs are.
    pub predictions: Vec<f64>,
}

impl Series {
    pub fn load() -> Result<Self> {
        let mut series = Self { first: 0, values: Vec::new() };
        for (number, line) in NUMBERS.lines().enumerate().skip(1) {
            let broken = || format!("sunspots.csv: line {} is not a year and a number: {line}", number + 1);
            let (year, value) = line.split_once(',').ok_or_else(broken)?;
            let (year, value): (i32, f64) =
                (year.trim().parse().map_err(|_| broken())?, value.trim().parse().map_err(|_| broken())?);
            if series.values.is_empty() {
                series.first = year;
            }
            if series.year(series.values.len()) != year {
                return Err(format!("sunspots.csv: line {} is not the next year: {line}", number + 1).into());
            }
            series.values.push(value);
        }
        Ok(series)
    }

    pub fn year(&self, index: usize) -> i32 {
        self.first + index as i32
    }

    /// The years with their indices.
    pub fn years(&self) -> impl DoubleEndedIterator<Item = (usize, i32)> {
        (0..self.values.len()).map(|index| (index, self.year(index)))
    }
}

/// What the network takes: `sunspots/100 - 0.5`.
pub fn scaled(number: f64) -> f32 {
    (number / 100.0 - 0.5) as f32
}

/// What the network's outputs mean.
pub fn unscaled(output: f32) -> f64 {
    (f64::from(output) + 0.5) * 100.0
}

impl Stated {
    pub fn load() -> Result<Self> {
        let info: Json = serde_json::from_str(INFO).map_err(|error| format!("info.json: {error}"))?;
        let number = |name: &str| info.get(name).and_then(Json::as_f64).ok_or_else(|| format!("info.json: {name} is no number"));
        let years = info.get("test_years").and_then(Json::as_str).and_then(|years| years.split_once('-'));
        let years = years.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        Ok(Self {
            test_years: years.ok_or("info.json: test_years is not FIRST-LAST")?,
            test_rmse: number("test_rmse")?,
            persistence_rmse: number("baseline_persistence_rmse")?,
            cycle_rmse: number("baseline_11_years_ago_rmse")?,
            predictions: predictions()?,
        })
    }
}

/// The last output of each window.
fn predictions() -> Result<Vec<f64>> {
    let broken = |what: String| format!("tcn_test.safetensors: {what}");
    let file = safetensors::read(TEST).map_err(|error| broken(error.to_string()))?;
    let tensor = file.tensor("output_f64").map_err(|error| broken(error.to_string()))?;
    let &[_, 1, window] = tensor.shape() else { return Err(broken(format!("output_f64 is {tensor}")).into()) };
    let all = tensor.to_f64();
    Ok(all.chunks(window).filter_map(|window| window.last().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_has_every_year_and_the_test_years_are_in_it() {
        let (series, stated) = (Series::load().expect("bundled file"), Stated::load().expect("bundled file"));
        assert_eq!((series.first, series.values.len()), (1700, 309));
        let (first, last) = stated.test_years;
        assert_eq!((last, stated.predictions.len()), (series.year(308), (last - first + 1) as usize));
        assert!((unscaled(scaled(154.6)) - 154.6).abs() < 1e-4);
    }
}
