//! The device's own limits, measured by kernels of the program's own: what the layers are held against.
//!
//! - arithmetic: fused multiply-adds on registers, enough independent ones to hide their latency;
//! - memory: a kernel that copies a buffer, four floats in each invocation;
//! - overhead: empty dispatches.
//!
//! All are wall times of work that takes long enough for submitting not to matter, and the best of some tries: a ceiling is what
//! the device can do, not what it did while something else ran. Not measured: cooperative matrices, for which the engine does not
//! ask yet.

use std::fmt::Write;
use std::time::{Duration, Instant};

use wgconv::Engine;
use wgconv::wgpu;

use crate::roofline::{Ceilings, median};

/// Each measurement is repeated so often.
const TRIES: usize = 4;
/// A measurement of arithmetic takes about so long, and at least half of it.
const GOAL: Duration = Duration::from_millis(50);

/// Invocations of a workgroup: what every WebGPU device has.
const WORKGROUP: u32 = 256;
/// Workgroups of arithmetic: enough to fill a large GPU many times.
const WORKGROUPS: u32 = 4096;
/// Independent sums of an invocation: enough to hide the latency of each, and as many as the software adapter's registers hold.
const SUMS: u32 = 12;
/// Steps written out in the loop's body.
const STEPS: u32 = 4;
/// A multiplication and an addition.
const FLOP: u32 = 2;

/// What is summed, as a type of WGSL.
struct Element {
    wgsl: &'static str,
    /// Numbers in it.
    width: u32,
    is_half: bool,
}

/// A GPU that computes with two halves at once needs vectors to do so, and a CPU has registers for a few scalars only: the best
/// counts.
const F32: [Element; 2] =
    [Element { wgsl: "f32", width: 1, is_half: false }, Element { wgsl: "vec4<f32>", width: 4, is_half: false }];
const F16: [Element; 2] =
    [Element { wgsl: "f16", width: 1, is_half: true }, Element { wgsl: "vec2<f16>", width: 2, is_half: true }];

/// Bytes of the buffer that is copied, where the device has bindings as large: beyond the caches of all but servers' GPUs.
const COPIED: u64 = 128 << 20;
/// Empty dispatches of one pass.
const DISPATCHES: u32 = 1000;
/// Single empty dispatches that are submitted and waited for.
const RUNS: usize = 50;

const COPY: &str = "
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    target_[id.x] = source[id.x];
}
";

const EMPTY: &str = "@compute @workgroup_size(1) fn main() {}";

/// Sums that go to 1 without the compiler's knowledge, which does not know `x` and `y`: halves.
fn fma(element: &Element) -> String {
    let Element { wgsl, is_half, .. } = element;
    let (enable, scalar) = if *is_half { ("enable f16;", "f16") } else { ("", "f32") };
    let mut text = format!(
        "{enable}
@group(0) @binding(0) var<storage, read_write> data: array<{wgsl}>; // x, y
@group(0) @binding(1) var<uniform> turns: vec4<u32>; // only x is used

@compute @workgroup_size({WORKGROUP})
fn main(@builtin(local_invocation_index) index: u32) {{
    let x = data[0];
    let y = data[1];
    let start = {wgsl}({scalar}(index));
"
    );
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes any text");
    (0..SUMS).for_each(|sum| add(format!("    var s{sum} = start + {wgsl}({scalar}({sum}));")));
    add("    for (var turn = 0u; turn < turns.x; turn++) {".into());
    (0..STEPS * SUMS).map(|step| step % SUMS).for_each(|sum| add(format!("        s{sum} = fma(s{sum}, x, y);")));
    add("    }".into());
    let total = (0..SUMS).map(|sum| format!("s{sum}")).collect::<Vec<_>>().join(" + ");
    // The sums are positive, so nothing is written; but only the values say so.
    add(format!("    let total = {total};\n    if (all(total < {wgsl}())) {{ data[0] = total; }}\n}}"));
    text
}

/// Measures everything; about a second, and on a software adapter a few.
///
/// # Errors
/// What the device says.
pub fn measure(engine: &Engine) -> Result<Ceilings, String> {
    let gpu = Gpu { engine };
    let fma_f16 = engine.limits().f16.then(|| gpu.best_fma(&F16)).transpose()?;
    let (dispatch, run) = gpu.overhead()?;
    Ok(Ceilings { fma_f32: fma_f32(engine)?, fma_f16, copy: gpu.copy()?, dispatch, run })
}

/// Only [`Ceilings::fma_f32`].
///
/// # Errors
/// What the device says.
pub fn fma_f32(engine: &Engine) -> Result<f64, String> {
    Gpu { engine }.best_fma(&F32)
}

/// The engine's device, with the discipline around its errors.
struct Gpu<'a> {
    engine: &'a Engine,
}

/// A pipeline with its buffers.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: Option<wgpu::BindGroup>,
}

impl Gpu<'_> {
    fn best_fma(&self, elements: &[Element]) -> Result<f64, String> {
        elements.iter().try_fold(0.0, |best: f64, element| Ok(best.max(self.fma(element)?)))
    }

    /// FLOP/s.
    fn fma(&self, element: &Element) -> Result<f64, String> {
        // As many as two vectors of any type have.
        let halves: Vec<u8> = match element.is_half {
            true => bytemuck::cast_slice(&[half::f16::from_f32(0.5); 8]).to_vec(),
            false => bytemuck::cast_slice(&[0.5f32; 8]).to_vec(),
        };
        let data = self.buffer(halves.len() as u64, wgpu::BufferUsages::STORAGE)?;
        let turns_buffer = self.buffer(16, wgpu::BufferUsages::UNIFORM)?;
        let kernel = self.kernel(&fma(element), &[&data, &turns_buffer])?;
        self.engine.queue().write_buffer(&data, 0, &halves);
        let time = |turns: u32| {
            self.engine.queue().write_buffer(&turns_buffer, 0, bytemuck::cast_slice(&[turns, 0, 0, 0]));
            self.time(&kernel, WORKGROUPS, 1)
        };
        time(1)?;
        let mut turns = 1u32;
        let mut taken = time(turns)?;
        while taken < GOAL / 2 && turns < 1 << 24 {
            let factor = (GOAL.as_secs_f64() / taken.as_secs_f64().max(1e-6)).clamp(2.0, 16.0);
            turns = (f64::from(turns) * factor) as u32;
            taken = time(turns)?;
        }
        let best = best(|| time(turns))?;
        let operations = f64::from(FLOP * element.width * SUMS * STEPS) * f64::from(turns) * f64::from(WORKGROUP * WORKGROUPS);
        Ok(operations / best.as_secs_f64())
    }

    /// Bytes/s.
    fn copy(&self) -> Result<f64, String> {
        let limits = self.engine.limits();
        let step = u64::from(WORKGROUP) * 16;
        let bytes = COPIED.min(limits.storage_binding_bytes).min(limits.buffer_bytes) / step * step;
        let [source, target] = [(); 2].map(|()| self.buffer(bytes, wgpu::BufferUsages::STORAGE));
        let kernel = self.kernel(COPY, &[&source?, &target?])?;
        let workgroups = u32::try_from(bytes / step).expect("128 MiB have 32768 workgroups");
        // The first time includes wgpu's own clearing of the buffers.
        self.time(&kernel, workgroups, 1)?;
        let once = self.time(&kernel, workgroups, 1)?;
        let times = (GOAL.as_secs_f64() / once.as_secs_f64().max(1e-6)).clamp(1.0, 1000.0) as u32;
        let best = best(|| self.time(&kernel, workgroups, times))?;
        Ok(2.0 * bytes as f64 * f64::from(times) / best.as_secs_f64())
    }

    /// The time of an empty dispatch among many, and of one that is waited for.
    fn overhead(&self) -> Result<(Duration, Duration), String> {
        let kernel = self.kernel(EMPTY, &[])?;
        self.time(&kernel, 1, 1)?;
        let dispatch = best(|| self.time(&kernel, 1, DISPATCHES))? / DISPATCHES;
        let runs = (0..RUNS).map(|_| self.time(&kernel, 1, 1)).collect::<Result<Vec<_>, _>>()?;
        Ok((dispatch, median(&runs).expect("there were runs")))
    }

    fn buffer(&self, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer, String> {
        let usage = usage | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some("bench"), size: bytes, usage, mapped_at_creation: false };
        self.scoped(|| self.engine.device().create_buffer(&descriptor))
    }

    fn kernel(&self, text: &str, buffers: &[&wgpu::Buffer]) -> Result<Kernel, String> {
        let device = self.engine.device();
        self.scoped(|| {
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("bench"), source });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("bench"),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            });
            let resources = buffers.iter().map(|buffer| buffer.as_entire_binding());
            let entries: Vec<_> =
                (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
            let bind_group = (!entries.is_empty()).then(|| {
                let layout = &pipeline.get_bind_group_layout(0);
                device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("bench"), layout, entries: &entries })
            });
            Kernel { pipeline, bind_group }
        })
    }

    /// From submitting `dispatches` of `workgroups` each to having waited for them.
    fn time(&self, kernel: &Kernel, workgroups: u32, dispatches: u32) -> Result<Duration, String> {
        let (device, queue) = (self.engine.device(), self.engine.queue());
        let start = Instant::now();
        self.scoped(|| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&kernel.pipeline);
            if let Some(bind_group) = &kernel.bind_group {
                pass.set_bind_group(0, bind_group, &[]);
            }
            (0..dispatches).for_each(|_| pass.dispatch_workgroups(workgroups, 1, 1));
            drop(pass);
            queue.submit([encoder.finish()]);
        })?;
        self.engine.wait().map_err(|error| error.to_string())?;
        Ok(start.elapsed())
    }

    /// Runs `work` inside error scopes: what wgpu reports comes back, and its default handler, which panics, is never reached.
    fn scoped<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];
        let scopes = filters.map(|filter| self.engine.device().push_error_scope(filter));
        let result = work();
        let errors: Vec<_> = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop())).collect();
        errors.into_iter().flatten().next().map_or(Ok(result), |error| Err(error.to_string()))
    }
}

/// The shortest of some tries.
fn best(mut time: impl FnMut() -> Result<Duration, String>) -> Result<Duration, String> {
    let first = time()?;
    (1..TRIES).try_fold(first, |best, _| Ok(best.min(time()?)))
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;

    #[test]
    fn every_shader_is_valid_wgsl() {
        for text in F32.iter().chain(&F16).map(fma).chain([COPY.into(), EMPTY.into()]) {
            let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&text)));
            let checked = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16).validate(&module);
            checked.unwrap_or_else(|error| panic!("{}", error.emit_to_string(&text)));
        }
    }

    #[test]
    fn the_loop_has_as_many_operations_as_are_counted() {
        for element in F32.iter().chain(&F16) {
            assert_eq!(fma(element).matches("= fma(").count(), (SUMS * STEPS) as usize);
            let vector = format!("vec{}", element.width);
            assert_eq!(element.wgsl.starts_with(&vector), element.width > 1, "{}", element.wgsl);
        }
    }
}
