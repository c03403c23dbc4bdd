//! [`Spatial`]: one number for each spatial axis, for 1 to 3 axes.

use std::fmt;
use std::ops::Index;

use crate::error::{Error, Result};

/// One number for each spatial axis: a kernel size, a stride, a dilation, an amount of padding.
///
/// The axes are in the order of the tensor's: `[w]`, `[h, w]` or `[d, h, w]`. The rank is part of the value, so that
/// a list of the wrong length is an error that names both lengths and is never stretched in silence.
///
/// # Examples
/// ```
/// use wgconv::Spatial;
/// let kernel = Spatial::from([3, 5]);
/// assert_eq!(kernel.rank(), 2);
/// assert_eq!(kernel.to_string(), "3x5");
/// assert_eq!(Spatial::splat(3, 1), Spatial::from([1, 1, 1]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spatial {
    rank: u8,
    values: [usize; 3], // entries from `rank` on are 0, so that Eq and Hash see only what counts
}

impl Spatial {
    /// The same number on each of `rank` axes.
    ///
    /// # Panics
    /// If `rank` is not 1, 2 or 3; use [`Spatial::from_slice`] for lists whose length is not known.
    pub fn splat(rank: usize, value: usize) -> Self {
        assert!((1..=3).contains(&rank), "a spatial rank is 1, 2 or 3, not {rank}");
        let mut values = [0; 3];
        values[..rank].fill(value);
        Self { rank: rank as u8, values }
    }

    /// A list of 1 to 3 numbers, named `field` in the error.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an empty list and for more than three numbers.
    pub fn from_slice(field: &'static str, list: &[usize]) -> Result<Self> {
        if !(1..=3).contains(&list.len()) {
            return Err(Error::invalid(field, format!("has {} entries, but a layer has 1 to 3 spatial axes", list.len())));
        }
        let mut values = [0; 3];
        values[..list.len()].copy_from_slice(list);
        Ok(Self { rank: list.len() as u8, values })
    }

    /// How many axes: 1, 2 or 3.
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// The numbers as a slice of length [`rank`](Self::rank).
    pub fn as_slice(&self) -> &[usize] {
        &self.values[..self.rank()]
    }

    /// Whether every axis has this number.
    pub fn all(&self, value: usize) -> bool {
        self.as_slice().iter().all(|&v| v == value)
    }
}

impl Index<usize> for Spatial {
    type Output = usize;
    fn index(&self, axis: usize) -> &usize {
        &self.as_slice()[axis]
    }
}

macro_rules! from_array {
    ($($rank:literal)*) => {$(
        impl From<[usize; $rank]> for Spatial {
            fn from(list: [usize; $rank]) -> Self {
                let mut values = [0; 3];
                values[..$rank].copy_from_slice(&list);
                Self { rank: $rank, values }
            }
        }
    )*};
}
from_array!(1 2 3);

impl fmt::Display for Spatial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dims(f, self.as_slice())
    }
}

impl fmt::Debug for Spatial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_slice())
    }
}

/// Writes `1x64x56x56`.
pub(crate) fn write_dims(f: &mut impl fmt::Write, dims: &[usize]) -> fmt::Result {
    for (axis, dim) in dims.iter().enumerate() {
        write!(f, "{}{dim}", if axis == 0 { "" } else { "x" })?;
    }
    Ok(())
}
