//! Networks on sequences of tokens, be they words or patches of a picture.

use wgconv::{Activation, Binary, ConvDesc, Op, PoolDesc, SoftmaxKind, ValueId};

use super::Sample;
use super::builder::Builder;

/// The patches of a vision transformer and one of its blocks.
///
/// Source: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), section 3.1.
pub fn vision_transformer() -> Sample {
    const WIDTH: usize = 64;
    const PATCHES: usize = 16;
    let mut net = Builder::new("vision_transformer");
    let image = net.input("image", &[2, 3, 64, 64]);
    let patches = ConvDesc { stride: [16, 16].into(), ..ConvDesc::new(3, WIDTH, [16, 16]) };
    let x = net.conv(&patches, image);
    let x = net.reshape(x, &[0, WIDTH as i64, -1]);
    let x = net.transpose(x, &[0, 2, 1]);
    let token = net.weight(&[1, 1, WIDTH], (-1.0, 1.0));
    let shape = net.list(&[2, 1, WIDTH as i64]);
    let token = net.graph.apply(Op::Expand, &[token, shape]);
    let x = net.concat(1, &[token, x]);
    let positions = net.weight(&[1, PATCHES + 1, WIDTH], (-0.5, 0.5));
    let x = net.binary(Binary::Add, x, positions);

    let y = net.layer_norm(x, WIDTH);
    let y = attention(&mut net, y, PATCHES + 1, WIDTH);
    let x = net.binary(Binary::Add, x, y);
    let y = net.layer_norm(x, WIDTH);
    let y = net.linear(y, WIDTH, 4 * WIDTH);
    let y = net.activation(y, Activation::Gelu);
    let y = net.linear(y, 4 * WIDTH, WIDTH);
    let x = net.binary(Binary::Add, x, y);

    let x = net.layer_norm(x, WIDTH);
    // The class token is the first.
    let first = net.graph.constant("", wgconv::Value::scalar(0i64));
    let x = net.graph.apply(Op::Gather { axis: 1 }, &[x, first]);
    let x = net.gemm(x, WIDTH, 10);
    net.finish(x)
}

/// Self-attention of two heads.
fn attention(net: &mut Builder, x: ValueId, tokens: usize, width: usize) -> ValueId {
    const HEADS: usize = 2;
    let each = width / HEADS;
    // Queries and values as `[n, heads, tokens, each]`, keys transposed.
    let [queries, keys, values] = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]].map(|order| {
        let y = net.linear(x, width, width);
        let y = net.reshape(y, &[0, tokens as i64, HEADS as i64, each as i64]);
        net.transpose(y, &order)
    });
    let scores = net.graph.apply(Op::MatMul, &[queries, keys]);
    let scale = net.scalar(1.0 / (each as f32).sqrt());
    let scores = net.binary(Binary::Mul, scores, scale);
    let shares = net.graph.apply(Op::Softmax { kind: SoftmaxKind::Softmax, axis: -1, flatten: false }, &[scores]);
    let y = net.graph.apply(Op::MatMul, &[shares, values]);
    let y = net.transpose(y, &[0, 2, 1, 3]);
    let y = net.reshape(y, &[0, tokens as i64, width as i64]);
    net.linear(y, width, width)
}

/// Sentences by windows of three, four and five words.
///
/// Source: Kim, "Convolutional Neural Networks for Sentence Classification" (2014).
pub fn text_cnn() -> Sample {
    const VOCABULARY: usize = 200;
    const EMBEDDING: usize = 48;
    const MAPS: usize = 32;
    let mut net = Builder::new("text_cnn");
    let words = net.tokens("words", &[3, 30], VOCABULARY);
    let table = net.weight(&[VOCABULARY, EMBEDDING], (-1.7, 1.7));
    let x = net.graph.apply(Op::Gather { axis: 0 }, &[table, words]);
    let x = net.transpose(x, &[0, 2, 1]);
    let windows = [3, 4, 5].map(|width| {
        let y = net.conv(&ConvDesc::new(EMBEDDING, MAPS, [width]), x);
        let y = net.relu(y);
        net.pool(&PoolDesc::global_max(), y)
    });
    let x = net.concat(1, &windows);
    let x = net.flatten(x);
    let x = net.gemm(x, 3 * MAPS, 6);
    let x = net.graph.apply(Op::Softmax { kind: SoftmaxKind::Softmax, axis: 1, flatten: false }, &[x]);
    net.finish(x)
}
