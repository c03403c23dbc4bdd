//! Whole numbers of eight bits as packed words, and the terms that their zero points add to sums: what surrounds
//! [`ByteProduct`](crate::algorithm::ByteProduct).

use super::{Operation, WORKGROUP, array, word};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::tensor_desc::DType;

/// Numbers as `[outer, channels, inner]`, four channels to a word: `[outer, channels / 4, inner]` as i32.
///
/// Operand 0 is the input, operand 1 the byte of channels that do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackBytes {
    pub outer: usize,
    pub channels: usize,
    pub inner: usize,
    /// The distance of neighbours on each of the three, in elements.
    pub strides: [usize; 3],
    /// What is taken off each number, so that it is a signed byte.
    pub shift: i32,
}

impl PackBytes {
    /// The packed words of each outer item's channels.
    pub fn words(&self) -> usize {
        self.channels.div_ceil(4)
    }

    /// Words in all.
    pub fn count(&self) -> usize {
        self.outer * self.words() * self.inner
    }

    /// The kernel.
    pub fn operation(&self, dtype: DType, limits: &DeviceLimits) -> Result<Operation> {
        let size = |value: usize| {
            let value = i64::try_from(value).map_err(|_| Error::unsupported("input", format!("has {value} elements on an axis")));
            value.and_then(word)
        };
        let [outer, channel, inner] = self.strides;
        let parameters = vec![
            [size(self.count())?, size(self.channels)?, size(self.words())?, size(self.inner)?],
            [size(outer)?, size(channel)?, size(inner)?, self.shift],
        ];
        let kernel = Kernel::new(format!("pack_bytes {dtype}"), DType::I32, WORKGROUP)
            .binding("input", array(dtype), Slot::Operand(0))
            .binding("fill", array(DType::I32), Slot::Operand(1))
            .written("output", array(DType::I32), Slot::Output)
            .fragment(include_str!("../../shaders/pack_bytes.wgsl"));
        Operation::each(kernel, self.count() as u64, parameters, limits)
    }

    /// The same on the host, with zeros for channels that do not exist; and the sum of each outer item's bytes.
    pub fn on_host(&self, numbers: &[i64]) -> (Vec<i32>, Vec<i32>) {
        let [outer_step, channel_step, inner_step] = self.strides;
        let mut words = Vec::with_capacity(self.count());
        let mut sums = Vec::with_capacity(self.outer);
        for outer in 0..self.outer {
            let mut sum = 0i32;
            for (first, inner) in (0..self.words()).flat_map(|word| (0..self.inner).map(move |inner| (word * 4, inner))) {
                let mut bytes = [0; 4];
                for (channel, byte) in (first..self.channels).zip(&mut bytes) {
                    let number =
                        numbers[outer * outer_step + channel * channel_step + inner * inner_step] - i64::from(self.shift);
                    *byte = number.to_le_bytes()[0];
                    sum = sum.wrapping_add(i32::from(byte.cast_signed()));
                }
                words.push(i32::from_le_bytes(bytes));
            }
            sums.push(sum);
        }
        (words, sums)
    }
}

/// For each of `filters` runs of `words` packed words the sum of its bytes, and one of `zeros` zero points, as neighbours.
pub(crate) fn byte_terms(filters: usize, words: usize, zeros: usize, limits: &DeviceLimits) -> Result<Operation> {
    let parameters = vec![[word(filters as i64)?, word(words as i64)?, word(zeros as i64)?, 0]];
    let kernel = Kernel::new("byte_terms".into(), DType::I32, WORKGROUP)
        .binding("input", array(DType::I32), Slot::Operand(0))
        .binding("zeros", array(DType::I32), Slot::Operand(1))
        .written("output", array(DType::I32), Slot::Output)
        .iterations(words as u64)
        .fragment(include_str!("../../shaders/byte_terms.wgsl"));
    Operation::each(kernel, filters as u64, parameters, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_packs_four_channels_to_a_word() {
        // [5 channels, 2 places], read as two filters of one place each.
        let pack = PackBytes { outer: 2, channels: 5, inner: 1, strides: [1, 2, 1], shift: 128 };
        let numbers = [128, 0, 129, 255, 127, 128, 130, 128, 200, 1];
        let (words, sums) = pack.on_host(&numbers);
        assert_eq!(words, [0x02ff_0100, 72, i32::from_le_bytes([128, 127, 0, 0]), i32::from_le_bytes([129, 0, 0, 0])]);
        assert_eq!((sums, pack.count()), (vec![74, -128], 4));
    }
}
