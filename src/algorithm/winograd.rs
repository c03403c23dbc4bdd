//! Winograd's minimal filtering for three-tap kernels at stride 1: `F(2, 3)` and `F(4, 3)`, on x alone or on y and x.
//!
//! `Y = A^T [(G g G^T) * (B^T d B)] A`: tiles of the input are transformed, a matrix product sums over the channels for each of the
//! `alpha = m + 2` (or `alpha^2`) components, tiles of the output are transformed back. `F(2x2, 3x3)` takes 16 products for what
//! takes 36, `F(4x4, 3x3)` 36 for 144; the price is two passes over a workspace, and for `F(4, 3)` about a tenth of the exactness.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). The weights are transformed in f64.

use std::fmt;

use super::cost::{Operations, cheapest_first};
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
        let numbers: Vec<u32> = tile.split(['x', ',']).map(str::parse).collect::<Result<_, _>>().ok()?;
        let product = match name {
            "gemm" => ProductTile::Workgroup(GemmTile::from_numbers(&numbers)?),
            "subgroup" => ProductTile::Subgroup(SubgroupTile::from_numbers(&numbers)?),
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

/// The tiling of a layer.
struct Tiling {
    /// Outputs of a tile on y and x.
    outputs: [u32; 2],
    /// Inputs of a tile on y and x.
    alpha: [u32; 2],
    /// Tiles of all planes of a channel.
    columns: u64,
}

impl Tiling {
    fn new(geometry: &Geometry, outputs: u32) -> Self {
        let outputs = [if geometry.kernel[1] == 1 { 1 } else { outputs }, outputs];
        let tiles = |axis: usize| u64::from(geometry.output[1 + axis].div_ceil(outputs[axis]));
        Self {
            outputs,
            alpha: std::array::from_fn(|axis| outputs[axis] + geometry.kernel[1 + axis] - 1),
            columns: u64::from(geometry.batch) * u64::from(geometry.output[0]) * tiles(0) * tiles(1),
        }
    }

    /// Components of a tile.
    fn components(&self) -> u32 {
        self.alpha[0] * self.alpha[1]
    }

    /// Elements of the transformed input and of the products.
    fn workspace(&self, geometry: &Geometry) -> [u64; 2] {
        [geometry.in_channels, geometry.out_channels]
            .map(|channels| u64::from(self.components()) * u64::from(channels) * self.columns)
    }

    /// The product: each component is a group of channels of its own.
    fn product(&self, context: &Context) -> Product {
        let (geometry, components) = (context.geometry, self.components());
        let columns = [1, 1, self.columns as u32]; // `supports` saw that it fits
        let product = Geometry {
            rank: 1,
            batch: 1,
            in_channels: geometry.in_channels * components,
            out_channels: geometry.out_channels * components,
            groups: geometry.groups * components,
            input: columns,
            output: columns,
            kernel: [1; 3],
            pad_begin: [0; 3],
            pad_end: [0; 3],
            transposed: false,
            input_layout: Layout::ChannelsFirst,
            output_layout: Layout::ChannelsFirst,
            ..geometry.clone()
        };
        Product {
            geometry: product,
            operands: Operands::Plain,
            dtype: DType::F32,
            mode: context.mode,
            epilogue: Epilogue::default(),
            input: TRANSFORMED,
            output: PRODUCTS,
        }
    }
}

/// Why the layer has no Winograd form at all.
pub(super) fn supports(context: &Context) -> Result<(), String> {
    let Layer::Conv(_) = context.problem.layer else { return Err("the layer is not a convolution".into()) };
    let Geometry { kernel, stride, dilation, input_dilation, pad_begin, pad_end, .. } = context.geometry;
    let [kernel_z, kernel_y, kernel_x] = *kernel;
    if (kernel_z, kernel_x) != (1, TAPS) || ![1, TAPS].contains(&kernel_y) {
        return Err(format!("the kernel is {kernel_z}x{kernel_y}x{kernel_x}, but it takes 1x1x3 and 1x3x3"));
    }
    if *stride != [1; 3] || *dilation != [1; 3] || *input_dilation != [1; 3] {
        return Err("the stride or the dilation is not 1".into());
    }
    if pad_begin[0] != 0 || pad_end[0] != 0 {
        return Err("the depth is padded".into());
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
    let workspace = Tiling::new(context.geometry, tile.outputs).workspace(context.geometry);
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
        if tiling.workspace(context.geometry).iter().any(|&elements| elements > MAX_ELEMENTS as u64) {
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
    let workgroups = |channels: u32| (tiling.columns * u64::from(channels)).div_ceil(u64::from(WORKGROUP));
    let total = |channels, accesses: f64| {
        Operations::total(context.limits, workgroups(channels), f64::from(WORKGROUP), Operations::LOAD * accesses)
    };
    total(context.geometry.in_channels, 2.5 * components) + total(context.geometry.out_channels, components + outputs)
}

pub(super) fn plan(context: &Context, tile: &WinogradTile) -> Result<Parts> {
    let tiling = Tiling::new(context.geometry, tile.outputs);
    let product = tiling.product(context);
    let limits = context.limits;
    let (step, block_m, block_k) = match &tile.product {
        ProductTile::Workgroup(tile) => (gemm::step(&product, limits, tile)?, tile.block_m, tile.block_k),
        ProductTile::Subgroup(tile) => (subgroup::step(&product, limits, tile)?, tile.block_m, tile.block_k(&product.geometry)),
    };
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
    let grid = |channels: u32| fold((tiling.columns * u64::from(channels)).div_ceil(u64::from(WORKGROUP)), limits.workgroups);
    Ok(Parts {
        steps: vec![
            Step { kernel: input, grid: grid(context.geometry.in_channels)? },
            step,
            Step { kernel: output, grid: grid(context.geometry.out_channels)? },
        ],
        packing: Packing::Winograd { outputs: tile.outputs, components: tiling.components(), block_m, block_k },
        workspace: tiling.workspace(context.geometry).map(|elements| 4 * elements).to_vec(),
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

/// `G g G^T` of every kernel: `[component, out_channels, group_in]` from `[out_channels, group_in, taps]`.
pub(super) fn transform_weights(geometry: &Geometry, outputs: u32, rows: &[f32]) -> Vec<f32> {
    let g = filter_transform(outputs);
    let single = [[1.0, 0.0, 0.0]]; // an axis of one tap has one component
    let along_y: &[[f64; 3]] = if geometry.kernel[1] == 1 { &single } else { g };
    let taps = geometry.taps() as usize;
    let components = along_y.iter().flat_map(|y| g.iter().map(move |x| (y, x)));
    let transformed = components.flat_map(|(y, x)| {
        rows.chunks_exact(taps).map(move |kernel| {
            let product = |(tap, &w): (usize, &f32)| f64::from(w) * y[tap / TAPS as usize] * x[tap % TAPS as usize];
            kernel.iter().enumerate().map(product).sum::<f64>() as f32
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
