//! What surrounds products of bytes whose tensors are more than a binding each: packing in blocks, and the parts of the product.

use std::ops::Range;

use super::Lowering;
use super::blocks::Block;
use super::slices::Items;
use crate::algorithm::{BytePart, ByteProduct, Packing};
use crate::error::Result;
use crate::kernel::Slot;
use crate::limits::Ranges;
use crate::network::program::DeviceId;
use crate::operation::{Operation, PackBytes, byte_terms};
use crate::tensor_desc::DType;

/// The weights of a product: packed words, filter by filter, and for each filter the sum of its bytes and its zero point.
pub(super) enum ByteWeights {
    Known { words: Vec<i32>, terms: Vec<i32> },
    Computed { words: DeviceId, terms: DeviceId },
}

impl Lowering<'_> {
    /// The steps of a product to `output` from the packed words of its input.
    pub(super) fn byte_steps(
        &mut self,
        product: &ByteProduct,
        weights: &ByteWeights,
        [words, zero, output]: [DeviceId; 3],
    ) -> Result<()> {
        let limits = *self.engine.limits();
        let [items, filters] = product.counts();
        let Some(parts) = product.parts(&limits)? else {
            let [panels, terms] = self.of_filters(product, weights, 0..filters)?;
            let operands = Items { outer: items, own: &[words], shared: &[panels, zero, terms] };
            return self.by_items(&operands, output, |count| {
                Ok(Operation::of_layer(product.step(count, &limits)?, product.nanoseconds(count, &limits)))
            });
        };
        // The weights of a few filters are those of several parts.
        let mut made: Vec<(Range<usize>, Packing, [DeviceId; 2])> = Vec::new();
        for BytePart { product: part, outputs, input, output: target, sizes: [read, written] } in parts {
            let found = made.iter().rev().find(|(of, packing, _)| *of == outputs && *packing == part.packing());
            let [panels, terms] = match found {
                Some((.., tables)) => *tables,
                None => {
                    let tables = self.of_filters(&part, weights, outputs.clone())?;
                    made.push((outputs, part.packing(), tables));
                    tables
                }
            };
            let count = part.counts()[0];
            let mut operation = Operation::of_layer(part.step(count, &limits)?, part.nanoseconds(count, &limits));
            let read = Block { sizes: read, ranges: input };
            let input = self.read_block(words, &read, Slot::Operand(0), &mut operation.views)?;
            let block = Block { sizes: written, ranges: target };
            self.write_block(operation, &[input, panels, zero, terms], output, &block)?;
        }
        Ok(())
    }

    /// The panels and the terms of some filters, as a product reads them.
    fn of_filters(&mut self, product: &ByteProduct, weights: &ByteWeights, filters: Range<usize>) -> Result<[DeviceId; 2]> {
        let of_filter = product.filter_words();
        let run = filters.start * of_filter..filters.end * of_filter;
        match weights {
            ByteWeights::Known { words, terms } => Ok([
                self.words_table(&product.order(run.start).apply(words, 0)),
                self.words_table(&terms[2 * filters.start..2 * filters.end]),
            ]),
            ByteWeights::Computed { words, terms } => {
                let panels = self.packed(&product.order(run.start), *words)?;
                let all = self.shape(*terms)[0];
                let own = match filters.len() {
                    count if count == all => *terms,
                    count => self.rearrange("terms", *terms, &[count, 2], 2 * filters.start as i64, &[2, 1])?,
                };
                Ok([panels, own])
            }
        }
    }

    /// The terms of filters of packed words and zero points, one or as many.
    pub(super) fn terms(&mut self, [words, zeros]: [DeviceId; 2], filters: usize, of_filter: usize) -> Result<DeviceId> {
        let output = self.temp(&[filters, 2], DType::I32);
        let (count, limits) = (self.shape(zeros).iter().product::<usize>(), *self.engine.limits());
        let each = count == filters;
        if !each && count > 1 {
            // They repeat: filters cannot be cut anywhere.
            self.operation(byte_terms(filters, of_filter, count, &limits)?, &[words, zeros], output);
            return Ok(output);
        }
        let (own, shared) = if each { (vec![words, zeros], Vec::new()) } else { (vec![words], vec![zeros]) };
        self.by_items(&Items { outer: filters, own: &own, shared: &shared }, output, |filters| {
            byte_terms(filters, of_filter, if each { filters } else { count }, &limits)
        })?;
        Ok(output)
    }

    /// Numbers as packed words.
    pub(super) fn pack_bytes(&mut self, pack: &PackBytes, from: DeviceId, fill: DeviceId) -> Result<DeviceId> {
        let words = self.temp(&[pack.count()], DType::I32);
        let (dtype, limits) = (self.dtype(from), *self.engine.limits());
        let most = Ranges::of(&limits).most;
        // Columns of a matrix lie among each other.
        let elements: usize = self.shape(from).iter().product();
        if pack.strides[0] * pack.outer == elements && [from, words].iter().all(|&id| self.item_bytes(id, pack.outer) <= most) {
            self.by_items(&Items { outer: pack.outer, own: &[from], shared: &[fill] }, words, |outer| {
                PackBytes { outer, ..*pack }.operation(dtype, &limits)
            })?;
        } else if [from, words].iter().all(|&id| self.program.bytes(id) <= most) {
            self.operation(pack.operation(dtype, &limits)?, &[from, fill], words);
        } else {
            self.pack_in_blocks(pack, from, fill, words)?;
        }
        Ok(words)
    }

    /// Packs blocks of items, of channels in fours, or of places, whichever a binding holds.
    fn pack_in_blocks(&mut self, pack: &PackBytes, from: DeviceId, fill: DeviceId, words: DeviceId) -> Result<()> {
        let &PackBytes { outer, channels, inner, strides, shift } = pack;
        let (dtype, limits) = (self.dtype(from), *self.engine.limits());
        let room = Ranges::of(&limits).most as usize / DType::F32.bytes();
        let steps = match channels * inner {
            item if item <= room => [room / item, channels, inner],
            _ if 4 * inner <= room => [1, room / inner / 4 * 4, inner],
            _ => [1, 4, (room / 4).max(1)],
        };
        let of = |axis: usize, size: usize| {
            let step = steps[axis];
            (0..size).step_by(step).map(move |first| first..(first + step).min(size))
        };
        let strides = strides.map(|stride| stride as i64);
        let is_dense = strides == [(channels * inner) as i64, inner as i64, 1];
        let blocks = of(0, outer).flat_map(|items| of(1, channels).map(move |part| (items.clone(), part)));
        for (items, part) in blocks {
            for places in of(2, inner) {
                let read = Block { sizes: [outer, channels, inner], ranges: [items.clone(), part.clone(), places.clone()] };
                let [outer, channels, inner] = read.shape();
                let dense = PackBytes { outer, channels, inner, strides: [channels * inner, inner, 1], shift };
                let mut operation = dense.operation(dtype, &limits)?;
                let operand = if is_dense {
                    self.read_block(from, &read, Slot::Operand(0), &mut operation.views)?
                } else {
                    self.copied_block(from, &read, &strides)?
                };
                let written = Block {
                    sizes: [pack.outer, pack.words(), pack.inner],
                    ranges: [items.clone(), part.start / 4..part.end.div_ceil(4), places],
                };
                self.write_block(operation, &[operand, fill], words, &written)?;
            }
        }
        Ok(())
    }
}
