//! What a choice depends on besides the problem, as the name of a section.

use std::fmt::Write as _;

use crate::gpu::AdapterSummary;
use crate::limits::DeviceLimits;

/// The shaders that layers are made of. A test looks that none is missing.
const SHADERS: &[&str] = &[
    include_str!("../../shaders/conv_depthwise.wgsl"),
    include_str!("../../shaders/conv_direct.wgsl"),
    include_str!("../../shaders/conv_gemm_operands.wgsl"),
    include_str!("../../shaders/conv_strip_operands.wgsl"),
    include_str!("../../shaders/coop_gemm.wgsl"),
    include_str!("../../shaders/gemm_registers.wgsl"),
    include_str!("../../shaders/gemm_tile.wgsl"),
    include_str!("../../shaders/lib/activations.wgsl"),
    include_str!("../../shaders/lib/block.wgsl"),
    include_str!("../../shaders/lib/blocks.wgsl"),
    include_str!("../../shaders/lib/bytes.wgsl"),
    include_str!("../../shaders/lib/each.wgsl"),
    include_str!("../../shaders/lib/floats.wgsl"),
    include_str!("../../shaders/lib/geometry.wgsl"),
    include_str!("../../shaders/lib/grid.wgsl"),
    include_str!("../../shaders/lib/halves.wgsl"),
    include_str!("../../shaders/lib/image.wgsl"),
    include_str!("../../shaders/lib/image_target.wgsl"),
    include_str!("../../shaders/lib/input_buffer.wgsl"),
    include_str!("../../shaders/lib/input_image.wgsl"),
    include_str!("../../shaders/lib/lanes_1.wgsl"),
    include_str!("../../shaders/lib/lanes_4.wgsl"),
    include_str!("../../shaders/lib/layout.wgsl"),
    include_str!("../../shaders/lib/operand.wgsl"),
    include_str!("../../shaders/lib/operand_4.wgsl"),
    include_str!("../../shaders/lib/patch.wgsl"),
    include_str!("../../shaders/lib/pool_window.wgsl"),
    include_str!("../../shaders/lib/position.wgsl"),
    include_str!("../../shaders/lib/quotient.wgsl"),
    include_str!("../../shaders/lib/quotient_constant.wgsl"),
    include_str!("../../shaders/lib/slice.wgsl"),
    include_str!("../../shaders/lib/slice_store.wgsl"),
    include_str!("../../shaders/lib/source.wgsl"),
    include_str!("../../shaders/lib/winograd_2.wgsl"),
    include_str!("../../shaders/lib/winograd_4.wgsl"),
    include_str!("../../shaders/lib/winograd_tile.wgsl"),
    include_str!("../../shaders/matmul_operands.wgsl"),
    include_str!("../../shaders/move.wgsl"),
    include_str!("../../shaders/pool.wgsl"),
    include_str!("../../shaders/pool_patch.wgsl"),
    include_str!("../../shaders/pool_tree.wgsl"),
    include_str!("../../shaders/split_k.wgsl"),
    include_str!("../../shaders/winograd_input.wgsl"),
    include_str!("../../shaders/winograd_output.wgsl"),
];

/// FNV-1a of 64 bits (Fowler, Noll, Vo): the same on every platform and in every release, unlike `std`'s.
fn fnv<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    texts.into_iter().flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325, step)
}

/// The section of a device. Limits and `plans`, which says how plans are made from algorithms, are in it as a number: what won under
/// a small workspace or in the fast precision says nothing about other engines.
pub(super) fn device(adapter: &AdapterSummary, limits: &DeviceLimits, plans: &str) -> String {
    let AdapterSummary { name, backend, driver, .. } = adapter;
    let limits = fnv([format!("{limits:?}").as_str(), plans]);
    let mut text = format!("{name} | {backend} | {driver} | wgconv {}", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    let _ = write!(text, " | shaders {:016x} | limits {limits:016x}", fnv(SHADERS.iter().copied()));
    // One line, whatever a driver calls itself.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::limits::{DeviceClass, Precision};

    #[test]
    fn the_hash_is_over_every_shader_of_a_layer() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = vec![root.join("src/kernel.rs")];
        for folder in ["src/kernel", "src/algorithm"] {
            files.extend(std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
        }
        let mut count = 0;
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for rest in text.split("shaders/").skip(1) {
                let Some((name, _)) = rest.split_once(".wgsl\")") else { continue };
                let shader = std::fs::read_to_string(root.join("shaders").join(format!("{name}.wgsl"))).unwrap();
                assert!(SHADERS.contains(&shader.as_str()), "{name}, which {} uses, is not hashed", file.display());
                count += 1;
            }
        }
        assert!(count >= SHADERS.len(), "{count} uses of shaders were found");
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
        assert_eq!(fnv(["a"]), 0xaf63_dc4c_8601_ec8c);
    }
}
