//! [`BufferPool`]: buffers that are used again instead of made again, within a budget of bytes.
//!
//! A buffer goes back when its last handle is dropped, even while the device still works with it: whatever takes it next is
//! submitted later, and a queue runs its submissions in order. Before a new buffer would break the budget, those that wait are freed,
//! the longest unused first; so they are when the device itself has no room.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Bound, Gpu};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of the smallest buffer: everything smaller shares its class.
const SMALLEST: u64 = 256;

/// Bytes that an engine may hold whatever it has used so far; see [`Free::allowed`].
const ALWAYS: u64 = 64 << 20;

/// Bytes that are written at once: larger uploads go in parts, whose staging memory wgpu uses again as soon as the device has copied
/// them, where one part would need new pages for all. Measured on lavapipe (Mesa 22.3.6): 64 MiB take 18 ms in parts of 4 MiB (1 MiB: 25,
/// 8 MiB: 20), 110 at once, 23 by way of a staging buffer of ours that stays mapped; parts of it up to 600 KB are equal by all ways.
const UPLOAD: usize = 4 << 20;

/// Bytes from which on an upload goes where it is to lie, as far as the host can write there. Measured on lavapipe (Mesa 22.3.6), by
/// turns: 2 MiB take 0.83 of the time, 4 MiB 0.66, 64 MiB 0.65; 1 MiB is equal, and less takes longer.
const IN_PLACE: usize = 2 << 20;

/// Why there is no room where the device is not asked.
const OVER_BUDGET: &str = "memory_budget allows no more";

/// What a free buffer is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Class {
    bytes: u64,
    usage: wgpu::BufferUsages,
}

/// What the buffers of an engine take of its device. Prints as a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferStats {
    /// Bytes that tensors, weights and staging buffers hold.
    pub in_use: u64,
    /// Bytes that wait to be used again.
    pub cached: u64,
    /// The most bytes that were in use at one time.
    pub peak: u64,
    /// The most bytes in use and cached together that [`EngineDesc::memory_budget`](crate::EngineDesc::memory_budget) allows.
    pub budget: Option<u64>,
    /// Buffers that the device was asked for since the engine was made.
    pub allocations: u64,
    /// Buffers that were used again instead.
    pub reuses: u64,
    /// Buffers that were given back to the device to make room, or by [`Engine::trim`](crate::Engine::trim).
    pub freed: u64,
}

impl fmt::Display for BufferStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| match bytes {
            0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
            _ => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        };
        let Self { in_use, cached, peak, budget, allocations, reuses, freed } = *self;
        write!(f, "{} in use, {} cached, {} at the peak", size(in_use), size(cached), size(peak))?;
        if let Some(budget) = budget {
            write!(f, ", {} allowed", size(budget))?;
        }
        write!(f, "; {allocations} buffers made, {reuses} used again, {freed} freed")
    }
}

/// A buffer that waits, and when it came.
struct Idle {
    buffer: wgpu::Buffer,
    returned: u64,
}

/// Free buffers by size and usage, the longest unused at the front.
#[derive(Default)]
struct Free {
    lists: HashMap<Class, VecDeque<Idle>>,
    /// Counts the returns.
    clock: u64,
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

impl Free {
    /// The most bytes in use and cached that so many in use may lead to. Without a budget it is twice what was ever in use: then two
    /// networks by turns make nothing anew, and sizes that change for days do not pile up.
    fn allowed(&self, in_use: u64) -> u64 {
        let most = in_use.max(self.stats.peak).saturating_mul(2).max(ALWAYS);
        most.min(self.stats.budget.unwrap_or(u64::MAX))
    }

    fn reuse(&mut self, class: Class) -> Option<wgpu::Buffer> {
        // The last one to come is the most likely to be in a processor's cache.
        let idle = self.lists.get_mut(&class)?.pop_back()?;
        self.stats.cached -= class.bytes;
        self.stats.reuses += 1;
        self.hold(class.bytes);
        Some(idle.buffer)
    }

    fn hold(&mut self, bytes: u64) {
        self.stats.in_use += bytes;
        self.stats.peak = self.stats.peak.max(self.stats.in_use);
    }

    /// Takes buffers out until no more than so many bytes are cached, the longest unused first.
    fn evict_to(&mut self, cached: u64) -> Vec<wgpu::Buffer> {
        let mut evicted = Vec::new();
        while self.stats.cached > cached {
            let oldest =
                self.lists.iter().filter_map(|(class, list)| Some((list.front()?.returned, *class))).min_by_key(|pair| pair.0);
            let Some((_, class)) = oldest else { break };
            evicted.extend(self.lists.get_mut(&class).and_then(VecDeque::pop_front).map(|idle| idle.buffer));
            self.stats.cached -= class.bytes;
            self.stats.freed += 1;
        }
        self.lists.retain(|_, list| !list.is_empty());
        evicted
    }

    /// Makes room for so many new bytes and counts them as in use; what must be destroyed for that. `None` where the budget forbids it.
    fn reserve(&mut self, bytes: u64) -> Option<Vec<wgpu::Buffer>> {
        let in_use = self.stats.in_use.checked_add(bytes)?;
        if self.stats.budget.is_some_and(|budget| in_use > budget) {
            return None;
        }
        let evicted = self.evict_to(self.allowed(in_use) - in_use);
        self.stats.in_use = in_use;
        Some(evicted)
    }
}

impl BufferPool {
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stats(&self) -> BufferStats {
        self.lock().stats
    }

    /// Sets the most bytes that may be in use and cached from now on.
    pub fn set_budget(&self, budget: Option<u64>) {
        self.lock().stats.budget = budget;
    }

    /// Gives buffers that wait back to the device until no more than so many bytes of them are left.
    pub fn trim_to(&self, cached: u64) {
        let evicted = self.lock().evict_to(cached);
        destroy(evicted);
    }

    /// An error with the numbers where the budget does not allow so many bytes more.
    pub fn check_budget(&self, bytes: u64) -> Result<()> {
        let BufferStats { in_use, budget, .. } = self.stats();
        match budget {
            Some(budget) if in_use.saturating_add(bytes) > budget => Err(self.no_room(bytes, OVER_BUDGET)),
            _ => Ok(()),
        }
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
        let pooled = |buffer| PooledBuffer { buffer, class, pool: Arc::downgrade(self) };
        let reserved = {
            let mut free = self.lock();
            if let Some(buffer) = free.reuse(class) {
                return Ok(pooled(buffer));
            }
            free.reserve(class.bytes)
        };
        destroy(reserved.ok_or_else(|| self.no_room(class.bytes, OVER_BUDGET))?);
        let descriptor = wgpu::BufferDescriptor { label: None, size: class.bytes, usage, mapped_at_creation: false };
        let made = self.relieved(gpu, || gpu.scoped(|| Ok(gpu.device.create_buffer(&descriptor))));
        {
            let stats = &mut self.lock().stats;
            if made.is_ok() {
                stats.allocations += 1;
                stats.peak = stats.peak.max(stats.in_use);
            } else {
                stats.in_use -= class.bytes;
            }
        }
        made.map(pooled).map_err(|error| self.with_numbers(class.bytes, error))
    }

    /// Does what takes memory of the device; where that has no room, gives back all that waits and tries once more.
    fn relieved<T>(&self, gpu: &Gpu, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {}
            done => return done,
        }
        self.trim_to(0);
        // What the device still works with is freed when it is done; a device that is lost by now shows below.
        let _ = gpu.wait(None);
        work()
    }

    /// Writes the first bytes of a range, a multiple of 4: where they lie, if the host can and the device is done with the buffer, and
    /// else by way of memory that wgpu takes of the device for the time being.
    pub fn write(&self, gpu: &Gpu, to: &Bound, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= IN_PLACE && to.buffer.usage().contains(wgpu::BufferUsages::MAP_WRITE) && in_place(gpu, to, bytes)? {
            return Ok(());
        }
        let write = || {
            gpu.scoped(|| {
                for (at, part) in (to.offset..).step_by(UPLOAD).zip(bytes.chunks(UPLOAD)) {
                    gpu.queue.write_buffer(&to.buffer, at, part);
                    // The last part goes with whatever is submitted next.
                    if part.len() == UPLOAD {
                        gpu.queue.submit([]);
                        let _ = gpu.device.poll(wgpu::PollType::Poll);
                    }
                }
                Ok(())
            })
        };
        self.relieved(gpu, write).map_err(|error| self.with_numbers(bytes.len() as u64, error))
    }

    fn with_numbers(&self, bytes: u64, error: Error) -> Error {
        if error.kind() == ErrorKind::OutOfMemory { self.no_room(bytes, error.message()) } else { error }
    }

    fn no_room(&self, bytes: u64, reason: &str) -> Error {
        let BufferStats { in_use, cached, budget, .. } = self.stats();
        let allowed = budget.map_or("any number".into(), |budget| budget.to_string());
        Error::new(
            ErrorKind::OutOfMemory,
            format!("{bytes} bytes are asked for, {in_use} in use, {cached} cached, {allowed} allowed: {reason}"),
        )
    }
}

/// Writes to memory that host and device share; false, and nothing is written, where the device still works with the buffer.
fn in_place(gpu: &Gpu, to: &Bound, bytes: &[u8]) -> Result<bool> {
    gpu.scoped(|| {
        // What wgpu was given to write there and has not submitted yet would come later, and win.
        gpu.queue.submit([]);
        let range = to.buffer.slice(to.offset..to.offset + bytes.len() as u64);
        let mapped = Arc::new(AtomicBool::new(false));
        let seen = mapped.clone();
        range.map_async(wgpu::MapMode::Write, move |result| seen.store(result.is_ok(), Ordering::Release));
        // One that is not in use is mapped by this. Where another thread's polling was faster, this one may not know it yet.
        let _ = gpu.device.poll(wgpu::PollType::Poll);
        let view = if mapped.load(Ordering::Acquire) { range.get_mapped_range_mut().ok() } else { None };
        let written = view.map(|mut view| view.copy_from_slice(bytes)).is_some();
        to.buffer.unmap();
        Ok(written)
    })
}

/// Gives memory back at once, whatever bind groups still name the buffers: those are never used again.
fn destroy(buffers: Vec<wgpu::Buffer>) {
    buffers.iter().for_each(wgpu::Buffer::destroy);
}

impl PooledBuffer {
    /// A buffer of a caller, which no pool gets.
    pub fn foreign(buffer: &wgpu::Buffer) -> Self {
        let class = Class { bytes: buffer.size(), usage: buffer.usage() };
        Self { buffer: buffer.clone(), class, pool: Weak::new() }
    }

    /// Whether it came from a pool that is still there, so that nobody else has handles to it.
    pub fn is_pooled(&self) -> bool {
        self.pool.strong_count() > 0
    }

    pub fn raw(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut free = pool.lock();
        free.stats.in_use -= self.class.bytes;
        free.stats.cached += self.class.bytes;
        free.clock += 1;
        let returned = free.clock;
        free.lists.entry(self.class).or_default().push_back(Idle { buffer: self.buffer.clone(), returned });
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
