//! Layers of a network that share kernels.

use std::collections::HashMap;

use super::{Engine, Specialise};
use crate::algorithm::{Algorithm, Plan};
use crate::error::Result;
use crate::kernel::GeometryMode;
use crate::limits::DeviceClass;
use crate::problem::Layer;

/// Input channels of a group from which on a product loses little by sizes that it reads from a buffer: on lavapipe (Mesa 22.3.6 and 25.0.7)
/// up to 2 % where it has no taps, up to 10 over strips, up to 14 with a stride. With fewer it is 2 to 35 %, as for depthwise layers; poolings
/// lose up to 48 %, and compile in a fraction of the time.
const SHARED_CHANNELS: u32 = 32;

impl Engine {
    /// Whether layers of a network are to share kernels: on software adapters, where [`EngineDesc::specialise`](super::EngineDesc::specialise)
    /// leaves it to the engine. Those compile kernels one after the other, and most of what a first result waits for is that. Drivers of GPUs
    /// compile on all cores; what sizes in a buffer cost there is not measured.
    pub(super) fn shares_kernels(&self) -> bool {
        self.desc.specialise == Specialise::Large && self.limits().class == DeviceClass::Software
    }

    /// Gives layers of a network that differ in their sizes only one kernel for all of them in place of one for each; a kernel that no other
    /// layer could use is for one shape still.
    ///
    /// # Errors
    /// Those of [`Engine::plan`].
    pub(crate) fn share_kernels<'a>(&self, plans: impl Iterator<Item = &'a mut Plan>) -> Result<()> {
        if !self.shares_kernels() {
            return Ok(());
        }
        let mut sharing: HashMap<String, Vec<(&mut Plan, Plan)>> = HashMap::new();
        for plan in plans.filter(|plan| shares(plan)) {
            let shared = plan.algorithm.plan_as(&plan.problem, self.limits(), GeometryMode::Uniform)?;
            sharing.entry(text(&shared)).or_default().push((plan, shared));
        }
        for group in sharing.into_values() {
            let mut texts = group.iter().map(|(plan, _)| text(plan));
            let first = texts.next();
            if texts.any(|text| Some(text) != first) {
                group.into_iter().for_each(|(plan, shared)| *plan = shared);
            }
        }
        Ok(())
    }
}

/// Whether a layer's kernels could be those of other sizes too.
fn shares(plan: &Plan) -> bool {
    let product =
        matches!(plan.problem.layer, Layer::Conv(_)) && !matches!(plan.algorithm, Algorithm::Direct | Algorithm::Depthwise(_));
    product && plan.geometry.group_in() >= SHARED_CHANNELS && plan.split.is_none()
}

/// The texts of all kernels of a plan.
fn text(plan: &Plan) -> String {
    plan.steps.iter().map(|step| step.kernel.wgsl()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineDesc;

    /// The texts of layers by an algorithm once they share kernels.
    fn texts(specialise: Specialise, algorithm: &str, lines: &[&str]) -> Vec<String> {
        texts_on(DeviceClass::Software, specialise, algorithm, lines)
    }

    fn texts_on(class: DeviceClass, specialise: Specialise, algorithm: &str, lines: &[&str]) -> Vec<String> {
        let engine = Engine::new(&EngineDesc { specialise, class: Some(class), ..Default::default() }).unwrap();
        let algorithm: Algorithm = algorithm.parse().unwrap();
        let plan = |line: &&str| engine.plan(&line.parse().unwrap(), &algorithm).unwrap();
        let before: Vec<Plan> = lines.iter().map(plan).collect();
        let mut plans = before.clone();
        engine.share_kernels(plans.iter_mut()).unwrap();
        for (plan, before) in plans.iter().zip(&before) {
            assert!(specialise == Specialise::Large || plan == before, "{}", plan.problem);
            assert_eq!((plan.packing, &plan.workspace), (before.packing, &before.workspace), "{}", plan.problem);
        }
        plans.iter().map(text).collect()
    }

    fn is_for_one_shape(text: &str) -> bool {
        let constant = text.contains("const g = Geometry(");
        assert!(constant != text.contains("var<uniform> g: Geometry"));
        constant
    }

    const PRODUCT: &str = "gemm(32x32x16,4x4,b2)";
    const ALIKE: [&str; 3] =
        ["conv 1x96x28x28 o128 k1x1 f32 relu", "conv 1x224x28x28 o128 k1x1 f32 relu", "conv 1x256x28x28 o160 k1x1 f32 relu"];

    #[test]
    fn layers_that_differ_in_sizes_only_are_one_kernel_and_one_alone_is_for_its_shape() {
        let alone = "conv 1x64x28x28 o64 k3x3 p1x1 f32 sigmoid";
        let [first, others @ .., last] = &texts(Specialise::Large, PRODUCT, &[&ALIKE[..], &[alone]].concat())[..] else {
            panic!()
        };
        assert!(others.iter().all(|text| text == first) && !is_for_one_shape(first) && is_for_one_shape(last));
        // The same shape twice is one kernel anyway; a small layer has the kernel for all shapes, which a large one then takes too.
        assert!(texts(Specialise::Large, PRODUCT, &[alone, alone]).iter().all(|text| is_for_one_shape(text)));
        let small = "conv 1x32x12x12 o32 k1x1 f32 relu";
        assert!(!texts(Specialise::Large, PRODUCT, &[ALIKE[0], small]).iter().any(|text| is_for_one_shape(text)));
        assert!(texts(Specialise::Always, PRODUCT, &ALIKE).iter().all(|text| is_for_one_shape(text)));
        assert!(!texts(Specialise::Never, PRODUCT, &ALIKE).iter().any(|text| is_for_one_shape(text)));
        let on_gpu = texts_on(DeviceClass::Discrete, Specialise::Large, PRODUCT, &ALIKE);
        assert!(on_gpu.iter().all(|text| is_for_one_shape(text)));
    }

    #[test]
    fn layers_that_would_lose_much_are_left_as_they_are() {
        for (algorithm, lines) in [
            ("depthwise(4x1)", ["conv 1x96x112x112 o96 k3x3 p1x1 g96 f32", "conv 1x144x112x112 o144 k3x3 p1x1 g144 f32"]),
            (PRODUCT, ["conv 1x128x56x56 o128 k3x3 p1x1 g32 f32", "conv 1x256x56x56 o256 k3x3 p1x1 g64 f32"]),
            ("pool", ["max_pool 1x64x56x56 k2x2 s2x2 f32", "max_pool 1x64x28x28 k2x2 s2x2 f32"]),
        ] {
            let texts = texts(Specialise::Large, algorithm, &lines);
            assert!(texts[0] != texts[1] && texts.iter().all(|text| is_for_one_shape(text)), "{algorithm}");
        }
    }
}
