//! [`BufferPool`]: buffers that are used again instead of made again.
//!
//! A buffer goes back when its last handle is dropped, even while the device still works with it: whatever takes it next is
//! submitted later, and a queue runs its submissions in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Gpu;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of the smallest buffer: everything smaller shares its class.
const SMALLEST: u64 = 256;

/// Free buffers of one class beyond which a returned one is freed.
const KEPT: usize = 16;

/// What a free buffer is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Class {
    bytes: u64,
    usage: wgpu::BufferUsages,
}

/// What the buffers of an engine take of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferStats {
    /// Bytes that tensors, weights and staging buffers hold.
    pub in_use: u64,
    /// Bytes that wait to be used again.
    pub cached: u64,
    /// The most bytes that were in use at one time.
    pub peak: u64,
    /// Buffers that the device was asked for since the engine was made.
    pub allocations: u64,
}

/// Free buffers by size and usage.
#[derive(Default)]
struct Free {
    lists: HashMap<Class, Vec<wgpu::Buffer>>,
    stats: BufferStats,
}

/// Buffers that wait to be used again.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: Mutex<Free>,
}

/// A buffer that returns to its pool when dropped.
pub(crate) struct PooledBuffer {
    buffer: wgpu::Buffer,
    class: Class,
    pool: Weak<BufferPool>,
}

/// Sizes in steps of an eighth of a power of two: at most a fifth is wasted and similar sizes meet.
fn class_bytes(bytes: u64) -> u64 {
    let bytes = bytes.max(SMALLEST);
    let step = (bytes.next_power_of_two() / 8).max(SMALLEST);
    bytes.div_ceil(step) * step
}

impl BufferPool {
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stats(&self) -> BufferStats {
        self.lock().stats
    }

    /// A buffer of at least `bytes`; its content is whatever was there.
    pub fn take(self: &Arc<Self>, gpu: &Gpu, bytes: u64, usage: wgpu::BufferUsages) -> Result<PooledBuffer> {
        gpu.check()?;
        if bytes > gpu.limits.buffer_bytes {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("a buffer of {bytes} bytes is needed, but the device's largest has {} bytes", gpu.limits.buffer_bytes),
            ));
        }
        let class = Class { bytes: class_bytes(bytes).min(gpu.limits.buffer_bytes & !3), usage };
        let found = self.lock().lists.get_mut(&class).and_then(Vec::pop);
        let new = found.is_none();
        let buffer = match found {
            Some(buffer) => buffer,
            None => gpu.scoped(|| {
                Ok(gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: class.bytes,
                    usage,
                    mapped_at_creation: false,
                }))
            })?,
        };
        let stats = &mut self.lock().stats;
        if new {
            stats.allocations += 1;
        } else {
            stats.cached -= class.bytes;
        }
        stats.in_use += class.bytes;
        stats.peak = stats.peak.max(stats.in_use);
        Ok(PooledBuffer { buffer, class, pool: Arc::downgrade(self) })
    }
}

impl PooledBuffer {
    pub fn raw(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut free = pool.lock();
        free.stats.in_use -= self.class.bytes;
        let list = free.lists.entry(self.class).or_default();
        if list.len() < KEPT {
            list.push(self.buffer.clone());
            free.stats.cached += self.class.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::class_bytes;

    #[test]
    fn a_size_class_holds_its_size_wastes_a_fifth_at_most_and_is_a_class_of_its_own() {
        for bytes in (1..100_000).chain([1 << 30, (1 << 30) + 1, (1 << 31) - 4]) {
            let class = class_bytes(bytes);
            assert!(class >= bytes && class.is_multiple_of(4), "{bytes} in {class}");
            assert!(bytes < 8 * 256 || class * 4 <= bytes * 5, "{bytes} in {class}");
            assert_eq!(class_bytes(class), class);
        }
    }
}
