//! [`MultiEngine`]: one batch over several adapters, each with the part that its speed asks for.
//!
//! The items of a batch must be independent of each other, as they are in inference. Nothing is shared between the engines but the
//! graph: each has the weights, and a network for each size of part that it had lately.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::engine::{Engine, EngineDesc};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph};
use crate::network::{Network, NetworkDesc};
use crate::recent::Recent;
use crate::value::Value;

/// Several engines that work on one batch together. Cheap to clone.
///
/// # Examples
/// ```no_run
/// use wgconv::{Engine, EngineDesc, MultiEngine, NetworkDesc, Value, onnx};
/// let descs: Vec<EngineDesc> = Engine::adapters()
///     .iter()
///     .map(|adapter| EngineDesc { adapter: Some(adapter.index.to_string()), ..Default::default() })
///     .collect();
/// let engines = MultiEngine::new(&descs)?;
/// let network = engines.network(&onnx::load("model.onnx")?, &NetworkDesc::default())?;
/// let batch = Value::new(&[20, 3, 224, 224], vec![0.5f32; 20 * 3 * 224 * 224])?;
/// network.measure(std::slice::from_ref(&batch))?; // how fast each adapter is at this network
/// let logits = network.run_values(&[batch])?;
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MultiEngine {
    engines: Arc<[Engine]>,
}

/// Networks of so many sizes are kept for each engine.
const KEPT: usize = 4;

/// A graph on several engines. Made by [`MultiEngine::network`].
pub struct MultiNetwork {
    engines: Arc<[Engine]>,
    graph: Graph,
    desc: NetworkDesc,
    /// Items for each unit of time, by engine.
    speeds: Mutex<Vec<f64>>,
    /// By engine, the networks for inputs of these shapes.
    made: Vec<Mutex<Recent<Vec<Vec<usize>>, Network>>>,
}

impl MultiEngine {
    /// Opens an engine for each description; the same adapter may stand there twice.
    ///
    /// # Errors
    /// Those of [`Engine::new`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an empty list.
    pub fn new(descs: &[EngineDesc]) -> Result<Self> {
        let open = |(number, desc): (usize, &EngineDesc)| {
            Engine::new(desc).map_err(|error| error.within(&format!("engine {number} of {}", descs.len())))
        };
        Self::from_engines(descs.iter().enumerate().map(open).collect::<Result<_>>()?)
    }

    /// Engines that are open already.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an empty list.
    pub fn from_engines(engines: Vec<Engine>) -> Result<Self> {
        if engines.is_empty() {
            return Err(Error::invalid("engines", "are none, but at least one is needed"));
        }
        Ok(Self { engines: engines.into() })
    }

    /// The engines.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// A graph on all engines. Its inputs, but for those that the description fixes, have the batch as their first axis, and that axis
    /// has no fixed size in the graph; so have its outputs.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the input whose first axis is a number, and for inputs and outputs
    /// that are textures.
    pub fn network(&self, graph: &Graph, desc: &NetworkDesc) -> Result<MultiNetwork> {
        if !desc.image_inputs.is_empty() || !desc.image_outputs.is_empty() {
            return Err(Error::unsupported("image_inputs", "belong to one device, and a batch over several has none"));
        }
        let network = MultiNetwork {
            engines: self.engines.clone(),
            graph: graph.clone(),
            desc: desc.clone(),
            speeds: Mutex::new(vec![1.0; self.engines.len()]),
            made: self.engines.iter().map(|_| Mutex::new(Recent::new(KEPT))).collect(),
        };
        for name in network.inputs() {
            let first = graph.input_dims(name).and_then(|(_, dims)| dims.first());
            if !matches!(first, Some(Dim::Symbol(_) | Dim::Unknown)) {
                let what = match first {
                    Some(Dim::Known(size)) => format!("`{name}` has a first axis of {size} elements in the graph"),
                    _ => format!("`{name}` has no axis in the graph"),
                };
                return Err(Error::unsupported(
                    "graph",
                    format!("{what}, so that a batch of another size cannot be taken apart"),
                ));
            }
        }
        Ok(network)
    }
}

impl MultiNetwork {
    /// The inputs that a run takes.
    fn inputs(&self) -> Vec<&str> {
        let fixed = |name: &str| self.desc.bindings.fixed.iter().any(|(other, _)| other == name);
        self.graph.input_names().into_iter().filter(|name| !fixed(name)).collect()
    }

    /// How fast each engine is, as a number of items for some unit of time. Equal, until they are set or measured.
    pub fn speeds(&self) -> Vec<f64> {
        self.speeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how fast each engine is; only the proportions count, and an engine of speed 0 gets nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where there is not one for each engine, or one is negative or not finite, or all
    /// are 0.
    pub fn set_speeds(&self, speeds: &[f64]) -> Result<()> {
        if speeds.len() != self.engines.len() {
            return Err(Error::invalid("speeds", format!("are {}, but there are {} engines", speeds.len(), self.engines.len())));
        }
        if let Some(wrong) = speeds.iter().find(|speed| !speed.is_finite() || **speed < 0.0) {
            return Err(Error::invalid("speeds", format!("has {wrong}, but a speed is a finite number and at least 0")));
        }
        if speeds.iter().all(|speed| *speed == 0.0) {
            return Err(Error::invalid("speeds", "are all 0, so that nobody would do anything"));
        }
        *self.speeds.lock().unwrap_or_else(PoisonError::into_inner) = speeds.to_vec();
        Ok(())
    }

    /// Measures how fast each engine is: each runs an equal part of the batch, once to get ready and once for the clock, one engine
    /// after the other. What comes out is set.
    ///
    /// # Errors
    /// As [`run_values`](Self::run_values).
    pub fn measure(&self, inputs: &[Value]) -> Result<Vec<f64>> {
        let batch = self.batch(inputs)?;
        let items = batch.div_ceil(self.engines.len());
        let mut speeds = Vec::new();
        for engine in 0..self.engines.len() {
            self.part(engine, inputs, 0..items)?;
            let start = Instant::now();
            self.part(engine, inputs, 0..items)?;
            speeds.push(items as f64 / start.elapsed().as_secs_f64().max(1e-9));
        }
        self.set_speeds(&speeds)?;
        Ok(speeds)
    }

    /// The items of a batch that each engine gets.
    pub fn shares(&self, batch: usize) -> Vec<usize> {
        shares(batch, &self.speeds())
    }

    /// Runs a batch of any size over the engines, and waits for all. Results are those of one engine, item by item, within the bounds of
    /// the kernels: a planner may choose another one for another size.
    ///
    /// # Errors
    /// Those of [`Network::new`] and [`Network::run_values`], with the number and the adapter of the engine;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the inputs' first axes differ;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where an output has not the batch as its first axis.
    pub fn run_values(&self, inputs: &[Value]) -> Result<Vec<Value>> {
        let batch = self.batch(inputs)?;
        let mut first = 0;
        let mut parts = Vec::new();
        for (engine, items) in self.shares(batch).into_iter().enumerate().filter(|(_, items)| *items > 0) {
            parts.push((engine, first..first + items));
            first += items;
        }
        let results: Vec<Result<Vec<Value>>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                parts.iter().map(|(engine, rows)| scope.spawn(|| self.part(*engine, inputs, rows.clone()))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        let mut whole: Option<Vec<Value>> = None;
        for part in results {
            let part = part?;
            whole = Some(match whole {
                None => part,
                Some(before) => before.into_iter().zip(&part).map(|(before, part)| stack(before, part)).collect(),
            });
        }
        whole.ok_or_else(|| Error::invalid("inputs", "have a batch of no items"))
    }

    /// The size of the batch that all inputs have.
    fn batch(&self, inputs: &[Value]) -> Result<usize> {
        let names = self.inputs();
        if inputs.len() != names.len() {
            let text = format!("are {}, but the network has {}: {}", inputs.len(), names.len(), names.join(", "));
            return Err(Error::invalid("inputs", text));
        }
        let batch = inputs.first().and_then(|value| value.shape().first().copied()).unwrap_or(0);
        for (name, value) in names.iter().zip(inputs) {
            match value.shape().first() {
                Some(&size) if size == batch && size > 0 => {}
                Some(0) => return Err(Error::invalid("inputs", format!("`{name}` is {value}: a batch of no items"))),
                _ => return Err(Error::invalid("inputs", format!("`{name}` is {value}, but the batch has {batch} items"))),
            }
        }
        Ok(batch)
    }

    /// The results of some items on one engine.
    fn part(&self, engine: usize, inputs: &[Value], rows: std::ops::Range<usize>) -> Result<Vec<Value>> {
        let items = rows.len();
        let run = || {
            let inputs: Vec<Value> = inputs.iter().map(|value| value.rows(rows.clone())).collect();
            let results = self.made(engine, &inputs)?.run_values(&inputs)?;
            match results.iter().find(|value| value.shape().first() != Some(&items)) {
                None => Ok(results),
                Some(value) => Err(Error::unsupported(
                    "outputs",
                    format!("of a batch of {items} items are {value}, without the batch as the first axis"),
                )),
            }
        };
        let place = || format!("engine {engine} ({})", self.engines[engine].adapter_name());
        run().map_err(|error: Error| error.within(&place()))
    }

    /// The network of an engine for inputs of these shapes.
    fn made(&self, engine: usize, inputs: &[Value]) -> Result<Network> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|value| value.shape().to_vec()).collect();
        let mut made = self.made[engine].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = made.find(&shapes) {
            return Ok(network);
        }
        let mut desc = self.desc.clone();
        for (name, shape) in self.inputs().into_iter().zip(&shapes) {
            match self.graph.input_dims(name) {
                Some((_, [Dim::Symbol(symbol), ..])) => {
                    desc.bindings.dims.retain(|(other, _)| other != symbol);
                    desc.bindings.dims.push((symbol.clone(), shape[0]));
                }
                _ => desc.bindings.shapes.retain(|(other, _)| other != name),
            }
            if !desc.bindings.shapes.iter().any(|(other, _)| other == name) {
                desc.bindings.shapes.push((name.to_string(), shape.clone()));
            }
        }
        let network = Network::new(&self.engines[engine], &self.graph, &desc)?;
        made.keep(shapes, network.clone());
        Ok(network)
    }
}

impl std::fmt::Debug for MultiNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MultiNetwork({}, {} engines)", self.graph.name(), self.engines.len())
    }
}

/// One value behind the other on the first axis.
fn stack(before: Value, part: &Value) -> Value {
    let mut shape = before.shape().to_vec();
    shape[0] += part.shape()[0];
    before.append(part, &shape)
}

/// A batch in parts that are proportional to the speeds: whole numbers that are at most one off, the largest remainders rounded up
/// (Hamilton's method).
fn shares(batch: usize, speeds: &[f64]) -> Vec<usize> {
    let all: f64 = speeds.iter().sum();
    let exact: Vec<f64> = speeds.iter().map(|speed| batch as f64 * (speed / all)).collect();
    let mut parts: Vec<usize> = exact.iter().map(|part| part.floor() as usize).collect();
    let mut order: Vec<usize> = (0..speeds.len()).filter(|&index| speeds[index] > 0.0).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let given: usize = parts.iter().sum();
    // Rounding can leave a unit more or less than there are remainders.
    for &index in order.iter().cycle().take(batch.saturating_sub(given)) {
        parts[index] += 1;
    }
    for index in (0..parts.len()).rev() {
        let excess = parts.iter().sum::<usize>().saturating_sub(batch);
        parts[index] -= excess.min(parts[index]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn shares_are_whole_proportional_and_sum_to_the_batch() {
        assert_eq!(shares(10, &[1.0, 1.0]), [5, 5]);
        assert_eq!(shares(7, &[1.0, 1.0]), [4, 3]);
        assert_eq!(shares(10, &[3.0, 1.0]), [8, 2]);
        assert_eq!(shares(1, &[1.0, 2.0]), [0, 1]);
        assert_eq!(shares(5, &[0.0, 1.0, 0.0]), [0, 5, 0]);
        for batch in 0..200 {
            for speeds in [&[1e-9, 1e9][..], &[0.1; 7], &[1.0, 2.5, 0.0, 7.3], &[1e-300, 1e-300]] {
                let parts = shares(batch, speeds);
                assert_eq!(parts.iter().sum::<usize>(), batch, "{speeds:?}");
                let all: f64 = speeds.iter().sum();
                for (part, speed) in parts.iter().zip(speeds) {
                    assert!((*part as f64 - batch as f64 * speed / all).abs() <= 1.0, "{batch} {speeds:?}: {parts:?}");
                }
            }
        }
    }
}
