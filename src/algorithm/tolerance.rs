//! [`Tolerance`]: how far an algorithm may be from the exact result. It belongs to the algorithm, never to a test.

use super::{Algorithm, half};
use crate::geometry::Geometry;
use crate::tensor_desc::DType;

/// The bound of an output `y` with exact value `e`, whose sum has the terms `t_i`:
/// `|y - e| <= sum * sum|t_i| * lipschitz + relative * |e| + absolute`.
///
/// `sum` bounds the rounding of a sum of `n` products in f32 in any order (Higham, "Accuracy and Stability of Numerical Algorithms",
/// 2002, section 3.1), `relative` and `absolute` the activation and the rounding to the output's type. Tiles that sum runs of `r` products
/// in f16, such as `gemm(64x64x16,8x4,h8)`, add `(r + 1) / 2048` and a little to `sum`: a product may be rounded, and so is each of `r`
/// partial sums, to 11 bits. That holds where no partial sum passes 65,504.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Of the sum of the terms' magnitudes.
    pub sum: f64,
    /// Of the exact output.
    pub relative: f64,
    /// Regardless of both.
    pub absolute: f64,
    /// Whether `sum` is of the largest sum of magnitudes in the output's channel, and not of the output's own: a transform over a tile
    /// carries errors from one output to its neighbours.
    pub shared: bool,
}

/// The unit roundoff of f32.
const EPSILON: f64 = 1.0 / (1u64 << 24) as f64;

impl Algorithm {
    /// Whether sums of small integers come out without any rounding: where f16 is summed, of those whose runs stay below 2,048.
    pub fn is_exact(&self) -> bool {
        !matches!(self, Algorithm::Winograd(tile) if !tile.is_exact())
    }

    /// How far this algorithm's results may be from the exact ones.
    pub fn tolerance(&self, geometry: &Geometry, dtype: DType) -> Tolerance {
        // Each term is rounded once as a product and once in every partial sum; the epilogue adds two more.
        let terms = geometry.reduction() as f64 + 3.0;
        // Rounding to the output: half a step of 11 bits, and of the smallest subnormals.
        let (relative, absolute) = match dtype {
            DType::F16 => (1.0 / 2048.0, 6e-8),
            DType::F32 | DType::I32 => (EPSILON, 1e-38),
        };
        let pointwise = 16.0 * EPSILON; // exp, tanh and friends on a GPU
        match self {
            // pow() of a GPU is exp2(p * log2(x)): its error grows with the exponent.
            Algorithm::PoolPatch(_) | Algorithm::PoolPlane(_) | Algorithm::Pool | Algorithm::PoolTree => {
                Tolerance { sum: (terms + 64.0) * EPSILON, relative: relative + 4.0 * pointwise, absolute, shared: false }
            }
            Algorithm::Winograd(tile) => {
                let sum = tile.error(geometry, terms, EPSILON);
                Tolerance { sum, relative: relative + pointwise, absolute: absolute + 4e-7, shared: true }
            }
            // Products of f16 are exact in f32. Tensor cores cut their sums off instead of rounding them, and the terms of a matrix at the
            // place of the largest (Fasi et al., "Numerical Behavior of NVIDIA Tensor Cores", 2021): two errors of a whole step to a term.
            Algorithm::CoopGemm(_) | Algorithm::CoopMatmul(_) => {
                let sum = 4.0 * terms * EPSILON;
                Tolerance { sum, relative: relative + pointwise, absolute: absolute + 4e-7, shared: false }
            }
            Algorithm::Direct
            | Algorithm::Gemm(_)
            | Algorithm::SubgroupGemm(_)
            | Algorithm::SubgroupStrip(_)
            | Algorithm::Matmul(_)
            | Algorithm::SubgroupMatmul(_)
            | Algorithm::Depthwise(_) => {
                // Each run's part of the error is of its own terms, so together they are of all terms. Below the normal numbers of f16
                // roundings are of half a step of 2^-24, two to a term.
                let (half, below) = match self.half() {
                    0 => (0.0, 0.0),
                    run => (half::error(run), terms / f64::from(1 << 24)),
                };
                let sum = half + terms * EPSILON;
                Tolerance { sum, relative: relative + pointwise, absolute: absolute + 4e-7 + below, shared: false }
            }
        }
    }

    /// Products of a run that is summed in f16; 0 where all is in f32.
    fn half(&self) -> u32 {
        match self {
            Algorithm::Gemm(tile) | Algorithm::Matmul(tile) => tile.half,
            Algorithm::SubgroupGemm(tile) | Algorithm::SubgroupMatmul(tile) => tile.half,
            _ => 0,
        }
    }
}
