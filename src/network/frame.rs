//! [`Frame`]: the results of one run on their way to the host.

use std::sync::Arc;

use super::convert::bytes_to_value;
use crate::error::Result;
use crate::gpu::{Gpu, Readback, Recorded, SubmissionIndex};
use crate::tensor_desc::TensorDesc;
use crate::value::{ElementType, Value};

/// A result whose copy is recorded, or that the host has.
pub(super) enum Leaving {
    Recorded { recorded: Recorded, desc: TensorDesc, element: ElementType },
    Value(Arc<Value>),
}

/// A result that is being copied, or that the host has.
enum Coming {
    Readback { readback: Readback, desc: TensorDesc, element: ElementType },
    Value(Arc<Value>),
}

/// The results of one run. Dropping it at any time gives its buffers back.
pub(super) struct Frame {
    /// The device that the run is on, whatever device the engine has later.
    gpu: Arc<Gpu>,
    results: Vec<Coming>,
}

impl Frame {
    /// To be made when the copies are submitted.
    pub fn new(gpu: &Arc<Gpu>, results: Vec<Leaving>, submission: &SubmissionIndex) -> Result<Self> {
        let coming = |result: Leaving| {
            Ok(match result {
                Leaving::Recorded { recorded, desc, element } => {
                    Coming::Readback { readback: recorded.submitted(gpu, submission.clone())?, desc, element }
                }
                Leaving::Value(value) => Coming::Value(value),
            })
        };
        Ok(Self { gpu: gpu.clone(), results: results.into_iter().map(coming).collect::<Result<_>>()? })
    }

    fn readbacks(results: &mut [Coming]) -> impl Iterator<Item = &mut Readback> {
        results.iter_mut().filter_map(|result| match result {
            Coming::Readback { readback, .. } => Some(readback),
            Coming::Value(_) => None,
        })
    }

    /// Blocks the thread until everything is there.
    pub fn arrive(&mut self) -> Result<()> {
        Self::readbacks(&mut self.results).try_for_each(|readback| readback.arrive(&self.gpu))
    }

    /// [`arrive`](Self::arrive) without blocking the thread. Dropped before it is done, it can be begun again.
    pub async fn arrive_async(&mut self) -> Result<()> {
        for readback in Self::readbacks(&mut self.results) {
            readback.arrive_async(&self.gpu).await?;
        }
        Ok(())
    }

    /// Reads what has arrived.
    pub fn read(self) -> Result<Vec<Value>> {
        let read = |result: Coming| match result {
            Coming::Readback { readback, desc, element } => {
                readback.read(&self.gpu, |bytes| bytes_to_value(bytes, &desc, element))?
            }
            Coming::Value(value) => Ok(Arc::unwrap_or_clone(value)),
        };
        self.results.into_iter().map(read).collect()
    }

    /// Waits by blocking the thread, and reads.
    pub fn wait(mut self) -> Result<Vec<Value>> {
        self.arrive()?;
        self.read()
    }
}
