//! Which values share a buffer: lifetimes to a few buffers, the largest first. Pure.
//!
//! wgpu forbids a buffer that one dispatch both reads and writes, so values share whole buffers one after the other. Beside each other
//! in one lie only those that [`in_place`](super::in_place) put there.

use super::program::{DeviceId, Outcome, Program, Source};

/// The buffers of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of each buffer.
    pub buffers: Vec<u64>,
    /// For each device value's root its buffer; constants and views have none.
    pub buffer_of: Vec<Option<usize>>,
}

/// When a value is first and last touched, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lifetime {
    root: DeviceId,
    bytes: u64,
    first: usize,
    last: usize,
}

impl Layout {
    /// Buffers that values share when their lifetimes do not meet; with `share` off each value has its own.
    pub fn new(program: &Program, share: bool) -> Self {
        let mut lifetimes = lifetimes(program);
        // The largest first, so that a buffer has the size of the first value that it gets.
        lifetimes.sort_by_key(|life| (std::cmp::Reverse(life.bytes), life.first, life.root));
        let mut layout = Layout { buffers: Vec::new(), buffer_of: vec![None; program.devices.len()] };
        let mut held: Vec<Vec<Lifetime>> = Vec::new();
        for life in lifetimes {
            let free = |list: &Vec<Lifetime>| list.iter().all(|other| other.last < life.first || life.last < other.first);
            let found = if share { held.iter().position(free) } else { None };
            let buffer = found.unwrap_or_else(|| {
                held.push(Vec::new());
                layout.buffers.push(life.bytes);
                held.len() - 1
            });
            held[buffer].push(life);
            layout.buffer_of[life.root.0] = Some(buffer);
        }
        layout
    }

    /// Bytes of all buffers together.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().sum()
    }
}

fn lifetimes(program: &Program) -> Vec<Lifetime> {
    let mut span: Vec<Option<(usize, usize)>> = vec![None; program.devices.len()];
    let mut bytes = vec![0; program.devices.len()];
    let mut touch = |id: DeviceId, step: usize| {
        let root = program.root(id);
        let (first, last) = span[root.0].unwrap_or((step, step));
        span[root.0] = Some((first.min(step), last.max(step)));
        bytes[root.0] = u64::max(bytes[root.0], program.device(id).begin + program.bytes(id));
    };
    // Step 0 is the copy of the inputs, the last one that of the results.
    for (number, device) in program.devices.iter().enumerate() {
        if matches!(device.source, Source::Input(_)) {
            touch(DeviceId(number), 0);
        }
    }
    for (number, step) in program.steps.iter().enumerate() {
        for id in step.work.reads().into_iter().chain(step.work.writes()) {
            touch(id, number + 1);
        }
    }
    for outcome in &program.outcomes {
        if let Outcome::Device(id) = outcome {
            touch(*id, program.steps.len() + 1);
        }
    }
    let is_buffer = |root: &DeviceId| !matches!(program.device(*root).source, Source::Constant(_));
    let each = span.iter().enumerate().filter_map(|(number, span)| span.map(|(first, last)| (DeviceId(number), first, last)));
    each.filter(|(root, ..)| is_buffer(root))
        .map(|(root, first, last)| Lifetime { root, bytes: bytes[root.0], first, last })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::program::{Device, Step, Work};
    use super::*;
    use crate::TensorDesc;

    /// A chain of uploads and downloads that touches values as the table says: (value, steps).
    fn program(sizes: &[usize], touches: &[&[usize]]) -> Program {
        let devices = sizes.iter().enumerate().map(|(number, &size)| Device {
            desc: TensorDesc::f32(&[size]),
            root: DeviceId(number),
            begin: 0,
            source: Source::Steps,
        });
        let steps = touches.iter().flat_map(|list| {
            list.iter().map(|&id| Step { node: 0, work: Work::Download { from: DeviceId(id), value: crate::graph::ValueId(0) } })
        });
        Program { devices: devices.collect(), steps: steps.collect(), ..Program::default() }
    }

    #[test]
    fn values_share_a_buffer_exactly_when_their_lifetimes_do_not_meet() {
        // 0 and 1 meet, 1 and 2 meet, 0 and 2 do not; 3 meets all.
        let program = program(&[10, 20, 30, 5], &[&[3], &[0], &[1], &[0], &[2], &[1], &[2], &[3]]);
        let layout = Layout::new(&program, true);
        assert_eq!(layout.buffers, [120, 80, 20]);
        assert_eq!(layout.buffer_of, [Some(0), Some(1), Some(0), Some(2)]);
        assert_eq!(Layout::new(&program, false).buffers.len(), 4);
        assert_eq!(layout.bytes(), 220);
    }
}
