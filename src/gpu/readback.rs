//! From buffers of the device to bytes of the host, blocking or not.

use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::{Bound, Bounds, Gpu, PooledBuffer, Storage};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Ranges;

/// A thread that drives the device for those who await instead of blocking. It starts with the first of them.
pub(crate) struct Poller {
    device: wgpu::Device,
    running: Mutex<Option<Running>>,
}

struct Running {
    sender: Sender<wgpu::SubmissionIndex>,
    thread: JoinHandle<()>,
}

impl Poller {
    pub fn new(device: wgpu::Device) -> Self {
        Self { device, running: Mutex::new(None) }
    }

    /// Sees to it that callbacks up to this submission are called.
    fn watch(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            let (sender, submissions) = mpsc::channel::<wgpu::SubmissionIndex>();
            let device = self.device.clone();
            // The thread ends when the sender is dropped.
            let work = move || {
                for submission in submissions {
                    // A lost device shows in the callback, which is called all the same.
                    let _ = device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
                }
            };
            let thread = std::thread::Builder::new()
                .name("wgconv-poll".into())
                .spawn(work)
                .map_err(|error| Error::new(ErrorKind::Device, format!("no thread to poll the device: {error}")))?;
            *running = Some(Running { sender, thread });
        }
        match running.as_ref().map(|running| running.sender.send(submission)) {
            Some(Ok(())) => Ok(()),
            _ => Err(Error::new(ErrorKind::Device, "the thread that polls the device is gone")),
        }
    }
}

impl Drop for Poller {
    /// Waits for the thread, which may have the last handle of the device: to drop that unloads the driver, and where the process ends
    /// meanwhile, it crashes. Whoever drops the engine in a waker is called by the thread, which cannot wait for itself.
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { sender, thread }) = running {
            drop(sender);
            if thread.thread().id() != std::thread::current().id() {
                // A panic of the thread was reported when it happened.
                let _ = thread.join();
            }
        }
    }
}

/// What the host is to read after a submission: copies of a tensor's ranges, each in a buffer of its own, or the tensor's own buffers.
pub(crate) struct Recorded {
    staging: Vec<(PooledBuffer, u64)>,
}

impl Recorded {
    /// Records the copy of ranges that follow each other, of a multiple of 4 bytes each above 0.
    pub fn new(gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, source: &Bounds) -> Result<Self> {
        let mut staging = Vec::new();
        let Ranges { chunk, .. } = Ranges::of(&gpu.limits);
        for Bound { buffer, offset, bytes } in &source.0 {
            // A caller's buffer may be larger than those made here.
            for first in (0..*bytes).step_by(usize::try_from(chunk).unwrap_or(usize::MAX)) {
                let bytes = chunk.min(bytes - first);
                let target = gpu.buffers.take(gpu, bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
                encoder.copy_buffer_to_buffer(buffer, offset + first, target.raw(), 0, bytes);
                staging.push((target, bytes));
            }
        }
        Ok(Self { staging })
    }

    /// The first bytes where they lie, without a copy. They must be [mappable](Storage::is_mappable), and nobody else may use them any
    /// more.
    pub fn in_place(storage: Storage, bytes: u64) -> Self {
        let lengths: Vec<u64> = storage.first(bytes, bytes).0.iter().map(|bound| bound.bytes).collect();
        Self { staging: storage.into_buffers().into_iter().zip(lengths).collect() }
    }

    /// To be called when the encoder is submitted.
    pub fn submitted(self, gpu: &Gpu, submission: wgpu::SubmissionIndex) -> Result<Readback> {
        let mut readback = Readback { parts: Vec::new(), submission };
        for (staging, bytes) in self.staging {
            let (sender, mapped) = oneshot_channel();
            gpu.scoped(|| {
                staging.raw().map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                    // Nobody may wait any more: then there is nothing to tell.
                    let _ = sender.send(result);
                });
                Ok(())
            })?;
            readback.parts.push(Part { staging, bytes, mapped, answer: None });
        }
        Ok(readback)
    }
}

/// A copy on its way to the host. Dropping it at any time gives its buffers back.
pub(crate) struct Readback {
    /// What follows each other on the host.
    parts: Vec<Part>,
    submission: wgpu::SubmissionIndex,
}

struct Part {
    staging: PooledBuffer,
    bytes: u64,
    mapped: OneshotReceiver<Result<(), wgpu::BufferAsyncError>>,
    /// Whether the copy arrived, once that is known.
    answer: Option<Result<()>>,
}

impl Drop for Part {
    fn drop(&mut self) {
        // A mapping that is still pending is cancelled by this.
        if !matches!(self.answer, Some(Err(_))) {
            self.staging.raw().unmap();
        }
    }
}

impl Readback {
    /// Submits the copy of ranges that follow each other, of a multiple of 4 bytes each above 0.
    pub fn start(gpu: &Gpu, source: &Bounds) -> Result<Self> {
        let mut recorded = None;
        let submission = gpu.scoped(|| {
            let mut encoder =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgconv readback") });
            recorded = Some(Recorded::new(gpu, &mut encoder, source)?);
            Ok(gpu.queue.submit([encoder.finish()]))
        })?;
        recorded.expect("recorded before it was submitted").submitted(gpu, submission)
    }

    /// [`Recorded::in_place`], when everything before is done.
    pub fn in_place(gpu: &Gpu, storage: Storage, bytes: u64) -> Result<Self> {
        // Writes of the host that wait for a submission are in this one.
        let submission = gpu.scoped(|| Ok(gpu.queue.submit([])))?;
        Recorded::in_place(storage, bytes).submitted(gpu, submission)
    }

    /// Blocks the thread until the copy is there.
    pub fn arrive(&mut self, gpu: &Gpu) -> Result<()> {
        for part in &mut self.parts {
            if part.answer.is_none() {
                gpu.wait(Some(self.submission.clone()))?;
                part.answer = Some(meaning(gpu, pollster::block_on(part.mapped.receive())));
            }
        }
        self.answer()
    }

    /// [`arrive`](Self::arrive) without blocking the thread. Dropped before it is done, it can be begun again.
    pub async fn arrive_async(&mut self, gpu: &Gpu) -> Result<()> {
        for part in &mut self.parts {
            if part.answer.is_none() {
                gpu.poller.watch(self.submission.clone())?;
                let answer = part.mapped.receive().await;
                part.answer = Some(meaning(gpu, answer));
            }
        }
        self.answer()
    }

    /// What all have answered.
    fn answer(&self) -> Result<()> {
        self.parts.iter().filter_map(|part| part.answer.clone()).collect()
    }

    /// Reads what has arrived.
    pub fn read<T>(self, gpu: &Gpu, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let views = self.parts.iter().map(|part| part.staging.raw().get_mapped_range(0..part.bytes));
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| gpu.mapping_error(&error))?;
        match views.as_slice() {
            [view] => Ok(read(view)),
            views => Ok(read(&views.iter().map(|view| &**view).collect::<Vec<&[u8]>>().concat())),
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
