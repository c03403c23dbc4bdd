//! Where the labels of points go, so that none covers another, a point or a line. All in pixels.

/// A rectangle, its far edges not included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Area {
    /// The square around a point.
    pub fn around((x, y): (i32, i32), radius: i32) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    fn overlap(&self, other: &Area) -> i32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0) * height.max(0)
    }

    fn area(&self) -> i32 {
        (self.right - self.left) * (self.bottom - self.top)
    }

    /// The point of the rectangle that is nearest to another.
    pub fn nearest(&self, (x, y): (i32, i32)) -> (i32, i32) {
        (x.clamp(self.left, self.right), y.clamp(self.top, self.bottom))
    }
}

/// A point and the size of its label.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub point: (i32, i32),
    pub size: (i32, i32),
}

/// Distances from a point to its label, the nearest first.
const DISTANCES: [i32; 9] = [11, 20, 32, 46, 62, 82, 106, 140, 190];
/// Directions that are tried, as 16ths of a turn from the right, those that read best first.
const DIRECTIONS: [u32; 16] = [0, 8, 12, 4, 14, 2, 10, 6, 15, 1, 9, 7, 13, 3, 11, 5];

/// A place for each label within `area`: the nearest that covers nothing, or else the one that covers least.
pub fn place(wanted: &[Wanted], area: Area, obstacles: &[Area]) -> Vec<Area> {
    let mut taken = obstacles.to_vec();
    let mut placed = Vec::new();
    for wanted in wanted {
        let cost = |label: &Area| {
            let covered: i32 = taken.iter().map(|other| label.overlap(other)).sum();
            covered + (label.area() - label.overlap(&area))
        };
        let place = candidates(wanted).min_by_key(cost).expect("there are candidates");
        placed.push(place);
        taken.push(place);
    }
    placed
}

/// Places around the point; of equal ones `min_by_key` takes the first, so they come with the best first.
fn candidates(wanted: &Wanted) -> impl Iterator<Item = Area> {
    let &Wanted { point: (x, y), size: (width, height) } = wanted;
    DISTANCES.into_iter().flat_map(move |distance| {
        DIRECTIONS.into_iter().map(move |direction| {
            let (sine, cosine) = (f64::from(direction) * std::f64::consts::TAU / 16.0).sin_cos();
            // The middle of the label, so far out that the label's near side is at the distance.
            let out = |half: i32, part: f64| {
                ((f64::from(half) * part.clamp(-0.5, 0.5) * 2.0) + f64::from(distance) * part).round() as i32
            };
            let (left, top) = (x + out(width / 2, cosine) - width / 2, y + out(height / 2, sine) - height / 2);
            Area { left, top, right: left + width, bottom: top + height }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_crowd_cover_neither_each_other_nor_the_points() {
        let area = Area { left: 0, top: 0, right: 800, bottom: 600 };
        let wanted: Vec<Wanted> =
            (0..12).map(|at| Wanted { point: (400 + at % 4 * 9, 300 + at / 4 * 9), size: (110, 16) }).collect();
        let points: Vec<Area> = wanted.iter().map(|wanted| Area::around(wanted.point, 6)).collect();
        let placed = place(&wanted, area, &points);
        for (number, label) in placed.iter().enumerate() {
            assert_eq!(label.overlap(&area), label.area());
            assert!(points.iter().chain(&placed[..number]).all(|other| label.overlap(other) == 0), "{label:?}");
        }
    }

    #[test]
    fn a_lone_label_stands_right_of_its_point_and_at_the_edge_left_of_it() {
        let area = Area { left: 0, top: 0, right: 400, bottom: 400 };
        let label = |x: i32| place(&[Wanted { point: (x, 200), size: (100, 16) }], area, &[Area::around((x, 200), 6)])[0];
        assert_eq!(label(200), Area { left: 211, top: 192, right: 311, bottom: 208 });
        assert_eq!(label(390).right, 379);
    }
}
