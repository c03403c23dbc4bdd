//! The sheet of slices: a row for each volume, a column for each slice, all in the same grey scale; errors in one scale of their own.

use std::path::Path;

use crate::Result;
use crate::canvas::{Canvas, INK, Paint, QUIET};
use crate::data::Phantom;
use crate::output;
use crate::plane::Plane;
use crate::text::Face;

/// All sizes are in pixels.
const MARGIN: i32 = 44;
/// Left of the slices, for the rows' names.
const NAMES: i32 = 156;
const CELL: i32 = 3;
const GAP: i32 = 10;
/// More than [`GAP`] where the errors begin.
const BREAK: i32 = 44;
const HEADER: i32 = 110;
/// Below the errors.
const LEGEND: i32 = 40;
/// Every how many of the slices is drawn.
const EVERY: usize = 2;
/// The error that has full colour, as a share of the brightest voxel.
const FULL_ERROR: f32 = 0.2;

/// What is drawn.
pub struct Sheet<'a> {
    pub subtitle: String,
    pub phantom: &'a Phantom,
    pub rows: Vec<Row<'a>>,
}

/// A volume, or how far it is from the clean one.
pub struct Row<'a> {
    name: &'static str,
    note: String,
    volume: &'a [f32],
    is_error: bool,
}

impl<'a> Row<'a> {
    pub fn volume(name: &'static str, note: String, volume: &'a [f32]) -> Self {
        Self { name, note, volume, is_error: false }
    }

    pub fn error(name: &'static str, volume: &'a [f32]) -> Self {
        Self { name, note: String::new(), volume, is_error: true }
    }
}

impl Sheet<'_> {
    /// Writes the PNG file.
    pub fn write(&self, path: &Path) -> Result {
        Ok(output::png(path, &self.draw().image)?)
    }

    fn draw(&self) -> Canvas {
        let [depth, height, width] = self.phantom.size;
        let slices: Vec<usize> = (0..depth).step_by(EVERY).collect();
        let (tile_width, tile_height) = (width as i32 * CELL, height as i32 * CELL);
        let errors = self.rows.iter().any(|row| row.is_error);
        let rows = self.rows.len() as i32;
        let size = (
            2 * MARGIN + NAMES + slices.len() as i32 * (tile_width + GAP) - GAP,
            HEADER + rows * (tile_height + GAP) + if errors { BREAK + LEGEND } else { 0 } + MARGIN,
        );
        let mut canvas = Canvas::new(size.0, size.1);
        canvas.text((MARGIN, 24), Face::Title, INK, "Noise taken out of an MRI scan by a 3-D U-Net");
        canvas.text((MARGIN, 52), Face::Plain, QUIET, &self.subtitle);
        let column = |number: usize| MARGIN + NAMES + number as i32 * (tile_width + GAP);
        for (number, slice) in slices.iter().enumerate() {
            canvas.text((column(number), HEADER - 24), Face::Plain, QUIET, &format!("slice {} of {depth}", slice + 1));
        }
        let mut top = HEADER;
        let mut before_errors = true;
        for row in &self.rows {
            if row.is_error && before_errors {
                top += BREAK - GAP;
                before_errors = false;
            }
            canvas.text((MARGIN, top + tile_height / 2 - 20), Face::Plain, INK, row.name);
            canvas.text((MARGIN, top + tile_height / 2 + 2), Face::Plain, QUIET, &row.note);
            for (number, &slice) in slices.iter().enumerate() {
                let (plane, paint, scale) = self.tile(row, slice);
                canvas.plane((column(number), top), &plane, CELL, paint, scale);
            }
            top += tile_height + GAP;
        }
        if errors {
            let bar = Plane::from_fn(2 * width * CELL as usize, 14, |x, _| x as f32 / (2 * width * CELL as usize - 1) as f32);
            let left = column(0);
            canvas.plane((left, top + 12), &bar, 1, Paint::Signed, 1.0);
            canvas.text((left, top + 32), Face::Plain, QUIET, "0");
            let most = format!("{:.0} % of the brightest voxel, or more", 100.0 * FULL_ERROR);
            canvas.text((left + bar.width as i32 - Face::Plain.size(&most).0, top + 32), Face::Plain, QUIET, &most);
        }
        canvas
    }

    /// One slice of a row's volume, and how it is painted.
    fn tile(&self, row: &Row, slice: usize) -> (Plane, Paint, f32) {
        let [_, height, width] = self.phantom.size;
        let (at, peak) = (slice * height * width, self.phantom.peak());
        let part = |volume: &[f32]| Plane::new(width, height, volume[at..at + height * width].to_vec());
        let mut plane = part(row.volume);
        if row.is_error {
            plane
                .values
                .iter_mut()
                .zip(part(&self.phantom.clean).values)
                .for_each(|(value, clean)| *value = (*value - clean).abs());
            return (plane, Paint::Signed, FULL_ERROR * peak);
        }
        plane.values.iter_mut().for_each(|value| *value /= peak);
        (plane, Paint::Grey, 1.0)
    }
}
