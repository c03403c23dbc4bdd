//! Products of quantised numbers in f32, where every sum of them is a whole number that f32 holds: then they are as exact as in integers,
//! in any order.
//!
//! That is the faster way where dot products of bytes are no instruction, as on software adapters, and where a group's few channels
//! would leave most of a word of bytes empty. Whether it is exact is told by the weights, which mostly are far from the largest bytes:
//! the largest sum of any of a filter's products is that of its positive weights times the greatest input and of its negative ones times
//! the least.

use std::sync::Arc;

use super::Lowering;
use super::bytes::{ByteConvolution, Bytes, Sums};
use super::layers::{Convolution, Numbers};
use crate::activation::Activation;
use crate::desc::{ConvDesc, Epilogue};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::limits::{DeviceClass, DeviceLimits};
use crate::network::program::DeviceId;
use crate::operation::PackBytes;
use crate::problem::Problem;
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::Value;

/// f32 holds every whole number up to this one.
const LARGEST: i64 = 1 << 24;

/// The greatest distance of two bytes.
const SPREAD: i64 = 255;

/// The weights of a convolution less their zero points, filter by filter in the layer's order.
struct Centred {
    kernel: Vec<f32>,
    /// Of each filter the sum of its positive weights, and that of its negative ones without their sign.
    sums: Vec<[i64; 2]>,
}

impl Centred {
    fn new(pack: &PackBytes, numbers: &[i64], zeros: &[i64]) -> Self {
        let [outer, channel, inner] = pack.strides;
        let (mut kernel, mut sums) = (Vec::with_capacity(pack.outer * pack.channels * pack.inner), Vec::new());
        for (filter, zero) in (0..pack.outer).zip(zeros.iter().cycle()) {
            let [mut above, mut below] = [0; 2];
            for place in (0..pack.channels).flat_map(|c| (0..pack.inner).map(move |k| c * channel + k * inner)) {
                let weight = numbers[filter * outer + place] - zero;
                above += weight.max(0);
                below += (-weight).max(0);
                kernel.push(weight as f32);
            }
            sums.push([above, below]);
        }
        Self { kernel, sums }
    }

    /// The bias of each filter that makes up for an input's zero point.
    fn bias(&self, zero: i64) -> Vec<i64> {
        self.sums.iter().map(|[above, below]| zero * (below - above)).collect()
    }

    /// Whether all sums with inputs in this range, and all parts of such sums, are exact, with a bias for each filter added last.
    fn exact(&self, [low, high]: [i64; 2], bias: &[i64]) -> bool {
        let (low, high) = (low.min(0).abs(), high.max(0));
        let most = |[above, below]: [i64; 2]| (above * high + below * low).max(above * low + below * high);
        self.sums.iter().zip(bias).all(|(&sums, bias)| most(sums).saturating_add(bias.abs()) <= LARGEST)
    }
}

/// Whether sums of products of bytes are faster in floats: a software adapter has to take words of bytes apart, and multiplies 32-bit
/// integers at a fraction of the speed of floats. Planning within WebGPU's limits is planning for any device, and most have the dot products.
fn prefers_floats(limits: &DeviceLimits) -> bool {
    limits.class == DeviceClass::Software && limits.subgroup.is_some()
}

impl Lowering<'_> {
    /// The sums of a convolution in f32, where they are exact there and floats are the better way.
    pub(super) fn whole_sums(&mut self, convolution: &ByteConvolution, input: &Bytes, weights: &Bytes) -> Result<Option<Sums>> {
        let [_, of_weights] = &convolution.packs;
        let few = of_weights.channels <= 2;
        match (&weights.constant, weights.known_zeros()) {
            (Some(value), Some(zeros)) if few || prefers_floats(self.engine.limits()) => {
                self.known_sums(convolution, input, Centred::new(of_weights, &value.to_i64(), &zeros))
            }
            _ if few => self.computed_sums(convolution, input, weights),
            _ => Ok(None),
        }
    }

    fn known_sums(&mut self, convolution: &ByteConvolution, input: &Bytes, weights: Centred) -> Result<Option<Sums>> {
        let least = i64::from(input.shift) - 128;
        let bytes = [least, least + 255];
        let zero = input.known_zeros().map(|zeros| zeros[0]);
        let none = || vec![0; weights.sums.len()];
        let (as_it_is, range, mut bias) = match zero {
            Some(0) => (true, bytes, none()),
            // No window reaches beyond the input: what the zero point adds to each sum is the same everywhere.
            Some(zero) if unpadded(convolution)? && weights.exact(bytes, &weights.bias(zero)) => {
                (true, bytes, weights.bias(zero))
            }
            Some(zero) => (false, bytes.map(|end| end - zero), none()),
            None => (false, [-SPREAD, SPREAD], none()),
        };
        if !weights.exact(range, &bias) {
            return Ok(None);
        }
        let mut slope = None;
        let mut epilogue = Epilogue::default();
        if let Some(ending) = &convolution.ending {
            let own = ending.bias.clone().unwrap_or_else(none);
            let both: Vec<i64> = own.iter().zip(&bias).map(|(own, bias)| own + bias).collect();
            if let Some((low, high)) = ending.element.range().filter(|_| weights.exact(range, &both)) {
                let [zero, min, max] = [ending.zero as f32, low as f32, high as f32];
                epilogue.activation = Activation::Quantize { zero, min, max };
                slope = Some(ending.factors.iter().copied().cycle().take(both.len()).collect());
                bias = both;
            }
        }
        let ended = slope.is_some();
        epilogue.bias = bias.iter().any(|&bias| bias != 0);
        let bias = epilogue.bias.then(|| bias.iter().map(|&bias| bias as f32).collect());
        let desc = ConvDesc { epilogue, ..convolution.desc };
        let of_filters = |list: Option<Vec<f32>>| -> Result<Option<Arc<Value>>> {
            list.map(|list| Value::new(&[list.len()], list).map(Arc::new)).transpose()
        };
        let kernel = Arc::new(Value::new(&desc.weight_shape()?, weights.kernel)?);
        let numbers = Numbers::Whole { kernel, bias: of_filters(bias)?, slope: of_filters(slope)? };
        let x = if as_it_is { input.device } else { self.centred(input)? };
        let x = self.view(x, &convolution.input);
        let device = self.convolution(Convolution { desc, input: x, numbers, residual: None })?;
        Ok(Some(Sums { device, ended }))
    }

    /// With weights that the device has to take the zero points off.
    fn computed_sums(&mut self, convolution: &ByteConvolution, input: &Bytes, weights: &Bytes) -> Result<Option<Sums>> {
        let &PackBytes { outer, channels, inner, strides, .. } = &convolution.packs[1];
        let terms = channels * inner;
        let zeros = weights.zero.as_ref().map_or(1, |(zero, _)| self.shape(*zero).iter().product());
        let in_order = strides == [terms, inner, 1] && (zeros == 1 || zeros == outer);
        if !in_order || terms as i64 * SPREAD * SPREAD > LARGEST {
            return Ok(None);
        }
        let x = self.centred(input)?;
        let filters = Bytes { device: self.view(weights.device, &[outer, terms]), ..weights.clone() };
        let numbers = Numbers::Computed { from: self.centred(&filters)?, source: None, bias: None, slope: None };
        let x = self.view(x, &convolution.input);
        let device = self.convolution(Convolution { desc: convolution.desc, input: x, numbers, residual: None })?;
        Ok(Some(Sums { device, ended: false }))
    }

    /// A factor less its zero point, of which there is one for all or one for each place on the first axis. One that is known to be 0 is
    /// not taken off.
    fn centred(&mut self, factor: &Bytes) -> Result<DeviceId> {
        let Some((zero, _)) = factor.zero else { return Ok(factor.device) };
        if factor.known_zeros().is_some_and(|zeros| zeros.iter().all(|&zero| zero == 0)) {
            return Ok(factor.device);
        }
        let rank = self.shape(factor.device).len();
        let shape = match self.shape(zero).iter().product() {
            1 => Vec::new(),
            count => [&[count][..], &vec![1; rank - 1]].concat(),
        };
        let zero = self.view(zero, &shape);
        self.elementwise("centre", "a - b", &[factor.device, zero], DType::F32)
    }
}

/// Whether no window of a convolution reaches beyond its input.
fn unpadded(convolution: &ByteConvolution) -> Result<bool> {
    let geometry = Geometry::new(&Problem::conv(&convolution.desc, &TensorDesc::f32(&convolution.input)))?;
    Ok(geometry.pad_begin == [0; 3] && geometry.pad_end.iter().all(|&pad| pad <= 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_up_to_the_last_whole_number_that_floats_hold() {
        // Two filters of two channels and one tap, as columns: 1 2 and 3 -4 with zero points 0 and 1.
        let pack = PackBytes { outer: 2, channels: 2, inner: 1, strides: [1, 2, 1], shift: 0 };
        let weights = Centred::new(&pack, &[1, 3, 2, -4], &[0, 1]);
        assert_eq!((&weights.kernel[..], &weights.sums[..]), (&[1.0, 2.0, 2.0, -5.0][..], &[[3, 0], [2, 5]][..]));
        assert_eq!(weights.bias(10), [-30, 30]);
        // The second filter is the larger one: 2 and -5.
        let (part, none) = (LARGEST / 5, [0, 0]);
        assert!(weights.exact([0, part], &none) && !weights.exact([0, part + 1], &none), "products of one sign");
        let part = LARGEST / 7;
        assert!(weights.exact([-part, part], &none) && !weights.exact([-part - 1, part + 1], &none), "products of both");
        assert!(weights.exact([1 - part, part], &[0, 3]) && !weights.exact([-part, part], &[0, 3]), "a bias");
        assert!(
            weights.exact([5, 5], &[LARGEST - 15, 0]) && !weights.exact([5, 5], &[LARGEST - 14, 0]),
            "inputs that are never 0"
        );
    }
}
