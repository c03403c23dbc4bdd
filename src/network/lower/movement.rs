//! Movement: views where nothing moves, strided copies where something does.

use super::slices::Items;
use super::{Done, Lowering, is_floats};
use crate::error::{Error, Result};
use crate::graph::ops::resize::tables;
use crate::graph::ops::{Fact, Inputs, axis_of, centre_windows, pad_amounts, slice_axes};
use crate::graph::{Node, Op, PadMode, Resize, ResizeMode};
use crate::limits::Ranges;
use crate::network::program::DeviceId;
use crate::operation::{Arithmetic, Map, Operand, Pad, Resample, dense};
use crate::tensor_desc::DType;

impl Lowering<'_> {
    pub(super) fn movement(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        let Some(x) = facts.first().and_then(Option::as_ref) else { return Ok(false) };
        let id = node.inputs[0].filter(|_| self.storage(x.element).is_some());
        let Some(id) = id else { return Ok(false) };
        // Integers that the device does not have already are shapes and indices: the host's.
        if !is_floats(x) && !self.placed.contains_key(&id) {
            return Ok(false);
        }
        let inputs = Inputs::new(facts, node.outputs.len());
        let shape = &x.shape;
        let result = &results[0].shape;
        match &node.op {
            Op::Dropout if self.wanted(node, 1) => return Ok(false),
            Op::Identity | Op::Dropout | Op::Flatten { .. } | Op::Reshape { .. } | Op::Squeeze | Op::Unsqueeze => {
                let from = self.device(id)?;
                let view = self.view(from, result);
                self.set(node, 0, view);
            }
            Op::Concat { axis } => {
                let axis = axis_of(*axis, x.rank())?;
                let operands = (0..node.inputs.len()).map(|index| self.input(node, index)).collect::<Result<Vec<_>>>()?;
                let output = self.concat(&operands, axis)?;
                self.set(node, 0, output);
            }
            Op::Split { axis } => {
                let axis = axis_of(*axis, x.rank())?;
                let from = self.device(id)?;
                let mut begin = 0;
                for (number, fact) in results.iter().enumerate() {
                    if self.wanted(node, number) {
                        let strides = dense(shape);
                        let part = self.rearrange("split", from, &fact.shape, begin * strides[axis], &strides)?;
                        self.set(node, number, part);
                    }
                    begin += fact.shape[axis] as i64;
                }
            }
            Op::Slice => {
                let windows = slice_axes(shape, &inputs)?;
                let from = self.device(id)?;
                let strides = dense(shape);
                let offset = windows.iter().zip(&strides).map(|(window, stride)| window.start as i64 * stride).sum();
                let steps: Vec<i64> = windows.iter().zip(&strides).map(|(window, stride)| window.step * stride).collect();
                let part = self.rearrange("slice", from, result, offset, &steps)?;
                self.set(node, 0, part);
            }
            Op::Pad(mode) => {
                let value = match inputs.optional(2) {
                    None => 0.0,
                    Some(Fact { constant: Some(value), .. }) => value.to_f32().first().copied().unwrap_or(0.0),
                    Some(_) => return Ok(false),
                };
                let amounts = pad_amounts(shape, &inputs)?;
                let from = self.device(id)?;
                let padded = self.pad(from, *mode, value, &amounts, result)?;
                self.set(node, 0, padded);
            }
            Op::CenterCropPad { .. } => {
                let amounts = centre_windows(shape, result);
                let from = self.device(id)?;
                let padded = self.pad(from, PadMode::Constant, 0.0, &amounts, result)?;
                self.set(node, 0, padded);
            }
            Op::Transpose { permutation } => {
                let from = self.device(id)?;
                let reversed: Vec<usize> = (0..x.rank()).rev().collect();
                let permutation = if permutation.is_empty() { &reversed } else { permutation };
                let turned = self.transpose(from, permutation)?;
                self.set(node, 0, turned);
            }
            Op::Expand => {
                let from = self.device(id)?;
                let strides: Vec<i64> =
                    crate::graph::ops::broadcast_strides(shape, result).into_iter().map(|stride| stride as i64).collect();
                let wide = self.rearrange("expand", from, result, 0, &strides)?;
                self.set(node, 0, wide);
            }
            Op::Tile => {
                let from = self.device(id)?;
                // Each axis becomes two: repeats, over which nothing moves, and the axis itself.
                let split: Vec<usize> = result.iter().zip(shape).flat_map(|(&long, &size)| [long / size, size]).collect();
                let strides: Vec<i64> = dense(shape).into_iter().flat_map(|stride| [0, stride]).collect();
                let tiled = self.rearrange("tile", from, &split, 0, &strides)?;
                let tiled = self.view(tiled, result);
                self.set(node, 0, tiled);
            }
            Op::Gather { axis } => return self.gather(node, facts, axis_of(*axis, x.rank())?, result),
            Op::DepthToSpace { block, channels_first } => {
                let &[n, c, h, w] = shape.as_slice() else { return Ok(false) };
                let (block, out) = (*block, c / (block * block));
                let (split, permutation) = if *channels_first {
                    ([n, out, block, block, h, w], [0, 1, 4, 2, 5, 3])
                } else {
                    ([n, block, block, out, h, w], [0, 3, 4, 1, 5, 2])
                };
                let from = self.device(id)?;
                let view = self.view(from, &split);
                let turned = self.transpose(view, &permutation)?;
                let turned = self.view(turned, result);
                self.set(node, 0, turned);
            }
            Op::SpaceToDepth { block } => {
                let &[n, c, h, w] = shape.as_slice() else { return Ok(false) };
                let from = self.device(id)?;
                let view = self.view(from, &[n, c, h / block, *block, w / block, *block]);
                let turned = self.transpose(view, &[0, 3, 5, 1, 2, 4])?;
                let turned = self.view(turned, result);
                self.set(node, 0, turned);
            }
            Op::Resize(resize) if x.element.is_float() => {
                let tables = tables(resize, shape, &inputs)?;
                let from = self.device(id)?;
                let resampled = self.resize(resize, from, &tables)?;
                let resampled = self.view(resampled, result);
                self.set(node, 0, resampled);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Puts tensors behind each other along an axis.
    pub(super) fn concat(&mut self, operands: &[DeviceId], axis: usize) -> Result<DeviceId> {
        let shapes: Vec<Vec<usize>> = operands.iter().map(|&id| self.shape(id)).collect();
        let mut shape = shapes[0].clone();
        shape[axis] = shapes.iter().map(|shape| shape[axis]).sum();
        let dtype = self.dtype(operands[0]);
        let output = self.temp(&shape, dtype);
        let strides = dense(&shape);
        let mut begin = 0;
        for (&from, part) in operands.iter().zip(&shapes) {
            if part[axis] > 0 {
                let read = Operand { dtype, offset: 0, strides: dense(part) };
                let write = Operand { dtype, offset: begin * strides[axis], strides: strides.clone() };
                self.copy("concat", from, read, output, write, part)?;
            }
            begin += part[axis] as i64;
        }
        Ok(output)
    }

    pub(super) fn transpose(&mut self, from: DeviceId, permutation: &[usize]) -> Result<DeviceId> {
        let shape = self.shape(from);
        let strides = dense(&shape);
        let turned: Vec<usize> = permutation.iter().map(|&axis| shape[axis]).collect();
        let steps: Vec<i64> = permutation.iter().map(|&axis| strides[axis]).collect();
        self.rearrange("transpose", from, &turned, 0, &steps)
    }

    pub(super) fn pad(
        &mut self,
        from: DeviceId,
        mode: PadMode,
        value: f32,
        amounts: &[(i64, i64)],
        result: &[usize],
    ) -> Result<DeviceId> {
        let (shape, dtype) = (self.shape(from), self.dtype(from));
        let mode = match mode {
            PadMode::Constant => 0,
            PadMode::Reflect => 1,
            PadMode::Edge => 2,
            PadMode::Wrap => 3,
        };
        let output = self.temp(result, dtype);
        let first = amounts.iter().position(|&amounts| amounts != (0, 0)).unwrap_or(shape.len());
        let outer: usize = shape[..first].iter().product();
        let most = Ranges::of(self.engine.limits()).most;
        if mode == 0 && [from, output].iter().any(|&id| self.item_bytes(id, outer) > most) {
            self.pad_by_copy(from, value, amounts, output)?;
            return Ok(output);
        }
        let amounts = [&[(0, 0)], &amounts[first..]].concat();
        let limits = *self.engine.limits();
        self.by_items(&Items { outer, own: &[from], shared: &[] }, output, |count| {
            Pad { dtype, mode, value, shape: &[&[count], &shape[first..]].concat(), amounts: &amounts }.operation(&limits)
        })?;
        Ok(output)
    }

    /// A value everywhere and then what it surrounds: functions of elements, which are cut along any axis.
    fn pad_by_copy(&mut self, from: DeviceId, value: f32, amounts: &[(i64, i64)], output: DeviceId) -> Result<()> {
        let (shape, result, dtype) = (self.shape(from), self.shape(output), self.dtype(output));
        if !value.is_finite() {
            return Err(Error::unsupported("constant_value", format!("is {value}, which no text of a kernel holds")));
        }
        let dense_output = |offset: i64| Operand { dtype, offset, strides: dense(&result) };
        let (output_operand, function) = (dense_output(0), format!("{value:e}f"));
        let fill = Map {
            name: "fill",
            shape: &result,
            operands: Vec::new(),
            output: output_operand,
            arithmetic: Arithmetic::Float,
            function: &function,
            scalars: &[],
        };
        self.mapped(&fill, &[], output)?;
        let inside: Vec<usize> = shape
            .iter()
            .zip(amounts)
            .map(|(&size, &(begin, end))| (size as i64 + begin.min(0) + end.min(0)).max(0) as usize)
            .collect();
        if inside.contains(&0) {
            return Ok(());
        }
        let offset = |strides: &[i64], sign: i64| -> i64 {
            strides.iter().zip(amounts).map(|(stride, &(begin, _))| stride * (sign * begin).max(0)).sum()
        };
        let strides = dense(&shape);
        let read = Operand { dtype, offset: offset(&strides, -1), strides };
        let write = dense_output(offset(&dense(&result), 1));
        self.copy("pad", from, read, output, write, &inside)
    }

    fn resize(&mut self, resize: &Resize, from: DeviceId, tables: &[crate::graph::ops::resize::AxisTable]) -> Result<DeviceId> {
        // Sums along one axis are not rounded to 16 bits before those along the next.
        let sums = tables.len() > 1 && resize.mode != ResizeMode::Nearest;
        let dtype = if sums { DType::F32 } else { self.dtype(from) };
        let mut current = self.cast(from, dtype)?;
        for table in tables {
            let mut shape = self.shape(current);
            let weights: Vec<f32> = table.weights.iter().map(|&weight| weight as f32).collect();
            let resample = Resample {
                dtype,
                outer: shape[..table.axis].iter().product(),
                input: table.input,
                inner: shape[table.axis + 1..].iter().product(),
                output: table.output,
                indices: &table.indices,
                weights: &weights,
                outside: resize.extrapolation,
            };
            shape[table.axis] = table.output;
            let output = self.temp(&shape, dtype);
            let limits = *self.engine.limits();
            self.by_items(&Items { outer: resample.outer, own: &[current], shared: &[] }, output, |outer| {
                Resample { outer, ..resample.clone() }.operation(&limits)
            })?;
            current = output;
        }
        let dtype = self.dtype(from);
        self.cast(current, dtype)
    }
}
