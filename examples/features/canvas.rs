//! A picture to draw on: rectangles, planes of numbers as colours, grids with their numbers, lines of text. It decides no layout.

use image::{Rgb, RgbImage};

use crate::plane::Plane;
use crate::text::{self, Face};

pub type Colour = Rgb<u8>;
/// Left and top, in pixels.
pub type Point = (i32, i32);

pub const PAPER: Colour = Rgb([255, 255, 255]);
pub const INK: Colour = Rgb([28, 32, 44]);
pub const QUIET: Colour = Rgb([98, 102, 114]);
pub const LINE: Colour = Rgb([208, 211, 218]);
/// What the worked example points at.
pub const MARK: Colour = Rgb([230, 120, 0]);
/// From -1 to 1, blue over white to red. After ColorBrewer's RdBu (Brewer and Harrower), which the colour-blind can read.
const SIGNED: [[f32; 3]; 5] =
    [[33.0, 102.0, 172.0], [146.0, 197.0, 222.0], [250.0, 250.0, 250.0], [244.0, 165.0, 130.0], [178.0, 24.0, 43.0]];

/// How numbers become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Paint {
    /// 0 is black and 1 is white.
    Grey,
    /// 0 is white, what is positive red, what is negative blue; the few greatest have full colour.
    Signed,
    /// The same, where the greatest of all is what counts.
    Peak,
}

impl Paint {
    /// The colour of a number, where `scale` has full colour.
    pub fn colour(self, value: f32, scale: f32) -> Colour {
        match self {
            Paint::Grey => Rgb([(value.clamp(0.0, 1.0) * 255.0).round() as u8; 3]),
            Paint::Signed | Paint::Peak => {
                let share = if scale > 0.0 { (value / scale).clamp(-1.0, 1.0) } else { 0.0 };
                let at = 2.0 + 2.0 * share;
                let stop = (at.floor() as usize).min(3);
                let mix = |channel: usize| {
                    let (from, to) = (SIGNED[stop][channel], SIGNED[stop + 1][channel]);
                    (from + (to - from) * (at - stop as f32)).round() as u8
                };
                Rgb(std::array::from_fn(mix))
            }
        }
    }
}

pub struct Canvas {
    pub image: RgbImage,
}

impl Canvas {
    pub fn new(width: i32, height: i32) -> Self {
        Self { image: RgbImage::from_pixel(width.max(1) as u32, height.max(1) as u32, PAPER) }
    }

    /// Filled; what lies beyond the picture is left out.
    pub fn rectangle(&mut self, (left, top): Point, (width, height): (i32, i32), colour: Colour) {
        for y in top..top + height {
            for x in left..left + width {
                let pixel = u32::try_from(x).ok().zip(u32::try_from(y).ok());
                if let Some(pixel) = pixel.and_then(|(x, y)| self.image.get_pixel_mut_checked(x, y)) {
                    *pixel = colour;
                }
            }
        }
    }

    /// The outline around a rectangle, outside of it.
    pub fn outline(&mut self, (left, top): Point, (width, height): (i32, i32), thickness: i32, colour: Colour) {
        let t = thickness;
        self.rectangle((left - t, top - t), (width + 2 * t, t), colour);
        self.rectangle((left - t, top + height), (width + 2 * t, t), colour);
        self.rectangle((left - t, top - t), (t, height + 2 * t), colour);
        self.rectangle((left + width, top - t), (t, height + 2 * t), colour);
    }

    /// A plane, each number a square of `cell` pixels, in an outline; gives its size in pixels.
    pub fn plane(&mut self, at: Point, plane: &Plane, cell: i32, paint: Paint, scale: f32) -> (i32, i32) {
        let size = (plane.width as i32 * cell, plane.height as i32 * cell);
        for (y, row) in (0..).zip(plane.values.chunks(plane.width)) {
            for (x, &value) in (0..).zip(row) {
                self.rectangle((at.0 + x * cell, at.1 + y * cell), (cell, cell), paint.colour(value, scale));
            }
        }
        self.outline(at, size, 1, LINE);
        size
    }

    /// A plane with its numbers written into the cells.
    pub fn numbers(&mut self, at: Point, plane: &Plane, cell: i32, paint: Paint, scale: f32) -> (i32, i32) {
        let size = self.plane(at, plane, cell, paint, scale);
        let whole = plane.values.iter().all(|value| value.fract() == 0.0);
        for (y, row) in (0..).zip(plane.values.chunks(plane.width)) {
            for (x, &value) in (0..).zip(row) {
                let colour = paint.colour(value, scale);
                let text = if whole { format!("{value:.0}") } else { format!("{value:.2}") };
                let (width, height) = Face::Plain.size(&text);
                let corner = (at.0 + x * cell + (cell - width) / 2, at.1 + y * cell + (cell - height) / 2);
                self.text(corner, Face::Plain, contrasting(colour), &text);
            }
        }
        size
    }

    pub fn text(&mut self, at: Point, face: Face, colour: Colour, line: &str) {
        text::draw(&mut self.image, at, face, colour, line);
    }

    /// A text in lines of at most `width` pixels; gives the height of all of them.
    pub fn paragraph(&mut self, at: Point, width: i32, colour: Colour, words: &str) -> i32 {
        let lines = wrap(words, width);
        for (number, line) in (0..).zip(&lines) {
            self.text((at.0, at.1 + number * LEADING), Face::Plain, colour, line);
        }
        lines.len() as i32 * LEADING
    }
}

/// From one line of a paragraph to the next, in pixels.
pub const LEADING: i32 = 21;

/// The lines of a text, none wider than `width` pixels unless it is one word.
pub fn wrap(words: &str, width: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if Face::Plain.size(line).0 + Face::Plain.size(&format!(" {word}")).0 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// Black or white, whichever is seen on a colour.
fn contrasting(Rgb([red, green, blue]): Colour) -> Colour {
    let luma = 0.3 * f32::from(red) + 0.59 * f32::from(green) + 0.11 * f32::from(blue);
    if luma > 140.0 { INK } else { PAPER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_run_from_blue_over_white_to_red() {
        let Rgb([red, _, blue]) = Paint::Signed.colour(-9.0, 1.0);
        assert!(blue > red);
        let Rgb([red, _, blue]) = Paint::Signed.colour(0.9, 1.0);
        assert!(red > blue);
        assert_eq!(Paint::Signed.colour(0.0, 1.0), Paint::Signed.colour(3.0, 0.0));
        assert_eq!(Paint::Grey.colour(2.0, 1.0), PAPER);
    }

    #[test]
    fn a_wrapped_text_has_all_its_words_and_keeps_its_width() {
        let text = "a filter is a small grid of numbers";
        let lines = wrap(text, 100);
        assert!(lines.len() > 2 && lines.iter().all(|line| Face::Plain.size(line).0 <= 100));
        assert_eq!(lines.join(" "), text);
    }
}
