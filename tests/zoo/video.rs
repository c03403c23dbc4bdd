//! Networks over three axes.

use wgconv::{ConvDesc, PoolDesc};

use super::Sample;
use super::builder::Builder;

/// The first blocks of C3D on eight frames of 32x32 pixels, and fully connected layers.
///
/// Source: Tran, Bourdev, Fergus, Torresani and Paluri, "Learning Spatiotemporal Features with 3D Convolutional Networks" (2015),
/// figure 3.
pub fn c3d() -> Sample {
    /// Channels of the convolutions before each pooling, and the pooling.
    const BLOCKS: [(&[usize], [usize; 3]); 3] = [(&[24], [1, 2, 2]), (&[48], [2, 2, 2]), (&[64, 64], [2, 2, 2])];
    let mut net = Builder::new("c3d");
    let mut x = net.input("video", &[1, 3, 8, 32, 32]);
    let mut channels = 3;
    for (list, pool) in BLOCKS {
        for &wanted in list {
            let desc = ConvDesc { padding: [1, 1, 1].into(), ..ConvDesc::new(channels, wanted, [3, 3, 3]) };
            let y = net.conv(&desc, x);
            x = net.relu(y);
            channels = wanted;
        }
        x = net.pool(&PoolDesc::max(pool), x);
    }
    let x = net.flatten(x);
    let x = net.gemm(x, 64 * 2 * 4 * 4, 64);
    let x = net.relu(x);
    let x = net.gemm(x, 64, 10);
    net.finish(x)
}
