//! [`Layout`]: the order of a tensor's axes in memory, and data brought from one order to the other on the host.
//!
//! A shape says which axes there are, always as batch, channels and spatial ones; a layout says only where an element lies. What is
//! computed is the same, as with PyTorch's memory formats.

use std::borrow::Cow;
use std::fmt;

/// The order of a tensor's axes in memory. Its shape is `[n, c, spatial..]` in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// `n c d h w`: each channel is a plane. NCHW; PyTorch's contiguous format, and the order of ONNX.
    #[default]
    ChannelsFirst,
    /// `n d h w c`: the channels of a position are neighbours. NHWC; PyTorch's `channels_last`.
    ChannelsLast,
}

impl Layout {
    /// The name in problem lines, whatever the rank: `nchw`, `nhwc`.
    pub fn name(self) -> &'static str {
        match self {
            Layout::ChannelsFirst => "nchw",
            Layout::ChannelsLast => "nhwc",
        }
    }

    /// The distance in memory of two neighbours on each axis of a shape, in elements.
    pub(crate) fn strides(self, shape: &[usize]) -> Vec<i64> {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1) as i64;
        }
        if self == Layout::ChannelsLast && shape.len() > 2 {
            let channels = shape[1].max(1) as i64;
            strides[1] = 1;
            strides[2..].iter_mut().for_each(|stride| *stride *= channels);
        }
        strides
    }

    /// Elements of a shape in the order of memory, from their row-major order.
    pub(crate) fn to_memory<'a, T: Copy>(self, shape: &[usize], data: &'a [T]) -> Cow<'a, [T]> {
        match self.planes(shape) {
            None => data.into(),
            Some([channels, positions]) => turned(data, channels, positions).into(),
        }
    }

    /// Elements of a shape in row-major order, from their order in memory.
    pub(crate) fn to_row_major<T: Copy>(self, shape: &[usize], data: Vec<T>) -> Vec<T> {
        match self.planes(shape) {
            None => data,
            Some([channels, positions]) => turned(&data, positions, channels),
        }
    }

    /// Channels and positions of each item, where their order matters.
    fn planes(self, shape: &[usize]) -> Option<[usize; 2]> {
        let &[_, channels, ref spatial @ ..] = shape else { return None };
        let positions = spatial.iter().product();
        (self == Layout::ChannelsLast && channels > 1 && positions > 1).then_some([channels, positions])
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Each matrix of `rows` by `columns`, transposed.
fn turned<T: Copy>(data: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut list = Vec::with_capacity(data.len());
    for matrix in data.chunks_exact(rows * columns) {
        for column in 0..columns {
            list.extend((0..rows).map(|row| matrix[row * columns + column]));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_a_position_become_neighbours_and_go_back() {
        let shape = [2, 3, 2, 2];
        let planes: Vec<i32> = (0..24).collect();
        let memory = Layout::ChannelsLast.to_memory(&shape, &planes).into_owned();
        assert_eq!(memory[..6], [0, 4, 8, 1, 5, 9]);
        assert_eq!(memory[12..15], [12, 16, 20]);
        assert_eq!(Layout::ChannelsLast.to_row_major(&shape, memory), planes);
        assert_eq!(Layout::ChannelsLast.strides(&shape), [12, 1, 6, 3]);
        assert_eq!(Layout::ChannelsFirst.strides(&shape), [12, 4, 2, 1]);
        assert_eq!(Layout::ChannelsFirst.to_memory(&shape, &planes), planes);
    }

    #[test]
    fn shapes_whose_order_is_the_same_in_both_are_left_as_they_are() {
        for shape in [&[][..], &[4], &[2, 2], &[1, 4, 1], &[4, 1, 1], &[2, 1, 2], &[0, 3, 5]] {
            let elements: Vec<usize> = (0..shape.iter().product()).collect();
            assert_eq!(Layout::ChannelsLast.to_memory(shape, &elements), elements, "{shape:?}");
        }
    }
}
