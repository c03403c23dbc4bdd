//! Convolutions, poolings and matrix products. Their formulas are those of `geometry` and `reference`: here are only the ways from
//! a graph's attributes to them.

use super::{Fact, Inputs, broadcast, broadcast_strides, each, index_of, not_of_type};
use crate::desc::{ConvDesc, Epilogue, IndexOrder, Padding, PoolDesc, PoolKind, Residual};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::graph::{ConvOp, Op, Pads};
use crate::parallel;
use crate::problem::Problem;
use crate::reference::{self, ConvOperands};
use crate::spatial::Spatial;
use crate::tensor_desc::TensorDesc;
use crate::value::{ElementType, Value};
use crate::weights::Weights;

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let x = inputs.get(0)?;
    match op {
        Op::Conv(conv) => {
            let weight = inputs.get(1)?;
            same_float_type(inputs, &[0, 1, 2, 3, 4])?;
            let desc = conv_desc(conv, &x.shape, &weight.shape, inputs.optional(2).is_some())?;
            let output = conv_shape(&desc, &x.shape)?;
            check_epilogue(&desc.epilogue, inputs, desc.out_channels, &output)?;
            Ok(vec![Fact::new(x.element, output)])
        }
        Op::Linear(epilogue) => {
            same_float_type(inputs, &[0, 1, 2, 3, 4])?;
            let [out, k] = matrix("weight", inputs.get(1)?, false)?;
            if x.shape.last() != Some(&k) {
                return Err(Error::invalid("weight", format!("has {k} columns, but the input has shape {:?}", x.shape)));
            }
            let output = [&x.shape[..x.rank() - 1], &[out]].concat();
            check_epilogue(epilogue, inputs, out, &output)?;
            Ok(vec![Fact::new(x.element, output)])
        }
        Op::Pool(desc) => {
            if x.element == ElementType::Bool {
                return Err(not_of_type("a pooling works on numbers", x.element));
            }
            let shape = of_items(&x.shape, |x| Ok(Geometry::new(&Problem::pool(desc, &TensorDesc::f32(x)))?.output_shape()))?;
            let mut facts = vec![Fact::new(x.element, shape.clone())];
            if matches!(desc.kind, PoolKind::Max { .. }) {
                facts.push(Fact::new(ElementType::I64, shape));
            }
            Ok(facts)
        }
        Op::MaxUnpool { kernel, stride, pads } => {
            let indices = inputs.get(1)?;
            if indices.shape != x.shape {
                return Err(Error::invalid("indices", format!("have shape {:?}, but the input {:?}", indices.shape, x.shape)));
            }
            Ok(vec![Fact::new(x.element, unpool_shape(&x.shape, inputs, kernel, stride, pads)?)])
        }
        Op::Gemm { trans_a, trans_b, .. } => {
            let b = inputs.get(1)?;
            let ([m, k], [k_b, n]) = (matrix("a", x, *trans_a)?, matrix("b", b, *trans_b)?);
            same_type(inputs, &[0, 1, 2])?;
            if k != k_b {
                return Err(inner_sizes(k, k_b));
            }
            if let Some(c) = inputs.optional(2)
                && broadcast(&[&c.shape, &[m, n]])? != [m, n]
            {
                return Err(Error::invalid("c", format!("has shape {:?}, which does not broadcast to {:?}", c.shape, [m, n])));
            }
            Ok(vec![Fact::new(x.element, [m, n])])
        }
        Op::MatMul => {
            same_type(inputs, &[0, 1])?;
            Ok(vec![Fact::new(x.element, matmul_shape(&x.shape, &inputs.get(1)?.shape)?)])
        }
        _ => unreachable!("{op:?} is of another family"),
    }
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let x = inputs.value(0);
    match op {
        Op::Conv(conv) => {
            let desc = conv_desc(conv, x.shape(), inputs.value(1).shape(), inputs.optional(2).is_some())?;
            convolution(&Problem::conv(&desc, &TensorDesc::f32(x.shape())), inputs, &results[0])
        }
        Op::Linear(epilogue) => {
            let (problem, _) = linear_problem(x.shape(), inputs.value(1).shape(), inputs.optional(2).is_some(), epilogue);
            convolution(&problem, inputs, &results[0])
        }
        Op::Pool(desc) => pool(desc, x, results),
        Op::MaxUnpool { .. } => {
            let mut sources = vec![None; results[0].len()];
            for (source, index) in inputs.value(1).to_i64().into_iter().enumerate() {
                let slot = usize::try_from(index).ok().and_then(|index| sources.get_mut(index));
                *slot.ok_or_else(|| Error::invalid("indices", format!("{index} is outside the output")))? = Some(source);
            }
            Ok(vec![x.select(&results[0].shape, &sources)])
        }
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            let b = inputs.value(1);
            let ([m, k], [_, n]) = (matrix("a", inputs.get(0)?, *trans_a)?, matrix("b", inputs.get(1)?, *trans_b)?);
            let strides = |transposed: bool, columns: usize, rows: usize| if transposed { [1, rows] } else { [columns, 1] };
            let (stride_a, stride_b) = (strides(*trans_a, k, m), strides(*trans_b, n, k));
            let shape = [m, n];
            let c = inputs.optional_value(2);
            if !results[0].element.is_float() {
                let (a, b) = (x.to_i128(), b.to_i128());
                let product = product(shape, k, |row, column, k| {
                    a[row * stride_a[0] + k * stride_a[1]].wrapping_mul(b[k * stride_b[0] + column * stride_b[1]])
                });
                let c = c.map(|c| (c.to_i128(), broadcast_strides(c.shape(), &shape)));
                let sums = product.into_iter().enumerate().map(|(index, sum)| {
                    let added = c.as_ref().map_or(0, |(c, strides)| c[index_of(&[index / n, index % n], strides)]);
                    (*alpha as i128).wrapping_mul(sum).wrapping_add((*beta as i128).wrapping_mul(added))
                });
                return Ok(vec![Value::from_ints(results[0].element, &shape, sums.collect())]);
            }
            let (a, b) = (x.to_f64(), b.to_f64());
            let product = product(shape, k, |row, column, k| {
                a[row * stride_a[0] + k * stride_a[1]] * b[k * stride_b[0] + column * stride_b[1]]
            });
            let c = c.map(|c| (c.to_f64(), broadcast_strides(c.shape(), &shape)));
            let sums = product.into_iter().enumerate().map(|(index, sum)| {
                let added = c.as_ref().map_or(0.0, |(c, strides)| c[index_of(&[index / n, index % n], strides)]);
                f64::from(*alpha) * sum + f64::from(*beta) * added
            });
            Ok(vec![Value::from_floats(results[0].element, &shape, sums.collect())])
        }
        Op::MatMul => Ok(vec![matmul(x, inputs.value(1), &results[0])?]),
        _ => unreachable!("{op:?} is of another family"),
    }
}

/// A convolution by the reference.
fn convolution(problem: &Problem, inputs: &Inputs, result: &Fact) -> Result<Vec<Value>> {
    let lists: Vec<Option<Vec<f32>>> = (0..5).map(|index| inputs.optional_value(index).map(Value::to_f32)).collect();
    let operands = conv_operands(&lists);
    let output = reference::conv(problem, &operands)?;
    Ok(vec![Value::from_floats(result.element, &result.shape, output.values)])
}

/// The operands of a convolution from its node's inputs.
pub(crate) fn conv_operands(lists: &[Option<Vec<f32>>]) -> ConvOperands<'_> {
    let list = |index: usize| lists.get(index).and_then(Option::as_deref);
    ConvOperands {
        input: list(0).unwrap_or_default(),
        weights: Weights { kernel: list(1).unwrap_or_default(), kernel_shape: None, bias: list(2), slope: list(4) },
        residual: list(3),
    }
}

/// A fully connected layer on rows as the convolution that it is, and the description of that.
pub(crate) fn linear_problem(x: &[usize], weight: &[usize], bias: bool, epilogue: &Epilogue) -> (Problem, ConvDesc) {
    let (rows, k) = (x[..x.len() - 1].iter().product(), weight[1]);
    let desc = ConvDesc { epilogue: Epilogue { bias, ..*epilogue }, ..ConvDesc::linear(k, weight[0]) };
    (Problem::conv(&desc, &TensorDesc::f32(&[rows, k, 1])), desc)
}

/// Checks bias, residual and slope of a layer.
fn check_epilogue(epilogue: &Epilogue, inputs: &Inputs, channels: usize, output: &[usize]) -> Result<()> {
    let per_channel = [channels];
    check_operand("bias", inputs.optional(2), &per_channel)?;
    let residual = (epilogue.residual != Residual::None).then_some(output);
    check_wanted("residual", inputs.optional(3), residual)?;
    let slope = epilogue.activation.has_slope().then_some(per_channel.as_slice());
    check_wanted("slope", inputs.optional(4), slope)
}

/// `sum over k of term(row, column, k)` for each row and column.
fn product<T: std::iter::Sum + Send>(shape: [usize; 2], k: usize, term: impl Fn(usize, usize, usize) -> T + Sync) -> Vec<T> {
    let [m, n] = shape;
    parallel::collect(m * n, |index| (0..k).map(|k| term(index / n, index % n, k)).sum())
}

/// A matrix product in f64, or in integers for integer types, as numpy's `matmul`.
pub(super) fn matmul(a: &Value, b: &Value, result: &Fact) -> Result<Value> {
    let (shape_a, shape_b) = matmul_operands(a.shape(), b.shape());
    let batch = broadcast(&[&shape_a[..shape_a.len() - 2], &shape_b[..shape_b.len() - 2]])?;
    let [m, k] = [shape_a[shape_a.len() - 2], shape_a[shape_a.len() - 1]];
    let n = shape_b[shape_b.len() - 1];
    let (strides_a, strides_b) =
        (broadcast_strides(&shape_a[..shape_a.len() - 2], &batch), broadcast_strides(&shape_b[..shape_b.len() - 2], &batch));
    let items = each(&batch, |at| (index_of(at, &strides_a) * m * k, index_of(at, &strides_b) * k * n));
    if result.element.is_float() {
        let (a, b) = (a.to_f64(), b.to_f64());
        let item = |(a_at, b_at): (usize, usize)| {
            product([m, n], k, |row, column, k_at| a[a_at + row * k + k_at] * b[b_at + k_at * n + column])
        };
        return Ok(Value::from_floats(result.element, &result.shape, items.into_iter().flat_map(item).collect()));
    }
    let (a, b) = (a.to_i128(), b.to_i128());
    let item = |(a_at, b_at): (usize, usize)| {
        product([m, n], k, |row, column, k_at| a[a_at + row * k + k_at].wrapping_mul(b[b_at + k_at * n + column]))
    };
    Ok(Value::from_ints(result.element, &result.shape, items.into_iter().flat_map(item).collect()))
}

/// A pooling, by the reference; integers are exact in it up to 2^24, which is checked.
fn pool(desc: &PoolDesc, x: &Value, results: &[Fact]) -> Result<Vec<Value>> {
    let mut desc = *desc;
    if let PoolKind::Max { indices } = &mut desc.kind {
        indices.get_or_insert(IndexOrder::Tensor);
    }
    if !x.element().is_float() && x.to_i128().iter().any(|value| value.unsigned_abs() > 1 << 24) {
        return Err(Error::unsupported("input", "has integers above 2^24, which a pooling does not keep exact"));
    }
    let output = reference::pool(&Problem::pool(&desc, &TensorDesc::f32(x.shape())), &x.to_f32())?;
    let Fact { element, shape, .. } = &results[0];
    let y = if element.is_float() {
        Value::from_floats(*element, shape, output.values)
    } else {
        Value::from_ints(*element, shape, output.values.into_iter().map(|value| value as i128).collect())
    };
    let indices = output.indices.map(|list| Value::new(shape, list.into_iter().map(i64::from).collect::<Vec<_>>()));
    Ok([Some(y), indices.transpose()?].into_iter().flatten().collect())
}

/// A list with one number for each axis.
fn per_axis(field: &'static str, list: &[usize], rank: usize, default: usize) -> Result<Spatial> {
    if list.is_empty() {
        return Spatial::from_slice(field, &vec![default; rank]);
    }
    if list.len() != rank {
        return Err(Error::invalid(field, format!("has {} entries, but the input has {rank} spatial axes", list.len())));
    }
    Spatial::from_slice(field, list)
}

/// The description of a convolution on inputs and weights of these shapes.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field at fault.
pub(crate) fn conv_desc(conv: &ConvOp, x: &[usize], weight: &[usize], bias: bool) -> Result<ConvDesc> {
    if x.len() > 5 && weight.len() == x.len() {
        return Err(Error::unsupported(
            "input",
            format!("has {} spatial axes, but a convolution here has at most 3", x.len() - 2),
        ));
    }
    if !(3..=5).contains(&x.len()) || weight.len() != x.len() {
        return Err(Error::invalid(
            "input",
            format!(
                "of shape {x:?} and weights of shape {weight:?}: a convolution has 1 to 3 spatial axes behind two others, in both"
            ),
        ));
    }
    let rank = x.len() - 2;
    let kernel = per_axis("kernel", &weight[2..], rank, 1)?;
    if !conv.kernel.is_empty() && conv.kernel != weight[2..] {
        return Err(Error::invalid("kernel", format!("is {:?}, but the weights have shape {weight:?}", conv.kernel)));
    }
    let (in_channels, out_channels) = if conv.transposed {
        (weight[0], weight[1].checked_mul(conv.groups).unwrap_or(0))
    } else {
        (weight[1].checked_mul(conv.groups).unwrap_or(0), weight[0])
    };
    if let Some([wanted_in, wanted_out]) = conv.channels {
        for (field, wanted, found) in [("in_channels", wanted_in, in_channels), ("out_channels", wanted_out, out_channels)] {
            if wanted != found {
                return Err(Error::invalid(field, format!("is {wanted}, but weights of shape {weight:?} have {found}")));
            }
        }
    }
    let mut desc = ConvDesc {
        in_channels,
        out_channels,
        kernel,
        stride: per_axis("stride", &conv.stride, rank, 1)?,
        dilation: per_axis("dilation", &conv.dilation, rank, 1)?,
        padding: padding(&conv.padding, rank)?,
        padding_mode: conv.padding_mode,
        groups: conv.groups,
        transposed: conv.transposed,
        output_padding: per_axis("output_padding", &conv.output_padding, rank, 0)?,
        epilogue: Epilogue { bias, ..conv.epilogue },
        output_layout: None,
    };
    if !conv.output_shape.is_empty() {
        follow_output_shape(&mut desc, conv, &x[2..])?;
    }
    Ok(desc)
}

/// Padding of a known rank.
fn padding(pads: &Pads, rank: usize) -> Result<Padding> {
    Ok(match pads {
        Pads::Explicit(list) if list.is_empty() => Spatial::splat(rank, 0).into(),
        Pads::Explicit(list) if list.len() == 2 * rank => Padding::Explicit {
            begin: Spatial::from_slice("padding", &list[..rank])?,
            end: Spatial::from_slice("padding", &list[rank..])?,
        },
        Pads::Explicit(list) => {
            return Err(Error::invalid(
                "padding",
                format!("has {} entries, but {rank} spatial axes have {}", list.len(), 2 * rank),
            ));
        }
        Pads::Valid => Padding::Valid,
        Pads::SameUpper => Padding::SameUpper,
        Pads::SameLower => Padding::SameLower,
    })
}

/// The padding that gives a transposed convolution the output size it is asked for: ONNX's rule for `output_shape`.
fn follow_output_shape(desc: &mut ConvDesc, conv: &ConvOp, input: &[usize]) -> Result<()> {
    let rank = input.len();
    // Some exporters give the whole shape, batch and channels included.
    let wanted = if conv.output_shape.len() == rank + 2 { &conv.output_shape[2..] } else { &conv.output_shape };
    let wanted = per_axis("output_shape", wanted, rank, 0)?;
    let (mut begin, mut end, mut added) = (vec![0; rank], vec![0; rank], vec![0; rank]);
    for axis in 0..rank {
        let span = (desc.kernel[axis] as i64 - 1).saturating_mul(desc.dilation[axis] as i64) + 1;
        let whole = (desc.stride[axis] as i64).saturating_mul(input[axis] as i64 - 1).saturating_add(span);
        let total = whole.saturating_add(desc.output_padding[axis] as i64).saturating_sub(wanted[axis] as i64);
        let (half, rest) = ((total.max(0) / 2) as usize, (total.max(0) - total.max(0) / 2) as usize);
        (begin[axis], end[axis]) = if conv.padding == Pads::SameUpper { (half, rest) } else { (rest, half) };
        added[axis] = desc.output_padding[axis] + (-total).max(0) as usize;
    }
    desc.padding = Padding::Explicit {
        begin: Spatial::from_slice("output_shape", &begin)?,
        end: Spatial::from_slice("output_shape", &end)?,
    };
    desc.output_padding = Spatial::from_slice("output_shape", &added)?;
    Ok(())
}

fn conv_shape(desc: &ConvDesc, x: &[usize]) -> Result<Vec<usize>> {
    of_items(x, |x| Ok(Geometry::new(&Problem::conv(desc, &TensorDesc::f32(x)))?.output_shape()))
}

/// The shape of a layer's output, of which a batch of nothing is one too: it is that of one item but for the batch.
pub(super) fn of_items(x: &[usize], shape: impl Fn(&[usize]) -> Result<Vec<usize>>) -> Result<Vec<usize>> {
    let Some((0, rest)) = x.split_first() else { return shape(x) };
    let mut of_one = shape(&[&[1], rest].concat())?;
    of_one[0] = 0;
    Ok(of_one)
}

/// The shape that [`Op::MaxUnpool`] fills: what is asked for, or what the pooling of these attributes would have taken.
fn unpool_shape(x: &[usize], inputs: &Inputs, kernel: &[usize], stride: &[usize], pads: &[usize]) -> Result<Vec<usize>> {
    let rank = x.len().checked_sub(2).filter(|rank| *rank >= 1);
    let rank = rank.ok_or_else(|| Error::invalid("input", format!("has shape {x:?}, without spatial axes")))?;
    if let Some(shape) = inputs.optional_ints(2, "output_shape")? {
        let fits = shape.len() == x.len() && shape.iter().all(|&size| size >= 0);
        let sizes = || shape.iter().map(|&size| size as usize).collect();
        return if fits {
            Ok(sizes())
        } else {
            Err(Error::invalid("output_shape", format!("is {shape:?} for an input of {x:?}")))
        };
    }
    let stride = per_axis("stride", stride, rank, 1)?;
    let kernel = per_axis("kernel", kernel, rank, 1)?;
    if !pads.is_empty() && pads.len() != 2 * rank {
        return Err(Error::invalid("padding", format!("has {} entries, but {rank} spatial axes have {}", pads.len(), 2 * rank)));
    }
    let mut shape = x.to_vec();
    for axis in 0..rank {
        let padding = if pads.is_empty() { 0 } else { pads[axis].saturating_add(pads[rank + axis]) };
        let size = x[2 + axis].checked_sub(1).and_then(|steps| steps.checked_mul(stride[axis]));
        let size = size.and_then(|size| size.checked_add(kernel[axis])).and_then(|size| size.checked_sub(padding));
        shape[2 + axis] = size.ok_or_else(|| Error::invalid("padding", format!("leaves nothing on axis {axis}")))?;
    }
    Ok(shape)
}

/// Rows and columns of a matrix, once it is transposed.
fn matrix(name: &'static str, fact: &Fact, transposed: bool) -> Result<[usize; 2]> {
    let &[rows, columns] = fact.shape.as_slice() else {
        return Err(Error::invalid(name, format!("has shape {:?}, but a matrix has two axes", fact.shape)));
    };
    Ok(if transposed { [columns, rows] } else { [rows, columns] })
}

fn inner_sizes(a: usize, b: usize) -> Error {
    Error::invalid("b", format!("has {b} rows, but `a` has {a} columns"))
}

/// The operands of a matrix product with vectors made matrices.
pub(crate) fn matmul_operands(a: &[usize], b: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let a = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
    let b = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
    (a, b)
}

/// The shape of numpy's `matmul`.
pub(crate) fn matmul_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    if a.is_empty() || b.is_empty() {
        return Err(Error::invalid("input", "is a scalar, but a matrix product has vectors or matrices"));
    }
    let (full_a, full_b) = matmul_operands(a, b);
    let (k_a, k_b) = (full_a[full_a.len() - 1], full_b[full_b.len() - 2]);
    if k_a != k_b {
        return Err(inner_sizes(k_a, k_b));
    }
    let mut shape = broadcast(&[&full_a[..full_a.len() - 2], &full_b[..full_b.len() - 2]])?;
    if a.len() > 1 {
        shape.push(full_a[full_a.len() - 2]);
    }
    if b.len() > 1 {
        shape.push(full_b[full_b.len() - 1]);
    }
    Ok(shape)
}

/// Checks that those of the inputs that are there have one type, a number's.
pub(super) fn same_type(inputs: &Inputs, indices: &[usize]) -> Result<()> {
    let first = inputs.get(indices[0])?.element;
    if first == ElementType::Bool {
        return Err(not_of_type("numbers are wanted", first));
    }
    match indices.iter().filter_map(|&index| inputs.optional(index)).find(|fact| fact.element != first) {
        Some(other) => {
            Err(Error::invalid("input", format!("has elements of types {first} and {}, which must be one", other.element)))
        }
        None => Ok(()),
    }
}

fn same_float_type(inputs: &Inputs, indices: &[usize]) -> Result<()> {
    same_type(inputs, indices)?;
    let element = inputs.get(indices[0])?.element;
    if element.is_float() { Ok(()) } else { Err(not_of_type("a convolution works on floats", element)) }
}

fn check_operand(name: &'static str, fact: Option<&Fact>, shape: &[usize]) -> Result<()> {
    match fact.filter(|fact| fact.shape != shape) {
        Some(fact) => Err(Error::invalid(name, format!("has shape {:?}, but the layer needs {shape:?}", fact.shape))),
        None => Ok(()),
    }
}

/// An operand that must be there exactly where it is wanted.
fn check_wanted(name: &'static str, fact: Option<&Fact>, shape: Option<&[usize]>) -> Result<()> {
    match (fact, shape) {
        (Some(_), None) => Err(Error::invalid(name, "is given, but the layer has none")),
        (None, Some(shape)) => Err(Error::invalid(name, format!("is missing: the layer needs one of shape {shape:?}"))),
        (_, shape) => check_operand(name, fact, shape.unwrap_or_default()),
    }
}

/// A value as tests give it to [`super::evaluate`].
#[cfg(test)]
pub(super) fn shared(value: Value) -> Option<std::sync::Arc<Value>> {
    Some(std::sync::Arc::new(value))
}
