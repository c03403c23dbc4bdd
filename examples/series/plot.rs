//! The picture: the whole series with its predictions, what they were off by, the test years enlarged, and the errors as bars.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::data::{Series, Stated};
use crate::output;
use crate::text::{self, Face};
use crate::{Errors, Result};

const SIZE: (u32, u32) = (1600, 1190);
/// Lines are drawn so many times as large and then shrunk, which makes them smooth.
const FINE: i32 = 3;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: RGBColor = RGBColor(32, 36, 48);
const QUIET: RGBColor = RGBColor(96, 100, 112);
const GRID: RGBColor = RGBColor(228, 231, 236);
const SHADE: RGBColor = RGBColor(255, 243, 226);
/// After Okabe and Ito (2008), for the colour-blind.
const PREDICTED: RGBColor = RGBColor(213, 94, 0);
const PERSISTENCE: RGBColor = RGBColor(0, 114, 178);
const CYCLE: RGBColor = RGBColor(110, 110, 110);
const TRAINED: RGBColor = RGBColor(160, 166, 178);
/// Years before the test years that the enlarged panel shows.
const LEAD: i32 = 15;

/// What is drawn.
pub struct Plot<'a> {
    pub series: &'a Series,
    /// For the years from the second on.
    pub predicted: &'a [f64],
    pub stated: &'a Stated,
    pub errors: &'a Errors,
    pub subtitle: String,
}

type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Pixel = (i32, i32);

/// A text to be written when all lines are drawn.
struct Label {
    at: Pixel,
    face: Face,
    colour: RGBColor,
    text: String,
}

/// A rectangle of the picture with axes, in pixels of the picture.
struct Panel {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
    x: (f64, f64),
    y: (f64, f64),
}

/// Writes the PNG file.
pub fn write(path: &Path, plot: &Plot) -> Result {
    Ok(output::png(path, &plot.draw()?)?)
}

impl Panel {
    /// In fine pixels.
    fn pixel(&self, x: f64, y: f64) -> Pixel {
        let share = |value: f64, (from, to): (f64, f64)| (value - from) / (to - from);
        let across = share(x, self.x) * f64::from(FINE * (self.right - self.left));
        let up = share(y, self.y) * f64::from(FINE * (self.bottom - self.top));
        (FINE * self.left + across.round() as i32, FINE * self.bottom - up.round() as i32)
    }

    fn shade(&self, canvas: &Canvas, years: (f64, f64)) -> Result {
        let (from, to) = (self.pixel(years.0, self.y.0).0, self.pixel(years.1, self.y.0).0);
        Ok(canvas.draw(&Rectangle::new([(from, FINE * self.top), (to, FINE * self.bottom)], SHADE.filled()))?)
    }

    /// Lines across at these steps, with their numbers.
    fn grid(&self, canvas: &Canvas, labels: &mut Vec<Label>, steps: (i32, i32), title: &str) -> Result {
        let multiples = |(from, to): (f64, f64), step: i32| {
            (from as i32 / step - 1..=to as i32 / step + 1)
                .map(move |n| n * step)
                .filter(move |&n| (from..=to).contains(&f64::from(n)))
        };
        for value in multiples(self.y, steps.1) {
            let y = self.pixel(self.x.0, value.into()).1 / FINE;
            let colour = if value == 0 { TRAINED } else { GRID };
            straight(canvas, (self.left, y), (self.right, y), colour)?;
            let number = value.to_string();
            let (width, height) = Face::Plain.size(&number);
            labels.push(Label { at: (self.left - 10 - width, y - height / 2), face: Face::Plain, colour: QUIET, text: number });
        }
        for year in multiples(self.x, steps.0) {
            let x = self.pixel(year.into(), self.y.0).0 / FINE;
            straight(canvas, (x, self.bottom), (x, self.bottom + 6), QUIET)?;
            let number = year.to_string();
            let at = (x - Face::Plain.size(&number).0 / 2, self.bottom + 9);
            labels.push(Label { at, face: Face::Plain, colour: QUIET, text: number });
        }
        straight(canvas, (self.left, self.bottom), (self.right, self.bottom), QUIET)?;
        labels.push(Label { at: (self.left, self.top - 24), face: Face::Plain, colour: INK, text: title.into() });
        Ok(())
    }

    /// The part of a line that lies in the panel.
    fn line(&self, canvas: &Canvas, points: impl Iterator<Item = (f64, f64)>, style: impl Into<ShapeStyle>) -> Result {
        let inside = points.filter(|(x, _)| (self.x.0..=self.x.1).contains(x));
        let points: Vec<Pixel> = inside.map(|(x, y)| self.pixel(x, y.clamp(self.y.0, self.y.1))).collect();
        Ok(canvas.draw(&PathElement::new(points, style))?)
    }
}

/// A line along a row or column of pixels, one pixel thick.
fn straight(canvas: &Canvas, from: Pixel, to: Pixel, colour: RGBColor) -> Result {
    block(canvas, from, (to.0.max(from.0 + 1), to.1.max(from.1 + 1)), colour)
}

/// A rectangle, without its lower right corner, in pixels of the picture.
fn block(canvas: &Canvas, from: Pixel, to: Pixel, colour: RGBColor) -> Result {
    let corners = [(from.0 * FINE, from.1 * FINE), (to.0 * FINE - 1, to.1 * FINE - 1)];
    Ok(canvas.draw(&Rectangle::new(corners, colour.filled()))?)
}

impl Plot<'_> {
    fn draw(&self) -> Result<RgbImage> {
        let mut fine = RgbImage::from_pixel(SIZE.0 * FINE as u32, SIZE.1 * FINE as u32, PAPER);
        let labels = self.draw_lines(&mut fine)?;
        let mut image = imageops::resize(&fine, SIZE.0, SIZE.1, FilterType::Triangle);
        for Label { at, face, colour: RGBColor(red, green, blue), text } in labels {
            text::draw(&mut image, at, face, Rgb([red, green, blue]), &text);
        }
        let (height, middle) = (Face::Plain.size("sunspots").0, 250);
        text::draw_upwards(&mut image, (18, middle + height / 2), Face::Plain, Rgb([96, 100, 112]), PAPER, "sunspots");
        Ok(image)
    }

    /// Everything but the texts, which it gives.
    fn draw_lines(&self, image: &mut RgbImage) -> Result<Vec<Label>> {
        let size = image.dimensions();
        let canvas = BitMapBackend::with_buffer(image, size).into_drawing_area();
        let mut labels = Vec::new();
        let mut write = |at, face, colour, text: &str| labels.push(Label { at, face, colour, text: text.into() });
        write((84, 18), Face::Title, INK, "Sunspots, predicted one year ahead");
        write((84, 46), Face::Plain, QUIET, &self.subtitle);
        let entries = [("observed", INK), ("predicted", PREDICTED)];
        let mut left = 84;
        for (name, colour) in entries {
            block(&canvas, (left, 83), (left + 34, 86), colour)?;
            write((left + 44, 76), Face::Plain, QUIET, name);
            left += 44 + Face::Plain.size(name).0 + 40;
        }
        block(&canvas, (left, 77), (left + 34, 92), SHADE)?;
        write((left + 44, 76), Face::Plain, QUIET, "test years, not seen in training");

        let series = self.series;
        let (first, last) = (f64::from(series.first), f64::from(series.year(series.values.len() - 1)));
        let most = series.values.iter().chain(self.predicted).copied().fold(0.0, f64::max);
        let least = series.values.iter().chain(self.predicted).copied().fold(0.0, f64::min);
        let range = ((least / 10.0).floor() * 10.0, (most / 50.0).ceil() * 50.0);
        let whole = Panel { left: 84, top: 140, right: 1570, bottom: 400, x: (first - 1.0, last + 1.0), y: range };
        let residuals = Panel { top: 480, bottom: 680, y: (-80.0, 80.0), ..whole };
        let near = Panel {
            left: 84,
            top: 770,
            right: 1090,
            bottom: 1140,
            x: (f64::from(self.stated.test_years.0 - LEAD), last + 0.7),
            y: range,
        };
        let test = (f64::from(self.stated.test_years.0) - 0.5, f64::from(self.stated.test_years.1) + 0.5);
        for panel in [&whole, &residuals, &near] {
            panel.shade(&canvas, test)?;
        }
        whole.grid(&canvas, &mut labels, (20, 50), "all years")?;
        residuals.grid(&canvas, &mut labels, (20, 40), "predicted minus observed")?;
        near.grid(&canvas, &mut labels, (5, 50), "the test years")?;

        self.draw_residuals(&canvas, &residuals)?;
        self.draw_series(&canvas, &whole, 2)?;
        self.draw_series(&canvas, &near, 3)?;
        for (index, year) in series.years().filter(|&(_, year)| f64::from(year) >= near.x.0) {
            canvas.draw(&Circle::new(near.pixel(year.into(), series.values[index]), 4 * FINE, INK.filled()))?;
        }
        self.draw_bars(&canvas, &mut labels)?;
        canvas.present()?;
        Ok(labels)
    }

    fn draw_series(&self, canvas: &Canvas, panel: &Panel, width: u32) -> Result {
        let series = self.series;
        let width = width * FINE as u32;
        panel.line(canvas, series.years().map(|(index, year)| (year.into(), series.values[index])), INK.stroke_width(width))?;
        let predicted = self.predicted.iter().enumerate().map(|(index, &value)| (series.year(index + 1).into(), value));
        panel.line(canvas, predicted, PREDICTED.stroke_width(width))
    }

    fn draw_residuals(&self, canvas: &Canvas, panel: &Panel) -> Result {
        for (index, &value) in self.predicted.iter().enumerate() {
            let (year, observed) = (self.series.year(index + 1), self.series.values[index + 1]);
            let colour = if year >= self.stated.test_years.0 { PREDICTED } else { TRAINED };
            let residual = (value - observed).clamp(panel.y.0, panel.y.1);
            let (x, y) = panel.pixel(year.into(), residual);
            let zero = panel.pixel(year.into(), 0.0).1;
            canvas.draw(&Rectangle::new([(x - FINE - 1, y.min(zero)), (x + FINE + 1, y.max(zero))], colour.filled()))?;
        }
        Ok(())
    }

    /// The errors over the test years, as bars from a common edge.
    fn draw_bars(&self, canvas: &Canvas, labels: &mut Vec<Label>) -> Result {
        let (left, right, mut top) = (1140, 1570, 770);
        let mut write = |at, colour, text: String| labels.push(Label { at, face: Face::Plain, colour, text });
        write((left, top - 24), INK, "root of the mean square error, test years".into());
        let bars = [
            ("the network", self.errors.network, self.stated.test_rmse, PREDICTED),
            ("last year's number again", self.errors.persistence, self.stated.persistence_rmse, PERSISTENCE),
            ("the number of 11 years ago again", self.errors.cycle, self.stated.cycle_rmse, CYCLE),
        ];
        let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
        top += 14;
        for (name, error, stated, colour) in bars {
            write((left, top), INK, name.into());
            let width = (error / most * f64::from(right - left)).round() as i32;
            block(canvas, (left, top + 24), (left + width, top + 52), colour)?;
            write((left, top + 60), QUIET, format!("{error:.2}, stated {stated:.2}"));
            top += 118;
        }
        Ok(())
    }
}
