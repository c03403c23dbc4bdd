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

use std::fmt;

use super::cost::{Operations, cheapest_first};
use super::patch::Overlap;
use super::plan::{Packing, Step, fold};
use super::product::{Operands, Product};
use super::{Context, GemmTile, Parts, SubgroupTile, gemm, subgroup};
use crate::desc::Epilogue;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot};
use crate::layout::Layout;
use crate::limits::Precision;
use crate::problem::Layer;
use crate::tensor_desc::{DType, MAX_ELEMENTS};

/// How a Winograd convolution is tiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WinogradTile {
    /// Outputs of a tile on each transformed axis, the `m` of `F(m, 3)`: 2 or 4.
    pub outputs: u32,
    /// The tile of the matrix product between the transforms.
    pub product: ProductTile,
}

/// The tile of a matrix product, and with it its loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProductTile {
    /// Through workgroup memory.
    Workgroup(GemmTile),
    /// Through subgroup broadcasts.
    Subgroup(SubgroupTile),
}

impl ProductTile {
    /// Output channels and input channels of a panel of weights.
    pub(super) fn panel(&self, geometry: &Geometry) -> [u32; 2] {
        match self {
            ProductTile::Workgroup(tile) => tile.panel(),
            ProductTile::Subgroup(tile) => [tile.block_m, tile.block_k(geometry)],
        }
    }

    /// Slices of the product's sums.
    pub(super) fn split_k(&self) -> u32 {
        match self {
            ProductTile::Workgroup(tile) => tile.split_k,
            ProductTile::Subgroup(tile) => tile.split_k,
        }
    }
}

/// Taps of the kernels.
const TAPS: u32 = 3;

/// Invocations of a workgroup of the transforms.
const WORKGROUP: u32 = 64;

/// The buffers between the steps: the transformed input, and the products.
const TRANSFORMED: Slot = Slot::Workspace(0);
const PRODUCTS: Slot = Slot::Workspace(1);

impl fmt::Display for WinogradTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.product {
            ProductTile::Workgroup(tile) => write!(f, "{},gemm,{tile}", self.outputs),
            ProductTile::Subgroup(tile) => write!(f, "{},subgroup,{tile}", self.outputs),
        }
    }
}

impl WinogradTile {
    /// Parses what `Display` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (outputs, rest) = text.split_once(',')?;
        let (name, tile) = rest.split_once(',')?;
        let product = match name {
            "gemm" => ProductTile::Workgroup(GemmTile::parse(tile)?),
            "subgroup" => ProductTile::Subgroup(SubgroupTile::parse(tile)?),
            _ => return None,
        };
        let outputs = outputs.parse().ok().filter(|outputs| [2, 4].contains(outputs))?;
        Some(Self { outputs, product })
    }

    /// Whether sums of integers come out exact: the transforms of `F(2, 3)` only add and halve.
    pub(super) fn is_exact(&self) -> bool {
        self.outputs == 2
    }
}

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
}

impl Tiling {
    fn new(geometry: &Geometry, outputs: u32) -> Self {
        let filters_y = is_filtered(geometry, 1);
        let outputs = [if filters_y { outputs } else { 1 }, outputs];
        let tiles = |axis: usize| {
            let blocks = Overlap::new(1, geometry.dilation[axis]).blocks(geometry.output[axis], outputs[axis - 1]);
            u32::try_from(blocks).unwrap_or(u32::MAX) // and then the workspace is too large
        };
        let places = |size: [u32; 3]| [size[0], if filters_y { tiles(1) } else { size[1] }, tiles(2)];
        Self {
            outputs,
            alpha: [if filters_y { outputs[0] + TAPS - 1 } else { 1 }, outputs[1] + TAPS - 1],
            input: places(geometry.input),
            output: places(geometry.output),
        }
    }

    /// Components of a tile.
    fn components(&self) -> u32 {
        self.alpha[0] * self.alpha[1]
    }

    /// Places of all channels of the transformed input, and of the products; a number that does not fit is as good as one too large.
    fn places(&self, geometry: &Geometry) -> [u64; 2] {
        [(self.input, geometry.in_channels), (self.output, geometry.out_channels)].map(|(places, channels)| {
            places.into_iter().chain([geometry.batch, channels]).map(u64::from).fold(1, u64::saturating_mul)
        })
    }

    /// Elements of the transformed input, of the products, and of as many slices of them.
    fn workspace(&self, geometry: &Geometry, split_k: u32) -> [u64; 3] {
        let slices = if split_k == 1 { 0 } else { u64::from(split_k) };
        let [input, output] = self.places(geometry).map(|places| places.saturating_mul(u64::from(self.components())));
        [input, output, output.saturating_mul(slices)]
    }

    /// The product: each component is a group of channels of its own. Called for workspaces whose elements can be counted only.
    fn product(&self, context: &Context) -> Product {
        let (geometry, components) = (context.geometry, self.components());
        let kept_y = self.alpha[0] == 1;
        let kept = |values: [u32; 3]| [values[0], if kept_y { values[1] } else { 1 }, 1];
        let kept_padding = |values: [i32; 3]| [values[0], if kept_y { values[1] } else { 0 }, 0];
        let product = Geometry {
            rank: 3,
            in_channels: geometry.in_channels * components,
            out_channels: geometry.out_channels * components,
            groups: geometry.groups * components,
            input: self.input,
            output: self.output,
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
        let plain = product.kernel == [1; 3]
            && product.stride == [1; 3]
            && product.pad_begin == [0; 3]
            && product.input == product.output;
        Product {
            geometry: product,
            operands: if plain { Operands::Plain } else { Operands::Implicit },
            dtype: DType::F32,
            mode: context.mode,
            epilogue: Epilogue::default(),
            input: TRANSFORMED,
            output: PRODUCTS,
            slices: 2,
        }
    }
}

/// Whether an axis has three taps at stride 1, whatever their distance.
fn is_filtered(geometry: &Geometry, axis: usize) -> bool {
    geometry.kernel[axis] == TAPS && geometry.stride[axis] == 1
}

/// Taps of a kernel that the product sums, and not the transforms.
fn product_taps(geometry: &Geometry) -> u64 {
    geometry.taps() / u64::from(TAPS * if is_filtered(geometry, 1) { TAPS } else { 1 })
}

/// Why the layer has no Winograd form at all.
pub(super) fn supports(context: &Context) -> Result<(), String> {
    let Layer::Conv(_) = context.problem.layer else { return Err("the layer is not a convolution".into()) };
    let Geometry { kernel, stride, input_dilation, .. } = context.geometry;
    if !is_filtered(context.geometry, 2) {
        return Err(format!("the last axis has {} taps at stride {}, but it takes 3 at stride 1", kernel[2], stride[2]));
    }
    if *input_dilation != [1; 3] {
        return Err("a transposed convolution with a stride uses other taps at each phase".into());
    }
    Ok(())
}

/// Why a tile does not take the layer.
pub(super) fn supports_tile(context: &Context, tile: &WinogradTile) -> Result<(), String> {
    supports(context)?;
    if tile.outputs == 4 && context.limits.precision != Precision::Fast {
        return Err("F(4, 3) is ten times less exact than other kernels, which Precision::Exact does not allow".into());
    }
    if let ProductTile::Subgroup(tile) = &tile.product {
        tile.check_lanes(context.limits)?;
    }
    let workspace = Tiling::new(context.geometry, tile.outputs).workspace(context.geometry, tile.product.split_k());
    if workspace.iter().any(|&elements| elements > MAX_ELEMENTS as u64) {
        return Err(format!("the workspace would have {workspace:?} elements, more than kernels can index"));
    }
    let bytes = 4 * workspace.iter().sum::<u64>();
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
        let tiling = Tiling::new(context.geometry, outputs);
        if tiling.workspace(context.geometry, 1).iter().any(|&elements| elements > MAX_ELEMENTS as u64) {
            reason = "the workspace would have more elements than kernels can index".into();
            continue;
        }
        let product = tiling.product(context);
        let transforms = transform_cost(context, &tiling);
        let subgroup =
            subgroup::tiles(&product, context.limits).into_iter().take(2).map(|(cost, tile)| (cost, ProductTile::Subgroup(tile)));
        let gemm =
            gemm::tiles(&product, context.limits).into_iter().take(2).map(|(cost, tile)| (cost, ProductTile::Workgroup(tile)));
        for (cost, product) in subgroup.chain(gemm) {
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
    let total = |places: u64, loads: f64, stores: f64| {
        let workgroups = places.div_ceil(u64::from(WORKGROUP));
        let per_thread = Operations::LOAD * loads + Operations::STORE * stores;
        Operations::total(context.limits, workgroups, f64::from(WORKGROUP), per_thread)
    };
    let [input, output] = tiling.places(context.geometry);
    total(input, components, components) + total(output, components, outputs)
}

pub(super) fn plan(context: &Context, tile: &WinogradTile) -> Result<Parts> {
    let tiling = Tiling::new(context.geometry, tile.outputs);
    let product = tiling.product(context);
    let limits = context.limits;
    let product_steps = match &tile.product {
        ProductTile::Workgroup(tile) => gemm::steps(&product, limits, tile)?,
        ProductTile::Subgroup(tile) => subgroup::steps(&product, limits, tile)?,
    };
    let [block_m, block_k] = tile.product.panel(&product.geometry);
    let input = transform(context, &tiling, "input")
        .binding("input", "array<Elem>", Slot::Input)
        .written("transformed", "array<f32>", TRANSFORMED)
        .with_geometry(context.geometry, context.mode)
        .fragment(include_str!("../../shaders/winograd_input.wgsl"));
    let output = transform(context, &tiling, "output")
        .binding("products", "array<f32>", PRODUCTS)
        .with_geometry(context.geometry, context.mode)
        .with_epilogue(context.epilogue(), Slot::Output)
        .fragment(include_str!("../../shaders/winograd_output.wgsl"));
    let [input_grid, output_grid] =
        tiling.places(context.geometry).map(|places| fold(places.div_ceil(u64::from(WORKGROUP)), limits.workgroups));
    let mut steps = vec![Step { kernel: input, grid: input_grid? }];
    steps.extend(product_steps);
    steps.push(Step { kernel: output, grid: output_grid? });
    let workspace = tiling.workspace(context.geometry, tile.product.split_k());
    Ok(Parts {
        steps,
        packing: Packing::Winograd {
            outputs: tile.outputs,
            components: tiling.components(),
            taps: product_taps(context.geometry) as u32, // a divisor of taps that fit
            block_m,
            block_k,
        },
        workspace: workspace.into_iter().filter(|&elements| elements > 0).map(|elements| 4 * elements).collect(),
    })
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
        .fragment(include_str!("../../shaders/lib/blocks.wgsl"))
        .fragment(include_str!("../../shaders/lib/winograd_tile.wgsl"))
        .fragment(axis)
        .fragment(along_y("transform_input", alpha_y))
        .fragment(along_y("transform_output", out_y))
}

/// `G` of `F(2, 3)` and `F(4, 3)`: what a kernel of three taps is on each component.
fn filter_transform(outputs: u32) -> &'static [[f64; 3]] {
    const F2: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    const F4: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    if outputs == 2 { &F2 } else { &F4 }
}

/// `G g G^T` of every filter: `[component, out_channels, group_in, other taps]` from `[out_channels, group_in, taps]`.
pub(super) fn transform_weights(geometry: &Geometry, outputs: u32, rows: &[f32]) -> Vec<f32> {
    let g = filter_transform(outputs);
    let single = [[1.0, 0.0, 0.0]]; // an axis that is not transformed has one component
    let along_y: &[[f64; 3]] = if is_filtered(geometry, 1) { g } else { &single };
    let filter = (geometry.taps() / product_taps(geometry)) as usize;
    let components = along_y.iter().flat_map(|y| g.iter().map(move |x| (y, x)));
    let transformed = components.flat_map(|(y, x)| {
        rows.chunks_exact(filter).map(move |filter| {
            let product = |(tap, &w): (usize, &f32)| f64::from(w) * y[tap / TAPS as usize] * x[tap % TAPS as usize];
            filter.iter().enumerate().map(product).sum::<f64>() as f32
        })
    });
    transformed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceLimits, Problem};

    #[test]
    fn the_corners_of_a_transformed_kernel_are_its_scaled_corners() {
        let problem: Problem = "conv 1x1x8x8 o1 k3x3 f32".parse().unwrap();
        let geometry = Geometry::new(&problem).unwrap();
        let kernel: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let two = transform_weights(&geometry, 2, &kernel);
        assert_eq!(two.len(), 16);
        assert_eq!((two[0], two[3], two[12], two[15]), (1.0, 3.0, 7.0, 9.0));
        let four = transform_weights(&geometry, 4, &kernel);
        assert_eq!((four.len(), four[0], four[35]), (36, 1.0 / 16.0, 9.0));
    }

    #[test]
    fn less_exact_tiles_are_offered_only_where_precision_allows_them() {
        let problem: Problem = "conv 1x64x56x56 o64 k3x3 p1x1 f32".parse().unwrap();
        let exact = DeviceLimits::default();
        let outputs = |limits: &DeviceLimits| -> Vec<u32> {
            let algorithms = super::super::Algorithm::candidates(&problem, limits).unwrap().algorithms;
            algorithms
                .iter()
                .filter_map(|a| if let super::super::Algorithm::Winograd(tile) = a { Some(tile.outputs) } else { None })
                .collect()
        };
        assert!(outputs(&exact).iter().all(|&m| m == 2) && !outputs(&exact).is_empty());
        assert!(outputs(&DeviceLimits { precision: Precision::Fast, ..exact }).contains(&4));
        let tight = DeviceLimits { workspace_bytes: 1 << 20, ..exact };
        assert!(outputs(&tight).is_empty());
    }
}
