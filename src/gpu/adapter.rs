//! From what the machine has to an open device, and what its limits mean for plans.

use super::Gpu;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{DeviceClass, DeviceLimits, Precision};

/// What a person wants to know of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSummary {
    /// The name that the driver gives.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// What kind of device it is.
    pub class: DeviceClass,
}

impl std::fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.class, self.backend, self.driver)
    }
}

/// What the planner is told besides the device's own limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Only what every WebGPU device has.
    pub webgpu_limits: bool,
    /// Bytes of workspace that one layer may ask for.
    pub workspace_bytes: u64,
    /// How exact results must be.
    pub precision: Precision,
}

/// Measured on lavapipe of Mesa 22.3.6: an invocation's loops end after 65,536 iterations in all, whatever their conditions say, and
/// the sums that they were to make are wrong. Newer ones may not; there is no way to ask.
const SOFTWARE_ITERATIONS: u64 = 65_536;

/// How to get an adapter, for the message that there is none.
const HINT: &str = "install your GPU's Vulkan driver, or a software one (Debian and Ubuntu: apt-get install mesa-vulkan-drivers)";

fn class(info: &wgpu::AdapterInfo) -> DeviceClass {
    match info.device_type {
        wgpu::DeviceType::Cpu => DeviceClass::Software,
        wgpu::DeviceType::IntegratedGpu => DeviceClass::Integrated,
        _ => DeviceClass::Discrete,
    }
}

fn summary(info: &wgpu::AdapterInfo) -> AdapterSummary {
    let driver =
        [info.driver.as_str(), info.driver_info.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    AdapterSummary {
        name: info.name.clone(),
        backend: format!("{:?}", info.backend),
        driver: driver.join(" "),
        class: class(info),
    }
}

fn backend_names(backends: wgpu::Backends) -> String {
    let names: Vec<_> = backends.iter_names().map(|(name, _)| name.to_lowercase()).collect();
    if names.is_empty() { "any backend (WGPU_BACKEND leaves none)".into() } else { names.join(", ") }
}

/// Opens the best adapter that can compute: discrete, then integrated (the other way round under `WGPU_POWER_PREF=low`), then others,
/// then software; among them only those whose name contains the wanted one.
pub(crate) async fn open(name: Option<&str>, limits: &Wanted) -> Result<Gpu> {
    let mut instance = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    // OpenGL is not built in; asking for it would only make the message below wrong.
    instance.backends &= wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let backends = instance.backends;
    let adapters = wgpu::Instance::new(instance).enumerate_adapters(backends).await;
    let wanted = name.map(str::to_string).or_else(|| std::env::var("WGPU_ADAPTER_NAME").ok());
    let names: Vec<_> = adapters.iter().map(|adapter| summary(&adapter.get_info()).to_string()).collect();
    if names.is_empty() {
        return Err(Error::new(ErrorKind::NoAdapter, format!("no GPU adapter on {}: {HINT}", backend_names(backends))));
    }
    let matches = |name: &str| wanted.as_ref().is_none_or(|wanted| name.to_lowercase().contains(&wanted.to_lowercase()));
    let mut fitting: Vec<_> = adapters.into_iter().filter(|adapter| matches(&adapter.get_info().name)).collect();
    let low_power = wgpu::PowerPreference::from_env() == Some(wgpu::PowerPreference::LowPower);
    fitting.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => {
            if low_power {
                1
            } else {
                0
            }
        }
        wgpu::DeviceType::IntegratedGpu => {
            if low_power {
                0
            } else {
                1
            }
        }
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    let mut last = None;
    for adapter in fitting {
        match request(&adapter, limits).await {
            Ok(gpu) => return Ok(gpu),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        let wanted = wanted.unwrap_or_default();
        Error::new(ErrorKind::NoAdapter, format!("no adapter's name contains `{wanted}`; there is {}", names.join("; ")))
    }))
}

async fn request(adapter: &wgpu::Adapter, wanted: &Wanted) -> Result<Gpu> {
    let info = adapter.get_info();
    if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
        return Err(Error::new(ErrorKind::NoAdapter, format!("{} has no compute shaders: {HINT}", info.name)));
    }
    let features = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("wgconv"),
        required_features: adapter.features() & features,
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = adapter
        .request_device(&descriptor)
        .await
        .map_err(|error| Error::new(ErrorKind::NoAdapter, format!("{} gives no device: {error}", info.name)))?;
    if class(&info) == DeviceClass::Software {
        log::warn!("{} computes on the CPU: no GPU was found, or it was asked for", info.name);
    }
    Ok(Gpu::new(device, queue, true, summary(&info), limits(&info, wanted)))
}

/// A device that the caller opened; its features and limits are what it was opened with.
pub(crate) fn wrap(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, wanted: &Wanted) -> Gpu {
    let info = adapter.get_info();
    Gpu::new(device, queue, false, summary(&info), limits(&info, wanted))
}

/// What plans may use, completed by [`Gpu::new`] from the device.
fn limits(info: &wgpu::AdapterInfo, wanted: &Wanted) -> impl FnOnce(&wgpu::Device) -> DeviceLimits + use<> {
    let class = class(info);
    let wanted = *wanted;
    let subgroup = (info.subgroup_min_size == info.subgroup_max_size).then_some(info.subgroup_min_size);
    move |device| {
        let (features, limits) = (device.features(), device.limits());
        let own = DeviceLimits {
            class,
            workgroup_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroups: limits.max_compute_workgroups_per_dimension,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            storage_binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroup: subgroup.filter(|_| features.contains(wgpu::Features::SUBGROUP)),
            workspace_bytes: wanted.workspace_bytes,
            precision: wanted.precision,
            loop_iterations: if class == DeviceClass::Software { SOFTWARE_ITERATIONS } else { u64::MAX },
            parallelism: match class {
                DeviceClass::Software => std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
                // wgpu does not tell: a small and a middling GPU.
                DeviceClass::Integrated => 16,
                DeviceClass::Discrete => 64,
            },
        };
        if !wanted.webgpu_limits {
            return own;
        }
        let floor = DeviceLimits::default();
        DeviceLimits {
            workgroup_invocations: own.workgroup_invocations.min(floor.workgroup_invocations),
            workgroup_bytes: own.workgroup_bytes.min(floor.workgroup_bytes),
            workgroups: own.workgroups.min(floor.workgroups),
            storage_buffers: own.storage_buffers.min(floor.storage_buffers),
            storage_binding_bytes: own.storage_binding_bytes.min(floor.storage_binding_bytes),
            buffer_bytes: own.buffer_bytes.min(floor.buffer_bytes),
            f16: false,
            subgroup: None,
            ..own
        }
    }
}
