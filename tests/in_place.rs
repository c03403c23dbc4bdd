//! Parts of tensors that are written or read where they lie: which copies a network is without, and that its results stay the same.

use wgconv::{ConvDesc, Engine, EngineDesc, Graph, Network, NetworkDesc, Op, Unary, Value, ValueId};

mod support;
use support::{Random, dims};

const SIZE: [usize; 2] = [8, 8];

/// A graph as it is built, from an input of 8 channels of 8x8: 4 channels are a multiple of the bytes at which a binding may begin.
struct Built {
    graph: Graph,
    random: Random,
}

impl Built {
    fn new(batch: usize) -> (Self, ValueId) {
        let mut graph = Graph::new("built");
        let x = graph.input("x", &dims(&[batch, 8, SIZE[0], SIZE[1]]));
        (Self { graph, random: Random::new(7) }, x)
    }

    /// A convolution by 3x3, whose results are small whole numbers.
    fn conv(&mut self, x: ValueId, from: usize, to: usize) -> ValueId {
        let weights = self.random.numbers(to * from * 9, -1.0, 1.0).into_iter().map(f32::round).collect::<Vec<f32>>();
        let weights = self.graph.constant("", Value::new(&[to, from, 3, 3], weights).unwrap());
        let desc = ConvDesc { padding: [1, 1].into(), ..ConvDesc::new(from, to, [3, 3]) };
        self.graph.conv(&desc, x, weights, None)
    }

    fn concat(&mut self, parts: &[ValueId]) -> ValueId {
        self.graph.apply(Op::Concat { axis: 1 }, parts)
    }

    fn split(&mut self, x: ValueId, sizes: &[i64]) -> Vec<ValueId> {
        let sizes_value = self.graph.constant("", Value::list(sizes));
        self.graph.apply_many("", Op::Split { axis: 1 }, &[Some(x), Some(sizes_value)], sizes.len())
    }
}

/// What it is called, how many copies it is without, and the graph with its batch.
type Case = (&'static str, usize, Built, usize);

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, wanted, batch, build: &dyn Fn(&mut Built, ValueId) -> Vec<ValueId>| {
        let (mut built, x) = Built::new(batch);
        for (number, value) in build(&mut built, x).into_iter().enumerate() {
            built.graph.output(&format!("y{number}"), value);
        }
        cases.push((name, wanted, built, batch));
    };
    add("branches", 3, 1, &|b, x| {
        let parts = [b.conv(x, 8, 4), b.conv(x, 8, 8), b.conv(x, 8, 4)];
        let all = b.concat(&parts);
        vec![b.conv(all, 16, 4)]
    });
    add("branches that are the result", 2, 1, &|b, x| {
        let parts = [b.conv(x, 8, 4), b.conv(x, 8, 8)];
        vec![b.concat(&parts)]
    });
    add("a part that is a result too", 1, 1, &|b, x| {
        let parts = [b.conv(x, 8, 4), b.conv(x, 8, 8)];
        let all = b.concat(&parts);
        vec![b.conv(all, 12, 4), parts[0]]
    });
    add("dense block", 6, 1, &|b, x| {
        let mut all = b.conv(x, 8, 8);
        for channels in [8, 12, 16] {
            let squeezed = b.conv(all, channels, 4);
            let new = b.conv(squeezed, 4, 4);
            all = b.concat(&[all, new]);
        }
        vec![b.conv(all, 20, 4)]
    });
    // One dispatch would read and write the buffer of all.
    add("dense block of single layers", 3, 1, &|b, x| {
        let mut all = b.conv(x, 8, 8);
        for channels in [8, 12, 16] {
            let new = b.conv(all, channels, 4);
            all = b.concat(&[all, new]);
        }
        vec![b.conv(all, 20, 4)]
    });
    add("twice the same", 0, 1, &|b, x| {
        let part = b.conv(x, 8, 4);
        let all = b.concat(&[part, part]);
        vec![b.conv(all, 8, 4)]
    });
    add("the input", 1, 1, &|b, x| {
        let part = b.conv(x, 8, 8);
        let all = b.concat(&[x, part]);
        vec![b.conv(all, 16, 4)]
    });
    // No binding begins at the 32nd element.
    add("a part that begins between", 3, 1, &|b, x| {
        let long = b.conv(x, 8, 3);
        let parts = [long, b.conv(x, 8, 1), b.conv(x, 8, 4)];
        let all = b.concat(&parts);
        let flat = b.graph.constant("", Value::list(&[1, 512]));
        let flat = b.graph.apply(Op::Reshape { allow_zero: false }, &[all, flat]);
        let sizes = b.graph.constant("", Value::list(&[32, 480]));
        let halves = b.graph.apply_many("", Op::Split { axis: 1 }, &[Some(flat), Some(sizes)], 2);
        vec![b.graph.apply(Op::Unary(Unary::Neg), &[halves[1]])]
    });
    add("several of a batch", 0, 2, &|b, x| {
        let parts = [b.conv(x, 8, 4), b.conv(x, 8, 8)];
        let all = b.concat(&parts);
        vec![b.conv(all, 12, 4)]
    });
    add("halves", 2, 1, &|b, x| {
        let wide = b.conv(x, 8, 12);
        let halves = b.split(wide, &[4, 8]);
        vec![b.conv(halves[0], 4, 4), b.conv(halves[1], 8, 4)]
    });
    add("halves of the input, one of which is a result", 1, 1, &|b, x| {
        let halves = b.split(x, &[4, 4]);
        vec![b.conv(halves[0], 4, 4), halves[1]]
    });
    add("halves that change places", 2, 1, &|b, x| {
        let wide = b.conv(x, 8, 8);
        let halves = b.split(wide, &[4, 4]);
        let turned = b.concat(&[halves[1], halves[0]]);
        vec![b.conv(turned, 8, 4)]
    });
    add("a half that a residual is added to", 3, 1, &|b, x| {
        let wide = b.conv(x, 8, 8);
        let halves = b.split(wide, &[4, 4]);
        let part = b.conv(halves[0], 4, 4);
        let sum = b.graph.apply(Op::Binary(wgconv::Binary::Add), &[part, halves[1]]);
        let other = b.conv(sum, 4, 4);
        let all = b.concat(&[sum, other]);
        vec![b.conv(all, 8, 4)]
    });
    cases
}

#[test]
fn what_is_copied_in_one_piece_lies_where_it_belongs() {
    let engine = Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"));
    let mut wrong = Vec::new();
    for (name, wanted, built, batch) in cases() {
        let network = Network::new(&engine, &built.graph, &NetworkDesc::default()).unwrap();
        let explained = network.explain();
        let line = explained.lines().find_map(|line| line.strip_prefix("in place"));
        let found: usize = line.map_or(0, |line| line.split_whitespace().next().unwrap().parse().unwrap());
        let mut random = Random::new(3);
        for _ in 0..3 {
            let numbers: Vec<f32> =
                random.numbers(batch * 8 * SIZE[0] * SIZE[1], -3.0, 3.0).into_iter().map(f32::round).collect();
            let x = Value::new(&[batch, 8, SIZE[0], SIZE[1]], numbers).unwrap();
            let got = network.run_values(std::slice::from_ref(&x)).unwrap();
            if got != network.run_reference(std::slice::from_ref(&x)).unwrap() {
                wrong.push(format!("{name}: other results\n{explained}"));
            }
            let verified = network.verify(&[x]).unwrap();
            if !verified.passed() {
                wrong.push(format!("{name}: {verified}"));
            }
        }
        if found != wanted {
            wrong.push(format!("{name}: {found} in place, not {wanted}\n{explained}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
