//! The filters that are made by hand: what a network's first layers learn to do, written down by people who knew what they wanted.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use crate::plane::Plane;

/// Directions of stripes that the Gabor filters look for, in degrees from the horizontal, counter-clockwise.
pub const ANGLES: [u32; 4] = [0, 45, 90, 135];
/// From one stripe to the next, in pixels: fine and coarse.
pub const WAVELENGTHS: [f32; 2] = [4.0, 8.0];

/// A filter of one channel with an odd side.
pub struct Filter {
    pub name: String,
    pub kernel: Plane,
}

fn filter(name: &str, kernel: Plane) -> Filter {
    Filter { name: name.into(), kernel }
}

fn small(name: &str, values: [f32; 9]) -> Filter {
    filter(name, Plane::new(3, 3, values.to_vec()))
}

/// What changes brightness and sharpness, and gives a picture again.
pub fn pictures() -> Vec<Filter> {
    vec![
        small("identity", [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        filter("blur (Gaussian)", gaussian(9, 1.8)),
        small("sharpen", [0.0, -1.0, 0.0, -1.0, 5.0, -1.0, 0.0, -1.0, 0.0]),
        small("emboss", [-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0]),
    ]
}

/// Steps of brightness: from left to right, from top to bottom, and towards a pixel from all around it.
///
/// Source: Sobel and Feldman, "An isotropic 3x3 image gradient operator" (1968).
pub fn edges() -> [Filter; 3] {
    [
        small("Sobel x", [-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0]),
        small("Sobel y", [-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0]),
        small("Laplacian", [0.0, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0]),
    ]
}

/// Stripes of a wavelength, for each of [`ANGLES`].
pub fn stripes(wavelength: f32, side: usize) -> Vec<Filter> {
    ANGLES.iter().map(|&angle| filter(&format!("Gabor {angle}°"), gabor(side, angle as f32, wavelength))).collect()
}

/// A bell that sums to 1.
pub fn gaussian(side: usize, sigma: f32) -> Plane {
    let centre = (side / 2) as f32;
    let mut kernel = Plane::from_fn(side, side, |x, y| {
        let (x, y) = (x as f32 - centre, y as f32 - centre);
        (-(x * x + y * y) / (2.0 * sigma * sigma)).exp()
    });
    let sum: f32 = kernel.values.iter().sum();
    kernel.values.iter_mut().for_each(|value| *value /= sum);
    kernel
}

/// A wave under a bell, whose sum is 0 and whose positive part sums to 1: flat brightness gives 0, stripes that fit give up to 1.
///
/// Source: Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation" (1985).
fn gabor(side: usize, degrees: f32, wavelength: f32) -> Plane {
    let (sin, cos) = (degrees * PI / 180.0).sin_cos();
    let bell = gaussian(side, 0.45 * wavelength);
    let centre = (side / 2) as f32;
    let mut kernel = Plane::from_fn(side, side, |x, y| {
        // Across the stripes; rows count downwards.
        let across = (x as f32 - centre) * sin + (y as f32 - centre) * cos;
        bell.at(x, y) * (2.0 * PI * across / wavelength).cos()
    });
    // The bell takes the surplus away, so that the filter still fades out at its border.
    let surplus: f32 = kernel.values.iter().sum();
    kernel.values.iter_mut().zip(&bell.values).for_each(|(value, bell)| *value -= surplus * bell);
    let positive: f32 = kernel.values.iter().filter(|&&value| value > 0.0).sum();
    kernel.values.iter_mut().for_each(|value| *value /= positive);
    kernel
}

/// A filter over the maps of the [`ANGLES`]: it sees which directions of edges stand where.
pub struct Shape {
    pub name: &'static str,
    /// One plane for each angle.
    pub kernel: Vec<Plane>,
}

/// Side of the shapes' filters, in elements of the pooled maps.
pub const SHAPE_SIDE: usize = 25;

/// Things made of edges: which direction an edge must have at each place. An edge across it counts against the shape.
pub fn shapes() -> Vec<Shape> {
    let near = |distance: f32, width: f32| (-(distance * distance) / (2.0 * width * width)).exp();
    let arm = |along: f32, across: f32| if (1.0..11.0).contains(&along) { near(across, 0.8) } else { 0.0 };
    let fits = |local: f32, direction: f32| (2.0 * (local - direction)).cos();
    vec![
        // An edge of a circle runs across the line to its centre.
        shape("circle", |x, y, direction| near(x.hypot(y) - 8.5, 0.9) * fits(y.atan2(x) + PI / 2.0, direction)),
        // One edge to the right and one downwards.
        shape("corner", |x, y, direction| arm(x, y) * fits(0.0, direction) + arm(-y, x) * fits(PI / 2.0, direction)),
        shape("crossing", |x, y, direction| {
            let (along, across) = ((x + y) * FRAC_1_SQRT_2, (x - y) * FRAC_1_SQRT_2);
            arm(along.abs(), across) * fits(PI / 4.0, direction) + arm(across.abs(), along) * fits(-PI / 4.0, direction)
        }),
        shape("grain", |x, y, _| near(x, 2.5) * near(y, 2.5)),
    ]
}

/// A shape from a function of the position, upwards positive, and the direction in radians; balanced so that a texture that is the
/// same everywhere gives 0.
fn shape(name: &'static str, weight: impl Fn(f32, f32, f32) -> f32) -> Shape {
    let centre = (SHAPE_SIDE / 2) as f32;
    let plane = |&degrees: &u32| {
        let direction = degrees as f32 * PI / 180.0;
        let mut plane = Plane::from_fn(SHAPE_SIDE, SHAPE_SIDE, |x, y| weight(x as f32 - centre, centre - y as f32, direction));
        let mean = plane.values.iter().sum::<f32>() / plane.values.len() as f32;
        plane.values.iter_mut().for_each(|value| *value -= mean);
        plane
    };
    let mut kernel: Vec<Plane> = ANGLES.iter().map(plane).collect();
    let positive: f32 = kernel.iter().flat_map(|plane| &plane.values).filter(|&&value| value > 0.0).sum();
    kernel.iter_mut().flat_map(|plane| &mut plane.values).for_each(|value| *value /= positive);
    Shape { name, kernel }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_look_for_something_see_nothing_where_all_is_the_same() {
        let sum = |plane: &Plane| plane.values.iter().sum::<f32>().abs();
        assert!(edges().iter().all(|filter| sum(&filter.kernel) == 0.0));
        let stripes = WAVELENGTHS.iter().flat_map(|&wavelength| stripes(wavelength, 15));
        assert!(stripes.into_iter().all(|filter| sum(&filter.kernel) < 1e-5));
        assert!(shapes().iter().all(|shape| shape.kernel.iter().map(sum).sum::<f32>() < 1e-4));
        assert!((gaussian(9, 1.8).values.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_gabor_filter_answers_to_stripes_in_its_own_direction_most() {
        // Horizontal stripes: brightness depends on the row.
        let stripes_at = |angle: u32| gabor(15, angle as f32, 8.0);
        let answer = |kernel: &Plane| -> f32 {
            (0..225).map(|at| kernel.values[at] * (2.0 * PI * ((at / 15) as f32 - 7.0) / 8.0).cos()).sum()
        };
        let answers: Vec<f32> = ANGLES.iter().map(|&angle| answer(&stripes_at(angle))).collect();
        assert!(answers[0] > 2.0 * answers[1].abs() && answers[0] > 5.0 * answers[2].abs(), "{answers:?}");
    }
}
