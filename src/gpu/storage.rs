//! [`Storage`]: the bytes of a tensor, in one buffer or, where none has room for all, in several that follow each other.

use super::{Bound, Gpu, PooledBuffer};
use crate::error::{Error, Result};
use crate::limits::Ranges;

/// Buffers that hold a tensor's bytes one after the other: each but the last has [`Ranges::chunk`] of them.
pub(crate) struct Storage {
    buffers: Vec<PooledBuffer>,
    /// The byte of the first buffer at which the tensor begins; 0 unless it is a caller's.
    offset: u64,
    chunk: u64,
}

impl Storage {
    /// Room for so many bytes, whose content is whatever was there.
    pub fn take(gpu: &Gpu, bytes: u64, usage: wgpu::BufferUsages) -> Result<Self> {
        let Ranges { chunk, .. } = Ranges::of(&gpu.limits);
        let count = bytes.div_ceil(chunk).max(1);
        if count > 1 {
            // All or nothing, before anything that waits is freed for a part.
            gpu.buffers.check_budget(bytes)?;
        }
        let take = |number: u64| gpu.buffers.take(gpu, (bytes - number * chunk).min(chunk), usage);
        let buffers = (0..count).map(take).collect::<Result<_>>();
        let within = |error: Error| if count > 1 { error.within(&format!("{bytes} bytes in {count} buffers")) } else { error };
        Ok(Self { buffers: buffers.map_err(within)?, offset: 0, chunk })
    }

    /// A buffer of a caller from a byte on, which no pool gets.
    pub fn foreign(buffer: &wgpu::Buffer, offset: u64) -> Self {
        Self { buffers: vec![PooledBuffer::foreign(buffer)], offset, chunk: u64::MAX }
    }

    pub fn usage(&self) -> wgpu::BufferUsages {
        self.buffers[0].raw().usage()
    }

    /// Whether all can be read where they lie, and nobody else has handles to them.
    pub fn is_mappable(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.is_pooled() && buffer.raw().usage().contains(wgpu::BufferUsages::MAP_READ))
    }

    /// The first bytes, and as many behind them as the last buffer of those has room for, up to `with_guard` in all.
    pub fn first(&self, bytes: u64, with_guard: u64) -> Bounds {
        self.range(0, bytes, with_guard)
    }

    /// The bytes from one on, and as many behind them as the last buffer of those has room for, up to `with_guard` in all.
    pub fn range(&self, begin: u64, bytes: u64, with_guard: u64) -> Bounds {
        let ends = |start: u64| start.saturating_add(self.chunk);
        let starts = (0..).zip(&self.buffers).map(|(number, buffer): (u64, _)| (number.saturating_mul(self.chunk), buffer));
        let touched = starts
            .skip_while(|(start, _)| ends(*start) <= begin)
            .take_while(|(start, _)| *start <= begin || *start < begin.saturating_add(bytes));
        let bound = |(start, buffer): (u64, &PooledBuffer)| {
            let from = start.max(begin);
            let bytes = begin.saturating_add(with_guard).min(ends(start)) - from;
            Bound { buffer: buffer.raw().clone(), offset: self.offset + from - start, bytes }
        };
        Bounds(touched.map(bound).collect())
    }

    pub fn into_buffers(self) -> Vec<PooledBuffer> {
        self.buffers
    }
}

/// Ranges of buffers that follow each other as the bytes of one tensor, or of a constant.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bounds(pub Vec<Bound>);

impl From<Bound> for Bounds {
    fn from(bound: Bound) -> Self {
        Self(vec![bound])
    }
}

impl Bounds {
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|bound| bound.bytes).sum()
    }

    /// The range from a byte on of so many bytes, or the whole.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where it lies in more than one buffer.
    pub fn range(&self, view: Option<[u64; 2]>) -> Result<Bound> {
        let [first, bytes] = view.unwrap_or([0, self.bytes()]);
        let mut begin = 0;
        for bound in &self.0 {
            if first < begin + bound.bytes && first + bytes <= begin + bound.bytes {
                return Ok(Bound { buffer: bound.buffer.clone(), offset: bound.offset + first - begin, bytes });
            }
            begin += bound.bytes;
        }
        let count = self.0.len();
        Err(Error::unsupported("tensor", format!("lies in {count} buffers, of which none has the {bytes} bytes from {first} on")))
    }

    /// Whether one buffer has ranges of both.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|own| other.0.iter().any(|bound| bound.buffer == own.buffer))
    }

    /// Records a copy of the first bytes to another tensor's, which need not be cut where these are.
    pub fn copy_to(&self, encoder: &mut wgpu::CommandEncoder, to: &Self, bytes: u64) {
        let (mut from, mut to) = (self.0.iter().cloned(), to.0.iter().cloned());
        let (mut source, mut target): (Option<Bound>, Option<Bound>) = (None, None);
        let mut left = bytes;
        while left > 0 {
            let ended = |bound: &Option<Bound>| bound.as_ref().is_none_or(|bound| bound.bytes == 0);
            if ended(&source) {
                source = from.next();
            }
            if ended(&target) {
                target = to.next();
            }
            let (Some(source), Some(target)) = (&mut source, &mut target) else { return };
            let bytes = left.min(source.bytes).min(target.bytes);
            encoder.copy_buffer_to_buffer(&source.buffer, source.offset, &target.buffer, target.offset, bytes);
            for bound in [source, target] {
                (bound.offset, bound.bytes) = (bound.offset + bytes, bound.bytes - bytes);
            }
            left -= bytes;
        }
    }
}
