//! What a choice depends on besides the problem, as the name of a section.

use std::fmt::Write as _;

use crate::files::{EMPTY, checksum};
use crate::gpu::AdapterSummary;
use crate::limits::DeviceLimits;

/// What the kernels of layers are made of: shaders, and what writes the rest of their text. A test looks that none is missing.
const SOURCES: &[&[u8]] = &[
    include_bytes!("../../shaders/conv_depthwise.wgsl"),
    include_bytes!("../../shaders/conv_direct.wgsl"),
    include_bytes!("../../shaders/conv_gemm_operands.wgsl"),
    include_bytes!("../../shaders/conv_strip_operands.wgsl"),
    include_bytes!("../../shaders/coop_gemm.wgsl"),
    include_bytes!("../../shaders/gemm_registers.wgsl"),
    include_bytes!("../../shaders/gemm_tile.wgsl"),
    include_bytes!("../../shaders/lib/activations.wgsl"),
    include_bytes!("../../shaders/lib/block.wgsl"),
    include_bytes!("../../shaders/lib/blocks.wgsl"),
    include_bytes!("../../shaders/lib/bytes.wgsl"),
    include_bytes!("../../shaders/lib/each.wgsl"),
    include_bytes!("../../shaders/lib/finish.wgsl"),
    include_bytes!("../../shaders/lib/floats.wgsl"),
    include_bytes!("../../shaders/lib/four.wgsl"),
    include_bytes!("../../shaders/lib/geometry.wgsl"),
    include_bytes!("../../shaders/lib/grid.wgsl"),
    include_bytes!("../../shaders/lib/halves.wgsl"),
    include_bytes!("../../shaders/lib/image.wgsl"),
    include_bytes!("../../shaders/lib/image_target.wgsl"),
    include_bytes!("../../shaders/lib/input_buffer.wgsl"),
    include_bytes!("../../shaders/lib/input_fours.wgsl"),
    include_bytes!("../../shaders/lib/input_image.wgsl"),
    include_bytes!("../../shaders/lib/lanes_1.wgsl"),
    include_bytes!("../../shaders/lib/lanes_4.wgsl"),
    include_bytes!("../../shaders/lib/layout.wgsl"),
    include_bytes!("../../shaders/lib/one.wgsl"),
    include_bytes!("../../shaders/lib/operand.wgsl"),
    include_bytes!("../../shaders/lib/operand_4.wgsl"),
    include_bytes!("../../shaders/lib/patch.wgsl"),
    include_bytes!("../../shaders/lib/phase.wgsl"),
    include_bytes!("../../shaders/lib/pool_row.wgsl"),
    include_bytes!("../../shaders/lib/pool_row_fours.wgsl"),
    include_bytes!("../../shaders/lib/pool_window.wgsl"),
    include_bytes!("../../shaders/lib/position.wgsl"),
    include_bytes!("../../shaders/lib/quotient.wgsl"),
    include_bytes!("../../shaders/lib/quotient_constant.wgsl"),
    include_bytes!("../../shaders/lib/row_fours.wgsl"),
    include_bytes!("../../shaders/lib/rows.wgsl"),
    include_bytes!("../../shaders/lib/slice.wgsl"),
    include_bytes!("../../shaders/lib/slice_store.wgsl"),
    include_bytes!("../../shaders/lib/slice_store_4.wgsl"),
    include_bytes!("../../shaders/lib/source.wgsl"),
    include_bytes!("../../shaders/lib/store_lanes.wgsl"),
    include_bytes!("../../shaders/lib/value_1.wgsl"),
    include_bytes!("../../shaders/lib/value_4.wgsl"),
    include_bytes!("../../shaders/lib/winograd_2.wgsl"),
    include_bytes!("../../shaders/lib/winograd_4.wgsl"),
    include_bytes!("../../shaders/lib/winograd_tile.wgsl"),
    include_bytes!("../../shaders/matmul_operands.wgsl"),
    include_bytes!("../../shaders/move.wgsl"),
    include_bytes!("../../shaders/pool.wgsl"),
    include_bytes!("../../shaders/pool_patch.wgsl"),
    include_bytes!("../../shaders/pool_plane.wgsl"),
    include_bytes!("../../shaders/pool_tree.wgsl"),
    include_bytes!("../../shaders/split_k.wgsl"),
    include_bytes!("../../shaders/winograd_input.wgsl"),
    include_bytes!("../../shaders/winograd_output.wgsl"),
    include_bytes!("../kernel.rs"),
    include_bytes!("../kernel/epilogue.rs"),
    include_bytes!("../kernel/fours.rs"),
    include_bytes!("../kernel/image.rs"),
    include_bytes!("../geometry/mod.rs"),
    include_bytes!("../geometry/section.rs"),
    include_bytes!("../algorithm/bytes.rs"),
    include_bytes!("../algorithm/cooperative.rs"),
    include_bytes!("../algorithm/cost.rs"),
    include_bytes!("../algorithm/cut.rs"),
    include_bytes!("../algorithm/depthwise.rs"),
    include_bytes!("../algorithm/direct.rs"),
    include_bytes!("../algorithm/family.rs"),
    include_bytes!("../algorithm/gemm.rs"),
    include_bytes!("../algorithm/half.rs"),
    include_bytes!("../algorithm/mod.rs"),
    include_bytes!("../algorithm/pack.rs"),
    include_bytes!("../algorithm/part.rs"),
    include_bytes!("../algorithm/patch.rs"),
    include_bytes!("../algorithm/picture.rs"),
    include_bytes!("../algorithm/plan.rs"),
    include_bytes!("../algorithm/pool.rs"),
    include_bytes!("../algorithm/pool_patch.rs"),
    include_bytes!("../algorithm/pool_plane.rs"),
    include_bytes!("../algorithm/product.rs"),
    include_bytes!("../algorithm/split.rs"),
    include_bytes!("../algorithm/split_k.rs"),
    include_bytes!("../algorithm/strip.rs"),
    include_bytes!("../algorithm/subgroup.rs"),
    include_bytes!("../algorithm/subgroup_store.rs"),
    include_bytes!("../algorithm/tolerance.rs"),
    include_bytes!("../algorithm/winograd.rs"),
    include_bytes!("../algorithm/winograd_tile.rs"),
    include_bytes!("../algorithm/winograd_weights.rs"),
];

/// Of all of them, computed when this is compiled, so that no program carries their text.
#[allow(long_running_const_eval, reason = "some hundred thousand bytes are not long")]
const KERNELS: u64 = {
    let (mut sum, mut number) = (EMPTY, 0);
    while number < SOURCES.len() {
        sum = checksum(sum, SOURCES[number]);
        number += 1;
    }
    sum
};

/// The section of a device. Limits and `plans`, which says how plans are made from algorithms, are in it as a number: what won under
/// a small workspace or in the fast precision says nothing about other engines.
pub(super) fn device(adapter: &AdapterSummary, limits: &DeviceLimits, plans: &str) -> String {
    let AdapterSummary { name, backend, driver, .. } = adapter;
    let limits = checksum(checksum(EMPTY, format!("{limits:?}").as_bytes()), plans.as_bytes());
    let mut text = format!("{name} | {backend} | {driver} | wgconv {}", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    let _ = write!(text, " | kernels {KERNELS:016x} | limits {limits:016x}");
    // One line, whatever a driver calls itself.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::limits::{DeviceClass, Precision};

    #[test]
    fn the_hash_is_over_everything_that_makes_kernels() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = ["src/kernel.rs", "src/geometry/mod.rs", "src/geometry/section.rs"].map(|file| root.join(file)).to_vec();
        for folder in ["src/kernel", "src/algorithm"] {
            files.extend(std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
        }
        let mut used = files.clone();
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            let names = text.split("shaders/").skip(1).filter_map(|rest| rest.split_once(".wgsl\")"));
            used.extend(names.map(|(name, _)| root.join("shaders").join(format!("{name}.wgsl"))));
        }
        for file in &used {
            let text = std::fs::read(file).unwrap();
            assert!(SOURCES.contains(&text.as_slice()), "{} is not hashed", file.display());
        }
        used.sort();
        used.dedup();
        assert_eq!(used.len(), SOURCES.len());
    }

    #[test]
    fn whatever_a_choice_depends_on_gives_another_section() {
        let adapter = AdapterSummary {
            name: "GPU\n[1]".into(),
            backend: "Vulkan".into(),
            driver: "1.0".into(),
            class: DeviceClass::Discrete,
        };
        let newer = AdapterSummary { driver: "1.1".into(), ..adapter.clone() };
        let limits = DeviceLimits::default();
        let [fast, half] = [Precision::Fast, Precision::Half].map(|precision| DeviceLimits { precision, ..limits });
        let small = DeviceLimits { workspace_bytes: 1, ..limits };
        let sections = [
            device(&adapter, &limits, "large"),
            device(&newer, &limits, "large"),
            device(&adapter, &fast, "large"),
            device(&adapter, &half, "large"),
            device(&adapter, &small, "large"),
            device(&adapter, &limits, "never"),
        ];
        for (number, section) in sections.iter().enumerate() {
            assert!(!sections[..number].contains(section) && section.lines().count() == 1, "{section}");
        }
    }
}
