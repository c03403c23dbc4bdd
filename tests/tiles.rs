//! Networks over tiles: without a seam, equal to the whole, in bounded memory; what is not local is refused by name.

use wgconv::{
    Activation, Binary, ConvDesc, ConvOp, Coordinates, ElementType, Engine, EngineDesc, Error, ErrorKind, Graph, Network,
    NetworkDesc, Op, PadMode, Padding, PaddingMode, PoolDesc, Region, Resize, ResizeMode, SoftmaxKind, TileDesc, TileRunner,
    Value, ValueId,
};

mod support;
use support::{Random, dims};

fn engine() -> Engine {
    Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"))
}

/// A graph under construction, with weights that are small integers: sums are exact, whatever their order.
struct Builder {
    graph: Graph,
    random: Random,
    integers: bool,
    element: ElementType,
}

impl Builder {
    fn new(shape: &[usize], integers: bool) -> (Self, ValueId) {
        Self::of(ElementType::F32, shape, integers)
    }

    fn of(element: ElementType, shape: &[usize], integers: bool) -> (Self, ValueId) {
        let mut graph = Graph::new("tiled");
        let x = graph.input_of("x", element, &dims(shape));
        (Self { graph, random: Random::new(3), integers, element }, x)
    }

    fn constant(&mut self, shape: &[usize]) -> ValueId {
        let count = shape.iter().product();
        let numbers = if self.integers {
            (0..count).map(|_| self.random.within(0, 2) as f32 - 1.0).collect()
        } else {
            self.random.numbers(count, -0.5, 0.5)
        };
        self.graph.constant("w", support::floats(self.element, shape, numbers))
    }

    fn conv(&mut self, desc: ConvDesc, x: ValueId) -> ValueId {
        let weight = self.constant(&desc.weight_shape().unwrap());
        let bias = self.constant(&[desc.out_channels]);
        let sum = self.graph.conv(&desc, x, weight, Some(bias));
        // Kept small, so that integers stay exact through all layers.
        let activation = Activation::Clamp { min: 0.0, max: 4.0 };
        self.graph.apply(Op::Activation(activation), &[sum])
    }

    /// A 3-tap convolution of the same size.
    fn same(&mut self, rank: usize, from: usize, to: usize, x: ValueId) -> ValueId {
        let desc = match rank {
            1 => ConvDesc { padding: [1].into(), ..ConvDesc::new(from, to, [3]) },
            2 => ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(from, to, [3, 3]) },
            _ => ConvDesc { padding: [1, 1, 1].into(), ..ConvDesc::new(from, to, [3, 3, 3]) },
        };
        self.conv(desc, x)
    }

    /// A resampling of two axes by these factors.
    fn resize(&mut self, mode: ResizeMode, coordinates: Coordinates, factors: [f32; 2], x: ValueId) -> ValueId {
        let resize = Resize { mode, coordinates, ..Resize::default() };
        let scales = Value::new(&[4], [[1.0, 1.0], factors].concat()).unwrap();
        let scales = self.graph.constant("scales", scales);
        self.graph.apply_many("", Op::Resize(resize), &[Some(x), None, Some(scales)], 1)[0]
    }

    fn finish(mut self, y: ValueId) -> Graph {
        self.graph.output("y", y);
        self.graph
    }
}

/// Two levels down and up again, with what the way down saw put beside what comes up.
fn unet(shape: &[usize], integers: bool) -> Graph {
    let rank = shape.len() - 2;
    let (mut net, x) = Builder::new(shape, integers);
    let pool = |rank: usize| match rank {
        1 => PoolDesc::max([2]),
        2 => PoolDesc::max([2, 2]),
        _ => PoolDesc::max([2, 2, 2]),
    };
    let up = |from: usize, to: usize| match rank {
        1 => ConvDesc { stride: [2].into(), ..ConvDesc::transposed(from, to, [2]) },
        2 => ConvDesc { stride: [2, 2].into(), padding: [1, 1].into(), ..ConvDesc::transposed(from, to, [4, 4]) },
        _ => ConvDesc { stride: [2, 2, 2].into(), ..ConvDesc::transposed(from, to, [2, 2, 2]) },
    };
    let first = net.same(rank, shape[1], 4, x);
    let half = net.graph.pool(&pool(rank), first);
    let second = net.same(rank, 4, 6, half);
    let quarter = net.graph.pool(&pool(rank), second);
    let bottom = net.same(rank, 6, 6, quarter);
    let up_2 = net.conv(up(6, 4), bottom);
    let beside = net.graph.apply(Op::Concat { axis: 1 }, &[up_2, second]);
    let merged = net.same(rank, 10, 4, beside);
    let up_1 = net.conv(up(4, 4), merged);
    let beside = net.graph.apply(Op::Concat { axis: 1 }, &[up_1, first]);
    let y = net.same(rank, 8, 2, beside);
    net.finish(y)
}

/// Convolutions and poolings down to an eighth.
fn vgg(shape: &[usize], integers: bool) -> Graph {
    let (mut net, x) = Builder::new(shape, integers);
    let mut y = x;
    let mut channels = shape[1];
    for width in [4, 6, 8] {
        y = net.same(2, channels, width, y);
        y = net.same(2, width, width, y);
        y = net.graph.pool(&PoolDesc { padding: [1, 1].into(), stride: [2, 2].into(), ..PoolDesc::max([3, 3]) }, y);
        channels = width;
    }
    net.finish(y)
}

/// Dilated and causal, over one axis.
fn causal(shape: &[usize], integers: bool) -> Graph {
    let (mut net, x) = Builder::new(shape, integers);
    let mut y = net.conv(ConvDesc::new(shape[1], 5, [1]), x);
    for dilation in [1, 2, 4, 8] {
        let padding = Padding::Explicit { begin: [2 * dilation].into(), end: [0].into() };
        let desc = ConvDesc { padding, dilation: [dilation].into(), ..ConvDesc::new(5, 5, [3]) };
        let more = net.conv(desc, y);
        y = net.graph.apply(Op::Binary(Binary::Add), &[y, more]);
        y = net.graph.apply(Op::Activation(Activation::Clamp { min: 0.0, max: 4.0 }), &[y]);
    }
    net.finish(y)
}

/// Strides, pads, resampling, batch normalisation, depthwise layers, padding that is no zero.
fn mixed(shape: &[usize], integers: bool) -> Graph {
    let (mut net, x) = Builder::new(shape, integers);
    let pads = net.graph.constant("pads", Value::list(&[0, 0, 2, 1, 0, 0, 1, 3]));
    let padded = net.graph.apply(Op::Pad(PadMode::Reflect), &[x, pads]);
    let desc = ConvDesc { stride: [2, 2].into(), padding: [2, 2].into(), ..ConvDesc::new(shape[1], 4, [5, 5]) };
    let stem = net.conv(desc, padded);
    let desc =
        ConvDesc { padding: [1, 1].into(), padding_mode: PaddingMode::Replicate, groups: 4, ..ConvDesc::new(4, 4, [3, 3]) };
    let deep = net.conv(desc, stem);
    let [scale, shift, mean] = [(); 3].map(|()| net.constant(&[4]));
    let variance = net.graph.constant("variance", Value::new(&[4], vec![1.0f32; 4]).unwrap());
    let norm = Op::BatchNorm { epsilon: 0.0, momentum: 0.9, training: false };
    let normal = net.graph.apply(norm, &[deep, scale, shift, mean, variance]);
    let pooled = net.graph.pool(&PoolDesc { stride: [2, 3].into(), padding: [1, 1].into(), ..PoolDesc::max([3, 3]) }, normal);
    let large = net.resize(ResizeMode::Nearest, Coordinates::HalfPixel, [3.0, 2.0], pooled);
    let y = net.same(2, 4, 8, large);
    let y = net.graph.apply(Op::DepthToSpace { block: 2, channels_first: false }, &[y]);
    net.finish(y)
}

/// Runs a graph whole and over tiles of each of these sizes; with integers to the bit.
fn check(make: impl Fn(&[usize], bool) -> Graph, shape: &[usize], tiles: &[&[usize]]) {
    // What another order of sums makes.
    check_of(ElementType::F32, make, shape, tiles, [0.0, 2e-6]);
}

/// The same for elements of a type, with how far results of integers and of floats may be apart, as parts of the largest.
fn check_of(element: ElementType, make: impl Fn(&[usize], bool) -> Graph, shape: &[usize], tiles: &[&[usize]], bounds: [f32; 2]) {
    let engine = engine();
    for (integers, bound) in [true, false].into_iter().zip(bounds) {
        let graph = make(shape, integers);
        let count: usize = shape.iter().product();
        let mut random = Random::new(11);
        let x: Vec<f32> = match integers {
            true => (0..count).map(|_| random.within(0, 6) as f32 - 3.0).collect(),
            false => random.numbers(count, -1.0, 1.0),
        };
        let whole = Network::new(&engine, &graph, &NetworkDesc::default()).unwrap();
        let wanted = whole.run_values(&[support::floats(element, shape, x.clone())]).unwrap().swap_remove(0);
        assert_eq!(wanted.element(), element);
        let largest = support::largest(&wanted) as f32;
        assert!(largest > 0.5, "the network gives nothing to compare");
        for tile in tiles {
            let runner = TileRunner::new(&engine, &graph, &TileDesc::new(shape, tile)).unwrap();
            assert_eq!(runner.output_shape(), wanted.shape());
            let rank = u32::try_from(tile.len()).unwrap();
            // First, inside, last, and a smaller one; of tiles smaller than the halo more than one see the border.
            let few = runner.network_count() <= 4usize.pow(rank) || tile == &[7];
            assert!(few && runner.tile_count() > 1, "{}", runner.explain());
            let got = runner.run(&x).unwrap();
            let wanted = wanted.to_f32();
            let apart = |(a, b): (&f32, &f32)| (a - b).abs();
            let most = got.iter().zip(&wanted).map(apart).fold(0.0, f32::max);
            assert!(most <= bound * largest, "{shape:?} by {tile:?}: {most:e} apart, largest {largest}\n{}", runner.explain());
        }
    }
}

#[test]
fn a_unet_over_tiles_is_the_whole_unet() {
    check(unet, &[1, 3, 68, 84], &[&[24, 30], &[68, 17]]);
}

#[test]
fn a_unet_of_three_axes_over_tiles_is_the_whole() {
    check(unet, &[1, 1, 20, 24, 28], &[&[9, 12, 14]]);
}

#[test]
fn a_network_that_shrinks_its_input_over_tiles_is_the_whole() {
    check(vgg, &[2, 3, 101, 75], &[&[5, 3], &[4, 10]]);
}

#[test]
fn networks_of_one_axis_over_tiles_are_the_whole() {
    check(causal, &[1, 2, 1003], &[&[100], &[7], &[501]]);
    check(unet, &[2, 1, 404], &[&[50]]);
}

#[test]
fn strides_pads_and_resampling_over_tiles_are_the_whole() {
    check(mixed, &[1, 2, 61, 67], &[&[20, 20], &[40, 31]]);
}

/// A resampling between two layers.
fn resampled(mode: ResizeMode, coordinates: Coordinates, factors: [f32; 2]) -> impl Fn(&[usize], bool) -> Graph {
    move |shape, integers| {
        let (mut net, x) = Builder::new(shape, integers);
        let y = net.same(2, shape[1], 3, x);
        let y = net.resize(mode, coordinates, factors, y);
        let y = net.same(2, 3, 2, y);
        net.finish(y)
    }
}

#[test]
fn linear_and_cubic_resampling_over_tiles_is_the_whole() {
    let (shape, tiles) = ([1, 2, 23, 31], [&[14, 20][..], &[46, 24]]);
    for mode in [ResizeMode::Linear, ResizeMode::Cubic] {
        for coordinates in [Coordinates::HalfPixel, Coordinates::PytorchHalfPixel, Coordinates::Asymmetric] {
            // Between elements at quarters and eighths all weights are exact, and so are the sums.
            check(resampled(mode, coordinates, [2.0, 4.0]), &shape, &tiles);
        }
        // At sixths they are not.
        check_of(ElementType::F32, resampled(mode, Coordinates::HalfPixel, [3.0, 2.0]), &shape, &tiles, [2e-6, 2e-6]);
    }
}

/// [`unet`]'s kind in f16: layers, a pooling, a transposed convolution, a resampling.
fn half(shape: &[usize], integers: bool) -> Graph {
    let (mut net, x) = Builder::of(ElementType::F16, shape, integers);
    let first = net.same(2, shape[1], 4, x);
    let down = net.graph.pool(&PoolDesc::max([2, 2]), first);
    let deep = net.same(2, 4, 6, down);
    let up = net.conv(ConvDesc { stride: [2, 2].into(), ..ConvDesc::transposed(6, 4, [2, 2]) }, deep);
    let large = net.resize(ResizeMode::Linear, Coordinates::HalfPixel, [2.0, 2.0], down);
    let beside = net.graph.apply(Op::Concat { axis: 1 }, &[up, large]);
    let y = net.same(2, 8, 2, beside);
    net.finish(y)
}

#[test]
fn a_network_of_f16_over_tiles_is_the_whole() {
    // Each value is rounded to 11 bits, so that another order of sums may show in the last of them.
    check_of(ElementType::F16, half, &[1, 3, 40, 52], &[&[16, 20], &[40, 18]], [0.0, 4.0 / 2048.0]);
}

#[test]
fn what_depends_on_the_whole_is_refused_by_name() {
    let engine = engine();
    let refusal = |op: Op, name: &str| {
        let (mut net, x) = Builder::new(&[1, 3, 32, 32], false);
        let y = net.same(2, 3, 4, x);
        let z = net.graph.apply_many(name, op, &[Some(y)], 1)[0];
        TileRunner::new(&engine, &net.finish(z), &TileDesc::new(&[1, 3, 32, 32], &[8, 8])).unwrap_err()
    };
    for (op, why) in [
        (Op::Pool(PoolDesc::global_average()), "global"),
        (Op::Pool(PoolDesc::adaptive_max([4, 4])), "adaptive"),
        (Op::Softmax { kind: SoftmaxKind::Softmax, axis: 3, flatten: false }, "softmax over positions"),
        (Op::Flatten { axis: 1 }, "other places"),
        (Op::Shape { start: 0, end: None }, "size"),
    ] {
        let error = refusal(op, "culprit");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("`culprit`") && error.message().contains(why), "{error}");
    }
    let (net, x) = Builder::new(&[1, 3, 32, 32], false);
    let graph = net.finish(x);
    let error = |input: &[usize], tile: &[usize]| TileRunner::new(&engine, &graph, &TileDesc::new(input, tile)).unwrap_err();
    assert_eq!(error(&[1, 3, 32, 32], &[8]).field(), Some("tile"));
    assert_eq!(error(&[1, 3, 32, 32], &[8, 0]).field(), Some("tile"));
    assert_eq!(error(&[3], &[]).field(), Some("input"));
}

/// 6,016 rows in 94 tiles take what 384 rows in 6 tiles do.
#[test]
fn memory_depends_on_the_tile_and_not_on_the_image() {
    let engine = engine();
    let peak = |height: usize| {
        let shape = [1, 1, height, 512];
        let (mut net, x) = Builder::new(&shape, false);
        let y = net.same(2, 1, 2, x);
        let graph = net.finish(y);
        let runner = TileRunner::new(&engine, &graph, &TileDesc::new(&shape, &[128, 256])).unwrap();
        let mut written = 0;
        let fill = |region: &Region, values: &mut [f32]| -> Result<(), Error> {
            values.iter_mut().enumerate().for_each(|(index, value)| *value = ((region.start[0] + index) % 7) as f32);
            Ok(())
        };
        let write = |_: &Region, values: &[f32]| -> Result<(), Error> {
            written += values.len();
            Ok(())
        };
        let mut last = (0, 0);
        runner.stream_tiles(fill, write, |done, all| last = (done, all)).unwrap();
        assert_eq!(written, 2 * height * 512);
        assert_eq!(last, (runner.tile_count(), runner.tile_count()));
        (engine.buffers().peak, engine.buffers().in_use)
    };
    let (small, large) = (peak(384), peak(6016));
    assert_eq!(small, large, "peak and what stays");
}

#[test]
fn a_callback_that_fails_ends_the_run_with_its_error() {
    #[derive(Debug, PartialEq)]
    enum Mine {
        Full,
        Other,
    }
    impl From<Error> for Mine {
        fn from(_: Error) -> Self {
            Mine::Other
        }
    }
    let engine = engine();
    let (mut net, x) = Builder::new(&[1, 1, 64, 64], false);
    let y = net.same(2, 1, 2, x);
    let graph = net.finish(y);
    let runner = TileRunner::new(&engine, &graph, &TileDesc::new(&[1, 1, 64, 64], &[16, 16])).unwrap();
    let mut calls = 0;
    let write = |_: &Region, _: &[f32]| {
        calls += 1;
        if calls == 3 { Err(Mine::Full) } else { Ok(()) }
    };
    assert_eq!(runner.stream_tiles(|_, _| Ok(()), write, |_, _| ()), Err(Mine::Full));
    assert_eq!(calls, 3);
    assert_eq!(runner.run(&vec![0.5; 64 * 64]).unwrap().len(), 2 * 64 * 64);
}

#[test]
fn an_image_of_more_elements_than_a_tensor_has_can_be_planned() {
    let engine = engine();
    let shape = [1, 3, 60_000, 80_000];
    let graph = unet(&[1, 3, 8, 8], false);
    // The graph's own sizes are those of an example; here they are what the caller says.
    let mut open = Graph::new("open");
    let x = open.input("x", &["N".into(), 3.into(), "H".into(), "W".into()]);
    let conv = ConvOp { stride: vec![2, 2], ..ConvOp::default() };
    let w = open.constant("w", Value::new(&[16, 3, 3, 3], vec![0.5f32; 432]).unwrap());
    let y = open.apply_many("", Op::Conv(conv), &[Some(x), Some(w), None], 1)[0];
    open.output("y", y);
    for graph in [graph, open] {
        let runner = TileRunner::new(&engine, &graph, &TileDesc::new(&shape, &[2048, 2048])).unwrap();
        assert!(runner.network_count() <= 9 && runner.tile_count() >= 300, "{}", runner.explain());
        assert!(runner.explain().contains("inputs for each"));
    }
}
