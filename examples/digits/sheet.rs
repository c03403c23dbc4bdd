//! The contact sheet: all digits in one PNG file with what they were read as, wrong readings framed in red.
//!
//! It writes with a font of its own, 3x5 pixels and only the characters that it needs: a font crate for eleven characters is too much.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::Result;
use crate::data::{Cells, Digit, FULL, SIDE};
use crate::output;
use crate::reading::Reading;

const PAPER: Rgb<u8> = Rgb([244, 244, 240]);
const TILE: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([24, 32, 56]);
const QUIET: Rgb<u8> = Rgb([120, 124, 134]);
const WRONG: Rgb<u8> = Rgb([206, 32, 41]);

/// All sizes are in pixels.
const CELL: u32 = 6;
const TILE_SIZE: u32 = CELL * SIDE as u32;
const FRAME: u32 = 3;
/// From one tile to the next: tile, frame, caption and gap.
const PITCH: (u32, u32) = (TILE_SIZE + 14, TILE_SIZE + 34);
const MARGIN: u32 = 20;
/// One pixel of the font becomes so many.
const TITLE_SCALE: u32 = 5;
const CAPTION_SCALE: u32 = 3;
/// The captions with a probability are longer.
const LONG_CAPTION_SCALE: u32 = 2;
/// A sheet of no more digits than this is drawn at twice the size.
const FEW: usize = 100;

/// Writes the sheet of these digits, as wide as it is high or a little wider.
pub fn write(path: &Path, digits: &[Digit], readings: &[Reading]) -> Result<()> {
    let mut sheet = draw(digits, readings);
    if digits.len() <= FEW {
        sheet = imageops::resize(&sheet, 2 * sheet.width(), 2 * sheet.height(), FilterType::Nearest);
    }
    Ok(output::png(path, &sheet)?)
}

fn draw(digits: &[Digit], readings: &[Reading]) -> RgbImage {
    let labelled = digits.iter().filter(|digit| digit.label.is_some()).count();
    let wrong = digits.iter().zip(readings).filter(|(digit, reading)| reading.is_wrong(digit)).count();
    let title_height = if labelled > 0 { 5 * TITLE_SCALE + MARGIN } else { 0 };
    let count = digits.len() as u32;
    let columns =
        (1..=count).find(|columns| columns * PITCH.0 >= count.div_ceil(*columns) * PITCH.1).unwrap_or(1).max(count.min(6));
    let size = (columns * PITCH.0 + 2 * MARGIN, count.div_ceil(columns) * PITCH.1 + 2 * MARGIN + title_height);
    let mut sheet = RgbImage::from_pixel(size.0, size.1, PAPER);
    let left = MARGIN + (PITCH.0 - TILE_SIZE) / 2;
    if labelled > 0 {
        let right = labelled - wrong;
        let title = format!("{right}/{labelled} = {:.1}%", 100.0 * right as f64 / labelled as f64);
        text(&mut sheet, (left, MARGIN), TITLE_SCALE, INK, &title);
    }
    for (index, (digit, reading)) in (0..).zip(digits.iter().zip(readings)) {
        let corner = (left + index % columns * PITCH.0, MARGIN + title_height + index / columns * PITCH.1);
        let wrong = reading.is_wrong(digit);
        if wrong {
            let grown = TILE_SIZE + 2 * FRAME;
            rectangle(&mut sheet, (corner.0 - FRAME, corner.1 - FRAME), (grown, grown), WRONG);
        }
        tile(&mut sheet, corner, &digit.cells);
        let (caption, scale) = match digit.label {
            Some(label) if wrong => (format!("{}≠{label}", reading.class()), CAPTION_SCALE),
            Some(_) => (reading.class().to_string(), CAPTION_SCALE),
            None => (format!("{} {:.0}%", reading.class(), 100.0 * reading.ranked()[0].1), LONG_CAPTION_SCALE),
        };
        let centred = corner.0 + TILE_SIZE.saturating_sub(text_width(&caption, scale)) / 2;
        text(&mut sheet, (centred, corner.1 + TILE_SIZE + 7), scale, if wrong { WRONG } else { QUIET }, &caption);
    }
    sheet
}

fn tile(sheet: &mut RgbImage, corner: (u32, u32), cells: &Cells) {
    for (at, &cell) in (0..).zip(cells) {
        let share = f32::from(cell.min(FULL)) / f32::from(FULL);
        let blend = |channel: usize| f32::from(TILE[channel]) + share * (f32::from(INK[channel]) - f32::from(TILE[channel]));
        let colour = Rgb([0, 1, 2].map(|channel| blend(channel).round() as u8));
        let (column, row) = (at % SIDE as u32, at / SIDE as u32);
        rectangle(sheet, (corner.0 + CELL * column, corner.1 + CELL * row), (CELL, CELL), colour);
    }
}

/// Filled; what lies beyond the sheet is left out.
fn rectangle(sheet: &mut RgbImage, (left, top): (u32, u32), (width, height): (u32, u32), colour: Rgb<u8>) {
    for y in top..(top + height).min(sheet.height()) {
        for x in left..(left + width).min(sheet.width()) {
            sheet.put_pixel(x, y, colour);
        }
    }
}

fn text(sheet: &mut RgbImage, (left, top): (u32, u32), scale: u32, colour: Rgb<u8>, text: &str) {
    for (index, character) in (0..).zip(text.chars()) {
        for (row, bits) in (0..).zip(glyph(character)) {
            for column in (0..3).filter(|column| bits >> (2 - column) & 1 == 1) {
                let corner = (left + (4 * index + column) * scale, top + row * scale);
                rectangle(sheet, corner, (scale, scale), colour);
            }
        }
    }
}

fn text_width(text: &str, scale: u32) -> u32 {
    (4 * text.chars().count() as u32).saturating_sub(1) * scale
}

/// The five rows of a character, three bits each.
fn glyph(character: char) -> [u8; 5] {
    match character {
        '0' => [0b111, 0b101, 0b101, 0b101, 0b111],
        '1' => [0b010, 0b110, 0b010, 0b010, 0b111],
        '2' => [0b111, 0b001, 0b111, 0b100, 0b111],
        '3' => [0b111, 0b001, 0b011, 0b001, 0b111],
        '4' => [0b101, 0b101, 0b111, 0b001, 0b001],
        '5' => [0b111, 0b100, 0b111, 0b001, 0b111],
        '6' => [0b111, 0b100, 0b111, 0b101, 0b111],
        '7' => [0b111, 0b001, 0b010, 0b010, 0b010],
        '8' => [0b111, 0b101, 0b111, 0b101, 0b111],
        '9' => [0b111, 0b101, 0b111, 0b001, 0b111],
        '%' => [0b101, 0b001, 0b010, 0b100, 0b101],
        '/' => [0b001, 0b001, 0b010, 0b100, 0b100],
        '.' => [0b000, 0b000, 0b000, 0b000, 0b010],
        '=' => [0b000, 0b111, 0b000, 0b111, 0b000],
        '≠' => [0b001, 0b111, 0b010, 0b111, 0b100],
        _ => [0; 5],
    }
}
