//! What stands around layers: movement, poolings, matrix products, normalisations, reductions.

use wgconv::{
    AspectPolicy, Coordinates, ElementType, Nearest, Op, PoolDesc, PoolKind, PoolWindow, Reduce, Resize, ResizeMode, SoftmaxKind,
    Spatial, Value,
};

use crate::generate::{Generator, Operand, ints};

fn at(x: usize) -> Operand {
    Operand::At(x)
}

pub fn nothing(g: &mut Generator) -> Option<()> {
    let x = g.any();
    match g.random.below(5) {
        0 => g.unary(Op::Dropout, x)?,
        1 => g.unary(Op::Cast(g.element), x)?,
        2 => {
            // By way of the host, which alone has 64-bit floats.
            let wide = g.unary(Op::Cast(ElementType::F64), x)?;
            g.unary(Op::Cast(g.element), wide)?
        }
        _ => g.unary(Op::Identity, x)?,
    };
    Some(())
}

pub fn concat(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let rank = g.shape(x).len();
    let mut operands = vec![at(x)];
    for _ in 0..g.random.within(0, 2) {
        operands.push(at(g.partner(x)));
    }
    let axis = g.random.below(rank.max(1)) as i64 - if g.random.percent(30) { rank as i64 } else { 0 };
    if g.random.percent(15) {
        let shape = g.shape(x);
        operands.push(g.constant(&shape));
    }
    g.add(Op::Concat { axis }, &operands)?;
    Some(())
}

pub fn split(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape = g.shape(x);
    let axis = g.random.below(shape.len().max(1));
    let size = *shape.get(axis)?;
    let first = g.random.within(1, size);
    let parts = if first == size { vec![size as i64] } else { vec![first as i64, (size - first) as i64] };
    g.add_many(Op::Split { axis: axis as i64 }, &[at(x), ints(&parts)], parts.len())?;
    Some(())
}

pub fn slice(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape = g.shape(x);
    let axis = g.random.below(shape.len().max(1));
    let size = *shape.get(axis)? as i64;
    let step = g.random.pick(&[1, 1, 2, -1, -2]);
    let (start, end) = (g.random.below(size as usize + 1) as i64, g.random.below(size as usize + 2) as i64);
    let (start, end) = if step > 0 { (start.min(end), start.max(end)) } else { (start.max(end), start.min(end) - size - 1) };
    g.add(Op::Slice, &[at(x), ints(&[start]), ints(&[end]), ints(&[axis as i64]), ints(&[step])])?;
    Some(())
}

pub fn transpose(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let rank = g.shape(x).len();
    let mut permutation: Vec<usize> = (0..rank).collect();
    for last in (1..rank).rev() {
        permutation.swap(last, g.random.within(0, last));
    }
    let turned = g.unary(Op::Transpose { permutation: permutation.clone() }, x)?;
    if g.random.percent(60) {
        // Back, or on.
        let mut inverse = vec![0; rank];
        permutation.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
        let back = if g.random.percent(70) { inverse } else { permutation };
        g.unary(Op::Transpose { permutation: back }, turned)?;
    }
    Some(())
}

pub fn reshape(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape: Vec<i64> = g.shape(x).iter().map(|&size| size as i64).collect();
    let reshape = Op::Reshape { allow_zero: false };
    match g.random.below(6) {
        0 => {
            let axis = g.random.within(0, shape.len()) as i64;
            g.unary(Op::Flatten { axis }, x)?;
        }
        1 => {
            let axis = g.random.within(0, shape.len()) as i64;
            let wide = g.add(Op::Unsqueeze, &[at(x), ints(&[axis])])?;
            if g.random.percent(40) {
                g.add(Op::Squeeze, &[at(wide), ints(&[axis])])?;
            }
        }
        2 => drop(g.unary(Op::Squeeze, x)?),
        3 => {
            // There and back.
            let flat = g.add(reshape.clone(), &[at(x), ints(&[0, -1])])?;
            g.add(reshape, &[at(flat), ints(&shape)])?;
        }
        4 => {
            let (&first, rest) = shape.split_first()?;
            let product = rest.iter().product::<i64>();
            let factor = (2..=4).find(|factor| product % factor == 0)?;
            g.add(reshape, &[at(x), ints(&[first, factor, -1])])?;
        }
        _ => {
            let product = shape.iter().product::<i64>();
            let factor = (2..=12).rev().find(|factor| product % factor == 0)?;
            let axes = g.random.within(3, 4);
            g.add(reshape, &[at(x), ints(&[1, factor, -1, 1][..axes])])?;
        }
    }
    Some(())
}

pub fn gemm(g: &mut Generator) -> Option<()> {
    let mut x = g.any();
    if g.shape(x).len() != 2 {
        x = g.unary(Op::Flatten { axis: 1 }, x)?;
    }
    let &[rows, columns] = g.shape(x).as_slice() else { return None };
    let (trans_a, trans_b) = (g.random.percent(25), g.random.percent(50));
    let (m, k, n) = if trans_a { (columns, rows, g.random.within(1, 12)) } else { (rows, columns, g.random.within(1, 12)) };
    let bound = (3.0 / k as f32).sqrt();
    let b = g.numbers(&if trans_b { [n, k] } else { [k, n] }, -bound, bound);
    let b = if g.random.percent(10) { at(g.input(b)) } else { Operand::Constant(b) };
    let c = match g.random.below(7) {
        0 => Operand::Absent,
        1 => g.constant(&[m, 1]),
        2 => g.constant(&[m, n]),
        3 => g.constant(&[1, n]),
        4 => g.constant(&[]),
        5 => {
            let list = g.numbers(&[n], -1.0, 1.0);
            at(g.input(list))
        }
        _ => g.constant(&[n]),
    };
    let factor = |g: &mut Generator| g.random.pick(&[1.0, 1.0, 0.5, -1.5]);
    let op = Op::Gemm { alpha: factor(g), beta: factor(g), trans_a, trans_b };
    g.add(op, &[at(x), b, c])?;
    Some(())
}

pub fn matmul(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape = g.shape(x);
    let rank = shape.len();
    let &k = shape.last()?;
    let bound = (3.0 / k as f32).sqrt();
    let n = g.random.within(1, 12);
    match g.random.below(5) {
        0 if rank >= 3 => {
            let full = [&shape[..rank - 2], &[k, n]].concat();
            let b = Operand::Constant(g.numbers(&full, -bound, bound));
            g.add(Op::MatMul, &[at(x), b])?;
        }
        1 if rank >= 2 => {
            let a = g.constant(&[n, shape[rank - 2]]);
            g.add(Op::MatMul, &[a, at(x)])?;
        }
        2 if rank >= 2 => {
            let mut permutation: Vec<usize> = (0..rank).collect();
            permutation.swap(rank - 1, rank - 2);
            let turned = g.unary(Op::Transpose { permutation }, x)?;
            g.add(Op::MatMul, &[at(x), at(turned)])?;
        }
        3 => {
            let b = Operand::Constant(g.numbers(&[k], -bound, bound));
            g.add(Op::MatMul, &[at(x), b])?;
        }
        _ => {
            let b = Operand::Constant(g.numbers(&[k, n], -bound, bound));
            g.add(Op::MatMul, &[at(x), b])?;
        }
    }
    Some(())
}

pub fn pool(g: &mut Generator) -> Option<()> {
    let x = g.of_rank(3..=5)?;
    let rank = g.shape(x).len() - 2;
    let mut each = |list: &[usize]| -> Option<Spatial> {
        let list: Vec<usize> = (0..rank).map(|_| g.random.pick(list)).collect();
        Some(match *list.as_slice() {
            [w] => [w].into(),
            [h, w] => [h, w].into(),
            [d, h, w] => [d, h, w].into(),
            _ => return None,
        })
    };
    let (kernel, stride, padding, adaptive) = (each(&[1, 2, 3])?, each(&[1, 2, 3])?, each(&[0, 0, 1])?, each(&[1, 2, 4])?);
    let dilation = each(&[1, 1, 1, 2])?;
    let kind = match g.random.below(4) {
        0 => PoolKind::Average { count_include_pad: true, divisor_override: None },
        1 => PoolKind::Average { count_include_pad: false, divisor_override: None },
        2 if g.random.percent(50) => PoolKind::Lp { p: 2.0 },
        _ => PoolKind::Max { indices: None },
    };
    let desc = match g.random.below(6) {
        0 => PoolDesc { kind, ..PoolDesc::global_max() },
        1 => PoolDesc { kind, window: PoolWindow::Adaptive(adaptive), ..PoolDesc::global_max() },
        _ => {
            let ceil_mode = g.random.percent(30);
            PoolDesc { kind, stride, padding: padding.into(), dilation, ceil_mode, ..PoolDesc::max(kernel) }
        }
    };
    g.unary(Op::Pool(desc), x)?;
    Some(())
}

pub fn resize(g: &mut Generator) -> Option<()> {
    let x = g.of_rank(3..=5)?;
    let shape = g.shape(x);
    let resize = Resize {
        mode: g.random.pick(&[ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic]),
        coordinates: g.random.pick(&[
            Coordinates::HalfPixel,
            Coordinates::HalfPixelSymmetric,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ]),
        nearest: g.random.pick(&[Nearest::RoundPreferFloor, Nearest::RoundPreferCeil, Nearest::Floor, Nearest::Ceil]),
        cubic_a: -0.75,
        exclude_outside: g.random.percent(20),
        extrapolation: 0.0,
        antialias: g.random.percent(20),
        axes: vec![],
        aspect: AspectPolicy::Stretch,
    };
    let by_size = g.random.percent(40);
    let scales: Vec<f32> =
        (0..shape.len()).map(|axis| if axis < 2 { 1.0 } else { g.random.pick(&[0.5, 0.7, 1.0, 1.5, 2.0]) }).collect();
    let sizes: Vec<i64> = shape.iter().zip(&scales).map(|(&size, scale)| (size as f32 * scale).ceil() as i64).collect();
    let operands = if by_size {
        [at(x), Operand::Absent, Operand::Absent, ints(&sizes)]
    } else {
        let scales = Operand::Constant(Value::new(&[shape.len()], scales).ok()?);
        [at(x), Operand::Absent, scales, Operand::Absent]
    };
    g.add(Op::Resize(resize), &operands)?;
    Some(())
}

pub fn softmax(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let rank = g.shape(x).len();
    let axis = g.random.below(rank.max(1)) as i64;
    let kind = g.random.pick(&[SoftmaxKind::Softmax, SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax]);
    let axis = if g.random.percent(50) { axis - rank as i64 } else { axis };
    let flatten = g.random.percent(20);
    g.unary(Op::Softmax { kind, axis, flatten }, x)?;
    Some(())
}

pub fn normalise(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape = g.shape(x);
    let rank = shape.len();
    let epsilon = g.random.pick(&[1e-3, 1e-2]);
    let axis = g.random.below(rank.max(1));
    match g.random.below(6) {
        0 | 1 => {
            let (scale, shift) = (g.positive(&shape[axis..]), g.constant(&shape[axis..]));
            let shift = if g.random.percent(70) { shift } else { Operand::Absent };
            g.add(Op::LayerNorm { axis: axis as i64 - rank as i64, epsilon }, &[at(x), scale, shift])?;
        }
        2 => {
            let channels = shape.get(1..2)?;
            let list = [g.positive(channels), g.constant(channels)];
            g.add(Op::InstanceNorm { epsilon }, &[at(x), list[0].clone(), list[1].clone()])?;
        }
        3 => {
            let channels = *shape.get(1)?;
            let groups = (1..=channels).rev().filter(|groups| channels % groups == 0).nth(g.random.below(2))?;
            let count = if g.random.percent(50) { groups } else { channels };
            let list = [g.positive(&[count]), g.constant(&[count])];
            g.add(Op::GroupNorm { groups, epsilon }, &[at(x), list[0].clone(), list[1].clone()])?;
        }
        4 => {
            let scale = g.positive(&shape[axis..]);
            g.add(Op::RmsNorm { axis: axis as i64, epsilon }, &[at(x), scale])?;
        }
        _ => {
            let size = g.random.within(1, 5);
            g.unary(Op::Lrn { size, alpha: 0.1, beta: 0.75, bias: 1.0 }, x)?;
        }
    }
    Some(())
}

pub fn reduce(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let rank = g.shape(x).len();
    let kinds = [
        Reduce::Sum,
        Reduce::Mean,
        Reduce::Mean,
        Reduce::Max,
        Reduce::Min,
        Reduce::L1,
        Reduce::L2,
        Reduce::SumSquare,
        Reduce::LogSumExp,
    ];
    let op = Op::Reduce { kind: g.random.pick(&kinds), keep_dims: g.random.percent(75), noop_with_empty_axes: false };
    let axes: Vec<i64> = (0..rank as i64).filter(|_| g.random.percent(35)).collect();
    g.add(op, &[at(x), if axes.is_empty() { Operand::Absent } else { ints(&axes) }])?;
    Some(())
}

pub fn rearrange(g: &mut Generator) -> Option<()> {
    let x = g.any();
    let shape = g.shape(x);
    match g.random.below(5) {
        0 => {
            let channels_first = g.random.percent(50);
            g.unary(Op::DepthToSpace { block: 2, channels_first }, x)?;
        }
        1 => drop(g.unary(Op::SpaceToDepth { block: 2 }, x)?),
        2 => {
            let axis = g.random.below(shape.len().max(1));
            let size = *shape.get(axis)?;
            let indices: Vec<i64> = (0..g.random.within(1, 5)).map(|_| g.random.below(2 * size) as i64 - size as i64).collect();
            g.add(Op::Gather { axis: axis as i64 }, &[at(x), ints(&indices)])?;
        }
        3 => {
            let repeats: Vec<i64> = shape.iter().map(|_| g.random.within(1, 2) as i64).collect();
            g.add(Op::Tile, &[at(x), ints(&repeats)])?;
        }
        _ => {
            let shape: Vec<i64> =
                shape.iter().map(|&size| if size == 1 { g.random.within(1, 3) as i64 } else { size as i64 }).collect();
            let more = g.random.below(2);
            g.add(Op::Expand, &[at(x), ints(&[&[1][..more], &shape].concat())])?;
        }
    }
    Some(())
}
