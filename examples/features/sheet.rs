//! The sheet: the picture with a worked example at the top, then a section for each kind of filter, each map beside the filter that
//! made it. All sizes are in pixels.

use std::path::Path;

use crate::Result;
use crate::canvas::{Canvas, INK, LEADING, LINE, MARK, Point, QUIET, wrap};
use crate::output;
use crate::plane::Plane;
use crate::text::Face;

pub use crate::canvas::Paint;

const WIDTH: i32 = 1700;
const MARGIN: i32 = 44;
/// A filter is drawn in at most so many, by default and where there are many maps.
const KERNEL: i32 = 106;
const SMALL_KERNEL: i32 = 64;
/// Between a filter and its map, and between two tiles.
const GAP: (i32, i32) = (12, 28);
/// Between the small grids of one filter.
const SPLIT: i32 = 4;
/// Above a section, and between its rows of tiles.
const SPACE: (i32, i32) = (40, 26);
/// Of the worked example's cells.
const CELL: i32 = 46;
/// Room of a sign between two grids, from one paragraph to the next, and the legend's height.
const SIGN: i32 = 38;
const BETWEEN: i32 = 9;
const LEGEND: i32 = 42;
/// The input's longer side is drawn about as long as this.
const INPUT: i32 = 256;
/// The least that has full colour, of a brightness of 0 to 1: a picture that is flat leaves sums of rounding errors, which are nothing.
const LEAST: f32 = 1e-4;
/// Elements above this share of the map's greatest magnitude count as found.
const FOUND: f32 = 0.25;

/// What is drawn.
pub struct Sheet<'a> {
    pub title: &'a str,
    pub subtitle: &'a str,
    pub picture: &'a Plane,
    pub example: &'a Example,
    pub sections: &'a [Section],
}

/// Maps of one kind.
pub struct Section {
    pub title: &'static str,
    pub caption: String,
    pub tiles: Vec<Tile>,
    /// Whether there are so many maps that filters are small and numbers left out.
    pub dense: bool,
}

/// A map and the filter that made it.
pub struct Tile {
    pub name: String,
    pub kernel: Option<Kernel>,
    pub map: Plane,
    pub paint: Paint,
    /// Pixels of each element.
    pub magnify: usize,
}

/// A filter: one plane for each channel that it looks at.
pub struct Kernel {
    pub planes: Vec<Plane>,
    /// In which the planes are drawn.
    pub columns: usize,
}

/// One element of a map, computed before the reader's eyes.
pub struct Example {
    /// Corner of the patch, in elements of the picture.
    corner: (usize, usize),
    patch: Plane,
    kernel: Plane,
    /// The filter's name.
    name: String,
    bias: f32,
    scale: f32,
}

impl Example {
    /// The place where a map is greatest.
    ///
    /// # Panics
    /// Where the tile's filter is not drawn, or is larger than the picture.
    pub fn new(picture: &Plane, tile: &Tile) -> Self {
        let kernel = tile.kernel.as_ref().expect("the example is of a tile with its filter").planes[0].clone();
        // The map of a convolution without padding begins half a filter further in.
        let inset = (picture.width - tile.map.width) / 2;
        let margin = (kernel.width / 2).saturating_sub(inset);
        let (x, y) = tile.map.argmax(margin);
        let corner = (x + inset - kernel.width / 2, y + inset - kernel.height / 2);
        let patch = Plane::from_fn(kernel.width, kernel.height, |x, y| picture.at(corner.0 + x, corner.1 + y));
        Self { corner, patch, kernel, name: tile.name.clone(), bias: 0.0, scale: tile.scale() }
    }

    pub fn with_bias(self, bias: f32) -> Self {
        Self { bias, ..self }
    }

    fn sum(&self) -> f32 {
        self.bias + self.patch.values.iter().zip(&self.kernel.values).map(|(a, b)| a * b).sum::<f32>()
    }
}

impl Tile {
    /// Least, greatest, and the percentage that counts as found.
    pub fn numbers(&self) -> (f32, f32, f32) {
        let scale = self.map.max().abs().max(self.map.min().abs()).max(LEAST);
        (self.map.min(), self.map.max(), 100.0 * self.map.share_above(FOUND * scale))
    }

    /// What has full colour.
    fn scale(&self) -> f32 {
        let scale = if self.paint == Paint::Peak { self.map.max() } else { self.map.scale() };
        scale.max(LEAST)
    }

    fn map_size(&self) -> (i32, i32) {
        ((self.map.width * self.magnify) as i32, (self.map.height * self.magnify) as i32)
    }

    fn size(&self, dense: bool) -> (i32, i32) {
        let (width, height) = self.map_size();
        let beside = kernel_room(dense);
        let kernel = self.kernel.as_ref().map_or(0, |kernel| kernel.size(beside).1 + 10);
        let numbers = if dense { 0 } else { 3 * LEADING };
        (beside + GAP.0 + width, LEADING + height.max(kernel + numbers))
    }

    fn draw(&self, canvas: &mut Canvas, (left, top): Point, dense: bool) {
        let room = kernel_room(dense);
        let map_left = left + room + GAP.0;
        canvas.text((map_left, top), Face::Plain, INK, &self.name);
        let top = top + LEADING;
        canvas.plane((map_left, top), &self.map, self.magnify as i32, self.paint, self.scale());
        let mut below = top;
        if let Some(kernel) = &self.kernel {
            kernel.draw(canvas, (left, top), room);
            below += kernel.size(room).1 + 10;
        }
        if dense {
            return;
        }
        let (min, max, found) = self.numbers();
        let mut lines = vec![format!("min {min:6.2}"), format!("max {max:6.2}")];
        if self.paint != Paint::Grey {
            lines.push(format!("found {found:.0} %"));
        }
        for (number, line) in (0..).zip(lines) {
            canvas.text((left, below + number * LEADING), Face::Plain, QUIET, &line);
        }
    }
}

fn kernel_room(dense: bool) -> i32 {
    if dense { SMALL_KERNEL } else { KERNEL }
}

impl Kernel {
    /// Pixels of each number, in a room of this width.
    fn cell(&self, room: i32) -> i32 {
        let across = self.columns as i32;
        ((room - (across - 1) * SPLIT) / across / self.planes[0].width as i32).max(1)
    }

    fn size(&self, room: i32) -> (i32, i32) {
        let rows = self.planes.len().div_ceil(self.columns) as i32;
        let cell = self.cell(room);
        let (width, height) = (self.planes[0].width as i32 * cell, self.planes[0].height as i32 * cell);
        let columns = self.columns as i32;
        (columns * width + (columns - 1) * SPLIT, rows * height + (rows - 1) * SPLIT)
    }

    fn draw(&self, canvas: &mut Canvas, (left, top): Point, room: i32) {
        let scale = self.planes.iter().map(|plane| plane.max().abs().max(plane.min().abs())).fold(0.0, f32::max);
        let cell = self.cell(room);
        for (number, plane) in self.planes.iter().enumerate() {
            let step = (plane.width as i32 * cell + SPLIT, plane.height as i32 * cell + SPLIT);
            let (column, row) = ((number % self.columns) as i32, (number / self.columns) as i32);
            let at = (left + column * step.0, top + row * step.1);
            // Where the numbers are few and whole, they are the best drawing of a filter.
            if plane.width == 3 {
                canvas.numbers(at, plane, cell, Paint::Signed, scale);
            } else {
                canvas.plane(at, plane, cell, Paint::Signed, scale);
            }
        }
    }
}

impl Section {
    /// Rows of tiles, all of one height, as many in each as fit.
    fn rows(&self) -> (std::slice::Chunks<'_, Tile>, (i32, i32)) {
        let sizes = || self.tiles.iter().map(|tile| tile.size(self.dense));
        let size = (sizes().map(|size| size.0).max().unwrap_or(1), sizes().map(|size| size.1).max().unwrap_or(1));
        let fit = ((WIDTH - 2 * MARGIN + GAP.1) / (size.0 + GAP.1)).max(1) as usize;
        // Rows as even as they can be.
        let rows = self.tiles.len().div_ceil(fit).max(1);
        (self.tiles.chunks(self.tiles.len().div_ceil(rows).max(1)), size)
    }

    /// Draws it from `top` on, and gives where it ends.
    fn draw(&self, canvas: &mut Canvas, top: i32) -> i32 {
        canvas.rectangle((MARGIN, top), (WIDTH - 2 * MARGIN, 1), LINE);
        let mut y = top + 16;
        canvas.text((MARGIN, y), Face::Title, INK, self.title);
        y += 28;
        y += canvas.paragraph((MARGIN, y), WIDTH - 2 * MARGIN, QUIET, &self.caption) + 12;
        let (rows, (width, height)) = self.rows();
        for row in rows {
            for (number, tile) in (0..).zip(row) {
                tile.draw(canvas, (MARGIN + number * (width + GAP.1), y), self.dense);
            }
            y += height + SPACE.1;
        }
        y - SPACE.1 + SPACE.0
    }

    fn height(&self) -> i32 {
        let (rows, (_, height)) = self.rows();
        let caption = wrap(&self.caption, WIDTH - 2 * MARGIN).len() as i32 * LEADING;
        16 + 28 + caption + 12 + rows.len() as i32 * (height + SPACE.1) - SPACE.1 + SPACE.0
    }
}

impl Sheet<'_> {
    /// Writes the PNG file.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(output::png(path, &self.draw().image)?)
    }

    fn draw(&self) -> Canvas {
        let (cell, _, height) = self.input_size();
        let example = CELL * self.example.kernel.height as i32 + LEADING + 4;
        let room = WIDTH - MARGIN - self.explanation_left();
        let paragraph = |words: &&str| wrap(words, room).len() as i32 * LEADING + BETWEEN;
        let words = EXPLANATION.iter().map(paragraph).sum::<i32>() + LEGEND;
        let header = MARGIN + 62 + height.max(example).max(words) + SPACE.0;
        let mut canvas = Canvas::new(WIDTH, header + self.sections.iter().map(Section::height).sum::<i32>());
        canvas.text((MARGIN, MARGIN - 10), Face::Title, INK, self.title);
        canvas.text((MARGIN, MARGIN + 18), Face::Plain, QUIET, self.subtitle);
        self.draw_header(&mut canvas, cell, MARGIN + 62);
        let mut top = header;
        for section in self.sections {
            top = section.draw(&mut canvas, top);
        }
        canvas
    }

    /// Pixels of each element of the input, its width and its height.
    fn input_size(&self) -> (i32, i32, i32) {
        let longest = self.picture.width.max(self.picture.height) as i32;
        let cell = (INPUT / longest).max(1);
        (cell, self.picture.width as i32 * cell, self.picture.height as i32 * cell)
    }

    fn draw_header(&self, canvas: &mut Canvas, cell: i32, top: i32) {
        let example = self.example;
        let (width, _) = canvas.plane((MARGIN, top), self.picture, cell, Paint::Grey, 1.0);
        let patch = (example.kernel.width as i32 * cell, example.kernel.height as i32 * cell);
        let corner = (MARGIN + example.corner.0 as i32 * cell, top + example.corner.1 as i32 * cell);
        canvas.outline(corner, patch, 2, MARK);

        let side = CELL * example.kernel.width as i32;
        let high = CELL * example.kernel.height as i32;
        let middle = top + LEADING + high / 2;
        let mut left = MARGIN + width + 48;
        let sign = |canvas: &mut Canvas, left: i32, sign: &str| {
            canvas.text((left + 13, middle - 10), Face::Title, INK, sign);
        };
        canvas.text((left, top), Face::Plain, MARK, "brightness");
        canvas.numbers((left, top + LEADING + 4), &example.patch, CELL, Paint::Grey, 1.0);
        canvas.outline((left, top + LEADING + 4), (side, high), 2, MARK);
        left += side;
        sign(canvas, left, "×");
        left += SIGN;
        canvas.text((left, top), Face::Plain, INK, &example.name);
        let scale = example.kernel.max().abs().max(example.kernel.min().abs());
        canvas.numbers((left, top + LEADING + 4), &example.kernel, CELL, Paint::Signed, scale);
        left += side;
        sign(canvas, left, "=");
        left += SIGN;
        let sum = Plane::new(1, 1, vec![example.sum()]);
        let with_bias = if example.bias == 0.0 { "sum" } else { "sum + bias" };
        canvas.text((left, middle - CELL / 2 - LEADING), Face::Plain, INK, with_bias);
        canvas.numbers((left, middle - CELL / 2 + 4), &sum, CELL, Paint::Signed, example.scale);

        let left = self.explanation_left();
        let room = WIDTH - MARGIN - left;
        let mut y = top;
        for paragraph in EXPLANATION {
            y += canvas.paragraph((left, y), room, INK, paragraph) + BETWEEN;
        }
        draw_legend(canvas, (left, y), room.min(420));
    }

    /// Where the explanation begins: right of the picture, two grids, their signs and the sum.
    fn explanation_left(&self) -> i32 {
        let grid = CELL * self.example.kernel.width as i32;
        MARGIN + self.input_size().1 + 48 + 2 * (grid + SIGN) + Face::Plain.size("sum + bias").0 + 40
    }
}

const EXPLANATION: [&str; 3] = [
    "A filter is a small grid of numbers. It is laid on a place of the picture, each of its numbers is multiplied with the brightness \
     below, and the products are summed: one number of the filter's map. Then it moves on by one pixel, over the whole picture. That \
     is all that a convolution is.",
    "The sum is great where the picture looks like the filter (red), far below zero where it looks like the opposite (blue), and \
     about zero where it is neither or flat (white). Colours are scaled to each map.",
    "found: the share of a map above a quarter of its greatest magnitude.",
];

/// What the colours mean.
fn draw_legend(canvas: &mut Canvas, (left, top): Point, width: i32) {
    let bar = Plane::from_fn(width.max(2) as usize, 14, |x, _| 2.0 * x as f32 / (width - 1).max(1) as f32 - 1.0);
    canvas.plane((left, top), &bar, 1, Paint::Signed, 1.0);
    for (share, words) in [(0, "the opposite"), (1, "neither"), (2, "the filter")] {
        let text = Face::Plain.size(words).0;
        canvas.text((left + (width - text) * share / 2, top + 20), Face::Plain, QUIET, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(side: usize) -> Tile {
        let kernel = Kernel { planes: vec![Plane::new(3, 3, vec![1.0; 9])], columns: 1 };
        let map = Plane::from_fn(side, side, |x, y| (x * y) as f32);
        Tile { name: "product".into(), kernel: Some(kernel), map, paint: Paint::Signed, magnify: 1 }
    }

    #[test]
    fn rounding_errors_have_no_colour() {
        let map = Plane::from_fn(8, 8, |x, y| if (x + y) % 2 == 0 { 1e-7 } else { -1e-7 });
        for paint in [Paint::Signed, Paint::Peak] {
            let tile = Tile { map: map.clone(), paint, ..tile(8) };
            assert_eq!((paint.colour(1e-7, tile.scale()), tile.numbers().2), (paint.colour(0.0, 1.0), 0.0));
        }
    }

    #[test]
    fn a_sheet_is_as_high_as_what_is_drawn_on_it() {
        let picture = Plane::from_fn(40, 40, |x, y| (x + y) as f32 / 80.0);
        let tiles = (0..9).map(|_| tile(200)).collect();
        let section = Section { title: "products", caption: "many words ".repeat(40), tiles, dense: false };
        let mut canvas = Canvas::new(WIDTH, 2000);
        assert_eq!(section.draw(&mut canvas, 100), 100 + section.height());
        let example = Example::new(&picture, &tile(40));
        assert_eq!(example.sum(), example.patch.values.iter().sum::<f32>());
        let sheet = Sheet { title: "t", subtitle: "s", picture: &picture, example: &example, sections: &[section] };
        assert_eq!(sheet.draw().image.width(), WIDTH as u32);
    }
}
