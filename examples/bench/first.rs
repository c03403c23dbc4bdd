//! The time to the first result of a network, in a process of its own: what a program pays that has just been started.
//!
//! Drivers keep compiled kernels on disk, and so does this process in memory. Cold is a fresh process that asks the driver to leave its
//! cache alone; cached is one more, with the file that wgpu's pipeline cache left in the cold one; warm is a fresh process behind one
//! that has filled the driver's cache.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use wgconv::{Engine, EngineDesc, Network, NetworkDesc, Precision};

use crate::model::Model;

/// What turns off the caches on disk of Mesa (lavapipe, RADV, ANV) and of NVIDIA. Of other drivers nothing is known.
const NO_CACHE: [(&str, &str); 3] =
    [("MESA_SHADER_CACHE_DISABLE", "true"), ("MESA_GLSL_CACHE_DISABLE", "true"), ("__GL_SHADER_DISK_CACHE", "0")];

/// The parts of the time to the first result, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    /// Opening the device.
    pub engine: Duration,
    /// From the file to the graph.
    pub load: Duration,
    /// From the graph to the network: planning, compiling, uploading weights.
    pub prepare: Duration,
    /// The first run, its input from the host and its results back.
    pub run: Duration,
}

impl First {
    pub fn total(&self) -> Duration {
        self.engine + self.load + self.prepare + self.run
    }

    /// Milliseconds under their names.
    pub fn json(&self) -> Json {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        json!({
            "ms": ms(self.total()), "engine_ms": ms(self.engine), "load_ms": ms(self.load), "prepare_ms": ms(self.prepare),
            "run_ms": ms(self.run),
        })
    }

    fn of_json(json: &Json) -> Option<Self> {
        let time = |name: &str| Duration::try_from_secs_f64(json.get(name)?.as_f64()? / 1e3).ok();
        Some(Self { engine: time("engine_ms")?, load: time("load_ms")?, prepare: time("prepare_ms")?, run: time("run_ms")? })
    }
}

/// On what, how exactly, and with which operands.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    pub adapter: Option<&'a str>,
    pub precision: Precision,
    pub seed: u64,
}

/// What the child process does.
///
/// # Errors
/// The text of whatever went wrong.
pub fn here(path: &Path, setup: Setup, pipelines: Option<&Path>) -> Result<First, String> {
    let text = |error: wgconv::Error| error.to_string();
    let Setup { adapter, precision, seed } = setup;
    let (adapter, pipeline_cache) = (adapter.map(str::to_owned), pipelines.map(Path::to_path_buf));
    let start = Instant::now();
    let engine = Engine::new(&EngineDesc { adapter, precision, pipeline_cache, ..Default::default() }).map_err(text)?;
    let opened = start.elapsed();
    let model = Model::load(path, seed)?;
    let (bindings, inputs) = model.bindings(&model.inputs);
    let start = Instant::now();
    let network = Network::new(&engine, &model.graph, &NetworkDesc { bindings, ..Default::default() }).map_err(text)?;
    let prepare = start.elapsed();
    let start = Instant::now();
    network.run_values(&inputs).map_err(text)?;
    Ok(First { engine: opened, load: model.load, prepare, run: start.elapsed() })
}

/// The same in a fresh process, the driver's cache on disk turned off unless `driver`, and `pipelines` as the file of wgpu's.
///
/// # Errors
/// The text of whatever went wrong.
pub fn elsewhere(path: &Path, setup: Setup, driver: bool, pipelines: Option<&Path>) -> Result<First, String> {
    let Setup { adapter, precision, seed } = setup;
    let program = std::env::current_exe().map_err(|error| format!("this program's own file is unknown: {error}"))?;
    let mut command = Command::new(program);
    command
        .arg("--first-result")
        .arg(path)
        .arg(format!("--seed={seed}"))
        .arg(format!("--precision={precision}"))
        .stdin(Stdio::null());
    command.args(adapter.map(|name| format!("--adapter={name}")));
    if let Some(file) = pipelines {
        command.arg("--pipeline-cache").arg(file);
    }
    if !driver {
        command.envs(NO_CACHE);
    }
    let output = command.output().map_err(|error| format!("the process for the first result cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let of_text = |text: &[u8]| First::of_json(&serde_json::from_slice(text).ok()?);
    of_text(&output.stdout).filter(|_| output.status.success()).ok_or_else(|| {
        format!("the process for the first result ended with {}: {}", output.status, said.trim().trim_start_matches("error: "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_says_is_what_the_parent_reads() {
        let [engine, load, prepare, run] = [1, 20, 300, 4].map(Duration::from_millis);
        let first = First { engine, load, prepare, run };
        assert_eq!(First::of_json(&first.json()), Some(first));
        assert_eq!(first.json()["ms"], 325.0);
        assert_eq!(First::of_json(&json!({"engine_ms": -1.0})), None);
    }
}
