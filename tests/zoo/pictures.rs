//! Networks on pictures.

use wgconv::{Activation, Binary, ConvDesc, PoolDesc, ValueId};

use super::Sample;
use super::builder::{Builder, depthwise, same};

/// MobileNet-V2 at full width on 64x64 pixels, its normalisations as nodes of their own and ReLU6 as ONNX's Clip.
///
/// Source: Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2.
pub fn mobilenet_v2() -> Sample {
    /// Expansion, channels, blocks, stride of the first.
    const STAGES: [(usize, usize, usize, usize); 7] =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let mut net = Builder::new("mobilenet_v2");
    let image = net.input("image", &[1, 3, 64, 64]);
    let mut x = normalised(&mut net, image, &same(3, 32, 3, 2), true);
    let mut channels = 32;
    for (expansion, wanted, blocks, stride) in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            x = inverted_residual(&mut net, x, [channels, expansion * channels, wanted], stride);
            channels = wanted;
        }
    }
    let x = normalised(&mut net, x, &same(320, 1280, 1, 1), true);
    let x = net.mean(x, &[2, 3]);
    let x = net.reshape(x, &[0, -1]);
    let x = net.gemm(x, 1280, 100);
    net.finish(x)
}

fn inverted_residual(net: &mut Builder, x: ValueId, [channels, expanded, wanted]: [usize; 3], stride: usize) -> ValueId {
    let mut y = x;
    if expanded != channels {
        y = normalised(net, y, &same(channels, expanded, 1, 1), true);
    }
    y = normalised(net, y, &depthwise(expanded, 3, stride), true);
    y = normalised(net, y, &same(expanded, wanted, 1, 1), false);
    if stride == 1 && channels == wanted { net.binary(Binary::Add, x, y) } else { y }
}

fn normalised(net: &mut Builder, x: ValueId, desc: &ConvDesc, clipped: bool) -> ValueId {
    let y = net.conv_plain(desc, x);
    let y = net.batch_norm(y, desc.out_channels);
    if clipped { net.clip(y) } else { y }
}

/// The head of DeepLab-v3: one map seen at four dilations and as a whole, and the classes of its pixels enlarged.
///
/// Source: Chen, Papandreou, Schroff and Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation" (2017), section 3.3.
pub fn deeplab_v3_head() -> Sample {
    const WIDTH: usize = 32;
    const CLASSES: usize = 21;
    let mut net = Builder::new("deeplab_v3_head");
    let features = net.input("features", &[1, 64, 33, 33]);
    let mut branches = Vec::new();
    for dilation in [1, 6, 12, 18] {
        let side = if dilation == 1 { 1 } else { 3 };
        let padding = dilation * (side / 2);
        let desc = ConvDesc {
            dilation: [dilation, dilation].into(),
            padding: [padding, padding].into(),
            ..ConvDesc::new(64, WIDTH, [side, side])
        };
        let y = net.conv_plain(&desc, features);
        let y = net.batch_norm(y, WIDTH);
        branches.push(net.relu(y));
    }
    let whole = net.pool(&PoolDesc::global_average(), features);
    let whole = net.conv(&ConvDesc::new(64, WIDTH, [1, 1]), whole);
    let whole = net.relu(whole);
    branches.push(net.resize(whole, &[1, WIDTH as i64, 33, 33]));
    let x = net.concat(1, &branches);
    let x = net.conv_plain(&ConvDesc::new(5 * WIDTH, WIDTH, [1, 1]), x);
    let x = net.batch_norm(x, WIDTH);
    let x = net.relu(x);
    let x = net.conv(&same(WIDTH, CLASSES, 3, 1), x);
    let x = net.resize(x, &[1, CLASSES as i64, 129, 129]);
    net.finish(x)
}

/// The stem and two blocks of ConvNeXt, which works with channels last between its depthwise convolutions.
///
/// Source: Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s" (2022), figure 4.
pub fn convnext() -> Sample {
    const WIDTH: usize = 40;
    let mut net = Builder::new("convnext");
    let image = net.input("image", &[2, 3, 64, 64]);
    let stem = ConvDesc { stride: [4, 4].into(), ..ConvDesc::new(3, WIDTH, [4, 4]) };
    let x = net.conv(&stem, image);
    let x = net.transpose(x, &[0, 2, 3, 1]);
    let x = net.layer_norm(x, WIDTH);
    let mut x = net.transpose(x, &[0, 3, 1, 2]);
    for as_parts in [false, true] {
        let y = net.conv(&depthwise(WIDTH, 7, 1), x);
        let y = net.transpose(y, &[0, 2, 3, 1]);
        let y = net.layer_norm(y, WIDTH);
        let y = net.linear(y, WIDTH, 4 * WIDTH);
        let y = if as_parts { net.gelu_of_parts(y) } else { net.activation(y, Activation::Gelu) };
        let y = net.linear(y, 4 * WIDTH, WIDTH);
        let layer_scale = net.weight(&[WIDTH], (0.1, 1.0));
        let y = net.binary(Binary::Mul, layer_scale, y);
        let y = net.transpose(y, &[0, 3, 1, 2]);
        x = net.binary(Binary::Add, x, y);
    }
    let x = net.pool(&PoolDesc::global_average(), x);
    let x = net.flatten(x);
    let x = net.layer_norm(x, WIDTH);
    let x = net.gemm(x, WIDTH, 10);
    net.finish(x)
}
