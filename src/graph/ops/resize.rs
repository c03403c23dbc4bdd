//! Resampling, as ONNX's `Resize` of all versions; `Upsample` is one with nearest, asymmetric and floor.
//!
//! Every mode is separable: along one axis each output is a weighted sum of a few inputs, and the axes follow each other. What is
//! particular to a mode ends up in an [`AxisTable`], from which the reference and the devices compute alike.

use super::movement::{select_or, sources};
use super::resize_kernel::{Kernel, nearest_to};
use super::{Fact, Inputs, axes_of, not_of_type, strides};
use crate::error::{Error, Result};
use crate::graph::{AspectPolicy, Coordinates, Op, Resize, ResizeMode};
use crate::parallel;
use crate::value::{ElementType, Value};

/// One axis of a resampling: output `o` is the sum of `weights[o][t] * input[indices[o][t]]` over the taps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AxisTable {
    /// Which axis.
    pub axis: usize,
    /// Its elements in the input.
    pub input: usize,
    /// And in the output.
    pub output: usize,
    /// Inputs that each output is made of.
    pub taps: usize,
    /// `[output, taps]`; -1 in all of a row is the extrapolation value for everything at this output.
    pub indices: Vec<i32>,
    /// `[output, taps]`
    pub weights: Vec<f64>,
}

/// The tables of those axes that a resampling changes, the one that shrinks most first: so nothing in between is larger than both
/// the input and the result. None where the result has no elements.
///
/// # Errors
/// As [`Op::Resize`]'s inference.
pub(crate) fn tables(resize: &Resize, shape: &[usize], inputs: &Inputs) -> Result<Vec<AxisTable>> {
    let scalings = scalings(resize, shape, inputs)?;
    if scalings.iter().any(|scaling| scaling.output == 0) {
        return Ok(Vec::new());
    }
    let changed = scalings.into_iter().enumerate().filter(|(_, scaling)| !scaling.is_identity());
    let mut list: Vec<AxisTable> = changed.map(|(axis, scaling)| scaling.table(axis, resize)).collect();
    list.retain(|table| !table.is_identity());
    // First what shrinks most; of equals the last axis, whose neighbours share nothing, while there are few of them.
    let growth = |a: &AxisTable, b: &AxisTable| (a.output as u128 * b.input as u128).cmp(&(b.output as u128 * a.input as u128));
    list.sort_by(|a, b| growth(a, b).then(b.axis.cmp(&a.axis)));
    Ok(list)
}

pub(super) fn infer(op: &Op, inputs: &Inputs) -> Result<Vec<Fact>> {
    let Op::Resize(resize) = op else { unreachable!("{op:?} is of another family") };
    let x = inputs.get(0)?;
    if x.element == ElementType::Bool && resize.mode != ResizeMode::Nearest {
        return Err(not_of_type("only mode nearest takes them", x.element));
    }
    if resize.mode == ResizeMode::Nearest && resize.antialias {
        return Err(Error::invalid("antialias", "is set, but mode nearest averages nothing"));
    }
    let shape: Vec<usize> = scalings(resize, &x.shape, inputs)?.iter().map(|scaling| scaling.output).collect();
    Ok(vec![Fact::new(x.element, shape)])
}

pub(super) fn evaluate(op: &Op, inputs: &Inputs, results: &[Fact]) -> Result<Vec<Value>> {
    let Op::Resize(resize) = op else { unreachable!("{op:?} is of another family") };
    let (x, Fact { element, shape, .. }) = (inputs.value(0), &results[0]);
    if results[0].len() == 0 {
        return Ok(vec![Value::zeros(*element, shape)]);
    }
    let tables = tables(resize, x.shape(), inputs)?;
    let outside = f64::from(resize.extrapolation);
    Ok(vec![if resize.mode == ResizeMode::Nearest {
        nearest(x, &tables, shape, &rounded(*element, &[1], vec![outside]))
    } else {
        let mut sizes = x.shape().to_vec();
        let mut data = x.to_f64();
        for table in &tables {
            data = along(table, &data, &mut sizes, outside);
        }
        rounded(*element, shape, data)
    }])
}

/// Elements are only moved: exact for every type.
fn nearest(x: &Value, tables: &[AxisTable], shape: &[usize], outside: &Value) -> Value {
    let offsets = strides(x.shape()).into_iter().zip(x.shape()).enumerate().map(|(axis, (step, &size))| {
        match tables.iter().find(|table| table.axis == axis) {
            Some(table) => table.indices.iter().map(|&index| usize::try_from(index).ok().map(|at| at * step)).collect(),
            None => (0..size).map(|at| Some(at * step)).collect(),
        }
    });
    select_or(x, shape, &sources(&offsets.collect::<Vec<_>>()), Some(outside))
}

/// Applies a table along its axis, and changes that axis's size.
fn along(table: &AxisTable, data: &[f64], sizes: &mut [usize], outside: f64) -> Vec<f64> {
    sizes[table.axis] = table.output;
    let inner: usize = sizes[table.axis + 1..].iter().product();
    let mut result = vec![0.0; data.len() / table.input * table.output];
    parallel::pieces(&mut result, table.output * inner, |number, block| {
        let source = &data[number * table.input * inner..];
        for (o, row) in block.chunks_mut(inner).enumerate() {
            let taps = o * table.taps..(o + 1) * table.taps;
            for (&index, &weight) in table.indices[taps.clone()].iter().zip(&table.weights[taps]) {
                let Ok(index) = usize::try_from(index) else {
                    row.fill(outside);
                    break;
                };
                row.iter_mut().zip(&source[index * inner..]).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    });
    result
}

/// Floats as a type's values: integers are rounded to nearest, halves to even, and held in the type's range.
fn rounded(element: ElementType, shape: &[usize], list: Vec<f64>) -> Value {
    let Some((least, most)) = element.range() else {
        return Value::from_floats(element, shape, list);
    };
    // `as` turns NaN into 0 and saturates.
    let integer = |value: f64| (value.round_ties_even() as i128).clamp(least, most);
    Value::from_ints(element, shape, list.into_iter().map(integer).collect())
}

/// The numbers of one axis.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    input: usize,
    output: usize,
    /// Output elements for each of the input.
    scale: f64,
    /// `input * scale`, which may be a little more than `output`.
    resized: f64,
    /// The part of the input that is looked at, in lengths of the input.
    roi: [f64; 2],
}

/// What becomes of each axis of `shape`.
fn scalings(resize: &Resize, shape: &[usize], inputs: &Inputs) -> Result<Vec<Scaling>> {
    let axes = if resize.axes.is_empty() { (0..shape.len()).collect() } else { axes_of(&resize.axes, shape.len())? };
    let (scales, sizes) = (numbers(inputs, 2, "scales", axes.len())?, numbers(inputs, 3, "sizes", axes.len())?);
    let mut list: Vec<Scaling> = shape
        .iter()
        .map(|&size| Scaling { input: size, output: size, scale: 1.0, resized: size as f64, roi: [0.0, 1.0] })
        .collect();
    match (scales, sizes) {
        (Some(scales), None) => {
            for (&axis, scale) in axes.iter().zip(scales) {
                list[axis].scale_by(axis, scale)?;
            }
        }
        (None, Some(_)) => {
            let sizes = inputs.ints(3, "sizes")?;
            for (&axis, &size) in axes.iter().zip(&sizes) {
                list[axis].scale_to(axis, size)?;
            }
            keep_aspect(resize.aspect, &axes, &mut list)?;
        }
        (Some(_), Some(_)) => return Err(Error::invalid("sizes", "are given, but scales are too: only one of them can be")),
        (None, None) => return Err(Error::invalid("scales", "are missing, and sizes too: one of them must be given")),
    }
    if resize.coordinates == Coordinates::TfCropAndResize {
        let roi = numbers(inputs, 1, "roi", 2 * axes.len())?;
        let roi = roi.ok_or_else(|| Error::invalid("roi", "is missing, but tf_crop_and_resize looks at one"))?;
        for (entry, &axis) in axes.iter().enumerate() {
            list[axis].roi = [roi[entry], roi[axes.len() + entry]];
        }
    }
    Ok(list)
}

/// An input of `count` finite numbers; one without elements is absent.
fn numbers(inputs: &Inputs, index: usize, name: &'static str, count: usize) -> Result<Option<Vec<f64>>> {
    if inputs.optional(index).is_none_or(|fact| fact.len() == 0) {
        return Ok(None);
    }
    let list = inputs.constant(index, name)?.to_f64();
    if list.len() != count {
        return Err(Error::invalid(name, format!("has {} entries, but {count} are needed", list.len())));
    }
    match list.iter().find(|number| !number.is_finite()) {
        Some(number) => Err(Error::invalid(name, format!("has the entry {number}"))),
        None => Ok(Some(list)),
    }
}

/// Makes all axes follow the one that is scaled least, or most.
fn keep_aspect(policy: AspectPolicy, axes: &[usize], list: &mut [Scaling]) -> Result<()> {
    let scales = axes.iter().map(|&axis| list[axis].scale);
    let scale = match policy {
        AspectPolicy::Stretch => return Ok(()),
        AspectPolicy::NotLarger => scales.fold(f64::INFINITY, f64::min),
        AspectPolicy::NotSmaller => scales.fold(0.0, f64::max),
    };
    for &axis in axes {
        let scaling = &mut list[axis];
        (scaling.scale, scaling.resized) = (scale, scale * scaling.input as f64);
        scaling.output = size_of_axis(axis, (scaling.resized + 0.5).floor())?;
    }
    Ok(())
}

/// A size that came out of floats.
fn size_of_axis(axis: usize, size: f64) -> Result<usize> {
    // Beyond 2^53 neither the size nor its neighbours are floats, and no tensor is as large.
    if (0.0..9e15).contains(&size) {
        return Ok(size as usize);
    }
    Err(Error::invalid("scales", format!("give axis {axis} a size of {size}")))
}

impl Scaling {
    fn scale_by(&mut self, axis: usize, scale: f64) -> Result<()> {
        if scale <= 0.0 {
            return Err(Error::invalid("scales", format!("has {scale} for axis {axis}, but a scale is above 0")));
        }
        (self.scale, self.resized) = (scale, self.input as f64 * scale);
        // The product in f32 is what exporters mean: 10 elements by 0.7 are 7, although 0.7f32 is a little less.
        self.output = size_of_axis(axis, f64::from((self.input as f32 * scale as f32).floor()))?;
        Ok(())
    }

    fn scale_to(&mut self, axis: usize, size: i64) -> Result<()> {
        let negative = || Error::invalid("sizes", format!("has {size} for axis {axis}"));
        self.output = usize::try_from(size).map_err(|_| negative())?;
        if self.input == 0 {
            let rule = || Error::invalid("sizes", format!("has {size} for axis {axis}, but the input has no elements there"));
            return if size == 0 { Ok(()) } else { Err(rule()) };
        }
        (self.scale, self.resized) = (self.output as f64 / self.input as f64, self.output as f64);
        Ok(())
    }

    /// Whether the rule that makes coordinates is not even asked.
    fn is_identity(&self) -> bool {
        self.scale == 1.0 && self.input == self.output && self.roi == [0.0, 1.0]
    }

    /// The input coordinate of an output; `None` is outside.
    fn coordinate(&self, rule: Coordinates, at: usize) -> Option<f64> {
        let (at, last) = (at as f64, self.input as f64 - 1.0);
        let half_pixel = (at + 0.5) / self.scale - 0.5;
        Some(match rule {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = self.output as f64 / self.resized;
                self.input as f64 / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Coordinates::PytorchHalfPixel if self.resized > 1.0 => half_pixel,
            Coordinates::PytorchHalfPixel => 0.0,
            Coordinates::AlignCorners if self.resized == 1.0 => 0.0,
            Coordinates::AlignCorners => at * last / (self.resized - 1.0),
            Coordinates::Asymmetric => at / self.scale,
            Coordinates::TfHalfPixelForNn => (at + 0.5) / self.scale,
            Coordinates::TfCropAndResize => {
                let [start, end] = self.roi;
                let x = if self.resized == 1.0 {
                    0.5 * (start + end) * last
                } else {
                    start * last + at * (end - start) * last / (self.resized - 1.0)
                };
                return (0.0..=last).contains(&x).then_some(x);
            }
        })
    }

    fn table(&self, axis: usize, resize: &Resize) -> AxisTable {
        let kernel = Kernel::new(resize, self.scale);
        let taps = kernel.as_ref().map_or(1, |kernel| kernel.taps);
        let last = self.input as i64 - 1;
        let mut table =
            AxisTable { axis, input: self.input, output: self.output, taps, indices: Vec::new(), weights: Vec::new() };
        for o in 0..self.output {
            let Some(x) = self.coordinate(resize.coordinates, o) else {
                table.indices.extend(vec![-1; taps]);
                table.weights.extend(vec![0.0; taps]);
                continue;
            };
            let (first, weights) = match &kernel {
                None => (nearest_to(x, resize.nearest), vec![1.0]),
                Some(kernel) => kernel.weights(x, resize.exclude_outside.then_some(self.input)),
            };
            // What is outside is the border's element.
            table.indices.extend((0..taps as i64).map(|tap| (first + tap).clamp(0, last) as i32));
            table.weights.extend(weights);
        }
        table
    }
}

impl AxisTable {
    fn is_identity(&self) -> bool {
        let mut rows = self.indices.chunks(self.taps).zip(self.weights.chunks(self.taps)).enumerate();
        // A border's element may stand in a row twice, once with weight 0.
        let own = |o: usize, indices: &[i32], weights: &[f64]| {
            let counted = indices.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
            counted.map(|(&index, &weight)| (i64::from(index), weight)).eq([(o as i64, 1.0)])
        };
        self.input == self.output && rows.all(|(o, (indices, weights))| own(o, indices, weights))
    }
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::layers::shared;
    use super::*;
    use crate::graph::Nearest;
    use crate::value::Data;

    fn resize(mode: ResizeMode, coordinates: Coordinates) -> Resize {
        Resize { mode, coordinates, extrapolation: 9.0, ..Resize::default() }
    }

    fn run(resize: &Resize, x: Value, roi: Option<&[f32]>, scales: Option<&[f32]>, sizes: Option<&[i64]>) -> Result<Value> {
        let floats = |list: Option<&[f32]>| list.and_then(|list| shared(Value::new(&[list.len()], list.to_vec()).unwrap()));
        let inputs = [shared(x), floats(roi), floats(scales), sizes.and_then(|sizes| shared(Value::list(sizes)))];
        Ok(evaluate(&Op::Resize(resize.clone()), &inputs, 1)?.remove(0))
    }

    fn row(list: &[f32]) -> Value {
        Value::new(&[list.len()], list.to_vec()).unwrap()
    }

    #[test]
    fn nearest_rounds_by_its_rule_under_every_coordinate() {
        let x = row(&[0.0, 1.0, 2.0, 3.0]);
        // Half pixel at scale 1/2: 0.5 and 2.5.
        for (rule, expected) in [
            (Nearest::RoundPreferFloor, [0.0, 2.0]),
            (Nearest::RoundPreferCeil, [1.0, 3.0]),
            (Nearest::Floor, [0.0, 2.0]),
            (Nearest::Ceil, [1.0, 3.0]),
        ] {
            let resize = Resize { nearest: rule, ..resize(ResizeMode::Nearest, Coordinates::HalfPixel) };
            assert_eq!(run(&resize, x.clone(), None, Some(&[0.5]), None).unwrap().to_f64(), expected, "{rule:?}");
        }
        for (coordinates, expected) in [
            (Coordinates::HalfPixel, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            (Coordinates::Asymmetric, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            (Coordinates::AlignCorners, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            (Coordinates::TfHalfPixelForNn, [0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0]),
        ] {
            let value = run(&resize(ResizeMode::Nearest, coordinates), x.clone(), None, Some(&[2.0]), None).unwrap();
            assert_eq!(value.to_f64(), expected, "{coordinates:?}");
        }
    }

    #[test]
    fn linear_and_cubic_weigh_neighbours() {
        let x = row(&[0.0, 4.0]);
        let linear = resize(ResizeMode::Linear, Coordinates::HalfPixel);
        assert_eq!(run(&linear, x.clone(), None, Some(&[2.0]), None).unwrap().to_f64(), [0.0, 1.0, 3.0, 4.0]);
        let corners = resize(ResizeMode::Linear, Coordinates::AlignCorners);
        assert_eq!(run(&corners, x.clone(), None, None, Some(&[5])).unwrap().to_f64(), [0.0, 1.0, 2.0, 3.0, 4.0]);
        // Half way: -3/32, 19/32, 19/32, -3/32, with the border's elements outside.
        let cubic = resize(ResizeMode::Cubic, Coordinates::HalfPixel);
        assert_eq!(run(&cubic, row(&[0.0, 32.0, 64.0, 0.0]), None, None, Some(&[2])).unwrap().to_f64(), [13.0, 35.0]);
        let inside = Resize { exclude_outside: true, ..cubic };
        let value = run(&inside, row(&[0.0, 35.0, 70.0, 0.0]), None, None, Some(&[2])).unwrap().to_f64();
        assert_eq!(value, [(35.0 * 19.0 - 70.0 * 3.0) / 35.0, 35.0 * (2.0 * 19.0 - 3.0) / 35.0]);
        // A triangle of twice the width: 1/8, 3/8, 3/8, 1/8.
        let smooth = Resize { antialias: true, ..linear };
        assert_eq!(run(&smooth, row(&[0.0, 8.0, 16.0, 0.0]), None, None, Some(&[2])).unwrap().to_f64(), [5.0, 7.0]);
    }

    #[test]
    fn a_crop_extrapolates_outside_of_the_input() {
        let crop = resize(ResizeMode::Linear, Coordinates::TfCropAndResize);
        let x = Value::new(&[2, 3], vec![0.0f32, 2.0, 4.0, 6.0, 8.0, 10.0]).unwrap();
        let value = run(&crop, x.clone(), Some(&[0.0, 0.25, 1.0, 1.25]), None, Some(&[2, 3])).unwrap();
        assert_eq!(value.to_f64(), [1.0, 3.0, 9.0, 7.0, 9.0, 9.0]);
        let nearest = resize(ResizeMode::Nearest, Coordinates::TfCropAndResize);
        let value = run(&nearest, x, Some(&[1.0, 0.0, 2.0, 1.0]), None, Some(&[2, 3])).unwrap();
        assert_eq!(value.to_f64(), [6.0, 8.0, 10.0, 9.0, 9.0, 9.0]);
    }

    #[test]
    fn sizes_follow_scales_and_policies() {
        let shape = |resize: &Resize, sizes: &[usize], scales: Option<&[f32]>, wanted: Option<&[i64]>| {
            run(resize, Value::zeros(ElementType::F32, sizes), None, scales, wanted).unwrap().shape().to_vec()
        };
        let linear = resize(ResizeMode::Linear, Coordinates::HalfPixel);
        assert_eq!(shape(&linear, &[10, 5], Some(&[0.7, 1.5]), None), [7, 7]);
        assert_eq!(shape(&linear, &[0, 5], Some(&[2.0, 0.1]), Some(&[])), [0, 0]);
        let last = Resize { axes: vec![-1, 1], ..linear };
        assert_eq!(shape(&last, &[1, 4, 6], None, Some(&[9, 9])), [1, 9, 9]);
        assert_eq!(
            shape(&Resize { aspect: AspectPolicy::NotLarger, ..last.clone() }, &[1, 4, 6], None, Some(&[9, 9])),
            [1, 6, 9]
        );
        assert_eq!(
            shape(&Resize { aspect: AspectPolicy::NotSmaller, ..last }, &[1, 4, 6], None, Some(&[9, 9])),
            [1, 9, 14],
            "13.5 is rounded up"
        );
    }

    #[test]
    fn integers_are_moved_exactly_or_rounded_and_saturated() {
        let list = vec![i64::MAX, i64::MIN];
        let nearest = resize(ResizeMode::Nearest, Coordinates::HalfPixel);
        let value = run(&nearest, Value::list(&list), None, Some(&[2.0]), None).unwrap();
        assert_eq!(value.data(), &Data::I64(vec![i64::MAX, i64::MAX, i64::MIN, i64::MIN]));
        let x = Value::new(&[4], vec![0u8, 255, 255, 0]).unwrap();
        let cubic = resize(ResizeMode::Cubic, Coordinates::HalfPixel);
        // Between the two 255 the curve goes above the range.
        let value = run(&cubic, x, None, Some(&[3.0]), None).unwrap();
        assert_eq!(value.to_f64()[5..7], [255.0, 255.0]);
    }

    #[test]
    fn unchanged_axes_have_no_table_and_those_that_shrink_come_first() {
        let inputs = [None, None, None, Some(Fact::from(std::sync::Arc::new(Value::list(&[2, 8, 2]))))];
        let linear = resize(ResizeMode::Linear, Coordinates::HalfPixel);
        let tables = tables(&linear, &[2, 4, 6], &Inputs::new(&inputs, 1)).unwrap();
        assert_eq!(tables.iter().map(|table| (table.axis, table.taps)).collect::<Vec<_>>(), [(2, 2), (1, 2)]);
        assert_eq!((&tables[0].indices, &tables[0].weights), (&vec![0, 1, 3, 4], &vec![0.0, 1.0, 0.0, 1.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let linear = resize(ResizeMode::Linear, Coordinates::HalfPixel);
        let crop = resize(ResizeMode::Linear, Coordinates::TfCropAndResize);
        let check = |resize: &Resize, roi: Option<&[f32]>, scales: Option<&[f32]>, sizes: Option<&[i64]>, field: &str| {
            let error = run(resize, row(&[1.0, 2.0]), roi, scales, sizes).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
        };
        check(&linear, None, None, None, "scales");
        check(&linear, None, Some(&[1.0]), Some(&[2]), "sizes");
        check(&linear, None, None, Some(&[-1]), "sizes");
        check(&linear, None, None, Some(&[1, 1]), "sizes");
        check(&linear, None, None, Some(&[i64::MAX]), "output");
        check(&Resize { axes: vec![i64::MIN], ..linear.clone() }, None, None, Some(&[1]), "axis");
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30] {
            check(&linear, None, Some(&[scale]), None, "scales");
        }
        check(&crop, None, Some(&[2.0]), None, "roi");
        check(&crop, Some(&[f32::NAN, 0.0]), Some(&[2.0]), None, "roi");
        let nearest = resize(ResizeMode::Nearest, Coordinates::HalfPixel);
        check(&Resize { antialias: true, ..nearest }, None, Some(&[2.0]), None, "antialias");
        let empty = run(&linear, Value::zeros(ElementType::F32, &[0]), None, None, Some(&[3])).unwrap_err();
        assert_eq!(empty.field(), Some("sizes"));
        let flags = run(&linear, Value::new(&[1], vec![true]).unwrap(), None, Some(&[2.0]), None).unwrap_err();
        assert_eq!(flags.field(), Some("input"));
    }
}
