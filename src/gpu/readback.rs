//! From a buffer of the device to bytes of the host, blocking or not.

use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::{Gpu, PooledBuffer};
use crate::error::{Error, ErrorKind, Result};

/// A thread that drives the device for those who await instead of blocking. It starts with the first of them.
pub(crate) struct Poller {
    device: wgpu::Device,
    sender: Mutex<Option<Sender<wgpu::SubmissionIndex>>>,
}

impl Poller {
    pub fn new(device: wgpu::Device) -> Self {
        Self { device, sender: Mutex::new(None) }
    }

    /// Sees to it that callbacks up to this submission are called.
    fn watch(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_none() {
            let (new, submissions) = mpsc::channel::<wgpu::SubmissionIndex>();
            let device = self.device.clone();
            // The thread ends when the sender, and so the engine, is dropped.
            let work = move || {
                for submission in submissions {
                    // A lost device shows in the callback, which is called all the same.
                    let _ = device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
                }
            };
            std::thread::Builder::new()
                .name("wgconv-poll".into())
                .spawn(work)
                .map_err(|error| Error::new(ErrorKind::Device, format!("no thread to poll the device: {error}")))?;
            *sender = Some(new);
        }
        match sender.as_ref().map(|sender| sender.send(submission)) {
            Some(Ok(())) => Ok(()),
            _ => Err(Error::new(ErrorKind::Device, "the thread that polls the device is gone")),
        }
    }
}

/// A copy to the host that is recorded and waits for its submission.
pub(crate) struct Recorded {
    staging: PooledBuffer,
    bytes: u64,
}

impl Recorded {
    /// Records the copy of the first `bytes` of a buffer, a multiple of 4 above 0.
    pub fn new(gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, source: &wgpu::Buffer, bytes: u64) -> Result<Self> {
        let staging = gpu.buffers.take(gpu, bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        encoder.copy_buffer_to_buffer(source, 0, staging.raw(), 0, bytes);
        Ok(Self { staging, bytes })
    }

    /// To be called when the encoder is submitted.
    pub fn submitted(self, gpu: &Gpu, submission: wgpu::SubmissionIndex) -> Result<Readback> {
        let Self { staging, bytes } = self;
        let (sender, mapped) = oneshot_channel();
        gpu.scoped(|| {
            staging.raw().map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                // Nobody may wait any more: then there is nothing to tell.
                let _ = sender.send(result);
            });
            Ok(())
        })?;
        Ok(Readback { staging, bytes, submission, mapped, answer: None })
    }
}

/// A copy on its way to the host. Dropping it at any time gives its buffer back.
pub(crate) struct Readback {
    staging: PooledBuffer,
    bytes: u64,
    submission: wgpu::SubmissionIndex,
    mapped: OneshotReceiver<Result<(), wgpu::BufferAsyncError>>,
    /// Whether the copy arrived, once that is known.
    answer: Option<Result<()>>,
}

impl Drop for Readback {
    fn drop(&mut self) {
        // A mapping that is still pending is cancelled by this.
        if !matches!(self.answer, Some(Err(_))) {
            self.staging.raw().unmap();
        }
    }
}

impl Readback {
    /// Submits the copy of the first `bytes` of a buffer, a multiple of 4 above 0.
    pub fn start(gpu: &Gpu, source: &wgpu::Buffer, bytes: u64) -> Result<Self> {
        let mut recorded = None;
        let submission = gpu.scoped(|| {
            let mut encoder =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgconv readback") });
            recorded = Some(Recorded::new(gpu, &mut encoder, source, bytes)?);
            Ok(gpu.queue.submit([encoder.finish()]))
        })?;
        recorded.expect("recorded before it was submitted").submitted(gpu, submission)
    }

    /// Reads a buffer where it lies, without a copy, when everything before is done. It must allow [`MAP_READ`], and nobody else may use
    /// it any more.
    ///
    /// [`MAP_READ`]: wgpu::BufferUsages::MAP_READ
    pub fn in_place(gpu: &Gpu, buffer: PooledBuffer, bytes: u64) -> Result<Self> {
        // Writes of the host that wait for a submission are in this one.
        let submission = gpu.scoped(|| Ok(gpu.queue.submit([])))?;
        Recorded { staging: buffer, bytes }.submitted(gpu, submission)
    }

    /// Blocks the thread until the copy is there.
    pub fn arrive(&mut self, gpu: &Gpu) -> Result<()> {
        if self.answer.is_none() {
            gpu.wait(Some(self.submission.clone()))?;
            let answer = pollster::block_on(self.mapped.receive());
            self.answer = Some(meaning(gpu, answer));
        }
        self.answer.clone().expect("set above")
    }

    /// [`arrive`](Self::arrive) without blocking the thread. Dropped before it is done, it can be begun again.
    pub async fn arrive_async(&mut self, gpu: &Gpu) -> Result<()> {
        if self.answer.is_none() {
            gpu.poller.watch(self.submission.clone())?;
            let answer = self.mapped.receive().await;
            self.answer = Some(meaning(gpu, answer));
        }
        self.answer.clone().expect("set above")
    }

    /// Reads what has arrived.
    pub fn read<T>(self, gpu: &Gpu, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        match self.staging.raw().get_mapped_range(0..self.bytes) {
            Ok(view) => Ok(read(&view)),
            Err(error) => Err(gpu.mapping_error(&error)),
        }
    }

    /// Waits by blocking the thread, and reads.
    pub fn wait<T>(mut self, gpu: &Gpu, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.arrive(gpu)?;
        self.read(gpu, read)
    }

    /// Waits without blocking the thread, and reads.
    pub async fn wait_async<T>(mut self, gpu: &Gpu, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.arrive_async(gpu).await?;
        self.read(gpu, read)
    }
}

/// What the answer to a mapping means.
fn meaning(gpu: &Gpu, answer: Option<Result<(), wgpu::BufferAsyncError>>) -> Result<()> {
    match answer {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(gpu.mapping_error(&error)),
        None => Err(gpu.mapping_error(&"the mapping was never answered")),
    }
}
