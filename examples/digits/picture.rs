//! A user's own PNG file made into what the network was trained on: 8x8 cells that hold how much of them is ink.
//!
//! The training digits came from scanned forms as bitmaps of 32x32, each filling its frame, whose 4x4 blocks were counted. So here:
//! grey, ink bright on dark, the box around the ink, a square around that, 32x32 pixels, thin strokes made as thick as a
//! training digit's, and the mean of each 4x4. A picture of 8x8 pixels is taken as such cells already. One digit on a plain ground
//! is expected: nothing is segmented, straightened or cleaned of specks.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use clap::ValueEnum;
use image::{DynamicImage, ImageError, ImageFormat, ImageReader};

use crate::Result;
use crate::data::{Cells, Digit, FULL, SIDE};

/// Whether the picture is dark ink on light paper, which is the opposite of the training digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Invert {
    /// Look at the border: light means paper.
    Auto,
    /// Dark ink on light paper.
    Yes,
    /// Light ink on a dark ground.
    No,
}

/// Pixels of a training bitmap, before its blocks were counted.
const FINE: usize = 4 * SIDE;
/// Strokes thinner than this, in fine pixels, are thickened. Of 240 drawn digits with pens of 4 to 26 pixels in 145, LeNet-5 reads
/// 90 % without this, 98 % at 4, all of them at 5 and 6; the training digits' strokes are about as wide.
const STROKE: f32 = 5.0;
/// The bundled 8x8 pictures hold 15 times the cell, so that 240 is all ink.
const CELL_LEVELS: f32 = 15.0;
/// Ink and ground that differ by less, of a range of 1, are one flat grey.
const LEAST_CONTRAST: f32 = 0.1;

/// A grey picture, 0 to 1, row-major.
struct Grey {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

/// Reads a PNG file.
pub fn read(path: &Path, invert: Invert) -> Result<Digit> {
    let name = path.display();
    let file = File::open(path).map_err(|error| format!("cannot open {name}: {error}"))?;
    let image = ImageReader::with_format(BufReader::new(file), ImageFormat::Png).decode().map_err(|error| match error {
        ImageError::Decoding(error) => format!("{name} is not a PNG picture, or a damaged one: {error}"),
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            format!("{name} is not a PNG picture, or a damaged one: it ends too early")
        }
        error => format!("cannot read {name}: {error}"),
    })?;
    let mut grey = grey(image);
    let inverted = match invert {
        Invert::Yes => true,
        Invert::No => false,
        Invert::Auto => grey.border_median() > 0.5,
    };
    if inverted {
        grey.values.iter_mut().for_each(|value| *value = 1.0 - *value);
    }
    let cells = cells(&grey).map_err(|reason| format!("{name}: {reason}"))?;
    let ground = if inverted { "light paper, inverted" } else { "dark ground" };
    Ok(Digit { name: format!("{name} ({}x{} pixels, {ground})", grey.width, grey.height), cells, label: None })
}

/// Luma; where the picture is transparent, paper of the colour that the rest is not.
fn grey(image: DynamicImage) -> Grey {
    let image = image.into_luma_alpha8();
    let opaque = image.pixels().fold([0.0f64; 2], |[sum, weight], pixel| {
        let [luma, alpha] = pixel.0.map(|byte| f64::from(byte) / 255.0);
        [sum + luma * alpha, weight + alpha]
    });
    let mostly_clear = opaque[1] < 0.5 * f64::from(image.width()) * f64::from(image.height());
    let light_ink = mostly_clear && opaque[0] > 0.5 * opaque[1];
    let ground = if light_ink { 0.0 } else { 1.0 };
    let over = |[luma, alpha]: [f32; 2]| luma * alpha + ground * (1.0 - alpha);
    let values = image.pixels().map(|pixel| over(pixel.0.map(|byte| f32::from(byte) / 255.0))).collect();
    Grey { width: image.width() as usize, height: image.height() as usize, values }
}

/// The cells of a picture with bright ink.
fn cells(grey: &Grey) -> Result<Cells, String> {
    if (grey.width, grey.height) == (SIDE, SIDE) {
        return Ok(std::array::from_fn(|at| level(grey.values[at] * 255.0 / CELL_LEVELS / f32::from(FULL))));
    }
    let ink = ink(grey)?;
    let fine = thicken(framed(&ink));
    Ok(std::array::from_fn(|at| {
        let (row, column) = (at / SIDE * 4, at % SIDE * 4);
        let sum: f32 = (0..16).map(|pixel| fine[(row + pixel / 4) * FINE + column + pixel % 4]).sum();
        level(sum / 16.0)
    }))
}

/// A cell's share of ink as its level.
fn level(share: f32) -> u8 {
    (share.clamp(0.0, 1.0) * f32::from(FULL)).round() as u8
}

/// How much of each pixel is ink: 0 on the ground, 1 in a stroke, between them only on edges.
fn ink(grey: &Grey) -> Result<Grey, String> {
    let [ground, stroke] = two_levels(&grey.values);
    if stroke - ground < LEAST_CONTRAST {
        let [ground, stroke] = [ground, stroke].map(|level| 100.0 * level);
        return Err(format!("no digit to be seen: the brightest parts are {stroke:.0} % and the rest {ground:.0} %"));
    }
    // The outer quarters are the unevenness of paper and pen.
    let share = |value: &f32| (((value - ground) / (stroke - ground) - 0.25) * 2.0).clamp(0.0, 1.0);
    Ok(Grey { values: grey.values.iter().map(share).collect(), ..*grey })
}

/// The means of the dark and of the bright pixels, parted where the variance between the two is greatest.
///
/// Source: Otsu, "A threshold selection method from gray-level histograms" (1979).
fn two_levels(values: &[f32]) -> [f32; 2] {
    let mut histogram = [0u64; 256];
    for value in values {
        histogram[usize::from((value * 255.0).round() as u8)] += 1;
    }
    let mass = |part: &[u64]| part.iter().sum::<u64>() as f64;
    let moment = |part: &[u64], first: usize| part.iter().zip(first..).map(|(&count, at)| count as f64 * at as f64).sum::<f64>();
    let split = |at: usize| {
        let (dark, bright) = histogram.split_at(at);
        let means = [moment(dark, 0) / mass(dark).max(1.0), moment(bright, at) / mass(bright).max(1.0)];
        (mass(dark) * mass(bright) * (means[1] - means[0]).powi(2), means)
    };
    let (between, means) = (1..256).map(split).max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are 255 splits");
    if between == 0.0 { [values[0]; 2] } else { means.map(|mean| (mean / 255.0) as f32) }
}

/// The square around the ink as [`FINE`] x [`FINE`] means.
fn framed(ink: &Grey) -> Vec<f32> {
    let is_ink = |x: usize, y: usize| ink.values[y * ink.width + x] > 0.5;
    let span = |size: usize, any: &dyn Fn(usize) -> bool| {
        let first = (0..size).find(|&at| any(at)).unwrap_or(0);
        let last = (0..size).rfind(|&at| any(at)).unwrap_or(size - 1);
        (first as f32, last as f32 + 1.0)
    };
    let (left, right) = span(ink.width, &|x| (0..ink.height).any(|y| is_ink(x, y)));
    let (top, bottom) = span(ink.height, &|y| (0..ink.width).any(|x| is_ink(x, y)));
    let step = (right - left).max(bottom - top) / FINE as f32;
    let edges = |begin: f32, end: f32| overlaps(0.5 * (begin + end) - 0.5 * step * FINE as f32, step);
    let (columns, rows) = (edges(left, right), edges(top, bottom));
    let mean = |row: &[(isize, f32)], column: &[(isize, f32)]| {
        let mut sum = 0.0;
        for &(y, height) in row.iter().filter(|(y, _)| (0..ink.height as isize).contains(y)) {
            for &(x, width) in column.iter().filter(|(x, _)| (0..ink.width as isize).contains(x)) {
                sum += height * width * ink.values[y as usize * ink.width + x as usize];
            }
        }
        sum / (step * step)
    };
    rows.iter().flat_map(|row| columns.iter().map(|column| mean(row, column))).collect()
}

/// For each of [`FINE`] intervals of length `step` from `origin`: the pixels that it touches, and how much of them.
fn overlaps(origin: f32, step: f32) -> Vec<Vec<(isize, f32)>> {
    let interval = |index: usize| {
        let (begin, end) = (origin + step * index as f32, origin + step * (index + 1) as f32);
        let pixels = begin.floor() as isize..end.ceil() as isize;
        pixels.map(|at| (at, end.min(at as f32 + 1.0) - begin.max(at as f32))).filter(|&(_, part)| part > 0.0).collect()
    };
    (0..FINE).map(interval).collect()
}

/// Grows the strokes pixel by pixel until they are as thick as a training digit's.
fn thicken(mut fine: Vec<f32>) -> Vec<f32> {
    // A stroke thinner than a fine pixel fills none of them: its fullest count as full.
    let fullest = fine.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    fine.iter_mut().for_each(|value| *value /= fullest);
    // Each turn adds two pixels to a stroke's width, so that a few of them do.
    for _ in 0..FINE {
        if stroke_width(&fine) >= STROKE {
            break;
        }
        let at = |x: isize, y: isize| pixel(&fine, x, y);
        let grown = (0..FINE * FINE).map(|index| {
            let (x, y) = ((index % FINE) as isize, (index / FINE) as isize);
            at(x, y).max(at(x - 1, y)).max(at(x + 1, y)).max(at(x, y - 1)).max(at(x, y + 1))
        });
        fine = grown.collect();
    }
    fine
}

/// A fine pixel; the outside is empty.
fn pixel(fine: &[f32], x: isize, y: isize) -> f32 {
    let inside = |at: isize| (0..FINE as isize).contains(&at);
    if inside(x) && inside(y) { fine[y as usize * FINE + x as usize] } else { 0.0 }
}

/// The mean width of the strokes: twice the area by the length of the outline. The sum of all steps between neighbours measures
/// that length too long by 4/pi, over all directions.
fn stroke_width(fine: &[f32]) -> f32 {
    let side = FINE as isize;
    let step = |x: isize, y: isize| {
        let here = pixel(fine, x, y);
        (pixel(fine, x - 1, y) - here).abs() + (pixel(fine, x, y - 1) - here).abs()
    };
    let outline: f32 = (0..=side).flat_map(|y| (0..=side).map(move |x| (x, y))).map(|(x, y)| step(x, y)).sum();
    2.0 * fine.iter().sum::<f32>() / (outline * std::f32::consts::FRAC_PI_4).max(1.0)
}

impl Grey {
    /// The median of the border pixels, which are ground in all but tight crops.
    fn border_median(&self) -> f32 {
        let [right, bottom] = [self.width - 1, self.height - 1];
        let on_border = |&at: &usize| {
            let (x, y) = (at % self.width, at / self.width);
            x == 0 || y == 0 || x == right || y == bottom
        };
        let mut border: Vec<f32> = (0..self.values.len()).filter(on_border).map(|at| self.values[at]).collect();
        border.sort_by(f32::total_cmp);
        border[border.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    /// A ring of this thickness on a dark ground, as large in the picture as `size` allows.
    fn ring(size: usize, thickness: f32) -> Grey {
        let centre = 0.5 * (size - 1) as f32;
        let is_ink = |at: usize| {
            let (x, y) = ((at % size) as f32 - centre, (at / size) as f32 - centre);
            (x.hypot(y) - 0.3 * size as f32).abs() <= 0.5 * thickness
        };
        Grey { width: size, height: size, values: (0..size * size).map(|at| if is_ink(at) { 1.0 } else { 0.0 }).collect() }
    }

    #[test]
    fn the_bundled_pictures_are_the_test_digits() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/png");
        let digits = data::test_set().expect("bundled file").digits;
        let table = std::fs::read_to_string(folder.join("labels.tsv")).expect("bundled file");
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let (row, label): (usize, usize) = (fields[2].parse().expect("row"), fields[1].parse().expect("label"));
            let digit = read(&folder.join(fields[0]), Invert::Auto).expect("bundled picture");
            assert_eq!((digit.cells, Some(label)), (digits[row].cells, digits[row].label), "{}", fields[0]);
        }
        assert_eq!(table.lines().count(), 41);
    }

    #[test]
    fn a_thin_pen_gives_strokes_as_thick_as_training_digits_have() {
        for (size, thickness) in [(60, 1.5), (300, 3.0), (300, 20.0), (1000, 2.0)] {
            let cells = cells(&ring(size, thickness)).expect("there is a ring");
            let share = cells.iter().map(|&cell| f32::from(cell)).sum::<f32>() / 1024.0;
            // A ring whose stroke is 5 of 32 wide fills 0.41 of its square, one of 7, a last turn too much, 0.54. As drawn: 0.28 at most.
            assert!((0.35..0.6).contains(&share), "{size} pixels, thickness {thickness}: {share}");
        }
    }

    #[test]
    fn place_and_size_of_a_digit_do_not_matter() {
        let (whole, mut corner) = (ring(200, 20.0), ring(300, 0.0));
        corner.values.fill(0.0);
        for (y, row) in whole.values.chunks(200).enumerate() {
            corner.values[(y + 90) * 300 + 5..][..200].copy_from_slice(row);
        }
        assert_eq!(cells(&whole), cells(&corner));
        let far =
            cells(&whole).expect("ink").iter().zip(cells(&ring(1000, 100.0)).expect("ink")).map(|(a, b)| a.abs_diff(b)).max();
        assert!(far <= Some(1), "cells differ by {far:?}");
    }

    #[test]
    fn a_flat_picture_is_an_error() {
        let flat = Grey { width: 20, height: 30, values: vec![0.5; 600] };
        assert!(cells(&flat).is_err_and(|reason| reason.contains("no digit")));
    }
}
