//! Convolutions on textures: what is made beside the plan of tensors, and the dispatches of a run on textures.

use std::sync::{Arc, OnceLock};

use super::place::Place;
use super::prepared::{Built, Io, Prepared, pipelines};
use crate::algorithm::Plan;
use crate::error::{Error, Result};
use crate::gpu::{self, Bounds, Dispatch, Gpu, Pipeline, Resource, TextureView};
use crate::image::ImageDesc;
use crate::kernel::Slot;
use crate::limits::DeviceLimits;
use crate::operation::{Image, Operation};
use crate::tensor::Tensor;

/// The pictures that a convolution reads and writes in place of tensors. Made ready by
/// [`Engine::conv_on_images`](crate::Engine::conv_on_images).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ConvImages {
    /// How the texture that is the input becomes a tensor; `None`: the input is a tensor.
    pub input: Option<ImageDesc>,
    /// How the output becomes a texture; such a layer can be run into tensors all the same.
    pub output: Option<ImageDesc>,
}

/// What a layer has for pictures.
#[derive(Default)]
pub(super) struct Pictures {
    /// The input's format, height and width.
    source: Option<(ImageDesc, [u32; 2])>,
    target: Option<Target>,
}

/// How the output goes to a texture.
struct Target {
    image: ImageDesc,
    /// Height and width.
    size: [u32; 2],
    /// The plan whose kernel writes the texels itself.
    fused: Option<Plan>,
    /// From a tensor: where no kernel does, or the texture is the input too, which one dispatch cannot read and write.
    store: Operation,
}

/// What is made for pictures on one device.
#[derive(Default)]
pub(super) struct BuiltPictures {
    fused: OnceLock<Vec<Arc<Pipeline>>>,
    /// The tensor between the layer and [`Target::store`], and what that is bound to.
    between: OnceLock<(Tensor, Arc<Pipeline>)>,
    parameters: Option<Bounds>,
}

impl Pictures {
    /// The plan as it reads its input, and the rest.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the output is no picture,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the plan does not read one or no shader writes the format.
    pub fn new(plan: Plan, images: &ConvImages, limits: &DeviceLimits) -> Result<(Plan, Self)> {
        let mut pictures = Self::default();
        let mut plan = plan;
        if let Some(image) = images.input {
            let size = image.size("input", plan.problem.input.shape())?;
            let no = || Error::unsupported("algorithm", format!("{} does not read a picture", plan.algorithm));
            plan = plan.reading_image(&image).ok_or_else(no)?;
            pictures.source = Some((image, size));
        }
        if let Some(image) = images.output {
            let output = plan.output_desc();
            let size = image.size("output", output.shape())?;
            let store = Image { name: "output", desc: &image, dtype: output.dtype(), channels: output.shape()[1], size };
            let store = store.store(limits)?;
            pictures.target = Some(Target { image, size, fused: plan.writing_image(&image), store });
        }
        Ok((plan, pictures))
    }

    /// Whether runs on the textures that the layer was made for need the plan of tensors.
    pub fn need_plan(&self) -> bool {
        self.target.as_ref().is_none_or(|target| target.fused.is_none())
    }

    pub fn build(&self, gpu: &Arc<Gpu>, upload: impl FnOnce(&[u8]) -> Result<Bounds>) -> Result<BuiltPictures> {
        let mut built = BuiltPictures::default();
        if let Some(Target { fused, store, .. }) = &self.target {
            built.parameters = Some(upload(bytemuck::cast_slice(&store.parameters))?);
            fused.as_ref().map(|plan| pipelines(gpu, plan, &built.fused).map(drop)).transpose()?;
        }
        Ok(built)
    }

    /// The texture of the input, where it is to be one; and it must be one there, and nowhere else.
    pub fn source(&self, gpu: &Gpu, input: Place) -> Result<Option<TextureView>> {
        match (input, &self.source) {
            (Place::Tensor(_), None) => Ok(None),
            (Place::Texture(texture), Some((image, size))) => {
                gpu::view(gpu, "input", texture, image.format, *size, false).map(Some)
            }
            (Place::Texture(_), None) => Err(Error::invalid("input", "is a texture, but the layer was made for a tensor")),
            (Place::Tensor(_), Some(_)) => Err(Error::invalid("input", "is a tensor, but the layer was made for a texture")),
        }
    }
}

impl Prepared {
    /// The dispatches of a run into a texture.
    pub(super) fn onto_texture(
        &self,
        built: &Built,
        io: &Io,
        texture: &gpu::Texture,
        source: Option<&TextureView>,
    ) -> Result<Vec<Dispatch>> {
        let none = || Error::invalid("output", "is a texture, but the layer was made for a tensor");
        let target = self.pictures.target.as_ref().ok_or_else(none)?;
        let view = gpu::view(&built.gpu, "output", texture, target.image.format, target.size, true)?;
        if let Some(fused) = target.fused.as_ref().filter(|_| io.input.texture() != Some(texture)) {
            let pipelines = pipelines(&built.gpu, fused, &built.pictures.fused)?;
            return self.dispatches_of(built, fused, pipelines, io, [source, Some(&view)]);
        }
        let (between, pipeline) = built.between(self, &target.store)?;
        let io = Io { output: Place::Tensor(between), ..*io };
        let mut dispatches =
            self.dispatches_of(built, &self.plan, pipelines(&built.gpu, &self.plan, &built.pipelines)?, &io, [source, None])?;
        dispatches.push(built.store(&target.store, between, pipeline, &view)?);
        Ok(dispatches)
    }
}

impl Built {
    fn between(&self, layer: &Prepared, store: &Operation) -> Result<&(Tensor, Arc<Pipeline>)> {
        let kept = &self.pictures.between;
        if kept.get().is_none() {
            let tensor = Tensor::uninitialised(&self.gpu, layer.output.clone(), 0)?;
            // Another thread may have been faster.
            let _ = kept.set((tensor, self.gpu.pipelines.get(&self.gpu, &store.step.kernel)?));
        }
        Ok(kept.get().expect("it was set above"))
    }

    fn store(&self, store: &Operation, from: &Tensor, pipeline: &Arc<Pipeline>, view: &TextureView) -> Result<Dispatch> {
        let from = from.bounds().range(None)?;
        let parameters = self.pictures.parameters.as_ref().expect("a layer with a target has them").range(None)?;
        let resource = |slot: Slot| match slot {
            Slot::Operand(_) => Resource::Buffer(&from),
            Slot::Parameters => Resource::Buffer(&parameters),
            _ => Resource::Texture(view),
        };
        let resources: Vec<Resource> = store.step.kernel.bindings.iter().map(|binding| resource(binding.slot)).collect();
        let bind_group = gpu::bind_resources(&self.gpu, pipeline, &resources)?;
        let ns = store.nanoseconds(from.bytes, &self.gpu.limits);
        Ok(Dispatch { pipeline: pipeline.clone(), bind_group, grid: store.step.grid, ns })
    }
}
