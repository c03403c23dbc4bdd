//! [`ByteProduct`]: a convolution of packed bytes as a matrix product, with sums in 32-bit integers: exact, and a quarter of the loads.
//!
//! The kernel sees a convolution whose channels are words of four channels each. Its loops are those of `gemm` and `subgroup_gemm` with
//! [`dot4I8Packed`](https://www.w3.org/TR/WGSL/#dot4I8Packed-builtin) in place of a multiplication; addresses, panels and tiles are the
//! same. Zero points are taken off the sums (`shaders/lib/bytes.wgsl`). Packing is not done here, nor is the scaling of sums.

use std::fmt::Write as _;

use super::gemm::{self, GemmTile};
use super::pack;
use super::plan::{Packing, Step, fold};
use super::product::{Operands, Product};
use super::subgroup::{self, SUBGROUPS, SubgroupTile};
use super::{Context, cost::cheapest_first};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::kernel::{GeometryMode, Kernel, Slot};
use crate::limits::DeviceLimits;
use crate::problem::Problem;
use crate::tensor_desc::DType;

/// The dispatch of a convolution of bytes, and how its weights lie.
///
/// Operands: the input's words `[n, c, ..]`, the weights' words in panels, the input's zero point, and for each filter the sum of its
/// bytes and its zero point. Output: i32.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ByteProduct {
    pub step: Step,
    geometry: Geometry,
    packing: Packing,
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
        for (operands, tile) in loops(problem, limits)? {
            let geometry = Geometry::new(problem)?;
            let product = product(problem, &geometry, limits, operands, mode).expect("the layer was accepted");
            let (step, packing) = match tile {
                Loop::Workgroup(tile) => (workgroup_step(&product, limits, &tile, centred), (tile.block_m, tile.block_k)),
                Loop::Subgroup(tile) => {
                    (subgroup_step(&product, limits, &tile, centred), (tile.block_m, tile.block_k(&product.geometry)))
                }
            };
            match step.and_then(|step| step.check(limits).map(|()| step)) {
                Ok(step) => return Ok(Self { step, geometry, packing: operands.packing(packing.0, packing.1) }),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// The output's shape.
    pub fn output_shape(&self) -> Vec<usize> {
        self.geometry.output_shape()
    }

    /// Weights `[out_channels, words, taps]` in the kernel's order, `blank` where there is none.
    pub fn panels<T: Copy>(&self, words: &[T], blank: T) -> Vec<T> {
        pack::order(&self.geometry, self.packing, words, blank)
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

/// Every loop that takes the layer, the cheapest first. Costs are those of f32: loads are the same, and dearer than either product.
fn loops(problem: &Problem, limits: &DeviceLimits) -> Result<Vec<(Operands, Loop)>> {
    let geometry = Geometry::new(problem)?;
    let mut list = Vec::new();
    for operands in [Operands::Plain, Operands::Implicit] {
        let Ok(product) = product(problem, &geometry, limits, operands, GeometryMode::Uniform) else { continue };
        list.extend(subgroup::tiles(&product, limits).into_iter().map(|(cost, tile)| (cost, (operands, Loop::Subgroup(tile)))));
        list.extend(gemm::tiles(&product, limits).into_iter().map(|(cost, tile)| (cost, (operands, Loop::Workgroup(tile)))));
    }
    Ok(cheapest_first(limits.class, list.into_iter()).into_iter().map(|(_, choice)| choice).collect())
}

/// A kernel with everything but its loop.
fn kernel(product: &Product, label: String, invocations: u32, blocks: [u32; 3], columns: u32, centred: bool) -> Kernel {
    let [block_m, block_n, block_k] = blocks;
    Kernel::new(label, DType::I32, invocations)
        .constant("BLOCK_M", block_m)
        .constant("BLOCK_N", block_n)
        .constant("BLOCK_K", block_k)
        .constant("COLUMNS", columns)
        .flag("CENTRED", centred)
        .binding("input", "array<u32>", Slot::Operand(0))
        .binding("weights", "array<vec4<u32>>", Slot::Operand(1))
        .binding("zero", "array<i32>", Slot::Operand(2))
        .binding("terms", "array<vec2<i32>>", Slot::Operand(3))
        .written("output", "array<i32>", Slot::Output)
        .with_geometry(&product.geometry, product.mode)
        .fragment(include_str!("../../shaders/lib/bytes.wgsl"))
        .fragment(product.operands.fragment())
}

fn workgroup_step(product: &Product, limits: &DeviceLimits, tile: &GemmTile, centred: bool) -> Result<Step> {
    let GemmTile { block_m, block_n, block_k, thread_m, thread_n } = *tile;
    let label = format!("{}_bytes {tile}", product.operands.label());
    let columns = (block_n / tile.invocations()).max(1);
    let mut kernel = kernel(product, label, tile.invocations(), [block_m, block_n, block_k], columns, centred)
        .constant("THREAD_M", thread_m)
        .constant("THREAD_N", thread_n)
        .iterations(product.iterations(block_k, tile.iterations()))
        .fragment(include_str!("../../shaders/byte_gemm_tile.wgsl"));
    kernel.workgroup_bytes = tile.workgroup_bytes();
    Ok(Step { kernel, grid: fold(product.blocks(block_m, block_n), limits.workgroups)? })
}

fn subgroup_step(product: &Product, limits: &DeviceLimits, tile: &SubgroupTile, centred: bool) -> Result<Step> {
    let SubgroupTile { block_m, thread_n, lanes } = *tile;
    let label = format!("{}_subgroup_bytes {tile}", product.operands.label());
    let blocks = [block_m, tile.block_n(), tile.block_k(&product.geometry)];
    let mut kernel = kernel(product, label, lanes * SUBGROUPS, blocks, thread_n, centred)
        .constant("SUBGROUPS", SUBGROUPS)
        .constant("LANES", lanes)
        .constant("CHUNK", tile.chunk())
        .iterations(product.iterations(blocks[2], u64::from(blocks[2] / tile.chunk() + thread_n + 4)))
        .fragment(subgroup_loop(tile));
    kernel.subgroups = true;
    let workgroups = product.blocks(block_m, tile.block_n()).div_ceil(u64::from(SUBGROUPS));
    Ok(Step { kernel, grid: fold(workgroups, limits.workgroups)? })
}

/// The loop over subgroup broadcasts, written out because their lanes must be constants.
fn subgroup_loop(tile: &SubgroupTile) -> String {
    let vectors = tile.block_m / 4;
    let mut text = String::from(
        "// As the loop of subgroup_gemm, over packed bytes: lane l owns columns l, l + LANES, .., and all BLOCK_M rows of each.\n\
         @compute @workgroup_size(WORKGROUP)\n\
         fn main(\n\
         \x20   @builtin(workgroup_id) id: vec3<u32>,\n\
         \x20   @builtin(num_workgroups) count: vec3<u32>,\n\
         \x20   @builtin(subgroup_id) subgroup: u32,\n\
         \x20   @builtin(subgroup_invocation_id) lane_index: u32,\n\
         ) {\n\
         \x20   let lane = i32(lane_index);\n\
         \x20   if (!locate(workgroup_index(id, count) * SUBGROUPS + i32(subgroup))) {\n\
         \x20       return;\n\
         \x20   }\n\
         \x20   for (var j = 0; j < COLUMNS; j += 1) {\n\
         \x20       set_column(j, block_n * BLOCK_N + lane + j * LANES);\n\
         \x20   }\n",
    );
    let mut line = |text_line: String| {
        let _ = writeln!(text, "{text_line}"); // writing to a String cannot fail
    };
    for j in 0..tile.thread_n {
        line(format!("    var column_{j} = 0;"));
        for i in 0..vectors {
            line(format!("    var sum_{i}_{j} = vec4<i32>();"));
        }
    }
    line("    let tiles = k_tiles();".into());
    line("    for (var tile = 0; tile < tiles; tile += 1) {".into());
    line("        begin_k_tile(tile);".into());
    line("        var panel_at = panel_start() + lane;".into());
    line("        for (var row = 0; row < BLOCK_K; row += CHUNK) {".into());
    line("            let four = weights[panel_at];".into());
    line("            panel_at += LANES;".into());
    for k in 0..tile.chunk() {
        for j in 0..tile.thread_n {
            line(format!("            let b_{k}_{j} = load_b(row + {k}, {j});"));
            line(format!("            column_{j} += byte_sum(b_{k}_{j});"));
        }
        for i in 0..vectors {
            line(format!("            let a_{k}_{i} = subgroupBroadcast(four, {}u);", k * vectors + i));
            for j in 0..tile.thread_n {
                line(format!("            sum_{i}_{j} = multiply(a_{k}_{i}, b_{k}_{j}, sum_{i}_{j});"));
            }
        }
    }
    line("        }\n    }".into());
    line("    let bytes = tiles * BLOCK_K * 4;".into());
    line("    let first_m = block_m * BLOCK_M;".into());
    for j in 0..tile.thread_n {
        line(format!("    store_column(column_output(block_n * BLOCK_N + lane + {j} * LANES), first_m, column_{j}, bytes,"));
        let sums: Vec<String> = (0..vectors).map(|i| format!("sum_{i}_{j}")).collect();
        line(format!("        array<vec4<i32>, BLOCK_M / 4>({}));", sums.join(", ")));
    }
    line("}\n".into());
    line(
        "fn store_column(start: i32, first_m: i32, column: i32, bytes: i32, sums: array<vec4<i32>, BLOCK_M / 4>) {\n\
         \x20   if (start < 0) {\n\
         \x20       return;\n\
         \x20   }\n\
         \x20   var values = sums;\n\
         \x20   for (var i = 0; i < BLOCK_M; i += 1) {\n\
         \x20       let m = first_m + i;\n\
         \x20       if (m < g.group_out) {\n\
         \x20           store(values[i / 4][i % 4], column, bytes, group * g.group_out + m, start + m * output_channel_step());\n\
         \x20       }\n\
         \x20   }\n\
         }"
        .into(),
    );
    text
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;
    use crate::limits::DeviceClass;

    #[test]
    fn every_loop_over_bytes_is_valid_wgsl() {
        let software = DeviceLimits { class: DeviceClass::Software, subgroup: Some(8), ..Default::default() };
        let mut count = 0;
        for limits in [DeviceLimits::default(), software, DeviceLimits { subgroup: Some(32), ..Default::default() }] {
            for line in ["conv 1x16x28x28 o64 k3x3 p1x1 f32", "conv 2x6x9 o12 k3 s2 d2 g3 p1:2 f32", "conv 3x40x1 o10 k1 f32"] {
                let problem: Problem = line.parse().unwrap();
                let geometry = Geometry::new(&problem).unwrap();
                for (operands, tile) in loops(&problem, &limits).unwrap() {
                    for (centred, mode) in [(true, GeometryMode::Uniform), (false, GeometryMode::Constant)] {
                        let product = product(&problem, &geometry, &limits, operands, mode).unwrap();
                        let step = match tile {
                            Loop::Workgroup(tile) => workgroup_step(&product, &limits, &tile, centred),
                            Loop::Subgroup(tile) => subgroup_step(&product, &limits, &tile, centred),
                        };
                        let text = step.unwrap().kernel.wgsl();
                        let module = naga::front::wgsl::parse_str(&text)
                            .unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(&text)));
                        let validated = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP).validate(&module);
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
