//! Which part of an axis slices, pads, crops and splits read: numbers of axes only, for the reference and for devices alike.

use super::{Inputs, axes_of};
use crate::error::{Error, Result};
use crate::graph::PadMode;
use crate::tensor_desc::MAX_ELEMENTS;

/// The part of one axis that a slice reads: `start, start + step, ..`, `len` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SliceAxis {
    /// The first coordinate; 0 where there is none.
    pub start: usize,
    /// From one to the next; 1 where there is at most one, so that it never leaves the axis.
    pub step: i64,
    /// How many.
    pub len: usize,
}

impl SliceAxis {
    /// The input coordinate of an output coordinate below `len`.
    pub fn source(&self, at: usize) -> usize {
        let distance = at * self.step.unsigned_abs() as usize;
        if self.step < 0 { self.start - distance } else { self.start + distance }
    }
}

/// What [`Op::Slice`](crate::Op::Slice) reads on each axis of `shape`, whole axes included.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for lists of different lengths, a step of 0 and axes that are not there;
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where a list is not constant.
pub(crate) fn slice_axes(shape: &[usize], inputs: &Inputs) -> Result<Vec<SliceAxis>> {
    let (starts, ends) = (inputs.ints(1, "starts")?, inputs.ints(2, "ends")?);
    let axes = listed_axes(inputs.optional_ints(3, "axes")?, starts.len(), shape.len())?;
    let steps = inputs.optional_ints(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    same_count("starts", starts.len(), axes.len())?;
    same_count("ends", ends.len(), axes.len())?;
    same_count("steps", steps.len(), axes.len())?;
    let mut list: Vec<SliceAxis> = shape.iter().map(|&len| SliceAxis { start: 0, step: 1, len }).collect();
    for (entry, &axis) in axes.iter().enumerate() {
        list[axis] = slice_axis(shape[axis], starts[entry], ends[entry], steps[entry])?;
    }
    Ok(list)
}

/// Python's rule for `start:end:step`.
fn slice_axis(size: usize, start: i64, end: i64, step: i64) -> Result<SliceAxis> {
    // In 128 bits no sum of a size and a user's number overflows.
    let (full, step) = (size as i128, i128::from(step));
    // Where a step may stand: one before the first element is the end of walking backwards.
    let (least, most) = match step {
        0 => return Err(Error::invalid("steps", "has a 0, but a step leads somewhere")),
        1.. => (0, full),
        _ => (-1, full - 1),
    };
    let place = |at: i64| {
        let at = i128::from(at);
        (if at < 0 { at + full } else { at }).clamp(least, most)
    };
    let (start, end) = (place(start), place(end));
    let span = if step > 0 { end - start } else { start - end };
    // Both are at most `size`, a usize.
    let len = if span <= 0 { 0 } else { (span - 1) / step.abs() + 1 } as usize;
    Ok(SliceAxis { start: if len == 0 { 0 } else { start as usize }, step: if len < 2 { 1 } else { step as i64 }, len })
}

/// The axes that lists of an operation are about: those given, or the first `count`.
fn listed_axes(axes: Option<Vec<i64>>, count: usize, rank: usize) -> Result<Vec<usize>> {
    match axes {
        Some(axes) => axes_of(&axes, rank),
        None if count <= rank => Ok((0..count).collect()),
        None => Err(Error::invalid("axes", format!("are not given for {count} entries, but the input has {rank} axes"))),
    }
}

fn same_count(name: &'static str, count: usize, axes: usize) -> Result<()> {
    if count == axes {
        return Ok(());
    }
    Err(Error::invalid(name, format!("has {count} entries, but there are {axes} axes")))
}

/// The elements that [`Op::Pad`](crate::Op::Pad) adds before and behind each axis of `shape`; negative ones are cut off.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a list of the wrong length, or where less than nothing would be left;
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where a list is not constant.
pub(crate) fn pad_amounts(shape: &[usize], inputs: &Inputs) -> Result<Vec<(i64, i64)>> {
    let pads = inputs.ints(1, "pads")?;
    let axes = match inputs.optional_ints(3, "axes")? {
        Some(axes) => axes_of(&axes, shape.len())?,
        None => (0..shape.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Error::invalid(
            "pads",
            format!("has {} entries, but {} axes have {}", pads.len(), axes.len(), 2 * axes.len()),
        ));
    }
    let mut amounts = vec![(0, 0); shape.len()];
    for (entry, &axis) in axes.iter().enumerate() {
        amounts[axis] = (pads[entry], pads[axes.len() + entry]);
        padded(axis, shape[axis], amounts[axis])?;
    }
    Ok(amounts)
}

/// The size of an axis once it is padded.
pub(super) fn padded(axis: usize, size: usize, (begin, end): (i64, i64)) -> Result<usize> {
    let most = MAX_ELEMENTS as i64;
    if begin.min(end) < -most || begin.max(end) > most {
        return Err(Error::invalid("pads", format!("of axis {axis} are {begin} and {end}, beyond {most} (2^31 - 1)")));
    }
    usize::try_from(size as i128 + i128::from(begin) + i128::from(end))
        .map_err(|_| Error::invalid("pads", format!("of axis {axis} are {begin} and {end} at an input of {size} elements")))
}

/// The input coordinate at an output coordinate from which the padding before the input is already taken off.
///
/// `None` is the padding's value, which only mode constant has, and what an axis without elements gives in every mode.
pub(crate) fn pad_source(mode: PadMode, at: i64, size: usize) -> Option<usize> {
    if let Ok(inside) = usize::try_from(at)
        && inside < size
    {
        return Some(inside);
    }
    if size == 0 || mode == PadMode::Constant {
        return None;
    }
    let (at, size) = (i128::from(at), size as i128);
    let source = match mode {
        // Mirrors at both borders repeat after once forth and once back.
        PadMode::Reflect if size == 1 => 0,
        PadMode::Reflect => {
            let period = 2 * (size - 1);
            let at = at.rem_euclid(period);
            at.min(period - at)
        }
        PadMode::Wrap => at.rem_euclid(size),
        PadMode::Edge | PadMode::Constant => at.clamp(0, size - 1),
    };
    Some(source as usize)
}

/// The amounts to pad (or, negative, to cut off) before and behind each axis, so that the target is centred on the input: what is
/// odd goes behind.
pub(crate) fn centre_windows(shape: &[usize], target: &[usize]) -> Vec<(i64, i64)> {
    let axis = |(&size, &target): (&usize, &usize)| {
        let added = (target as i128 - size as i128).clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        // Towards zero: a crop takes the smaller half off the beginning too.
        (added / 2, added - added / 2)
    };
    shape.iter().zip(target).map(axis).collect()
}

/// The lengths of the parts of an axis of `size` elements: those given, or `outputs` equal ones, the last of them smaller where
/// they do not come out even.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the lengths given are not the size's parts, or equal ones cannot be.
pub(crate) fn split_lengths(size: usize, outputs: usize, lengths: Option<&[i64]>) -> Result<Vec<usize>> {
    if let Some(lengths) = lengths {
        let parts: Option<Vec<usize>> = lengths.iter().map(|&length| usize::try_from(length).ok()).collect();
        let sum = |parts: &Vec<usize>| parts.iter().try_fold(0usize, |sum, &part| sum.checked_add(part));
        return parts
            .filter(|parts| sum(parts) == Some(size))
            .ok_or_else(|| Error::invalid("lengths", format!("{lengths:?} are not parts of an axis of {size} elements")));
    }
    if outputs == 0 {
        return Err(Error::invalid("outputs", "are none"));
    }
    // What is left for the last parts may be less, or nothing.
    let part = size.div_ceil(outputs);
    Ok((0..outputs).map(|number| part.min(size.saturating_sub(number.saturating_mul(part)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_python() {
        for (size, [start, end, step], expected) in [
            (5, [1, 4, 1], vec![1, 2, 3]),
            (5, [-3, -1, 1], vec![2, 3]),
            (5, [0, i64::MAX, 2], vec![0, 2, 4]),
            (5, [i64::MIN, i64::MAX, 1], vec![0, 1, 2, 3, 4]),
            (5, [-1, i64::MIN, -1], vec![4, 3, 2, 1, 0]),
            (5, [i64::MAX, i64::MIN, -2], vec![4, 2, 0]),
            (5, [3, 0, -2], vec![3, 1]),
            (5, [-1, -1, -1], vec![]),
            (5, [4, 1, 1], vec![]),
            (5, [1, 3, i64::MAX], vec![1]),
            (5, [4, 0, i64::MIN], vec![4]),
            (0, [0, i64::MAX, 1], vec![]),
            (0, [i64::MAX, i64::MIN, -1], vec![]),
        ] {
            let axis = slice_axis(size, start, end, step).unwrap();
            let sources: Vec<usize> = (0..axis.len).map(|at| axis.source(at)).collect();
            assert_eq!(sources, expected, "{start}:{end}:{step} of {size}");
        }
        assert_eq!(slice_axis(5, 0, 1, 0).unwrap_err().field(), Some("steps"));
    }

    #[test]
    fn padding_reads_what_numpy_reads() {
        let around = |mode, size, reach: i64| -> Vec<Option<usize>> {
            (-reach..size as i64 + reach).map(|at| pad_source(mode, at, size)).collect()
        };
        let some = |list: &[usize]| -> Vec<Option<usize>> { list.iter().copied().map(Some).collect() };
        assert_eq!(around(PadMode::Reflect, 3, 5), some(&[1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]));
        assert_eq!(around(PadMode::Reflect, 1, 2), some(&[0; 5]));
        assert_eq!(around(PadMode::Wrap, 3, 4), some(&[2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]));
        assert_eq!(around(PadMode::Edge, 2, 2), some(&[0, 0, 0, 1, 1, 1]));
        assert_eq!(around(PadMode::Constant, 1, 1), [None, Some(0), None]);
        for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
            assert_eq!(pad_source(mode, 0, 0), None);
            assert!(pad_source(mode, i64::MIN, 7).is_none_or(|at| at < 7));
            assert!(pad_source(mode, i64::MAX, 7).is_none_or(|at| at < 7));
        }
    }

    #[test]
    fn a_target_is_centred_with_the_odd_element_behind() {
        assert_eq!(centre_windows(&[5, 2, 4, 0], &[2, 5, 4, 1]), [(-1, -2), (1, 2), (0, 0), (0, 1)]);
        assert_eq!(centre_windows(&[0], &[usize::MAX])[0].0, i64::MAX / 2);
    }

    #[test]
    fn a_split_has_equal_parts_or_those_it_is_given() {
        assert_eq!(split_lengths(7, 3, None).unwrap(), [3, 3, 1]);
        assert_eq!(split_lengths(0, 2, None).unwrap(), [0, 0]);
        assert_eq!(split_lengths(7, 2, Some(&[0, 7])).unwrap(), [0, 7]);
        assert_eq!(split_lengths(5, 4, None).unwrap(), [2, 2, 1, 0]);
        assert_eq!(split_lengths(5, 0, None).unwrap_err().field(), Some("outputs"));
        for lengths in [&[2, 2][..], &[-1, 6], &[i64::MAX, i64::MAX, 7], &[]] {
            assert_eq!(split_lengths(5, 2, Some(lengths)).unwrap_err().field(), Some("lengths"), "{lengths:?}");
        }
    }
}
