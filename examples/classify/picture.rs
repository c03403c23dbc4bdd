//! Pictures as the numbers that a network takes: cut or stretched to its size, in its channels and order, scaled as the user says.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use clap::ValueEnum;
use half::f16;
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Rgba, RgbaImage};
use wgconv::{Data, ElementType, Value};

use crate::Result;
use crate::model::{Input, Layout};
use crate::scene;

/// What becomes of a picture of other proportions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fit {
    /// The shorter side fits, what is beyond on the longer one is cut off
    Crop,
    /// Both sides fit, the proportions change
    Stretch,
}

/// How a picture is made larger or smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Filter {
    /// The nearest pixel
    Nearest,
    /// Between pixels, and over all that an output pixel covers
    Linear,
    /// The same, sharper
    Lanczos,
}

/// How the numbers of a picture become those of a network: `(white * value - mean) / std`.
pub struct Scaling {
    /// One for each channel.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
    pub range: f32,
    pub bgr: bool,
    pub grey: bool,
    pub fit: Fit,
    pub filter: Filter,
}

/// A picture that was read.
pub struct Picture {
    pub name: String,
    image: DynamicImage,
}

/// Digits that are read where no picture is given, with what they show.
const DIGITS: [(&str, &[u8]); 4] = [
    ("a bundled digit, a 9", include_bytes!("../data/png/digit_00_label9.png")),
    ("a bundled digit, a 6", include_bytes!("../data/png/digit_01_label6.png")),
    ("a bundled digit, a 7", include_bytes!("../data/png/digit_02_label7.png")),
    ("a bundled digit, a 5", include_bytes!("../data/png/digit_04_label5.png")),
];
/// Digits are for grey networks up to this size.
const DIGIT_SIDE: usize = 32;

/// `224x224` as width and height.
pub fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides.filter(|sides| sides.iter().all(|side| (1..=16384).contains(side))).ok_or("is not WIDTHxHEIGHT, such as 224x224".into())
}

/// Reads a PNG or JPEG file.
pub fn read(path: &Path) -> Result<Picture> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("{name}: cannot be opened: {error}"))?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|error| format!("{name}: {error}"))?;
    let image = reader.decode().map_err(|error| format!("{name}: is no PNG or JPEG picture, or a damaged one: {error}"))?;
    Ok(Picture { name: format!("{name} ({}x{})", image.width(), image.height()), image })
}

/// Pictures that come along: digits for a small grey network, else the drawn scene of the program `features`.
pub fn bundled(input: &Input) -> Result<Vec<Picture>> {
    if input.channels == 1 && input.width.max(input.height) <= DIGIT_SIDE {
        let digit = |&(name, bytes): &(&str, &[u8])| {
            let image = image::load_from_memory(bytes).map_err(|error| format!("{name}: {error}"))?;
            Ok(Picture { name: name.into(), image })
        };
        return DIGITS.iter().map(digit).collect();
    }
    let scene = scene::draw();
    let image = RgbaImage::from_fn(scene.width as u32, scene.height as u32, |x, y| {
        let grey = (255.0 * scene.at(x as usize, y as usize)).round() as u8;
        Rgba([grey, grey, grey, 255])
    });
    Ok(vec![Picture { name: "a drawn scene".into(), image: image.into() }])
}

impl Input {
    /// A batch; where there are fewer pictures than that, the last one fills it up.
    pub fn value(&self, pictures: &[Picture], batch: usize, scaling: &Scaling) -> Result<Value> {
        let mut numbers = Vec::new();
        for picture in pictures {
            numbers.extend(self.numbers(picture, scaling));
        }
        let one = self.channels * self.width * self.height;
        let last = numbers[numbers.len().saturating_sub(one)..].to_vec();
        for _ in pictures.len()..batch {
            numbers.extend(&last);
        }
        let data: Data = match self.element {
            ElementType::F32 => numbers.into(),
            ElementType::F16 => numbers.into_iter().map(f16::from_f32).collect::<Vec<_>>().into(),
            // `as` rounds towards zero and saturates.
            ElementType::U8 => numbers.into_iter().map(|value| value.round() as u8).collect::<Vec<_>>().into(),
            other => return Err(format!("the model's input `{}` is {other}: pictures are f32, f16 or u8", self.name).into()),
        };
        Ok(Value::new(&self.shape(batch), data)?)
    }

    fn numbers(&self, picture: &Picture, scaling: &Scaling) -> Vec<f32> {
        let (width, height) = (self.width as u32, self.height as u32);
        let filter = match scaling.filter {
            Filter::Nearest => FilterType::Nearest,
            Filter::Linear => FilterType::Triangle,
            Filter::Lanczos => FilterType::Lanczos3,
        };
        let image = if (picture.image.width(), picture.image.height()) == (width, height) {
            picture.image.clone()
        } else if scaling.fit == Fit::Crop {
            picture.image.resize_to_fill(width, height, filter)
        } else {
            picture.image.resize_exact(width, height, filter)
        };
        let grey = self.channels == 1 || scaling.grey;
        let pixels: Vec<[f32; 3]> = if grey {
            image.into_luma_alpha16().pixels().map(|pixel| [over_white(pixel.0[0], pixel.0[1]); 3]).collect()
        } else {
            image.into_rgba16().pixels().map(|pixel| [0, 1, 2].map(|channel| over_white(pixel.0[channel], pixel.0[3]))).collect()
        };
        let number = |pixel: &[f32; 3], channel: usize| {
            let source = if scaling.bgr { 2 - channel } else { channel };
            (scaling.range * pixel[source] - scaling.mean[channel]) / scaling.std[channel]
        };
        let channels = 0..self.channels;
        match self.layout {
            Layout::Nchw => channels.flat_map(|channel| pixels.iter().map(move |pixel| number(pixel, channel))).collect(),
            Layout::Nhwc => pixels.iter().flat_map(|pixel| channels.clone().map(move |channel| number(pixel, channel))).collect(),
        }
    }
}

/// A channel in 0 to 1; what is transparent shows white paper.
fn over_white(value: u16, alpha: u16) -> f32 {
    let [value, alpha] = [value, alpha].map(|number| f32::from(number) / f32::from(u16::MAX));
    value * alpha + 1.0 - alpha
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(layout: Layout, channels: usize) -> Input {
        Input { name: "x".into(), element: ElementType::F32, layout, batch: None, channels, width: 2, height: 1 }
    }

    fn scaling(channels: usize) -> Scaling {
        let (mean, std) = (vec![0.5; channels], vec![0.5; channels]);
        Scaling { mean, std, range: 1.0, bgr: false, grey: false, fit: Fit::Crop, filter: Filter::Linear }
    }

    fn red_and_blue() -> Picture {
        let image = RgbaImage::from_fn(2, 1, |x, _| if x == 0 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 255]) });
        Picture { name: "test".into(), image: image.into() }
    }

    #[test]
    fn channels_stand_where_the_layout_says() {
        let planes = input(Layout::Nchw, 3).numbers(&red_and_blue(), &scaling(3));
        assert_eq!(planes, [1.0, -1.0, -1.0, -1.0, -1.0, 1.0]);
        let pixels = input(Layout::Nhwc, 3).numbers(&red_and_blue(), &scaling(3));
        assert_eq!(pixels, [1.0, -1.0, -1.0, -1.0, -1.0, 1.0]);
        let swapped = input(Layout::Nhwc, 3).numbers(&red_and_blue(), &Scaling { bgr: true, ..scaling(3) });
        assert_eq!(swapped, [-1.0, -1.0, 1.0, 1.0, -1.0, -1.0]);
    }

    #[test]
    fn a_batch_that_is_not_full_is_filled_up() {
        let value = input(Layout::Nchw, 1).value(&[red_and_blue()], 3, &scaling(1)).expect("a batch");
        assert_eq!(value.shape(), [3, 1, 1, 2]);
        let numbers = value.to_f32();
        assert_eq!(numbers[..2], numbers[4..]);
    }

    #[test]
    fn sizes_are_two_numbers() {
        assert_eq!(parse_size("32x16"), Ok([32, 16]));
        assert!(["32", "x", "0x4", "4x-1", "99999x1"].iter().all(|text| parse_size(text).is_err()));
    }
}
