//! [`Geometry`]: the numbers of a layer, checked. The only validation of descriptions and the only output-size formula.
//!
//! There are always three spatial axes; layers of rank 1 and 2 get leading axes of length 1. All sizes fit an `i32`, so that
//! kernels can compute coordinates in 32 bits.
//!
//! A transposed convolution becomes an ordinary one over an input with `stride - 1` zeros between its elements, with a flipped
//! kernel and the padding `dilation*(kernel-1) - padding` (Dumoulin and Visin, 2016, section 4). Kernels never meet those
//! zeros: output `o` of *phase* `o mod input_dilation` uses only every so-manieth tap ([`Geometry::phases`]).
//!
//! Numbers that cannot matter are normalised: dilation of a 1-tap kernel, stride of an axis with one output.

use crate::desc::{ConvDesc, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow};
use crate::error::{Error, Result};
use crate::problem::{Layer, Problem};
use crate::spatial::Spatial;
use crate::tensor_desc::{DType, MAX_ELEMENTS, TensorDesc};

/// The checked numbers of a layer, on three spatial axes `[d, h, w]`.
///
/// Output `o` and tap `t` of an axis meet input `(o*stride + t*dilation - pad_begin) / input_dilation`, where that is a whole
/// number inside the input; elsewhere padding.
///
/// # Examples
/// ```
/// use wgconv::{Geometry, Problem};
/// let problem: Problem = "conv 1x3x224x224 o64 k7x7 s2x2 p3x3 f32".parse()?;
/// let geometry = Geometry::new(&problem)?;
/// assert_eq!(geometry.output, [1, 112, 112]);
/// assert_eq!(geometry.output_shape(), [1, 64, 112, 112]);
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Spatial axes of the layer as described: 1, 2 or 3.
    pub rank: usize,
    /// Batch items.
    pub batch: u32,
    /// Channels of the input.
    pub in_channels: u32,
    /// Channels of the output.
    pub out_channels: u32,
    /// Groups of channels; a pooling has as many as channels.
    pub groups: u32,
    /// Input size.
    pub input: [u32; 3],
    /// Output size.
    pub output: [u32; 3],
    /// Taps, or the window; of an adaptive pooling a bound of its windows.
    pub kernel: [u32; 3],
    /// Step of the kernel over the (dilated) input.
    pub stride: [u32; 3],
    /// Distance of two taps.
    pub dilation: [u32; 3],
    /// Distance of two inputs: the stride of a transposed convolution, else 1.
    pub input_dilation: [u32; 3],
    /// Elements before the input; negative where a transposed convolution crops.
    pub pad_begin: [i32; 3],
    /// Elements behind the input.
    pub pad_end: [i32; 3],
    /// What the padding holds.
    pub padding_mode: PaddingMode,
    /// Whether the weights are those of a transposed convolution: flipped, input channels first.
    pub transposed: bool,
    /// Whether windows follow the adaptive rule instead of stride and padding.
    pub adaptive: bool,
}

/// Whether every dimension is at least `least`; the error says which is not.
fn at_least_one(field: &'static str, list: &[usize], what: &str) -> Result<()> {
    match list.iter().position(|&v| v == 0) {
        None => Ok(()),
        Some(axis) => Err(Error::invalid(field, format!("axis {axis} has {what} 0, but a {what} is at least 1"))),
    }
}

fn same_rank(field: &'static str, list: Spatial, rank: usize) -> Result<()> {
    if list.rank() == rank {
        return Ok(());
    }
    Err(Error::invalid(field, format!("has {} entries, but the input has {rank} spatial axes", list.rank())))
}

/// A size that must fit the kernels' 32-bit coordinates.
fn to_u32(field: &'static str, what: &str, value: u64) -> Result<u32> {
    if value <= MAX_ELEMENTS as u64 {
        return Ok(value as u32);
    }
    Err(Error::invalid(field, format!("{what} is {value}, more than {MAX_ELEMENTS} (2^31 - 1)")))
}

/// One axis of a layer as the user gave it.
#[derive(Clone, Copy)]
struct Axis {
    index: usize,
    input: u64,
    kernel: u64,
    stride: u64,
    dilation: u64,
    padding: AxisPadding,
}

#[derive(Clone, Copy)]
enum AxisPadding {
    Explicit { begin: u64, end: u64 },
    Same { odd_at_end: bool },
}

impl Axis {
    /// `dilation * (kernel - 1) + 1`: the inputs from a kernel's first tap to its last.
    fn extent(&self) -> Result<u64> {
        let too_far = || {
            let field = if self.dilation > self.kernel { "dilation" } else { "kernel" };
            Error::invalid(
                field,
                format!(
                    "axis {}: kernel {} with dilation {} spans more than {MAX_ELEMENTS} elements (2^31 - 1)",
                    self.index, self.kernel, self.dilation
                ),
            )
        };
        let extent = self.dilation.checked_mul(self.kernel - 1).and_then(|span| span.checked_add(1)).ok_or_else(too_far)?;
        if extent <= MAX_ELEMENTS as u64 { Ok(extent) } else { Err(too_far()) }
    }

    /// The padding in elements, and the padded size, checked to fit.
    fn padding(&self, extent: u64) -> Result<(u64, u64)> {
        let (begin, end) = match self.padding {
            AxisPadding::Explicit { begin, end } => (begin, end),
            AxisPadding::Same { odd_at_end } => {
                let outputs = self.input.div_ceil(self.stride);
                let reach = ((outputs - 1) * self.stride).saturating_add(extent);
                split_odd(reach.saturating_sub(self.input), odd_at_end)
            }
        };
        let padded = self.input.checked_add(begin).and_then(|sum| sum.checked_add(end));
        match padded {
            Some(padded) if padded <= MAX_ELEMENTS as u64 => Ok((begin, end)),
            _ => Err(Error::invalid(
                "padding",
                format!(
                    "axis {}: input {} with padding {begin} and {end} is more than {MAX_ELEMENTS} elements (2^31 - 1)",
                    self.index, self.input
                ),
            )),
        }
    }

    fn too_large(&self, extent: u64, begin: u64, end: u64) -> Error {
        Error::invalid(
            "kernel",
            format!(
                "axis {}: kernel {} with dilation {} spans {extent} elements, but the input has {} with padding {begin} and {end}",
                self.index, self.kernel, self.dilation, self.input
            ),
        )
    }

    /// `(output, begin, end)` of a convolution or pooling.
    fn forward(&self, ceil_mode: bool) -> Result<(u64, u64, u64)> {
        let extent = self.extent()?;
        let (begin, end) = self.padding(extent)?;
        let padded = self.input + begin + end;
        // A stride that saturates steps over everything: one output either way.
        let reach = if ceil_mode { padded.saturating_add(self.stride - 1) } else { padded };
        if reach < extent {
            return Err(self.too_large(extent, begin, end));
        }
        let mut output = (reach - extent) / self.stride + 1;
        // PyTorch's rule: the last window must start inside the input or its first padding.
        if ceil_mode && (output - 1) * self.stride >= self.input + begin {
            output -= 1;
        }
        Ok((output, begin, end))
    }

    /// `(output, begin, end)` of a transposed convolution, with the padding of the equivalent convolution.
    fn transposed(&self, output_padding: u64) -> Result<(u64, i64, i64)> {
        let extent = self.extent()?;
        let stretched = (self.input - 1).checked_mul(self.stride).and_then(|v| v.checked_add(1)).unwrap_or(u64::MAX);
        to_u32("stride", &format!("axis {}: input {} at stride {}", self.index, self.input, self.stride), stretched)?;
        let full = (stretched + extent - 1).saturating_add(output_padding);
        to_u32("stride", &format!("axis {}: the output before cropping", self.index), full)?;
        let (begin, end, output) = match self.padding {
            AxisPadding::Explicit { begin, end } => {
                let cropped = begin.checked_add(end).filter(|&crop| crop < full);
                let crop = cropped.ok_or_else(|| {
                    Error::invalid(
                        "padding",
                        format!("axis {}: padding {begin} and {end} crops all of the {full} outputs", self.index),
                    )
                })?;
                (begin, end, full - crop)
            }
            AxisPadding::Same { odd_at_end } => {
                let output = self.input * self.stride;
                let (begin, end) = split_odd(full.saturating_sub(output), odd_at_end);
                (begin, end, output)
            }
        };
        // The taps beyond the described end only ever meet zeros, so the end may be whatever gives `output` positions.
        let pad_begin = extent as i64 - 1 - begin as i64;
        let pad_end = output as i64 - stretched as i64 - pad_begin + extent as i64 - 1;
        debug_assert!(
            matches!(self.padding, AxisPadding::Same { .. }) || pad_end == (extent + output_padding) as i64 - 1 - end as i64
        );
        Ok((output, pad_begin, pad_end))
    }
}

/// Halves a padding; the odd element goes to the named side.
fn split_odd(total: u64, odd_at_end: bool) -> (u64, u64) {
    let (small, large) = (total / 2, total - total / 2);
    if odd_at_end { (small, large) } else { (large, small) }
}

/// Puts 1 to 3 values behind leading `fill`s.
fn three<T: Copy>(values: &[T], fill: T) -> [T; 3] {
    let mut axes = [fill; 3];
    axes[3 - values.len()..].copy_from_slice(values);
    axes
}

impl Geometry {
    /// Checks a problem and computes its numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field at fault, for everything that a layer cannot be.
    pub fn new(problem: &Problem) -> Result<Self> {
        let input = &problem.input;
        let rank = check_input(input)?;
        let geometry = match &problem.layer {
            Layer::Conv(desc) => conv(desc, input, rank)?,
            Layer::Pool(desc) => pool(desc, input, rank)?,
        };
        geometry.check_elements(&problem.layer)?;
        Ok(geometry)
    }

    fn check_elements(&self, layer: &Layer) -> Result<()> {
        let output = TensorDesc::f32(&self.output_shape());
        // The output is the product of many fields: blame the one that made it large.
        let field = match layer {
            Layer::Conv(desc) if desc.transposed && !desc.stride.all(1) => "stride",
            Layer::Conv(desc) if desc.out_channels > self.output.iter().map(|&v| v as usize).product() => "out_channels",
            Layer::Pool(PoolDesc { window: PoolWindow::Adaptive(_), .. }) => "output_size",
            _ => "padding",
        };
        let too_large = |error: Error| Error::invalid(field, format!("the output is too large: {}", error.message()));
        output.elements_of(field).map_err(too_large)?;
        match layer {
            Layer::Conv(desc) => TensorDesc::f32(&desc.weight_shape()?).elements_of("weight")?,
            // Padding lets a window be as large on each axis as a tensor may be as a whole.
            Layer::Pool(_) => TensorDesc::f32(&self.kernel.map(|size| size as usize)).elements_of("kernel")?,
        };
        Ok(())
    }

    /// The output's shape, with the rank of the input's.
    pub fn output_shape(&self) -> Vec<usize> {
        let spatial = &self.output[3 - self.rank..];
        [self.batch, self.out_channels].iter().chain(spatial).map(|&v| v as usize).collect()
    }

    /// Taps of the kernel, or elements of the (largest) window.
    pub fn taps(&self) -> u64 {
        product(self.kernel)
    }

    /// Elements of one channel of the input.
    pub fn input_plane(&self) -> u64 {
        product(self.input)
    }

    /// Elements of one channel of the output.
    pub fn output_plane(&self) -> u64 {
        product(self.output)
    }

    /// Input channels of a group.
    pub fn group_in(&self) -> u32 {
        self.in_channels / self.groups
    }

    /// Output channels of a group: the `m` of its matrix product.
    pub fn group_out(&self) -> u32 {
        self.out_channels / self.groups
    }

    /// Terms of each output's sum: the `k` of a group's matrix product.
    pub fn reduction(&self) -> u64 {
        u64::from(self.group_in()) * self.taps()
    }

    /// Elements of the input.
    pub fn input_elements(&self) -> u64 {
        u64::from(self.batch) * u64::from(self.in_channels) * self.input_plane()
    }

    /// Elements of the output.
    pub fn output_elements(&self) -> u64 {
        u64::from(self.batch) * u64::from(self.out_channels) * self.output_plane()
    }

    /// Elements of the weights.
    pub fn weight_elements(&self) -> u64 {
        u64::from(self.out_channels) * self.reduction()
    }

    /// The phases of a transposed convolution on each axis: outputs `phase + input_dilation*q` use the same taps.
    pub fn phases(&self) -> [u32; 3] {
        std::array::from_fn(|axis| self.input_dilation[axis].min(self.output[axis]))
    }

    /// Outputs of the first phase, which has the most.
    pub fn phase_output(&self) -> [u32; 3] {
        std::array::from_fn(|axis| self.output[axis].div_ceil(self.input_dilation[axis]))
    }

    /// Floating-point operations of a convolution: two for each product of an input (or its zero padding) and a weight.
    pub fn flop(&self) -> u64 {
        let positions = if self.transposed { self.input_plane() } else { self.output_plane() };
        2 * u64::from(self.batch) * u64::from(self.out_channels) * positions * self.reduction()
    }

    /// The inputs, from first to one past the last, that output `o` of an axis of an adaptive pooling sees.
    pub fn adaptive_window(&self, axis: usize, o: u32) -> (u32, u32) {
        adaptive_window(u64::from(self.input[axis]), u64::from(self.output[axis]), u64::from(o))
    }

    /// The input coordinate that output `o` and tap `t` of an axis meet, through the padding mode; `None` for a zero.
    pub fn source(&self, axis: usize, o: u32, t: u32) -> Option<u32> {
        let at = i64::from(o) * i64::from(self.stride[axis]) + i64::from(t) * i64::from(self.dilation[axis])
            - i64::from(self.pad_begin[axis]);
        let gap = i64::from(self.input_dilation[axis]);
        let size = i64::from(self.input[axis]);
        if at.rem_euclid(gap) != 0 {
            return None;
        }
        let at = at.div_euclid(gap);
        let inside = match self.padding_mode {
            PaddingMode::Zeros => at,
            PaddingMode::Replicate => at.clamp(0, size - 1),
            PaddingMode::Circular => at.rem_euclid(size),
            PaddingMode::Reflect if at < 0 => -at,
            PaddingMode::Reflect if at >= size => 2 * (size - 1) - at,
            PaddingMode::Reflect => at,
        };
        // A stride may leave part of the end padding unread, so only the zeros are ever outside.
        u32::try_from(inside).ok().filter(|&at| at < self.input[axis])
    }
}

fn product(sizes: [u32; 3]) -> u64 {
    sizes.iter().map(|&size| u64::from(size)).product()
}

pub(crate) fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The first `x >= 0` for which `(start + step*x) mod modulus` is at least `low`, in logarithmic time.
fn first_in_range(step: i64, modulus: i64, start: i64, low: i64) -> Option<i64> {
    // The same as `step*x mod modulus` in `low - start ..= modulus - 1 - start`; a range that starts below 0 holds 0 at once.
    if start >= low { Some(0) } else { first_multiple(step, modulus, low - start, modulus - 1 - start) }
}

/// The first `x >= 0` for which `a*x mod m` lies in `low..=high`, by Euclid's steps; `0 <= low <= high < m`.
fn first_multiple(a: i64, m: i64, low: i64, high: i64) -> Option<i64> {
    if low == 0 {
        return Some(0);
    }
    if a == 0 {
        return None;
    }
    if 2 * a > m {
        // Going back by m - a is going on by a, and halves the numbers at every second step.
        return first_multiple(m - a, m, m - high, m - low);
    }
    let x = (low + a - 1) / a;
    if x * a <= high {
        return Some(x);
    }
    // No multiple of a lies in the range, so the answer goes round m some `turns` times: -m*turns mod a must lie in the range mod a.
    let turns = first_multiple((a - m % a) % a, a, low % a, high % a)?;
    Some((low + m * turns + a - 1) / a)
}

/// PyTorch's windows: `floor(o*in/out) .. ceil((o+1)*in/out)`.
fn adaptive_window(input: u64, output: u64, o: u64) -> (u32, u32) {
    ((o * input / output) as u32, ((o + 1) * input).div_ceil(output) as u32)
}

/// Checks the input's shape; gives the number of its spatial axes.
fn check_input(input: &TensorDesc) -> Result<usize> {
    let shape = input.shape();
    if !(3..=5).contains(&shape.len()) {
        return Err(Error::invalid(
            "input",
            format!("has {} axes, but a layer's input has 3 to 5: batch, channels and 1 to 3 spatial ones", shape.len()),
        ));
    }
    if let Some(axis) = shape.iter().position(|&size| size == 0) {
        return Err(Error::invalid("input", format!("shape {input} has size 0 on axis {axis}, but a size is at least 1")));
    }
    input.elements_of("input")?;
    if input.dtype() == DType::I32 {
        return Err(Error::unsupported("input", "has elements of type i32, but layers work on f32 and f16"));
    }
    Ok(shape.len() - 2)
}

/// The padding of each axis, its rank checked.
fn axis_paddings(padding: Padding, rank: usize) -> Result<Vec<AxisPadding>> {
    Ok(match padding {
        Padding::Explicit { begin, end } => {
            same_rank("padding", begin, rank)?;
            same_rank("padding", end, rank)?;
            (0..rank).map(|axis| AxisPadding::Explicit { begin: begin[axis] as u64, end: end[axis] as u64 }).collect()
        }
        Padding::Valid => vec![AxisPadding::Explicit { begin: 0, end: 0 }; rank],
        Padding::SameUpper => vec![AxisPadding::Same { odd_at_end: true }; rank],
        Padding::SameLower => vec![AxisPadding::Same { odd_at_end: false }; rank],
    })
}

/// The axes of a sliding window, their fields checked one by one.
fn axes(input: &TensorDesc, kernel: Spatial, stride: Spatial, dilation: Spatial, padding: Padding) -> Result<Vec<Axis>> {
    let rank = input.shape().len() - 2;
    for (field, list, what) in
        [("kernel", kernel, "kernel size"), ("stride", stride, "stride"), ("dilation", dilation, "dilation")]
    {
        same_rank(field, list, rank)?;
        at_least_one(field, list.as_slice(), what)?;
    }
    let paddings = axis_paddings(padding, rank)?;
    Ok((0..rank)
        .map(|index| Axis {
            index,
            input: input.shape()[2 + index] as u64,
            kernel: kernel[index] as u64,
            stride: stride[index] as u64,
            // A kernel of one tap has no distance between taps.
            dilation: if kernel[index] == 1 { 1 } else { dilation[index] as u64 },
            padding: paddings[index],
        })
        .collect())
}

fn conv(desc: &ConvDesc, input: &TensorDesc, rank: usize) -> Result<Geometry> {
    let axes = axes(input, desc.kernel, desc.stride, desc.dilation, desc.padding)?;
    desc.check_groups()?;
    if input.shape()[1] != desc.in_channels {
        return Err(Error::invalid(
            "input",
            format!("has {} channels, but the description says in_channels = {}", input.shape()[1], desc.in_channels),
        ));
    }
    desc.check_output_padding(rank)?;
    if desc.transposed && desc.padding_mode != PaddingMode::Zeros {
        return Err(Error::invalid(
            "padding_mode",
            format!("{:?} on a transposed convolution, which crops and knows only Zeros", desc.padding_mode),
        ));
    }
    desc.epilogue.activation.check()?;

    let mut geometry = Geometry::unit(input, rank);
    geometry.out_channels = to_u32("out_channels", "the number of output channels", desc.out_channels as u64)?;
    geometry.groups = to_u32("groups", "the number of groups", desc.groups as u64)?;
    geometry.padding_mode = desc.padding_mode;
    geometry.transposed = desc.transposed;
    for axis in &axes {
        let at = 3 - rank + axis.index;
        if desc.transposed {
            let (output, begin, end) = axis.transposed(desc.output_padding[axis.index] as u64)?;
            geometry.set_axis(at, axis, output, begin, end)?;
            // With one input there is nothing to keep apart.
            geometry.input_dilation[at] = if axis.input == 1 { 1 } else { to_u32("stride", "the stride", axis.stride)? };
        } else {
            let (output, begin, end) = axis.forward(false)?;
            check_padding_mode(desc.padding_mode, axis, begin, end)?;
            geometry.set_axis(at, axis, output, begin as i64, end as i64)?;
            geometry.stride[at] = if output == 1 { 1 } else { to_u32("stride", "the stride", axis.stride)? };
        }
    }
    Ok(geometry)
}

fn pool(desc: &PoolDesc, input: &TensorDesc, rank: usize) -> Result<Geometry> {
    check_kind(desc.kind)?;
    let mut geometry = Geometry::unit(input, rank);
    geometry.groups = geometry.in_channels;
    let PoolWindow::Sliding(kernel) = desc.window else {
        let plain = desc.stride.all(1) && desc.dilation.all(1) && !desc.ceil_mode;
        let unpadded = matches!(desc.padding, Padding::Explicit { begin, end } if begin.all(0) && end.all(0));
        if !plain || !unpadded {
            let field = if !desc.stride.all(1) {
                "stride"
            } else if !desc.dilation.all(1) {
                "dilation"
            } else if desc.ceil_mode {
                "ceil_mode"
            } else {
                "padding"
            };
            return Err(Error::invalid(field, "is set, but a global or adaptive pooling has no sliding window"));
        }
        if let PoolWindow::Adaptive(size) = desc.window {
            same_rank("output_size", size, rank)?;
            at_least_one("output_size", size.as_slice(), "size")?;
            geometry.adaptive = true;
            for (index, &size) in size.as_slice().iter().enumerate() {
                geometry.output[3 - rank + index] = to_u32("output_size", "the output size", size as u64)?;
            }
        }
        for axis in 0..3 {
            let (input, output) = (geometry.input[axis], geometry.output[axis]);
            // floor and ceil each add less than one element to in/out.
            geometry.kernel[axis] = if input % output == 0 { input / output } else { input.div_ceil(output) + 1 }.min(input);
        }
        return Ok(geometry);
    };
    for axis in &axes(input, kernel, desc.stride, desc.dilation, desc.padding)? {
        let at = 3 - rank + axis.index;
        let (output, begin, end) = axis.forward(desc.ceil_mode)?;
        geometry.set_axis(at, axis, output, begin as i64, end as i64)?;
        geometry.stride[at] = if output == 1 { 1 } else { to_u32("stride", "the stride", axis.stride)? };
        let needs_an_element =
            matches!(desc.kind, PoolKind::Max { .. } | PoolKind::Average { count_include_pad: false, divisor_override: None });
        if needs_an_element && geometry.has_empty_window(at) {
            return Err(Error::invalid(
                "padding",
                format!(
                    "axis {}: padding {begin} and {end} leaves a window of {} with dilation {} without any input element",
                    axis.index, axis.kernel, axis.dilation
                ),
            ));
        }
    }
    Ok(geometry)
}

impl Geometry {
    /// A geometry of 1-tap windows over an input, to be filled in.
    fn unit(input: &TensorDesc, rank: usize) -> Self {
        let sizes: Vec<u32> = input.shape().iter().map(|&size| size as u32).collect(); // `check_input` saw that they fit
        Self {
            rank,
            batch: sizes[0],
            in_channels: sizes[1],
            out_channels: sizes[1],
            groups: 1,
            input: three(&sizes[2..], 1),
            output: [1; 3],
            kernel: [1; 3],
            stride: [1; 3],
            dilation: [1; 3],
            input_dilation: [1; 3],
            pad_begin: [0; 3],
            pad_end: [0; 3],
            padding_mode: PaddingMode::Zeros,
            transposed: false,
            adaptive: false,
        }
    }

    fn set_axis(&mut self, at: usize, axis: &Axis, output: u64, begin: i64, end: i64) -> Result<()> {
        let fit = |value: i64| {
            i32::try_from(value)
                .map_err(|_| Error::invalid("padding", format!("axis {}: padding {value} does not fit 32 bits", axis.index)))
        };
        self.output[at] = to_u32("padding", &format!("axis {}: the output size", axis.index), output)?;
        self.kernel[at] = to_u32("kernel", "the kernel size", axis.kernel)?;
        self.dilation[at] = to_u32("dilation", "the dilation", axis.dilation)?;
        (self.pad_begin[at], self.pad_end[at]) = (fit(begin)?, fit(end)?);
        Ok(())
    }

    /// Whether some window of an axis holds padding only.
    fn has_empty_window(&self, at: usize) -> bool {
        let [stride, dilation, kernel, input] =
            [self.stride, self.dilation, self.kernel, self.input].map(|list| i64::from(list[at]));
        let begin = i64::from(self.pad_begin[at]);
        let empty = |o: i64| {
            let start = o * stride - begin;
            let first = if start < 0 { (-start + dilation - 1) / dilation } else { 0 };
            first >= kernel || start + first * dilation >= input
        };
        // Of the windows that start before the input the first has the most padding; and a dilation wider than the input may step
        // over it, which the remainder of the window's start decides.
        let outputs = i64::from(self.output[at]);
        let before = ((begin + stride - 1) / stride).min(outputs);
        let steps_over =
            || first_in_range(stride % dilation, dilation, (-begin).rem_euclid(dilation), input).is_some_and(|o| o < before);
        (before > 0 && empty(0)) || (dilation > input && steps_over()) || empty(outputs - 1)
    }
}

fn check_kind(kind: PoolKind) -> Result<()> {
    match kind {
        PoolKind::Average { divisor_override: Some(0), .. } => {
            Err(Error::invalid("divisor_override", "is 0, but a divisor is at least 1"))
        }
        PoolKind::Lp { p } if !(p.is_finite() && p > 0.0) => {
            Err(Error::invalid("p", format!("is {p}, but a norm's order is a finite number above 0")))
        }
        _ => Ok(()),
    }
}

fn check_padding_mode(mode: PaddingMode, axis: &Axis, begin: u64, end: u64) -> Result<()> {
    let (limit, rule) = match mode {
        PaddingMode::Zeros | PaddingMode::Replicate => return Ok(()),
        PaddingMode::Reflect => (axis.input - 1, "less than the input"),
        PaddingMode::Circular => (axis.input, "at most the input"),
    };
    if begin.max(end) <= limit {
        return Ok(());
    }
    Err(Error::invalid(
        "padding",
        format!("axis {}: {mode:?} padding {begin} and {end} of an input of {} must be {rule}", axis.index, axis.input),
    ))
}

impl ConvDesc {
    /// Whether the channels and groups are numbers that fit each other.
    pub(crate) fn check_groups(&self) -> Result<()> {
        for (field, channels) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            if channels == 0 {
                return Err(Error::invalid(field, "is 0, but a layer has at least 1 channel"));
            }
        }
        if self.groups == 0 {
            return Err(Error::invalid("groups", "is 0, but a layer has at least 1 group"));
        }
        for (side, channels) in [("input", self.in_channels), ("output", self.out_channels)] {
            if !channels.is_multiple_of(self.groups) {
                return Err(Error::invalid("groups", format!("{} does not divide the {channels} {side} channels", self.groups)));
            }
        }
        Ok(())
    }

    fn check_output_padding(&self, rank: usize) -> Result<()> {
        same_rank("output_padding", self.output_padding, rank)?;
        if !self.transposed && !self.output_padding.all(0) {
            return Err(Error::invalid(
                "output_padding",
                format!("is {}, but only a transposed convolution has one", self.output_padding),
            ));
        }
        for axis in 0..rank {
            let (padding, stride, dilation) = (self.output_padding[axis], self.stride[axis], self.dilation[axis]);
            if self.transposed && padding >= stride.max(dilation) {
                return Err(Error::invalid(
                    "output_padding",
                    format!("axis {axis}: {padding} is not less than the stride {stride} or the dilation {dilation}"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::first_in_range;

    #[test]
    fn the_first_remainder_in_a_range_is_that_of_trying_one_by_one() {
        for modulus in 1..24 {
            for (step, start, low) in
                (0..modulus).flat_map(|a| (0..modulus).flat_map(move |b| (0..modulus).map(move |c| (a, b, c))))
            {
                let tried = (0..modulus).find(|x| (start + step * x) % modulus >= low);
                assert_eq!(first_in_range(step, modulus, start, low), tried, "{step} {modulus} {start} {low}");
            }
        }
    }
}
