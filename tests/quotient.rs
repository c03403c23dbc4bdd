//! Whole numbers that kernels divide through floats (`shaders/lib/quotient.wgsl`): exact on the device, for all that 31 bits hold.

#[path = "support/mod.rs"]
mod support;

use support::Random;
use wgconv::{Engine, EngineDesc, TensorDesc, wgpu};

const MOST: i32 = i32::MAX;
const WORKGROUP: u32 = 64;

/// Each case is `[a, b, a / b]`; a 1 says that the device finds another number.
const MAIN: &str = "
@group(0) @binding(0) var<storage, read> cases: array<i32>;
@group(0) @binding(1) var<storage, read_write> wrong: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = id.x * 64u + local;
    if (index < arrayLength(&wrong)) {
        let found = quotient(cases[3u * index], cases[3u * index + 1u]);
        wrong[index] = select(1.0, 0.0, found == cases[3u * index + 2u]);
    }
}
";

/// Multiples of many numbers and their neighbours, where a float that is a little off is off by one.
fn cases() -> Vec<[i32; 2]> {
    let mut random = Random::new(11);
    let powers = (0..31).flat_map(|bits| [-1, 0, 1].map(|near| (1_i64 << bits) + near));
    let odd = (0..500).map(|_| (random.bits() >> (33 + random.below(31))) as i64);
    let divisors: Vec<i64> = powers.chain(odd).chain([3, 7, 49, 12_544, i64::from(MOST)]).collect();
    let mut list = Vec::new();
    for b in divisors.into_iter().filter(|b| (1..=i64::from(MOST)).contains(b)) {
        let most = i64::from(MOST) / b;
        let multiples = (0..24).map(|_| random.bits() as i64 & i64::MAX).map(|bits| bits % (most + 1));
        for q in multiples.chain([0, 1, most / 2, most]) {
            let near = [q * b - 1, q * b, q * b + 1, q * b + b / 2, q * b + b - 1];
            let fits = near.into_iter().filter(|a| (0..=i64::from(MOST)).contains(a));
            list.extend(fits.map(|a| [a, b].map(|number| i32::try_from(number).expect("it fits 31 bits"))));
        }
    }
    list
}

#[test]
fn quotients_are_exact_on_the_device() {
    let cases = cases();
    assert!(cases.len() > 50_000, "{}", cases.len());
    let engine =
        Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("the device tests need a GPU adapter: {error}"));
    let (device, queue) = (engine.device(), engine.queue());
    let bytes: Vec<u8> = cases.iter().flat_map(|&[a, b]| [a, b, a / b]).flat_map(i32::to_le_bytes).collect();
    let buffer = |size: u64, usage: wgpu::BufferUsages| {
        let usage = usage | wgpu::BufferUsages::STORAGE;
        device.create_buffer(&wgpu::BufferDescriptor { label: Some("quotient"), size, usage, mapped_at_creation: false })
    };
    let input = buffer(bytes.len() as u64, wgpu::BufferUsages::COPY_DST);
    let wrong = buffer(4 * cases.len() as u64, wgpu::BufferUsages::COPY_SRC);
    queue.write_buffer(&input, 0, &bytes);

    let source = wgpu::ShaderSource::Wgsl(format!("{}{MAIN}", include_str!("../shaders/lib/quotient.wgsl")).into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("quotient"), source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("quotient"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("quotient"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: input.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: wrong.as_entire_binding() },
        ],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(u32::try_from(cases.len()).expect("a few hundred thousand").div_ceil(WORKGROUP), 1, 1);
    drop(pass);
    queue.submit([encoder.finish()]);

    let wrong = engine.tensor_from_buffer(&wrong, 0, &TensorDesc::f32(&[cases.len()])).unwrap().to_vec::<f32>().unwrap();
    let first = cases.iter().zip(&wrong).find(|(_, wrong)| **wrong != 0.0);
    assert!(first.is_none(), "of {} quotients {} are wrong, such as {first:?}", cases.len(), wrong.iter().sum::<f32>());
}
