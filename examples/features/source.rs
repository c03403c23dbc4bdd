//! A user's own picture as a plane of brightness, small enough that a sheet of its maps can be looked at.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};

use crate::Result;
use crate::plane::Plane;

/// Reads a PNG or JPEG file; its longer side becomes at most `longest` pixels.
pub fn read(path: &Path, longest: u32) -> Result<Plane> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("{name}: cannot be opened: {error}"))?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|error| format!("{name}: {error}"))?;
    let image = reader.decode().map_err(|error| format!("{name}: is no PNG or JPEG picture, or a damaged one: {error}"))?;
    Ok(plane(image, longest))
}

/// Luma in 0 to 1; what is transparent shows white paper.
fn plane(image: DynamicImage, longest: u32) -> Plane {
    let fits = image.width().max(image.height()) <= longest;
    let image = if fits { image } else { image.resize(longest, longest, FilterType::Triangle) };
    let image = image.into_luma_alpha16();
    let values = image.pixels().map(|pixel| {
        let [luma, alpha] = pixel.0.map(|value| f32::from(value) / f32::from(u16::MAX));
        luma * alpha + 1.0 - alpha
    });
    Plane::new(image.width() as usize, image.height() as usize, values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_is_made_small_and_keeps_its_proportions() {
        let plane = plane(DynamicImage::new_rgb8(400, 300), 200);
        assert_eq!((plane.width, plane.height, plane.max()), (200, 150, 0.0));
    }

    #[test]
    fn what_is_transparent_is_white() {
        assert!(plane(DynamicImage::new_rgba8(4, 4), 200).values.iter().all(|&value| value == 1.0));
    }
}
