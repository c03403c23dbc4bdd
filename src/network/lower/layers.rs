//! Convolutions, matrix products and poolings, all through the planner.
//!
//! A matrix product is a convolution of one tap. With one matrix on the right, its columns are output channels and the rows of the
//! left are batch items: a fully connected layer. A batch of products is one convolution with a group for each item, whose weights
//! are the left matrices and whose input is the right ones.

use std::sync::Arc;

use super::{Done, Lowering};
use crate::algorithm::{Algorithm, Plan, WeightPart, WeightSource};
use crate::desc::{ConvDesc, Epilogue, PoolDesc, PoolKind};
use crate::error::{Error, Result};
use crate::graph::ops::{Fact, broadcast, broadcast_strides, conv_desc, matmul_operands};
use crate::graph::{Node, Op};
use crate::network::program::{DeviceId, LayerWeights, Source, Work};
use crate::problem::Problem;
use crate::tensor_desc::DType;
use crate::value::{ElementType, Value};

/// The numbers of a convolution.
pub(super) enum Numbers {
    /// All known.
    Constant { kernel: Arc<Value>, bias: Option<Arc<Value>>, slope: Option<Arc<Value>> },
    /// Known whole numbers whose sums f32 holds exactly, in any order of their terms.
    Whole { kernel: Arc<Value>, bias: Option<Arc<Value>>, slope: Option<Arc<Value>> },
    /// Some computed: the tensor that the weights are taken from, and where in it they are, if not in the layer's order.
    Computed { from: DeviceId, source: Option<WeightSource>, bias: Option<DeviceId>, slope: Option<DeviceId> },
}

/// A factor of a matrix product, and its elements where they are known.
pub(super) struct Factor {
    pub device: DeviceId,
    pub constant: Option<Arc<Value>>,
}

/// A convolution with its tensors.
pub(super) struct Convolution {
    pub desc: ConvDesc,
    pub input: DeviceId,
    pub numbers: Numbers,
    pub residual: Option<DeviceId>,
}

/// Whether this is what must not fall to the host where the device could do it.
pub(super) fn is_layer(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::Pool(_)
            | Op::Linear(_)
            | Op::Gemm { .. }
            | Op::MatMul
            | Op::DeformConv { .. }
            | Op::QLinearConv(_)
            | Op::ConvInteger(_)
            | Op::QLinearMatMul
            | Op::MatMulInteger
    )
}

impl Lowering<'_> {
    pub(super) fn layer(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        let Some(Some(x)) = facts.first() else { return Ok(false) };
        let layer_type = |fact: &Fact| {
            fact.element.is_float() && fact.element != ElementType::F64
                || matches!(fact.element, ElementType::I8 | ElementType::U8) && matches!(node.op, Op::Pool(_))
        };
        if !layer_type(x) {
            return Ok(false);
        }
        let output = match &node.op {
            Op::Conv(conv) => {
                let weight = facts[1].as_ref().ok_or_else(|| Error::invalid("weight", "is missing"))?;
                let layout = self.layouts.of(node.outputs[0]);
                let desc = ConvDesc {
                    output_layout: Some(layout),
                    ..conv_desc(conv, &x.shape, &weight.shape, facts.get(2).is_some_and(Option::is_some))?
                };
                let input = self.layer_input(node, 0)?;
                let residual = match node.inputs.get(3) {
                    Some(Some(_)) => {
                        let residual = self.layer_input(node, 3)?;
                        Some(self.in_layout(residual, layout)?)
                    }
                    _ => None,
                };
                let numbers = self.numbers(node, facts)?;
                self.convolution(Convolution { desc, input, numbers, residual })?
            }
            Op::Linear(epilogue) => {
                let (input, residual) = (self.input(node, 0)?, self.optional_input(node, 3)?);
                let numbers = self.numbers(node, facts)?;
                let bias = facts.get(2).is_some_and(Option::is_some);
                self.linear(input, Epilogue { bias, ..*epilogue }, numbers, residual, results[0].shape[x.rank() - 1])?
            }
            Op::Pool(desc) => {
                let indices = self.wanted(node, 1).then(|| self.temp(&results[0].shape, DType::I32));
                let input = self.layer_input(node, 0)?;
                let desc = PoolDesc { output_layout: Some(self.layouts.of(node.outputs[0])), ..*desc };
                let output = self.pooling(&desc, input, indices)?;
                if let Some(indices) = indices {
                    self.set(node, 1, indices);
                }
                output
            }
            Op::MaxUnpool { .. } => self.unpool(node, &results[0].shape)?,
            Op::Gemm { alpha, beta, trans_a, trans_b } => {
                let mut a = self.input(node, 0)?;
                if *trans_a {
                    a = self.transpose(a, &[1, 0])?;
                }
                let (b, c) = (self.factor(node, facts, 1)?, self.optional_input(node, 2)?);
                let dtype = self.dtype(a);
                if c.is_some() || *alpha != 1.0 {
                    // What is done to the product is done before it is rounded.
                    a = self.cast(a, DType::F32)?;
                }
                let numbers = self.matrix(b, !trans_b)?;
                let product = self.linear(a, Epilogue::default(), numbers, None, results[0].shape[1])?;
                match c {
                    None if *alpha == 1.0 => product,
                    None => self.elementwise("scale", &format!("a * {alpha:e}f"), &[product], dtype)?,
                    Some(c) => {
                        let function = format!("a * {alpha:e}f + b * {beta:e}f");
                        self.elementwise("gemm", &function, &[product, c], dtype)?
                    }
                }
            }
            Op::MatMul => {
                let (a, b) = (self.factor(node, facts, 0)?, self.factor(node, facts, 1)?);
                let product = self.matmul(a, b)?;
                self.view(product, &results[0].shape)
            }
            _ => return Ok(false),
        };
        self.set(node, 0, output);
        Ok(true)
    }

    /// The numbers of a node whose inputs are `x, weight, [bias], [residual], [slope]`.
    pub(super) fn numbers(&mut self, node: &Node, facts: &[Option<Fact>]) -> Result<Numbers> {
        let fact = |index: usize| facts.get(index).and_then(Option::as_ref);
        let all_constant = [1, 2, 4].into_iter().all(|index| fact(index).is_none_or(|fact| fact.constant.is_some()));
        let constant = |index: usize| fact(index).and_then(|fact| fact.constant.clone());
        if let Some(kernel) = constant(1).filter(|_| all_constant) {
            return Ok(Numbers::Constant { kernel, bias: constant(2), slope: constant(4) });
        }
        let from = self.input(node, 1)?;
        let mut per_channel = |index: usize| -> Result<Option<DeviceId>> {
            let device = self.optional_input(node, index)?;
            device.map(|device| self.cast(device, DType::F32)).transpose()
        };
        let (bias, slope) = (per_channel(2)?, per_channel(4)?);
        Ok(Numbers::Computed { from, source: None, bias, slope })
    }

    /// An input of a node as a factor of a product.
    fn factor(&mut self, node: &Node, facts: &[Option<Fact>], index: usize) -> Result<Factor> {
        let constant = facts.get(index).and_then(Option::as_ref).and_then(|fact| fact.constant.clone());
        Ok(Factor { device: self.input(node, index)?, constant })
    }

    /// A matrix as the weights of a fully connected layer, `[out, in]`, from one that may be `[in, out]`.
    fn matrix(&mut self, factor: Factor, transposed: bool) -> Result<Numbers> {
        let shape = self.shape(factor.device);
        let [rows, columns] = [shape[shape.len() - 2], shape[shape.len() - 1]];
        if let Some(value) = factor.constant {
            let order = (0..columns).flat_map(|column| (0..rows).map(move |row| Some(row * columns + column)));
            let kernel = if transposed { Arc::new(value.select(&[columns, rows], &order.collect::<Vec<_>>())) } else { value };
            return Ok(Numbers::Constant { kernel, bias: None, slope: None });
        }
        let source = transposed.then(|| WeightSource::matrices(&[], &[], [1, columns]));
        Ok(Numbers::Computed { from: factor.device, source, bias: None, slope: None })
    }

    /// A fully connected layer over the last axis.
    fn linear(
        &mut self,
        x: DeviceId,
        epilogue: Epilogue,
        numbers: Numbers,
        residual: Option<DeviceId>,
        out: usize,
    ) -> Result<DeviceId> {
        let shape = self.shape(x);
        let k = shape[shape.len() - 1];
        let rows = shape[..shape.len() - 1].iter().product();
        let input = self.view(x, &[rows, k, 1]);
        let residual = residual.map(|residual| self.view(residual, &[rows, out, 1]));
        let desc = ConvDesc { epilogue, ..ConvDesc::linear(k, out) };
        let output = self.convolution(Convolution { desc, input, numbers, residual })?;
        Ok(self.view(output, &[&shape[..shape.len() - 1], &[out]].concat()))
    }

    /// A matrix product as numpy's `matmul`; vectors come out as matrices.
    pub(super) fn matmul(&mut self, a: Factor, b: Factor) -> Result<DeviceId> {
        let (shape_a, shape_b) = matmul_operands(&self.shape(a.device), &self.shape(b.device));
        let (batch_a, batch_b) = (&shape_a[..shape_a.len() - 2], &shape_b[..shape_b.len() - 2]);
        let [m, k] = [shape_a[shape_a.len() - 2], shape_a[shape_a.len() - 1]];
        let n = shape_b[shape_b.len() - 1];
        if batch_b.iter().all(|&size| size == 1) {
            let constant = b.constant.map(|value| Value::clone(&value).reshape(&[k, n])).transpose()?.map(Arc::new);
            let right = Factor { device: self.view(b.device, &[k, n]), constant };
            let numbers = self.matrix(right, true)?;
            let x = self.view(a.device, &shape_a);
            return self.linear(x, Epilogue::default(), numbers, None, n);
        }
        let batch = broadcast(&[batch_a, batch_b])?;
        let items: usize = batch.iter().product();
        let mut input = b.device;
        if batch_b != batch {
            let full = [&batch[..], &[k, n]].concat();
            let strides: Vec<i64> = broadcast_strides(&shape_b, &full).into_iter().map(|stride| stride as i64).collect();
            input = self.rearrange("expand", input, &full, 0, &strides)?;
        }
        let sums = [&batch[..], &[m, n]].concat();
        if batch_a.iter().all(|&size| size == 1) {
            // One left matrix for all: an ordinary 1x1 convolution.
            let numbers = match a.constant {
                Some(kernel) => {
                    let kernel = Arc::new(Value::clone(&kernel).reshape(&[m, k, 1])?);
                    Numbers::Constant { kernel, bias: None, slope: None }
                }
                None => Numbers::Computed { from: a.device, source: None, bias: None, slope: None },
            };
            let input = self.view(input, &[items, k, n]);
            let output = self.convolution(Convolution { desc: ConvDesc::new(k, m, [1]), input, numbers, residual: None })?;
            return Ok(self.view(output, &sums));
        }
        let source = (batch_a != batch).then(|| {
            let strides = broadcast_strides(&shape_a, &[&batch[..], &[m, k]].concat());
            WeightSource::matrices(&batch, &strides, [k, 1])
        });
        let input = self.view(input, &[1, items * k, n]);
        let desc = ConvDesc { groups: items, ..ConvDesc::new(items * k, items * m, [1]) };
        let numbers = Numbers::Computed { from: a.device, source, bias: None, slope: None };
        let output = self.convolution(Convolution { desc, input, numbers, residual: None })?;
        Ok(self.view(output, &sums))
    }

    /// A pooling, with the positions of the greatest elements where they are wanted.
    pub(super) fn pooling(&mut self, desc: &PoolDesc, input: DeviceId, indices: Option<DeviceId>) -> Result<DeviceId> {
        let mut desc = *desc;
        if let (PoolKind::Max { indices: order }, None) = (&mut desc.kind, indices) {
            *order = None;
        }
        let plan = self.engine.best_plan(&Problem::pool(&desc, self.desc(input)), |_| true)?;
        self.planned(plan, LayerWeights::None, input, None, indices)
    }

    /// A step by a plan.
    fn planned(
        &mut self,
        plan: Plan,
        weights: LayerWeights,
        input: DeviceId,
        residual: Option<DeviceId>,
        indices: Option<DeviceId>,
    ) -> Result<DeviceId> {
        let output = self.add(plan.output_desc(), Source::Steps);
        let workspace = plan.workspace.iter().map(|bytes| self.temp(&[(bytes / 4) as usize], DType::F32)).collect();
        self.step(Work::Layer { plan: Box::new(plan), weights, input, residual, output, indices, workspace });
        Ok(output)
    }

    /// A convolution.
    pub(super) fn convolution(&mut self, convolution: Convolution) -> Result<DeviceId> {
        let Convolution { desc, input, numbers, residual } = convolution;
        // Winograd transforms its weights in f64 on the host, which computed ones do not pass; and it sums more than whole numbers.
        let any = matches!(numbers, Numbers::Constant { .. });
        let takes = |algorithm: &Algorithm| any || !matches!(algorithm, Algorithm::Winograd(_));
        let plan = self.engine.best_plan(&Problem::conv(&desc, self.desc(input)), takes)?;
        match numbers {
            Numbers::Constant { kernel, bias, slope } | Numbers::Whole { kernel, bias, slope } => {
                self.planned(plan, LayerWeights::Constant { kernel, bias, slope }, input, residual, None)
            }
            Numbers::Computed { from, source, bias, slope } => {
                let packed = self.packed_weights(&plan, from, source)?;
                let mut channels = |list: Option<DeviceId>| self.channels(&plan, list);
                let (bias, slope) = (channels(bias)?, channels(slope)?);
                self.planned(plan, LayerWeights::Computed { packed, bias, slope }, input, residual, None)
            }
        }
    }

    /// Weights laid out for a plan's kernels, by the device: each set of them.
    fn packed_weights(&mut self, plan: &Plan, from: DeviceId, source: Option<WeightSource>) -> Result<Vec<DeviceId>> {
        let source = source.unwrap_or_else(|| WeightSource::of(&plan.geometry));
        let from = self.cast(from, plan.packed_dtype())?;
        let order = |part: &WeightPart| {
            part.order(&source)
                .expect("no plan for computed weights is Winograd's, and only products of matrices have groups of several axes")
        };
        plan.weight_parts().iter().map(|part| self.packed(&order(part), from)).collect()
    }

    /// One number for each output channel: those of each set of weights.
    fn channels(&mut self, plan: &Plan, list: Option<DeviceId>) -> Result<Vec<DeviceId>> {
        let Some(list) = list else { return Ok(Vec::new()) };
        let parts = plan.weight_parts();
        if parts.len() == 1 {
            return Ok(vec![list]);
        }
        let outputs = parts.iter().map(|part| part.outputs(plan.geometry.group_out() as usize));
        outputs.map(|outputs| self.rearrange("split", list, &[outputs.len()], outputs.start as i64, &[1])).collect()
    }
}
