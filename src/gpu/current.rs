//! [`Current`]: the device that an engine runs on, which may be exchanged for another after its loss; and [`Rebuilt`]: what was made
//! on a device and is made again on the next.

use std::sync::{Arc, PoisonError, RwLock};

use super::{AdapterSummary, Gpu};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::DeviceLimits;

/// The device of an engine and of all that was made with it. The adapter and the limits that plans keep to never change.
pub(crate) struct Current {
    pub adapter: AdapterSummary,
    pub limits: DeviceLimits,
    gpu: RwLock<Arc<Gpu>>,
}

impl Current {
    pub fn new(gpu: Arc<Gpu>) -> Self {
        Self { adapter: gpu.adapter.clone(), limits: gpu.limits, gpu: RwLock::new(gpu) }
    }

    /// The device that there is now; what is begun on it is finished on it, or fails with it.
    pub fn gpu(&self) -> Arc<Gpu> {
        self.gpu.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new device in the place of a lost one. Where another thread was faster, its device stays and this one is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where plans made for the lost one could not run on the new one.
    pub fn replace(&self, lost: &Arc<Gpu>, mut new: Gpu) -> Result<()> {
        let name = |adapter: &AdapterSummary| format!("{} ({})", adapter.name, adapter.backend);
        if name(&self.adapter) != name(&new.adapter) {
            return Err(Error::new(
                ErrorKind::NoAdapter,
                format!("the engine ran on {}, but the new device is of {}", name(&self.adapter), name(&new.adapter)),
            ));
        }
        if let Some(less) = self.limits.exceeds(&new.limits) {
            return Err(Error::unsupported("device", format!("cannot take the lost one's place: {less}")));
        }
        // Tensors are cut where plans expect it, whatever more the new one has.
        new.limits = self.limits;
        let mut gpu = self.gpu.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&gpu, lost) {
            *gpu = Arc::new(new);
        }
        Ok(())
    }
}

/// Something made on a device, with the device that it was made on.
struct Made<T> {
    gpu: Arc<Gpu>,
    value: Arc<T>,
}

/// Something that lives on a device and is made again, when it is next asked for, on the one that took a lost one's place.
pub(crate) struct Rebuilt<T> {
    current: Arc<Current>,
    made: RwLock<Made<T>>,
}

impl<T> Rebuilt<T> {
    /// Makes it for the first time.
    pub fn new(current: &Arc<Current>, make: impl FnOnce(&Arc<Gpu>) -> Result<T>) -> Result<Self> {
        let gpu = current.gpu();
        let value = Arc::new(make(&gpu)?);
        Ok(Self { current: current.clone(), made: RwLock::new(Made { gpu, value }) })
    }

    /// As it was made last, on whatever device: for what does not depend on it.
    pub fn last(&self) -> Arc<T> {
        self.made.read().unwrap_or_else(PoisonError::into_inner).value.clone()
    }

    /// As it is on the device that there is now.
    ///
    /// # Errors
    /// Those of making it.
    pub fn get(&self, make: impl FnOnce(&Arc<Gpu>) -> Result<T>) -> Result<Arc<T>> {
        let gpu = self.current.gpu();
        {
            let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&made.gpu, &gpu) {
                return Ok(made.value.clone());
            }
        }
        // Made outside the lock, which a thread of a pool that helps out while it waits could otherwise meet again: two threads may
        // make the same one, which costs time but is right.
        let value = Arc::new(make(&gpu)?);
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&made.gpu, &gpu) {
            *made = Made { gpu, value };
        }
        Ok(made.value.clone())
    }
}
