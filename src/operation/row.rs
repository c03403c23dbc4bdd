//! Rows: what reductions and normalisations read, some axes of a dense tensor for each place on the others.
//!
//! Where they allow it, four elements are loaded at a time: neighbours of a row, or one of each of four rows that lie side by side. That
//! is a quarter of the loads, and what neighbouring invocations read are neighbours too.

use super::{Axes, WORKGROUP, array, dense, word};
use crate::error::Result;
use crate::kernel::{FOUR, Kernel, ONE, Slot, VALUE_1, VALUE_4, vectors};
use crate::limits::{DeviceClass, DeviceLimits};
use crate::tensor_desc::DType;

/// The turns of a row up to which an invocation of a software adapter has one to itself, in workgroups as all others.
const TREE: usize = 64;

/// The turns up to which it has one to itself where there are enough rows: barriers take as long as hundreds of elements do.
const SOFTWARE_TREE: usize = 8192;

/// The most invocations of a workgroup: every WebGPU device has them.
const LARGE: u32 = 256;

/// The invocations of a workgroup where each has a row of its own, on a software adapter: two of its vectors.
const SOFTWARE_ROWS: u32 = 16;

/// Turns that are summed before they are added to the rest of their sum, which keeps its rounding that of a short one.
const BLOCK: usize = 64;

/// The shortest row that may begin or end between two fours.
const SHORTEST: usize = 8;

/// Workgroups for each of a device's units that keep it busy, and the fewest elements that are worth a workgroup of their own: with it
/// comes a second dispatch.
fn busy(limits: &DeviceLimits) -> [usize; 2] {
    let units = limits.parallelism.max(1) as usize;
    match limits.class {
        DeviceClass::Software => [4 * units, 1 << 15],
        DeviceClass::Integrated | DeviceClass::Discrete => [16 * units, 1 << 13],
    }
}

/// In how many parts, which are all as long, few rows of many elements are reduced first, `count` being what parts are of: a reduced axis.
pub(crate) fn parts_of_rows(rows: usize, length: usize, count: usize, limits: &DeviceLimits) -> usize {
    let [workgroups, least] = busy(limits);
    let most = (workgroups / rows.max(1)).min(length / least).min(count);
    (1..=most).rev().find(|parts| count.is_multiple_of(*parts)).unwrap_or(1)
}

/// Whether rows are so few and so long that a device is busier with reductions in parts and functions of elements, which read and write
/// half as much again, than with a kernel for each row.
pub(crate) fn are_few_rows(rows: usize, length: usize, limits: &DeviceLimits) -> bool {
    let [workgroups, least] = busy(limits);
    workgroups / rows.max(1) >= 8 && length >= 8 * least
}

/// How elements are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loads {
    /// One by one.
    One,
    /// Four neighbours of a row.
    Along,
    /// The same, where those at either end of a row may be of its neighbours.
    AlongWithEnds,
    /// One of each of four rows.
    Across,
}

/// The rows of a dense tensor, and how its elements are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows {
    dtype: DType,
    kept: Axes,
    reduced: Axes,
    loads: Loads,
}

impl Rows {
    /// The rows along some axes.
    pub fn new(dtype: DType, shape: &[usize], axes: &[usize]) -> Self {
        let strides = dense(shape);
        let part = |wanted: bool| {
            let axes: Vec<usize> = (0..shape.len()).filter(|axis| axes.contains(axis) == wanted).collect();
            let sizes: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
            let list: Vec<i64> = axes.iter().map(|&axis| strides[axis]).collect();
            Axes::merged(&sizes, &[&list])
        };
        let (kept, reduced) = (part(false), part(true));
        // The last axis of a dense tensor has neighbours, and every other one steps over all of it.
        let last = |axes: &Axes| match (axes.sizes.last(), axes.strides[0].last()) {
            (Some(&size), Some(1)) => size,
            _ => 0,
        };
        let (across, along) = (last(&kept), last(&reduced));
        let loads = if along > 0 && along.is_multiple_of(4) {
            Loads::Along
        } else if across > 0 && across.is_multiple_of(4) {
            Loads::Across
        } else if along >= SHORTEST && reduced.rank() == 1 && (kept.count() * along).is_multiple_of(4) {
            Loads::AlongWithEnds
        } else {
            Loads::One
        };
        Self { dtype, kept, reduced, loads }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.kept.count()
    }

    /// Elements of each.
    pub fn length(&self) -> usize {
        self.reduced.count()
    }

    /// Rows that an invocation works on at once, and the most turns of its loop if it does so alone.
    fn shares(&self) -> [usize; 2] {
        match self.loads {
            Loads::One => [1, self.length()],
            Loads::Along => [1, self.length() / 4],
            Loads::AlongWithEnds => [1, self.length() / 4 + 2],
            Loads::Across => [4, self.length()],
        }
    }

    /// The most iterations of an invocation's loops, where so many lanes share a row and go through it so often.
    fn iterations(&self, lanes: u32, passes: u64) -> u64 {
        let [_, turns] = self.shares();
        let turns = (turns as u64).div_ceil(u64::from(lanes));
        // A turn finds its place, axis by axis.
        passes * (turns * (1 + self.reduced.rank() as u64) + turns.div_ceil(BLOCK as u64)) + 32
    }

    /// The invocations of a workgroup, and how many of them work on a row together.
    fn lanes(&self, passes: u64, limits: &DeviceLimits) -> [u32; 2] {
        let [rows, turns] = self.shares();
        let rows = self.count() / rows;
        if limits.class == DeviceClass::Software {
            let enough = rows >= (SOFTWARE_ROWS * limits.parallelism) as usize;
            let alone = turns < SOFTWARE_TREE && self.iterations(1, passes) <= limits.loop_iterations;
            return if turns < TREE {
                [WORKGROUP, 1]
            } else if enough && alone {
                [SOFTWARE_ROWS, 1]
            } else {
                [WORKGROUP, WORKGROUP]
            };
        }
        let large = LARGE.min(1 << limits.workgroup_invocations.max(WORKGROUP).ilog2());
        // Some turns for each lane, so that joining what they found is a small part; but with few rows lanes are all there is to keep a GPU
        // busy, and rows along which elements are neighbours are read by neighbours.
        let together = if self.is_along() { (turns as u32).clamp(1, 8).next_power_of_two() } else { 1 };
        let lanes = (turns / 8).clamp(1, large as usize) as u32;
        let lanes = lanes.next_power_of_two().max(together).min(large);
        // Neighbouring rows are read by neighbours.
        let beside = if self.is_along() { 1 } else { (rows.clamp(1, 16) as u32).next_power_of_two() };
        let lanes = lanes.min(large / beside);
        [(lanes * beside).max(WORKGROUP), lanes]
    }

    fn is_along(&self) -> bool {
        match self.loads {
            Loads::One => self.reduced.strides[0].last() == Some(&1),
            Loads::Along | Loads::AlongWithEnds => true,
            Loads::Across => false,
        }
    }

    /// A kernel that goes through its rows so often, and its workgroups. What it does with them is yet to be added.
    pub fn kernel(&self, label: &str, passes: u64, limits: &DeviceLimits) -> (Kernel, u64) {
        let [invocations, lanes] = self.lanes(passes, limits);
        let [rows, _] = self.shares();
        let [kept, reduced] = [&self.kept, &self.reduced].map(Axes::rank);
        let (ty, name, text) = match self.loads {
            Loads::One => (array(self.dtype), "one", include_str!("../../shaders/lib/row_across.wgsl")),
            Loads::Along => (vectors(self.dtype), "along", include_str!("../../shaders/lib/row_along.wgsl")),
            Loads::AlongWithEnds => (vectors(self.dtype), "along with ends", include_str!("../../shaders/lib/row_along.wgsl")),
            Loads::Across => (vectors(self.dtype), "across", include_str!("../../shaders/lib/row_across.wgsl")),
        };
        let label = format!("{label} k{kept} r{reduced} {name} l{lanes}");
        let mut kernel = Kernel::new(label, self.dtype, invocations)
            .constant("LANES", lanes)
            .constant("BLOCK", BLOCK as i64)
            .constant("KEPT", kept as i64)
            .constant("REDUCED", reduced as i64)
            .flag("OVERLAP", limits.overlaps_loads())
            .flag("ALL_INSIDE", self.loads != Loads::AlongWithEnds)
            .flag("ROW_LANES", self.is_along())
            .binding("input", ty, Slot::Operand(0))
            .fragment(if self.loads == Loads::One { ONE } else { FOUR })
            .fragment(if self.loads == Loads::One { VALUE_1 } else { VALUE_4 })
            .fragment(include_str!("../../shaders/lib/axes.wgsl"))
            .fragment(text)
            .fragment(include_str!("../../shaders/lib/row.wgsl"));
        let partial = if self.loads == Loads::One { 8 } else { 32 };
        kernel.workgroup_bytes = partial * invocations;
        kernel.iterations = self.iterations(lanes, passes);
        let workgroups = ((self.count() / rows) as u64 * u64::from(lanes)).div_ceil(u64::from(invocations));
        (kernel, workgroups)
    }

    /// The numbers of the kernel, with the bits of what changes nothing in what is not a sum.
    pub fn parameters(&self, neutral: f32) -> Result<Vec<[i32; 4]>> {
        let [rows, _] = self.shares();
        let (mut kept, mut reduced) = (self.kept.clone(), self.reduced.clone());
        match self.loads {
            Loads::Along => in_fours(&mut reduced, &mut kept),
            Loads::Across => in_fours(&mut kept, &mut reduced),
            Loads::One | Loads::AlongWithEnds => {}
        }
        let elements = word(self.length() as i64)?;
        let (count, steps) = (word((self.count() / rows) as i64)?, word(reduced.count() as i64)?);
        let mut list = vec![[count, steps, neutral.to_bits() as i32, elements]];
        for axes in [kept, reduced] {
            for (&size, &stride) in axes.sizes.iter().zip(&axes.strides[0]) {
                list.push([word(size as i64)?, word(stride)?, 0, 0]);
            }
        }
        Ok(list)
    }

    /// Adds where results are: `put()` of a reduction to so typed elements.
    pub fn with_results(&self, kernel: Kernel, dtype: DType, found: &str) -> Kernel {
        let (ty, result) = match self.loads {
            Loads::One => (array(dtype), format!("output[index] = {dtype}({found})")),
            Loads::Along | Loads::AlongWithEnds => (array(dtype), format!("output[index] = {dtype}({found}.x)")),
            Loads::Across => (vectors(dtype), format!("put_output_4(u32(index), vec4<{dtype}>({found}))")),
        };
        let put = format!("fn put(index: i32, value: Value, at: Number) {{\n    {result};\n}}");
        kernel.written("output", ty, Slot::Output).fragment(put)
    }

    /// Adds where elements are put that lie as those of the input.
    pub fn with_elements(&self, kernel: Kernel) -> Kernel {
        let put = |store: &str| format!("fn put(row: Row, turn: i32, y: Value) {{\n    {store};\n}}");
        let (ty, text) = match self.loads {
            Loads::One => (array(self.dtype), put("output[place(row, turn)] = Elem(y)")),
            Loads::Along | Loads::Across => (vectors(self.dtype), put("put_output_4(u32(place(row, turn)), vec4<Elem>(y))")),
            Loads::AlongWithEnds => (array(self.dtype), include_str!("../../shaders/lib/put_ends.wgsl").into()),
        };
        kernel.written("output", ty, Slot::Output).fragment(text)
    }
}

/// Axes of which the last has neighbours, and others, counted in fours.
fn in_fours(last: &mut Axes, others: &mut Axes) {
    let end = last.rank() - 1;
    last.sizes[end] /= 4;
    last.strides[0][..end].iter_mut().chain(&mut others.strides[0]).for_each(|stride| *stride /= 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_loaded_by_fours_along_rows_or_across_them() {
        for (shape, axes, loads) in [
            (&[2, 3, 8][..], &[2][..], Loads::Along),
            (&[2, 3, 8], &[1, 2], Loads::Along),
            (&[2, 3, 8], &[0, 2], Loads::Along),
            (&[2, 3, 8], &[0, 1, 2], Loads::Along),
            (&[2, 3, 8], &[1], Loads::Across),
            (&[2, 3, 8], &[0], Loads::Across),
            (&[3, 2, 6], &[0], Loads::Across),
            (&[4, 9, 7, 7], &[2, 3], Loads::AlongWithEnds),
            (&[3, 9, 7, 7], &[2, 3], Loads::One),
            (&[4, 9, 7], &[0, 2], Loads::One),
            (&[4, 3], &[1], Loads::One),
            (&[4, 3, 1], &[2], Loads::Across),
            (&[5], &[], Loads::One),
        ] {
            assert_eq!(Rows::new(DType::F32, shape, axes).loads, loads, "{shape:?} along {axes:?}");
        }
    }

    #[test]
    fn numbers_of_fours() {
        let numbers = |shape: &[usize], axes: &[usize]| {
            Rows::new(DType::F32, shape, axes).parameters(0.0).unwrap().into_iter().map(|[a, b, ..]| [a, b]).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&[2, 3, 8], &[0, 2]), [[3, 4], [3, 2], [2, 6], [2, 1]]);
        assert_eq!(numbers(&[2, 3, 8], &[1]), [[4, 3], [2, 6], [2, 1], [3, 2]]);
        assert_eq!(numbers(&[4, 3, 7, 7], &[2, 3]), [[12, 49], [12, 49], [49, 1]]);
        assert_eq!(numbers(&[3, 5], &[0]), [[5, 3], [5, 1], [3, 5]]);
    }
}
