//! Sizes, coordinates and refusals of `Geometry`, against definitions that share no formula with it.
//!
//! What a geometry says about coordinates is tested through `reference`, which has them from nowhere else.

#[allow(dead_code)] // the program uses the rest
#[path = "../examples/verify/naive.rs"]
mod naive;

use proptest::prelude::*;
use wgconv::reference::{self, ConvOperands};
use wgconv::{
    ConvDesc, Epilogue, ErrorKind, Geometry, IndexOrder, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Problem, Spatial,
    TensorDesc, Weights,
};

/// So many small integers, the same for the same seed: every sum of their products is exact in f64, in any order.
fn integers(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as f32 - 8.0).collect()
}

fn spatial(list: &[usize]) -> Spatial {
    Spatial::from_slice("list", list).expect("1 to 3 numbers")
}

/// One number of a range for each of `rank` axes.
fn per_axis(rank: usize, range: std::ops::Range<usize>) -> impl Strategy<Value = Spatial> {
    prop::collection::vec(range, rank).prop_map(|list| spatial(&list))
}

fn padding(rank: usize, limit: usize) -> impl Strategy<Value = Padding> {
    prop_oneof![
        6 => (per_axis(rank, 0..limit), per_axis(rank, 0..limit)).prop_map(|(begin, end)| Padding::Explicit { begin, end }),
        1 => Just(Padding::Valid),
        1 => Just(Padding::SameUpper),
        1 => Just(Padding::SameLower),
    ]
}

prop_compose! {
    /// Small convolutions and transposed ones; some have no output.
    fn conv_problem()(rank in 1..4usize)(
        (n, groups, group_in, group_out) in (1..3usize, 1..4usize, 1..3usize, 1..3usize),
        input in prop::collection::vec(1..7usize, rank),
        (kernel, stride, dilation) in (per_axis(rank, 1..4), per_axis(rank, 1..4), per_axis(rank, 1..4)),
        (padding, extra) in (padding(rank, 4), per_axis(rank, 0..3)),
        mode in prop::sample::select(vec![PaddingMode::Zeros, PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular]),
        (transposed, bias) in (any::<bool>(), any::<bool>()),
    ) -> Problem {
        let limited: Vec<usize> =
            (0..extra.rank()).map(|axis| extra[axis].min(stride[axis].max(dilation[axis]) - 1)).collect();
        let plain = ConvDesc::new(groups * group_in, groups * group_out, kernel);
        let desc = ConvDesc {
            stride, dilation, padding, groups, transposed,
            padding_mode: if transposed { PaddingMode::Zeros } else { mode },
            output_padding: if transposed { spatial(&limited) } else { plain.output_padding },
            epilogue: Epilogue { bias, ..Default::default() },
            ..plain
        };
        Problem::conv(&desc, &TensorDesc::f32(&[&[n, groups * group_in], &input[..]].concat()))
    }
}

prop_compose! {
    /// Small poolings; some have no output or a window without an input.
    fn pool_problem()(rank in 1..4usize)(
        input in prop::collection::vec(1..8usize, rank + 2),
        (kernel, stride, dilation) in (per_axis(rank, 1..5), per_axis(rank, 1..5), per_axis(rank, 1..4)),
        padding in padding(rank, 5),
        size in per_axis(rank, 1..10),
        (window, ceil_mode) in (0..4, any::<bool>()),
        kind in prop_oneof![
            Just(PoolKind::Max { indices: Some(IndexOrder::Plane) }),
            (any::<bool>(), prop::option::of(1..5usize))
                .prop_map(|(count_include_pad, divisor_override)| PoolKind::Average { count_include_pad, divisor_override }),
            Just(PoolKind::Lp { p: 2.0 }),
        ],
    ) -> Problem {
        let desc = match window {
            0 => PoolDesc { kind, ..PoolDesc::global_max() },
            1 => PoolDesc { kind, ..PoolDesc::adaptive_max(size) },
            _ => PoolDesc { kind, stride, dilation, padding, ceil_mode, ..PoolDesc::max(kernel) },
        };
        Problem::pool(&desc, &TensorDesc::f32(&input))
    }
}

/// Whether the padding is one that the mode can fill from the input.
fn can_fill(problem: &Problem) -> bool {
    let wgconv::Layer::Conv(desc) = &problem.layer else { return true };
    let most = match desc.padding_mode {
        PaddingMode::Zeros | PaddingMode::Replicate => return true,
        PaddingMode::Circular => 0,
        PaddingMode::Reflect => 1,
    };
    let sizes = &problem.input.shape()[2..];
    match desc.padding {
        Padding::Explicit { begin, end } => {
            sizes.iter().enumerate().all(|(axis, &size)| begin[axis].max(end[axis]) + most <= size)
        }
        // No more than the extent of the kernel, which is less than this here.
        _ => sizes.iter().all(|&size| size > 6),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_convolution_is_its_definition(problem in conv_problem().prop_filter("fillable", can_fill)) {
        let wgconv::Layer::Conv(desc) = &problem.layer else { unreachable!() };
        let input = integers(problem.input.elements().unwrap(), 1);
        let kernel = integers(desc.weight_shape().unwrap().iter().product(), 2);
        let bias = integers(desc.out_channels, 3);
        let weights = Weights { kernel: &kernel, bias: desc.epilogue.bias.then_some(&bias), ..Default::default() };
        let operands = ConvOperands { input: &input, weights, residual: None };
        match (reference::conv(&problem, &operands), naive::conv(&problem, &operands)) {
            (Ok(got), Some(expected)) => {
                prop_assert_eq!(Geometry::new(&problem).unwrap().output_shape(), expected.shape, "{}", problem);
                prop_assert_eq!(got.values, expected.values, "{}", problem);
            }
            (Err(error), None) => prop_assert_eq!(error.kind(), ErrorKind::Invalid),
            (got, expected) => prop_assert!(false, "{}: {:?}, but the definition gives {:?}", problem, got, expected),
        }
    }

    #[test]
    fn a_pooling_is_its_definition(problem in pool_problem()) {
        let input = integers(problem.input.elements().unwrap(), 4);
        match (reference::pool(&problem, &input), naive::pool(&problem, &input)) {
            (Ok(got), Some(expected)) => {
                prop_assert_eq!(Geometry::new(&problem).unwrap().output_shape(), expected.shape, "{}", problem);
                prop_assert_eq!(got.values, expected.values, "{}", problem);
                prop_assert_eq!(got.indices.unwrap_or_default(), expected.indices, "{}", problem);
            }
            (Err(error), None) => prop_assert_eq!(error.kind(), ErrorKind::Invalid),
            (got, expected) => prop_assert!(false, "{}: {:?}, but the definition gives {:?}", problem, got, expected),
        }
    }

    #[test]
    fn the_output_size_counts_the_windows_that_fit(
        (input, kernel, stride, dilation) in (1..200usize, 1..20usize, 1..20usize, 1..10usize),
        (begin, end) in (0..40usize, 0..40usize),
    ) {
        let desc = ConvDesc {
            stride: [stride].into(),
            dilation: [dilation].into(),
            padding: [(begin, end)].into(),
            ..ConvDesc::new(1, 1, [kernel])
        };
        let mut windows = 0;
        while windows * stride + dilation * (kernel - 1) < begin + input + end {
            windows += 1;
        }
        match Geometry::new(&Problem::conv(&desc, &TensorDesc::f32(&[1, 1, input]))) {
            Ok(geometry) => prop_assert_eq!(geometry.output_shape(), [1, 1, windows]),
            Err(error) => prop_assert_eq!((windows, error.field()), (0, Some("kernel"))),
        }
    }

    #[test]
    fn ceil_mode_is_pytorch_s(
        (input, kernel, stride, dilation) in (1..100i64, 1..12i64, 1..12i64, 1..6i64),
        (begin, end) in (0..20i64, 0..20i64),
    ) {
        let number = |value: i64| spatial(&[value as usize]);
        let desc = PoolDesc {
            stride: number(stride),
            dilation: number(dilation),
            padding: [(begin as usize, end as usize)].into(),
            ceil_mode: true,
            ..PoolDesc::average(number(kernel))
        };
        // pooling_output_shape_pad_lr of ATen/native/Pool.h.
        let mut output = (input + begin + end - dilation * (kernel - 1) - 1 + stride - 1).div_euclid(stride) + 1;
        if (output - 1) * stride >= input + begin {
            output -= 1;
        }
        match Geometry::new(&Problem::pool(&desc, &TensorDesc::f32(&[1, 1, input as usize]))) {
            Ok(geometry) => prop_assert_eq!(i64::from(geometry.output[2]), output),
            Err(error) => prop_assert!(output <= 0 && error.field() == Some("kernel"), "{}, but {} outputs", error, output),
        }
    }

    #[test]
    fn same_padding_is_the_explicit_padding_that_keeps_the_size(
        (input, kernel, stride, dilation) in (1..60usize, 1..8usize, 1..8usize, 1..5usize),
        upper in any::<bool>(),
    ) {
        let outputs = input.div_ceil(stride);
        let total = ((outputs - 1) * stride + dilation * (kernel - 1) + 1).saturating_sub(input);
        let sides = if upper { (total / 2, total - total / 2) } else { (total - total / 2, total / 2) };
        let geometry = |padding: Padding| {
            let desc =
                ConvDesc { stride: [stride].into(), dilation: [dilation].into(), padding, ..ConvDesc::new(1, 1, [kernel]) };
            Geometry::new(&Problem::conv(&desc, &TensorDesc::f32(&[1, 1, input]))).unwrap()
        };
        let same = geometry(if upper { Padding::SameUpper } else { Padding::SameLower });
        prop_assert_eq!(same.output_shape(), [1, 1, outputs]);
        prop_assert_eq!(same, geometry([sides].into()));
    }

    #[test]
    fn adaptive_windows_cover_the_input_in_order((input, output) in (1..300u32, 1..300u32)) {
        let desc = PoolDesc::adaptive_average([output as usize]);
        let geometry = Geometry::new(&Problem::pool(&desc, &TensorDesc::f32(&[1, 1, input as usize]))).unwrap();
        let mut covered = 0;
        for o in 0..output {
            let (first, end) = geometry.adaptive_window(2, o);
            let [from, to] = [o, o + 1].map(|o| f64::from(o) * f64::from(input) / f64::from(output));
            prop_assert_eq!((f64::from(first), f64::from(end)), ((from + 1e-9).floor(), (to - 1e-9).ceil()));
            prop_assert!(first < end && first <= covered && end >= covered);
            prop_assert!(end - first <= geometry.kernel[2], "window {} has more than the largest, {}", o, geometry.kernel[2]);
            covered = end;
        }
        prop_assert_eq!(covered, input);
    }
}

fn check_refused(line: &str, field: &str) {
    let problem: Problem = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
    match Geometry::new(&problem) {
        Ok(geometry) => panic!("{line} should be refused for its {field}, but gives {:?}", geometry.output_shape()),
        Err(error) => assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)), "{line}: {error}"),
    }
}

fn check_output(line: &str, shape: &[usize]) {
    let problem: Problem = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(Geometry::new(&problem).unwrap_or_else(|error| panic!("{line}: {error}")).output_shape(), shape, "{line}");
}

#[test]
fn every_wrong_field_is_refused_by_its_name() {
    for (line, field) in [
        ("conv scalar in1 o1 k1 f32", "input"),
        ("conv 4 in1 o4 k3 f32", "input"),
        ("conv 1x4 o4 k1 f32", "input"),
        ("conv 1x4x3x3x3x3 o4 k1 f32", "input"),
        ("conv 0x4x8 o4 k1 f32", "input"),
        ("conv 1x4x0 o4 k1 f32", "input"),
        ("global_avg_pool 1x4x0x0 f32", "input"),
        ("conv 1x4x8 in5 o4 k1 f32", "input"),
        ("max_pool 1x1x4294967296 k2 f32", "input"),
        ("conv 65536x65536x65536x65536 o1 k3x3 f32", "input"),
        ("conv 4294967296x1x4294967296x1 o1 k1x1 f32", "input"),
        ("conv 1x0x8 o4 k1 f32", "input"),
        ("conv 1x4x8 o0 k1 f32", "out_channels"),
        ("conv 1x4x8 o2147483648 k1 f32", "out_channels"),
        ("conv 1x4x8 o4 k0 f32", "kernel"),
        ("conv 1x4x8x8 o4 k3 f32", "kernel"),
        ("conv 1x4x8 o4 k9 f32", "kernel"),
        ("max_pool 1x4x8 k2147483648 f32", "kernel"),
        ("conv 1x4x8x8 o4 k3x3 s2 f32", "stride"),
        ("conv 1x4x8x8 o4 k3x3 s0x1 f32", "stride"),
        ("conv_transpose 1x1x1024x1024 o1 k2x2 s1024x1024 f32", "stride"),
        ("max_pool 1x4x8 k2 s0 f32", "stride"),
        ("global_max_pool 1x4x8 s2 f32", "stride"),
        ("conv 1x4x8 o4 k3 d0 f32", "dilation"),
        ("conv 1x4x8 o4 k3 d9223372036854775807 f32", "dilation"),
        ("global_max_pool 1x4x8 d2 f32", "dilation"),
        ("conv 1x4x8x8 o4 k3x3 p1 f32", "padding"),
        ("conv 1x4x8 o4 k3 p9223372036854775807 f32", "padding"),
        ("conv 1x4x8 o4 k3 p8 reflect f32", "padding"),
        ("conv 1x4x8 o4 k3 p9 circular f32", "padding"),
        ("conv_transpose 1x4x2 o4 k3 p2:2 f32", "padding"),
        ("max_pool 1x4x8 k2 p2:0 f32", "padding"),
        ("max_pool 1x4x8 k2 d9 s1 p9 f32", "padding"),
        ("avg_pool 1x4x8 k2 p2:0 exclude_pad f32", "padding"),
        ("adaptive_max_pool 1x4x8 to4 p1 f32", "padding"),
        ("conv_transpose 1x4x8 o4 k3 p1 reflect f32", "padding_mode"),
        ("conv 1x4x8 o4 k1 g0 f32", "groups"),
        ("conv 1x4x8 o4 k1 g8 f32", "groups"),
        ("conv 1x4x8 o6 k1 g4 f32", "groups"),
        ("conv_transpose 1x5x8 o4 k1 g2 f32", "groups"),
        ("conv 1x4x8 o4 k1 g2147483648 f32", "groups"),
        ("conv 1x4x8 o4 k3 op1 f32", "output_padding"),
        ("conv_transpose 1x4x8 o4 k3 s2 op2 f32", "output_padding"),
        ("conv_transpose 1x4x8x8 o4 k3x3 s2x2 op1 f32", "output_padding"),
        ("adaptive_max_pool 1x4x8 to0 f32", "output_size"),
        ("adaptive_max_pool 1x4x8 to4x4 f32", "output_size"),
        ("adaptive_max_pool 1x4x8 to2147483647 f32", "output_size"),
        ("global_max_pool 1x4x8 ceil f32", "ceil_mode"),
        ("avg_pool 1x4x8 k2 divisor=0 f32", "divisor_override"),
        ("lp_pool 1x4x8 k2 norm=0 f32", "p"),
        ("lp_pool 1x4x8 k2 norm=-2 f32", "p"),
        ("lp_pool 1x4x8 k2 norm=inf f32", "p"),
        ("conv 1x4x8 o4 k1 celu(0) f32", "activation"),
        ("conv 1x4x8 o4 k1 leaky_relu(NaN) f32", "activation"),
    ] {
        check_refused(line, field);
    }
}

#[test]
fn what_only_looks_odd_is_accepted() {
    check_output("conv 1x4x8x8 o4 k1x1 d2147483648x2147483648 f32", &[1, 4, 8, 8]);
    check_output("conv 1x4x8x8 o4 k3x3 s4294967295x4294967295 f32", &[1, 4, 1, 1]);
    check_output("conv 1x4x8x8 o4 k3x3 p50x0 replicate f32", &[1, 4, 106, 6]);
    check_output("conv 70000x1x1x1 o2 k1x1 f32", &[70000, 2, 1, 1]);
    check_output("conv_transpose 1x4x8x8 o4 k3x3 d2x2 op1x0 f32", &[1, 4, 13, 12]);
    check_output("max_pool 1x4x3x3 k2x2 s3x3 p0:1x0:1 ceil f32", &[1, 4, 1, 1]);
    check_output("avg_pool 1x4x8 k2 p2:0 f32", &[1, 4, 5]);
    check_output("conv 1x4x8 o4 k3 clamp(2,1) f32", &[1, 4, 6]);
}

#[test]
fn elements_of_another_type_are_unsupported() {
    let error = Geometry::new(&"max_pool 1x4x8 k2 i32".parse().unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Unsupported, Some("input")));
}

#[test]
fn a_list_of_the_wrong_length_is_refused_wherever_it_stands() {
    let (one, two) = (Spatial::from([1]), Spatial::from([1, 1]));
    let input = TensorDesc::f32(&[1, 4, 8, 8]);
    let refused = |desc: ConvDesc| Geometry::new(&Problem::conv(&desc, &input)).unwrap_err().field();
    let plain = ConvDesc::new(4, 4, [3, 3]);
    assert_eq!(refused(ConvDesc { kernel: one, ..plain }), Some("kernel"));
    assert_eq!(refused(ConvDesc { stride: one, ..plain }), Some("stride"));
    assert_eq!(refused(ConvDesc { dilation: one, ..plain }), Some("dilation"));
    assert_eq!(refused(ConvDesc { padding: Padding::Explicit { begin: two, end: one }, ..plain }), Some("padding"));
    assert_eq!(refused(ConvDesc { output_padding: one, ..plain }), Some("output_padding"));
    let pool = PoolDesc { window: PoolWindow::Adaptive(one), ..PoolDesc::global_max() };
    assert_eq!(Geometry::new(&Problem::pool(&pool, &input)).unwrap_err().field(), Some("output_size"));
    assert_eq!(Spatial::from_slice("kernel", &[]).unwrap_err().field(), Some("kernel"));
    assert_eq!(Spatial::from_slice("kernel", &[1; 4]).unwrap_err().field(), Some("kernel"));
}
