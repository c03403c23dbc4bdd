//! Convolution as a matrix product of cooperative matrices: `coop_gemm` and `coop_matmul`.
//!
//! A subgroup multiplies square matrices as one operation, which tensor cores are built for: factors in f16, sums in f32
//! (`VK_KHR_cooperative_matrix`, simdgroup matrices of Metal; Markidis et al., "NVIDIA Tensor Core Programmability, Performance and
//! Precision", 2018). Weights and inputs go through workgroup memory, in which k is the last axis: a lane of most devices holds
//! neighbours along k. The next step's are on their way meanwhile. Sums go through workgroup memory to the epilogue.
//!
//! Only layers in f16 are taken: rounding f32 to f16 would be another layer. The size of the matrices is the device's, and a subgroup
//! of another size than the kernel was written for would leave a part of the result out: both are checked. [Winograd's](super::winograd)
//! product takes them too.

use std::fmt::{self, Write as _};

use super::cost::{Operations, cheapest_first};
use super::plan::Step;
use super::product::{Blocks, Loads, Product};
use super::split_k::{self, Slices};
use crate::error::Result;
use crate::geometry::gcd;
use crate::kernel::{MAIN, Stores};
use crate::layout::Layout;
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
    /// Slices of the sum over k, added by a second dispatch where there are several.
    pub split_k: u32,
}

/// Matrices of a workgroup on both axes and of a step along k, to choose from. Not measured on a GPU: up to 64 registers of 32 lanes for
/// sums.
const TABLE: [[u32; 3]; 5] = [[8, 8, 2], [8, 4, 2], [4, 4, 2], [2, 4, 2], [2, 2, 2]];

impl fmt::Display for CoopTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_m, block_n, block_k, size, lanes, split_k } = self;
        write!(f, "{block_m}x{block_n}x{block_k},{size},{lanes}{}", Slices(*split_k))
    }
}

impl CoopTile {
    fn from_numbers(numbers: &[u32]) -> Option<Self> {
        let &[block_m, block_n, block_k, size, lanes] = numbers else { return None };
        let tile = Self { block_m, block_n, block_k, size, lanes, split_k: 1 };
        let sound = matches!(size, 8 | 16)
            && (4..=128).contains(&lanes)
            && lanes.is_multiple_of(size)
            && [block_m, block_n, block_k].iter().all(|&block| (1..=1024).contains(&block) && block.is_multiple_of(size))
            && block_m.is_multiple_of(tile.subgroups()[0] * size)
            && block_n.is_multiple_of(tile.subgroups()[1] * size);
        (sound && tile.loads_evenly()).then_some(tile)
    }

    /// Parses what `Display` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sizes, split_k) = split_k::parse(text)?;
        Some(Self { split_k, ..Self::from_numbers(&split_k::numbers(sizes)?)? })
    }

    /// Whether each invocation loads of as many columns of the input.
    fn loads_evenly(&self) -> bool {
        let loaders = self.loaders();
        self.invocations().is_multiple_of(loaders) && self.block_n.is_multiple_of(loaders)
    }

    /// Subgroups of a workgroup on each of its two axes: eight where there is something to do for so many.
    fn subgroups(&self) -> [u32; 2] {
        let many = [self.block_m, self.block_n].iter().all(|&block| block.is_multiple_of(8 * self.size));
        if many { [2, 4] } else { [2, 2] }
    }

    fn invocations(&self) -> u32 {
        self.subgroups().iter().product::<u32>() * self.lanes
    }

    /// Output channels and input channels of a panel of weights: k is the last axis, for each channel by itself.
    pub(super) fn panel(&self) -> [u32; 2] {
        [1, self.block_k]
    }

    /// Invocations along n while loading.
    fn loaders(&self) -> u32 {
        self.invocations().min(self.block_n)
    }

    /// Matrices of a subgroup on both axes.
    fn fragments(&self) -> [u32; 2] {
        let [subgroups_m, subgroups_n] = self.subgroups();
        [self.block_m / (subgroups_m * self.size), self.block_n / (subgroups_n * self.size)]
    }

    /// Lanes side by side along n, each of which stores `width` columns at once.
    fn across(&self, width: u32) -> u32 {
        gcd(i64::from(self.lanes), i64::from(self.fragments()[1] * self.size / width)) as u32
    }

    /// Bytes of the tiles of both operands in f16, and of a row of matrices of sums in f32 for each subgroup.
    fn workgroup_bytes(&self) -> u32 {
        (self.block_m + self.block_n) * (self.block_k + 8) * 2 + self.subgroups()[0] * self.size * self.block_n * 4
    }

    /// Iterations of an invocation's loops for each step.
    fn iterations(&self) -> u64 {
        let columns = self.block_n / self.loaders();
        let loads_a = (self.block_m * self.block_k / 4).div_ceil(self.invocations()) + 1;
        let loads_b = (self.block_k / 4).div_ceil(self.invocations() / self.loaders()) * (columns * 6 + 2) + 1;
        u64::from(2 * (loads_a + loads_b) + columns + self.block_k / self.size + 3)
    }

    /// Whether the product is one for cooperative matrices, on the device that the tile was made for, and there is room for its slices.
    pub(super) fn supports(&self, product: &Product, limits: &DeviceLimits) -> Result<(), String> {
        self.check_matrices(product.dtype, limits)?;
        split_k::supports(product, limits, self.split_k)
    }

    /// Whether numbers are ones for cooperative matrices, and those of the device are what the tile was made for.
    pub(super) fn check_matrices(&self, dtype: DType, limits: &DeviceLimits) -> Result<(), String> {
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
    let tile = |&[m, n, k]: &[u32; 3]| CoopTile::from_numbers(&[m * size, n * size, k * size, size, lanes]);
    let fit =
        |tile: &CoopTile| tile.invocations() <= limits.workgroup_invocations && tile.workgroup_bytes() <= limits.workgroup_bytes;
    let sliced = TABLE.iter().filter_map(tile).filter(fit).flat_map(|tile| {
        let cost = |split_k: u32| cost(product, limits, &CoopTile { split_k, ..tile });
        let workgroups = product.blocks(tile.block_m, tile.block_n);
        let choices = split_k::choices(product, limits, tile.block_k, tile.iterations(), workgroups, cost);
        choices.into_iter().map(move |(cost, split_k)| (cost, CoopTile { split_k, ..tile }))
    });
    Ok(split_k::that_pay(cheapest_first(limits.class, sliced), |tile| tile.split_k))
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
    let load = if product.has_vectors() { Of::LOAD4 * 0.25 } else { Of::LOAD };
    let loads = (load * block_n + Of::LOAD4 * 0.25 * block_m) * (block_k / threads);
    let puts = Of::SHARED4 * 0.25 * ((block_m + block_n) * block_k / threads);
    let multiply = Of::FMA * (block_m * block_n * block_k / threads * part);
    let operands = Of::SHARED4 * 0.25 * ((fragments_m + fragments_n) * fragment * block_k / size);
    let stores = Of::stores(block_m * block_n / threads, product.stores_columns());
    let per_thread =
        (loads + puts + operands + multiply + Of::BARRIER * 2.0) * product.k_tiles(tile.block_k, tile.split_k) + stores;
    let workgroups = product.blocks(tile.block_m, tile.block_n) * u64::from(tile.split_k);
    Of::total(limits, workgroups, threads, per_thread) + split_k::cost(product, limits, tile.split_k)
}

/// How the rows of a load are put into a tile.
fn put_b(loads: Loads) -> (u32, &'static str) {
    const ONE: &str = "\
fn put_b(column: u32, run: u32, part: i32, b: f16) {
    tile_b[column][run][part] = b;
}";
    const FOUR: &str = "\
fn put_b(column: u32, run: u32, part: i32, b: vec4<f16>) {
    tile_b[column][run][0] = b.x;
    tile_b[column][run][1] = b.y;
    tile_b[column][run][2] = b.z;
    tile_b[column][run][3] = b.w;
}";
    if loads == Loads::FourOfMatrix { (4, FOUR) } else { (1, ONE) }
}

/// How sums are finished, and how many neighbouring columns at once.
fn finish_sums(by_columns: bool) -> (u32, &'static str) {
    const ONE: &str = "\
fn finish_sums(subgroup: i32, at: i32, channel: i32, index: i32) {
    store(tile_c[subgroup][at], channel, index);
}";
    const FOUR: &str = "\
fn finish_sums(subgroup: i32, at: i32, channel: i32, index: i32) {
    let sums = vec4<f32>(tile_c[subgroup][at], tile_c[subgroup][at + 1], tile_c[subgroup][at + 2], tile_c[subgroup][at + 3]);
    store_4(sums, channel, index);
}";
    if by_columns { (4, FOUR) } else { (1, ONE) }
}

/// The dispatches.
pub(super) fn steps(product: &Product, limits: &DeviceLimits, tile: &CoopTile) -> Result<Vec<Step>> {
    let CoopTile { block_m, block_n, block_k, size, lanes, split_k } = *tile;
    let label = format!("{}_coop {} {tile}", product.operands.label(), product.dtype);
    let loads = if product.has_vectors() { Loads::FourOfMatrix } else { Loads::Matrix };
    let (rows, put_b) = put_b(loads);
    let columns = block_n / tile.loaders();
    let by_columns = product.stores_columns();
    let (width, finish_sums) = finish_sums(by_columns);
    let stores = if by_columns { Stores::Columns } else { Stores::One };
    let block = [block_m, block_n, block_k];
    let blocks = Blocks { block, padded_k: block_k, columns, half: 0, split_k, stores, few_weights: 0 };
    let [subgroups_m, subgroups_n] = tile.subgroups();
    let mut kernel = product
        .kernel(label, tile.invocations(), blocks, loads)
        .constant("SIZE", size)
        .constant("LANES", lanes)
        .constant("ROWS", rows)
        .constant("SUBGROUPS_M", subgroups_m)
        .constant("SUBGROUPS_N", subgroups_n)
        .constant("MATRICES_N", tile.fragments()[1])
        .constant("WIDTH", width)
        .constant("ACROSS", tile.across(width))
        .iterations(product.iterations(block_k, split_k, tile.iterations()))
        .fragment(put_b)
        .fragment(finish_sums)
        .fragment(include_str!("../../shaders/coop_gemm.wgsl"))
        .fragment(main_function(tile, product.geometry.output_layout));
    kernel.subgroups = true;
    kernel.cooperative = true;
    kernel.workgroup_bytes = tile.workgroup_bytes();
    let workgroups = product.blocks(block_m, block_n) * u64::from(split_k);
    split_k::steps(product, limits, Step::new(kernel, workgroups, limits)?, split_k)
}

/// The loop, written out because matrices have no places in arrays that all compilers keep in registers: `sum_{i}_{j}`.
fn main_function(tile: &CoopTile, output: Layout) -> String {
    let [fragments_m, fragments_n] = tile.fragments();
    let size = tile.size;
    let mut text = String::from(MAIN);
    text += "    @builtin(local_invocation_id) local_id: vec3<u32>,\n\
         \x20   @builtin(subgroup_id) subgroup_index: u32,\n\
         \x20   @builtin(subgroup_invocation_id) lane: u32,\n\
         ) {\n\
         \x20   // Matrices must be in control flow that is seen to be uniform, so a workgroup past the grid's end takes no step and stores nothing.\n\
         \x20   let exists = locate(workgroup_index(id, count));\n\
         \x20   set_columns(local_id.x);\n\
         \x20   let subgroup = i32(subgroup_index);\n";
    let mut line = |text_line: String| {
        let _ = writeln!(text, "{text_line}"); // writing to a String cannot fail
    };
    line(format!("    let first_m = subgroup / SUBGROUPS_N * {};", fragments_m * size));
    line("    let first_n = subgroup % SUBGROUPS_N * COLUMNS_C;".into());
    for (i, j) in pairs(fragments_m, fragments_n) {
        line(format!("    var sum_{i}_{j}: coop_mat{size}x{size}<f32, C>;"));
    }
    line("    let tiles = select(vec2<i32>(), slice_tiles(), exists);".into());
    line("    if (tiles.x < tiles.y) {\n        fetch(local_id.x, tiles.x);\n    }".into());
    line("    for (var tile = tiles.x; tile < tiles.y; tile += 1) {".into());
    line("        workgroupBarrier(); // all have multiplied the step before".into());
    line("        put(local_id.x);".into());
    line("        workgroupBarrier();".into());
    line("        next_a = array<vec4<f16>, LOADS_A>();".into());
    line("        next_b = array<Operand, LOADS_B * COLUMNS * PARTS>();".into());
    line("        if (tile + 1 < tiles.y) {\n            fetch(local_id.x, tile + 1);\n        }".into());
    line("        for (var k = 0; k < BLOCK_K; k += SIZE) {".into());
    for i in 0..fragments_m {
        let at = format!("tile_a[first_m + {}][k / RUN][0]", i * size);
        line(format!("            let a_{i} = coopLoadT<coop_mat{size}x{size}<f16, A>>(&{at}, u32(STRIDE * RUN));"));
    }
    for j in 0..fragments_n {
        let at = format!("tile_b[first_n + {}][k / RUN][0]", j * size);
        line(format!("            let b_{j} = coopLoad<coop_mat{size}x{size}<f16, B>>(&{at}, u32(STRIDE * RUN));"));
    }
    for (i, j) in pairs(fragments_m, fragments_n) {
        line(format!("            sum_{i}_{j} = coopMultiplyAdd(a_{i}, b_{j}, sum_{i}_{j});"));
    }
    line("        }\n    }".into());
    for i in 0..fragments_m {
        for j in 0..fragments_n {
            let (store, at, stride) = match output {
                Layout::ChannelsFirst => ("coopStoreT", j * size, "COLUMNS_C"),
                Layout::ChannelsLast => ("coopStore", j * size * size, "SIZE"),
            };
            line(format!("    {store}(sum_{i}_{j}, &tile_c[subgroup][{at}], u32({stride}));"));
        }
        line("    workgroupBarrier();".into());
        line(format!("    store_sums(exists, subgroup, i32(lane), first_m + {}, first_n);", i * size));
        line("    workgroupBarrier();".into());
    }
    line("}".into());
    text
}

fn pairs(m: u32, n: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..m).flat_map(move |i| (0..n).map(move |j| (i, j)))
}
