//! Which operations are local, and which inputs some of their outputs need on one axis. All others are refused by name.

use std::ops::Range;

use crate::desc::{ConvDesc, Padding, PoolDesc, PoolKind, PoolWindow};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, axis_cut};
use crate::graph::ops::{axis_of, conv_desc, is_pointwise};
use crate::graph::{ConvOp, Coordinates, Graph, Node, Op, PadMode, Pads};
use crate::problem::Problem;
use crate::spatial::Spatial;
use crate::tensor_desc::TensorDesc;
use crate::value::Value;

/// How far an operation looks, on each spatial axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Local {
    /// Each position of the results needs that position of the operands.
    Same,
    Conv(ConvDesc),
    Pool(PoolDesc),
    /// So many elements before and behind each spatial axis.
    Pad(PadMode, Vec<(usize, usize)>),
    /// Each position becomes so many, which see `reach` neighbours of it.
    Grow {
        factors: Vec<usize>,
        reach: usize,
    },
    /// So many positions become one.
    Shrink(usize),
}

/// Some outputs of an operation on one axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// What the first operand must have. The others have what is computed.
    pub input: Range<usize>,
    /// What is computed: at least what was wanted.
    pub output: Range<usize>,
    /// Padding that the operation adds.
    pub begin: usize,
    pub end: usize,
    /// Of a transposed convolution.
    pub output_padding: usize,
}

fn padding_of(padding: Padding, axis: usize) -> Padding {
    let one = |list: Spatial| Spatial::from([list[axis]]);
    match padding {
        Padding::Explicit { begin, end } => Padding::Explicit { begin: one(begin), end: one(end) },
        same => same,
    }
}

/// A convolution on one of its axes: sizes and reach on each do not depend on the others.
fn conv_on(desc: &ConvDesc, axis: usize, size: usize) -> Problem {
    let one = |list: Spatial| Spatial::from([list[axis]]);
    let desc = ConvDesc {
        stride: one(desc.stride),
        dilation: one(desc.dilation),
        padding: padding_of(desc.padding, axis),
        padding_mode: desc.padding_mode,
        transposed: desc.transposed,
        output_padding: one(desc.output_padding),
        ..ConvDesc::new(1, 1, [desc.kernel[axis]])
    };
    Problem::conv(&desc, &TensorDesc::f32(&[1, 1, size]))
}

/// A pooling on one of its axes.
fn pool_on(desc: &PoolDesc, axis: usize, size: usize) -> Problem {
    let one = |list: Spatial| Spatial::from([list[axis]]);
    let window = match desc.window {
        PoolWindow::Sliding(kernel) => PoolWindow::Sliding(one(kernel)),
        other => other,
    };
    let (stride, dilation, padding) = (one(desc.stride), one(desc.dilation), padding_of(desc.padding, axis));
    Problem::pool(&PoolDesc { window, stride, dilation, padding, ..*desc }, &TensorDesc::f32(&[1, 1, size]))
}

impl Local {
    /// The layer on one axis, where it is one.
    fn layer(&self, axis: usize, size: usize) -> Option<Problem> {
        match self {
            Local::Conv(desc) => Some(conv_on(desc, axis, size)),
            Local::Pool(desc) => Some(pool_on(desc, axis, size)),
            _ => None,
        }
    }

    /// The size of the results on an axis.
    pub fn size(&self, axis: usize, input: usize) -> Result<usize> {
        if let Some(problem) = self.layer(axis, input) {
            return Ok(Geometry::new(&problem)?.output[2] as usize);
        }
        match self {
            Local::Pad(_, amounts) => Ok(input + amounts[axis].0 + amounts[axis].1),
            Local::Grow { factors, .. } => input
                .checked_mul(factors[axis])
                .ok_or_else(|| Error::invalid("scales", "give more elements than there are numbers")),
            Local::Shrink(block) if !input.is_multiple_of(*block) => {
                Err(Error::invalid("block", format!("{block} does not divide the {input} elements of axis {axis}")))
            }
            Local::Shrink(block) => Ok(input / block),
            _ => Ok(input),
        }
    }

    /// Positions of the results for each of the input, as `(multiply, divide)`.
    pub fn scale(&self, axis: usize) -> (usize, usize) {
        match self {
            Local::Conv(desc) if desc.transposed => (desc.stride[axis], 1),
            Local::Conv(desc) => (1, desc.stride[axis]),
            Local::Pool(desc) => (1, desc.stride[axis]),
            Local::Grow { factors, .. } => (factors[axis], 1),
            Local::Shrink(block) => (1, *block),
            _ => (1, 1),
        }
    }

    /// What these outputs need on an axis whose input has this size.
    pub fn cut(&self, axis: usize, size: usize, wanted: &Range<usize>) -> Result<Cut> {
        if let Some(problem) = self.layer(axis, size) {
            let cut = axis_cut(&problem, wanted)?;
            let output = wanted.clone();
            return Ok(Cut { input: cut.input, output, begin: cut.begin, end: cut.end, output_padding: cut.output_padding });
        }
        let plain = |input: Range<usize>, output: Range<usize>| Cut { input, output, begin: 0, end: 0, output_padding: 0 };
        match self {
            Local::Pad(mode, amounts) => {
                let before = amounts[axis].0;
                let (from, to) = (wanted.start.max(before) - before, wanted.end.min(before + size).saturating_sub(before));
                let begin = before.min(wanted.end).saturating_sub(wanted.start);
                let end = wanted.end.saturating_sub((before + size).max(wanted.start));
                // A reflection starts behind the border element.
                let reflected = if *mode == PadMode::Reflect { begin.max(end) } else { 0 };
                if from >= to || to - from <= reflected {
                    return Err(Error::unsupported(
                        "tile",
                        format!(
                            "outputs {wanted:?} of axis {axis} are padding of {size} elements and little else: take larger tiles"
                        ),
                    ));
                }
                Ok(Cut { begin, end, ..plain(from..to, wanted.clone()) })
            }
            Local::Grow { factors, reach } => {
                let factor = factors[axis];
                let from = (wanted.start / factor).saturating_sub(*reach);
                let to = (wanted.end.div_ceil(factor) + reach).min(size);
                Ok(plain(from..to, from * factor..to * factor))
            }
            Local::Shrink(block) => Ok(plain(wanted.start * block..wanted.end * block, wanted.clone())),
            _ => Ok(plain(wanted.clone(), wanted.clone())),
        }
    }

    /// The operation on a tile, and the list of pads that it takes, where it takes one.
    pub fn apply(&self, op: &Op, cuts: &[&Cut]) -> (Op, Option<Vec<i64>>) {
        let list = |value: fn(&Cut) -> usize| cuts.iter().map(|cut| value(cut)).collect::<Vec<_>>();
        let (begin, end) = (list(|cut| cut.begin), list(|cut| cut.end));
        let spatial = |list: &[usize]| Spatial::from_slice("padding", list).expect("a layer has 1 to 3 axes");
        match (self, op) {
            (Local::Conv(desc), Op::Conv(conv)) => {
                let conv = ConvOp {
                    stride: desc.stride.as_slice().to_vec(),
                    dilation: desc.dilation.as_slice().to_vec(),
                    padding: Pads::Explicit([begin, end].concat()),
                    output_padding: list(|cut| cut.output_padding),
                    output_shape: Vec::new(),
                    ..conv.clone()
                };
                (Op::Conv(conv), None)
            }
            (Local::Pool(desc), _) => {
                let padding = Padding::Explicit { begin: spatial(&begin), end: spatial(&end) };
                (Op::Pool(PoolDesc { padding, ..*desc }), None)
            }
            (Local::Pad(..), _) => {
                let pads = [vec![0, 0], begin, vec![0, 0], end].concat();
                (op.clone(), Some(pads.into_iter().map(|amount| amount as i64).collect()))
            }
            _ => (op.clone(), None),
        }
    }
}

/// What a node is asked about.
pub(super) struct Question<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    /// Spatial sizes of each input that is no constant.
    pub sizes: &'a [Option<Vec<usize>>],
    pub rank: usize,
}

impl Question<'_> {
    fn constant(&self, index: usize) -> Option<&Value> {
        let id = self.node.input(index)?;
        self.graph.info(id).constant.as_deref()
    }

    fn is_data(&self, index: usize) -> bool {
        self.sizes.get(index).is_some_and(Option::is_some)
    }

    fn axis(&self, axis: i64) -> Result<usize> {
        axis_of(axis, self.rank + 2)
    }

    /// How far the node looks.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the reason where it sees more than a neighbourhood.
    pub fn local(&self) -> Result<Local> {
        let refuse = |why: &str| Err(Error::unsupported("tile", format!("is not possible: the operation {why}")));
        let whole = |why: &str| refuse(&format!("{why}, so its results depend on the whole input"));
        match &self.node.op {
            Op::Conv(conv) => {
                let Some(weight) = self.constant(1) else { return refuse("has weights that are computed") };
                let others = (2..self.node.inputs.len()).all(|index| index == 3 || !self.is_data(index));
                let (true, Some(sizes)) = (others, &self.sizes[0]) else { return refuse("convolves a constant") };
                // Only the sizes on the spatial axes count.
                let shape = [&[1, 1], sizes.as_slice()].concat();
                let bias = self.node.inputs.get(2).is_some_and(Option::is_some);
                Ok(Local::Conv(conv_desc(conv, &shape, weight.shape(), bias)?))
            }
            Op::Pool(PoolDesc { window: PoolWindow::Global | PoolWindow::Adaptive(_), .. }) => {
                whole("is a global or adaptive pooling")
            }
            Op::Pool(desc) if self.node.outputs.len() > 1 => match desc.kind {
                PoolKind::Max { .. } => whole("gives positions in the whole"),
                _ => refuse("has more than one result"),
            },
            Op::Pool(desc) => Ok(Local::Pool(*desc)),
            op if is_pointwise(op) || matches!(op, Op::Identity) => self.elementwise(),
            Op::Dropout if self.node.outputs.len() == 1 => self.elementwise(),
            Op::BatchNorm { training: false, .. } | Op::Lrn { .. } => Ok(Local::Same),
            Op::QuantizeLinear { block: 0, .. } | Op::DequantizeLinear { block: 0, .. } => Ok(Local::Same),
            Op::Softmax { axis, flatten: false, .. } if self.axis(*axis)? == 1 => Ok(Local::Same),
            Op::Softmax { .. } => whole("is a softmax over positions"),
            Op::LpNorm { axis, .. } if self.axis(*axis)? == 1 => Ok(Local::Same),
            Op::Concat { axis } if self.axis(*axis)? == 1 => self.elementwise(),
            Op::Split { axis } if self.axis(*axis)? == 1 => Ok(Local::Same),
            Op::Concat { .. } | Op::Split { .. } => refuse("cuts or joins along another axis than the channels"),
            Op::Reduce { keep_dims: true, .. } => {
                let axes = self.constant(1).map(Value::to_i64).unwrap_or_default();
                match axes.as_slice() {
                    [axis] if self.axis(*axis)? == 1 => Ok(Local::Same),
                    _ => whole("reduces over positions"),
                }
            }
            Op::Slice => match self.constant(3).map(Value::to_i64) {
                Some(axes) if axes.iter().all(|&axis| self.axis(axis).is_ok_and(|axis| axis == 1)) => Ok(Local::Same),
                _ => refuse("cuts out positions of the whole"),
            },
            Op::Pad(mode) => self.pad(*mode),
            Op::Resize(resize) => {
                if matches!(resize.coordinates, Coordinates::AlignCorners | Coordinates::TfCropAndResize) {
                    return whole("is a resampling whose scale depends on the size");
                }
                let Some(scales) = self.constant(2).filter(|scales| !scales.is_empty()) else {
                    return whole("is a resampling to a fixed size");
                };
                let mut factors = vec![1.0; self.rank + 2];
                let axes: Vec<i64> =
                    if resize.axes.is_empty() { (0..self.rank as i64 + 2).collect() } else { resize.axes.clone() };
                for (&axis, scale) in axes.iter().zip(scales.to_f64()) {
                    factors[self.axis(axis)?] = scale;
                }
                if factors[..2] != [1.0, 1.0] || factors.iter().any(|&factor| factor < 1.0 || factor.fract() != 0.0) {
                    return refuse("resamples by scales that are no whole numbers");
                }
                // Of the elements between which an output lies, and those beyond that cubic curves see.
                let reach = if resize.mode == crate::graph::ResizeMode::Cubic { 2 } else { 1 };
                Ok(Local::Grow { factors: factors[2..].iter().map(|&factor| factor as usize).collect(), reach })
            }
            Op::DepthToSpace { block, .. } if self.rank == 2 => Ok(Local::Grow { factors: vec![*block; 2], reach: 0 }),
            Op::SpaceToDepth { block } if self.rank == 2 => Ok(Local::Shrink(*block)),
            Op::InstanceNorm { .. } | Op::GroupNorm { .. } | Op::LayerNorm { .. } | Op::RmsNorm { .. } => {
                whole("is a normalisation by statistics over positions")
            }
            Op::MeanVarianceNorm { .. } | Op::BatchNorm { .. } => whole("is a normalisation by statistics over positions"),
            Op::Flatten { .. } | Op::Reshape { .. } | Op::Transpose { .. } | Op::Squeeze | Op::Unsqueeze => {
                refuse("gives positions other places")
            }
            Op::Gemm { .. } | Op::Linear(_) | Op::MatMul => whole("is a matrix product"),
            Op::Shape { .. } | Op::Size => whole("gives the size"),
            _ => refuse("is not known to see a neighbourhood only"),
        }
    }

    /// A function of the same position of all operands.
    fn elementwise(&self) -> Result<Local> {
        let mut data = self.sizes.iter().flatten();
        let first = data.next();
        if let Some(other) = data.find(|other| Some(*other) != first) {
            return Err(Error::invalid("input", format!("has positions {other:?}, but another operand {:?}", first)));
        }
        for index in 0..self.node.inputs.len() {
            let shape = self.constant(index).map_or(&[][..], Value::shape);
            let spatial = &shape[shape.len().saturating_sub(self.rank)..];
            if spatial.iter().any(|&size| size != 1) {
                return Err(Error::unsupported(
                    "tile",
                    format!("is not possible: a constant of shape {shape:?} has numbers for each position of the whole"),
                ));
            }
        }
        Ok(Local::Same)
    }

    fn pad(&self, mode: PadMode) -> Result<Local> {
        let refuse = |why: &str| Err(Error::unsupported("tile", format!("is not possible: the operation {why}")));
        if mode == PadMode::Wrap {
            return refuse("pads by what stands at the other end");
        }
        let Some(pads) = self.constant(1).map(Value::to_i64) else { return refuse("pads by amounts that are computed") };
        let axes = match self.constant(3) {
            Some(axes) => axes.to_i64(),
            None => (0..self.rank as i64 + 2).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(Error::invalid("pads", format!("has {} entries for {} axes", pads.len(), axes.len())));
        }
        let mut amounts = vec![(0, 0); self.rank + 2];
        for (entry, &axis) in axes.iter().enumerate() {
            let [Ok(begin), Ok(end)] = [pads[entry], pads[axes.len() + entry]].map(usize::try_from) else {
                return refuse("cuts off by negative pads");
            };
            amounts[self.axis(axis)?] = (begin, end);
        }
        if amounts[..2] != [(0, 0), (0, 0)] {
            return refuse("pads the batch or the channels");
        }
        Ok(Local::Pad(mode, amounts[2..].to_vec()))
    }
}
