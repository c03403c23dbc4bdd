//! Networks on waveforms.

use wgconv::{Activation, Binary, ConvDesc, Op};

use super::Sample;
use super::builder::Builder;

/// The encoder of wav2vec 2.0 on a quarter of a second at 16 kHz: strided convolutions over the samples, the first with a group
/// normalisation and the others with a layer normalisation, as both of its variants have them; then the positions by a grouped convolution.
///
/// Source: Baevski, Zhou, Mohamed and Auli, "wav2vec 2.0" (2020), section 2 and appendix.
pub fn wav2vec() -> Sample {
    const WIDTH: usize = 48;
    const FEATURES: usize = 64;
    /// Kernel and stride.
    const LAYERS: [(usize, usize); 7] = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)];
    let mut net = Builder::new("wav2vec");
    let mut x = net.input("samples", &[1, 1, 4000]);
    for (number, (kernel, stride)) in LAYERS.into_iter().enumerate() {
        let in_channels = if number == 0 { 1 } else { WIDTH };
        let desc = ConvDesc { stride: [stride].into(), ..ConvDesc::new(in_channels, WIDTH, [kernel]) };
        if number == 0 {
            x = net.conv_plain(&desc, x);
            x = net.group_norm(x, WIDTH, WIDTH);
            x = net.gelu_of_parts(x);
        } else {
            x = net.conv(&desc, x);
            x = net.transpose(x, &[0, 2, 1]);
            x = net.layer_norm(x, WIDTH);
            x = net.transpose(x, &[0, 2, 1]);
            x = net.activation(x, Activation::Gelu);
        }
    }
    let x = net.transpose(x, &[0, 2, 1]);
    let x = net.layer_norm(x, WIDTH);
    let x = net.linear(x, WIDTH, FEATURES);

    // An even kernel gives one position too many, which is cut off.
    let y = net.transpose(x, &[0, 2, 1]);
    let desc = ConvDesc { padding: [4].into(), groups: 4, ..ConvDesc::new(FEATURES, FEATURES, [8]) };
    let y = net.conv(&desc, y);
    let [starts, ends, axes] = [0, -1, 2].map(|number| net.list(&[number]));
    let y = net.graph.apply(Op::Slice, &[y, starts, ends, axes]);
    let y = net.activation(y, Activation::Gelu);
    let y = net.transpose(y, &[0, 2, 1]);
    let x = net.binary(Binary::Add, x, y);
    let x = net.layer_norm(x, FEATURES);
    net.finish(x)
}
