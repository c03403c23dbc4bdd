//! [`Network`]: a graph made ready on an engine: fused, planned, its memory shared, its commands made once and replayed.

mod build;
mod convert;
mod execute;
mod explain;
mod frame;
mod image;
mod in_place;
mod lower;
mod memory;
mod profile;
mod program;
mod results;
mod stream;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use profile::{LayerTime, Profile};
pub use stream::{Stream, StreamInput, StreamReceiver, StreamSender};
pub use verify::{Verification, VerifiedNode};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{CommandEncoder, Gpu, Rebuilt};
use crate::graph::ops::evaluate;
use crate::graph::{Bindings, Graph, ValueId};
use crate::image::ImageDesc;
use crate::layer::Place;
use crate::layout::Layout;
use crate::passes;
use crate::tensor::Tensor;
use crate::value::{ElementType, Value};
use execute::Executable;
use program::Program;

/// What network is wanted of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkDesc {
    /// Sizes of symbolic dimensions, shapes of inputs, inputs that never change.
    pub bindings: Bindings,
    /// The most bytes that weights and intermediate values may take on the device together.
    pub memory_limit: Option<u64>,
    /// Inputs that are textures, by name: the first layer's kernel reads them, normalises them and puts channels first. The values are
    /// tensors `[1, channels, height, width]` of the graph.
    pub image_inputs: Vec<(String, ImageDesc)>,
    /// Outputs that [`Network::encode`] can write to textures, by name.
    pub image_outputs: Vec<(String, ImageDesc)>,
    /// Whether the graph is run as it is, without any of the [`passes`](crate::passes).
    pub unoptimised: bool,
    /// How values lie that only layers make and read; `None`: as suits the device. Inputs and results have channels first in any case.
    pub layout: Option<Layout>,
}

/// A network ready to run. Cheap to clone: clones share everything. It may run from several threads at once, and runs again after
/// [`Engine::recover`](crate::Engine::recover).
///
/// # Examples
/// ```no_run
/// use wgconv::{Bindings, Engine, EngineDesc, Network, NetworkDesc, TensorDesc, onnx};
/// let engine = Engine::new(&EngineDesc::default())?;
/// let graph = onnx::load("model.onnx")?;
/// let bindings = Bindings { dims: vec![("N".into(), 1)], ..Default::default() };
/// let network = Network::new(&engine, &graph, &NetworkDesc { bindings, ..Default::default() })?;
/// let image = engine.upload(&vec![0.5; 3 * 224 * 224], &TensorDesc::f32(&[1, 3, 224, 224]))?;
/// let logits: Vec<f32> = network.run(&[&image])?[0].to_vec()?;
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    engine: Engine,
    /// Bound, and as it is run.
    graph: Graph,
    /// Bound, and as it was given.
    original: Graph,
    /// Of values among layers.
    layout: Layout,
    program: Arc<Program>,
    memory_limit: Option<u64>,
    executable: Rebuilt<Executable>,
    /// For runs of several submissions: the intermediate values belong to one run until its last.
    turn: Mutex<()>,
}

impl Network {
    /// Fuses, plans and uploads a graph.
    ///
    /// # Errors
    /// Those of [`Graph::bind`]; [`ErrorKind::Unsupported`] with the node where a layer cannot run on the device;
    /// [`ErrorKind::OutOfMemory`] with the numbers where `memory_limit` or the device has no room.
    pub fn new(engine: &Engine, graph: &Graph, desc: &NetworkDesc) -> Result<Self> {
        let original = graph.bind(&desc.bindings)?;
        let graph = if desc.unoptimised { passes::remove_unused(&original) } else { passes::optimise(&original) };
        let layout = desc.layout.unwrap_or_else(|| lower::layout::of_class(engine.limits().class));
        let program = lower::lower(engine, &graph, layout)?;
        let program = Arc::new(image::with_images(engine, &graph, program, &desc.image_inputs, &desc.image_outputs)?);
        let memory_limit = desc.memory_limit;
        let make = |gpu: &Arc<Gpu>| Executable::new(gpu, &graph, program.clone(), true, memory_limit);
        let executable = Rebuilt::new(engine.current(), make)?;
        let engine = engine.clone();
        Ok(Self(Arc::new(Inner { engine, graph, original, layout, program, memory_limit, executable, turn: Mutex::new(()) })))
    }

    /// The graph as it runs: bound and after all passes. It prints as text.
    pub fn graph(&self) -> &Graph {
        &self.0.graph
    }

    /// The graph as it was given: bound, and before all passes. [`passes::steps`] of it shows what each does.
    pub fn original(&self) -> &Graph {
        &self.0.original
    }

    /// Name, element type and shape of each input, in order.
    pub fn inputs(&self) -> Vec<(String, ElementType, Vec<usize>)> {
        let describe = |&id: &ValueId| {
            let fact = self.0.graph.fact(id);
            (self.0.graph.info(id).name.clone(), fact.element, fact.shape)
        };
        self.0.graph.inputs.iter().map(describe).collect()
    }

    /// Name, element type and shape of each output, in order.
    pub fn outputs(&self) -> Vec<(String, ElementType, Vec<usize>)> {
        let describe = |(name, id): &(String, ValueId)| {
            let fact = self.0.graph.fact(*id);
            (name.clone(), fact.element, fact.shape)
        };
        self.0.graph.outputs.iter().map(describe).collect()
    }

    /// Bytes on the device that intermediate values share: the most that a run needs beside the weights.
    pub fn peak_bytes(&self) -> u64 {
        self.0.executable.last().layout_bytes()
    }

    /// Bytes on the device of weights and other constants.
    pub fn weight_bytes(&self) -> u64 {
        self.0.executable.last().constant_bytes()
    }

    /// Runs the network on tensors or textures of the device, in the order of [`inputs`](Self::inputs); the results are new tensors. The work is
    /// submitted, not waited for, unless the host computes a part of it. Integers and truth values are tensors of i32.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where a tensor is not what the network was made for, [`ErrorKind::DeviceLost`].
    pub fn run<'a>(&self, inputs: &[impl Into<Place<'a>> + Copy]) -> Result<Vec<Tensor>> {
        let inputs: Vec<execute::Operand> = inputs.iter().map(|&place| place.into().into()).collect();
        let executable = self.0.executable()?;
        let _turn = self.turn();
        executable.run(&self.0.graph, &inputs)
    }

    /// [`run`](Self::run) with the inputs in any order, by their names; the results with theirs.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`ErrorKind::Invalid`] where a name is no input's, is given twice, or is missing.
    ///
    /// # Examples
    /// ```no_run
    /// # use wgconv::{Engine, Graph, Network, NetworkDesc, Value};
    /// # let engine = Engine::new(&Default::default())?;
    /// # let network = Network::new(&engine, &Graph::new(""), &NetworkDesc::default())?;
    /// let words = engine.upload_value(&Value::new(&[1, 3], vec![101i64, 7592, 102])?)?;
    /// let mask = engine.upload_value(&Value::new(&[1, 3], vec![1i64; 3])?)?;
    /// for (name, tensor) in network.run_named(&[("attention_mask", &mask), ("input_ids", &words)])? {
    ///     println!("{name}: {:?}", tensor.desc());
    /// }
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn run_named<'a>(&self, inputs: &[(&str, impl Into<Place<'a>> + Copy)]) -> Result<Vec<(String, Tensor)>> {
        let graph = &self.0.graph;
        let names = graph.input_names();
        for (number, (name, _)) in inputs.iter().enumerate() {
            if !names.contains(name) {
                return Err(Error::invalid("inputs", format!("have `{name}`, but the network has {}", names.join(", "))));
            }
            if inputs[..number].iter().any(|(other, _)| other == name) {
                return Err(Error::invalid("inputs", format!("have `{name}` more than once")));
            }
        }
        let find = |name: &&str| {
            let found = inputs.iter().find(|(given, _)| given == name).map(|(_, place)| *place);
            found.ok_or_else(|| Error::invalid("inputs", format!("lack `{name}`")))
        };
        let inputs = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        Ok(graph.output_names().into_iter().map(String::from).zip(self.run(&inputs)?).collect())
    }

    /// [`run`](Self::run) on values of the host, of any element type; waits for the results.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_values(&self, inputs: &[Value]) -> Result<Vec<Value>> {
        let inputs = inputs.iter().map(execute::Operand::Value).collect::<Vec<_>>();
        self.start(&inputs)?.wait()
    }

    /// Runs the network; the results are on their way to the host.
    fn start(&self, inputs: &[execute::Operand]) -> Result<frame::Frame> {
        let executable = self.0.executable()?;
        let _turn = self.turn();
        executable.start(&self.0.graph, inputs)
    }

    /// Records the network into a caller's encoder, from and into the caller's tensors and textures. Keep them until it is submitted.
    /// A texture may be both the input and the output.
    ///
    /// What is recorded uses the network's own intermediate values, as all runs of it do, one after the other. Where a run is more than one
    /// submission ([`explain`](Self::explain) says so), do not submit it while another thread runs the same network: it would come between.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`ErrorKind::Unsupported`] where the host computes a part, which no encoder can hold.
    ///
    /// # Examples
    /// ```no_run
    /// use wgconv::{Engine, ImageDesc, ImageFormat, Network, NetworkDesc, onnx, wgpu};
    /// # fn filter(engine: &Engine, frame: &wgpu::Texture) -> wgconv::Result<()> {
    /// let picture = |name: &str| vec![(name.to_string(), ImageDesc::new(ImageFormat::Rgba8Unorm))];
    /// let desc = NetworkDesc { image_inputs: picture("in"), image_outputs: picture("out"), ..Default::default() };
    /// let network = Network::new(engine, &onnx::load("filter.onnx")?, &desc)?;
    /// let mut encoder = engine.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    /// // .. a render pass into `frame` ..
    /// network.encode(&mut encoder, &[frame], &[frame])?;
    /// engine.queue().submit([encoder.finish()]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn encode<'a, 'b>(
        &self,
        encoder: &mut CommandEncoder,
        inputs: &[impl Into<Place<'a>> + Copy],
        outputs: &[impl Into<Place<'b>> + Copy],
    ) -> Result<()> {
        let inputs: Vec<Place> = inputs.iter().map(|&place| place.into()).collect();
        let outputs: Vec<Place> = outputs.iter().map(|&place| place.into()).collect();
        self.0.executable()?.encode(&self.0.graph, encoder, &inputs, &outputs)
    }

    /// Runs the graph as it was given, before any pass, through the CPU reference.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where a value is not what the network was made for.
    pub fn run_reference(&self, inputs: &[Value]) -> Result<Vec<Value>> {
        reference(&self.0.original, inputs)
    }

    fn turn(&self) -> Option<std::sync::MutexGuard<'_, ()>> {
        self.0.executable.last().takes_turns().then(|| self.0.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// What runs on the device that the engine has now.
    fn executable(&self) -> Result<Arc<Executable>> {
        self.executable.get(|gpu| Executable::new(gpu, &self.graph, self.program.clone(), true, self.memory_limit))
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Network({}, {} nodes)", self.0.graph.name(), self.0.graph.node_count())
    }
}

/// Checks values against a bound graph's inputs.
fn check_values(graph: &Graph, inputs: &[Value]) -> Result<()> {
    check_count(graph, inputs.len())?;
    for (&id, value) in graph.inputs.iter().zip(inputs) {
        let fact = graph.fact(id);
        if fact.element != value.element() || fact.shape != value.shape() {
            return Err(wrong_input(graph, id, &value.to_string()));
        }
    }
    Ok(())
}

fn check_count(graph: &Graph, count: usize) -> Result<()> {
    if count == graph.inputs.len() {
        return Ok(());
    }
    let names = graph.input_names().join(", ");
    Err(Error::invalid("inputs", format!("are {count}, but the network has {}: {names}", graph.inputs.len())))
}

fn wrong_input(graph: &Graph, id: ValueId, found: &str) -> Error {
    let fact = graph.fact(id);
    let wanted = Value::zeros(fact.element, &[0]).element();
    Error::invalid(
        "inputs",
        format!("`{}` is {found}, but the network was made for {:?} {wanted}", graph.info(id).name, fact.shape),
    )
}

/// The results of a bound graph by the reference.
fn reference(graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>> {
    check_values(graph, inputs)?;
    let mut values: HashMap<ValueId, Arc<Value>> =
        graph.inputs.iter().zip(inputs).map(|(&id, value)| (id, Arc::new(value.clone()))).collect();
    let mut uses = graph.use_counts();
    for node in &graph.nodes {
        let find = |id: &ValueId| graph.info(*id).constant.clone().or_else(|| values.get(id).cloned());
        let list: Vec<Option<Arc<Value>>> = node.inputs.iter().map(|id| id.as_ref().and_then(find)).collect();
        let results = evaluate(&node.op, &list, node.outputs.len()).map_err(|error| graph.at_node(node, error))?;
        values.extend(node.outputs.iter().copied().zip(results.into_iter().map(Arc::new)));
        // What nobody will ask for again makes room.
        for id in node.inputs.iter().flatten() {
            uses[id.0] -= 1;
            if uses[id.0] == 0 {
                values.remove(id);
            }
        }
    }
    let result = |(name, id): &(String, ValueId)| {
        let value = graph.info(*id).constant.clone().or_else(|| values.get(id).cloned());
        value
            .map(|value| Value::clone(&value))
            .ok_or_else(|| Error::invalid("graph", format!("output `{name}` is never computed")))
    };
    graph.outputs.iter().map(result).collect()
}

/// The error of a device that has no room.
fn no_room(asked: u64, limit: u64, weights: u64, values: u64) -> Error {
    Error::new(
        ErrorKind::OutOfMemory,
        format!("the network needs {asked} bytes ({weights} of weights, {values} of values), but memory_limit is {limit} bytes"),
    )
}
