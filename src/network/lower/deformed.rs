//! Convolutions that are another operation and then a convolution: deformed ones, and causal ones with a state.

use super::layers::{Convolution, Numbers};
use super::slices::Items;
use super::{Done, Lowering, is_floats};
use crate::desc::{ConvDesc, Epilogue};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::graph::ops::{Fact, conv_desc};
use crate::graph::{ConvOp, Node, Op, PadMode};
use crate::network::program::DeviceId;
use crate::operation::{Deform, Operand, dense};
use crate::problem::Problem;
use crate::tensor_desc::DType;

impl Lowering<'_> {
    pub(super) fn deformed(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        if !facts.iter().flatten().all(is_floats) {
            return Ok(false);
        }
        match &node.op {
            Op::DeformConv { conv, offset_groups } => {
                let output = self.deform_conv(node, facts, conv, *offset_groups)?;
                let output = self.view(output, &results[0].shape);
                self.set(node, 0, output);
            }
            Op::CausalConvWithState { activation } => {
                let epilogue = Epilogue { activation: *activation, ..Epilogue::default() };
                self.causal(node, facts, epilogue, results)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the taps meet, `[n, channels * taps, places]`, is computed first; the rest is a 1x1 convolution.
    fn deform_conv(&mut self, node: &Node, facts: &[Option<Fact>], conv: &ConvOp, offset_groups: usize) -> Result<DeviceId> {
        let shape = |index: usize| facts[index].as_ref().map(|fact| fact.shape.clone()).unwrap_or_default();
        let (x, weight) = (shape(0), shape(1));
        let bias = facts.get(3).is_some_and(Option::is_some);
        let desc = conv_desc(conv, &x, &weight, bias)?;
        let input = self.input(node, 0)?;
        let geometry = Geometry::new(&Problem::conv(&desc, self.desc(input)))?;
        let mut operands = vec![input, self.input(node, 2)?];
        operands.extend(self.optional_input(node, 4)?);
        let (dtype, mask) = (self.dtype(input), operands.len() == 3);
        let (rows, places) = (x[1] * geometry.taps() as usize, geometry.output_plane() as usize);
        let columns = self.temp(&[x[0], rows, places], dtype);
        let limits = *self.engine.limits();
        self.by_items(&Items { outer: x[0], own: &operands, shared: &[] }, columns, |count| {
            // No more than the whole has, which fits.
            let geometry = Geometry { batch: count as u32, ..geometry.clone() };
            Deform { dtype, geometry: &geometry, offset_groups, mask }.operation(&limits)
        })?;

        let flat = ConvDesc {
            groups: desc.groups,
            epilogue: Epilogue { bias, ..Epilogue::default() },
            ..ConvDesc::new(rows, desc.out_channels, [1])
        };
        // Weights, then bias: the inputs of an ordinary convolution, but for the place of the bias.
        let constant = |index: usize| facts.get(index).and_then(Option::as_ref).and_then(|fact| fact.constant.clone());
        let numbers = match constant(1).filter(|_| !bias || constant(3).is_some()) {
            Some(kernel) => Numbers::Constant { kernel, bias: constant(3), slope: None },
            None => {
                let from = self.input(node, 1)?;
                let bias = self.optional_input(node, 3)?.map(|bias| self.cast(bias, DType::F32)).transpose()?;
                Numbers::Computed { from, source: None, bias, slope: None }
            }
        };
        self.convolution(Convolution { desc: flat, input: columns, numbers, residual: None })
    }

    /// The state and the input behind each other, by a depthwise convolution without padding; what the next call will need is the end.
    fn causal(&mut self, node: &Node, facts: &[Option<Fact>], epilogue: Epilogue, results: &[Fact]) -> Result<()> {
        let Some(Some(kernel)) = facts.get(1) else { return Err(Error::invalid("weight", "is missing")) };
        let (shape, before) = (&results[0].shape, kernel.shape[2] - 1);
        let channels = shape[1];
        let x = self.input(node, 0)?;
        let long = match facts.get(3).and_then(Option::as_ref).filter(|_| before > 0) {
            Some(_) => {
                let state = self.input(node, 3)?;
                self.concat(&[state, x], 2)?
            }
            None if before == 0 => x,
            None => {
                let padded = [shape[0], channels, before + shape[2]];
                self.pad(x, PadMode::Constant, 0.0, &[(0, 0), (0, 0), (before as i64, 0)], &padded)?
            }
        };
        let bias = facts.get(2).is_some_and(Option::is_some);
        let desc = ConvDesc {
            groups: channels,
            epilogue: Epilogue { bias, ..epilogue },
            ..ConvDesc::new(channels, channels, [before + 1])
        };
        let numbers = self.numbers(
            &Node { inputs: node.inputs.iter().take(3).copied().collect(), ..node.clone() },
            &facts[..facts.len().min(3)],
        )?;
        let output = self.convolution(Convolution { desc, input: long, numbers, residual: None })?;
        self.set(node, 0, output);
        if node.outputs.len() > 1 {
            let dtype = self.dtype(long);
            let state = self.temp(&results[1].shape, dtype);
            if before > 0 {
                let strides = dense(&self.shape(long));
                let read = Operand { dtype, offset: shape[2] as i64, strides };
                let write = Operand { dtype, offset: 0, strides: dense(&results[1].shape) };
                self.copy("state", long, read, state, write, &results[1].shape)?;
            }
            self.set(node, 1, state);
        }
        Ok(())
    }
}
