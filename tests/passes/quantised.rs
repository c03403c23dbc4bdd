//! Products between quantisations.

use crate::build::Build;
use crate::{case, check};
use wgconv::{Activation, ConvOp, ElementType, Op, Pads, PoolDesc, Value, ValueId};

fn scalar(b: &mut Build, value: impl Into<wgconv::Data>) -> ValueId {
    b.graph.constant("", Value::new(&[], value).unwrap())
}

const QUANTIZE: Op = Op::QuantizeLinear { axis: 1, block: 0, output: ElementType::U8 };

fn dequantize(axis: i64) -> Op {
    Op::DequantizeLinear { axis, block: 0 }
}

/// A float input, quantised and dequantised.
fn opened(b: &mut Build, shape: &[usize]) -> ValueId {
    let x = b.input(shape);
    let (scale, zero) = (scalar(b, vec![0.017f32]), scalar(b, vec![120u8]));
    let q = b.apply(QUANTIZE, &[x, scale, zero]);
    b.apply(dequantize(1), &[q, scale, zero])
}

/// Signed weights with a scale for each place on an axis.
fn weights(b: &mut Build, shape: &[usize], axis: usize) -> ValueId {
    let count: usize = shape.iter().product();
    let list: Vec<i8> = (0..count).map(|index| (index as i64 * 37 % 201 - 100) as i8).collect();
    let q = b.graph.constant("", Value::new(shape, list).unwrap());
    let scales: Vec<f32> = (0..shape[axis]).map(|index| 0.004 + 0.001 * index as f32).collect();
    let scale = b.graph.constant("", Value::new(&[shape[axis]], scales).unwrap());
    b.apply(dequantize(axis as i64), &[q, scale])
}

/// A bias as exporters quantise it: in steps of the sums of numbers with this scale.
fn bias(b: &mut Build, count: usize, scale: f32) -> ValueId {
    let list: Vec<i32> = (0..count as i32).map(|index| 300 * index - 400).collect();
    let q = b.graph.constant("", Value::new(&[count], list).unwrap());
    let scales: Vec<f32> = (0..count).map(|index| scale * (0.004 + 0.001 * index as f32)).collect();
    let scale = b.graph.constant("", Value::new(&[count], scales).unwrap());
    b.apply(dequantize(0), &[q, scale])
}

/// Quantised to this zero point, and back.
fn closed(b: &mut Build, y: ValueId, zero: u8) -> ValueId {
    let (scale, zero) = (scalar(b, vec![0.05f32]), scalar(b, vec![zero]));
    let q = b.apply(QUANTIZE, &[y, scale, zero]);
    b.apply(dequantize(1), &[q, scale, zero])
}

fn conv(b: &mut Build, inputs: &[ValueId]) -> ValueId {
    b.apply(Op::Conv(ConvOp { padding: Pads::Explicit(vec![1; 4]), ..ConvOp::default() }), inputs)
}

#[test]
fn products_between_quantisations_are_products_of_integers() {
    check(
        "fuse_quantised",
        &[
            case(
                "a convolution",
                |b| {
                    let (x, w, c) = (opened(b, &[1, 3, 6, 6]), weights(b, &[4, 3, 3, 3], 0), bias(b, 4, 0.017));
                    let y = conv(b, &[x, w, c]);
                    let y = closed(b, y, 128);
                    b.output(y);
                },
                &["QuantizeLinear", "QLinearConv", "DequantizeLinear"],
            ),
            case(
                "what a ReLU takes off a zero point of 0 takes off too",
                |b| {
                    let (x, w, c) = (opened(b, &[1, 3, 6, 6]), weights(b, &[4, 3, 3, 3], 0), bias(b, 4, 0.017));
                    let y = conv(b, &[x, w, c]);
                    let y = b.relu(y);
                    let y = closed(b, y, 0);
                    let w = weights(b, &[2, 4, 1, 1], 0);
                    let y = b.apply(Op::Conv(ConvOp::default()), &[y, w]);
                    let y = closed(b, y, 99);
                    b.output(y);
                },
                &["QuantizeLinear", "QLinearConv", "QLinearConv", "DequantizeLinear"],
            ),
            case(
                "matrix products of both forms",
                |b| {
                    let (x, w) = (opened(b, &[3, 8]), weights(b, &[8, 5], 1));
                    let y = b.apply(Op::MatMul, &[x, w]);
                    let y = closed(b, y, 128);
                    let w = weights(b, &[6, 5], 0);
                    let c = bias(b, 6, 0.05);
                    let y = b.apply(crate::gemm(1.0, 1.0, false, true), &[y, w, c]);
                    let y = closed(b, y, 128);
                    b.output(y);
                },
                &["QuantizeLinear", "QLinearMatMul", "Reshape", "QLinearConv", "Reshape", "DequantizeLinear"],
            ),
            case(
                "what only moves numbers or finds the greatest, in one quantisation",
                |b| {
                    let x = b.input(&[1, 3, 6, 6]);
                    let y = closed(b, x, 7);
                    let y = b.graph.pool(&PoolDesc { padding: [1, 1].into(), ..PoolDesc::max([3, 3]) }, y);
                    let y = closed(b, y, 7);
                    let y = b.apply(Op::Transpose { permutation: vec![0, 2, 3, 1] }, &[y]);
                    let y = closed(b, y, 7);
                    b.output(y);
                },
                &["QuantizeLinear", "MaxPool", "Transpose", "DequantizeLinear"],
            ),
        ],
    );
}

#[test]
fn products_that_are_used_or_bounded_otherwise_stay() {
    check(
        "fuse_quantised",
        &[
            case(
                "a sum that someone else reads",
                |b| {
                    let (x, w) = (opened(b, &[1, 3, 6, 6]), weights(b, &[4, 3, 3, 3], 0));
                    let y = conv(b, &[x, w]);
                    let z = closed(b, y, 128);
                    b.output(y);
                    b.output(z);
                },
                &["QuantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear"],
            ),
            case(
                "a ReLU above the least number",
                |b| {
                    let (x, w) = (opened(b, &[1, 3, 6, 6]), weights(b, &[4, 3, 3, 3], 0));
                    let y = conv(b, &[x, w]);
                    let y = b.activation(Activation::Relu, y);
                    let y = closed(b, y, 128);
                    b.output(y);
                },
                &["QuantizeLinear", "DequantizeLinear", "Conv", "Relu", "QuantizeLinear", "DequantizeLinear"],
            ),
            case(
                "a bias that is too large for 32 bits",
                |b| {
                    let (x, w) = (opened(b, &[1, 3, 6, 6]), weights(b, &[1, 3, 3, 3], 0));
                    let c = b.graph.constant("", Value::new(&[1], vec![1e6f32]).unwrap());
                    let y = conv(b, &[x, w, c]);
                    let y = closed(b, y, 128);
                    b.output(y);
                },
                &["QuantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear"],
            ),
            case(
                "more products than 32 bits hold the sum of",
                |b| {
                    let (x, w) = (opened(b, &[1, 17_000, 1, 1]), weights(b, &[1, 17_000, 1, 1], 0));
                    let y = b.apply(Op::Conv(ConvOp::default()), &[x, w]);
                    let y = closed(b, y, 128);
                    b.output(y);
                },
                &["QuantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear"],
            ),
            case(
                "a pooling between two quantisations, and a mean",
                |b| {
                    let x = b.input(&[1, 3, 6, 6]);
                    let y = closed(b, x, 7);
                    let y = b.graph.pool(&PoolDesc::max([2, 2]), y);
                    let y = closed(b, y, 8);
                    let y = b.graph.pool(&PoolDesc::average([2, 2]), y);
                    let y = closed(b, y, 8);
                    b.output(y);
                },
                &[
                    "QuantizeLinear",
                    "DequantizeLinear",
                    "MaxPool",
                    "QuantizeLinear",
                    "DequantizeLinear",
                    "AveragePool",
                    "QuantizeLinear",
                    "DequantizeLinear",
                ],
            ),
            case(
                "weights of floats",
                |b| {
                    let x = opened(b, &[1, 3, 6, 6]);
                    let w = b.weight(&[4, 3, 3, 3]);
                    let y = conv(b, &[x, w]);
                    let y = closed(b, y, 128);
                    b.output(y);
                },
                &["QuantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear"],
            ),
        ],
    );
}
