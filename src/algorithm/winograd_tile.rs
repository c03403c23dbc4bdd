//! [`WinogradTile`]: how a Winograd convolution is tiled, and how that prints and parses.

use std::fmt;

use super::winograd::filtered_axes;
use super::{CoopTile, GemmTile, SubgroupTile};
use crate::geometry::Geometry;
use crate::tensor_desc::DType;

/// How a Winograd convolution is tiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WinogradTile {
    /// Outputs of a tile on each transformed axis, the `m` of `F(m, 3)`: 2 or 4.
    pub outputs: u32,
    /// The tile of the matrix product between the transforms.
    pub product: ProductTile,
}

/// The tile of a matrix product, and with it its loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProductTile {
    /// Through workgroup memory.
    Workgroup(GemmTile),
    /// Through subgroup broadcasts.
    Subgroup(SubgroupTile),
    /// Of cooperative matrices, where the layer is in f16. Transformed inputs and weights are rounded to f16, which makes an error of
    /// about that of rounding the result to f16; sums stay in f32. A weight of 7,280 or more, 21,840 where one axis is transformed, may
    /// overflow when it is transformed; inputs, whatever they are, do not.
    Cooperative(CoopTile),
}

impl ProductTile {
    /// Output channels and input channels of a panel of weights.
    pub(super) fn panel(&self, geometry: &Geometry) -> [u32; 2] {
        match self {
            ProductTile::Workgroup(tile) => tile.panel(),
            ProductTile::Subgroup(tile) => [tile.block_m, tile.turn(geometry)],
            ProductTile::Cooperative(tile) => tile.panel(),
        }
    }

    /// Slices of the product's sums.
    pub(super) fn split_k(&self) -> u32 {
        match self {
            ProductTile::Workgroup(tile) => tile.split_k,
            ProductTile::Subgroup(tile) => tile.split_k,
            ProductTile::Cooperative(tile) => tile.split_k,
        }
    }

    /// The elements of transformed inputs and weights.
    pub(super) fn dtype(&self) -> DType {
        match self {
            ProductTile::Workgroup(_) | ProductTile::Subgroup(_) => DType::F32,
            ProductTile::Cooperative(_) => DType::F16,
        }
    }
}

impl fmt::Display for WinogradTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.product {
            ProductTile::Workgroup(tile) => write!(f, "{},gemm,{tile}", self.outputs),
            ProductTile::Subgroup(tile) => write!(f, "{},subgroup,{tile}", self.outputs),
            ProductTile::Cooperative(tile) => write!(f, "{},coop,{tile}", self.outputs),
        }
    }
}

impl WinogradTile {
    /// Parses what `Display` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (outputs, rest) = text.split_once(',')?;
        let (name, tile) = rest.split_once(',')?;
        let product = match name {
            "gemm" => ProductTile::Workgroup(GemmTile::parse(tile)?),
            "subgroup" => ProductTile::Subgroup(SubgroupTile::parse(tile)?),
            "coop" => ProductTile::Cooperative(CoopTile::parse(tile)?),
            _ => return None,
        };
        let outputs = outputs.parse().ok().filter(|outputs| [2, 4].contains(outputs))?;
        Some(Self { outputs, product })
    }

    /// How far results may be from the exact ones, as a part of the largest sum of magnitudes in their channel; `terms` is how many a sum
    /// has, and `epsilon` the unit roundoff of f32.
    pub(super) fn error(&self, geometry: &Geometry, terms: f64, epsilon: f64) -> f64 {
        match &self.product {
            // The transforms multiply errors by the products of their norms. Measured: 2e-7 and 3e-6 of the largest sum.
            ProductTile::Workgroup(_) | ProductTile::Subgroup(_) => (if self.is_exact() { 8.0 } else { 128.0 }) * terms * epsilon,
            // An output is `A^T [U * V] A`, and its error at most that of each of these products, added up over `|A|`. Put into `|U| <=
            // |G||w||G|^T` and `|V| <= |B|^T|x||B|`, this has products of a tap and an input, each of which is a term of this output or of
            // a neighbour. On an axis of `F(2, 3)` the most that one of these terms is counted is 1 for three outputs and 2 for a fourth:
            // together at most 5 times the largest sum. U and V are rounded to f16, each to half a step, and the products are summed as
            // those of `coop_gemm` are.
            ProductTile::Cooperative(_) => {
                let rounded = f64::from(half::f16::EPSILON); // twice the unit roundoff
                5f64.powi(filtered_axes(geometry) as i32) * (rounded + 4.0 * terms * epsilon)
            }
        }
    }

    /// Whether sums of integers come out exact: the transforms of `F(2, 3)` only add and halve.
    pub(super) fn is_exact(&self) -> bool {
        self.outputs == 2
    }
}

#[cfg(test)]
mod tests {
    use crate::{Algorithm, DeviceLimits, Precision, Problem};

    fn device() -> DeviceLimits {
        DeviceLimits {
            f16: true,
            subgroup: Some(8),
            cooperative_matrix: Some(8),
            precision: Precision::Fast,
            ..Default::default()
        }
    }

    fn refusal(algorithm: &str, line: &str, limits: &DeviceLimits) -> String {
        let (algorithm, problem): (Algorithm, Problem) = (algorithm.parse().unwrap(), line.parse().unwrap());
        algorithm.plan(&problem, limits).unwrap_err().message().into()
    }

    #[test]
    fn products_print_and_parse() {
        for tile in ["winograd(4,gemm,64x64x16,8x4)", "winograd(2,subgroup,32x4,8,k2)", "winograd(2,coop,32x32x16,8,8)"] {
            assert_eq!(tile.parse::<Algorithm>().unwrap().to_string(), tile);
        }
        for bad in [
            "winograd(3,coop,32x32x16,8,8)",
            "winograd(2,coop,32x32x16,8)",
            "winograd(2,coop,30x32x16,8,8)",
            "winograd(2,32x4,8)",
        ] {
            assert!(bad.parse::<Algorithm>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cooperative_matrices_take_layers_in_f16_by_the_smaller_tile_on_their_device() {
        let (line, two) = ("conv 1x32x14x14 o32 k3x3 p1x1 f16", "winograd(2,coop,32x32x16,8,8)");
        let problem: Problem = line.parse().unwrap();
        let plan = two.parse::<Algorithm>().unwrap().plan(&problem, &device()).unwrap();
        // 16 components of 49 tiles in planes of 52: inputs in f16, products in f32.
        assert_eq!(plan.workspace, [2 * 16 * 52 * 32, 4 * 16 * 52 * 32]);
        let candidates = Algorithm::candidates(&problem, &device()).unwrap().algorithms;
        assert!(candidates.iter().any(|algorithm| algorithm.to_string().starts_with("winograd(2,coop,")), "{candidates:?}");

        assert!(refusal(two, &line.replace("f16", "f32"), &device()).contains("the layer is in f32"));
        assert!(refusal(&two.replace("(2", "(4"), line, &device()).contains("lose more than f16 has"));
        let other = DeviceLimits { cooperative_matrix: Some(16), ..device() };
        assert!(refusal(two, line, &other).contains("matrices of 8"));
    }
}
