//! The only folder that says `wgpu`: adapters and devices, pipelines, buffers, recordings. It knows no convolution.
//!
//! Every call that can fail on the device runs inside error scopes, so that what wgpu reports comes back as an
//! [`Error`](crate::Error) and its default handler, which panics, is never reached.

mod adapter;
mod buffer;
mod current;
mod device;
mod foreign;
mod pipeline;
mod pipeline_file;
mod readback;
mod recording;
mod storage;

pub(crate) use adapter::{Wanted, list, open, wrap};
pub use buffer::BufferStats;
pub(crate) use buffer::{BufferPool, PooledBuffer};
pub(crate) use current::{Current, Rebuilt};
pub(crate) use device::Gpu;
pub(crate) use foreign::{check_range, view};
pub(crate) use pipeline::{Pipeline, PipelineCache};
pub(crate) use readback::{Readback, Recorded};
pub(crate) use recording::{
    Bound, Dispatch, Resource, bind, bind_resources, dispatch, encoder, pass, run, run_timed, submit, timed_passes,
};
pub(crate) use storage::{Bounds, Storage};

pub use adapter::{AdapterReport, AdapterSummary};
pub(crate) use wgpu::BufferUsages as Usage;
pub(crate) use wgpu::TextureView;
pub use wgpu::{Adapter, Buffer, CommandEncoder, ComputePass, Device, Queue, SubmissionIndex, Texture};

use crate::error::Result;
use crate::limits::DeviceClass;

/// The usage of every buffer of weights and intermediate values, and at least that of every tensor.
pub(crate) const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// Whether the device shares the host's memory, and was opened for it.
pub(crate) fn shares_memory(gpu: &Gpu) -> bool {
    let mappable = gpu.device.features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
    mappable && gpu.limits.class != DeviceClass::Discrete
}

/// The usage of tensors that are made for a caller. Where host and device share their memory they can be read and written
/// where they lie.
pub(crate) fn tensor_usage(gpu: &Gpu) -> wgpu::BufferUsages {
    if shares_memory(gpu) { STORAGE | wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE } else { STORAGE }
}

/// The usage of a buffer of sizes.
pub(crate) const UNIFORM: wgpu::BufferUsages = wgpu::BufferUsages::UNIFORM.union(wgpu::BufferUsages::COPY_DST);

/// Writes the first bytes of ranges that follow each other, a multiple of 4; the next submission sees them.
pub(crate) fn write(gpu: &Gpu, to: &Bounds, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    for bound in &to.0 {
        let (part, behind) = rest.split_at(rest.len().min(usize::try_from(bound.bytes).unwrap_or(usize::MAX)));
        gpu.buffers.write(gpu, bound, part)?;
        rest = behind;
    }
    Ok(())
}

/// Makes ranges zeros, of a multiple of 4 bytes each.
pub(crate) fn clear(gpu: &Gpu, ranges: &Bounds) -> Result<()> {
    gpu.scoped(|| {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgconv zeros") });
        for bound in &ranges.0 {
            encoder.clear_buffer(&bound.buffer, bound.offset, Some(bound.bytes));
        }
        gpu.queue.submit([encoder.finish()]);
        Ok(())
    })
}
