//! Layers of a network that share kernels.

use std::collections::{HashMap, HashSet};

use super::{Engine, Specialise};
use crate::algorithm::{Algorithm, Plan};
use crate::error::Result;
use crate::kernel::GeometryMode;
use crate::problem::Layer;

impl Engine {
    /// Gives layers of a network that differ in their sizes only one kernel for all of them in place of one for each, where
    /// [`EngineDesc::specialise`](super::EngineDesc::specialise) leaves it to the engine. Most of what a first result waits for is kernels
    /// that are compiled; a kernel that no other layer could use is for one shape still.
    ///
    /// Products only: the kernels of depthwise layers and of poolings compile in a tenth of the time, and lose more by it.
    ///
    /// # Errors
    /// Those of [`Engine::plan`].
    pub(crate) fn share_kernels<'a>(&self, plans: impl Iterator<Item = &'a mut Plan>) -> Result<()> {
        if self.desc.specialise != Specialise::Large {
            return Ok(());
        }
        let mut sharing: HashMap<String, Vec<(&mut Plan, Plan)>> = HashMap::new();
        for plan in plans.filter(|plan| is_product(plan) && plan.split.is_none()) {
            let shared = plan.algorithm.plan_as(&plan.problem, self.limits(), GeometryMode::Uniform)?;
            sharing.entry(text(&shared)).or_default().push((plan, shared));
        }
        for group in sharing.into_values() {
            let texts: HashSet<String> = group.iter().map(|(plan, _)| text(plan)).collect();
            if texts.len() > 1 {
                group.into_iter().for_each(|(plan, shared)| *plan = shared);
            }
        }
        Ok(())
    }
}

fn is_product(plan: &Plan) -> bool {
    matches!(plan.problem.layer, Layer::Conv(_)) && !matches!(plan.algorithm, Algorithm::Depthwise(_))
}

/// The texts of all kernels of a plan.
fn text(plan: &Plan) -> String {
    plan.steps.iter().map(|step| step.kernel.wgsl()).collect()
}
