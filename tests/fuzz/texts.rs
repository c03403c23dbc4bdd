//! What is done with a text that may be anything: as a problem line, with all that follows from one up to the plans, and as a tuning
//! table. Nothing may panic, hang or take much memory; what is accepted prints as what it was; small layers have the sizes and the
//! numbers that counting one by one gives.

#[allow(dead_code, reason = "the program and the tests of geometry use the rest")]
#[path = "../../examples/verify/naive.rs"]
mod naive;
#[allow(dead_code, reason = "the tuner uses the rest")]
#[path = "../../src/tune/table.rs"]
mod table;

use wgconv::reference::{self, ConvOperands};
use wgconv::{
    Algorithm, DeviceClass, DeviceLimits, Geometry, IndexOrder, Layer, Padding, PoolDesc, PoolKind, PoolWindow, Problem, Weights,
};

/// Elements of a tensor, or terms of a sum, up to which a layer is computed twice.
const SMALL: u64 = 400;

/// A text as a problem line.
pub fn line(bytes: &[u8]) {
    let Ok(problem) = String::from_utf8_lossy(bytes).parse::<Problem>() else { return };
    let again: Problem = problem.to_string().parse().unwrap_or_else(|error| panic!("`{problem}` does not parse: {error}"));
    // By text, since NaN is in no way equal to itself.
    assert_eq!(again.to_string(), problem.to_string());
    let Ok(geometry) = Geometry::new(&problem) else { return };
    let gpu = DeviceLimits { f16: true, subgroup: Some(8), ..DeviceLimits::default() };
    for limits in [gpu, DeviceLimits { class: DeviceClass::Software, loops_over_lanes: true, ..gpu }] {
        let Ok(candidates) = Algorithm::candidates(&problem, &limits) else { continue };
        for algorithm in candidates.algorithms.iter().take(2) {
            let name = algorithm.to_string();
            assert_eq!(name.parse::<Algorithm>().expect("an algorithm's name parses"), *algorithm);
            algorithm.plan(&problem, &limits).unwrap_or_else(|error| panic!("{problem} by its candidate {name}: {error}"));
        }
    }
    if is_small(&problem, &geometry) {
        compare(&problem, &geometry);
    }
}

fn is_small(problem: &Problem, geometry: &Geometry) -> bool {
    let (padding, span) = match &problem.layer {
        Layer::Conv(desc) => (desc.padding, 0),
        Layer::Pool(desc) => match desc.window {
            PoolWindow::Sliding(_) => (desc.padding, 0),
            _ => (Padding::Valid, 1),
        },
    };
    let sides = match padding {
        Padding::Explicit { begin, end } => begin.as_slice().iter().chain(end.as_slice()).copied().max().unwrap_or(0),
        _ => 0,
    };
    let numbers = [geometry.input_elements(), geometry.output_elements(), geometry.reduction(), geometry.taps()];
    let steps = (0..3).flat_map(|axis| [geometry.stride[axis], geometry.dilation[axis], geometry.kernel[axis]]);
    numbers.iter().all(|&number| number <= SMALL) && sides <= 64 && steps.max().unwrap_or(0) <= 64 && span < 2
}

/// So many small integers: every sum of their products is exact in f64, in any order.
fn integers(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as f32 - 8.0).collect()
}

fn compare(problem: &Problem, geometry: &Geometry) {
    let input = integers(geometry.input_elements() as usize, 1);
    let (got, expected) = match &problem.layer {
        Layer::Conv(desc) => {
            let Ok(shape) = desc.weight_shape() else { return };
            let [kernel, bias, slope] =
                [(shape.iter().product(), 2), (desc.out_channels, 3), (desc.out_channels, 5)].map(|(n, seed)| integers(n, seed));
            let epilogue = &desc.epilogue;
            let slope = epilogue.activation.has_slope().then_some(&slope[..]);
            let weights = Weights { kernel: &kernel, bias: epilogue.bias.then_some(&bias), slope, ..Default::default() };
            let residual = integers(geometry.output_elements() as usize, 4);
            let residual = (epilogue.residual != wgconv::Residual::None).then_some(&residual[..]);
            let operands = ConvOperands { input: &input, weights, residual };
            (reference::conv(problem, &operands), naive::conv(problem, &operands))
        }
        Layer::Pool(_) => (reference::pool(problem, &input), naive::pool(problem, &input)),
    };
    let got = got.unwrap_or_else(|error| panic!("{problem}: {error}"));
    let expected = expected.unwrap_or_else(|| panic!("{problem} has no output by counting"));
    assert_eq!(geometry.output_shape(), expected.shape, "{problem}");
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(1.0);
    assert!(got.values.iter().zip(&expected.values).all(close), "{problem}: {:?}, by counting {:?}", got.values, expected.values);
    // Counting knows one numbering.
    if matches!(&problem.layer, Layer::Pool(PoolDesc { kind: PoolKind::Max { indices: Some(IndexOrder::Plane) }, .. })) {
        assert_eq!(got.indices.unwrap_or_default(), expected.indices, "{problem}");
    }
}

/// Bytes as the numbers of a layer that is small and mostly possible, so that nearly every one is counted one by one.
pub fn geometry(bytes: &[u8]) {
    let mut bytes = bytes.iter();
    // A number of `first..first + count`.
    let mut number = |first: u32, count: u8| first + u32::from(bytes.next().unwrap_or(&0) % count);
    let (kind, rank, groups) = (number(0, 5), number(1, 3) as usize, number(1, 3));
    let largest = [20, 9, 5][rank - 1];
    let mut axes = |first: u32, count: u8| (0..rank).map(|_| number(first, count)).collect::<Vec<_>>();
    let [input, kernel, stride, dilation] = [(1, largest), (1, 4), (1, 3), (1, 3)].map(|(first, count)| axes(first, count));
    let [begin, end, more] = [5, 5, 2].map(|count| axes(0, count));
    let list = |values: &[u32]| values.iter().map(u32::to_string).collect::<Vec<_>>().join("x");
    let pads = begin.iter().zip(&end).map(|(begin, end)| format!("{begin}:{end}")).collect::<Vec<_>>().join("x");
    let (batch, ins, outs, word) = (number(1, 2), groups * number(1, 3), groups * number(1, 3), number(0, 4) as usize);
    let [input, kernel, stride, dilation, more] = [input, kernel, stride, dilation, more].map(|values| list(&values));
    let sizes = format!("{batch}x{ins}x{input}");
    let window = format!("k{kernel} s{stride} p{pads}");
    line(
        match kind {
            0 => {
                let mode = ["", " reflect", " replicate", " circular"][word];
                format!("conv {sizes} o{outs} {window}{mode} d{dilation} g{groups} f32 bias")
            }
            1 => format!("conv_transpose {sizes} o{outs} {window} op{more} d{dilation} g{groups} f32"),
            2 => format!("max_pool {sizes} {window}{} d{dilation} f32 indices=plane", ["", " ceil"][word % 2]),
            3 => format!("avg_pool {sizes} {window}{} f32{}", ["", " ceil"][word % 2], ["", " exclude_pad"][word / 2]),
            _ => format!("lp_pool {sizes} {window} d{dilation} f32 norm={}", word + 1),
        }
        .as_bytes(),
    );
}

/// A text as a tuning table.
pub fn table(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(parsed) = table::Table::parse(&text) else { return };
    let printed = parsed.table.to_string();
    let again = table::Table::parse(&printed).expect("what is printed is a table");
    assert_eq!((again.table, again.damage.len()), (parsed.table, 0), "{printed}");
    for line in text.lines().filter_map(|line| line.split_once(" = ")) {
        if let Ok(algorithm) = line.1.parse::<Algorithm>() {
            assert_eq!(algorithm.to_string().parse::<Algorithm>().ok(), Some(algorithm));
        }
    }
}
