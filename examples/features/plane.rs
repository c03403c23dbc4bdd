//! [`Plane`]: one channel of numbers with a width and a height, and what can be read off it. It computes no convolution.

/// Numbers in rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    /// Row-major.
    pub values: Vec<f32>,
}

impl Plane {
    pub fn new(width: usize, height: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), width * height, "a plane of {width}x{height}");
        Self { width, height, values }
    }

    /// A plane from a function of its pixels' positions, `(x, y)`.
    pub fn from_fn(width: usize, height: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        Self::new(width, height, (0..width * height).map(|at| value(at % width, at / width)).collect())
    }

    /// Planes that lie behind each other, as a tensor has its channels.
    pub fn split(width: usize, height: usize, values: &[f32]) -> Vec<Self> {
        values.chunks(width * height).map(|plane| Self::new(width, height, plane.to_vec())).collect()
    }

    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    pub fn min(&self) -> f32 {
        self.values.iter().copied().fold(f32::INFINITY, f32::min)
    }

    pub fn max(&self) -> f32 {
        self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The magnitude that all but one in a hundred elements stay below: a scale for colours that a few extremes do not spoil.
    pub fn scale(&self) -> f32 {
        let mut magnitudes: Vec<f32> = self.values.iter().map(|value| value.abs()).collect();
        magnitudes.sort_by(f32::total_cmp);
        magnitudes.get(magnitudes.len().saturating_sub(1 + magnitudes.len() / 100)).copied().unwrap_or(0.0)
    }

    /// The share of elements above a threshold.
    pub fn share_above(&self, threshold: f32) -> f32 {
        self.values.iter().filter(|&&value| value > threshold).count() as f32 / self.values.len().max(1) as f32
    }

    /// Where the greatest element is that has `margin` elements on each side; the middle where the plane is too small.
    pub fn argmax(&self, margin: usize) -> (usize, usize) {
        let inner = |size: usize| margin..size.saturating_sub(margin);
        let positions = inner(self.height).flat_map(|y| inner(self.width).map(move |x| (x, y)));
        let best = positions.max_by(|&(ax, ay), &(bx, by)| self.at(ax, ay).total_cmp(&self.at(bx, by)));
        best.unwrap_or((self.width / 2, self.height / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_off_a_plane_is_what_stands_in_it() {
        let plane = Plane::from_fn(4, 3, |x, y| if (x, y) == (2, 1) { 8.0 } else { x as f32 - 1.0 });
        assert_eq!((plane.min(), plane.max(), plane.argmax(1)), (-1.0, 8.0, (2, 1)));
        assert_eq!(plane.share_above(1.5), 4.0 / 12.0);
        assert_eq!(Plane::split(2, 2, &[0.0; 12]).len(), 3);
    }
}
