//! Every kernel here is valid WGSL for a device with WebGPU's own limits, without a GPU: naga parses and validates.

#[path = "../../tests/support/languages.rs"]
mod languages;

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::*;
use crate::algorithm::{PackOrder, Packing, WeightSource};
use crate::geometry::Geometry;
use crate::image::{ImageDesc, ImageFormat};

fn validate(operation: &Operation) {
    let text = operation.step.kernel.wgsl();
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(&text)));
    let mut capabilities = Capabilities::SHADER_FLOAT16;
    if operation.step.kernel.wide_words {
        capabilities |= Capabilities::SHADER_INT64 | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    }
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(&text)));
    languages::translate(&module, &info, false).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let bound = module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count();
    assert_eq!(bound, operation.step.kernel.bindings.len(), "{}", operation.step.kernel.label);
}

#[test]
fn every_operation_is_valid_wgsl_in_every_element_type() {
    let limits = DeviceLimits { f16: true, ..Default::default() };
    let software = DeviceLimits { class: DeviceClass::Software, parallelism: 1, ..limits };
    let shape = [2, 3, 40, 50];
    let mut operations = Vec::new();
    for dtype in [DType::F32, DType::F16, DType::I32] {
        for (count, shape) in
            (0..=MAX_OPERANDS).flat_map(|count| [shape, [2, 3, 40, 803], [2, 3, 40, 1000]].map(|shape| (count, shape)))
        {
            let strides = dense(&shape);
            let operand =
                |number: usize| Operand { dtype, offset: 0, strides: vec![0, number as i64, 0, (number as i64 % 3 - 1).abs()] };
            for (arithmetic, function) in [
                (Arithmetic::Float, if count > 0 { "gelu(error_function(a)) * s4" } else { "s0" }),
                (Arithmetic::Mixed, if count > 0 { "f32(i32(a) + 1)" } else { "0.0" }),
                (Arithmetic::Integer, if count > 0 { "a * 2" } else { "0" }),
                (Arithmetic::Move, if count > 0 { "a" } else { "Elem(0)" }),
            ] {
                let operands = (0..count).map(operand).collect();
                let output = Operand { dtype, offset: 5, strides: strides.clone() };
                let map = Map { name: "test", shape: &shape, operands, output, arithmetic, function, scalars: &[0.5; 5] };
                operations.push(map.operation(&limits).unwrap());
            }
        }
        for mode in 0..4 {
            let amounts = [(0, 1), (2, 0), (-3, 1), (1, 1)];
            operations.push(Pad { dtype, mode, value: 1.0, shape: &shape, amounts: &amounts }.operation(&limits).unwrap());
        }
        for float in [false, dtype != DType::I32] {
            operations.push(Gather { dtype, outer: 2, size: 3, inner: 4, indices: 5, float }.operation(&limits).unwrap());
        }
        for (line, packing) in [
            ("conv 2x6x7x30 o10 k3x5 g2 f32", Packing::Strips { block_m: 8, taps: 2, rows: 4, step: 1 }),
            ("conv 2x6x7x30 o10 k3x5 f32", Packing::Panels { block_m: 8, padded_k: 4, flat: false }),
            ("conv 2x6x30 o10 k1 f32", Packing::Rows),
            ("conv 2x8x30 nhwc o8 k3 g8 f32", Packing::Fours),
        ] {
            let geometry = Geometry::new(&line.parse().unwrap()).unwrap();
            let order = PackOrder::new(&geometry, packing, WeightSource::of(&geometry)).unwrap();
            operations.extend(Pack { dtype, order: &order }.operations(900, &limits).unwrap());
        }
        operations.push(Scatter { dtype, elements: 0..4, input: 0..4, indices: 0..4, output: 0..8 }.operation(&limits).unwrap());
    }
    let pack = PackBytes { outer: 2, channels: 5, inner: 6, strides: [30, 6, 1], shift: 128 };
    operations.push(pack.operation(DType::F32, &limits).unwrap());
    operations.push(byte_terms(8, 36, 8, &limits).unwrap());
    for dtype in [DType::F32, DType::F16] {
        // Rows by fours along and across, one by one, and with ends between two fours.
        let [fours, odd] = [[2, 3, 40, 52], [4, 3, 9, 53]];
        let all: [(&[usize; 4], &[usize]); 9] = [
            (&fours, &[3]),
            (&fours, &[1, 3]),
            (&fours, &[0, 1, 2, 3]),
            (&fours, &[1]),
            (&fours, &[0, 2]),
            (&odd, &[2, 3]),
            (&odd, &[1]),
            (&odd, &[0, 2]),
            (&odd, &[]),
        ];
        for (shape, axes) in all {
            for kind in [
                ReductionKind::Sum,
                ReductionKind::Mean,
                ReductionKind::Max,
                ReductionKind::Min,
                ReductionKind::Prod,
                ReductionKind::L1,
                ReductionKind::L2,
                ReductionKind::SumSquare,
                ReductionKind::LogSum,
                ReductionKind::ArgMax { last: true },
                ReductionKind::ArgMin { last: false },
            ] {
                for result in [dtype, DType::F32] {
                    let result = if kind.is_position() { DType::I32 } else { result };
                    operations.push(Reduction { kind, dtype, result, shape, axes }.operation(&limits).unwrap());
                }
            }
            for kind in [
                NormaliseKind::Softmax,
                NormaliseKind::LogSoftmax,
                NormaliseKind::Hardmax,
                NormaliseKind::MeanVariance { epsilon: 1e-5 },
                NormaliseKind::Deviation,
                NormaliseKind::RootMeanSquare { epsilon: 0.0 },
                NormaliseKind::Lp1,
                NormaliseKind::Lp2,
            ] {
                operations.push(Normalise { kind, dtype, shape, axes }.operation(&limits).unwrap());
                operations.push(Normalise { kind, dtype, shape, axes }.operation(&software).unwrap());
            }
        }
        // One output or four at once, along the axis or behind it; of taps that the kernel knows, and of too many for that.
        for (inner, output, taps) in [(3, 2, 2), (1, 4, 1), (8, 3, 2), (1, 8, 7), (4, 4, 5)] {
            let (indices, weights) = (vec![0; output * taps], vec![0.5; output * taps]);
            let resample =
                Resample { dtype, outer: 2, input: 2, inner, output, indices: &indices, weights: &weights, outside: 0.0 };
            operations.push(resample.operation(&limits).unwrap());
        }
        for format in [ImageFormat::Rgba8Unorm, ImageFormat::Rgba8UnormSrgb, ImageFormat::Rgba16Float, ImageFormat::R32Float] {
            let desc = ImageDesc { mean: [0.5; 4], std: [0.25; 4], ..ImageDesc::new(format) };
            for channels in 1..=format.components() {
                let image = Image { name: "x", desc: &desc, dtype, channels, size: [3, 5] };
                operations.push(image.load(&limits).unwrap());
                operations.extend(format.storage_type().map(|_| image.store(&limits).unwrap()));
            }
        }
        for (sizes, taps) in [(&[5, 6][..], 2), (&[5, 6], 4), (&[4, 5, 6], 2)] {
            for (padding, align_corners) in [(0, false), (1, true), (2, false)] {
                for grid in [DType::F32, DType::F16] {
                    let outer = [2, 3];
                    let sample = GridSample { dtype, grid, outer, sizes, places: 7, taps, padding, align_corners };
                    operations.push(sample.operation(&limits).unwrap());
                }
            }
        }
        let geometry = Geometry::new(&"conv 1x4x8x8 o4 k3x3 p1x1 f32".parse().unwrap()).unwrap();
        for mask in [false, true] {
            operations.push(Deform { dtype, geometry: &geometry, offset_groups: 2, mask }.operation(&limits).unwrap());
        }
    }
    for mut operation in operations.iter().cloned() {
        for wide_words in [false, true] {
            operation.step.kernel.wide_words = wide_words;
            validate(&operation);
        }
    }
    assert!(operations.len() > 250, "{}", operations.len());
}
