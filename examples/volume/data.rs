//! The volumes, what was measured when the model was trained, and the model: compiled in, so that the program needs no file.

use serde_json::Value as Json;
use wgconv::safetensors;

use crate::Result;

/// The trained network; source and licence: `examples/data/volume/NOTICE`.
pub const MODEL: &[u8] = include_bytes!("../data/volume/unet3d.onnx");
const PHANTOM: &[u8] = include_bytes!("../data/volume/phantom.safetensors");
const INFO: &str = include_str!("../data/volume/info.json");

/// A scan of a phantom, without noise and with.
pub struct Phantom {
    pub clean: Vec<f32>,
    pub noisy: Vec<f32>,
    /// Slices, rows, columns.
    pub size: [usize; 3],
}

/// What was measured in PyTorch: peak signal-to-noise ratios in decibels.
pub struct Stated {
    pub noisy: f64,
    pub mean_filter: f64,
    pub unet: f64,
}

impl Phantom {
    pub fn load() -> Result<Self> {
        let broken = |what: String| format!("phantom.safetensors: {what}");
        let file = safetensors::read(PHANTOM).map_err(|error| broken(error.to_string()))?;
        let volume = |name: &str| -> Result<(Vec<f32>, [usize; 3])> {
            let tensor = file.tensor(name).map_err(|error| broken(error.to_string()))?;
            let &[1, 1, depth, height, width] = tensor.shape() else { return Err(broken(format!("{name} is {tensor}")).into()) };
            Ok((tensor.to_f32(), [depth, height, width]))
        };
        let ((clean, size), (noisy, other)) = (volume("clean")?, volume("noisy")?);
        if size != other {
            return Err(format!("phantom.safetensors: clean is {size:?}, but noisy {other:?}").into());
        }
        Ok(Self { clean, noisy, size })
    }

    /// `[1, 1, d, h, w]`
    pub fn shape(&self) -> Vec<usize> {
        [&[1, 1], self.size.as_slice()].concat()
    }

    /// The brightest voxel without noise: white in pictures, and the peak of the ratios.
    pub fn peak(&self) -> f32 {
        self.clean.iter().copied().fold(0.0, f32::max)
    }

    /// The peak signal-to-noise ratio of a volume, `10 log10(peak^2 / mean square error)`, in decibels.
    pub fn psnr(&self, volume: &[f32]) -> f64 {
        let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
        let mean = volume.iter().zip(&self.clean).map(square).sum::<f64>() / self.clean.len() as f64;
        10.0 * (f64::from(self.peak()).powi(2) / mean).log10()
    }
}

impl Stated {
    pub fn load() -> Result<Self> {
        let info: Json = serde_json::from_str(INFO).map_err(|error| format!("info.json: {error}"))?;
        let number = |name: &str| info.get(name).and_then(Json::as_f64).ok_or_else(|| format!("info.json: {name} is no number"));
        Ok(Self { noisy: number("psnr_noisy")?, mean_filter: number("psnr_mean_filter_3x3x3")?, unet: number("psnr_unet")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noisy_volume_has_the_stated_noise() {
        let (phantom, stated) = (Phantom::load().expect("bundled file"), Stated::load().expect("bundled file"));
        assert_eq!(phantom.size, [9, 64, 64]);
        assert!((phantom.psnr(&phantom.noisy) - stated.noisy).abs() < 1e-4);
    }
}
