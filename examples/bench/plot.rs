//! The roofline plot: each layer's rate over its arithmetic intensity, below the roofs of the device.

use std::path::Path;

use image::{Rgb, RgbImage};
use plotters::coord::combinators::LogCoord;
use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;
use wgconv::{AdapterSummary, Algorithm, DType};

use crate::axes::{self, Range};
use crate::labels::{self, Area, Wanted};
use crate::output;
use crate::report::{self, Row, short};
use crate::roofline::Ceilings;
use crate::text::{self, Face};

const SIZE: (u32, u32) = (1600, 1000);
const AXES: Area = Area { left: 110, top: 110, right: 1570, bottom: 915 };
/// Of a point, in pixels.
const RADIUS: i32 = 6;
/// From a point to its label where a line between them is needed.
const FAR: i32 = 16;
/// Characters of a label; some problem lines are longer.
const LONGEST: usize = 32;

const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: RGBColor = RGBColor(32, 36, 48);
const QUIET: RGBColor = RGBColor(96, 100, 112);
const GRID: RGBColor = RGBColor(236, 238, 241);
const DECADE: RGBColor = RGBColor(206, 210, 217);
const HALF_ROOF: RGBColor = RGBColor(120, 90, 160);
const WRONG: RGBColor = RGBColor(214, 28, 40);
/// For the families of algorithms, in the order of their names; the first of them after Okabe and Ito (2008), for the colour-blind.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 130, 95),
    RGBColor(190, 95, 150),
    RGBColor(200, 135, 0),
    RGBColor(60, 150, 205),
    RGBColor(120, 110, 30),
    RGBColor(110, 110, 110),
    RGBColor(90, 60, 160),
    RGBColor(150, 60, 40),
    RGBColor(70, 160, 90),
    RGBColor(20, 60, 110),
];

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;
type Pixel = (i32, i32);

/// Draws these rows, of which there is at least one.
///
/// # Errors
/// A text where the file cannot be written.
pub fn write(path: &Path, adapter: &AdapterSummary, ceilings: &Ceilings, rows: &[Row]) -> std::result::Result<(), String> {
    let picture = draw(adapter, ceilings, rows).map_err(|error| format!("{}: {error}", path.display()))?;
    output::png(path, &picture)
}

/// A flat roof, in GFLOP/s, which begins where the bandwidth reaches it.
struct Roof {
    name: &'static str,
    colour: RGBColor,
    flops: f64,
}

/// A text to be written when all lines are drawn.
struct Label {
    at: Pixel,
    face: Face,
    colour: RGBColor,
    text: String,
}

struct Plot<'a> {
    canvas: DrawingArea<BitMapBackend<'a>, Shift>,
    scale: Cartesian2d<LogCoord<f64>, LogCoord<f64>>,
    x: Range,
    y: Range,
    /// GB/s.
    copy: f64,
    roofs: Vec<Roof>,
    labels: Vec<Label>,
    /// What labels must not cover.
    taken: Vec<Area>,
}

fn draw(adapter: &AdapterSummary, ceilings: &Ceilings, rows: &[Row]) -> Result<RgbImage> {
    let mut image = RgbImage::from_pixel(SIZE.0, SIZE.1, PAPER);
    for Label { at, face, colour, text } in draw_lines(&mut image, adapter, ceilings, rows)? {
        text::draw(&mut image, at, face, rgb(colour), &text);
    }
    let side = (28, (AXES.top + AXES.bottom + Face::Plain.size("GFLOP/s").0) / 2);
    text::draw_upwards(&mut image, side, Face::Plain, rgb(INK), PAPER, "GFLOP/s");
    Ok(image)
}

/// Everything but the texts, which it gives.
fn draw_lines(image: &mut RgbImage, adapter: &AdapterSummary, ceilings: &Ceilings, rows: &[Row]) -> Result<Vec<Label>> {
    let (roofs, copy) = (roofs(ceilings, rows), ceilings.copy / 1e9);
    let top = roofs.iter().map(|roof| roof.flops).fold(0.0, f64::max);
    let x = axes::range(rows.iter().map(Row::intensity).chain(roofs.iter().map(|roof| roof.flops / copy)), (2.0, 5.0));
    let y = axes::range(rows.iter().map(|row| row.speed.flops / 1e9).chain([top]), (2.5, 2.0));
    // Upwards, while rows of pixels count downwards.
    let pixels = (AXES.left..AXES.right, std::ops::Range { start: AXES.bottom, end: AXES.top });
    let mut plot = Plot {
        canvas: BitMapBackend::with_buffer(image, SIZE).into_drawing_area(),
        scale: Cartesian2d::new(x.clone().log_scale(), y.clone().log_scale(), pixels),
        x,
        y,
        copy,
        roofs,
        labels: Vec::new(),
        taken: Vec::new(),
    };
    plot.draw_grid()?;
    plot.draw_roofs()?;
    plot.draw_points(rows)?;
    plot.draw_caption(adapter, rows)?;
    plot.canvas.present()?;
    Ok(plot.labels)
}

/// The one of f16 only where a layer is under it and it is another one.
fn roofs(ceilings: &Ceilings, rows: &[Row]) -> Vec<Roof> {
    let [single, half] = [DType::F32, DType::F16].map(|dtype| ceilings.fma(dtype) / 1e9);
    let mut roofs = vec![Roof { name: "FMA f32", colour: INK, flops: single }];
    if half > single && rows.iter().any(|row| row.dtype == DType::F16) {
        roofs.push(Roof { name: "FMA f16", colour: HALF_ROOF, flops: half });
    }
    roofs
}

impl Plot<'_> {
    fn pixel(&self, x: f64, y: f64) -> Pixel {
        self.scale.translate(&(x, y))
    }

    fn line(&self, from: Pixel, to: Pixel, style: impl Into<ShapeStyle>) -> Result {
        Ok(self.canvas.draw(&PathElement::new([from, to], style))?)
    }

    /// A text that stands where it stands.
    fn write(&mut self, at: Pixel, face: Face, colour: RGBColor, text: String) {
        let (width, height) = face.size(&text);
        self.taken.push(Area { left: at.0, top: at.1, right: at.0 + width, bottom: at.1 + height });
        self.labels.push(Label { at, face, colour, text });
    }

    fn draw_grid(&mut self) -> Result {
        let (x, y) = (self.x.clone(), self.y.clone());
        // Decades last, above the others.
        for decades in [false, true] {
            let colour = if decades { DECADE } else { GRID };
            for tick in axes::ticks(&x).into_iter().filter(|tick| tick.is_decade == decades) {
                let at = self.pixel(tick.value, y.start).0;
                self.line((at, AXES.top), (at, AXES.bottom), colour)?;
                if let Some(number) = tick.label {
                    let width = Face::Plain.size(&number).0;
                    self.write((at - width / 2, AXES.bottom + 8), Face::Plain, QUIET, number);
                }
            }
            for tick in axes::ticks(&y).into_iter().filter(|tick| tick.is_decade == decades) {
                let at = self.pixel(x.start, tick.value).1;
                self.line((AXES.left, at), (AXES.right, at), colour)?;
                if let Some(number) = tick.label {
                    let (width, height) = Face::Plain.size(&number);
                    self.write((AXES.left - 10 - width, at - height / 2), Face::Plain, QUIET, number);
                }
            }
        }
        self.line((AXES.left, AXES.bottom), (AXES.right, AXES.bottom), QUIET)?;
        self.line((AXES.left, AXES.top), (AXES.left, AXES.bottom), QUIET)?;
        let text = "arithmetic intensity, FLOP/byte";
        let middle = (AXES.left + AXES.right - Face::Plain.size(text).0) / 2;
        self.write((middle, AXES.bottom + 38), Face::Plain, INK, text.into());
        Ok(())
    }

    fn draw_roofs(&mut self) -> Result {
        // The slope enters at the left edge, or from below where the axis begins above it.
        let start = self.x.start.max(self.y.start / self.copy);
        let highest = self.roofs.iter().map(|roof| roof.flops).fold(0.0, f64::max);
        let [left, ridge] = [start, highest / self.copy].map(|x| self.pixel(x, self.copy * x));
        self.line(left, ridge, INK.stroke_width(3))?;
        self.taken.extend(along(left, ridge));
        for Roof { name, colour, flops } in std::mem::take(&mut self.roofs) {
            let [ridge, right] = [flops / self.copy, self.x.end].map(|x| self.pixel(x, flops));
            self.line(ridge, right, colour.stroke_width(3))?;
            self.taken.extend(along(ridge, right));
            let text = format!("{name}: {} GFLOP/s", short(flops));
            let (width, height) = Face::Plain.size(&text);
            self.write((right.0 - width - 8, right.1 - height - 5), Face::Plain, colour, text);
        }
        // Left of the slope's upper part, where no layer can be.
        let text = format!("copy: {} GB/s", short(self.copy));
        let (width, height) = Face::Plain.size(&text);
        let at = (left.0 + (ridge.0 - left.0) * 3 / 5, left.1 + (ridge.1 - left.1) * 3 / 5);
        let at = ((at.0 - width - 14).max(AXES.left + 6), at.1 - height - 6);
        self.write(at, Face::Plain, INK, text);
        Ok(())
    }

    fn draw_points(&mut self, rows: &[Row]) -> Result {
        let points: Vec<Pixel> = rows.iter().map(|row| self.pixel(row.intensity(), row.speed.flops / 1e9)).collect();
        self.taken.extend(points.iter().map(|&point| Area::around(point, RADIUS + 2)));
        let named: Vec<(&Row, Wanted)> = rows
            .iter()
            .zip(&points)
            .filter(|(row, _)| report::is_fastest(row, rows))
            .map(|(row, &point)| (row, Wanted { point, size: Face::Plain.size(&shortened(&row.label)) }))
            .collect();
        let wanted: Vec<Wanted> = named.iter().map(|(_, wanted)| *wanted).collect();
        for ((row, wanted), area) in named.iter().zip(labels::place(&wanted, AXES, &self.taken)) {
            let near = area.nearest(wanted.point);
            if (near.0 - wanted.point.0).abs().max((near.1 - wanted.point.1).abs()) > FAR {
                self.line(wanted.point, near, colour(row).mix(0.5))?;
            }
            self.write((area.left, area.top), Face::Plain, colour(row), shortened(&row.label));
        }
        // Slower algorithms of a layer are small, have no name, and are below.
        for (fastest, radius) in [(false, RADIUS - 3), (true, RADIUS)] {
            let drawn = rows.iter().zip(&points).filter(|(row, _)| report::is_fastest(row, rows) == fastest);
            for (row, &point) in drawn {
                self.canvas.draw(&Circle::new(point, radius + 1, WHITE.filled()))?;
                self.canvas.draw(&Circle::new(point, radius, colour(row).filled()))?;
            }
        }
        Ok(())
    }

    /// Title and legend.
    fn draw_caption(&mut self, adapter: &AdapterSummary, rows: &[Row]) -> Result {
        self.write((AXES.left, 20), Face::Title, INK, format!("wgconv on {}", adapter.name));
        let details =
            format!("{}, {}, {}; rates of Winograd kernels are effective ones", adapter.class, adapter.backend, adapter.driver);
        self.write((AXES.left, 48), Face::Plain, QUIET, details);
        let mut left = AXES.left;
        let mut entries: Vec<(RGBColor, &str)> = Vec::new();
        for name in Algorithm::names() {
            let shown = rows.iter().find(|row| row.measurement.is_right() && row.measurement.algorithm.name() == *name);
            entries.extend(shown.map(|row| (colour(row), *name)));
        }
        entries.extend(rows.iter().any(|row| !row.measurement.is_right()).then_some((WRONG, "wrong answer")));
        for (colour, name) in entries {
            let (width, height) = Face::Plain.size(name);
            self.canvas.draw(&Circle::new((left + RADIUS, 80 + height / 2), RADIUS, colour.filled()))?;
            self.write((left + 18, 80), Face::Plain, QUIET, name.into());
            left += width + 50;
        }
        Ok(())
    }
}

fn rgb(RGBColor(red, green, blue): RGBColor) -> Rgb<u8> {
    Rgb([red, green, blue])
}

fn colour(row: &Row) -> RGBColor {
    if !row.measurement.is_right() {
        return WRONG;
    }
    let at = Algorithm::names().iter().position(|&name| name == row.measurement.algorithm.name()).unwrap_or(0);
    COLOURS[at % COLOURS.len()]
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST { name.into() } else { name.chars().take(LONGEST - 2).chain("..".chars()).collect() }
}

/// Squares along a line, for labels to keep off.
fn along(from: Pixel, to: Pixel) -> impl Iterator<Item = Area> {
    let steps = ((to.0 - from.0).abs().max((to.1 - from.1).abs()) / 4).max(1);
    (0..=steps)
        .map(move |step| Area::around((from.0 + (to.0 - from.0) * step / steps, from.1 + (to.1 - from.1) * step / steps), 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::tests::CEILINGS;

    #[test]
    fn a_plot_of_anything_that_can_be_measured_is_drawn() {
        let class = wgconv::DeviceClass::Software;
        let adapter = AdapterSummary { name: "Gerät".into(), backend: "Vulkan".into(), driver: "1".into(), class };
        let one = |flop, milliseconds, error| report::tests::work_row("a", flop, milliseconds, error);
        for rows in [vec![one(1, 1000, 0.0)], vec![one(1 << 40, 1, 0.5), one(1 << 20, 100, 7.0), one(0, 1, 0.0)]] {
            let image = draw(&adapter, &CEILINGS, &rows).expect("nothing to fail on");
            let coloured = image.pixels().filter(|pixel| pixel.0[0].abs_diff(pixel.0[2]) > 60).count();
            assert!(coloured > 100, "no point is to be seen");
        }
    }
}
