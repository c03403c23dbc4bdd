//! Weights in the order that kernels read them, made once on the host.

use std::borrow::Cow;

use super::plan::{Packing, packed_elements};
use crate::geometry::Geometry;

/// Lays out weights that are in the user's order.
pub(super) fn pack(geometry: &Geometry, packing: Packing, weights: &[f32]) -> Vec<f32> {
    match packing {
        Packing::None => Vec::new(),
        Packing::Rows => rows(geometry, weights).into_owned(),
        Packing::Panels { block_m, block_k, .. } => {
            panels(geometry, packing, &rows(geometry, weights), block_m as usize, block_k as usize)
        }
    }
}

/// `[out_channels, group_in, taps]`: the weights of the convolution that the geometry describes.
fn rows<'a>(geometry: &Geometry, weights: &'a [f32]) -> Cow<'a, [f32]> {
    if !geometry.transposed {
        return weights.into();
    }
    let [groups, group_in, group_out] = [geometry.groups, geometry.group_in(), geometry.group_out()].map(|count| count as usize);
    let taps = geometry.taps() as usize;
    let mut packed = Vec::with_capacity(weights.len());
    for (group, m) in (0..groups).flat_map(|group| (0..group_out).map(move |m| (group, m))) {
        for c in 0..group_in {
            // `[in, out/groups, taps]`, and flipped: the last tap of the one is the first of the other on every axis.
            let start = ((group * group_in + c) * group_out + m) * taps;
            packed.extend(weights[start..start + taps].iter().rev());
        }
    }
    packed.into()
}

/// `[group, block of m, tap, block of k][block_k, block_m]`, zeros where a block runs over.
fn panels(geometry: &Geometry, packing: Packing, rows: &[f32], block_m: usize, block_k: usize) -> Vec<f32> {
    let [groups, mut group_in, group_out] =
        [geometry.groups, geometry.group_in(), geometry.group_out()].map(|count| count as usize);
    let mut taps = geometry.taps() as usize;
    if matches!(packing, Packing::Panels { flat: true, .. }) {
        (group_in, taps) = (group_in * taps, 1);
    }
    let blocks_k = group_in.div_ceil(block_k);
    let elements = packed_elements(geometry, packing);
    let mut packed = vec![0.0; usize::try_from(elements).expect("the plan fits a binding")];
    let blocks = (0..groups).flat_map(|group| (0..group_out.div_ceil(block_m)).map(move |block| (group, block)));
    for ((group, block), panels) in blocks.zip(packed.chunks_exact_mut(taps * blocks_k * block_k * block_m)) {
        for (number, panel) in panels.chunks_exact_mut(block_k * block_m).enumerate() {
            let (tap, first_c) = (number / blocks_k, number % blocks_k * block_k);
            for (row, values) in panel.chunks_exact_mut(block_m).enumerate().take(group_in - first_c) {
                for (column, value) in values.iter_mut().enumerate().take(group_out - block * block_m) {
                    let m = group * group_out + block * block_m + column;
                    *value = rows[(m * group_in + first_c + row) * taps + tap];
                }
            }
        }
    }
    packed
}
