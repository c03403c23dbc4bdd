//! Every operation a second time, by lists of coordinates written out one by one: what the reference itself is held against.
//!
//! This shares no formula with `Geometry` or `reference`: padding is laid out position by position, windows are slid step by step, a
//! transposed convolution scatters. It is far too slow and greedy for anything but small layers, and takes well-formed numbers for
//! granted: a layer must have passed `Geometry::new`, or be one that [`conv`] and [`pool`] say has no output.

use wgconv::reference::ConvOperands;
use wgconv::{BatchNorm, ConvDesc, Layer, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Problem, Residual, Spatial};

/// Shape and values of an output, and for a max pooling the positions in the un-padded plane.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
    pub indices: Vec<i32>,
}

/// The positions of a window on an axis: the tap, and the input coordinate or `None` for padding.
type Window = Vec<(usize, Option<usize>)>;

fn three(list: &[usize], fill: usize) -> [usize; 3] {
    let mut axes = [fill; 3];
    axes[3 - list.len()..].copy_from_slice(list);
    axes
}

fn spatial(list: &Spatial, fill: usize) -> [usize; 3] {
    three(list.as_slice(), fill)
}

/// An odd total's larger half goes behind under `SameUpper`.
fn halves(total: usize, upper: bool) -> (usize, usize) {
    if upper { (total / 2, total.div_ceil(2)) } else { (total.div_ceil(2), total / 2) }
}

/// `begin` and `end` of an axis whose window spans `extent`.
fn sides(padding: &Padding, axis: usize, input: usize, stride: usize, extent: usize) -> (usize, usize) {
    match padding {
        Padding::Explicit { begin, end } => (spatial(begin, 0)[axis], spatial(end, 0)[axis]),
        Padding::Valid => (0, 0),
        Padding::SameUpper | Padding::SameLower => {
            let outputs = (0..input).step_by(stride).count();
            let total = ((outputs - 1) * stride + extent).saturating_sub(input);
            halves(total, matches!(padding, Padding::SameUpper))
        }
    }
}

/// The axis with its padding, written out.
fn padded(mode: PaddingMode, input: usize, begin: usize, end: usize) -> Vec<Option<usize>> {
    let (mut before, mut behind): (Vec<Option<usize>>, Vec<Option<usize>>) = match mode {
        PaddingMode::Zeros => (vec![None; begin], vec![None; end]),
        PaddingMode::Replicate => (vec![Some(0); begin], vec![Some(input - 1); end]),
        PaddingMode::Circular => ((input - begin..input).map(Some).collect(), (0..end).map(Some).collect()),
        PaddingMode::Reflect => ((1..=begin).rev().map(Some).collect(), (input - 1 - end..input - 1).rev().map(Some).collect()),
    };
    before.extend((0..input).map(Some));
    before.append(&mut behind);
    before
}

/// The windows that fit the padded axis; under `ceil` one more that reaches over its edge, but the last must begin before `end`.
fn slide(axis: &[Option<usize>], end: usize, [kernel, stride, dilation]: [usize; 3], ceil: bool) -> Vec<Window> {
    let extent = dilation * (kernel - 1) + 1;
    let room = if ceil { axis.len().saturating_add(stride - 1) } else { axis.len() };
    let steps = std::iter::successors(Some(0usize), |start| start.checked_add(stride));
    let mut starts: Vec<usize> = steps.take_while(|start| start.checked_add(extent).is_some_and(|end| end <= room)).collect();
    if ceil && starts.last().is_some_and(|&last| last >= axis.len() - end) {
        starts.pop();
    }
    let window = |start: usize| {
        let taps = (0..kernel).map(|tap| (tap, start + tap * dilation));
        taps.filter(|&(_, at)| at < axis.len()).map(|(tap, at)| (tap, axis[at])).collect()
    };
    starts.into_iter().map(window).collect()
}

/// Every element of a product of lists, the last list fastest.
fn cross<T>([a, b, c]: [&[T]; 3]) -> Vec<[&T; 3]> {
    let mut all = Vec::new();
    for x in a {
        for y in b {
            all.extend(c.iter().map(|z| [x, y, z]));
        }
    }
    all
}

/// Every position in a box.
fn positions(size: [usize; 3]) -> Vec<[usize; 3]> {
    let axes = size.map(|size| (0..size).collect::<Vec<_>>());
    cross(axes.each_ref().map(|axis| &axis[..])).into_iter().map(|position| position.map(|&at| at)).collect()
}

fn flat([d, h, w]: [usize; 3], [_, height, width]: [usize; 3]) -> usize {
    (d * height + h) * width + w
}

/// The convolution, or `None` where it has no output.
pub fn conv(problem: &Problem, operands: &ConvOperands) -> Option<Outcome> {
    let Layer::Conv(desc) = &problem.layer else { panic!("{problem} is not a convolution") };
    let shape = problem.input.shape();
    let (sums, spatial) = if desc.transposed { scatter(desc, shape, operands)? } else { gather(desc, shape, operands)? };
    let plane: usize = spatial.iter().product();
    let finish = |(index, &sum): (usize, &f64)| {
        let channel = index / plane % desc.out_channels;
        let number = |list: Option<&[f32]>, at: usize| list.map_or(0.0, |list| f64::from(list[at]));
        let residual = number(operands.residual, index);
        let (before, after) = match desc.epilogue.residual {
            Residual::None => (0.0, 0.0),
            Residual::BeforeActivation => (residual, 0.0),
            Residual::AfterActivation => (0.0, residual),
        };
        let x = sum + number(operands.weights.bias, channel) + before;
        // Whatever an activation's formula makes of a NaN, it must stay one.
        let y = if x.is_nan() { x } else { desc.epilogue.activation.apply(x, number(operands.weights.slope, channel)) };
        y + after
    };
    let values = sums.iter().enumerate().map(finish).collect();
    Some(Outcome { shape: with_rank(shape, desc.out_channels, spatial), values, indices: Vec::new() })
}

fn with_rank(input: &[usize], channels: usize, spatial: [usize; 3]) -> Vec<usize> {
    [&[input[0], channels], &spatial[5 - input.len()..]].concat()
}

fn gather(desc: &ConvDesc, shape: &[usize], operands: &ConvOperands) -> Option<(Vec<f64>, [usize; 3])> {
    let input = three(&shape[2..], 1);
    let (kernel, stride, dilation) = (spatial(&desc.kernel, 1), spatial(&desc.stride, 1), spatial(&desc.dilation, 1));
    let windows: [Vec<Window>; 3] = std::array::from_fn(|axis| {
        let extent = dilation[axis] * (kernel[axis] - 1) + 1;
        let (begin, end) = sides(&desc.padding, axis, input[axis], stride[axis], extent);
        let line = padded(desc.padding_mode, input[axis], begin, end);
        slide(&line, end, [kernel[axis], stride[axis], dilation[axis]], false)
    });
    let output = [0, 1, 2].map(|axis| windows[axis].len());
    if output.contains(&0) {
        return None;
    }
    let (group_in, group_out) = (desc.in_channels / desc.groups, desc.out_channels / desc.groups);
    let mut sums = Vec::new();
    for (n, o) in (0..shape[0]).flat_map(|n| (0..desc.out_channels).map(move |o| (n, o))) {
        for window in cross(windows.each_ref().map(|axis| &axis[..])) {
            let mut sum = 0.0;
            for c in 0..group_in {
                let plane = (n * desc.in_channels + o / group_out * group_in + c) * input.iter().product::<usize>();
                let filter = (o * group_in + c) * kernel.iter().product::<usize>();
                for position in cross(window.map(|list| &list[..])) {
                    if let [&(i, Some(d)), &(j, Some(h)), &(k, Some(w))] = position {
                        let x = f64::from(operands.input[plane + flat([d, h, w], input)]);
                        sum += x * f64::from(operands.weights.kernel[filter + flat([i, j, k], kernel)]);
                    }
                }
            }
            sums.push(sum);
        }
    }
    Some((sums, output))
}

/// Each input times the kernel is added where it belongs in the uncropped output, and then that is cropped.
fn scatter(desc: &ConvDesc, shape: &[usize], operands: &ConvOperands) -> Option<(Vec<f64>, [usize; 3])> {
    let input = three(&shape[2..], 1);
    let (kernel, stride, dilation) = (spatial(&desc.kernel, 1), spatial(&desc.stride, 1), spatial(&desc.dilation, 1));
    let extra = spatial(&desc.output_padding, 0);
    let full: [usize; 3] =
        std::array::from_fn(|axis| (input[axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 + extra[axis]);
    let crop = |axis: usize| match &desc.padding {
        Padding::Explicit { begin, end } => {
            let (begin, end) = (spatial(begin, 0)[axis], spatial(end, 0)[axis]);
            Some((begin, full[axis].checked_sub(begin + end).filter(|&size| size > 0)?))
        }
        Padding::Valid => Some((0, full[axis])),
        Padding::SameUpper | Padding::SameLower => {
            let size = input[axis] * stride[axis];
            Some((halves(full[axis].saturating_sub(size), matches!(desc.padding, Padding::SameUpper)).0, size))
        }
    };
    let crops = [crop(0)?, crop(1)?, crop(2)?];
    let output = crops.map(|(_, size)| size);
    let (in_plane, out_plane) = (input.iter().product::<usize>(), output.iter().product::<usize>());
    let (group_in, group_out) = (desc.in_channels / desc.groups, desc.out_channels / desc.groups);
    let mut sums = vec![0.0; shape[0] * desc.out_channels * out_plane];
    for (n, c) in (0..shape[0]).flat_map(|n| (0..desc.in_channels).map(move |c| (n, c))) {
        for at in positions(input) {
            let x = f64::from(operands.input[(n * desc.in_channels + c) * in_plane + flat(at, input)]);
            for (tap_index, tap) in positions(kernel).into_iter().enumerate() {
                // What lands before the crop wraps to a huge number, and so is outside too.
                let to: [usize; 3] = std::array::from_fn(|axis| {
                    (at[axis] * stride[axis] + tap[axis] * dilation[axis]).wrapping_sub(crops[axis].0)
                });
                if (0..3).any(|axis| to[axis] >= output[axis]) {
                    continue;
                }
                for o in 0..group_out {
                    let w =
                        f64::from(operands.weights.kernel[(c * group_out + o) * kernel.iter().product::<usize>() + tap_index]);
                    let channel = n * desc.out_channels + c / group_in * group_out + o;
                    sums[channel * out_plane + flat(to, output)] += x * w;
                }
            }
        }
    }
    Some((sums, output))
}

/// The pooling, or `None` where a window has nothing to compute with.
pub fn pool(problem: &Problem, x: &[f32]) -> Option<Outcome> {
    let Layer::Pool(desc) = &problem.layer else { panic!("{problem} is not a pooling") };
    let shape = problem.input.shape();
    let input = three(&shape[2..], 1);
    let windows = pool_windows(desc, shape);
    let output = [0, 1, 2].map(|axis| windows[axis].len());
    if output.contains(&0) {
        return None;
    }
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for channel in 0..shape[0] * shape[1] {
        for window in cross(windows.each_ref().map(|axis| &axis[..])) {
            let all = cross(window.map(|list| &list[..]));
            let inside: Vec<usize> = all
                .iter()
                .filter_map(|position| match *position {
                    [&(_, Some(d)), &(_, Some(h)), &(_, Some(w))] => Some(flat([d, h, w], input)),
                    _ => None,
                })
                .collect();
            let value = |&at: &usize| f64::from(x[channel * input.iter().product::<usize>() + at]);
            match desc.kind {
                PoolKind::Max { .. } => {
                    let nan = inside.iter().copied().find(|at| value(at).is_nan());
                    let greatest = inside.iter().map(value).reduce(f64::max)?;
                    let at = nan.or_else(|| inside.iter().copied().find(|at| value(at) == greatest))?;
                    values.push(value(&at));
                    indices.push(at as i32);
                }
                PoolKind::Average { count_include_pad, divisor_override } => {
                    let count = if count_include_pad { all.len() } else { inside.len() };
                    let divisor = divisor_override.unwrap_or(count);
                    if divisor == 0 {
                        return None;
                    }
                    values.push(inside.iter().map(value).sum::<f64>() / divisor as f64);
                }
                PoolKind::Lp { p } => {
                    let p = f64::from(p);
                    values.push(inside.iter().map(|at| value(at).abs().powf(p)).sum::<f64>().powf(1.0 / p));
                }
            }
        }
    }
    Some(Outcome { shape: with_rank(shape, shape[1], output), values, indices })
}

fn pool_windows(desc: &PoolDesc, shape: &[usize]) -> [Vec<Window>; 3] {
    let input = three(&shape[2..], 1);
    let whole = |size: usize| vec![(0..size).map(|at| (at, Some(at))).collect()];
    std::array::from_fn(|axis| match &desc.window {
        PoolWindow::Global => whole(input[axis]),
        PoolWindow::Adaptive(size) => {
            let (from, to) = (input[axis], spatial(size, 1)[axis]);
            let (first, end) = (|o: usize| o * from / to, |o: usize| ((o + 1) * from).div_ceil(to));
            (0..to).map(|o| (first(o)..end(o)).map(|at| (at - first(o), Some(at))).collect()).collect()
        }
        PoolWindow::Sliding(kernel) => {
            let [kernel, stride, dilation] = [kernel, &desc.stride, &desc.dilation].map(|list| spatial(list, 1)[axis]);
            let (begin, end) = sides(&desc.padding, axis, input[axis], stride, dilation * (kernel - 1) + 1);
            slide(&padded(PaddingMode::Zeros, input[axis], begin, end), end, [kernel, stride, dilation], desc.ceil_mode)
        }
    })
}

/// A batch normalisation, as it is written in its paper.
pub fn batch_norm(norm: &BatchNorm, shape: &[usize], values: &[f64]) -> Vec<f64> {
    let plane: usize = shape[2..].iter().product();
    let mut normal = Vec::new();
    for (channel, plane) in values.chunks(plane).enumerate().map(|(index, plane)| (index % shape[1], plane)) {
        let [mean, variance] = [norm.mean, norm.variance].map(|list| f64::from(list[channel]));
        let deviation = (variance + f64::from(norm.epsilon)).sqrt();
        let scaled = |x: &f64| (x - mean) / deviation * f64::from(norm.scale[channel]) + f64::from(norm.shift[channel]);
        normal.extend(plane.iter().map(scaled));
    }
    normal
}
