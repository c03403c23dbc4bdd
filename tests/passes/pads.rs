//! Padding before convolutions.

use crate::build::padded;
use crate::{F16, case, check, typed};
use wgconv::{ConvOp, Op, PadMode, PaddingMode, Pads, PoolDesc};

#[test]
fn padding_that_only_a_convolution_reads_becomes_its_own() {
    check(
        "absorb_pads",
        &[
            case(
                "zeros, on top of the convolution's own",
                |b| {
                    let x = b.input(&[1, 2, 5, 6]);
                    let y = b.pad(PadMode::Constant, x, &[0, 0, 1, 2, 0, 0, 3, 4]);
                    let y = b.conv(y, &[3, 2, 3, 3]);
                    let z = b.pad(PadMode::Constant, x, &[0, 0, 1, 2, 0, 0, 3, 4]);
                    let z = b.conv_of(padded(&[1, 1, 2, 0]), z, &[3, 2, 3, 3]);
                    b.output(y);
                    b.output(z);
                },
                &["Conv x0 p[1,2,3,4]", "Conv x0 p[2,3,5,4]"],
            ),
            case(
                "zeros by name, of chosen axes, before one that has none by name",
                |b| {
                    let x = b.input(&[1, 4, 5]);
                    let (pads, zero, axes) = (b.ints(&[1, 2]), b.scalar(0.0), b.ints(&[-1]));
                    let y = b.apply(Op::Pad(PadMode::Constant), &[x, pads, zero, axes]);
                    let y = b.conv_of(ConvOp { padding: Pads::Valid, groups: 4, ..ConvOp::default() }, y, &[4, 1, 3]);
                    b.output(y);
                },
                &["Conv x0 p[1,2] g4"],
            ),
            case(
                "mirrored, repeated and border elements",
                |b| {
                    let x = b.input(&[1, 2, 4, 5]);
                    for mode in [PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
                        let y = b.pad(mode, x, &[0, 0, 1, 2, 0, 0, 3, 1]);
                        let y = b.conv(y, &[3, 2, 3, 3]);
                        b.output(y);
                    }
                },
                &["Conv Reflect p[1,2,3,1]", "Conv Replicate p[1,2,3,1]", "Conv Circular p[1,2,3,1]"],
            ),
            case(
                "in three dimensions, at other strides",
                |b| {
                    let x = b.input(&[1, 2, 3, 4, 5]);
                    let y = b.pad(PadMode::Reflect, x, &[0, 0, 1, 0, 2, 0, 0, 0, 1, 1]);
                    let op = ConvOp { stride: vec![1, 2, 2], dilation: vec![1, 2, 1], ..ConvOp::default() };
                    let y = b.conv_of(op, y, &[2, 2, 2, 2, 3]);
                    b.output(y);
                },
                &["Conv p[1,0,2,0,1,1] Reflect"],
            ),
            case(
                "others than zeros before a convolution's own padding",
                |b| {
                    let x = b.input(&[1, 2, 4, 5]);
                    for mode in [PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
                        let y = b.pad(mode, x, &[0, 0, 1, 1, 0, 0, 1, 1]);
                        let y = b.conv_of(padded(&[0, 1, 0, 0]), y, &[3, 2, 3, 3]);
                        b.output(y);
                    }
                },
                &["Pad", "Conv", "Pad", "Conv", "Pad", "Conv"],
            ),
            case(
                "zeros before padding that is not zeros, before padding that follows the size, before a transposed convolution",
                |b| {
                    let x = b.input(&[1, 2, 4, 5]);
                    let circular = ConvOp { padding_mode: PaddingMode::Circular, ..padded(&[1, 1, 1, 1]) };
                    let same = ConvOp { padding: Pads::SameUpper, ..ConvOp::default() };
                    let lower = ConvOp { padding: Pads::SameLower, stride: vec![2, 2], ..ConvOp::default() };
                    let transposed = ConvOp { transposed: true, ..ConvOp::default() };
                    for op in [circular, same, lower, transposed] {
                        let y = b.pad(PadMode::Constant, x, &[0, 0, 1, 0, 0, 0, 0, 1]);
                        let y = b.conv_of(op, y, &[2, 2, 3, 3]);
                        b.output(y);
                    }
                },
                &["Pad", "Conv", "Pad", "Conv", "Pad", "Conv", "Pad", "ConvTranspose"],
            ),
            case(
                "a value that is not zero, and one that is computed",
                |b| {
                    let (x, value) = (b.input(&[1, 2, 5]), b.input(&[]));
                    let one = b.scalar(1.0);
                    for value in [one, value] {
                        let pads = b.ints(&[0, 0, 1, 0, 0, 1]);
                        let y = b.apply(Op::Pad(PadMode::Constant), &[x, pads, value]);
                        let y = b.conv(y, &[3, 2, 3]);
                        b.output(y);
                    }
                },
                &["Pad", "Conv", "Pad", "Conv"],
            ),
            case(
                "of the batch, of channels, and negative",
                |b| {
                    let x = b.input(&[1, 2, 5]);
                    for pads in [[1, 0, 1, 0, 0, 1], [0, 0, 1, 0, 1, 1], [0, 0, 1, 0, 0, -1]] {
                        let y = b.pad(PadMode::Constant, x, &pads);
                        let y = b.conv(y, &[3, if pads[4] == 1 { 3 } else { 2 }, 3]);
                        b.output(y);
                    }
                },
                &["Pad", "Conv", "Pad", "Conv", "Pad", "Conv"],
            ),
            case(
                "that is used twice, or is a result",
                |b| {
                    let x = b.input(&[1, 2, 5]);
                    let twice = b.pad(PadMode::Constant, x, &[0, 0, 1, 0, 0, 1]);
                    let (y, z) = (b.conv(twice, &[3, 2, 3]), b.conv(twice, &[1, 2, 2]));
                    let result = b.pad(PadMode::Edge, x, &[0, 0, 1, 0, 0, 1]);
                    let w = b.conv(result, &[3, 2, 3]);
                    [y, z, result, w].into_iter().for_each(|id| b.output(id));
                },
                &["Pad", "Conv", "Conv", "Pad", "Conv"],
            ),
            case(
                "of weights, and before a pooling",
                |b| {
                    let (x, w) = (b.input(&[1, 2, 5]), b.input(&[3, 2, 1]));
                    let w = b.pad(PadMode::Constant, w, &[0, 0, 1, 0, 0, 1]);
                    let y = b.apply(Op::Conv(ConvOp::default()), &[x, w]);
                    let z = b.pad(PadMode::Constant, x, &[0, 0, 1, 0, 0, 1]);
                    let z = b.graph.pool(&PoolDesc::max([2]), z);
                    b.output(y);
                    b.output(z);
                },
                &["Pad", "Conv", "Pad", "MaxPool"],
            ),
            typed(
                F16,
                "16-bit floats",
                |b| {
                    let x = b.input(&[1, 2, 5]);
                    let y = b.pad(PadMode::Reflect, x, &[0, 0, 1, 0, 0, 1]);
                    let y = b.conv(y, &[3, 2, 3]);
                    b.output(y);
                },
                &["Conv Reflect"],
            ),
        ],
    );
}
