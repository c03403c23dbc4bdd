//! Products of quantised numbers, exactly: their bytes packed into words, multiplied with sums in 32-bit integers.
//!
//! What the product needs is that one factor, the input, has one zero point for all, and the other, the weights, at most one for each
//! filter. An input with more, which only a matrix product can have, is taken apart: less its zero points it is `2 h + l` with both in
//! eight bits. Where sums are exact in f32 and floats are the faster way to them, they are computed there: `whole`.

use std::sync::Arc;

use super::Lowering;
use super::byte_parts::ByteWeights;
use crate::desc::ConvDesc;
use crate::error::Result;
use crate::graph::ops::{Fact, broadcast, broadcast_strides, conv_desc, matmul_operands};
use crate::graph::{Node, Op};
use crate::network::program::DeviceId;
use crate::operation::PackBytes;
use crate::problem::Problem;
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::{ElementType, Value};

/// A factor of a product.
#[derive(Clone)]
pub(super) struct Bytes {
    /// Its numbers, as the device stores them.
    pub device: DeviceId,
    /// They, where they are known.
    pub constant: Option<Arc<Value>>,
    /// What is taken off each so that it is a signed byte: 128 of u8.
    pub shift: i32,
    /// The zero point or points.
    pub zero: Option<(DeviceId, Option<Arc<Value>>)>,
}

impl Bytes {
    /// The zero points, where they are known; 0 where there is none.
    pub fn known_zeros(&self) -> Option<Vec<i64>> {
        match &self.zero {
            None => Some(vec![0]),
            Some((_, zeros)) => zeros.as_ref().map(|zeros| zeros.to_i64()),
        }
    }
}

/// A convolution of bytes: its description and its input's shape, over channels and not yet over words.
pub(super) struct ByteConvolution {
    pub desc: ConvDesc,
    pub input: Vec<usize>,
    /// How the factors lie as channels.
    pub packs: [PackBytes; 2],
    pub ending: Option<Ending>,
}

/// What becomes of the sums of each filter in the end, where it is known: `saturate(round((sum + bias) * factor) + zero)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub bias: Option<Vec<i64>>,
    /// One for all filters, or one for each.
    pub factors: Vec<f32>,
    pub zero: i64,
    pub element: ElementType,
}

/// Exact sums: i32, or f32 where that holds them all.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub device: DeviceId,
    /// Whether they are what the ending makes of them.
    pub ended: bool,
}

impl Lowering<'_> {
    /// The exact sums of products of two factors less their zero points, or what an ending makes of them where it could be done at once.
    pub(super) fn integer_sums(
        &mut self,
        node: &Node,
        facts: &[Option<Fact>],
        factors: [usize; 2],
        zeros: [usize; 2],
        ending: Option<Ending>,
    ) -> Result<Sums> {
        let left = self.bytes(node, facts, factors[0], zeros[0])?;
        let right = self.bytes(node, facts, factors[1], zeros[1])?;
        let (Op::QLinearConv(conv) | Op::ConvInteger(conv)) = &node.op else {
            return self.byte_matmul(left, right, ending);
        };
        let (x, weight) = (self.shape(left.device), self.shape(right.device));
        let desc = conv_desc(conv, &x, &weight, false)?;
        let (plane, taps): (usize, usize) = (x[2..].iter().product(), weight[2..].iter().product());
        let pack = |outer: usize, inner: usize, shift: i32| PackBytes {
            outer,
            channels: weight[1],
            inner,
            strides: [weight[1] * inner, inner, 1],
            shift,
        };
        let packs = [pack(x[0] * desc.groups, plane, left.shift), pack(weight[0], taps, right.shift)];
        self.byte_product(&ByteConvolution { desc, input: x, packs, ending }, &left, &right)
    }

    /// A factor of a node.
    fn bytes(&mut self, node: &Node, facts: &[Option<Fact>], factor: usize, zero: usize) -> Result<Bytes> {
        let fact = |index: usize| facts.get(index).and_then(Option::as_ref);
        let constant = |index: usize| fact(index).and_then(|fact| fact.constant.clone());
        let device = self.input(node, factor)?;
        let shift = if fact(factor).is_some_and(|fact| fact.element == ElementType::U8) { 128 } else { 0 };
        let zero = self.optional_input(node, zero)?.map(|id| (id, constant(zero)));
        Ok(Bytes { device, constant: constant(factor), shift, zero })
    }

    /// A matrix product as numpy's `matmul`, vectors as matrices: see `layers` for the three forms.
    fn byte_matmul(&mut self, mut a: Bytes, mut b: Bytes, ending: Option<Ending>) -> Result<Sums> {
        let (shape_a, shape_b) = matmul_operands(&self.shape(a.device), &self.shape(b.device));
        let (batch_a, batch_b) = (&shape_a[..shape_a.len() - 2], &shape_b[..shape_b.len() - 2]);
        let batch = broadcast(&[batch_a, batch_b])?;
        let items: usize = batch.iter().product();
        let [m, k] = [shape_a[shape_a.len() - 2], shape_a[shape_a.len() - 1]];
        let n = shape_b[shape_b.len() - 1];
        let sums = [&batch[..], &[m, n]].concat();
        // A vector of zero points of `a` is one for each row.
        if let Some((id, _)) = &mut a.zero
            && self.shape(*id).len() == 1
        {
            let count = self.shape(*id)[0];
            *id = self.view(*id, &[count, 1]);
        }
        let single = |batch: &[usize]| batch.iter().all(|&size| size == 1);
        let rows_differ = self.zeros(&a) > 1;
        if single(batch_b) && (!rows_differ || self.zeros(&b) > 1 || !single(batch_a)) {
            let rows = items * m;
            let packs = [
                PackBytes { outer: rows, channels: k, inner: 1, strides: [k, 1, 1], shift: a.shift },
                PackBytes { outer: n, channels: k, inner: 1, strides: [1, n, 1], shift: b.shift },
            ];
            let desc = ConvDesc::linear(k, n);
            let output = self.byte_product(&ByteConvolution { desc, input: vec![rows, k, 1], packs, ending }, &a, &b)?;
            return Ok(Sums { device: self.view(output.device, &sums), ..output });
        }
        // The left matrices are weights, for all items or for each; the right ones are what they are applied to.
        let groups = if single(batch_a) { 1 } else { items };
        if batch_b != batch {
            b = self.spread(b, &shape_b, &[&batch[..], &[k, n]].concat())?;
        }
        if groups > 1 && batch_a != batch {
            a = self.spread(a, &shape_a, &[&batch[..], &[m, k]].concat())?;
        }
        if let Some((id, constant)) = &mut a.zero
            && groups > 1
        {
            // One for all or one for each row repeats over the items by itself.
            let own = self.shape(*id);
            let full = [&batch[..], &[m, 1]].concat();
            let count: usize = own.iter().product();
            if count != 1 && own != full && (count != m || own[own.len() - 2] != m) {
                (*id, *constant) = (self.expanded(*id, &own, &full)?, None);
            }
        }
        let packs = [
            PackBytes { outer: items, channels: k, inner: n, strides: [k * n, n, 1], shift: b.shift },
            PackBytes { outer: groups * m, channels: k, inner: 1, strides: [k, 1, 1], shift: a.shift },
        ];
        let desc = ConvDesc { groups, ..ConvDesc::new(groups * k, groups * m, [1]) };
        let input = vec![items / groups, groups * k, n];
        let output = self.byte_product(&ByteConvolution { desc, input, packs, ending: None }, &b, &a)?;
        Ok(Sums { device: self.view(output.device, &sums), ..output })
    }

    /// How many zero points a factor has.
    fn zeros(&self, bytes: &Bytes) -> usize {
        bytes.zero.as_ref().map_or(0, |(id, _)| self.shape(*id).iter().product())
    }

    /// A factor repeated over a batch.
    fn spread(&mut self, bytes: Bytes, own: &[usize], full: &[usize]) -> Result<Bytes> {
        Ok(Bytes { device: self.expanded(bytes.device, own, full)?, constant: None, ..bytes })
    }

    fn expanded(&mut self, id: DeviceId, own: &[usize], full: &[usize]) -> Result<DeviceId> {
        let strides: Vec<i64> = broadcast_strides(own, full).into_iter().map(|stride| stride as i64).collect();
        self.rearrange("expand", id, full, 0, &strides)
    }

    /// The sums of one convolution; an input with several zero points is taken apart.
    fn byte_product(&mut self, convolution: &ByteConvolution, input: &Bytes, weights: &Bytes) -> Result<Sums> {
        let Some((zero, _)) = input.zero.as_ref().filter(|_| self.zeros(input) > 1) else {
            return self.one_product(convolution, input, weights);
        };
        let centred = self.elementwise("centre", "a - b", &[input.device, *zero], DType::F32)?;
        let high = self.elementwise("high", "floor(a * 0.5)", &[centred], DType::F32)?;
        let low = self.elementwise("low", "a - 2.0 * b", &[centred, high], DType::F32)?;
        let [mut pack, of_weights] = convolution.packs;
        pack.shift = 0;
        let convolution =
            ByteConvolution { packs: [pack, of_weights], ending: None, input: convolution.input.clone(), ..*convolution };
        let mut sums = Vec::new();
        for device in [high, low] {
            let half = Bytes { device, constant: None, shift: 0, zero: None };
            sums.push(self.one_product(&convolution, &half, weights)?.device);
        }
        Ok(Sums { device: self.integer("sum", "a * 2 + b", &sums)?, ended: false })
    }

    /// The sums of a convolution whose input has one zero point at most.
    fn one_product(&mut self, convolution: &ByteConvolution, input: &Bytes, weights: &Bytes) -> Result<Sums> {
        match self.whole_sums(convolution, input, weights)? {
            Some(sums) => Ok(sums),
            None => Ok(Sums { device: self.packed_product(convolution, input, weights)?, ended: false }),
        }
    }

    fn packed_product(&mut self, convolution: &ByteConvolution, input: &Bytes, weights: &Bytes) -> Result<DeviceId> {
        let ByteConvolution { desc, input: shape, packs: [of_input, of_weights], .. } = convolution;
        let in_words = desc.groups * of_input.words();
        let mut over_words = shape.clone();
        over_words[1] = in_words;
        let problem = Problem::conv(&ConvDesc { in_channels: in_words, ..*desc }, &TensorDesc::f32(&over_words));
        let zero = self.shifted_zeros(input)?;
        let words = self.pack_bytes(of_input, input.device, zero)?;
        // Whether a weight's zero point may be other than 0 as a signed byte.
        let centred = match &weights.zero {
            None => weights.shift != 0,
            Some((_, Some(zeros))) => zeros.to_i64().iter().any(|&zero| zero != i64::from(weights.shift)),
            Some((_, None)) => true,
        };
        let product = self.engine.byte_product(&problem, centred)?;
        let own = match (&weights.constant, weights.known_zeros()) {
            (Some(value), Some(zeros)) => {
                let (packed, sums) = of_weights.on_host(&value.to_i64());
                let zeros = zeros.iter().map(|&zero| zero as i32 - weights.shift).cycle();
                let terms = sums.into_iter().zip(zeros).flat_map(|(sum, zero)| [sum, zero]).collect();
                ByteWeights::Known { words: packed, terms }
            }
            _ => {
                let none = self.words_table(&[0]);
                let packed = self.pack_bytes(of_weights, weights.device, none)?;
                let zeros = self.shifted_zeros(weights)?;
                let terms = self.terms([packed, zeros], of_weights.outer, of_weights.words() * of_weights.inner)?;
                ByteWeights::Computed { words: packed, terms }
            }
        };
        let output = self.temp(&product.output_shape(), DType::I32);
        self.byte_steps(&product, &own, [words, zero, output])?;
        Ok(output)
    }

    /// The zero points of a factor as signed bytes, in i32.
    fn shifted_zeros(&mut self, bytes: &Bytes) -> Result<DeviceId> {
        match &bytes.zero {
            None => Ok(self.words_table(&[-bytes.shift])),
            Some((_, Some(zeros))) => {
                let zeros: Vec<i32> = zeros.to_i64().into_iter().map(|zero| zero as i32 - bytes.shift).collect();
                Ok(self.words_table(&zeros))
            }
            Some((id, None)) => self.integer("zero", &format!("a - {}", bytes.shift), &[*id]),
        }
    }

    pub(super) fn words_table(&mut self, words: &[i32]) -> DeviceId {
        self.table(&[words.len()], DType::I32, bytemuck::cast_slice(words).to_vec())
    }
}
