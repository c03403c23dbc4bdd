//! [`Results`]: the results of a run in buffers of their own, which the steps write themselves, so that nobody copies them.
//!
//! Steps are bound to the buffers that intermediate values share, which the next run overwrites. For each run those that touch a result
//! are bound to a new tensor in its place. The pool gives the same few buffers again and again, so the bind groups of the last ones are
//! kept.

use std::sync::{Arc, Mutex, PoisonError};

use super::execute::Executable;
use super::program::{DeviceId, Outcome, Program, Source, Work};
use crate::error::Result;
use crate::gpu::{self, Bound, Dispatch};
use crate::recent::Recent;
use crate::tensor::Tensor;

/// The most dispatches that are bound anew for a run: where more touch a result, it is copied.
const MOST: usize = 64;

/// Sets of buffers whose bind groups are kept: enough for a ring of frames.
const KEPT: usize = 8;

/// The dispatches of each step.
pub(super) type Dispatches = Arc<[Vec<Dispatch>]>;

/// A dispatch that touches a result.
pub(super) struct Touching {
    /// Its step, and its place among the step's dispatches.
    pub step: usize,
    pub place: usize,
    /// What it is bound to among the buffers that values share.
    pub bound: Vec<Bound>,
}

/// Which results of a network its steps write where they are to lie.
pub(super) struct Results {
    /// For each of the graph's outputs the value on the device, where that is so.
    direct: Vec<Option<DeviceId>>,
    touching: Vec<Touching>,
    kept: Mutex<Recent<Vec<Bound>, Dispatches>>,
}

/// Whether a step reads or writes a value.
pub(super) fn touches(program: &Program, work: &Work, id: DeviceId) -> bool {
    work.reads().into_iter().chain(work.writes()).any(|other| program.root(other) == program.root(id))
}

/// The values of a program's outputs that steps of the device alone make and read; of several outputs of one value the first.
pub(super) fn direct(program: &Program) -> Vec<Option<DeviceId>> {
    let mut seen = Vec::new();
    let mut is_direct = |id: DeviceId| {
        let root = program.root(id);
        let by_host = program.steps.iter().any(|step| step.work.is_host() && touches(program, &step.work, root));
        let whole = program.bytes(id) == program.bytes(root) && program.device(id).desc.elements().is_ok_and(|count| count > 0);
        let first = !seen.contains(&root);
        seen.push(root);
        first && whole && !by_host && program.device(root).source == Source::Steps
    };
    let of = |outcome: &Outcome| match outcome {
        Outcome::Device(id) => is_direct(*id).then_some(*id),
        Outcome::Host(_) => None,
    };
    program.outcomes.iter().map(of).collect()
}

impl Default for Results {
    fn default() -> Self {
        Self { direct: Vec::new(), touching: Vec::new(), kept: Mutex::new(Recent::new(KEPT)) }
    }
}

impl Results {
    /// Of the values of [`direct`] those that neither many dispatches touch nor a step that textures are bound to.
    pub fn new(direct: Vec<Option<DeviceId>>, mut touching: Vec<Touching>, program: &Program, textured: &[usize]) -> Self {
        let touched = |step: usize, id: DeviceId| touches(program, &program.steps[step].work, id);
        let wanted = |id: &DeviceId| {
            let count = touching.iter().filter(|one| touched(one.step, *id)).count();
            count <= MOST && !textured.iter().any(|&step| touched(step, *id))
        };
        let direct: Vec<Option<DeviceId>> = direct.into_iter().map(|id| id.filter(wanted)).collect();
        touching.retain(|one| direct.iter().flatten().any(|&id| touched(one.step, id)));
        Self { direct, touching, ..Self::default() }
    }
}

impl Executable {
    /// For each of the graph's outputs a new tensor, where steps write it themselves.
    pub(super) fn new_results(&self) -> Result<Vec<Option<Tensor>>> {
        let new = |id: DeviceId| Tensor::uninitialised(&self.gpu, self.tensor(id).desc().clone(), 0);
        self.results.direct.iter().map(|id| id.map(new).transpose()).collect()
    }

    /// The dispatches of each step, those that touch results bound to these tensors.
    pub(super) fn dispatches_into(&self, results: &[Option<Tensor>]) -> Result<Dispatches> {
        // What lies in which shared buffer, and where it is to lie.
        let mut places: Vec<(DeviceId, Bound, Bound)> = Vec::new();
        for (id, tensor) in self.results.direct.iter().zip(results) {
            if let (Some(id), Some(tensor)) = (id, tensor) {
                let pairs = self.tensor(*id).bounds().0.into_iter().zip(tensor.bounds().0);
                places.extend(pairs.map(|(from, to)| (*id, from, to)));
            }
        }
        if places.is_empty() {
            return Ok(self.dispatches.clone());
        }
        let key: Vec<Bound> = places.iter().map(|(.., to)| to.clone()).collect();
        let kept = || self.results.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dispatches) = kept().find(&key) {
            return Ok(dispatches);
        }
        let mut dispatches = self.dispatches.to_vec();
        for Touching { step, place, bound } in &self.results.touching {
            let work = &self.program.steps[*step].work;
            // Values that one step touches have buffers of their own; others may have had the buffer of a result before it.
            let own: Vec<_> = places.iter().filter(|(id, ..)| touches(&self.program, work, *id)).collect();
            let moved = |bound: &Bound| match own.iter().find(|(_, from, _)| from.buffer == bound.buffer) {
                Some((.., to)) => Bound { buffer: to.buffer.clone(), ..bound.clone() },
                None => bound.clone(),
            };
            let bound: Vec<Bound> = bound.iter().map(moved).collect();
            let dispatch = &mut dispatches[*step][*place];
            dispatch.bind_group = gpu::bind(&self.gpu, &dispatch.pipeline, &bound.iter().collect::<Vec<_>>())?;
        }
        let dispatches: Dispatches = dispatches.into();
        kept().keep(key, dispatches.clone());
        Ok(dispatches)
    }
}
