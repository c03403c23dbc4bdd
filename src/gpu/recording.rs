//! Bind groups, dispatches and submissions. One pass and one submission a run, whatever the number of dispatches: those of one
//! pass see each other's writes.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Gpu, Pipeline, Readback};
use crate::error::Result;
use crate::limits::Meter;

/// A buffer and which of its bytes a kernel may touch.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub buffer: wgpu::Buffer,
    /// A multiple of the device's alignment.
    pub offset: u64,
    pub bytes: u64,
}

impl Bound {
    /// The first bytes of a buffer.
    pub fn first(buffer: &wgpu::Buffer, bytes: u64) -> Self {
        Self { buffer: buffer.clone(), offset: 0, bytes }
    }
}

/// What a binding is bound to.
#[derive(Clone, Copy)]
pub(crate) enum Resource<'a> {
    Buffer(&'a Bound),
    Texture(&'a wgpu::TextureView),
}

/// A kernel ready to run.
#[derive(Clone)]
pub(crate) struct Dispatch {
    pub pipeline: Arc<Pipeline>,
    pub bind_group: wgpu::BindGroup,
    pub grid: [u32; 3],
    /// About how many nanoseconds it takes.
    pub ns: u64,
}

/// Dispatches by submission.
fn portions<'a>(gpu: &Gpu, dispatches: &'a [Dispatch]) -> Vec<&'a [Dispatch]> {
    let mut meter = Meter::new(gpu.limits.submission_ns);
    let (mut portions, mut first) = (Vec::new(), 0);
    for (number, dispatch) in dispatches.iter().enumerate() {
        if meter.is_full(dispatch.ns) {
            portions.push(&dispatches[first..number]);
            first = number;
        }
    }
    portions.push(&dispatches[first..]);
    portions
}

/// Binds buffers to a pipeline's bindings, in their order.
pub(crate) fn bind(gpu: &Gpu, pipeline: &Pipeline, bound: &[&Bound]) -> Result<wgpu::BindGroup> {
    bind_resources(gpu, pipeline, &bound.iter().copied().map(Resource::Buffer).collect::<Vec<_>>())
}

/// Binds buffers and textures to a pipeline's bindings, in their order.
pub(crate) fn bind_resources(gpu: &Gpu, pipeline: &Pipeline, resources: &[Resource]) -> Result<wgpu::BindGroup> {
    let entries: Vec<_> = (0..)
        .zip(resources)
        .map(|(binding, &resource)| {
            let resource = match resource {
                Resource::Buffer(&Bound { ref buffer, offset, bytes }) => {
                    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(bytes) })
                }
                Resource::Texture(view) => wgpu::BindingResource::TextureView(view),
            };
            wgpu::BindGroupEntry { binding, resource }
        })
        .collect();
    let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries };
    gpu.scoped(|| Ok(gpu.device.create_bind_group(&descriptor)))
}

/// Records dispatches into a pass.
pub(crate) fn dispatch(pass: &mut wgpu::ComputePass<'_>, dispatches: &[Dispatch]) {
    for Dispatch { pipeline, bind_group, grid: [x, y, z], .. } in dispatches {
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, bind_group, &[]);
        pass.dispatch_workgroups(*x, *y, *z);
    }
}

/// An encoder without commands.
pub(crate) fn encoder(gpu: &Gpu) -> wgpu::CommandEncoder {
    gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgconv network") })
}

/// A compute pass.
pub(crate) fn pass(encoder: &mut wgpu::CommandEncoder) -> wgpu::ComputePass<'_> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: None })
}

/// Submits what an encoder holds and does not wait for it.
pub(crate) fn submit(gpu: &Gpu, encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex> {
    gpu.scoped(|| Ok(gpu.queue.submit([encoder.finish()])))
}

/// Runs lists of dispatches, each in passes of its own, waits for them, and tells when each began and ended on the device, in
/// nanoseconds; `None` where it has no timestamps.
pub(crate) fn timed_passes(gpu: &Gpu, lists: &[&[Dispatch]]) -> Result<Option<Vec<[f64; 2]>>> {
    if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        return Ok(None);
    }
    let mut times = Vec::new();
    // A query set has at most 4096 queries.
    for lists in lists.chunks(2048) {
        let count = 2 * lists.len() as u32;
        let bytes = u64::from(count) * 8;
        let resolved = gpu.buffers.take(gpu, bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
        let query_set = gpu.scoped(|| Ok(gpu.device.create_query_set(&descriptor)))?;
        gpu.scoped(|| {
            let mut commands = encoder(gpu);
            let mut meter = Meter::new(gpu.limits.submission_ns);
            for (number, list) in (0u32..).zip(lists) {
                let portions = portions(gpu, list);
                for (at, portion) in portions.iter().enumerate() {
                    if meter.is_full(portion.iter().map(|dispatch| dispatch.ns).sum()) {
                        gpu.queue.submit([std::mem::replace(&mut commands, encoder(gpu)).finish()]);
                    }
                    let [first, last] = [at == 0, at + 1 == portions.len()];
                    let timestamp_writes = (first || last).then(|| wgpu::ComputePassTimestampWrites {
                        query_set: &query_set,
                        beginning_of_pass_write_index: first.then_some(2 * number),
                        end_of_pass_write_index: last.then_some(2 * number + 1),
                    });
                    let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                    dispatch(&mut commands.begin_compute_pass(&descriptor), portion);
                }
            }
            commands.resolve_query_set(&query_set, 0..count, resolved.raw(), 0);
            gpu.queue.submit([commands.finish()]);
            Ok(())
        })?;
        let ticks: Vec<u64> =
            Readback::start(gpu, &Bound::first(resolved.raw(), bytes).into())?.wait(gpu, bytemuck::pod_collect_to_vec)?;
        let period = f64::from(gpu.queue.get_timestamp_period());
        times.extend(ticks.chunks_exact(2).map(|pair| [pair[0] as f64 * period, pair[1] as f64 * period]));
    }
    Ok(Some(times))
}

/// Submits dispatches and does not wait for them.
pub(crate) fn run(gpu: &Gpu, dispatches: &[Dispatch]) -> Result<()> {
    gpu.scoped(|| {
        submit_all(gpu, dispatches, None);
        Ok(())
    })
}

fn submit_all(gpu: &Gpu, dispatches: &[Dispatch], timestamps: Option<(&wgpu::QuerySet, &wgpu::Buffer)>) {
    let portions = portions(gpu, dispatches);
    let _turn = (portions.len() > 1).then(|| gpu.turn.lock().unwrap_or_else(PoisonError::into_inner));
    for (number, portion) in portions.iter().enumerate() {
        let (first, last) = (number == 0, number + 1 == portions.len());
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgconv run") });
        {
            // The first pass begins the time and the last one ends it.
            let timestamps = timestamps.filter(|_| first || last);
            let timestamp_writes = timestamps.map(|(query_set, _)| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: first.then_some(0),
                end_of_pass_write_index: last.then_some(1),
            });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            dispatch(&mut pass, portion);
        }
        if let Some((query_set, buffer)) = timestamps.filter(|_| last) {
            encoder.resolve_query_set(query_set, 0..2, buffer, 0);
        }
        gpu.queue.submit([encoder.finish()]);
    }
}

/// Runs dispatches, waits for them, and tells the time: on the device, where it has timestamps, and on the wall.
pub(crate) fn run_timed(gpu: &Gpu, dispatches: &[Dispatch]) -> Result<(Option<Duration>, Duration)> {
    if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        let start = Instant::now();
        run(gpu, dispatches)?;
        gpu.wait(None)?;
        return Ok((None, start.elapsed()));
    }
    let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
    let resolved = gpu.buffers.take(gpu, 16, usage)?;
    let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
    let query_set = gpu.scoped(|| Ok(gpu.device.create_query_set(&descriptor)))?;
    let start = Instant::now();
    gpu.scoped(|| {
        submit_all(gpu, dispatches, Some((&query_set, resolved.raw())));
        Ok(())
    })?;
    gpu.wait(None)?;
    let wall = start.elapsed();
    let ticks: [u64; 2] =
        Readback::start(gpu, &Bound::first(resolved.raw(), 16).into())?.wait(gpu, bytemuck::pod_read_unaligned)?;
    let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(gpu.queue.get_timestamp_period());
    Ok((Some(Duration::from_nanos(nanoseconds as u64)), wall))
}
