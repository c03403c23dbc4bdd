//! Winograd's minimal filtering for three taps at stride 1: `F(2, 3)` and `F(4, 3)`, on x alone or on y and x.
//!
//! `Y = A^T [(G g G^T) * (B^T d B)] A`: tiles of the input are transformed, a matrix product sums over the channels for each of the
//! `alpha = m + 2` (or `alpha^2`) components, tiles of the output are transformed back. `F(2x2, 3x3)` takes 16 products for what
//! takes 36, `F(4x4, 3x3)` 36 for 144; the price is two passes over a workspace, and for `F(4, 3)` about a tenth of the exactness.
//!
//! Taps of the other axes, z and a y of other sizes or strides, are taps of the product, which then is a convolution of tiles: they cost
//! no transforms. A dilation only sets the inputs of a tile apart: its tiles interleave.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). The weights are transformed in f64.

use super::cost::{Operations, cheapest_first};
use super::patch::Overlap;
use super::plan::{Packing, Step};
use super::product::{Operands, Product};
use super::winograd_weights::scale;
use super::{Context, Parts, ProductTile, SubgroupTile, WinogradTile, cooperative, gemm, half, subgroup};
use crate::desc::Epilogue;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot, Stores};
use crate::layout::Layout;
use crate::limits::{DeviceClass, DeviceLimits, Precision};
use crate::problem::Layer;
use crate::tensor_desc::{DType, MAX_ELEMENTS};

/// Taps of the kernels.
pub(super) const TAPS: u32 = 3;

/// Invocations of a workgroup of the transforms.
const WORKGROUP: u32 = 64;

/// What part of its price a product takes. Measured on lavapipe beside strips: 0.89 where its columns are loaded by fours as vectors, on both
/// versions; as words of 64 bits on 25.0.7, where those make more of a difference than with loops over lanes. That is of four columns to a
/// lane: two, for few tiles, gain nothing.
fn product_part(product: &Product, limits: &DeviceLimits, tile: &SubgroupTile) -> f64 {
    let words = limits.wide_words && !limits.loops_over_lanes && tile.thread_n == 4;
    match (words, subgroup::loads_columns(product, limits, tile)) {
        (true, true) => 0.65,
        (true, false) => 0.8,
        (false, true) => 0.89,
        (false, false) => 1.0,
    }
}

/// What part of a store's price a transform's is; see [`transform_cost`].
const BARE_STORE: f64 = 0.23;

/// The buffers between the steps: the transformed input, and the products.
const TRANSFORMED: Slot = Slot::Workspace(0);
const PRODUCTS: Slot = Slot::Workspace(1);

/// The tiling of a layer: x is transformed, and y where it can be; what is left of the kernel the product sums, as taps.
struct Tiling {
    /// Outputs of a tile on y and x.
    outputs: [u32; 2],
    /// Inputs of a tile on y and x.
    alpha: [u32; 2],
    /// Places of a channel of the transformed input: positions on z, on y positions or tiles, tiles on x.
    input: [u32; 3],
    /// Places of a channel of the products.
    output: [u32; 3],
    /// Whether the product is a plain one.
    plain: bool,
    /// Whether channels of the workspaces begin at multiples of four places, which a GPU's plain product stores at once, where the padding
    /// is little. On lavapipe that is within 7 % of what it is without, to either side.
    pads: bool,
}

impl Tiling {
    fn new(context: &Context, outputs: u32) -> Self {
        let geometry = context.geometry;
        let filters_y = is_filtered(geometry, 1);
        let outputs = [if filters_y { outputs } else { 1 }, outputs];
        let tiles = |axis: usize| {
            let blocks = Overlap::new(1, geometry.dilation[axis]).blocks(geometry.output[axis], outputs[axis - 1]);
            u32::try_from(blocks).unwrap_or(u32::MAX) // and then the workspace is too large
        };
        let places = |size: [u32; 3]| [size[0], if filters_y { tiles(1) } else { size[1] }, tiles(2)];
        let [input, output] = [geometry.input, geometry.output].map(places);
        let untouched = |axis: usize| geometry.kernel[axis] == 1 && geometry.stride[axis] == 1 && geometry.pad_begin[axis] == 0;
        let plain = input == output && untouched(0) && (filters_y || untouched(1));
        let padding = padded(count(output)) - count(output);
        Self {
            outputs,
            alpha: [if filters_y { outputs[0] + TAPS - 1 } else { 1 }, outputs[1] + TAPS - 1],
            input,
            output,
            plain,
            pads: plain && context.limits.class != DeviceClass::Software && padding > 0 && 8 * padding <= count(output),
        }
    }

    /// From a channel of the workspaces, of so many places, to the next.
    fn plane(&self, places: [u32; 3]) -> u64 {
        if self.pads { padded(count(places)) } else { count(places) }
    }

    /// Components of a tile.
    fn components(&self) -> u32 {
        self.alpha[0] * self.alpha[1]
    }

    /// Places of all channels of the transformed input, and of the products, where a channel has what `plane` says of its places.
    fn all(&self, geometry: &Geometry, plane: impl Fn([u32; 3]) -> u64) -> [u64; 2] {
        let channels = |places, channels| plane(places).saturating_mul(count([geometry.batch, channels, 1]));
        [channels(self.input, geometry.in_channels), channels(self.output, geometry.out_channels)]
    }

    /// Those without padding.
    fn places(&self, geometry: &Geometry) -> [u64; 2] {
        self.all(geometry, count)
    }

    /// Elements of the transformed input, of the products, and of as many slices of them.
    fn workspace(&self, geometry: &Geometry, split_k: u32) -> [u64; 3] {
        let slices = if split_k == 1 { 0 } else { u64::from(split_k) };
        let planes = self.all(geometry, |places| self.plane(places));
        let [input, output] = planes.map(|places| places.saturating_mul(u64::from(self.components())));
        [input, output, output.saturating_mul(slices)]
    }

    /// The product of operands of this type: each component is a group of channels of its own. Called for workspaces whose elements can
    /// be counted only.
    fn product(&self, context: &Context, dtype: DType) -> Product {
        let (geometry, components) = (context.geometry, self.components());
        let kept_y = self.alpha[0] == 1;
        let kept = |values: [u32; 3]| [values[0], if kept_y { values[1] } else { 1 }, 1];
        let kept_padding = |values: [i32; 3]| [values[0], if kept_y { values[1] } else { 0 }, 0];
        let product = Geometry {
            rank: 3,
            in_channels: geometry.in_channels * components,
            out_channels: geometry.out_channels * components,
            groups: geometry.groups * components,
            input: if self.plain { [1, 1, self.plane(self.input) as u32] } else { self.input },
            output: if self.plain { [1, 1, self.plane(self.output) as u32] } else { self.output },
            kernel: kept(geometry.kernel),
            stride: kept(geometry.stride),
            dilation: kept(geometry.dilation),
            pad_begin: kept_padding(geometry.pad_begin),
            pad_end: kept_padding(geometry.pad_end),
            transposed: false,
            input_layout: Layout::ChannelsFirst,
            output_layout: Layout::ChannelsFirst,
            ..geometry.clone()
        };
        Product {
            geometry: product,
            operands: if self.plain { Operands::Plain } else { Operands::Implicit },
            dtype,
            result: DType::F32,
            mode: context.mode,
            epilogue: Epilogue::default(),
            input: TRANSFORMED,
            output: PRODUCTS,
            slices: 2,
        }
    }
}

/// The product of sizes; a number that does not fit is as good as one too large.
fn count(sizes: [u32; 3]) -> u64 {
    sizes.into_iter().map(u64::from).fold(1, u64::saturating_mul)
}

/// With padding up to a multiple of four.
fn padded(places: u64) -> u64 {
    places.checked_next_multiple_of(4).unwrap_or(places)
}

/// Whether an axis has three taps at stride 1, whatever their distance.
pub(super) fn is_filtered(geometry: &Geometry, axis: usize) -> bool {
    geometry.kernel[axis] == TAPS && geometry.stride[axis] == 1
}

/// Axes that are transformed, of a layer that has a Winograd form.
pub(super) fn filtered_axes(geometry: &Geometry) -> u32 {
    1 + u32::from(is_filtered(geometry, 1))
}

/// Taps of a kernel that the product sums, and not the transforms.
pub(super) fn product_taps(geometry: &Geometry) -> u64 {
    geometry.taps() / u64::from(TAPS.pow(filtered_axes(geometry)))
}

/// Why the layer has no Winograd form at all.
pub(super) fn supports(context: &Context) -> Result<(), String> {
    let Layer::Conv(_) = context.problem.layer else { return Err("the layer is not a convolution".into()) };
    let Geometry { kernel, stride, .. } = context.geometry;
    if !is_filtered(context.geometry, 2) {
        return Err(format!("the last axis has {} taps at stride {}, but it takes 3 at stride 1", kernel[2], stride[2]));
    }
    if context.geometry.is_phased() {
        return Err("a transposed convolution with a stride uses other taps at each phase".into());
    }
    Ok(())
}

/// Why a tile does not take the layer.
pub(super) fn supports_tile(context: &Context, tile: &WinogradTile) -> Result<(), String> {
    supports(context)?;
    if tile.outputs == 4 && context.limits.precision < Precision::Fast {
        return Err("F(4, 3) is ten times less exact than other kernels, which Precision::Exact does not allow".into());
    }
    match &tile.product {
        ProductTile::Workgroup(product) => half::supports(DType::F32, context.limits, product.half)?,
        ProductTile::Subgroup(product) => {
            product.check_lanes(context.limits)?;
            half::supports(DType::F32, context.limits, product.half)?;
        }
        ProductTile::Cooperative(_) if tile.outputs != 2 => {
            return Err("the transforms of F(4, 3) lose more than f16 has".into());
        }
        ProductTile::Cooperative(product) => product.check_matrices(context.dtype(), context.limits)?,
    }
    let workspace = Tiling::new(context, tile.outputs).workspace(context.geometry, tile.product.split_k());
    if workspace.iter().any(|&elements| elements > MAX_ELEMENTS as u64) {
        return Err(format!("the workspace would have {workspace:?} elements, more than kernels can index"));
    }
    let bytes = workspace_bytes(&workspace, tile).iter().sum::<u64>();
    if bytes > context.limits.workspace_bytes {
        return Err(format!("the workspace would have {bytes} bytes, more than the {} allowed", context.limits.workspace_bytes));
    }
    Ok(())
}

/// The tiles that a device can take, the cheapest first; of each loop the two best tiles.
pub(super) fn tiles(context: &Context) -> Result<Vec<(Operations, WinogradTile)>, String> {
    supports(context)?;
    let (mut tiles, mut reason) = (Vec::new(), String::new());
    for outputs in [2, 4] {
        let tiling = Tiling::new(context, outputs);
        if tiling.workspace(context.geometry, 1).iter().any(|&elements| elements > MAX_ELEMENTS as u64) {
            reason = "the workspace would have more elements than kernels can index".into();
            continue;
        }
        let product = tiling.product(context, DType::F32);
        let transforms = transform_cost(context, &tiling);
        let cooperative = cooperative::tiles(&tiling.product(context, context.dtype()), context.limits).unwrap_or_default();
        let cooperative =
            cooperative.into_iter().filter(|_| outputs == 2).take(2).map(|(cost, tile)| (cost, ProductTile::Cooperative(tile)));
        let subgroup = subgroup::tiles(&product, context.limits)
            .into_iter()
            .take(2)
            .map(|(cost, tile)| (cost * product_part(&product, context.limits, &tile), ProductTile::Subgroup(tile)));
        let gemm =
            gemm::tiles(&product, context.limits).into_iter().take(2).map(|(cost, tile)| (cost, ProductTile::Workgroup(tile)));
        for (cost, product) in cooperative.chain(subgroup).chain(gemm) {
            let tile = WinogradTile { outputs, product };
            match supports_tile(context, &tile) {
                Ok(()) => tiles.push((cost + transforms, tile)),
                Err(refused) => reason = refused,
            }
        }
    }
    if tiles.is_empty() { Err(reason) } else { Ok(cheapest_first(context.limits.class, tiles.into_iter())) }
}

/// What both transforms do.
fn transform_cost(context: &Context, tiling: &Tiling) -> Operations {
    let components = f64::from(tiling.components());
    let outputs = f64::from(tiling.outputs[0] * tiling.outputs[1]);
    // The price of a store is that of a product's, with all that finds and finishes it. Where stores are no loops over lanes, the bare ones of
    // a transform take less: on Mesa 25.0.7 13.7 ns for 8 invocations with the load of what they store.
    let bare = context.limits.class == DeviceClass::Software && !context.limits.loops_over_lanes;
    let store = Operations::STORE * if bare { BARE_STORE } else { 1.0 };
    let total = |places: u64, loads: f64, stores: f64| {
        let workgroups = places.div_ceil(u64::from(WORKGROUP));
        let per_thread = Operations::LOAD * loads + store * stores;
        Operations::total(context.limits, workgroups, f64::from(WORKGROUP), per_thread)
    };
    let [input, output] = tiling.places(context.geometry);
    total(input, components, components) + total(output, components, outputs)
}

pub(super) fn plan(context: &Context, tile: &WinogradTile) -> Result<Parts> {
    let tiling = Tiling::new(context, tile.outputs);
    let dtype = tile.product.dtype();
    let product = tiling.product(context, dtype);
    let limits = context.limits;
    let product_steps = match &tile.product {
        ProductTile::Workgroup(tile) => gemm::steps(&product, limits, tile)?,
        ProductTile::Subgroup(tile) => subgroup::steps(&product, limits, tile)?,
        ProductTile::Cooperative(tile) => cooperative::steps(&product, limits, tile)?,
    };
    let [block_m, padded_k] = tile.product.panel(&product.geometry);
    let input = transform(context, &tiling, "input")
        .binding("input", "array<Elem>", Slot::Input)
        .written("transformed", if dtype == DType::F16 { "array<f16>" } else { "array<f32>" }, TRANSFORMED)
        .with_geometry(context.geometry, context.mode)
        .fragment(component(dtype, scale(context.geometry, dtype)))
        .fragment(include_str!("../../shaders/winograd_input.wgsl"));
    let output = transform(context, &tiling, "output")
        .binding("products", "array<f32>", PRODUCTS)
        .with_geometry(context.geometry, context.mode)
        .with_epilogue(context.epilogue(), Slot::Output, Stores::One)
        .fragment(include_str!("../../shaders/winograd_output.wgsl"));
    let [inputs, outputs] = tiling.places(context.geometry).map(|places| places.div_ceil(u64::from(WORKGROUP)));
    let mut steps = vec![Step::new(input, inputs, limits)?];
    steps.extend(product_steps);
    steps.push(Step::new(output, outputs, limits)?);
    let workspace = tiling.workspace(context.geometry, tile.product.split_k());
    Ok(Parts {
        steps,
        packing: Packing::Winograd {
            dtype,
            outputs: tile.outputs,
            components: tiling.components(),
            taps: product_taps(context.geometry) as u32, // a divisor of taps that fit
            block_m,
            padded_k,
        },
        workspace: workspace_bytes(&workspace, tile).into_iter().filter(|&bytes| bytes > 0).collect(),
    })
}

/// Bytes of so many elements of the workspace's buffers.
fn workspace_bytes(elements: &[u64; 3], tile: &WinogradTile) -> [u64; 3] {
    let [input, products, slices] = *elements;
    [input * tile.product.dtype().bytes() as u64, 4 * products, 4 * slices]
}

/// The function that makes a component of a transformed input an element of the product's operand.
fn component(dtype: DType, scale: f64) -> String {
    let value = if scale == 1.0 { "value".into() } else { format!("value * {:?}", 1.0 / scale) };
    format!("fn component(value: f32) -> {dtype} {{\n    return {dtype}({value});\n}}")
}

/// The beginning of a transform's kernel: sizes, and the transforms of one axis.
fn transform(context: &Context, tiling: &Tiling, name: &str) -> Kernel {
    let ([out_y, out_x], [alpha_y, alpha_x]) = (tiling.outputs, tiling.alpha);
    let axis = if out_x == 2 {
        include_str!("../../shaders/lib/winograd_2.wgsl")
    } else {
        include_str!("../../shaders/lib/winograd_4.wgsl")
    };
    // An axis without taps is left as it is.
    let along_y = |function: &str, result: u32| {
        let value = if alpha_y == 1 { "v".into() } else { format!("{function}(v)") };
        format!("fn {function}_y(v: array<f32, {alpha_y}>) -> array<f32, {result}> {{\n    return {value};\n}}")
    };
    Kernel::new(format!("winograd_{name} {} {out_y}x{out_x}", context.dtype()), context.dtype(), WORKGROUP)
        .constant("OUT_Y", out_y)
        .constant("OUT_X", out_x)
        .constant("ALPHA_Y", alpha_y)
        .constant("ALPHA_X", alpha_x)
        .flag("PADS", tiling.pads)
        .fragment(include_str!("../../shaders/lib/blocks.wgsl"))
        .fragment(include_str!("../../shaders/lib/winograd_tile.wgsl"))
        .fragment(axis)
        .fragment(along_y("transform_input", alpha_y))
        .fragment(along_y("transform_output", out_y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, DeviceLimits, Problem};

    #[test]
    fn less_exact_tiles_are_offered_only_where_precision_allows_them() {
        let problem: Problem = "conv 1x64x56x56 o64 k3x3 p1x1 f32".parse().unwrap();
        let exact = DeviceLimits::default();
        let outputs = |limits: &DeviceLimits| -> Vec<u32> {
            let algorithms = Algorithm::candidates(&problem, limits).unwrap().algorithms;
            algorithms.iter().filter_map(|a| if let Algorithm::Winograd(tile) = a { Some(tile.outputs) } else { None }).collect()
        };
        assert!(outputs(&exact).iter().all(|&m| m == 2) && !outputs(&exact).is_empty());
        assert!(outputs(&DeviceLimits { precision: Precision::Fast, ..exact }).contains(&4));
        let tight = DeviceLimits { workspace_bytes: 1 << 20, ..exact };
        assert!(outputs(&tight).is_empty());
    }
}
