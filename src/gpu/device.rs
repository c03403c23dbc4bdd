//! [`Gpu`]: a device with its queue, and the discipline around its errors.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{AdapterSummary, BufferPool, PipelineCache, readback::Poller};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::DeviceLimits;

/// A device, its queue, and what is shared by all that runs on it.
pub(crate) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub adapter: AdapterSummary,
    pub limits: DeviceLimits,
    pub pipelines: PipelineCache,
    pub buffers: Arc<BufferPool>,
    pub poller: Poller,
    /// Held by a run of several submissions: those of another run of the same layer would overwrite its workspace between them.
    pub turn: Mutex<()>,
    /// Whether the device was opened here.
    pub owned: bool,
    lost: Arc<Lost>,
}

/// Why the device is gone, once it is.
#[derive(Default)]
struct Lost {
    flag: AtomicBool,
    reason: Mutex<String>,
}

impl Gpu {
    /// Takes over a device; `owned` ones get handlers for lost devices and errors outside every scope.
    pub fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        owned: bool,
        adapter: AdapterSummary,
        pipeline_cache: Option<&Path>,
        limits: DeviceLimits,
    ) -> Self {
        let lost = Arc::new(Lost::default());
        if owned {
            let seen = lost.clone();
            device.set_device_lost_callback(move |reason, message| {
                let text = if message.is_empty() { format!("{reason:?}") } else { format!("{reason:?}: {message}") };
                seen.set(text.to_lowercase());
            });
            device.on_uncaptured_error(Arc::new(|error| log::error!("outside every error scope: {error}")));
        }
        Self {
            limits,
            pipelines: PipelineCache::new(&device, pipeline_cache),
            buffers: Arc::default(),
            poller: Poller::new(device.clone()),
            turn: Mutex::new(()),
            device,
            queue,
            adapter,
            owned,
            lost,
        }
    }

    /// An error if the device is known to be gone: wgpu says nothing then, and gives invalid objects.
    pub fn check(&self) -> Result<()> {
        match self.loss() {
            None => Ok(()),
            Some(reason) => Err(Error::new(ErrorKind::DeviceLost, format!("{reason}; Engine::recover opens it anew"))),
        }
    }

    /// Why the device is gone, where it is known to be.
    pub fn loss(&self) -> Option<String> {
        let lost = self.lost.flag.load(Ordering::Acquire);
        lost.then(|| format!("{}: {}", self.adapter.name, self.lost.reason.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// An error if the device is gone, which it is asked for.
    ///
    /// wgpu drops whatever is asked of a lost device without a word, and calls the callback of the loss when the device is next polled
    /// and has nothing to do, or never where it is the caller's. All that shows is that whatever is made from then on is invalid: so
    /// the device is asked for what it cannot refuse, a small buffer, and nothing is written to it, which wgpu checks all the same.
    pub fn probe(&self) -> Result<()> {
        self.check()?;
        let no_room = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let refused = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let usage = wgpu::BufferUsages::COPY_DST;
        let buffer =
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false });
        self.queue.write_buffer(&buffer, 0, &[]);
        let refused = pollster::block_on(refused.pop()).is_some();
        let no_room = pollster::block_on(no_room.pop()).is_some();
        if refused && !no_room {
            // The callback knows the reason.
            let _ = self.device.poll(wgpu::PollType::Poll);
            self.lost.set_unless_known("the device takes no more work: it was destroyed, or it is lost");
        }
        self.check()
    }

    /// Runs `work` inside error scopes; whatever wgpu reports comes back as the error.
    ///
    /// Scopes are a stack of the thread, so they are pushed and popped here and never held across an await.
    pub fn scoped<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let result = work();
        // Inner to outer; on native backends the answer is there at once. All are popped, whatever the first says.
        let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop())).collect::<Vec<_>>();
        match errors.into_iter().flatten().next() {
            Some(error) => Err(self.error(error)),
            None => self.probe().and(result),
        }
    }

    /// Blocks until everything submitted so far, or up to `submission`, is done.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let wait = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.probe()?;
        wait.map(|_| ()).map_err(|error| Error::new(ErrorKind::Device, error.to_string()))
    }

    fn error(&self, error: wgpu::Error) -> Error {
        if let Err(lost) = self.probe() {
            return lost;
        }
        match error {
            wgpu::Error::OutOfMemory { .. } => Error::new(ErrorKind::OutOfMemory, error.to_string()),
            _ => Error::new(ErrorKind::Device, error.to_string()),
        }
    }

    /// What a failed mapping means.
    pub fn mapping_error(&self, error: &impl std::fmt::Display) -> Error {
        let refused = || Error::new(ErrorKind::Device, format!("a buffer could not be mapped: {error}"));
        self.probe().err().unwrap_or_else(refused)
    }
}

impl Lost {
    fn set(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        self.flag.store(true, Ordering::Release);
    }

    fn set_unless_known(&self, reason: &str) {
        if !self.flag.load(Ordering::Acquire) {
            self.set(reason.into());
        }
    }
}
