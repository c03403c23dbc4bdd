//! The meaning of every [`Op`]: the shapes and types of its results, and their numbers, in f64.
//!
//! [`infer`] is the only place that knows output shapes; [`evaluate`] is the reference that devices are judged by, folds constants,
//! and computes on the host what no device does. Each family is one file with these two functions.

mod binary;
mod cast;
mod fused;
mod lanes;
mod layers;
mod lrn;
mod movement;
mod norm;
mod pointwise;
mod quant;
mod quant_product;
mod reduce;
pub(crate) mod resize;
mod resize_kernel;
mod sample;
mod sample_windows;
mod shape;
mod window;

use std::sync::Arc;

pub(crate) use fused::stage_facts;
pub(crate) use layers::{conv_desc, conv_operands, linear_problem, matmul_operands, matmul_shape};
pub(crate) use norm::normalised_axes;
pub(crate) use reduce::{reduced_axes, softmax_axes};
pub(crate) use window::{centre_windows, pad_amounts, slice_axes};

use super::op::Op;
use crate::error::{Error, Result};
use crate::tensor_desc::MAX_ELEMENTS;
use crate::value::{ElementType, Value, elements};

/// What is known of a value: type, shape, and its elements where they are constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fact {
    pub element: ElementType,
    pub shape: Vec<usize>,
    pub constant: Option<Arc<Value>>,
}

impl Fact {
    /// A value whose elements are not known yet.
    pub fn new(element: ElementType, shape: impl Into<Vec<usize>>) -> Self {
        Self { element, shape: shape.into(), constant: None }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        elements(&self.shape).expect("facts are of checked shapes")
    }
}

impl From<Arc<Value>> for Fact {
    fn from(value: Arc<Value>) -> Self {
        Self { element: value.element(), shape: value.shape().to_vec(), constant: Some(value) }
    }
}

/// The inputs of a node.
pub(crate) struct Inputs<'a> {
    facts: &'a [Option<Fact>],
    /// Outputs that the node has.
    pub outputs: usize,
}

impl<'a> Inputs<'a> {
    pub fn new(facts: &'a [Option<Fact>], outputs: usize) -> Self {
        Self { facts, outputs }
    }

    /// How many there are, absent ones in the middle included.
    pub fn count(&self) -> usize {
        self.facts.len()
    }

    /// An input that may be absent.
    pub fn optional(&self, index: usize) -> Option<&'a Fact> {
        self.facts.get(index).and_then(Option::as_ref)
    }

    /// An input that must be there.
    pub fn get(&self, index: usize) -> Result<&'a Fact> {
        self.optional(index).ok_or_else(|| Error::invalid("input", format!("{index} is missing: there are {}", self.count())))
    }

    /// All inputs, none of them absent.
    pub fn all(&self) -> Result<Vec<&'a Fact>> {
        (0..self.count()).map(|index| self.get(index)).collect()
    }

    /// The elements of an input in [`evaluate`], where all are constant.
    pub fn value(&self, index: usize) -> &'a Value {
        self.optional_value(index).expect("infer() asked for this input")
    }

    /// The elements of an input that may be absent, in [`evaluate`].
    pub fn optional_value(&self, index: usize) -> Option<&'a Value> {
        self.optional(index).and_then(|fact| fact.constant.as_deref())
    }

    /// The elements of an input that a shape depends on.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where they are known only when the network runs.
    pub fn constant(&self, index: usize, what: &'static str) -> Result<&'a Value> {
        self.get(index)?.constant.as_deref().ok_or_else(|| {
            Error::unsupported(
                what,
                "is known only when the network runs, but a shape depends on it: give it in NetworkDesc::fixed",
            )
        })
    }

    /// The integers of an input that a shape depends on.
    ///
    /// # Errors
    /// As [`constant`](Self::constant).
    pub fn ints(&self, index: usize, what: &'static str) -> Result<Vec<i64>> {
        Ok(self.constant(index, what)?.to_i64())
    }

    /// [`ints`](Self::ints) of an input that may be absent.
    ///
    /// # Errors
    /// As [`constant`](Self::constant).
    pub fn optional_ints(&self, index: usize, what: &'static str) -> Result<Option<Vec<i64>>> {
        self.optional(index).map(|_| self.ints(index, what)).transpose()
    }
}

/// Refuses attributes that are no finite numbers.
fn check_numbers(op: &Op) -> Result<()> {
    let numbers: &[(&'static str, f32)] = match op {
        Op::BatchNorm { epsilon, momentum, .. } => &[("epsilon", *epsilon), ("momentum", *momentum)],
        Op::InstanceNorm { epsilon }
        | Op::LayerNorm { epsilon, .. }
        | Op::RmsNorm { epsilon, .. }
        | Op::GroupNorm { epsilon, .. } => &[("epsilon", *epsilon)],
        Op::Lrn { alpha, beta, bias, .. } => &[("alpha", *alpha), ("beta", *beta), ("bias", *bias)],
        Op::Gemm { alpha, beta, .. } => &[("alpha", *alpha), ("beta", *beta)],
        _ => &[],
    };
    match numbers.iter().find(|(_, number)| !number.is_finite()) {
        Some((name, number)) => Err(Error::invalid(name, format!("is {number}, which is not a finite number"))),
        None => Ok(()),
    }
}

/// The type and shape of each result, and its elements where they follow from the inputs' facts alone (a shape, a size).
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the inputs are not what the operation takes,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where a shape depends on numbers that are not constant.
pub(crate) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    check_numbers(op)?;
    let facts = match family(op) {
        Family::Layers => layers::infer(op, inputs),
        Family::Movement => movement::infer(op, inputs),
        Family::Norm => norm::infer(op, inputs),
        Family::Pointwise => pointwise::infer(op, inputs),
        Family::Quant => quant::infer(op, inputs),
        Family::Reduce => reduce::infer(op, inputs),
        Family::Resize => resize::infer(op, inputs),
        Family::Sample => sample::infer(op, inputs),
        Family::Shape => shape::infer(op, inputs),
    }?;
    for fact in &facts {
        if elements(&fact.shape).is_none_or(|count| count > MAX_ELEMENTS) {
            let shape = &fact.shape;
            return Err(Error::invalid("output", format!("shape {shape:?} has more than {MAX_ELEMENTS} elements (2^31 - 1)")));
        }
    }
    if inputs.outputs > facts.len() {
        return Err(Error::invalid("output", format!("{} are asked for, but there are {}", inputs.outputs, facts.len())));
    }
    Ok(facts)
}

/// The results on these inputs, which are all constant.
///
/// # Errors
/// As [`infer`].
pub(crate) fn evaluate(op: &Op, inputs: &[Option<Arc<Value>>], outputs: usize) -> Result<Vec<Value>> {
    let facts: Vec<Option<Fact>> = inputs.iter().map(|value| value.clone().map(Fact::from)).collect();
    let inputs = Inputs::new(&facts, outputs);
    let results = infer(op, &inputs)?;
    if !results.is_empty() && results.iter().all(|fact| fact.len() == 0) {
        return Ok(results.iter().map(|fact| Value::zeros(fact.element, &fact.shape)).collect());
    }
    match family(op) {
        Family::Layers => layers::evaluate(op, &inputs, &results),
        Family::Movement => movement::evaluate(op, &inputs, &results),
        Family::Norm => norm::evaluate(op, &inputs, &results),
        Family::Pointwise => pointwise::evaluate(op, &inputs, &results),
        Family::Quant => quant::evaluate(op, &inputs, &results),
        Family::Reduce => reduce::evaluate(op, &inputs, &results),
        Family::Resize => resize::evaluate(op, &inputs, &results),
        Family::Sample => sample::evaluate(op, &inputs, &results),
        Family::Shape => shape::evaluate(op, &inputs, &results),
    }
}

/// The file that an operation is in.
enum Family {
    Layers,
    Movement,
    Norm,
    Pointwise,
    Quant,
    Reduce,
    Resize,
    Sample,
    Shape,
}

/// Whether each element of the results depends on the elements at its place only.
pub(crate) fn is_pointwise(op: &Op) -> bool {
    matches!(family(op), Family::Pointwise)
}

fn family(op: &Op) -> Family {
    match op {
        Op::Conv(_) | Op::Pool(_) | Op::MaxUnpool { .. } | Op::Gemm { .. } | Op::Linear(_) | Op::MatMul => Family::Layers,
        Op::Activation(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Variadic(_)
        | Op::Where
        | Op::Clip
        | Op::Cast(_)
        | Op::CastLike
        | Op::Fused(_) => Family::Pointwise,
        Op::BatchNorm { .. }
        | Op::InstanceNorm { .. }
        | Op::LayerNorm { .. }
        | Op::RmsNorm { .. }
        | Op::GroupNorm { .. }
        | Op::MeanVarianceNorm { .. }
        | Op::LpNorm { .. }
        | Op::Lrn { .. } => Family::Norm,
        Op::Softmax { .. } | Op::Reduce { .. } | Op::ArgReduce { .. } => Family::Reduce,
        Op::Identity
        | Op::Dropout
        | Op::Concat { .. }
        | Op::Split { .. }
        | Op::Slice
        | Op::Pad(_)
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Expand
        | Op::Tile
        | Op::Gather { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::CenterCropPad { .. } => Family::Movement,
        Op::Resize(_) => Family::Resize,
        Op::Shape { .. } | Op::Size | Op::ConstantOfShape { .. } | Op::Range => Family::Shape,
        Op::QuantizeLinear { .. }
        | Op::DequantizeLinear { .. }
        | Op::DynamicQuantizeLinear
        | Op::QLinearConv(_)
        | Op::ConvInteger(_)
        | Op::QLinearMatMul
        | Op::MatMulInteger => Family::Quant,
        Op::GridSample { .. }
        | Op::RoiAlign { .. }
        | Op::DeformConv { .. }
        | Op::Col2Im { .. }
        | Op::CausalConvWithState { .. } => Family::Sample,
    }
}

/// An axis counted from the front.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where there is no such axis.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_front
        .and_then(|at| usize::try_from(at).ok())
        .filter(|&at| at < rank)
        .ok_or_else(|| Error::invalid("axis", format!("is {axis}, but the input has {rank} axes")))
}

/// Axes counted from the front, each of them once.
///
/// # Errors
/// As [`axis_of`], and for an axis that is named twice.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let list: Vec<usize> = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<_>>()?;
    match list.iter().enumerate().find(|(at, axis)| list[..*at].contains(axis)) {
        Some((_, axis)) => Err(Error::invalid("axes", format!("{axes:?} name axis {axis} twice"))),
        None => Ok(list),
    }
}

/// The shape that shapes broadcast to: axes are aligned at the end, and of two sizes one is 1 or both are equal.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the shapes that do not fit.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        for (size, &other) in result[rank - shape.len()..].iter_mut().zip(*shape) {
            if *size == 1 {
                *size = other;
            } else if other != 1 && other != *size {
                return Err(Error::invalid("input", format!("shapes {shapes:?} cannot be broadcast: {size} and {other} differ")));
            }
        }
    }
    Ok(result)
}

/// The distance of neighbours on each axis of a dense tensor, in elements.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        // Only shapes without elements can be beyond any number, and their strides mean nothing.
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

/// The strides with which a tensor of `shape` is read at the coordinates of `target`, to which it broadcasts.
pub(crate) fn broadcast_strides(shape: &[usize], target: &[usize]) -> Vec<usize> {
    let mut list = vec![0; target.len()];
    let offset = target.len() - shape.len();
    for (axis, (&size, stride)) in shape.iter().zip(strides(shape)).enumerate() {
        list[offset + axis] = if size == 1 { 0 } else { stride };
    }
    list
}

/// Calls with the coordinates of each element of a shape, in row-major order, and collects what comes back.
pub(crate) fn each<T>(shape: &[usize], mut call: impl FnMut(&[usize]) -> T) -> Vec<T> {
    let count = elements(shape).expect("facts are of checked shapes");
    let mut list = Vec::with_capacity(count);
    let mut at = vec![0; shape.len()];
    for _ in 0..count {
        list.push(call(&at));
        for axis in (0..shape.len()).rev() {
            at[axis] += 1;
            if at[axis] < shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    list
}

/// The flat index of coordinates.
pub(crate) fn index_of(at: &[usize], strides: &[usize]) -> usize {
    at.iter().zip(strides).map(|(at, stride)| at * stride).sum()
}

/// The error of a family that was given another's operation, or inputs of a type that it does not take.
fn not_of_type(what: &str, element: ElementType) -> Error {
    Error::unsupported("input", format!("has elements of type {element}, but {what}"))
}
