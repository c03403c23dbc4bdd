//! Problem lines: everything that can be said prints and parses back, and nothing that can be typed panics.

use proptest::prelude::*;
use wgconv::{
    Activation, Algorithm, ConvDesc, DType, Epilogue, Geometry, IndexOrder, Layer, Layout, Padding, PaddingMode, PoolDesc,
    PoolKind, PoolWindow, Problem, Residual, Spatial, TensorDesc,
};

/// Numbers at which arithmetic goes wrong, and plain ones so that some layers get past the first check.
fn number() -> impl Strategy<Value = usize> {
    let edges =
        vec![0, 65535, 65536, 1 << 30, i32::MAX as usize, 1 << 31, u32::MAX as usize, 1 << 32, isize::MAX as usize, usize::MAX];
    prop_oneof![6 => 1..5usize, 2 => 5..300usize, 2 => prop::sample::select(edges.clone()),
        1 => (prop::sample::select(edges), 0..4usize).prop_map(|(edge, less)| edge.saturating_sub(less))]
}

/// A list for a layer of `rank` axes, now and then of another length.
fn list(rank: usize, plain: usize) -> impl Strategy<Value = Spatial> {
    let of = |rank: usize, number: BoxedStrategy<usize>| {
        prop::collection::vec(number, rank).prop_map(|list| Spatial::from_slice("list", &list).expect("1 to 3 numbers")).boxed()
    };
    prop_oneof![
        4 => Just(Spatial::splat(rank, plain)),
        4 => of(rank, number().boxed()),
        1 => (1..4usize).prop_flat_map(move |rank| of(rank, number().boxed())),
    ]
}

/// Any bits: subnormal, infinite, NaN.
fn float() -> impl Strategy<Value = f32> {
    let edges = vec![0.0, -0.0, 1.0, 0.1, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    prop_oneof![prop::sample::select(edges), any::<u32>().prop_map(f32::from_bits)]
}

fn activation() -> impl Strategy<Value = Activation> {
    let plain = [
        "identity",
        "relu",
        "relu6",
        "prelu",
        "selu",
        "sigmoid",
        "tanh",
        "silu",
        "hard_swish",
        "gelu",
        "gelu_tanh",
        "softplus",
        "softsign",
        "mish",
    ];
    prop_oneof![
        prop::sample::select(plain.to_vec()).prop_map(|name| name.parse().expect("a name from the list")),
        (float(), float()).prop_map(|(min, max)| Activation::Clamp { min, max }),
        (float(), float()).prop_map(|(alpha, gamma)| Activation::Selu { alpha, gamma }),
        (float(), float()).prop_map(|(alpha, beta)| Activation::HardSigmoid { alpha, beta }),
        (float(), float(), float()).prop_map(|(zero, min, max)| Activation::Quantize { zero, min, max }),
        float().prop_map(|alpha| Activation::LeakyRelu { alpha }),
        float().prop_map(|alpha| Activation::Elu { alpha }),
        float().prop_map(|alpha| Activation::Celu { alpha }),
    ]
}

fn padding(rank: usize) -> impl Strategy<Value = Padding> {
    prop_oneof![
        3 => list(rank, 0).prop_map(Padding::from),
        3 => (list(rank, 0), list(rank, 1)).prop_map(|(begin, end)| Padding::Explicit { begin, end }),
        1 => prop::sample::select(vec![Padding::Valid, Padding::SameUpper, Padding::SameLower]),
    ]
}

fn layout() -> impl Strategy<Value = Layout> {
    prop::sample::select(vec![Layout::ChannelsFirst, Layout::ChannelsLast])
}

fn input(rank: usize) -> impl Strategy<Value = TensorDesc> {
    let shape = prop_oneof![
        6 => prop::collection::vec(1..20usize, rank + 2),
        3 => prop::collection::vec(number(), rank + 2),
        1 => prop::collection::vec(number(), 0..7),
    ];
    (shape, prop::sample::select(vec![DType::F32, DType::F16, DType::I32]), layout())
        .prop_map(|(shape, dtype, layout)| TensorDesc::new(&shape, dtype).with_layout(layout))
}

prop_compose! {
    fn conv()(rank in 1..4usize)(
        input in input(rank),
        (channels, groups) in (prop::option::of(number()), prop_oneof![Just(1), number()]),
        (out_channels, kernel) in (number(), list(rank, 3)),
        (stride, dilation, padding, output_padding) in (list(rank, 1), list(rank, 1), padding(rank), list(rank, 0)),
        padding_mode in prop::sample::select(
            vec![PaddingMode::Zeros, PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular],
        ),
        transposed in any::<bool>(),
        (bias, activation) in (any::<bool>(), activation()),
        residual in prop::sample::select(vec![Residual::None, Residual::BeforeActivation, Residual::AfterActivation]),
        output_layout in prop::option::of(layout()),
    ) -> Problem {
        // Without an axis of channels the line has nowhere to take their number from but from its own token.
        let in_channels = channels.or(input.shape().get(1).copied()).unwrap_or(1);
        let epilogue = Epilogue { bias, residual, activation };
        let desc = ConvDesc {
            in_channels, out_channels, kernel, stride, dilation, padding, padding_mode, groups, transposed, output_padding, epilogue,
            output_layout,
        };
        Problem::conv(&desc, &input)
    }
}

prop_compose! {
    fn pool()(rank in 1..4usize)(
        input in input(rank),
        kind in prop_oneof![
            prop::option::of(prop::sample::select(
                vec![IndexOrder::Plane, IndexOrder::Tensor, IndexOrder::TensorColumnMajor],
            )).prop_map(|indices| PoolKind::Max { indices }),
            (any::<bool>(), prop::option::of(number()))
                .prop_map(|(count_include_pad, divisor_override)| PoolKind::Average { count_include_pad, divisor_override }),
            float().prop_map(|p| PoolKind::Lp { p }),
        ],
        window in prop_oneof![
            3 => list(rank, 2).prop_map(PoolWindow::Sliding),
            1 => Just(PoolWindow::Global),
            1 => list(rank, 2).prop_map(PoolWindow::Adaptive),
        ],
        (stride, dilation, padding) in (list(rank, 1), list(rank, 1), padding(rank)),
        (ceil_mode, plain) in (any::<bool>(), any::<bool>()),
        output_layout in prop::option::of(layout()),
    ) -> Problem {
        let desc = PoolDesc { kind, window, stride, dilation, padding, ceil_mode, output_layout };
        let unpadded = PoolDesc { kind, window, ..PoolDesc::global_max() };
        Problem::pool(if plain { &unpadded } else { &desc }, &input)
    }
}

fn any_problem() -> impl Strategy<Value = Problem> {
    prop_oneof![conv(), pool()]
}

/// Calls everything that a geometry can be asked.
fn ask(geometry: &Geometry) {
    let numbers = [
        geometry.taps(),
        geometry.input_plane(),
        geometry.output_plane(),
        geometry.reduction(),
        geometry.input_elements(),
        geometry.output_elements(),
        geometry.weight_elements(),
        geometry.flop(),
    ];
    assert!(numbers.iter().all(|&number| number > 0), "{numbers:?}");
    assert_eq!(geometry.output_shape().iter().product::<usize>() as u64, geometry.output_elements());
    assert!(geometry.output_elements() <= i32::MAX as u64);
    for axis in 0..3 {
        assert!((1..=geometry.output[axis]).contains(&geometry.phases()[axis]));
        assert!((1..=geometry.output[axis]).contains(&geometry.phase_output()[axis]));
        for o in [0, geometry.output[axis] / 2, geometry.output[axis] - 1] {
            if geometry.adaptive {
                let (first, end) = geometry.adaptive_window(axis, o);
                assert!(first < end && end <= geometry.input[axis]);
                continue;
            }
            for tap in [0, geometry.kernel[axis] / 2, geometry.kernel[axis] - 1] {
                assert!(geometry.source(axis, o, tap).is_none_or(|at| at < geometry.input[axis]));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_problem_prints_and_parses_back(problem in any_problem()) {
        let line = problem.to_string();
        let parsed: Problem = line.parse().map_err(|error| TestCaseError::fail(format!("{line}: {error}")))?;
        // Debug tells all that PartialEq tells, and calls a NaN equal to itself.
        prop_assert_eq!(format!("{:?}", parsed), format!("{:?}", problem), "{}", line);
        prop_assert_eq!(parsed.to_string(), line);
    }

    #[test]
    fn no_number_in_any_field_panics(problem in any_problem()) {
        match Geometry::new(&problem) {
            Ok(geometry) => ask(&geometry),
            Err(error) => prop_assert!(error.field().is_some(), "{}: `{}` names no field", problem, error),
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), op in "[a-z_]{0,12}|conv|conv_transpose|max_pool|adaptive_lp_pool") {
        let _ = text.parse::<Problem>();
        let _ = format!("{op} 1x2x3 {text} f32").parse::<Problem>();
        let _ = text.parse::<Activation>();
    }

    #[test]
    fn no_heap_of_tokens_panics(
        tokens in prop::collection::vec(
            "[a-z]{1,4}[0-9x:]{0,6}|[a-z_]{1,12}=[a-z0-9._-]{0,6}|(clamp|elu|relu)\\([0-9.,e-]{0,6}\\)?|f32|o4|k3|p1:é", 0..8,
        ),
    ) {
        if let Ok(problem) = format!("conv {}", tokens.join(" ")).parse::<Problem>() {
            prop_assert!(matches!(problem.layer, Layer::Conv(_)));
        }
    }
}

#[test]
fn what_once_panicked_is_an_answer() {
    for line in [
        // The sum of size and stride, of size and output padding, and the product of a window's axes left 64 bits.
        "max_pool 1x1x8 k2 s18446744073709551615 ceil f32",
        "conv_transpose 1x1x2 o1 k1 d18446744073709551615 op18446744073709551614 f32",
        "avg_pool 1x1x1x1x1 k2147483645x2147483645x2147483645 p1073741822x1073741822x1073741822 f32",
    ] {
        if let Ok(geometry) = Geometry::new(&line.parse().expect("a line")) {
            ask(&geometry);
        }
    }
}

fn check_round_trip(line: &str) {
    let problem: Problem = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(problem.to_string(), line);
}

#[test]
fn lines_in_their_usual_form_stay_as_they_are() {
    for line in [
        "conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu",
        "conv 2x8x9 in32 o8 k3 s2 p0:1 reflect d2 g4 f16 residual=before leaky_relu(0.1)",
        "conv_transpose 1x128x64x64 o64 k2x2 s2x2 same_upper op1x0 f16",
        "max_pool 1x64x112x112 k3x3 s2x2 p1x1 ceil f32 indices=plane",
        "max_pool 1x64x112x112 k3x3 f32",
        "avg_pool 1x1x8x8x8 k2x2x2 s1x1x1 p1:0x0:0x0:0 f32 exclude_pad divisor=3",
        "global_lp_pool 1x1x8 f32 norm=0.3",
        "adaptive_avg_pool 1x2048x7x7 to1x1 f32",
        "conv scalar in1 o1 k1 begin0 end0x0 i32",
        "conv 1x64x56x56 o64 k3x3 f16 nhwc out=nchw bias",
        "max_pool 1x64x8 k3 f32 out=nhwc indices=plane",
    ] {
        check_round_trip(line);
    }
}

/// What [`Problem`]'s documentation and `explain --help` show.
#[test]
fn every_token_that_is_told_of_is_one() {
    let text = include_str!("../src/problem/grammar.txt");
    let mut kind = "";
    let mut tokens = 0;
    for line in text.lines() {
        if !line.starts_with(' ') {
            kind = line;
            continue;
        }
        // Tokens end where two spaces or more begin; words of activations fill their lines.
        let words = line.trim_start().split("  ").next().unwrap_or_default();
        for token in words.split(' ').filter(|_| words != "an activation") {
            let token = match token.split_once('(') {
                Some((name, names)) => format!("{name}({})", vec!["1"; names.split(',').count()].join(",")),
                None => token.into(),
            };
            let (op, rest) = match kind {
                "poolings" if token.starts_with("to") => ("adaptive_max_pool", ""),
                "poolings" if token == "exclude_pad" || token.starts_with("divisor") => ("avg_pool", "k2"),
                "poolings" if token.starts_with("norm") => ("lp_pool", "k2"),
                "poolings" if token.starts_with('k') => ("max_pool", ""),
                "poolings" => ("max_pool", "k2"),
                _ if token.starts_with('k') => ("conv", "o1"),
                _ if token == "o64" => ("conv", "k2"),
                // The two stand together.
                _ if token.starts_with("begin") => ("conv", "o1 k2 end1x2"),
                _ if token.starts_with("end") => ("conv", "o1 k2 begin0x2"),
                _ => ("conv", "o1 k2"),
            };
            let dtype = if ["f32", "f16", "i32"].contains(&token.as_str()) { "" } else { "f32" };
            let line = format!("{op} 1x2x8x8 {token} {rest} {dtype}");
            line.parse::<Problem>().unwrap_or_else(|error| panic!("{line}: {error}"));
            tokens += 1;
        }
    }
    assert!(tokens > 50, "{tokens}");
}

#[test]
fn a_line_that_is_wrong_says_which_token() {
    for (line, field, token) in [
        ("", "problem", "empty"),
        ("conv", "input", "no input shape"),
        ("conv 1x2x3", "problem", "element type"),
        ("conv 1x2x-3 o1 k1 f32", "input", "`-3`"),
        ("conv 1x2x99999999999999999999 o1 k1 f32", "input", "`99999999999999999999`"),
        ("conv 1x2x3 o1 k1 f32 f16", "problem", "`f16`"),
        ("conv 1x2x3 o1 k1 k2 f32", "problem", "`k2`"),
        ("conv 1x2x3 o1 k f32", "kernel", "``"),
        ("conv 1x2x3 o1 k1x1x1x1 f32", "kernel", "4 entries"),
        ("conv 1x2x3 o1x2 k1 f32", "out_channels", "`1x2`"),
        ("conv 1x2x3 k1 f32", "out_channels", "o64"),
        ("conv 1x2x3 o1 f32", "kernel", "k3x3"),
        ("conv 1x2x3 o1 k1 f32 what", "problem", "`what`"),
        ("conv 1x2x3 o1 k1 f32 what", "problem", "same_upper"),
        ("conv 1x2x3 o1 k1 f32 what=1", "problem", "`what=1` is not a token"),
        ("conv 1x2x3 o1 k1 f32 elu", "problem", "`elu`"),
        ("conv 1x2x3 o1 k1 f32 elu", "problem", "elu(1)"),
        ("conv 1x2x3 o1 k1 f32 ceil", "problem", "`ceil`"),
        ("conv 1x2x3 o1 k1 f32 residual=maybe", "problem", "`maybe`"),
        ("conv 1x2x3 o1 k1 f32 residual=maybe", "problem", "before and after"),
        ("lp_pool 1x2x3 k1 f32 norm=two", "problem", "numbers"),
        ("conv 1x2x3 o1 k1 f32 begin1", "padding", "together"),
        ("conv 1x2x3 o1 k1 f32 p1 begin1 end1", "padding", "together"),
        ("max_pool 1x2x3 f32", "kernel", "window"),
        ("max_pool 1x2x3 k2 o4 f32", "problem", "`o`"),
        ("max_pool 1x2x3 k2 norm=2 f32", "problem", "`norm`"),
        ("lp_pool 1x2x3 k2 f32", "p", "norm=2"),
        ("adaptive_max_pool 1x2x3 f32", "output_size", "to7x7"),
        ("global_max_pool 1x2x3 k2 f32", "problem", "`k`"),
        ("flat_max_pool 1x2x3 k2 f32", "problem", "`flat_max_pool`"),
        ("min_pool 1x2x3 k2 f32", "problem", "`min_pool`"),
        ("dense 1x2x3 f32", "problem", "`dense`"),
    ] {
        let error = line.parse::<Problem>().expect_err(line);
        assert_eq!(error.field(), Some(field), "{line}: {error}");
        assert!(error.message().contains(token), "{line}: `{error}` does not speak of {token}");
    }
}

#[test]
fn an_algorithm_that_is_wrong_says_whether_its_name_or_its_tile_is() {
    let error = |text: &str| text.parse::<Algorithm>().expect_err(text).to_string();
    for name in Algorithm::names() {
        let Err(message) = name.parse::<Algorithm>().map_err(|error| error.to_string()) else { continue };
        let (_, example) = message.split_once(&format!("{name} needs a tile, such as ")).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(example.parse::<Algorithm>().unwrap_or_else(|error| panic!("{error}")).to_string(), example);
        assert_eq!(
            error(&format!("{name}(3)")),
            format!("invalid algorithm: `{name}(3)` has a tile that its kernel cannot have, unlike {example}")
        );
    }
    assert!(error("deepwise(14x4)").starts_with("invalid algorithm: `deepwise(14x4)` is not one of coop_matmul, "));
    assert!(error("direct(3)").ends_with("`direct(3)`: direct has no tile"));
}
