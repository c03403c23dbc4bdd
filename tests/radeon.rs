//! Kernels through a GPU's compiler, without the GPU: Mesa's driver for Radeons compiles for one that is not there. What it says of a
//! kernel is what no software driver can: whether its numbers fit a GPU's registers. Nothing runs.

#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::ffi::CStr;

use ash::vk;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgconv::kernel::{GeometryMode, Kernel};
use wgconv::{Algorithm, DType, DeviceLimits, Precision, Problem};

/// RDNA 2, which Mesa knows since version 20.3.
const FAMILY: &str = "navi21";

/// The compiler: a device that is no hardware.
struct Radeon {
    _entry: ash::Entry,
    device: ash::Device,
    statistics: ash::khr::pipeline_executable_properties::Device,
}

impl Radeon {
    /// `None` where no such driver is found.
    fn open() -> Option<Self> {
        // SAFETY: this file has one test, and nothing else reads the environment meanwhile.
        unsafe {
            std::env::set_var("RADV_FORCE_FAMILY", FAMILY);
            std::env::set_var("MESA_SHADER_CACHE_DISABLE", "true");
        }
        // SAFETY: all structures live until the calls return, and what is created is used by this thread alone.
        unsafe {
            let entry = ash::Entry::load().ok()?;
            let version = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&version), None).ok()?;
            let physical = instance.enumerate_physical_devices().ok()?.into_iter().find(|&physical| {
                let properties = instance.get_physical_device_properties(physical);
                properties.device_name_as_c_str().is_ok_and(|name| name.to_string_lossy().contains("Null hardware"))
            })?;
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let extensions = [ash::khr::pipeline_executable_properties::NAME.as_ptr(), ash::ext::robustness2::NAME.as_ptr()];
            // What wgpu asks for.
            let mut executable =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
            let mut of_1_1 = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
            let mut of_1_2 = vk::PhysicalDeviceVulkan12Features::default().vulkan_memory_model(true).shader_float16(true);
            let mut features = vk::PhysicalDeviceFeatures2::default()
                .features(vk::PhysicalDeviceFeatures::default().robust_buffer_access(true))
                .push_next(&mut executable)
                .push_next(&mut robust)
                .push_next(&mut of_1_1)
                .push_next(&mut of_1_2);
            let create = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&extensions);
            let device = instance.create_device(physical, &create.push_next(&mut features), None);
            let device = device.unwrap_or_else(|error| panic!("the null device gives no device: {error}"));
            let statistics = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
            Some(Self { _entry: entry, device, statistics })
        }
    }

    /// The compiler's numbers of a kernel, by name.
    fn compile(&self, kernel: &Kernel) -> Result<Vec<(String, u64)>, String> {
        let words = spirv(kernel);
        let bindings: Vec<_> = (0..)
            .zip(&kernel.bindings)
            .map(|(number, binding)| {
                let uniform = binding.address_space() == "uniform";
                let ty = if uniform { vk::DescriptorType::UNIFORM_BUFFER } else { vk::DescriptorType::STORAGE_BUFFER };
                let layout = vk::DescriptorSetLayoutBinding::default().binding(number).descriptor_type(ty).descriptor_count(1);
                layout.stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        // SAFETY: as in `open`; naga made the module, whose bindings are those of the layout.
        unsafe {
            let module = self.device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None);
            let module = module.map_err(|error| error.to_string())?;
            let set =
                self.device.create_descriptor_set_layout(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings), None);
            let sets = [set.map_err(|error| error.to_string())?];
            let layout = self.device.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None);
            let layout = layout.map_err(|error| error.to_string())?;
            let stage =
                vk::PipelineShaderStageCreateInfo::default().stage(vk::ShaderStageFlags::COMPUTE).module(module).name(c"main");
            let create = vk::ComputePipelineCreateInfo::default()
                .stage(stage)
                .layout(layout)
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR);
            let pipelines = self.device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let pipeline = pipelines.map_err(|(_, error)| error.to_string())?[0];
            let found = self
                .statistics
                .get_pipeline_executable_statistics(&vk::PipelineExecutableInfoKHR::default().pipeline(pipeline))
                .map_err(|error| error.to_string())?;
            let numbers = found.iter().map(|statistic| {
                let name = CStr::from_ptr(statistic.name.as_ptr()).to_string_lossy().into_owned();
                (name, statistic.value.u64)
            });
            let numbers = numbers.collect();
            self.device.destroy_pipeline(pipeline, None);
            self.device.destroy_pipeline_layout(layout, None);
            self.device.destroy_descriptor_set_layout(sets[0], None);
            self.device.destroy_shader_module(module, None);
            Ok(numbers)
        }
    }
}

/// The kernel as wgpu hands it to such a driver, which checks the bounds of buffers itself.
fn spirv(kernel: &Kernel) -> Vec<u32> {
    let text = kernel.wgsl();
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&text)));
    let validated =
        Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP).validate(&module);
    let info = validated.unwrap_or_else(|error| panic!("{}", error.emit_to_string(&text)));
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        ..Default::default()
    };
    spv::write_vec(&module, &info, &options, None).unwrap_or_else(|error| panic!("{}: {error}", kernel.label))
}

/// Layers of every kind: deep and flat, few channels and few places, groups, all strides, large kernels, poolings.
const LINES: &[&str] = &[
    "conv 1x3x224x224 o64 k7x7 s2x2 p3x3 f32 bias relu",
    "conv 1x64x56x56 o64 k3x3 p1x1 f32 bias residual=before relu",
    "conv 1x512x14x14 o512 k3x3 p1x1 f32 bias",
    "conv 1x512x7x7 o512 k3x3 p1x1 f32 nhwc bias",
    "conv 1x256x56x56 o64 k1x1 f32 bias",
    "conv 8x96x27x27 o256 k5x5 p2x2 g2 f32 bias gelu",
    "conv 1x128x56x56 o128 k3x3 p1x1 g32 f32 bias",
    "conv 1x96x112x112 o96 k3x3 s2x2 p1x1 g96 f32 bias relu6",
    "conv 1x96x56x56 o96 k3x3 p1x1 g96 f32 nhwc bias",
    "conv 1x64x16x28x28 o128 k3x3x3 p1x1x1 f32 bias",
    "conv 1x128x4096 o128 k3 p16 d16 f32 bias",
    "conv 1x2048x1x1 o1000 k1x1 f32 bias",
    "conv 1x64x64x64 o1 k3x3 p1x1 f32 bias",
    "conv 1x64x56x56 o64 k31x31 p15x15 g64 f32 bias",
    "conv_transpose 1x128x64x64 o64 k2x2 s2x2 f32 bias",
    "conv_transpose 1x128x16x16 o64 k4x4 s2x2 p1x1 f32",
    "conv_transpose 1x21x64x64 o21 k4x4 s2x2 p1x1 g21 f32",
    "max_pool 1x64x112x112 k3x3 s2x2 p1x1 f32",
    "global_avg_pool 1x2048x7x7 f32",
];

/// How many algorithms of a layer are compiled: those that the planner would try first.
const CHEAPEST: usize = 16;

#[test]
fn kernels_of_gpus_fit_the_registers_of_one() {
    let Some(radeon) = Radeon::open() else {
        return eprintln!("there is no RADV of Mesa that compiles for hardware which is not there: nothing is checked");
    };
    let plain = DeviceLimits {
        f16: true,
        workgroup_bytes: 32 << 10,
        workgroup_invocations: 1024,
        precision: Precision::Half,
        parallelism: 72,
        ..Default::default()
    };
    let (mut seen, mut wrong) = (HashSet::new(), Vec::new());
    let problems = LINES.iter().flat_map(|line| {
        let problem: Problem = line.parse().unwrap();
        [DType::F32, DType::F16].map(|dtype| problem.with_dtype(dtype))
    });
    let limits = [plain, DeviceLimits { subgroup: Some(32), ..plain }];
    for (problem, limits) in problems.flat_map(|problem| limits.map(|limits| (problem.clone(), limits))) {
        for algorithm in Algorithm::candidates(&problem, &limits).unwrap().algorithms.into_iter().take(CHEAPEST) {
            let plan = algorithm.plan_as(&problem, &limits, GeometryMode::Constant).unwrap();
            for step in plan.steps.iter().filter(|step| seen.insert(step.kernel.wgsl())) {
                let about = format!("{problem} by {algorithm}, {}", step.kernel.label);
                let numbers = match radeon.compile(&step.kernel) {
                    Ok(numbers) => numbers,
                    Err(error) => {
                        wrong.push(format!("{about}: {error}"));
                        continue;
                    }
                };
                let number = |name: &str| numbers.iter().find(|(own, _)| own == name).map(|(_, number)| *number);
                // A driver that says nothing of registers would let everything pass.
                assert!(number("VGPRs").is_some_and(|registers| registers > 0), "{about}: {numbers:?}");
                for name in ["Spilled VGPRs", "Scratch size"] {
                    if number(name).unwrap_or(0) > 0 {
                        wrong.push(format!("{about}: {name} {:?} of {:?} VGPRs", number(name), number("VGPRs")));
                    }
                }
            }
        }
    }
    let count = seen.len();
    eprintln!("{count} kernels");
    assert!(wrong.is_empty(), "{} of {count} kernels:\n{}", wrong.len(), wrong.join("\n"));
}
