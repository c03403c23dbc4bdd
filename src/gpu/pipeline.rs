//! [`PipelineCache`]: one pipeline for each kernel text.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Gpu;
use super::foreign::texture_format;
use super::pipeline_file::PipelineFile;
use crate::error::Result;
use crate::kernel::{Binding, Kernel};

/// A compiled kernel and the layout of its bindings.
pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Pipelines by the text that they were made from.
pub(crate) struct PipelineCache {
    pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
    file: Option<PipelineFile>,
    /// Whether there are pipelines that the file has not.
    unsaved: AtomicBool,
}

impl PipelineCache {
    /// One that compiled kernels also come from a file for, where there is a path and the device can do that.
    pub fn new(device: &wgpu::Device, path: Option<&Path>) -> Self {
        let file = path.and_then(|path| PipelineFile::open(device, path));
        Self { pipelines: Mutex::default(), file, unsaved: AtomicBool::new(false) }
    }

    /// Writes the file, if there is one and there is something new. That it cannot be written is a warning.
    pub fn save(&self) {
        let Some(file) = self.file.as_ref().filter(|_| self.unsaved.swap(false, Ordering::AcqRel)) else { return };
        if let Err(message) = file.save() {
            log::warn!("pipeline cache: not written: {message}");
        }
    }

    /// The pipeline of a kernel, made if it is not there yet.
    pub fn get(&self, gpu: &Gpu, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        let text = kernel.wgsl();
        if let Some(pipeline) = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(&text) {
            return Ok(pipeline.clone());
        }
        // Made outside the lock: two threads may make the same one, which costs time but is right.
        let cache = self.file.as_ref().map(PipelineFile::cache);
        let pipeline = Arc::new(gpu.scoped(|| Ok(create(gpu, kernel, &text, cache)))?);
        self.unsaved.store(true, Ordering::Release);
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(pipelines.entry(text).or_insert(pipeline).clone())
    }
}

impl Drop for PipelineCache {
    fn drop(&mut self) {
        self.save();
    }
}

fn binding_type(binding: &Binding) -> wgpu::BindingType {
    match binding.image {
        Some(format) if binding.written => wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::WriteOnly,
            format: texture_format(format),
            view_dimension: wgpu::TextureViewDimension::D2,
        },
        Some(_) => wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Float { filterable: false },
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        },
        None => wgpu::BindingType::Buffer {
            ty: if binding.slot.is_uniform() {
                wgpu::BufferBindingType::Uniform
            } else {
                wgpu::BufferBindingType::Storage { read_only: !binding.written }
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
    }
}

fn create(gpu: &Gpu, kernel: &Kernel, text: &str, cache: Option<&wgpu::PipelineCache>) -> Pipeline {
    let device = &gpu.device;
    // Every index is checked; only the counter that naga adds to each loop is left out, because it costs a third of the time and
    // every loop of ours ends: its bound is a constant or a number of the checked geometry.
    let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
    let source = wgpu::ShaderModuleDescriptor { label: Some(&kernel.label), source: wgpu::ShaderSource::Wgsl(text.into()) };
    // SAFETY: the one check that is off guards against endless loops, and the texts, which are all ours, have none.
    let module = unsafe { device.create_shader_module_trusted(source, checks) };
    let entries: Vec<_> = (0..)
        .zip(&kernel.bindings)
        .map(|(number, binding)| wgpu::BindGroupLayoutEntry {
            binding: number,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: binding_type(binding),
            count: None,
        })
        .collect();
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&kernel.label), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&kernel.label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&kernel.label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions { constants: &[], zero_initialize_workgroup_memory: false },
        cache,
    });
    Pipeline { pipeline, layout }
}
