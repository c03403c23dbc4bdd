//! Plans whose input or output is a picture: the kernels of the layer load and store texels themselves.

use super::Algorithm;
use super::plan::{Plan, Step};
use crate::image::ImageDesc;
use crate::kernel::{GeometryUniform, Slot, TargetShape};
use crate::layout::Layout;

impl Plan {
    /// The same plan with the input read from a picture by the very kernel that computes the layer, which normalises it and puts
    /// channels first; `None` where the algorithm cannot, the plan is split, or the layer takes more than one picture of two axes.
    pub fn reading_image(&self, image: &ImageDesc) -> Option<Plan> {
        image.size("input", self.problem.input.shape()).ok()?;
        if self.problem.input.layout() != Layout::ChannelsFirst || self.split.is_some() {
            return None;
        }
        let reads = |step: &Step| step.kernel.bindings.iter().any(|binding| binding.slot == Slot::Input);
        // A kernel that sees the layer as one of other sizes would look for its elements at other texels.
        let seen =
            |step: &Step| step.kernel.geometry.is_some_and(|seen| seen.input == GeometryUniform::new(&self.geometry).input);
        let steps = self.steps.iter().map(|step| match reads(step) {
            true if !seen(step) => None,
            true => Some(Step { kernel: step.kernel.clone().reading_image(image)?, grid: step.grid }),
            false => Some(step.clone()),
        });
        Some(Plan { steps: steps.collect::<Option<_>>()?, ..self.clone() })
    }

    /// The same plan with the output written to a picture by the very kernel that computes the layer, which denormalises and clamps
    /// it; `None` where no invocation has all channels of a texel, the format cannot be written to, the plan is split, or the layer
    /// gives more than one picture of two axes.
    ///
    /// One output channel is written by every algorithm. Two to four are by matrix products without groups, whose invocations have
    /// four channels or more of a position, unless slices of sums are added element by element.
    pub fn writing_image(&self, image: &ImageDesc) -> Option<Plan> {
        let output = self.output_desc();
        let size = image.size("output", output.shape()).ok()?;
        let channels = output.shape()[1];
        let product = matches!(
            self.algorithm,
            Algorithm::Gemm(_)
                | Algorithm::SubgroupGemm(_)
                | Algorithm::SubgroupStrip(_)
                | Algorithm::Matmul(_)
                | Algorithm::SubgroupMatmul(_)
        );
        if self.split.is_some() || channels > 1 && (!product || self.geometry.groups > 1 || !self.workspace.is_empty()) {
            return None;
        }
        let shape = TargetShape { channels, size };
        let writes = |step: &Step| step.kernel.bindings.iter().any(|binding| binding.slot == Slot::Output);
        let steps = self.steps.iter().map(|step| match writes(step) {
            true => Some(Step { kernel: step.kernel.clone().writing_image(image, &shape)?, grid: step.grid }),
            false => Some(step.clone()),
        });
        Some(Plan { steps: steps.collect::<Option<_>>()?, ..self.clone() })
    }

    /// Whether the input is a picture.
    pub(crate) fn reads_image(&self) -> bool {
        self.steps.iter().any(|step| step.kernel.has_image(Slot::Input))
    }
}
