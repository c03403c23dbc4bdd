//! What follows the loss of a device: [`Engine::recover`].

use std::sync::Arc;

use super::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{self, Adapter, Device, Gpu, Queue};
#[cfg(doc)]
use crate::{
    layer::{Conv, Pool},
    tensor::Tensor,
};

impl Engine {
    /// Opens the adapter again after the device was lost: the driver was reset or updated, the GPU was unplugged and is back. It does
    /// nothing where the device is well.
    ///
    /// Everything made by this engine or a clone of it uses the new device from then on. A [`Network`](crate::Network), [`Conv`] or [`Pool`]
    /// puts itself on it when it is next run, weights and pipelines included, and gives the same results as before, to the bit. A
    /// [`Tensor`] is gone with its device: using it remains [`ErrorKind::DeviceLost`], and it has to be uploaded again. Threads may call
    /// this at once.
    ///
    /// # Errors
    /// [`ErrorKind::NoAdapter`] where the adapter is not there (any more, or yet);
    /// [`ErrorKind::Unsupported`] where the new device has less than plans were made for, and for engines
    /// on a [caller's device](Self::from_wgpu), which need [`recover_with`](Self::recover_with). The engine is then as it was.
    ///
    /// # Examples
    /// ```no_run
    /// # use wgconv::{Engine, ErrorKind, Network, Value, Result};
    /// fn run(engine: &Engine, network: &Network, inputs: &[Value]) -> Result<Vec<Value>> {
    ///     match network.run_values(inputs) {
    ///         Err(error) if error.kind() == ErrorKind::DeviceLost => {
    ///             engine.recover()?;
    ///             network.run_values(inputs)
    ///         }
    ///         result => result,
    ///     }
    /// }
    /// ```
    pub fn recover(&self) -> Result<()> {
        pollster::block_on(self.recover_async())
    }

    /// [`recover`](Self::recover) without blocking the thread.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub async fn recover_async(&self) -> Result<()> {
        let Some(lost) = self.lost()? else { return Ok(()) };
        if !lost.owned {
            let text = "was opened by the caller, who has to open another and give it to recover_with";
            return Err(Error::unsupported("device", text));
        }
        let name = self.desc.adapter.as_ref().unwrap_or(&self.current.adapter.name);
        self.replace(&lost, gpu::open(Some(name), &self.desc.wanted()).await?)
    }

    /// [`recover`](Self::recover) with a device that the caller opened, on the same adapter and with the same features and limits or
    /// more. It does nothing where the device is well.
    ///
    /// # Errors
    /// As [`recover`](Self::recover), and [`ErrorKind::DeviceLost`] where the new device is gone too.
    pub fn recover_with(&self, adapter: &Adapter, device: Device, queue: Queue) -> Result<()> {
        let Some(lost) = self.lost()? else { return Ok(()) };
        let new = gpu::wrap(adapter, device, queue, &self.desc.wanted());
        new.scoped(|| Ok(()))?;
        new.probe()?;
        self.replace(&lost, new)
    }

    fn replace(&self, lost: &Arc<Gpu>, new: Gpu) -> Result<()> {
        new.buffers.set_budget(self.desc.memory_budget);
        self.current.replace(lost, new)
    }

    /// The device, if it is gone.
    fn lost(&self) -> Result<Option<Arc<Gpu>>> {
        let gpu = self.gpu();
        match gpu.probe() {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == ErrorKind::DeviceLost => Ok(Some(gpu)),
            Err(error) => Err(error),
        }
    }
}
