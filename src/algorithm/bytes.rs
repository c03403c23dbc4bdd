//! [`ByteProduct`]: a convolution of packed bytes as a matrix product, with sums in 32-bit integers: exact, and a quarter of the loads.
//!
//! The kernel sees a convolution whose channels are words of four channels each. Its loops are those of `gemm` and `subgroup_gemm`, with
//! [`dot4I8Packed`](https://www.w3.org/TR/WGSL/#dot4I8Packed-builtin) in place of a multiplication. Zero points are taken off the sums (`shaders/lib/bytes.wgsl`). Packing is not done here, nor is the scaling of sums.

use std::ops::Range;

use super::cut::{Blocks as CutBlocks, Cutting};
use super::gemm::{self, GemmTile};
use super::pack::{PackOrder, WeightSource};
use super::plan::{Packing, Step, packed_elements};
use super::product::{Blocks, Loads, Operands, Product};
use super::subgroup::{self, Reads, SubgroupTile};
use super::{Context, Operations, cost::cheapest_first};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::kernel::{GeometryMode, Kernel, Slot, Stores};
use crate::limits::{DeviceLimits, Ranges};
use crate::problem::Problem;
use crate::tensor_desc::{DType, TensorDesc};

/// The dispatch of a convolution of bytes, and how its weights lie.
///
/// Operands: the input's words `[n, c, ..]`, the weights' words in panels, the input's zero point, and for each filter the sum of its
/// bytes and its zero point. Output: i32.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ByteProduct {
    problem: Problem,
    geometry: Geometry,
    packing: Packing,
    operands: Operands,
    tile: Loop,
    /// Of all batch items.
    cost: Operations,
    centred: bool,
    mode: GeometryMode,
}

/// A part of a product whose tensors are more than a binding each: a smaller product, and what it has of the whole's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BytePart {
    pub product: ByteProduct,
    /// Filters.
    pub outputs: Range<usize>,
    /// Items, channels of words and a run of each plane, of the input and of the output; and how many the whole has of each.
    pub input: [Range<usize>; 3],
    pub output: [Range<usize>; 3],
    pub sizes: [[usize; 3]; 2],
}

/// Which loop, with its tile.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Loop {
    Workgroup(GemmTile),
    Subgroup(SubgroupTile),
}

impl ByteProduct {
    /// The cheapest that fits a device. The problem is the convolution over words, each as an element of 32 bits; `centred` says whether
    /// a weight's zero point may be other than 0.
    ///
    /// # Errors
    /// Those of [`Geometry::new`], and [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the limit that the last one passes.
    pub fn new(problem: &Problem, limits: &DeviceLimits, centred: bool, mode: GeometryMode) -> Result<Self> {
        let mut refusal = Error::unsupported("algorithm", "no tile of a product of bytes fits the device's limits");
        for (cost, (operands, tile)) in loops(problem, limits)? {
            let geometry = Geometry::new(problem)?;
            let product = product(problem, &geometry, limits, operands, mode).expect("the layer was accepted");
            let packing = operands.packing(match tile {
                Loop::Workgroup(tile) => tile.panel(),
                Loop::Subgroup(tile) => [tile.block_m, tile.turn(&product.geometry)],
            });
            let made = Self { problem: problem.clone(), geometry, packing, operands, tile, cost, centred, mode };
            match made.step(problem.input.shape()[0], limits) {
                Ok(_) => return Ok(made),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// The dispatch for so many batch items, at most those of the layer; weights lie the same for all.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the limit that it passes.
    pub fn step(&self, items: usize, limits: &DeviceLimits) -> Result<Step> {
        let mut shape = self.problem.input.shape().to_vec();
        shape[0] = items;
        let problem = Problem { input: TensorDesc::f32(&shape), ..self.problem.clone() };
        let geometry = Geometry::new(&problem)?;
        let product = product(&problem, &geometry, limits, self.operands, self.mode).expect("the layer was accepted");
        let step = step(&product, limits, &self.tile, self.centred)?;
        step.check(limits).map(|()| step)
    }

    /// The parts of the product, where one dispatch for each item is no way: a binding does not hold an item's tensors or the weights, or
    /// a submission has no time for it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the numbers where no parts fit.
    pub fn parts(&self, limits: &DeviceLimits) -> Result<Option<Vec<BytePart>>> {
        let held = self.check_bindings(1, limits);
        let short = self.nanoseconds(1, limits) <= limits.submission_ns;
        let refusal = match held {
            Ok(()) if short => return Ok(None),
            Ok(()) => None,
            Err(refusal) => Some(refusal),
        };
        let (problem, geometry, ranges) = (&self.problem, &self.geometry, Ranges::of(limits));
        let cutting = Cutting { problem, geometry, ranges, row_step: 1 };
        // What cannot be short is long: that is no reason to refuse it.
        for short in [true, false] {
            for blocks in cutting.choices() {
                if let Ok(parts) = self.in_blocks(&cutting, &blocks, limits, short) {
                    return Ok(Some(parts));
                }
            }
            if refusal.is_none() {
                return Ok(None);
            }
        }
        refusal.map_or(Ok(None), |refusal| Err(Error::unsupported("input", format!("{}, in parts too", refusal.message()))))
    }

    fn in_blocks(&self, cutting: &Cutting, blocks: &CutBlocks, limits: &DeviceLimits, short: bool) -> Result<Vec<BytePart>> {
        let geometry = &self.geometry;
        let plane = |sizes: [u32; 3]| sizes.iter().map(|&size| size as usize).product::<usize>();
        let (input_plane, output_plane, axis) = (plane(geometry.input), plane(geometry.output), cutting.row_axis());
        let run = |rows: &Range<usize>, plane: usize, sizes: [u32; 3]| {
            let row = plane / sizes[axis] as usize;
            rows.start * row..rows.end * row
        };
        let size = |value: u32| value as usize;
        let sizes = [
            [size(geometry.batch), size(geometry.in_channels), input_plane],
            [size(geometry.batch), size(geometry.out_channels), output_plane],
        ];
        let mut parts: Vec<BytePart> = Vec::new();
        for cut in cutting.cuts(blocks)? {
            let product = match parts.iter().rev().find(|part| part.product.problem == cut.problem) {
                Some(part) => part.product.clone(),
                None => {
                    let product = Self::new(&cut.problem, limits, self.centred, self.mode)?;
                    product.check_bindings(cut.items.len(), limits)?;
                    if short {
                        limits.check_length(product.nanoseconds(cut.items.len(), limits))?;
                    }
                    product
                }
            };
            let outputs = cut.outputs(geometry);
            let input = [cut.items.clone(), cut.inputs(geometry), run(&cut.input_rows, input_plane, geometry.input)];
            let output = [cut.items.clone(), outputs.clone(), run(&cut.rows, output_plane, geometry.output)];
            parts.push(BytePart { product, outputs, input, output, sizes });
        }
        Ok(parts)
    }

    /// Whether bindings hold the weights, and the tensors of so many items.
    fn check_bindings(&self, items: usize, limits: &DeviceLimits) -> Result<()> {
        let geometry = &self.geometry;
        let of_items = |elements: u64| elements / u64::from(geometry.batch.max(1)) * items as u64 * 4;
        Ranges::of(limits).check([
            ("input", of_items(geometry.input_elements())),
            ("output", of_items(geometry.output_elements())),
            ("weight", packed_elements(geometry, self.packing) * 4),
            ("weight", u64::from(geometry.out_channels) * 8),
        ])
    }

    /// Batch items and filters.
    pub fn counts(&self) -> [usize; 2] {
        [self.geometry.batch, self.geometry.out_channels].map(|count| count as usize)
    }

    /// Packed words of a filter.
    pub fn filter_words(&self) -> usize {
        self.geometry.reduction() as usize
    }

    /// How weights lie.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// About how long so many batch items take.
    pub fn nanoseconds(&self, items: usize, limits: &DeviceLimits) -> u64 {
        (self.cost * (items as f64 / f64::from(self.geometry.batch.max(1)))).nanoseconds(limits)
    }

    /// The output's shape.
    pub fn output_shape(&self) -> Vec<usize> {
        self.geometry.output_shape()
    }

    /// Where the kernel looks for the weights, `[out_channels, words, taps]`, of which the first is this one of a tensor.
    pub fn order(&self, first: usize) -> PackOrder {
        let source = WeightSource { first: first as i64, ..WeightSource::of(&self.geometry) };
        PackOrder::new(&self.geometry, self.packing, source).expect("panels are only moved")
    }
}

fn product(
    problem: &Problem,
    geometry: &Geometry,
    limits: &DeviceLimits,
    operands: Operands,
    mode: GeometryMode,
) -> Result<Product, String> {
    Product::new(&Context { problem, geometry, limits, mode }, operands)
}

/// Every loop that takes the layer, the cheapest first. Costs are those of f32: loads are the same, and dearer than either product. Sums
/// do not come in slices: a loop over so many words that a device ends it is refused.
fn loops(problem: &Problem, limits: &DeviceLimits) -> Result<Vec<(Operations, (Operands, Loop))>> {
    let limits = &DeviceLimits { loop_iterations: u64::MAX, ..*limits };
    let geometry = Geometry::new(problem)?;
    let mut list = Vec::new();
    for operands in [Operands::Plain, Operands::Implicit] {
        let Ok(product) = product(problem, &geometry, limits, operands, GeometryMode::Uniform) else { continue };
        let subgroup = subgroup::tiles(&product, limits).into_iter().filter(|(_, tile)| tile.split_k == 1);
        list.extend(subgroup.map(|(cost, tile)| (cost, (operands, Loop::Subgroup(tile)))));
        let workgroup = gemm::tiles(&product, limits).into_iter().filter(|(_, tile)| tile.split_k == 1);
        list.extend(workgroup.map(|(cost, tile)| (cost, (operands, Loop::Workgroup(tile)))));
    }
    Ok(cheapest_first(limits.class, list.into_iter()))
}

/// The dispatch of a loop; `centred` as in [`ByteProduct::new`].
fn step(product: &Product, limits: &DeviceLimits, tile: &Loop, centred: bool) -> Result<Step> {
    let name = product.operands.label();
    match tile {
        Loop::Workgroup(tile) => {
            let blocks = tile.blocks(Stores::One, Loads::One);
            let kernel = kernel(product, format!("{name}_bytes {tile}"), tile.invocations(), blocks, centred);
            gemm::looped(kernel, product, limits, tile, blocks, Loads::One)
        }
        Loop::Subgroup(tile) => {
            let label = format!("{name}_subgroup_bytes {tile}");
            let kernel = kernel(product, label, tile.invocations(), tile.blocks(product), centred);
            subgroup::looped(kernel, product, limits, tile, &Reads::One, Stores::One)
        }
    }
}

/// A kernel with everything but its loop.
fn kernel(product: &Product, label: String, invocations: u32, blocks: Blocks, centred: bool) -> Kernel {
    let kernel = product
        .with_blocks(Kernel::new(label, DType::I32, invocations), blocks)
        .flag("CENTRED", centred)
        .binding("input", "array<u32>", Slot::Operand(0))
        .binding("weights", "array<vec4<u32>>", Slot::Operand(1))
        .binding("zero", "array<i32>", Slot::Operand(2))
        .binding("terms", "array<vec2<i32>>", Slot::Operand(3))
        .written("output", "array<i32>", Slot::Output)
        .with_geometry(&product.geometry, product.mode)
        .fragment(include_str!("../../shaders/lib/bytes.wgsl"));
    product.operands.add_to(kernel)
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;
    use crate::limits::DeviceClass;

    #[test]
    fn every_loop_over_bytes_is_valid_wgsl() {
        let software = DeviceLimits { class: DeviceClass::Software, subgroup: Some(8), ..Default::default() };
        let llvmpipe = DeviceLimits { wide_words: true, ..software };
        let capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_INT64;
        let mut count = 0;
        for limits in [DeviceLimits::default(), software, llvmpipe, DeviceLimits { subgroup: Some(32), ..Default::default() }] {
            for line in ["conv 1x16x28x28 o64 k3x3 p1x1 f32", "conv 2x6x9 o12 k3 s2 d2 g3 p1:2 f32", "conv 3x40x1 o10 k1 f32"] {
                let problem: Problem = line.parse().unwrap();
                let geometry = Geometry::new(&problem).unwrap();
                for (_, (operands, tile)) in loops(&problem, &limits).unwrap() {
                    for (centred, mode) in [(true, GeometryMode::Uniform), (false, GeometryMode::Constant)] {
                        let product = product(&problem, &geometry, &limits, operands, mode).unwrap();
                        let text = step(&product, &limits, &tile, centred).unwrap().kernel.wgsl();
                        let module = naga::front::wgsl::parse_str(&text)
                            .unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(&text)));
                        let validated = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
                        validated.unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(&text)));
                        count += 1;
                    }
                }
            }
        }
        assert!(count > 100, "{count}");
    }

    #[test]
    fn a_loop_that_a_driver_would_end_early_is_refused() {
        let problem: Problem = "conv 1x4000000x1 o1 k1 f32".parse().unwrap();
        let limits = DeviceLimits { loop_iterations: 65_536, ..Default::default() };
        let error = ByteProduct::new(&problem, &limits, false, GeometryMode::Uniform).unwrap_err();
        assert!(error.kind() == crate::ErrorKind::Unsupported && error.message().contains("iterations"), "{error}");
    }
}
