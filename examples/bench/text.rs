//! Text on pictures, in a font that comes with the program: a system need not have any.

use image::{Rgb, RgbImage, imageops};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// The size and weight of a text.
#[derive(Debug, Clone, Copy)]
pub enum Face {
    Plain,
    Title,
}

impl Face {
    fn raster(self) -> (FontWeight, RasterHeight) {
        match self {
            Face::Plain => (FontWeight::Regular, RasterHeight::Size16),
            Face::Title => (FontWeight::Bold, RasterHeight::Size20),
        }
    }

    /// Width and height of a text in pixels.
    pub fn size(self, text: &str) -> (i32, i32) {
        let (weight, height) = self.raster();
        ((text.chars().count() * get_raster_width(weight, height)) as i32, height.val() as i32)
    }
}

/// Writes a text whose upper left corner is `at`; what lies beyond the picture is left out.
pub fn draw(image: &mut RgbImage, at: (i32, i32), face: Face, colour: Rgb<u8>, text: &str) {
    let (weight, height) = face.raster();
    let width = get_raster_width(weight, height) as i32;
    for (number, character) in (0..).zip(text.chars()) {
        // The font has Latin letters only.
        let glyph = get_raster(character, weight, height).or_else(|| get_raster('?', weight, height)).expect("the font has a ?");
        for (y, row) in (0..).zip(glyph.rows()) {
            for (x, &ink) in (0..).zip(row) {
                blend(image, (at.0 + number * width + x, at.1 + y), colour, ink);
            }
        }
    }
}

/// Writes a text upwards; `at` is its lower left corner as one sees it.
pub fn draw_upwards(image: &mut RgbImage, at: (i32, i32), face: Face, colour: Rgb<u8>, ground: Rgb<u8>, text: &str) {
    let (width, height) = face.size(text);
    let mut strip = RgbImage::from_pixel(width as u32, height as u32, ground);
    draw(&mut strip, (0, 0), face, colour, text);
    imageops::replace(image, &imageops::rotate270(&strip), i64::from(at.0), i64::from(at.1 - width));
}

fn blend(image: &mut RgbImage, (x, y): (i32, i32), colour: Rgb<u8>, ink: u8) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    let Some(pixel) = image.get_pixel_mut_checked(x, y) else { return };
    let mix = |ground: u8, colour: u8| (u16::from(ground) * u16::from(255 - ink) + u16::from(colour) * u16::from(ink)) / 255;
    *pixel = Rgb(std::array::from_fn(|channel| mix(pixel[channel], colour[channel]) as u8));
}
