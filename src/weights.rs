//! [`Weights`]: the learned numbers of a convolution as the caller has them, and batch normalisation folded into them.

use crate::desc::ConvDesc;
use crate::error::{Error, Result};

/// The learned numbers of a convolution, in PyTorch's and ONNX's order.
///
/// # Examples
/// ```
/// use wgconv::Weights;
/// let kernel = vec![0.5; 8 * 4 * 3 * 3];
/// let bias = vec![0.0; 8];
/// let weights = Weights { kernel: &kernel, bias: Some(&bias), ..Default::default() };
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Weights<'a> {
    /// `[out, in/groups, taps..]`, of a transposed convolution `[in, out/groups, taps..]`.
    pub kernel: &'a [f32],
    /// The shape that `kernel` was stored with, to be checked; `None` where nobody knows.
    pub kernel_shape: Option<&'a [usize]>,
    /// One number for each output channel, exactly where the epilogue asks for it.
    pub bias: Option<&'a [f32]>,
    /// One slope for each output channel, exactly where the activation [has slopes](crate::Activation::has_slope).
    pub slope: Option<&'a [f32]>,
}

impl Weights<'_> {
    /// Checks shapes and lengths against a description.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field `weight`, `bias` or `slope`.
    pub fn check(&self, desc: &ConvDesc) -> Result<()> {
        let shape = desc.weight_shape()?;
        if let Some(stored) = self.kernel_shape.filter(|&stored| stored != shape) {
            return Err(Error::invalid("weight", format!("has shape {stored:?}, but the description needs {shape:?}")));
        }
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if elements != Some(self.kernel.len()) {
            return Err(Error::invalid(
                "weight",
                format!(
                    "data has {} elements, but shape {shape:?} needs {}",
                    self.kernel.len(),
                    shape.iter().map(|&v| v as f64).product::<f64>()
                ),
            ));
        }
        per_channel("bias", self.bias, desc.epilogue.bias, desc.out_channels)?;
        per_channel("slope", self.slope, desc.epilogue.activation.has_slope(), desc.out_channels)
    }
}

/// One number for each output channel, present exactly where the description needs it.
fn per_channel(field: &'static str, data: Option<&[f32]>, needed: bool, channels: usize) -> Result<()> {
    match data {
        Some(_) if !needed => Err(Error::invalid(field, format!("{field} is given, but the description has none"))),
        None if needed => Err(Error::invalid(field, format!("{field} is missing: the description needs {channels} numbers"))),
        Some(data) if data.len() != channels => {
            Err(Error::invalid(field, format!("has {} elements, but there are {channels} output channels", data.len())))
        }
        _ => Ok(()),
    }
}

/// The statistics of a batch normalisation: `y = (x - mean) / sqrt(variance + epsilon) * scale + shift`, one of each for each channel.
///
/// Source: Ioffe and Szegedy, "Batch Normalization" (2015).
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a> {
    /// The learned scale, gamma.
    pub scale: &'a [f32],
    /// The learned shift, beta.
    pub shift: &'a [f32],
    /// The running mean.
    pub mean: &'a [f32],
    /// The running variance.
    pub variance: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Weights with a batch normalisation folded in: a kernel and a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// The scaled kernel, in the order of the original.
    pub kernel: Vec<f32>,
    /// The new bias.
    pub bias: Vec<f32>,
}

impl BatchNorm<'_> {
    /// Checks that each vector has one number for each channel.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field `batch_norm`.
    pub fn check(&self, channels: usize) -> Result<()> {
        for (name, list) in [("scale", self.scale), ("shift", self.shift), ("mean", self.mean), ("variance", self.variance)] {
            if list.len() != channels {
                return Err(Error::invalid(
                    "batch_norm",
                    format!("{name} has {} elements, but there are {channels} channels", list.len()),
                ));
            }
        }
        Ok(())
    }

    /// `x -> factor*x + offset` of one channel, in f64.
    pub fn affine(&self, channel: usize) -> (f64, f64) {
        let [scale, shift, mean, variance] =
            [self.scale, self.shift, self.mean, self.variance].map(|list| f64::from(list[channel]));
        let factor = scale / (variance + f64::from(self.epsilon)).sqrt();
        (factor, shift - mean * factor)
    }

    /// Folds the normalisation behind a convolution into its weights, so that it costs nothing: `w' = factor*w`,
    /// `b' = factor*b + offset`, computed in f64.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for wrong lengths, and for a channel whose factor is not finite
    /// (variance and epsilon 0): its convolution cannot carry the normalisation.
    pub fn fold(&self, desc: &ConvDesc, weights: &Weights) -> Result<Folded> {
        weights.check(desc)?;
        self.check(desc.out_channels)?;
        let affine: Vec<_> = (0..desc.out_channels).map(|channel| self.affine(channel)).collect();
        if let Some(channel) = affine.iter().position(|(factor, offset)| !(factor.is_finite() && offset.is_finite())) {
            let (variance, epsilon) = (self.variance[channel], self.epsilon);
            return Err(Error::invalid(
                "batch_norm",
                format!("channel {channel} has variance {variance} and epsilon {epsilon}, by whose root it would divide"),
            ));
        }
        let taps: usize = desc.kernel.as_slice().iter().product();
        let (group_in, group_out) = (desc.in_channels / desc.groups, desc.out_channels / desc.groups);
        let channel_of = |index: usize| {
            let row = index / taps;
            // `[in, out/groups]` of a transposed convolution, `[out, in/groups]` of another.
            if desc.transposed { row / group_out / group_in * group_out + row % group_out } else { row / group_in }
        };
        let kernel =
            weights.kernel.iter().enumerate().map(|(index, &w)| (f64::from(w) * affine[channel_of(index)].0) as f32).collect();
        let bias = affine.iter().enumerate().map(|(channel, (factor, offset))| {
            (weights.bias.map_or(0.0, |bias| f64::from(bias[channel])) * factor + offset) as f32
        });
        Ok(Folded { kernel, bias: bias.collect() })
    }
}
