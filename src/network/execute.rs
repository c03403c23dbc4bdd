//! [`Executable`]: a program with its buffers, pipelines and bind groups. After it is made, a run only records and submits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::convert::tensor_to_value;
use super::frame::{Frame, Leaving};
use super::image::{Store, Unbound, record_store};
use super::memory::Layout;
use super::program::{DeviceId, Outcome, Program, Source, Work};
use super::results::{Dispatches, Results};
use super::{check_count, wrong_input};
use crate::error::{Error, Result};
use crate::gpu::{self, CommandEncoder, Dispatch, Gpu, PooledBuffer, SubmissionIndex, Texture};
use crate::graph::ops::evaluate;
use crate::graph::{Graph, ValueId};
use crate::layer::Place;
use crate::limits::{Meter, Ranges, submissions};
use crate::tensor::{Tensor, storage};
use crate::tensor_desc::TensorDesc;
use crate::value::{ElementType, Value};

/// An input of a run.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Tensor(&'a Tensor),
    Value(&'a Value),
    /// The elements of an input of f32.
    Floats(&'a [f32]),
    Texture(&'a Texture),
}

/// A run up to its results.
struct Begun {
    /// The commands that are not submitted yet.
    encoder: CommandEncoder,
    /// What the host computed.
    values: Values,
    /// Held until the commands are submitted: another thread may write into the buffer of a dropped tensor before.
    sources: Vec<Option<Tensor>>,
}

/// Made by `build`.
pub(super) struct Executable {
    pub(super) gpu: Arc<Gpu>,
    pub(super) program: Arc<Program>,
    pub(super) layout: Layout,
    /// The device values that have steps or constants, as tensors that share buffers.
    pub(super) tensors: Vec<Option<Tensor>>,
    /// For each step its dispatches; none for the host's.
    pub(super) dispatches: Dispatches,
    /// Which results the dispatches are bound anew for.
    pub(super) results: Results,
    pub(super) constant_bytes: u64,
    /// What dispatches are bound to besides tensors.
    pub(super) buffers: Vec<PooledBuffer>,
    /// What is missing in `dispatches` because it is bound to the textures of a run.
    pub(super) unbound: Vec<Unbound>,
    /// The dispatches that write outputs to textures.
    pub(super) stores: Vec<Store>,
}

impl Executable {
    pub fn layout_bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// Buffers that intermediate values share: of what is more than one has, several.
    pub fn buffer_count(&self) -> usize {
        let chunk = Ranges::of(&self.gpu.limits).chunk;
        self.layout.buffers.iter().map(|bytes| bytes.div_ceil(chunk) as usize).sum()
    }

    pub fn constant_bytes(&self) -> u64 {
        self.constant_bytes
    }

    /// Whether the host computes a part.
    pub fn uses_host(&self) -> bool {
        self.program.steps.iter().any(|step| step.work.is_host())
    }

    /// Whether a run is several submissions, between which those of another run would overwrite its intermediate values.
    pub fn takes_turns(&self) -> bool {
        let unbound = self.unbound.iter().map(|unbound| unbound.ns);
        let ns = self.dispatches.iter().flatten().map(|dispatch| dispatch.ns).chain(unbound).fold(0, u64::saturating_add);
        self.uses_host() || ns > self.gpu.limits.submission_ns
    }

    pub(super) fn tensor(&self, id: DeviceId) -> &Tensor {
        self.tensors[id.0].as_ref().expect("every value that a step touches has a buffer")
    }

    /// A device value's tensor, where it has one.
    pub fn find(&self, id: DeviceId) -> Option<&Tensor> {
        self.tensors[id.0].as_ref()
    }

    /// Runs everything; results are new tensors. The work is submitted, not waited for, unless the host takes part.
    pub fn run(&self, graph: &Graph, inputs: &[Operand]) -> Result<Vec<Tensor>> {
        let written = self.new_results()?;
        let Begun { mut encoder, values, sources: _until_submitted } = self.begin_run(graph, inputs, &written)?;
        let mut results = Vec::new();
        for (outcome, own) in self.program.outcomes.iter().zip(&written) {
            results.push(match (outcome, own) {
                (_, Some(tensor)) => tensor.clone(),
                (Outcome::Device(id), None) => {
                    let from = self.result(*id, &written);
                    let tensor = Tensor::uninitialised(&self.gpu, self.tensor(*id).desc().clone(), 0)?;
                    copy(&mut encoder, from, &tensor)?;
                    tensor
                }
                (Outcome::Host(id), None) => self.host_result(&*find(graph, &values, *id)?)?,
            });
        }
        self.flush(&mut encoder)?;
        Ok(results)
    }

    /// Runs everything; results are on their way to the host: where it can read them where they lie, without a copy, and elsewhere by one
    /// to memory that it can read.
    pub fn start(&self, graph: &Graph, inputs: &[Operand]) -> Result<Frame> {
        let written = if gpu::shares_memory(&self.gpu) { self.new_results()? } else { vec![None; self.program.outcomes.len()] };
        let Begun { mut encoder, values, sources: _until_submitted } = self.begin_run(graph, inputs, &written)?;
        let elements: Vec<ElementType> = graph.outputs.iter().map(|(_, id)| graph.fact(*id).element).collect();
        // Of those that are not written where they are read.
        let mut copied = Vec::new();
        for (number, (outcome, &element)) in self.program.outcomes.iter().zip(&elements).enumerate() {
            copied.push(match outcome {
                _ if written[number].is_some() => None,
                Outcome::Device(id) => {
                    let desc = self.tensor(*id).desc();
                    match self.result(*id, &written).record_readback(&mut encoder)? {
                        Some(recorded) => Some(Leaving::Recorded { recorded, desc: desc.clone(), element }),
                        None => Some(Leaving::Value(Arc::new(Value::zeros(element, desc.shape())))),
                    }
                }
                Outcome::Host(id) => Some(Leaving::Value(find(graph, &values, *id)?)),
            });
        }
        let submission = self.flush(&mut encoder)?;
        let written = written.into_iter().zip(elements).map(|(own, element)| {
            let leaving = |tensor: Tensor| {
                let desc = tensor.desc().clone();
                Ok(Leaving::Recorded { recorded: tensor.into_recorded()?, desc, element })
            };
            own.map(leaving).transpose()
        });
        let written = written.collect::<Result<Vec<_>>>()?;
        let results = written.into_iter().zip(copied).filter_map(|(own, copied)| own.or(copied)).collect();
        Frame::new(&self.gpu, results, &submission)
    }

    /// The tensor that has a value after a run that wrote these results.
    fn result<'a>(&'a self, id: DeviceId, written: &'a [Option<Tensor>]) -> &'a Tensor {
        let same =
            |outcome: &Outcome| matches!(outcome, Outcome::Device(other) if self.program.root(*other) == self.program.root(id));
        let own =
            self.program.outcomes.iter().zip(written).filter(|(outcome, _)| same(outcome)).find_map(|(_, own)| own.as_ref());
        own.unwrap_or_else(|| self.tensor(id))
    }

    /// Runs everything up to the results, of which some are written already then.
    fn begin_run(&self, graph: &Graph, inputs: &[Operand], written: &[Option<Tensor>]) -> Result<Begun> {
        let (sources, mut values) = self.take_inputs(graph, inputs)?;
        let dispatches = self.dispatches_into(written)?;
        let dispatches = self.bound(&dispatches, graph, inputs)?;
        let mut encoder = self.begin();
        self.copy_inputs(&sources, &mut encoder)?;
        let mut number = 0;
        let mut meter = Meter::new(self.gpu.limits.submission_ns);
        while number < self.program.steps.len() {
            let run = self.program.steps[number..].iter().take_while(|step| !step.work.is_host()).count();
            if run > 0 {
                self.record(&mut encoder, &dispatches[number..number + run], &mut meter)?;
                number += run;
                continue;
            }
            let step = &self.program.steps[number];
            let node = &graph.nodes[step.node];
            self.flush(&mut encoder)?;
            self.host_step(graph, &step.work, step.node, &mut values).map_err(|error| graph.at_node(node, error))?;
            number += 1;
        }
        Ok(Begun { encoder, values, sources })
    }

    /// Runs everything with a pass for each step; when each step began and ended, in nanoseconds. Steps of the host have their time on
    /// the wall, behind the device's step before them.
    pub fn run_timed(&self, graph: &Graph, inputs: &[Operand], timestamps: &mut bool) -> Result<Vec<[f64; 2]>> {
        let (sources, mut values) = self.take_inputs(graph, inputs)?;
        let gpu = &self.gpu;
        let mut encoder = self.begin();
        self.copy_inputs(&sources, &mut encoder)?;
        self.flush(&mut encoder)?;
        let mut times: Vec<[f64; 2]> = Vec::new();
        let mut number = 0;
        while number < self.program.steps.len() {
            let run = self.program.steps[number..].iter().take_while(|step| !step.work.is_host()).count();
            let lists: Vec<&[Dispatch]> = self.dispatches[number..number + run].iter().map(Vec::as_slice).collect();
            if run == 0 {
                let step = &self.program.steps[number];
                let start = Instant::now();
                self.host_step(graph, &step.work, step.node, &mut values)?;
                let begin = times.last().map_or(0.0, |[_, end]| *end);
                times.push([begin, begin + start.elapsed().as_nanos() as f64]);
                number += 1;
            } else if let Some(list) = gpu::timed_passes(gpu, &lists)? {
                times.extend(list);
                number += run;
            } else {
                *timestamps = false;
                for list in lists {
                    let start = Instant::now();
                    gpu::run(gpu, list)?;
                    gpu.wait(None)?;
                    let begin = times.last().map_or(0.0, |[_, end]| *end);
                    times.push([begin, begin + start.elapsed().as_nanos() as f64]);
                }
                number += run;
            }
        }
        Ok(times)
    }

    /// The inputs as tensors and, where host steps read them, as values.
    fn take_inputs<'a>(&self, graph: &Graph, inputs: &[Operand<'a>]) -> Result<(Vec<Option<Tensor>>, Values)> {
        check_count(graph, inputs.len())?;
        let mut values = Values::new();
        let mut sources = vec![None; inputs.len()];
        for (number, (&id, input)) in graph.inputs.iter().zip(inputs).enumerate() {
            let fact = graph.fact(id);
            let wanted =
                self.program.devices.iter().find(|device| device.source == Source::Input(number)).map(|device| &device.desc);
            self.check_place(graph, number, input)?;
            match input {
                Operand::Texture(_) => {}
                Operand::Value(value) => {
                    if fact.element != value.element() || fact.shape != value.shape() {
                        return Err(wrong_input(graph, id, &value.to_string()));
                    }
                    if let Some(desc) = wanted {
                        let axes = self.program.indices.iter().filter(|(input, _)| *input == number).map(|(_, size)| *size);
                        sources[number] = Some(Tensor::of_value(&self.gpu, value, desc, axes.min())?);
                    }
                    if self.program.host_inputs.contains(&id) {
                        values.insert(id, Arc::new(Value::clone(value)));
                    }
                }
                Operand::Floats(list) => {
                    let wanted_len: usize = fact.shape.iter().product();
                    if fact.element != ElementType::F32 || wanted_len != list.len() {
                        return Err(wrong_input(graph, id, &format!("{} elements of f32", list.len())));
                    }
                    if let Some(desc) = wanted {
                        sources[number] = Some(Tensor::uploaded(&self.gpu, list, desc)?);
                    }
                    if self.program.host_inputs.contains(&id) {
                        values.insert(id, Arc::new(Value::new(&fact.shape, list.to_vec())?));
                    }
                }
                Operand::Tensor(tensor) => {
                    let dtype = storage(fact.element, self.gpu.limits.f16).ok_or_else(|| {
                        Error::unsupported("inputs", format!("of {} can only be given as values", fact.element))
                    })?;
                    let name = &graph.info(id).name;
                    let checked = tensor.check("inputs", &self.gpu, &TensorDesc::new(&fact.shape, dtype));
                    checked.map_err(|error| error.of(&format!("`{name}`")))?;
                    sources[number] = wanted.map(|_| Tensor::clone(tensor));
                    if self.program.host_inputs.contains(&id) {
                        values.insert(id, Arc::new(tensor_to_value(tensor, fact.element)?));
                    }
                }
            }
        }
        Ok((sources, values))
    }

    fn copy_inputs(&self, sources: &[Option<Tensor>], encoder: &mut CommandEncoder) -> Result<()> {
        for (number, device) in self.program.devices.iter().enumerate() {
            if let Source::Input(input) = device.source
                && let (Some(source), Some(target)) = (&sources[input], self.find(DeviceId(number)))
            {
                copy(encoder, source, target)?;
            }
        }
        Ok(())
    }

    /// Records into a caller's encoder.
    pub fn encode(&self, graph: &Graph, encoder: &mut CommandEncoder, inputs: &[Place], outputs: &[Place]) -> Result<()> {
        if self.uses_host() || self.program.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Host(_))) {
            let names = super::explain::host_nodes(&self.program, graph).join(", ");
            return Err(Error::unsupported("encode", format!("cannot record what the host computes: {names}")));
        }
        let operands: Vec<_> = inputs.iter().map(|&place| place.into()).collect();
        let (sources, _) = self.take_inputs(graph, &operands)?;
        if outputs.len() != self.program.outcomes.len() {
            let count = self.program.outcomes.len();
            return Err(Error::invalid("outputs", format!("are {}, but the network has {count}", outputs.len())));
        }
        self.gpu.scoped(|| {
            let mut dispatches = self.bound(&self.dispatches, graph, &operands)?;
            let mut stores = Vec::new();
            // Everything is checked before the caller's encoder gets anything.
            for (number, (outcome, &output)) in self.program.outcomes.iter().zip(outputs).enumerate() {
                match (outcome, output) {
                    (Outcome::Device(id), Place::Tensor(output)) => {
                        output.check("outputs", &self.gpu, self.tensor(*id).desc())?;
                        output.check_usage("outputs", gpu::Usage::COPY_DST)?;
                    }
                    (_, Place::Texture(texture)) => {
                        stores.extend(self.store_to(graph, number, texture, inputs, &mut dispatches)?)
                    }
                    (Outcome::Host(_), _) => {}
                }
            }
            self.copy_inputs(&sources, encoder)?;
            record(encoder, &dispatches);
            for (outcome, &output) in self.program.outcomes.iter().zip(outputs) {
                if let (Outcome::Device(id), Place::Tensor(output)) = (outcome, output) {
                    copy(encoder, self.tensor(*id), output)?;
                }
            }
            stores.iter().for_each(|store| record_store(encoder, store));
            Ok(())
        })
    }

    fn host_step(&self, graph: &Graph, work: &Work, node: usize, values: &mut Values) -> Result<()> {
        match work {
            Work::Upload { value, to, indices_below } => {
                let host = find(graph, values, *value)?;
                let target = self.tensor(*to);
                let from = Tensor::of_value(&self.gpu, &host, target.desc(), *indices_below)?;
                let mut encoder = self.begin();
                copy(&mut encoder, &from, target)?;
                self.flush(&mut encoder).map(drop)
            }
            Work::Download { from, value } => {
                let host = tensor_to_value(self.tensor(*from), graph.fact(*value).element)?;
                values.insert(*value, Arc::new(host));
                Ok(())
            }
            Work::Host => {
                let node = &graph.nodes[node];
                let list =
                    node.inputs.iter().map(|id| id.map(|id| find(graph, values, id)).transpose()).collect::<Result<Vec<_>>>()?;
                let results = evaluate(&node.op, &list, node.outputs.len())?;
                values.extend(node.outputs.iter().copied().zip(results.into_iter().map(Arc::new)));
                Ok(())
            }
            Work::Layer { .. } | Work::Operation { .. } => unreachable!("the device does those"),
        }
    }

    /// Records a run of steps, and submits whatever would make a submission too long.
    fn record(&self, encoder: &mut CommandEncoder, dispatches: &[Vec<Dispatch>], meter: &mut Meter) -> Result<()> {
        let mut pass = gpu::pass(encoder);
        for dispatch in dispatches.iter().flatten() {
            if meter.is_full(dispatch.ns) {
                drop(pass);
                self.flush(encoder)?;
                pass = gpu::pass(encoder);
            }
            gpu::dispatch(&mut pass, std::slice::from_ref(dispatch));
        }
        Ok(())
    }

    /// How many submissions a run is where the host takes no part.
    pub fn submissions(&self) -> usize {
        submissions(self.dispatches.iter().flatten().map(|dispatch| dispatch.ns), self.gpu.limits.submission_ns)
    }

    fn begin(&self) -> CommandEncoder {
        gpu::encoder(&self.gpu)
    }

    /// Submits what was recorded and begins anew.
    fn flush(&self, encoder: &mut CommandEncoder) -> Result<SubmissionIndex> {
        gpu::submit(&self.gpu, std::mem::replace(encoder, self.begin()))
    }

    /// A result that the host has as a tensor.
    fn host_result(&self, value: &Value) -> Result<Tensor> {
        let dtype = storage(value.element(), self.gpu.limits.f16)
            .ok_or_else(|| Error::unsupported("outputs", format!("of {} can only be had by run_values", value.element())))?;
        Tensor::of_value(&self.gpu, value, &TensorDesc::new(value.shape(), dtype), None)
    }
}

type Values = HashMap<ValueId, Arc<Value>>;

fn find(graph: &Graph, values: &Values, id: ValueId) -> Result<Arc<Value>> {
    let found = graph.info(id).constant.clone().or_else(|| values.get(&id).cloned());
    found.ok_or_else(|| Error::invalid("graph", format!("value `{}` was not computed", graph.info(id).name)))
}

/// One pass for a run of steps: its dispatches see each other's writes.
fn record(encoder: &mut CommandEncoder, dispatches: &[Vec<Dispatch>]) {
    let mut pass = gpu::pass(encoder);
    for list in dispatches {
        gpu::dispatch(&mut pass, list);
    }
}

/// Records a copy of all elements.
fn copy(encoder: &mut CommandEncoder, from: &Tensor, to: &Tensor) -> Result<()> {
    let bytes = from.desc().bytes()?.next_multiple_of(4);
    from.check_usage("inputs", gpu::Usage::COPY_SRC)?;
    to.check_usage("outputs", gpu::Usage::COPY_DST)?;
    if bytes > 0 {
        from.bounds().copy_to(encoder, &to.bounds(), bytes);
    }
    Ok(())
}
