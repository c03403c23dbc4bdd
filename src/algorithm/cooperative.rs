//! Convolution as a matrix product of cooperative matrices: `coop_gemm` and `coop_matmul`.
//!
//! A subgroup multiplies square matrices as one operation, which tensor cores are built for: factors in f16, sums in f32
//! (`VK_KHR_cooperative_matrix`, simdgroup matrices of Metal; Markidis et al., "NVIDIA Tensor Core Programmability, Performance and
//! Precision", 2018). Weights are read from their panels as they lie, inputs through workgroup memory, where the operand fragment brings
//! them; sums go through workgroup memory to the epilogue.
//!
//! Only layers in f16 are taken: rounding f32 to f16 would be another layer. The size of the matrices is the device's, and a subgroup
//! of another size than the kernel was written for would leave a part of the result out: both are checked. [Winograd's](super::winograd)
//! product takes them too.

use std::fmt::{self, Write as _};

use super::cost::{Operations, cheapest_first};
use super::plan::{Step, fold};
use super::product::{Blocks, Loads, Product};
use crate::error::Result;
use crate::limits::{DeviceClass, DeviceLimits};
use crate::tensor_desc::DType;

/// The tile of a matrix product of cooperative matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CoopTile {
    /// Output channels of a workgroup.
    pub block_m: u32,
    /// Output positions of a workgroup.
    pub block_n: u32,
    /// Input channels of one step.
    pub block_k: u32,
    /// Rows and columns of a cooperative matrix, 8 or 16.
    pub size: u32,
    /// Lanes of a subgroup; the kernel is wrong on any other size.
    pub lanes: u32,
}

/// Subgroups of a workgroup on each of its two axes.
const SUBGROUPS: [u32; 2] = [2, 2];

/// Matrices of a subgroup on both axes and of a step along k, to choose from. Not measured on a GPU: up to 128 registers of 32 lanes.
const TABLE: [[u32; 3]; 5] = [[4, 4, 2], [4, 2, 2], [2, 2, 2], [1, 2, 2], [1, 1, 2]];

impl fmt::Display for CoopTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_m, block_n, block_k, size, lanes } = self;
        write!(f, "{block_m}x{block_n}x{block_k},{size},{lanes}")
    }
}

impl CoopTile {
    pub(super) fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[block_m, block_n, block_k, size, lanes] = numbers else { return None };
        let tile = Self { block_m, block_n, block_k, size, lanes };
        let sound = matches!(size, 8 | 16)
            && (4..=128).contains(&lanes)
            && lanes.is_multiple_of(size)
            && [block_m, block_n, block_k].iter().all(|&block| (1..=1024).contains(&block) && block.is_multiple_of(size))
            && block_m.is_multiple_of(SUBGROUPS[0] * size)
            && block_n.is_multiple_of(SUBGROUPS[1] * size);
        (sound && tile.loads_evenly()).then_some(tile)
    }

    /// Whether the invocations bring a tile of the input without a rest.
    fn loads_evenly(&self) -> bool {
        let loaders = self.loaders();
        self.invocations().is_multiple_of(loaders)
            && self.block_n.is_multiple_of(loaders)
            && self.block_k.is_multiple_of(self.invocations() / loaders)
    }

    fn invocations(&self) -> u32 {
        SUBGROUPS[0] * SUBGROUPS[1] * self.lanes
    }

    /// Invocations along n while loading.
    fn loaders(&self) -> u32 {
        self.invocations().min(self.block_n)
    }

    /// Matrices of a subgroup on both axes.
    fn fragments(&self) -> [u32; 2] {
        [self.block_m / (SUBGROUPS[0] * self.size), self.block_n / (SUBGROUPS[1] * self.size)]
    }

    /// Bytes of a tile of the input in f16, and of one matrix of sums in f32 for each subgroup.
    fn workgroup_bytes(&self) -> u32 {
        self.block_k * self.block_n * 2 + SUBGROUPS[0] * SUBGROUPS[1] * self.size * self.size * 4
    }

    /// Whether the layer is one for cooperative matrices, on the device that the tile was made for.
    pub(super) fn supports(&self, dtype: DType, limits: &DeviceLimits) -> Result<(), String> {
        supports(dtype, limits)?;
        let own = (Some(self.size), Some(self.lanes));
        if own == (limits.cooperative_matrix, limits.subgroup) {
            return Ok(());
        }
        Err(format!(
            "the tile is for matrices of {} and subgroups of {}, but the device has {:?} and {:?}",
            self.size, self.lanes, limits.cooperative_matrix, limits.subgroup
        ))
    }
}

/// Why no kernel of this file takes a layer on a device.
fn supports(dtype: DType, limits: &DeviceLimits) -> Result<(), String> {
    if limits.cooperative_matrix.is_none() {
        return Err("the device has no cooperative matrices of f16 with sums in f32, or they were not asked for".into());
    }
    if limits.subgroup.is_none() {
        return Err("the device does not give every kernel the same, known subgroup size".into());
    }
    if dtype != DType::F16 {
        return Err(format!("cooperative matrices multiply f16, and the layer is in {dtype}"));
    }
    Ok(())
}

/// The tiles that fit a device, the cheapest first.
pub(super) fn tiles(product: &Product, limits: &DeviceLimits) -> Result<Vec<(Operations, CoopTile)>, String> {
    supports(product.dtype, limits)?;
    let (Some(size), Some(lanes)) = (limits.cooperative_matrix, limits.subgroup) else { return Ok(Vec::new()) };
    let tile = |&[m, n, k]: &[u32; 3]| {
        CoopTile::from_numbers(&[SUBGROUPS[0] * m * size, SUBGROUPS[1] * n * size, k * size, size, lanes])
    };
    let fit =
        |tile: &CoopTile| tile.invocations() <= limits.workgroup_invocations && tile.workgroup_bytes() <= limits.workgroup_bytes;
    let tiles = TABLE.iter().filter_map(tile).filter(fit);
    Ok(cheapest_first(limits.class, tiles.map(|tile| (cost(product, limits, &tile), tile))))
}

/// What it does. A matrix product counts as a part of its multiply-adds: not measured on a GPU, an eighth; software computes each, and
/// converts.
fn cost(product: &Product, limits: &DeviceLimits, tile: &CoopTile) -> Operations {
    use Operations as Of;
    let [block_m, block_n, block_k, size] = [tile.block_m, tile.block_n, tile.block_k, tile.size].map(f64::from);
    let threads = f64::from(tile.invocations());
    let part = if limits.class == DeviceClass::Software { 4.0 } else { 0.125 };
    let [fragments_m, fragments_n] = tile.fragments().map(f64::from);
    let fragment = size * size / f64::from(tile.lanes);
    let load_b = (Of::LOAD + Of::SHARED) * (block_n * block_k / threads);
    let multiply = Of::FMA * (block_m * block_n * block_k / threads * part);
    let operands = (Of::LOAD * fragments_m + Of::SHARED * fragments_n) * (fragment * block_k / size);
    let per_thread = (load_b + operands + multiply + Of::BARRIER * 2.0) * product.k_tiles(tile.block_k, 1);
    Of::total(limits, product.blocks(tile.block_m, tile.block_n), threads, per_thread)
}

/// The dispatch.
pub(super) fn step(product: &Product, limits: &DeviceLimits, tile: &CoopTile) -> Result<Step> {
    let CoopTile { block_m, block_n, block_k, size, lanes } = *tile;
    let label = format!("{}_coop {} {tile}", product.operands.label(), product.dtype);
    let columns = block_n / tile.loaders();
    let blocks = Blocks { block: [block_m, block_n, block_k], columns, half: 0, split_k: 1, stores_four: false, m_first: false };
    let rows = u64::from(block_k * tile.loaders() / tile.invocations());
    let per_step = rows * u64::from(columns + 2) + u64::from(columns + block_k / size + 3);
    let mut kernel = product
        .kernel(label, tile.invocations(), blocks, Loads::Matrix)
        .constant("SIZE", size)
        .constant("LANES", lanes)
        .constant("SUBGROUPS_M", SUBGROUPS[0])
        .constant("SUBGROUPS_N", SUBGROUPS[1])
        .iterations(product.iterations(block_k, 1, per_step))
        .fragment(include_str!("../../shaders/coop_gemm.wgsl"))
        .fragment(main_function(tile));
    kernel.subgroups = true;
    kernel.cooperative = true;
    kernel.workgroup_bytes = tile.workgroup_bytes();
    Ok(Step { kernel, grid: fold(product.blocks(block_m, block_n), limits.workgroups)? })
}

/// The loop, written out because matrices have no places in arrays that all compilers keep in registers: `sum_{i}_{j}`.
fn main_function(tile: &CoopTile) -> String {
    let [fragments_m, fragments_n] = tile.fragments();
    let size = tile.size;
    let mut text = String::from(
        "@compute @workgroup_size(WORKGROUP)\n\
         fn main(\n\
         \x20   @builtin(workgroup_id) id: vec3<u32>,\n\
         \x20   @builtin(num_workgroups) count: vec3<u32>,\n\
         \x20   @builtin(local_invocation_id) local_id: vec3<u32>,\n\
         \x20   @builtin(subgroup_id) subgroup_index: u32,\n\
         \x20   @builtin(subgroup_invocation_id) lane: u32,\n\
         ) {\n\
         \x20   // Matrices must be in control flow that is seen to be uniform, so a workgroup past the grid's end takes no step and stores nothing.\n\
         \x20   let exists = locate(workgroup_index(id, count));\n\
         \x20   set_columns(i32(local_id.x));\n\
         \x20   let subgroup = i32(subgroup_index);\n",
    );
    let mut line = |text_line: String| {
        let _ = writeln!(text, "{text_line}"); // writing to a String cannot fail
    };
    line(format!("    let first_m = subgroup / SUBGROUPS_N * {};", fragments_m * size));
    line(format!("    let first_n = subgroup % SUBGROUPS_N * {};", fragments_n * size));
    for (i, j) in pairs(fragments_m, fragments_n) {
        line(format!("    var sum_{i}_{j}: coop_mat{size}x{size}<f32, C>;"));
    }
    line("    let tiles = select(0, k_tiles(), exists);".into());
    line("    for (var tile = 0; tile < tiles; tile += 1) {".into());
    line("        begin_k_tile(tile);".into());
    line("        let panel_at = panel_start() * 4 + first_m;".into());
    line("        load_tile(i32(local_id.x));".into());
    line("        workgroupBarrier();".into());
    line("        for (var k = 0; k < BLOCK_K; k += SIZE) {".into());
    for i in 0..fragments_m {
        let at = format!("panel_at + k * BLOCK_M + {}", i * size);
        line(format!("            let a_{i} = coopLoad<coop_mat{size}x{size}<f16, A>>(&weights[{at}], u32(BLOCK_M));"));
    }
    for j in 0..fragments_n {
        let at = format!("k * BLOCK_N + first_n + {}", j * size);
        line(format!("            let b_{j} = coopLoadT<coop_mat{size}x{size}<f16, B>>(&tile_b[{at}], u32(BLOCK_N));"));
    }
    for (i, j) in pairs(fragments_m, fragments_n) {
        line(format!("            sum_{i}_{j} = coopMultiplyAdd(a_{i}, b_{j}, sum_{i}_{j});"));
    }
    line("        }\n        workgroupBarrier();\n    }".into());
    for (i, j) in pairs(fragments_m, fragments_n) {
        line(format!("    coopStoreT(sum_{i}_{j}, &tile_c[subgroup * SIZE * SIZE], u32(SIZE));"));
        line("    workgroupBarrier();".into());
        line(format!("    store_matrix(exists, subgroup, i32(lane), first_m + {}, first_n + {});", i * size, j * size));
        line("    workgroupBarrier();".into());
    }
    line("}".into());
    text
}

fn pairs(m: u32, n: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..m).flat_map(move |i| (0..n).map(move |j| (i, j)))
}
