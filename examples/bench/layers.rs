//! The layers to measure: from files of JSON, as `shared/bench/layers.json` is one, and from problem lines.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wgconv::{DType, Geometry, Layout, Problem};

use crate::config::{self, Defaults};
use crate::json::{Fields, Refused, items};

/// A layer under the name that the table and the JSON have for it.
#[derive(Debug, PartialEq)]
pub struct Layer {
    pub name: String,
    /// What the plot calls it: there is less room.
    pub label: String,
    pub problem: Problem,
}

/// The layers of the files, `-` for the standard input, and of further problem lines; all with this element type and layout, where one
/// is given.
///
/// # Errors
/// A text that names the place, where a file cannot be read, or what stands there is not a layer.
pub fn read(files: &[PathBuf], lines: &[String], dtype: Option<DType>, layout: Option<Layout>) -> Result<Vec<Layer>, String> {
    let mut layers = Vec::new();
    for file in files {
        let about = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        layers.extend(parse(&text(file).map_err(|error| about(&error))?).map_err(|error| about(&error))?);
    }
    for line in lines {
        layers.push(of_line(line, "").map_err(|error| format!("--line: {error}"))?);
    }
    for layer in &mut layers {
        if let Some(dtype) = dtype {
            layer.problem = layer.problem.with_dtype(dtype);
        }
        if let Some(layout) = layout {
            layer.problem = layer.problem.with_layout(layout);
        }
    }
    number_namesakes(&mut layers);
    Ok(layers)
}

fn text(file: &Path) -> std::io::Result<String> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map(|_| text)
}

/// JSON where it begins as JSON does, else problem lines, in which a `#` begins a comment; one behind a line is the layer's label.
fn parse(text: &str) -> Result<Vec<Layer>, String> {
    if text.trim_start().starts_with(['{', '[']) {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return of_json(&value);
    }
    let parts = text.lines().map(|line| line.split_once('#').unwrap_or((line, "")));
    let lines = (1..).zip(parts).filter(|(_, (line, _))| !line.trim().is_empty());
    lines.map(|(number, (line, label))| of_line(line, label.trim()).map_err(|error| format!("line {number}: {error}"))).collect()
}

/// A line and what it is called, which may be nothing.
fn of_line(line: &str, label: &str) -> wgconv::Result<Layer> {
    let problem: Problem = line.parse()?;
    Geometry::new(&problem)?;
    let name = problem.to_string();
    // What f32 layers have behind that is of no weight in a plot.
    let label = if label.is_empty() { name.split(" f32").next().unwrap_or_default() } else { label };
    Ok(Layer { label: label.into(), name, problem })
}

fn of_json(value: &Value) -> Result<Vec<Layer>, String> {
    let list = value.get("layers").ok_or("is JSON, but not an object with a list called layers")?;
    let list = items("layers", list).map_err(|refused| refused.to_string())?;
    let layer = |(number, value): (usize, &Value)| {
        let name = value.get("name").and_then(Value::as_str);
        let place = name.map_or_else(|| format!("layers[{number}]"), String::from);
        config_layer(value, name).map_err(|refused| format!("{place}: {refused}"))
    };
    list.iter().enumerate().map(layer).collect()
}

fn config_layer(value: &Value, name: Option<&str>) -> Result<Layer, Refused> {
    let fields = Fields::new("layer", value)?;
    let problem = config::read(&fields, Defaults { bias: true, ..Default::default() })?;
    Geometry::new(&problem)?;
    fields.check_all_read()?;
    let name = name.map_or_else(|| problem.to_string(), String::from);
    Ok(Layer { label: name.clone(), name, problem })
}

/// Names are keys of the JSON output: the second of a name gets a number.
fn number_namesakes(layers: &mut [Layer]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for layer in layers {
        let count = seen.entry(layer.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            layer.name = format!("{} #{count}", layer.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text).expect("the test's own layers").into_iter().map(|layer| layer.name).collect()
    }

    #[test]
    fn a_file_is_json_or_lines_with_comments() {
        let lines = "# two layers\n\nconv 1x3x8x8 o4 k3x3 f32 bias # the first\nmax_pool 1x4x8x8 k2x2 f32\n";
        assert_eq!(names(lines), ["conv 1x3x8x8 o4 k3x3 f32 bias", "max_pool 1x4x8x8 k2x2 f32"]);
        let labels: Vec<String> = parse(lines).expect("sound lines").into_iter().map(|layer| layer.label).collect();
        assert_eq!(labels, ["the first", "max_pool 1x4x8x8 k2x2"]);
        let json = r#"{"layers": [{"name": "a", "op": "conv", "input": [1, 3, 8, 8], "out": 4, "kernel": [3, 3]}]}"#;
        let layers = parse(json).expect("a sound list");
        assert_eq!(
            layers,
            [Layer { name: "a".into(), label: "a".into(), problem: "conv 1x3x8x8 o4 k3x3 f32 bias".parse().unwrap() }]
        );
    }

    #[test]
    fn what_is_no_layer_is_refused_with_its_place() {
        let check = |text: &str, place: &str| {
            let message = parse(text).expect_err(text);
            assert!(message.contains(place), "{text}: {message}");
        };
        check("conv 1x3x8x8 o4 k3x3 f32\nconv 1x3x8x8 o4 k9x9 f32", "line 2: invalid kernel");
        check(r#"{"layers": [{"name": "a", "op": "conv", "input": [1, 3, 8, 8], "out": 4}]}"#, "a: kernel");
        check(r#"{"layers": [{"op": "conv", "input": [1, 3], "out": 4}]}"#, "layers[0]");
        let unknown = r#"{"layers": [{"op": "max_pool", "input": [1, 3, 8], "kernel": [2], "strides": [2]}]}"#;
        check(unknown, "strides: is not a key");
        check("{}", "layers");
        check("[", "EOF");
    }

    #[test]
    fn layers_of_one_name_stay_apart() {
        let line = "max_pool 1x1x4 k2 f32".to_string();
        let layers = read(&[], &[line.clone(), line.clone()], Some(DType::F16), Some(Layout::ChannelsLast)).expect("sound lines");
        assert_eq!(layers.iter().map(|layer| layer.name.as_str()).collect::<Vec<_>>(), [line.clone(), format!("{line} #2")]);
        assert_eq!(layers[0].problem.to_string(), "max_pool 1x1x4 k2 f16 nhwc");
    }
}
