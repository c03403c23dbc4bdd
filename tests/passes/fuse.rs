//! Sums and activations behind layers.

use crate::build::padded;
use crate::{F16, case, check, typed};
use wgconv::{Activation, Binary, ConvOp, ElementType, Op, PoolDesc, Unary, Variadic};

#[test]
fn sums_and_activations_become_parts_of_the_layer_before() {
    check(
        "fuse_epilogues",
        &[
            case(
                "an activation; a sum; a sum and then an activation; an activation and then a sum",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.relu(y);
                    b.output(y);
                    let y = b.same(x, 3);
                    let y = b.add(x, y);
                    b.output(y);
                    let y = b.same(x, 3);
                    let y = b.apply(Op::Variadic(Variadic::Sum), &[y, x]);
                    let y = b.activation(Activation::LeakyRelu { alpha: 0.1 }, y);
                    b.output(y);
                    let y = b.same(x, 3);
                    let y = b.activation(Activation::Silu, y);
                    let y = b.add(y, x);
                    b.output(y);
                },
                &[
                    "Conv relu",
                    "Conv (x0,w1,-,x0) residual=before",
                    "Conv residual=before leaky_relu(0.1)",
                    "Conv residual=after silu",
                ],
            ),
            case(
                "no second activation, no activation behind a sum behind an activation, no second sum",
                |b| {
                    let (x, z) = (b.input(&[1, 3, 4, 4]), b.input(&[1, 3, 4, 4]));
                    let y = b.same(x, 3);
                    let y = b.activation(Activation::Tanh, y);
                    let y = b.relu(y);
                    b.output(y);
                    let y = b.same(x, 3);
                    let y = b.activation(Activation::Tanh, y);
                    let y = b.add(y, x);
                    let y = b.relu(y);
                    b.output(y);
                    let y = b.same(x, 3);
                    let y = b.add(y, x);
                    let y = b.add(y, z);
                    b.output(y);
                    let y = b.same(x, 3);
                    let y = b.add(y, x);
                    let y = b.relu(y);
                    let y = b.add(y, z);
                    b.output(y);
                },
                &[
                    "Conv tanh",
                    "Relu",
                    "Conv tanh residual=after",
                    "Relu",
                    "Conv x0 residual=before",
                    "Add x1",
                    "Conv residual=before relu",
                    "Add x1",
                ],
            ),
            case(
                "of two layers that are summed, the later takes the sum, whichever stands first in it",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    for turned in [false, true] {
                        let (first, second) = (b.same(x, 3), b.same(x, 3));
                        let y = if turned { b.add(second, first) } else { b.add(first, second) };
                        let y = b.relu(y);
                        b.output(y);
                    }
                },
                &["Conv w0", "Conv w1 residual=before relu", "Conv w2", "Conv w3 residual=before relu"],
            ),
            case(
                "of two layers of which the later has a sum already, the earlier takes it",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let (first, second) = (b.same(x, 3), b.same(x, 3));
                    let second = b.add(second, x);
                    let y = b.add(first, second);
                    b.output(y);
                },
                &["Conv w1 x0,w1,-,x0", "Conv w0 residual=before"],
            ),
            case(
                "a layer waits for what is added to it",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let late = b.unary(Unary::Neg, x);
                    let late = b.relu(late);
                    let y = b.add(late, y);
                    b.output(y);
                },
                &["Neg", "Relu", "Conv residual=before"],
            ),
            case(
                "a constant of every element",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let (y, c) = (b.same(x, 3), b.numbers(&[1, 3, 4, 4]));
                    let y = b.add(c, y);
                    b.output(y);
                },
                &["Conv residual=before"],
            ),
            case(
                "bounds that are constant, on one side or both",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let (low, high) = (b.scalar(-0.2), b.filled(&[1], 0.3));
                    for bounds in
                        [[Some(low), Some(high)], [Some(high), Some(low)], [Some(low), None], [None, Some(high)], [None; 2]]
                    {
                        let y = b.same(x, 3);
                        let y = b.graph.apply_many("", Op::Clip, &[Some(y), bounds[0], bounds[1]], 1)[0];
                        b.output(y);
                    }
                },
                &["Conv clamp(-0.2,0.3)", "Conv clamp(0.3,-0.2)", "Conv clamp", "Conv clamp", "Conv clamp"],
            ),
            case(
                "bounds that are computed, and one that is a layer's result",
                |b| {
                    let (x, low) = (b.input(&[1, 3, 4, 4]), b.input(&[]));
                    let y = b.same(x, 3);
                    let y = b.apply(Op::Clip, &[y, low]);
                    b.output(y);
                    let (one, z) = (b.input(&[1, 1, 1]), b.input(&[1, 1, 1]));
                    let bound = b.conv(one, &[1, 1, 1]);
                    let y = b.apply(Op::Clip, &[z, bound]);
                    b.output(y);
                    let bound = b.conv(one, &[1, 1, 1]);
                    let c = b.numbers(&[1, 1, 1]);
                    let y = b.apply(Op::Clip, &[c, bound]);
                    b.output(y);
                },
                &["Conv", "Clip", "Conv", "Clip", "Conv", "Clip"],
            ),
            case(
                "slopes of channels, and one for all",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    for shape in [&[3, 1, 1][..], &[1, 3, 1, 1], &[1], &[]] {
                        let (y, slope) = (b.same(x, 3), b.numbers(shape));
                        let y = b.binary(Binary::Prelu, y, slope);
                        b.output(y);
                    }
                    let x = b.input(&[2, 3, 4]);
                    let (y, slope) = (b.linear(x, 4, 5), b.numbers(&[5]));
                    let y = b.binary(Binary::Prelu, y, slope);
                    let z = b.input(&[2, 3, 5]);
                    let y = b.add(y, z);
                    b.output(y);
                },
                &["Conv prelu", "Conv prelu", "Conv prelu", "Conv prelu", "Linear prelu residual=after"],
            ),
            case(
                "slopes along other axes, that are computed, and that are a layer's result",
                |b| {
                    let (x, computed) = (b.input(&[3, 3, 3, 3]), b.input(&[3, 1, 1]));
                    let list = [b.numbers(&[3]), b.numbers(&[3, 1, 1, 1]), b.numbers(&[3, 3, 3, 3]), computed];
                    for slope in list {
                        let y = b.same(x, 3);
                        let y = b.binary(Binary::Prelu, y, slope);
                        b.output(y);
                    }
                    let slope = b.same(x, 3);
                    let y = b.binary(Binary::Prelu, x, slope);
                    b.output(y);
                },
                &["Conv", "Prelu", "Conv", "Prelu", "Conv", "Prelu", "Conv", "Prelu", "Conv", "Prelu"],
            ),
            case(
                "slopes along other axes of a fully connected layer",
                |b| {
                    let x = b.input(&[2, 5, 4]);
                    let (y, slope) = (b.linear(x, 4, 5), b.numbers(&[5, 1]));
                    let y = b.binary(Binary::Prelu, y, slope);
                    b.output(y);
                },
                &["Linear", "Prelu"],
            ),
            case(
                "sums that broadcast, and that widen the result",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    for shape in [&[1, 3, 1, 1][..], &[1], &[1, 1, 3, 4, 4], &[2, 3, 4, 4]] {
                        let (y, other) = (b.same(x, 3), b.input(shape));
                        let y = b.add(y, other);
                        b.output(y);
                    }
                },
                &["Conv", "Add", "Conv", "Add", "Conv", "Add", "Conv", "Add"],
            ),
            case(
                "sums of three, differences, products",
                |b| {
                    let (x, z) = (b.input(&[1, 3, 4, 4]), b.input(&[1, 3, 4, 4]));
                    let y = b.same(x, 3);
                    let y = b.apply(Op::Variadic(Variadic::Sum), &[y, x, z]);
                    b.output(y);
                    for op in [Op::Binary(Binary::Sub), Op::Binary(Binary::Mul), Op::Variadic(Variadic::Max)] {
                        let y = b.same(x, 3);
                        let y = b.apply(op, &[y, z]);
                        b.output(y);
                    }
                },
                &["Conv", "Sum", "Conv", "Sub", "Conv", "Mul", "Conv", "Max"],
            ),
            case(
                "a sum of one",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.apply(Op::Variadic(Variadic::Sum), &[y]);
                    b.output(y);
                },
                &["Conv", "Sum"],
            ),
            case(
                "a result that is used twice, by one node or two, or is one of the graph's",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.add(y, y);
                    let twice = b.same(x, 3);
                    let (z, v) = (b.relu(twice), b.unary(Unary::Neg, twice));
                    let result = b.same(x, 3);
                    let w = b.relu(result);
                    [y, z, v, result, w].into_iter().for_each(|id| b.output(id));
                },
                &["Conv", "Add", "Conv", "Relu", "Neg", "Conv", "Relu"],
            ),
            case(
                "another type between",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.apply(Op::Cast(ElementType::F64), &[y]);
                    let y = b.relu(y);
                    b.output(y);
                },
                &["Conv", "Cast", "Relu"],
            ),
            case(
                "an activation behind a late sum that is given without one",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let w = b.weight(&[3, 3, 3, 3]);
                    let mut op = padded(&[1; 4]);
                    op.epilogue.residual = wgconv::Residual::AfterActivation;
                    let y = b.graph.apply_many("", Op::Conv(op), &[Some(x), Some(w), None, Some(x)], 1)[0];
                    let y = b.relu(y);
                    b.output(y);
                },
                &["Conv residual=after", "Relu"],
            ),
            case(
                "transposed, grouped, and of computed weights",
                |b| {
                    let (x, z) = (b.input(&[1, 4, 3, 3]), b.input(&[1, 4, 5, 5]));
                    let op = ConvOp { transposed: true, groups: 2, ..ConvOp::default() };
                    let y = b.conv_of(op, x, &[4, 2, 3, 3]);
                    let y = b.add(z, y);
                    let y = b.relu(y);
                    b.output(y);
                    let w = b.input(&[4, 4, 1, 1]);
                    let y = b.apply(Op::Conv(ConvOp::default()), &[x, w]);
                    let y = b.activation(Activation::Gelu, y);
                    b.output(y);
                },
                &["ConvTranspose residual=before relu", "Conv x2 gelu"],
            ),
            case(
                "other functions of one number",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.unary(Unary::Abs, y);
                    let z = b.graph.pool(&PoolDesc::max([2, 2]), x);
                    let z = b.relu(z);
                    b.output(y);
                    b.output(z);
                },
                &["Conv", "Abs", "MaxPool", "Relu"],
            ),
            typed(
                F16,
                "16-bit floats",
                |b| {
                    let x = b.input(&[1, 3, 4, 4]);
                    let y = b.same(x, 3);
                    let y = b.activation(Activation::Gelu, y);
                    let y = b.add(x, y);
                    let (low, high) = (b.scalar(-0.25), b.scalar(0.25));
                    let z = b.same(y, 3);
                    let z = b.apply(Op::Clip, &[z, low, high]);
                    b.output(z);
                },
                &["Conv residual=after gelu", "Conv clamp(-0.25,0.25)"],
            ),
        ],
    );
}
