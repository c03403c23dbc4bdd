//! Weights in the order that kernels read them, made once on the host.

use std::borrow::Cow;

use super::plan::Packing;
use super::winograd_weights::transform_weights;
use crate::geometry::Geometry;

/// Lays out weights that are in the user's order.
pub(super) fn pack(geometry: &Geometry, packing: Packing, weights: &[f32]) -> Vec<f32> {
    match packing {
        Packing::Winograd { dtype, outputs, components, taps, block_m, block_k } => {
            let mut matrices = matrices(geometry, block_m, block_k);
            (matrices.groups, matrices.taps) = (matrices.groups * components as usize, taps as usize);
            matrices.panels(&transform_weights(geometry, outputs, dtype, &rows(geometry, weights)), 0.0)
        }
        _ => order(geometry, packing, weights, 0.0),
    }
}

/// Lays out elements of any type where nothing is computed, `blank` where there is no weight.
pub(super) fn order<T: Copy>(geometry: &Geometry, packing: Packing, weights: &[T], blank: T) -> Vec<T> {
    match packing {
        Packing::None => Vec::new(),
        Packing::Rows => rows(geometry, weights).into_owned(),
        Packing::Panels { block_m, block_k, flat } => {
            let (mut matrices, rows) = (matrices(geometry, block_m, block_k), rows(geometry, weights));
            if !flat {
                return matrices.panels(&rows, blank);
            }
            // The order of the input's memory: taps inside channels, or channels inside taps.
            let shape = [matrices.groups * matrices.group_out, matrices.group_in, matrices.taps];
            (matrices.group_in, matrices.taps) = (matrices.group_in * matrices.taps, 1);
            matrices.panels(&geometry.input_layout.to_memory(&shape, &rows), blank)
        }
        Packing::Strips { block_m, taps, rows: strip } => {
            let mut matrices = matrices(geometry, block_m, 1);
            let rows = rows(geometry, weights);
            let (taps_x, taps, strip) = (geometry.kernel[2] as usize, taps as usize, strip as usize);
            let (channels, taps_y, segments) = (matrices.group_in, matrices.taps / taps_x, taps_x.div_ceil(taps));
            // `[m, c, z and y, x]` as `[m, c and padded x of a segment, z and y and segment]`.
            let at = |m: usize, k: usize, tap: usize| match (k % strip, tap % segments * taps + k % strip) {
                (in_segment, x) if in_segment < taps && x < taps_x => {
                    rows[((m * channels + k / strip) * taps_y + tap / segments) * taps_x + x]
                }
                _ => blank,
            };
            let panels = taps_y * segments;
            (matrices.group_in, matrices.block_k, matrices.taps) = (channels * strip, channels * strip, panels);
            let outs = matrices.groups * matrices.group_out;
            let each = (0..outs * channels * strip * panels).map(|number| {
                let (row, tap) = (number / panels, number % panels);
                at(row / (channels * strip), row % (channels * strip), tap)
            });
            matrices.panels(&each.collect::<Vec<_>>(), blank)
        }
        Packing::Winograd { .. } => unreachable!("Winograd's weights are computed, not moved"),
    }
}

fn matrices(geometry: &Geometry, block_m: u32, block_k: u32) -> Matrices {
    let size = |value: u32| value as usize;
    Matrices {
        groups: size(geometry.groups),
        group_in: size(geometry.group_in()),
        group_out: size(geometry.group_out()),
        taps: geometry.taps() as usize,
        block_m: size(block_m),
        block_k: size(block_k),
    }
}

/// `[out_channels, group_in, taps]`: the weights of the convolution that the geometry describes.
fn rows<'a, T: Copy>(geometry: &Geometry, weights: &'a [T]) -> Cow<'a, [T]> {
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

/// A batch of matrices to be cut into panels.
struct Matrices {
    groups: usize,
    group_in: usize,
    group_out: usize,
    taps: usize,
    block_m: usize,
    block_k: usize,
}

impl Matrices {
    /// `[group, block of m, tap, block of k][block_k, block_m]` from `[group, m, k, tap]`, `blank` where a block runs over.
    fn panels<T: Copy>(&self, rows: &[T], blank: T) -> Vec<T> {
        let &Self { groups, group_in, group_out, taps, block_m, block_k } = self;
        let blocks_k = group_in.div_ceil(block_k);
        let band = taps * blocks_k * block_k * block_m;
        let mut packed = vec![blank; groups * group_out.div_ceil(block_m) * band];
        let blocks = (0..groups).flat_map(|group| (0..group_out.div_ceil(block_m)).map(move |block| (group, block)));
        for ((group, block), panels) in blocks.zip(packed.chunks_exact_mut(band)) {
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
}
