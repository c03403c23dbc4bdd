//! From descriptions to a [`Geometry`]: every check of a field, and the output sizes of [`super::axis`] put together.

use super::Geometry;
use super::axis::{Axis, AxisPadding, to_u32};
use crate::desc::{ConvDesc, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow};
use crate::error::{Error, Result};
use crate::spatial::Spatial;
use crate::tensor_desc::{DType, TensorDesc};

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

/// Puts 1 to 3 values behind leading `fill`s.
fn three<T: Copy>(values: &[T], fill: T) -> [T; 3] {
    let mut axes = [fill; 3];
    axes[3 - values.len()..].copy_from_slice(values);
    axes
}

/// Checks the input's shape; gives the number of its spatial axes.
pub(super) fn check_input(input: &TensorDesc) -> Result<usize> {
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

pub(super) fn conv(desc: &ConvDesc, input: &TensorDesc, rank: usize) -> Result<Geometry> {
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

pub(super) fn pool(desc: &PoolDesc, input: &TensorDesc, rank: usize) -> Result<Geometry> {
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
            input_layout: input.layout(),
            output_layout: input.layout(),
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
