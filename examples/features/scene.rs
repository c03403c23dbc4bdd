//! The picture that the program brings along: drawn by formulas, so that the repository holds no photo and nobody's licence. It has
//! what filters differ in: a shaded ball, a chequered floor in perspective, bricks, gravel, stripes in four directions, letters.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::plane::Plane;

pub const WIDTH: usize = 256;
pub const HEIGHT: usize = 192;
/// Points of each pixel on each axis, of which the mean is taken: edges are as soft as a camera's.
const FINE: usize = 3;

/// Where the wall meets the floor.
const HORIZON: f32 = 124.0;
const BALL: (f32, f32, f32) = (142.0, 97.0, 34.0);
/// Right of this, and below a slope, lies gravel.
const GRAVEL: f32 = 206.0;
const BRICKS: f32 = 82.0;
/// The stripes hang on the wall: corner, side and gap of the four patches.
const PATCHES: (f32, f32, f32, f32) = (94.0, 12.0, 32.0, 5.0);
const SIGN: (f32, f32, f32, f32) = (192.0, 62.0, 54.0, 32.0);

/// The picture in 0 to 1.
pub fn draw() -> Plane {
    let mut picture = Plane::from_fn(WIDTH, HEIGHT, |x, y| {
        let point = |at: usize, fine: usize| at as f32 + (fine as f32 + 0.5) / FINE as f32;
        let sum: f32 = (0..FINE * FINE).map(|fine| brightness(point(x, fine % FINE), point(y, fine / FINE))).sum();
        sum / (FINE * FINE) as f32 + 0.015 * (noise(x as i32, y as i32, 9) - 0.5)
    });
    write(&mut picture, "conv", (SIGN.0 as usize + 6, SIGN.1 as usize + 6));
    picture.values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    picture
}

/// At a point, without the letters and what a camera adds.
pub fn brightness(x: f32, y: f32) -> f32 {
    let (ball_x, ball_y, radius) = BALL;
    let (dx, dy) = ((x - ball_x) / radius, (y - ball_y) / radius);
    if dx * dx + dy * dy < 1.0 {
        return ball(dx, dy);
    }
    // The light comes from the upper left: the shadow lies to the right of the ball.
    let shade = ((x - ball_x - 18.0) / 44.0).powi(2) + ((y - ball_y - radius + 1.0) / 9.0).powi(2);
    let shadow = if y > HORIZON { 0.35 + 0.65 * smooth((shade - 0.5) / 0.9) } else { 1.0 };
    let heap = HORIZON + 2.0 + 0.02 * (x - 256.0).powi(2);
    shadow * if x > GRAVEL && y > heap { gravel(x, y) } else { ground(x, y) }
}

fn ball(dx: f32, dy: f32) -> f32 {
    let dz = (1.0 - dx * dx - dy * dy).max(0.0).sqrt();
    let light = (-0.55 * dx - 0.6 * dy + 0.58 * dz).max(0.0);
    0.03 + 0.3 * light + 0.55 * light.powi(14)
}

fn ground(x: f32, y: f32) -> f32 {
    if y > HORIZON {
        // Depth grows without bound towards the horizon; the chequers fade there, before they are finer than the pixels.
        let depth = 520.0 / (y - HORIZON + 5.0);
        let (u, v) = ((x - 118.0) * depth / 130.0, depth * 1.6);
        let dark = (u.floor() + v.floor()).rem_euclid(2.0) >= 1.0;
        let contrast = smooth((y - HORIZON) / 20.0) * 0.3;
        return if dark { 0.52 - contrast } else { 0.52 + contrast };
    }
    let (left, top, side, gap) = PATCHES;
    let column = (x - left) / (side + gap);
    if (0.0..4.0).contains(&column) && (top..top + side).contains(&y) && column.fract() < side / (side + gap) {
        let degrees = [0.0f32, 45.0, 90.0, 135.0][column as usize];
        let (sin, cos) = degrees.to_radians().sin_cos();
        // Coarse stripes in the upper half, fine ones in the lower.
        let wavelength = if y < top + side / 2.0 { 8.0 } else { 4.0 };
        let phase = ((x - left) * sin + (y - top) * cos) / wavelength;
        return if phase.rem_euclid(1.0) < 0.5 { 0.12 } else { 0.9 };
    }
    let (sign_x, sign_y) = (x - SIGN.0, y - SIGN.1);
    if (0.0..SIGN.2).contains(&sign_x) && (0.0..SIGN.3).contains(&sign_y) {
        let to_edge = sign_x.min(SIGN.2 - sign_x).min(sign_y).min(SIGN.3 - sign_y);
        return if to_edge < 2.5 { 0.15 } else { 0.95 };
    }
    if x < BRICKS { bricks(x, y) } else { plaster(x, y) }
}

fn plaster(x: f32, y: f32) -> f32 {
    0.7 - 0.0006 * x + 0.05 * (value_noise(x / 9.0, y / 9.0, 1) - 0.5) + 0.03 * (value_noise(x / 3.0, y / 3.0, 2) - 0.5)
}

fn bricks(x: f32, y: f32) -> f32 {
    let row = (y / 10.0).floor();
    let shifted = x + if row.rem_euclid(2.0) >= 1.0 { 11.0 } else { 0.0 };
    let (column, inside_x, inside_y) = ((shifted / 22.0).floor(), shifted.rem_euclid(22.0), y.rem_euclid(10.0));
    if inside_x < 1.8 || inside_y < 1.8 {
        return 0.74;
    }
    0.36 + 0.16 * noise(column as i32, row as i32, 3) + 0.10 * (value_noise(x / 2.5, y / 2.5, 4) - 0.5)
}

/// Round stones: each point belongs to the nearest of scattered centres, and is darker towards the border.
fn gravel(x: f32, y: f32) -> f32 {
    let (x, y) = (x / 7.0, y / 7.0);
    let (cell_x, cell_y) = (x.floor() as i32, y.floor() as i32);
    let cells = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (cell_x + dx, cell_y + dy)));
    let mut nearest = [(f32::MAX, 0.0); 2];
    for (i, j) in cells {
        let (cx, cy) = (i as f32 + 0.15 + 0.7 * noise(i, j, 5), j as f32 + 0.15 + 0.7 * noise(i, j, 6));
        let found = ((x - cx).hypot(y - cy), noise(i, j, 7));
        if found.0 < nearest[0].0 {
            nearest = [found, nearest[0]];
        } else if found.0 < nearest[1].0 {
            nearest[1] = found;
        }
    }
    let gap = smooth((nearest[1].0 - nearest[0].0) / 0.35);
    gap * (0.45 + 0.4 * nearest[0].1) * (1.05 - 0.45 * nearest[0].0) + 0.08
}

/// 0 below 0, 1 above 1, and without a kink between them.
fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A number in 0 to 1 for each point of a grid, the same in every run.
fn noise(x: i32, y: i32, layer: u32) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77) ^ layer.wrapping_mul(0xc2b2_ae3d);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297a_2d39);
    (hash ^ (hash >> 15)) as f32 / u32::MAX as f32
}

/// [`noise`] between the points of its grid.
fn value_noise(x: f32, y: f32, layer: u32) -> f32 {
    let (i, j) = (x.floor() as i32, y.floor() as i32);
    let (s, t) = (smooth(x - x.floor()), smooth(y - y.floor()));
    let row = |j: i32| noise(i, j, layer) * (1.0 - s) + noise(i + 1, j, layer) * s;
    row(j) * (1.0 - t) + row(j + 1) * t
}

/// Dark letters.
fn write(picture: &mut Plane, text: &str, (left, top): (usize, usize)) {
    let (weight, height) = (FontWeight::Bold, RasterHeight::Size20);
    for (number, character) in text.chars().enumerate() {
        let Some(glyph) = get_raster(character, weight, height) else { continue };
        for (y, row) in glyph.rows().enumerate() {
            for (x, &ink) in row.iter().enumerate() {
                let at = (top + y) * picture.width + left + number * get_raster_width(weight, height) + x;
                picture.values[at] *= 1.0 - 0.9 * f32::from(ink) / 255.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scene_has_contrast_and_is_the_same_in_every_run() {
        let scene = draw();
        assert_eq!((scene.width, scene.height), (WIDTH, HEIGHT));
        assert!(scene.min() < 0.1 && scene.max() > 0.9);
        assert!(scene == draw());
    }
}
