//! What is taken away, merged or shared.

use crate::{F16, F32, case, check};
use wgconv::{Activation, Binary, ElementType, Op, PadMode, PoolDesc, Unary, Variadic};

#[test]
fn what_changes_nothing_is_taken_away() {
    check(
        "remove_identities",
        &[
            case(
                "one of each kind",
                |b| {
                    let x = b.input(&[2, 3]);
                    let x = b.apply(Op::Identity, &[x]);
                    let x = b.apply(Op::Dropout, &[x]);
                    let x = b.apply(Op::Cast(F32), &[x]);
                    let x = b.apply(Op::CastLike, &[x, x]);
                    let x = b.apply(Op::Flatten { axis: 1 }, &[x]);
                    let x = b.reshape(x, &[2, 3]);
                    let x = b.transpose(x, &[0, 1]);
                    let x = b.pad(PadMode::Reflect, x, &[0, 0, 0, 0]);
                    let ones = b.ints(&[1, 1]);
                    let x = b.apply(Op::Expand, &[x, ones]);
                    let x = b.apply(Op::Tile, &[x, ones]);
                    let (starts, ends) = (b.ints(&[0, 0]), b.ints(&[2, 9]));
                    let x = b.apply(Op::Slice, &[x, starts, ends]);
                    let x = b.apply(Op::Concat { axis: 1 }, &[x]);
                    let x = b.apply(Op::Variadic(Variadic::Max), &[x]);
                    let x = b.apply(Op::Split { axis: 0 }, &[x]);
                    let y = b.relu(x);
                    b.output(y);
                },
                &["Relu x0"],
            ),
            case(
                "all of a graph",
                |b| {
                    let x = b.input(&[3]);
                    let y = b.apply(Op::Identity, &[x]);
                    let z = b.apply(Op::Identity, &[y]);
                    b.output(y);
                    b.output(z);
                },
                &[],
            ),
            case(
                "axes of length 1 change places",
                |b| {
                    let x = b.input(&[1, 1, 3]);
                    let x = b.transpose(x, &[1, 0, 2]);
                    b.output(x);
                },
                &[],
            ),
            case(
                "axes of the same length change places",
                |b| {
                    let x = b.input(&[3, 3]);
                    let y = b.transpose(x, &[1, 0]);
                    let z = b.transpose(x, &[]);
                    b.output(y);
                    b.output(z);
                },
                &["Transpose", "Transpose"],
            ),
            case(
                "another type and back",
                |b| {
                    let x = b.input(&[3]);
                    let x = b.apply(Op::Cast(F16), &[x]);
                    let x = b.apply(Op::Cast(F32), &[x]);
                    b.output(x);
                },
                &["Cast", "Cast"],
            ),
            case(
                "a dropout whose mask is used, and one whose mask is not",
                |b| {
                    let x = b.input(&[3]);
                    let used = b.graph.apply_many("", Op::Dropout, &[Some(x)], 2);
                    let unused = b.graph.apply_many("", Op::Dropout, &[Some(x)], 2);
                    [used[0], used[1], unused[0]].into_iter().for_each(|id| b.output(id));
                },
                &["Dropout"],
            ),
            case(
                "a slice backwards, a shift by padding",
                |b| {
                    let x = b.input(&[4]);
                    let lists = [-1, i64::MIN, 0, -1].map(|number| b.ints(&[number]));
                    let y = b.apply(Op::Slice, &[x, lists[0], lists[1], lists[2], lists[3]]);
                    let z = b.pad(PadMode::Constant, x, &[1, -1]);
                    b.output(y);
                    b.output(z);
                },
                &["Slice", "Pad"],
            ),
            case(
                "other shapes",
                |b| {
                    let x = b.input(&[2, 3]);
                    let y = b.reshape(x, &[3, 2]);
                    let repeats = b.ints(&[1, 2]);
                    let z = b.apply(Op::Tile, &[x, repeats]);
                    let shape = b.ints(&[1, 2, 3]);
                    let v = b.apply(Op::Expand, &[x, shape]);
                    let w = b.apply(Op::Concat { axis: 0 }, &[x, x]);
                    let parts = b.graph.apply_many("", Op::Split { axis: 1 }, &[Some(x)], 3);
                    [y, z, v, w, parts[2]].into_iter().for_each(|id| b.output(id));
                },
                &["Reshape", "Tile", "Expand", "Concat", "Split"],
            ),
        ],
    );
}

#[test]
fn movements_behind_each_other_become_one() {
    check(
        "merge_movements",
        &[
            case(
                "there and back",
                |b| {
                    let x = b.input(&[2, 3, 4]);
                    let y = b.transpose(x, &[1, 2, 0]);
                    let y = b.transpose(y, &[2, 0, 1]);
                    let z = b.transpose(x, &[]);
                    let z = b.transpose(z, &[]);
                    let w = b.reshape(x, &[6, 4]);
                    let w = b.reshape(w, &[2, 3, 4]);
                    [y, z, w].into_iter().for_each(|id| b.output(id));
                },
                &[],
            ),
            case(
                "three turns",
                |b| {
                    let x = b.input(&[2, 3, 4, 5]);
                    let y = b.transpose(x, &[1, 2, 3, 0]);
                    let y = b.transpose(y, &[0, 2, 1, 3]);
                    let y = b.transpose(y, &[3, 1, 0, 2]);
                    b.output(y);
                },
                &["Transpose x0 [0,"],
            ),
            case(
                "all changes of shape",
                |b| {
                    let x = b.input(&[2, 1, 6]);
                    let axes = b.ints(&[1]);
                    let y = b.apply(Op::Squeeze, &[x, axes]);
                    let y = b.apply(Op::Unsqueeze, &[y, axes]);
                    let y = b.reshape(y, &[3, 2, 2]);
                    let y = b.apply(Op::Flatten { axis: 2 }, &[y]);
                    b.output(y);
                },
                &["Reshape x0 6x2"],
            ),
            case(
                "without elements",
                |b| {
                    let x = b.input(&[0, 3]);
                    let y = b.reshape(x, &[3, 0, 2]);
                    let y = b.apply(Op::Flatten { axis: 1 }, &[y]);
                    b.output(y);
                },
                &["Reshape"],
            ),
            case(
                "the first of them is used twice, or is a result",
                |b| {
                    let x = b.input(&[2, 3]);
                    let turned = b.transpose(x, &[1, 0]);
                    let y = b.relu(turned);
                    let z = b.transpose(turned, &[1, 0]);
                    let flat = b.reshape(x, &[6]);
                    let w = b.reshape(flat, &[3, 2]);
                    [y, z, flat, w].into_iter().for_each(|id| b.output(id));
                },
                &["Transpose", "Relu", "Reshape x0", "Reshape x0"],
            ),
            case(
                "a turn between two shapes",
                |b| {
                    let x = b.input(&[2, 3]);
                    let y = b.reshape(x, &[3, 2]);
                    let y = b.transpose(y, &[1, 0]);
                    let y = b.reshape(y, &[6]);
                    b.output(y);
                },
                &["Reshape", "Transpose", "Reshape"],
            ),
        ],
    );
}

#[test]
fn what_is_computed_twice_alike_is_computed_once() {
    check(
        "share_common",
        &[
            case(
                "two chains",
                |b| {
                    let x = b.input(&[3]);
                    for _ in 0..2 {
                        let y = b.unary(Unary::Neg, x);
                        let y = b.relu(y);
                        b.output(y);
                    }
                },
                &["Neg", "Relu"],
            ),
            case(
                "small constants stored twice",
                |b| {
                    let x = b.input(&[2, 3]);
                    for _ in 0..2 {
                        let half = b.scalar(0.5);
                        let y = b.mul(x, half);
                        b.output(y);
                    }
                    let (five, also) = (b.filled(&[2], 5.0), b.filled(&[2], 5.0));
                    b.output(five);
                    b.output(also);
                },
                &["Mul"],
            ),
            case(
                "other attributes, orders, types and counts",
                |b| {
                    let x = b.input(&[6]);
                    let z = b.input(&[6]);
                    for alpha in [0.1, 0.2] {
                        let y = b.activation(Activation::LeakyRelu { alpha }, x);
                        b.output(y);
                    }
                    for (p, q) in [(x, z), (z, x)] {
                        let y = b.binary(Binary::Sub, p, q);
                        b.output(y);
                    }
                    for to in [F16, ElementType::F64] {
                        let y = b.apply(Op::Cast(to), &[x]);
                        b.output(y);
                    }
                    for count in [2, 3] {
                        let y = b.graph.apply_many("", Op::Split { axis: 0 }, &[Some(x)], count);
                        b.output(y[1]);
                    }
                },
                &["LeakyRelu", "LeakyRelu", "Sub", "Sub", "Cast", "Cast", "Split", "Split"],
            ),
            case(
                "constants of other shapes, and of another sign of zero",
                |b| {
                    let x = b.input(&[3]);
                    let list = [b.scalar(0.0), b.scalar(-0.0), b.filled(&[1, 1], 0.0)];
                    for zero in list {
                        let y = b.binary(Binary::Div, x, zero);
                        b.output(y);
                    }
                },
                &["Div", "Div", "Div"],
            ),
            case(
                "a pooling with positions and one without",
                |b| {
                    let x = b.input(&[1, 2, 6]);
                    for count in [1, 2, 2] {
                        let y = b.graph.apply_many("", Op::Pool(PoolDesc::max([2])), &[Some(x)], count);
                        y.into_iter().for_each(|id| b.output(id));
                    }
                },
                &["MaxPool", "MaxPool"],
            ),
        ],
    );
}

#[test]
fn what_nobody_asks_for_is_taken_away() {
    check(
        "remove_unused",
        &[
            case(
                "a chain, a node beside, an input",
                |b| {
                    let (x, z) = (b.input(&[3]), b.input(&[3]));
                    let dead = b.relu(z);
                    let y = b.unary(Unary::Neg, x);
                    b.unary(Unary::Abs, dead);
                    b.output(y);
                },
                &["Neg"],
            ),
            case(
                "one of several results",
                |b| {
                    let x = b.input(&[6]);
                    let parts = b.graph.apply_many("", Op::Split { axis: 0 }, &[Some(x)], 2);
                    b.relu(parts[0]);
                    b.output(parts[1]);
                },
                &["Split"],
            ),
            case(
                "nothing",
                |b| {
                    let x = b.input(&[6]);
                    b.output(x);
                    let c = b.numbers(&[2]);
                    b.output(c);
                },
                &[],
            ),
        ],
    );
}
