//! Filters of Winograd's convolutions, transformed once on the host, in f64.

use super::winograd::{TAPS, filtered_axes, is_filtered, product_taps};
use crate::geometry::Geometry;
use crate::tensor_desc::DType;

/// How many times larger than `G g G^T` the filters are, and how many times smaller than `B^T d B` the inputs: 1 in f32. In f16 2 for each
/// transformed axis: an input of `F(2, 3)` is a difference or a sum of two on each axis, so that the halved one is no larger than they.
/// Filters grow by 3 on an axis. Neither costs a bit of exactness, but of inputs that are smaller than f16's normal numbers.
pub(super) fn scale(geometry: &Geometry, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f64::from(1 << filtered_axes(geometry)),
        DType::F32 | DType::I32 => 1.0,
    }
}

/// `G` of `F(2, 3)` and `F(4, 3)`: what a kernel of three taps is on each component.
fn filter_transform(outputs: u32) -> &'static [[f64; 3]] {
    const F2: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    const F4: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    if outputs == 2 { &F2 } else { &F4 }
}

/// `G g G^T` of every filter: `[component, out_channels, group_in, other taps]` from `[out_channels, group_in, taps]`.
/// Those of f16 are [scaled](scale).
pub(super) fn transform_weights(geometry: &Geometry, outputs: u32, dtype: DType, rows: &[f32]) -> Vec<f32> {
    let g = filter_transform(outputs);
    let single = [[1.0, 0.0, 0.0]]; // an axis that is not transformed has one component
    let along_y: &[[f64; 3]] = if is_filtered(geometry, 1) { g } else { &single };
    let filter = (geometry.taps() / product_taps(geometry)) as usize;
    let scale = scale(geometry, dtype);
    let components = along_y.iter().flat_map(|y| g.iter().map(move |x| (y, x)));
    let transformed = components.flat_map(|(y, x)| {
        rows.chunks_exact(filter).map(move |filter| {
            let product = |(tap, &w): (usize, &f32)| f64::from(w) * y[tap / TAPS as usize] * x[tap % TAPS as usize];
            (filter.iter().enumerate().map(product).sum::<f64>() * scale) as f32
        })
    });
    transformed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Problem;

    #[test]
    fn the_corners_of_a_transformed_kernel_are_its_scaled_corners() {
        let problem: Problem = "conv 1x1x8x8 o1 k3x3 f32".parse().unwrap();
        let geometry = Geometry::new(&problem).unwrap();
        let kernel: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let two = transform_weights(&geometry, 2, DType::F32, &kernel);
        assert_eq!(two.len(), 16);
        assert_eq!((two[0], two[3], two[12], two[15]), (1.0, 3.0, 7.0, 9.0));
        let four = transform_weights(&geometry, 4, DType::F32, &kernel);
        assert_eq!((four.len(), four[0], four[35]), (36, 1.0 / 16.0, 9.0));
        // Whole numbers: nothing is lost in f16.
        let half = transform_weights(&geometry, 2, DType::F16, &kernel);
        assert!(half.iter().zip(two).all(|(half, two)| *half == 4.0 * two && half.fract() == 0.0));
    }
}
