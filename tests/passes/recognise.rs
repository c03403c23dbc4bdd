//! Activations in several nodes.

use crate::build::Build;
use crate::{F16, case, check, typed};
use wgconv::{Activation, Binary, Unary, ValueId};

/// `erf(x / sqrt 2) + 1`
fn gelu_tail(b: &mut Build, x: ValueId, root: f32) -> ValueId {
    let (root, one) = (b.scalar(root), b.scalar(1.0));
    let y = b.binary(Binary::Div, x, root);
    let y = b.unary(Unary::Erf, y);
    b.add(y, one)
}

#[test]
fn activations_written_as_several_nodes_are_recognised() {
    const ROOT: f32 = std::f32::consts::SQRT_2;
    check(
        "recognise_activations",
        &[
            case(
                "products with a function of the same, in both orders",
                |b| {
                    let x = b.input(&[2, 5]);
                    let sigmoid = b.activation(Activation::Sigmoid, x);
                    let hard = b.activation(Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x);
                    let soft = b.activation(Activation::Softplus, x);
                    let tanh = b.activation(Activation::Tanh, soft);
                    for gate in [sigmoid, hard, tanh] {
                        let (y, z) = (b.mul(x, gate), b.mul(gate, x));
                        b.output(y);
                        b.output(z);
                    }
                },
                &["Silu x0", "Silu x0", "HardSwish", "HardSwish", "Mish", "Mish"],
            ),
            case(
                "a gate that is used besides",
                |b| {
                    let x = b.input(&[5]);
                    let gate = b.activation(Activation::Sigmoid, x);
                    let y = b.mul(x, gate);
                    b.output(y);
                    b.output(gate);
                },
                &["Sigmoid", "Silu x0"],
            ),
            case(
                "the erf's products in every order",
                |b| {
                    let x = b.input(&[2, 5]);
                    let tail = gelu_tail(b, x, ROOT);
                    let half = b.scalar(0.5);
                    let (xh, xt, ht) = (b.mul(x, half), b.mul(x, tail), b.mul(half, tail));
                    let list = [b.mul(xh, tail), b.mul(tail, xh), b.mul(half, xt), b.mul(xt, half), b.mul(ht, x), b.mul(x, ht)];
                    list.into_iter().for_each(|id| b.output(id));
                },
                &["Gelu x0", "Gelu", "Gelu", "Gelu", "Gelu", "Gelu"],
            ),
            case(
                "the erf of a product",
                |b| {
                    let x = b.input(&[5]);
                    let (inverse, one, half) = (b.scalar(1.0 / ROOT), b.scalar(1.0), b.scalar(0.5));
                    let y = b.mul(x, inverse);
                    let y = b.unary(Unary::Erf, y);
                    let y = b.add(one, y);
                    let y = b.mul(x, y);
                    let y = b.mul(y, half);
                    b.output(y);
                },
                &["Gelu x0"],
            ),
            case(
                "gates of another value or with other parameters",
                |b| {
                    let (x, z) = (b.input(&[5]), b.input(&[5]));
                    let list = [
                        b.activation(Activation::Sigmoid, z),
                        b.activation(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }, x),
                        b.activation(Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.4 }, x),
                        b.activation(Activation::Tanh, x),
                    ];
                    for gate in list {
                        let y = b.mul(x, gate);
                        b.output(y);
                    }
                },
                &["Sigmoid", "HardSigmoid", "HardSigmoid", "Tanh", "Mul", "Mul", "Mul", "Mul"],
            ),
            case(
                "a softplus of another value",
                |b| {
                    let (x, z) = (b.input(&[5]), b.input(&[5]));
                    let gate = b.activation(Activation::Softplus, z);
                    let gate = b.activation(Activation::Tanh, gate);
                    let y = b.mul(x, gate);
                    b.output(y);
                },
                &["Softplus", "Tanh", "Mul"],
            ),
            case(
                "a function times itself",
                |b| {
                    let x = b.input(&[5]);
                    let gate = b.activation(Activation::Sigmoid, x);
                    let y = b.mul(gate, gate);
                    b.output(y);
                },
                &["Sigmoid", "Mul"],
            ),
            case(
                "a quarter, the wrong root",
                |b| {
                    let x = b.input(&[5]);
                    for (factor, root) in [(0.25, ROOT), (0.5, 1.5)] {
                        let tail = gelu_tail(b, x, root);
                        let factor = b.scalar(factor);
                        let y = b.mul(x, tail);
                        let y = b.mul(y, factor);
                        b.output(y);
                    }
                },
                &["Div", "Erf", "Add", "Mul", "Mul", "Div", "Erf", "Add", "Mul", "Mul"],
            ),
            case(
                "a half that adds an axis",
                |b| {
                    let x = b.input(&[5]);
                    let tail = gelu_tail(b, x, ROOT);
                    let half = b.filled(&[1, 1], 0.5);
                    let y = b.mul(x, tail);
                    let y = b.mul(y, half);
                    b.output(y);
                },
                &["Div", "Erf", "Add", "Mul", "Mul"],
            ),
            typed(
                F16,
                "16-bit floats",
                |b| {
                    let x = b.input(&[50]);
                    let gate = b.activation(Activation::Sigmoid, x);
                    let y = b.mul(x, gate);
                    b.output(y);
                },
                &["Silu"],
            ),
        ],
    );
}
