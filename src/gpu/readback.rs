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

/// A copy on its way to the host.
pub(crate) struct Readback {
    staging: PooledBuffer,
    bytes: u64,
    submission: wgpu::SubmissionIndex,
    mapped: OneshotReceiver<Result<(), wgpu::BufferAsyncError>>,
    /// Whether the staging buffer is unmapped again.
    finished: bool,
}

impl Drop for Readback {
    fn drop(&mut self) {
        if !self.finished {
            self.staging.raw().unmap();
        }
    }
}

impl Readback {
    /// Submits the copy of the first `bytes` of a buffer, a multiple of 4.
    pub fn start(gpu: &Gpu, source: &wgpu::Buffer, bytes: u64) -> Result<Self> {
        let staging = gpu.buffers.take(gpu, bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        let (sender, mapped) = oneshot_channel();
        let submission = gpu.scoped(|| {
            let mut encoder =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgconv readback") });
            encoder.copy_buffer_to_buffer(source, 0, staging.raw(), 0, bytes);
            let submission = gpu.queue.submit([encoder.finish()]);
            staging.raw().map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                // Nobody may wait any more: then there is nothing to tell.
                let _ = sender.send(result);
            });
            Ok(submission)
        })?;
        Ok(Self { staging, bytes, submission, mapped, finished: false })
    }

    /// Waits by blocking the thread.
    pub fn wait<T>(mut self, gpu: &Gpu, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        gpu.wait(Some(self.submission.clone()))?;
        let answer = pollster::block_on(self.mapped.receive());
        self.finish(gpu, answer, read)
    }

    /// Waits without blocking the thread.
    pub async fn wait_async<T>(mut self, gpu: &Gpu, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        gpu.poller.watch(self.submission.clone())?;
        let answer = self.mapped.receive().await;
        self.finish(gpu, answer, read)
    }

    fn finish<T>(
        &mut self,
        gpu: &Gpu,
        answer: Option<Result<(), wgpu::BufferAsyncError>>,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        match answer {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(gpu.mapping_error(&error)),
            None => return Err(Error::new(ErrorKind::Device, "a buffer's mapping was never answered")),
        }
        let buffer = self.staging.raw();
        let result = match buffer.get_mapped_range(0..self.bytes) {
            Ok(view) => Ok(read(&view)),
            Err(error) => Err(Error::new(ErrorKind::Device, format!("a mapped buffer cannot be read: {error}"))),
        };
        buffer.unmap();
        self.finished = true;
        result
    }
}
