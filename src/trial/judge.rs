//! [`Judge`]: how far an output may be from the reference's.

use crate::algorithm::{Algorithm, Tolerance};
use crate::desc::{PoolKind, Residual};
use crate::geometry::Geometry;
use crate::problem::{Layer, Problem};
use crate::reference::ConvOperands;
use crate::tensor_desc::DType;

/// How far each output of a layer may be from the reference's, by one algorithm: what the check *bounded* asks, for whoever has
/// outputs and some of the reference's results, such as those of [`conv_at`](crate::reference::conv_at).
#[derive(Debug)]
pub struct Judge<'a> {
    layer: &'a Layer,
    dtype: DType,
    tolerance: Tolerance,
    /// The steepest slope of the activation, where it has some.
    slope: f64,
    residual: Option<&'a [f32]>,
}

impl<'a> Judge<'a> {
    /// Of the outputs of `problem`, whose numbers are `geometry`; a pooling's operands have neither weights nor residual.
    pub fn new(problem: &'a Problem, geometry: &Geometry, algorithm: &Algorithm, operands: &ConvOperands<'a>) -> Self {
        let dtype = problem.input.dtype();
        let slopes = operands.weights.slope.into_iter().flatten();
        Self {
            layer: &problem.layer,
            dtype,
            tolerance: algorithm.tolerance(geometry, dtype),
            slope: slopes.fold(0.0, |most: f64, &slope| most.max(f64::from(slope).abs())),
            residual: operands.residual,
        }
    }

    /// The error of the output of this flat index as a part of its bound: at most 1 where it is right, infinite for NaN.
    ///
    /// `expected` is the reference's value and magnitude, as in [`Output`](crate::reference::Output); where the algorithm [shares
    /// magnitudes](Self::shares_magnitudes), the largest magnitude of the output's channel.
    pub fn error(&self, index: usize, expected: (f64, f64), got: f32) -> f64 {
        let (got, wanted, bound) = (f64::from(got), expected.0, self.bound(index, expected));
        // From half a step above the largest f16 on, infinity is the right answer.
        let overflows = self.dtype == DType::F16 && wanted.abs() + bound >= 65_520.0;
        if overflows && got.is_infinite() && got.signum() == wanted.signum() {
            return 0.0;
        }
        let error = (got - wanted).abs();
        // A max pooling has no error and the bound 0. NaN is not an error to be measured but always too large.
        if error == 0.0 {
            0.0
        } else if error.is_nan() {
            f64::INFINITY
        } else {
            error / bound
        }
    }

    /// Whether errors go from one output to its neighbours; see [`Tolerance`].
    pub fn shares_magnitudes(&self) -> bool {
        self.tolerance.shared
    }

    /// The largest error that is right.
    pub(super) fn bound(&self, index: usize, (value, magnitude): (f64, f64)) -> f64 {
        let (value, tolerance) = (value.abs(), &self.tolerance);
        match self.layer {
            Layer::Conv(desc) => {
                let activation = &desc.epilogue.activation;
                let lipschitz = activation.lipschitz(self.slope, value);
                // A residual that is added behind the activation may cancel what the activation gave.
                let added = match (desc.epilogue.residual, self.residual) {
                    (Residual::AfterActivation, Some(residual)) => f64::from(residual[index]).abs(),
                    _ => 0.0,
                };
                let rounding = tolerance.relative * (value + added) + tolerance.absolute;
                tolerance.sum * magnitude * lipschitz + rounding + activation.step()
            }
            Layer::Pool(desc) if matches!(desc.kind, PoolKind::Max { .. }) => 0.0,
            Layer::Pool(_) => tolerance.sum * magnitude + tolerance.relative * value + tolerance.absolute,
        }
    }
}
