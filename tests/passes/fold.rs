//! Matrix products, and what is folded into weights.

use crate::build::{gemm, padded};
use crate::support::{dims, floats};
use crate::{F16, F32, case, check, typed};
use wgconv::{Binary, ConvOp, ElementType, Op, Value};

#[test]
fn products_with_a_constant_matrix_become_fully_connected_layers() {
    check(
        "gemm_to_linear",
        &[
            case(
                "matmul of a matrix and of a batch",
                |b| {
                    for shape in [&[3, 4][..], &[2, 3, 4], &[2, 1, 3, 4]] {
                        let (x, w) = (b.input(shape), b.weight(&[4, 5]));
                        let y = b.apply(Op::MatMul, &[x, w]);
                        b.output(y);
                    }
                },
                &["Linear x0 w0", "Linear x1 w1", "Linear x2 w2"],
            ),
            case(
                "gemm with all of its attributes",
                |b| {
                    let (x, turned) = (b.input(&[3, 4]), b.input(&[4, 3]));
                    let (w, w_turned, c) = (b.weight(&[4, 5]), b.weight(&[5, 4]), b.numbers(&[5]));
                    let list = [
                        b.apply(gemm(1.0, 1.0, false, false), &[x, w, c]),
                        b.apply(gemm(0.5, 2.0, false, true), &[x, w_turned, c]),
                        b.apply(gemm(-2.0, 0.25, true, true), &[turned, w_turned]),
                    ];
                    list.into_iter().for_each(|id| b.output(id));
                },
                &["Linear w0", "Linear w1", "Transpose x1", "Linear w1"],
            ),
            case(
                "every bias that is one for each column",
                |b| {
                    let (x, w) = (b.input(&[3, 4]), b.weight(&[4, 5]));
                    for shape in [&[][..], &[1], &[5], &[1, 1], &[1, 5]] {
                        let c = b.numbers(shape);
                        let y = b.apply(gemm(1.0, 0.5, false, false), &[x, w, c]);
                        b.output(y);
                    }
                    let (x, c) = (b.input(&[1, 4]), b.numbers(&[1, 5]));
                    let y = b.apply(gemm(1.0, 1.0, false, false), &[x, w, c]);
                    b.output(y);
                },
                &["Linear", "Linear", "Linear", "Linear", "Linear", "Linear"],
            ),
            case(
                "a bias for each row, for each element, and one that is computed",
                |b| {
                    let (x, w, computed) = (b.input(&[3, 4]), b.weight(&[4, 3]), b.input(&[3]));
                    let list = [b.numbers(&[3, 1]), b.numbers(&[3, 3]), computed];
                    for c in list {
                        let y = b.apply(gemm(1.0, 1.0, false, false), &[x, w, c]);
                        b.output(y);
                    }
                },
                &["Gemm", "Gemm", "Gemm"],
            ),
            case(
                "a computed bias that counts nothing",
                |b| {
                    let (x, w, c) = (b.input(&[3, 4]), b.weight(&[4, 3]), b.input(&[3]));
                    let y = b.apply(gemm(1.0, 0.0, false, false), &[x, w, c]);
                    b.output(y);
                },
                &["Linear -"],
            ),
            case(
                "vectors, batches of constants, constants on the left, no constants",
                |b| {
                    let (vector, x, z) = (b.input(&[4]), b.input(&[2, 4, 4]), b.input(&[4, 4]));
                    let (matrix, batch) = (b.numbers(&[4, 4]), b.numbers(&[2, 4, 4]));
                    let list = [(vector, matrix), (x, batch), (matrix, z), (x, z), (z, vector)];
                    for (p, q) in list {
                        let y = b.apply(Op::MatMul, &[p, q]);
                        b.output(y);
                    }
                    let y = b.apply(gemm(1.0, 1.0, false, false), &[matrix, z]);
                    b.output(y);
                },
                &["MatMul", "MatMul", "MatMul", "MatMul", "MatMul", "Gemm"],
            ),
            case(
                "integers",
                |b| {
                    let x = b.graph.input_of("x0", ElementType::I32, &dims(&[1, 2]));
                    b.inputs.push(Value::new(&[1, 2], vec![3i32, -4]).unwrap());
                    let w = b.graph.constant("", Value::new(&[2, 1], vec![5i32, 6]).unwrap());
                    let y = b.apply(Op::MatMul, &[x, w]);
                    b.output(y);
                },
                &["MatMul"],
            ),
            typed(
                F16,
                "16-bit floats",
                |b| {
                    let (x, w, c) = (b.input(&[3, 40]), b.weight(&[40, 5]), b.numbers(&[5]));
                    let y = b.apply(gemm(0.5, 2.0, false, false), &[x, w, c]);
                    b.output(y);
                },
                &["Linear"],
            ),
            typed(
                F16,
                "a factor that 16-bit weights cannot carry",
                |b| {
                    let x = b.input(&[3, 4]);
                    let tiny = b.filled(&[1, 4], 1e-3);
                    let x = b.mul(x, tiny);
                    let w = b.filled(&[4, 5], 100.0);
                    let y = b.apply(gemm(1000.0, 1.0, false, false), &[x, w]);
                    let w = b.filled(&[4, 5], 1.0);
                    let z = b.apply(gemm(1e-7, 1.0, false, false), &[x, w]);
                    b.output(y);
                    b.output(z);
                },
                &["Mul", "Gemm", "Gemm"],
            ),
            typed(
                ElementType::F64,
                "64-bit floats, which a layer does not keep",
                |b| {
                    let (x, w) = (b.input(&[3, 4]), b.weight(&[4, 5]));
                    let third = b.graph.constant("", Value::scalar(1.0f64 / 3.0));
                    let x = b.mul(x, third);
                    let y = b.apply(Op::MatMul, &[x, w]);
                    b.output(y);
                },
                &["Mul", "MatMul"],
            ),
        ],
    );
}

#[test]
fn what_scales_and_shifts_channels_becomes_part_of_the_layer_before() {
    check(
        "fold_affine",
        &[
            case(
                "a batch normalisation, with a bias before it and without",
                |b| {
                    let x = b.input(&[2, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.norm(y, 3, 0.7, 1e-3);
                    let (w, bias) = (b.weight(&[5, 3, 2, 2]), b.numbers(&[5]));
                    let z = b.apply(Op::Conv(ConvOp::default()), &[x, w, bias]);
                    let z = b.norm(z, 5, 0.7, 1e-3);
                    b.output(y);
                    b.output(z);
                },
                &["Conv", "Conv"],
            ),
            case(
                "groups, transposed and not, in one and three dimensions",
                |b| {
                    let x = b.input(&[2, 4, 5]);
                    let y = b.conv_of(ConvOp { groups: 2, ..ConvOp::default() }, x, &[6, 2, 2]);
                    let y = b.norm(y, 6, 0.7, 1e-3);
                    let depthwise = b.conv_of(ConvOp { groups: 4, ..ConvOp::default() }, x, &[8, 1, 2]);
                    let depthwise = b.norm(depthwise, 8, 0.7, 1e-3);
                    let z = b.input(&[1, 4, 3, 2, 3]);
                    let op = ConvOp { transposed: true, groups: 2, stride: vec![2, 1, 1], ..ConvOp::default() };
                    let z = b.conv_of(op, z, &[4, 3, 2, 2, 1]);
                    let z = b.norm(z, 6, 0.7, 1e-3);
                    [y, depthwise, z].into_iter().for_each(|id| b.output(id));
                },
                &["Conv", "Conv", "ConvTranspose"],
            ),
            case(
                "products, sums, differences and quotients, one after the other",
                |b| {
                    let x = b.input(&[2, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let c = [b.numbers(&[3, 1, 1]), b.numbers(&[1, 3, 1, 1]), b.scalar(0.3), b.filled(&[1, 1], 1.5)];
                    let y = b.mul(c[0], y);
                    let y = b.add(y, c[1]);
                    let y = b.binary(Binary::Sub, y, c[2]);
                    let y = b.binary(Binary::Div, y, c[3]);
                    let y = b.add(c[0], y);
                    b.output(y);
                },
                &["Conv"],
            ),
            case(
                "a sum leaves the weights alone",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let c = b.numbers(&[3, 1, 1]);
                    let y = b.add(y, c);
                    b.output(y);
                },
                &["Conv x0 w0"],
            ),
            case(
                "weights that another layer uses too",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let w = b.weight(&[3, 3, 2, 2]);
                    let (y, z) = (b.apply(Op::Conv(ConvOp::default()), &[x, w]), b.apply(Op::Conv(padded(&[1; 4])), &[x, w]));
                    let y = b.norm(y, 3, 0.7, 1e-3);
                    b.output(y);
                    b.output(z);
                },
                &["Conv", "Conv"],
            ),
            case(
                "a fully connected layer has its channels on the last axis",
                |b| {
                    let x = b.input(&[2, 3, 4]);
                    let y = b.linear(x, 4, 5);
                    let c = b.numbers(&[5]);
                    let y = b.mul(y, c);
                    let y = b.add(c, y);
                    b.output(y);
                    let x = b.input(&[2, 4]);
                    let z = b.linear(x, 4, 3);
                    let z = b.norm(z, 3, 0.7, 1e-3);
                    b.output(z);
                },
                &["Linear", "Linear"],
            ),
            case(
                "constants along other axes of a fully connected layer, and its normalisation over the second of three",
                |b| {
                    let x = b.input(&[2, 5, 4]);
                    let c = b.numbers(&[5, 1]);
                    let y = b.linear(x, 4, 5);
                    let y = b.mul(y, c);
                    let z = b.linear(x, 4, 5);
                    let z = b.norm(z, 5, 0.7, 1e-3);
                    b.output(y);
                    b.output(z);
                },
                &["Linear", "Mul", "Linear", "BatchNorm"],
            ),
            case(
                "constants along other axes of a convolution",
                |b| {
                    let x = b.input(&[4, 4, 4, 4]);
                    for shape in [&[4][..], &[4, 1], &[4, 1, 1, 1], &[4, 4, 1, 1], &[4, 4, 4, 4]] {
                        let y = b.same(x, 4);
                        let c = b.numbers(shape);
                        let y = b.mul(y, c);
                        b.output(y);
                    }
                },
                &["Conv", "Mul", "Conv", "Mul", "Conv", "Mul", "Conv", "Mul", "Conv", "Mul"],
            ),
            case(
                "constants that widen the result",
                |b| {
                    let x = b.input(&[1, 1, 4, 4]);
                    for shape in [&[1, 1, 1, 1, 1][..], &[2, 1, 1, 1], &[3, 1, 1]] {
                        let y = b.same(x, 1);
                        let c = b.numbers(shape);
                        let y = b.add(y, c);
                        b.output(y);
                    }
                },
                &["Conv", "Add", "Conv", "Add", "Conv", "Add"],
            ),
            case(
                "a constant less the result, and a constant by it",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    for binary in [Binary::Sub, Binary::Div, Binary::Pow] {
                        let y = b.same(x, 3);
                        let c = b.filled(&[3, 1, 1], 2.0);
                        let y = b.binary(binary, c, y);
                        b.output(y);
                    }
                },
                &["Conv", "Sub", "Conv", "Div", "Conv", "Pow"],
            ),
            case(
                "a result that is used twice, by one node or two, or is one of the graph's",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.add(y, y);
                    let twice = b.same(x, 3);
                    let (z, v) = (b.norm(twice, 3, 0.7, 1e-3), b.relu(twice));
                    let result = b.same(x, 3);
                    let w = b.norm(result, 3, 0.7, 1e-3);
                    [y, z, v, result, w].into_iter().for_each(|id| b.output(id));
                },
                &["Conv", "Add", "Conv", "BatchNorm", "Relu", "Conv", "BatchNorm"],
            ),
            case(
                "behind an activation or a residual",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    for (activation, residual) in [("relu", false), ("identity", true)] {
                        let mut op = padded(&[1; 4]);
                        op.epilogue.activation = activation.parse().unwrap();
                        op.epilogue.residual = if residual { wgconv::Residual::BeforeActivation } else { Default::default() };
                        let w = b.weight(&[3, 3, 3, 3]);
                        let inputs = [Some(x), Some(w), None, residual.then_some(x)];
                        let y = b.graph.apply_many("", Op::Conv(op), &inputs[..if residual { 4 } else { 2 }], 1)[0];
                        let y = b.norm(y, 3, 0.7, 1e-3);
                        b.output(y);
                    }
                },
                &["Conv relu", "BatchNorm", "Conv residual=before", "BatchNorm"],
            ),
            case(
                "a variance and an epsilon of zero together, and a negative variance",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    for variance in [0.0, -0.5] {
                        let y = b.same(x, 3);
                        let y = b.norm(y, 3, variance, 0.0);
                        b.output(y);
                    }
                },
                &["Conv", "BatchNorm", "Conv", "BatchNorm"],
            ),
            case(
                "by zero and by infinity",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    for (binary, number) in [(Binary::Div, 0.0), (Binary::Mul, f32::INFINITY), (Binary::Add, f32::NAN)] {
                        let y = b.same(x, 3);
                        let c = b.scalar(number);
                        let y = b.binary(binary, y, c);
                        b.output(y);
                    }
                },
                &["Conv", "Div", "Conv", "Mul", "Conv", "Add"],
            ),
            case(
                "by the square root of a variance in training",
                |b| {
                    let x = b.input(&[2, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let lists = [b.numbers(&[3]), b.numbers(&[3]), b.numbers(&[3]), b.filled(&[3], 1.0)];
                    let inputs = [y, lists[0], lists[1], lists[2], lists[3]].map(Some);
                    let y = b.graph.apply_many("", Op::BatchNorm { epsilon: 1e-3, momentum: 0.9, training: true }, &inputs, 3);
                    y.into_iter().for_each(|id| b.output(id));
                },
                &["Conv", "BatchNorm"],
            ),
            case(
                "operands that are not constant: bias, weights, factors, statistics",
                |b| {
                    let (x, list, w) = (b.input(&[1, 3, 4, 4]), b.input(&[3]), b.input(&[3, 3, 2, 2]));
                    let constant = b.weight(&[3, 3, 2, 2]);
                    let y = b.apply(Op::Conv(ConvOp::default()), &[x, constant, list]);
                    let y = b.norm(y, 3, 0.7, 1e-3);
                    b.output(y);
                    let y = b.apply(Op::Conv(ConvOp::default()), &[x, w]);
                    let y = b.norm(y, 3, 0.7, 1e-3);
                    b.output(y);
                    let factor = b.reshape(list, &[3, 1, 1]);
                    let y = b.same(x, 3);
                    let y = b.mul(y, factor);
                    b.output(y);
                    let y = b.same(x, 3);
                    let positive = b.filled(&[3], 1.0);
                    let op = Op::BatchNorm { epsilon: 1e-3, momentum: 0.9, training: false };
                    let y = b.apply(op, &[y, positive, list, positive, positive]);
                    b.output(y);
                },
                &["Conv", "BatchNorm", "Conv", "BatchNorm", "Reshape", "Conv", "Mul", "Conv", "BatchNorm"],
            ),
            case(
                "a convolution that is the scale of a normalisation",
                |b| {
                    let x = b.input(&[1, 3, 1]);
                    let scale = b.conv(x, &[3, 3, 1]);
                    let scale = b.apply(Op::Binary(Binary::Mul), &[scale, x]);
                    let z = b.input(&[1, 3, 4]);
                    let y = b.add(z, scale);
                    b.output(y);
                },
                &["Conv", "Mul", "Add"],
            ),
            typed(
                F16,
                "16-bit floats",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.norm(y, 3, 0.7, 1e-3);
                    b.output(y);
                },
                &["Conv"],
            ),
            typed(
                F16,
                "factors and sums that 16-bit weights cannot carry",
                |b| {
                    let x = b.input(&[1, 1, 4]);
                    for (weight, factor) in [(100.0, 1000.0), (1e-3, 1e-5)] {
                        let small = b.scalar(if weight > 1.0 { 1e-3 } else { 1e3 });
                        let y = b.mul(x, small);
                        let w = b.filled(&[1, 1, 1], weight);
                        let y = b.apply(Op::Conv(ConvOp::default()), &[y, w]);
                        let list = floats(F32, &[1], vec![factor]);
                        let scale = b.graph.constant("", list);
                        let rest = [0.0f32, 0.0, 1.0].map(|number| b.graph.constant("", floats(F32, &[1], vec![number])));
                        let op = Op::BatchNorm { epsilon: 0.0, momentum: 0.9, training: false };
                        let y = b.apply(op, &[y, scale, rest[0], rest[1], rest[2]]);
                        b.output(y);
                    }
                },
                &["Mul", "Conv", "BatchNorm", "Mul", "Conv", "BatchNorm"],
            ),
            case(
                "factors that 32-bit weights cannot carry",
                |b| {
                    let x = b.input(&[1, 1, 4]);
                    let w = b.filled(&[1, 1, 1], 1e30);
                    let small = b.scalar(1e-30);
                    let y = b.mul(x, small);
                    let y = b.apply(Op::Conv(ConvOp::default()), &[y, w]);
                    let c = b.scalar(1e30);
                    let y = b.mul(y, c);
                    b.output(y);
                },
                &["Mul", "Conv", "Mul"],
            ),
        ],
    );
}
