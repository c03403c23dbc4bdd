//! The sheet: the picture and the result as wholes, and below them both where four tiles meet, pixel by pixel. Ticks beside them say
//! where the tiles' borders are: nothing else does. All sizes are in pixels.

use std::path::Path;

use crate::Result;
use crate::canvas::{Canvas, INK, MARK, Paint, Point, QUIET};
use crate::output;
use crate::plane::Plane;
use crate::text::Face;

const MARGIN: i32 = 44;
/// Of each of the four pictures, at most.
const SIDE: usize = 880;
/// Pixels of the sheet for each of a detail.
const MAGNIFY: usize = 4;
const GAP: i32 = 48;
const HEADER: i32 = 84;
/// From a picture's name to its top.
const NAME: i32 = 40;
/// A tick's length, and its distance from the picture.
const TICK: i32 = 11;
const AWAY: i32 = 3;

/// What is drawn.
pub struct Sheet<'a> {
    pub title: String,
    pub subtitle: String,
    /// The picture's side.
    pub size: usize,
    /// The result's height and width.
    pub result_size: [usize; 2],
    /// Where tiles begin behind others, in rows and in columns of the result.
    pub borders: [Vec<usize>; 2],
    /// At row and column, in a picture of so many pixels on each side.
    pub brightness: &'a dyn Fn(usize, usize, usize) -> f32,
    /// At row and column, in 0 to 1.
    pub result: &'a dyn Fn(usize, usize) -> f32,
}

impl Sheet<'_> {
    /// Writes the PNG file.
    pub fn write(&self, path: &Path) -> Result {
        Ok(output::png(path, &self.draw().image)?)
    }

    fn draw(&self) -> Canvas {
        let [height, width] = self.result_size;
        let step = height.max(width).div_ceil(SIDE);
        // Pixels of the sheet for each of a picture that is smaller.
        let cell = if step == 1 { SIDE / height.max(width) } else { 1 };
        let whole = Plane::from_fn(width / step, height / step, |x, y| self.mean(y * step, x * step, step));
        let small = (self.size / step).max(1);
        let input = Plane::from_fn(small, small, |x, y| (self.brightness)(y, x, small));
        let [top, left, side] = self.detail(whole.width * cell / MAGNIFY);
        let near = |value: &dyn Fn(usize, usize) -> f32| Plane::from_fn(side, side, |x, y| value(top + y, left + x));
        let (near_input, near_result) = (near(&|y, x| (self.brightness)(y, x, self.size)), near(self.result));
        let magnify = (whole.width * cell / side).max(1);

        let room = ((whole.width.max(small) * cell).max(side * magnify)) as i32;
        let rows = [whole.height.max(small) * cell, side * magnify].map(|high| high as i32);
        let mut canvas = Canvas::new(2 * MARGIN + 2 * room + GAP, HEADER + rows[0] + rows[1] + 2 * NAME + GAP + MARGIN);
        canvas.text((MARGIN, 24), Face::Title, INK, &self.title);
        canvas.text((MARGIN, 52), Face::Plain, QUIET, &self.subtitle);
        let columns = [MARGIN, MARGIN + room + GAP];
        let places = |from: usize, until: usize, borders: &[usize], pixel: &dyn Fn(usize) -> i32| -> Vec<i32> {
            borders.iter().filter(|at| (from..until).contains(*at)).map(|&at| pixel(at - from)).collect()
        };
        let all = |axis: usize| places(0, usize::MAX, &self.borders[axis], &|at| (at * cell / step) as i32);
        let some = |axis: usize, from: usize| places(from, from + side, &self.borders[axis], &|at| (at * magnify) as i32);
        let (wholes, details) = ([all(0), all(1)], [some(0, top), some(1, left)]);
        let place = format!("rows {top} to {} and columns {left} to {}", top + side - 1, left + side - 1);
        let below = HEADER + NAME + rows[0] + GAP;
        for (column, name, plane, close) in
            [(columns[0], "the picture", &input, &near_input), (columns[1], "the result", &whole, &near_result)]
        {
            canvas.text((column, HEADER), Face::Plain, INK, &format!("{name}; ticks where tiles meet"));
            framed(&mut canvas, (column, HEADER + NAME), plane, cell, &wholes);
            canvas.text((column, below), Face::Plain, INK, &format!("{name}, {place}"));
            framed(&mut canvas, (column, below + NAME), close, magnify, &details);
        }
        canvas
    }

    /// Of a square of the result, as far as there is one.
    fn mean(&self, top: usize, left: usize, side: usize) -> f32 {
        let sum: f32 = (0..side * side).map(|at| (self.result)(top + at / side, left + at % side)).sum();
        sum / (side * side) as f32
    }

    /// Top, left and side (this one, where there is room) of the square around the crossing of borders where most is found, or around the
    /// middle where no borders cross.
    fn detail(&self, side: usize) -> [usize; 3] {
        let [height, width] = self.result_size;
        let side = side.max(1).min(height).min(width).min(self.size);
        let corner = |at: usize, size: usize| at.saturating_sub(side / 2).min(size.min(self.size) - side);
        let middle = |borders: &[usize], size: usize| if borders.is_empty() { vec![size / 2] } else { borders.to_vec() };
        let [rows, columns] = [middle(&self.borders[0], height), middle(&self.borders[1], width)];
        let crossings = rows.iter().flat_map(|&row| columns.iter().map(move |&column| (row, column)));
        let corners = crossings.map(|(row, column)| [corner(row, height), corner(column, width)]);
        let found = |&[top, left]: &[usize; 2]| self.mean(top, left, side);
        let [top, left] = corners.max_by(|a, b| found(a).total_cmp(&found(b))).expect("there is a row and a column");
        [top, left, side]
    }
}

/// A plane with ticks on all its sides.
fn framed(canvas: &mut Canvas, at: Point, plane: &Plane, cell: usize, [rows, columns]: &[Vec<i32>; 2]) {
    let (width, height) = canvas.plane(at, plane, cell as i32, Paint::Grey, 1.0);
    for row in rows.iter().filter(|row| **row < height) {
        for left in [at.0 - AWAY - TICK, at.0 + width + AWAY] {
            canvas.rectangle((left, at.1 + row - 1), (TICK, 2), MARK);
        }
    }
    for column in columns.iter().filter(|column| **column < width) {
        for top in [at.1 - AWAY - TICK, at.1 + height + AWAY] {
            canvas.rectangle((at.0 + column - 1, top), (2, TICK), MARK);
        }
    }
}
