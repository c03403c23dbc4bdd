//! From what the machine has to an open device, and what its limits mean for plans.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

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

/// An adapter that this machine has: what an engine could be opened on.
///
/// It prints as a few lines: number and name, features, limits in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterReport {
    /// Its place in the order in which engines try adapters: 0 is what [`EngineDesc::default`](crate::EngineDesc) opens.
    pub index: usize,
    /// Name, backend, driver, class.
    pub summary: AdapterSummary,
    /// What plans may use there: limits, 16-bit floats, subgroups.
    pub limits: DeviceLimits,
    /// Whether the device tells how long kernels take.
    pub timestamps: bool,
    /// Whether it runs compute shaders; an engine refuses one that does not.
    pub compute: bool,
}

impl std::fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DeviceLimits { f16, subgroup, buffer_bytes, storage_binding_bytes, storage_buffers, .. } = self.limits;
        let yes = |have: bool| if have { "yes" } else { "no" };
        writeln!(f, "{:>2}  {}", self.index, self.summary)?;
        if !self.compute {
            return write!(f, "    no compute shaders: no engine runs here");
        }
        let subgroup = subgroup.map_or("no fixed size".into(), |size| format!("{size} lanes"));
        writeln!(f, "    f16 {}; subgroups {subgroup}; timestamps {}", yes(f16), yes(self.timestamps))?;
        writeln!(f, "    buffers {buffer_bytes} bytes; bindings {storage_binding_bytes} bytes, {storage_buffers} to a kernel")?;
        let DeviceLimits { workgroup_invocations, workgroup_bytes, workgroups, .. } = self.limits;
        write!(
            f,
            "    workgroups {workgroup_invocations} invocations, {workgroup_bytes} bytes, {workgroups} to a dimension of a dispatch"
        )
    }
}

/// What the planner is told besides the device's own limits.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Only what every WebGPU device has.
    pub webgpu_limits: bool,
    /// The class to plan for.
    pub class: Option<DeviceClass>,
    /// Bytes of workspace that one layer may ask for.
    pub workspace_bytes: u64,
    /// How exact results must be.
    pub precision: Precision,
    /// How long a submission may take, as predicted.
    pub submission: Duration,
    /// Whether cooperative matrices may be used.
    pub cooperative_matrix: bool,
    /// The file of what the driver keeps of compiled kernels.
    pub pipeline_cache: Option<PathBuf>,
    /// The most bytes of one binding.
    pub binding_bytes: u64,
    /// The most bytes of one buffer.
    pub buffer_bytes: u64,
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

/// What to say where no adapter was found on the backends that were asked for.
fn nothing_found(backends: wgpu::Backends) -> String {
    let names: Vec<_> = backends.iter_names().map(|(name, _)| name.to_lowercase()).collect();
    match std::env::var("WGPU_BACKEND") {
        Ok(wanted) if !wanted.is_empty() && !wanted.to_lowercase().split(',').any(|name| name.trim() == "vulkan") => {
            format!(
                "WGPU_BACKEND={wanted} leaves no GPU adapter: it may name vulkan, metal and dx12, of which a machine has those of its system"
            )
        }
        _ => format!("found none on {}: {HINT}", names.join(", ")),
    }
}

/// The one instance of all engines, as wgpu takes the resources of another instance for its own of the same number; and the backends that
/// were asked for.
fn instance() -> &'static (wgpu::Instance, wgpu::Backends) {
    static INSTANCE: OnceLock<(wgpu::Instance, wgpu::Backends)> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        // OpenGL is not built in; asking for it would only make the message that there is no adapter wrong.
        descriptor.backends &= wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
        let backends = descriptor.backends;
        (wgpu::Instance::new(descriptor), backends)
    })
}

/// The adapters of this machine in the order in which they are tried: discrete, then integrated (the other way round under
/// `WGPU_POWER_PREF=low`), then others, then software; and the backends that were asked.
async fn enumerate() -> (Vec<wgpu::Adapter>, wgpu::Backends) {
    let (instance, backends) = instance();
    let mut adapters = instance.enumerate_adapters(*backends).await;
    let low_power = wgpu::PowerPreference::from_env() == Some(wgpu::PowerPreference::LowPower);
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => u8::from(low_power),
        wgpu::DeviceType::IntegratedGpu => u8::from(!low_power),
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    (adapters, *backends)
}

/// What there is to open.
pub(crate) async fn list(wanted: &Wanted) -> Vec<AdapterReport> {
    let report = |(index, adapter): (usize, wgpu::Adapter)| {
        let (info, features) = (adapter.get_info(), adapter.features());
        AdapterReport {
            index,
            summary: summary(&info),
            limits: limits(&info, features, &adapter.limits(), cooperative(&adapter, wanted), wanted),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            compute: computes(&adapter),
        }
    };
    enumerate().await.0.into_iter().enumerate().map(report).collect()
}

/// Opens the first adapter that can compute, among those that are wanted: the one of a number, or those whose name contains a text.
pub(crate) async fn open(name: Option<&str>, limits: &Wanted) -> Result<Gpu> {
    let (mut adapters, backends) = enumerate().await;
    let wanted = name.map(str::to_string).or_else(|| std::env::var("WGPU_ADAPTER_NAME").ok());
    if adapters.is_empty() {
        return Err(Error::new(ErrorKind::NoAdapter, nothing_found(backends)));
    }
    let names: Vec<_> = adapters.iter().map(|adapter| summary(&adapter.get_info())).collect();
    if let Some(wanted) = &wanted {
        let chosen = chosen(wanted, &names.iter().map(|summary| summary.name.as_str()).collect::<Vec<_>>());
        adapters =
            adapters.into_iter().enumerate().filter(|(index, _)| chosen.contains(index)).map(|(_, adapter)| adapter).collect();
    }
    let mut last = None;
    for adapter in adapters {
        match request(&adapter, limits).await {
            Ok(gpu) => return Ok(gpu),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        let list: Vec<_> = names.iter().enumerate().map(|(index, summary)| format!("{index}: {summary}")).collect();
        let text = format!("none has the number or a name with `{}`; there is {}", wanted.unwrap_or_default(), list.join("; "));
        Error::new(ErrorKind::NoAdapter, text)
    }))
}

/// The adapters that a text means: the one of this number, if there are so many, or those whose name contains it in any case.
fn chosen(wanted: &str, names: &[&str]) -> Vec<usize> {
    match wanted.parse() {
        Ok(index) if index < names.len() => vec![index],
        _ => (0..names.len()).filter(|&index| names[index].to_lowercase().contains(&wanted.to_lowercase())).collect(),
    }
}

fn computes(adapter: &wgpu::Adapter) -> bool {
    adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
}

async fn request(adapter: &wgpu::Adapter, wanted: &Wanted) -> Result<Gpu> {
    let info = adapter.get_info();
    if !computes(adapter) {
        return Err(Error::new(ErrorKind::NoAdapter, format!("{} has no compute shaders: {HINT}", info.name)));
    }
    let mut features =
        wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::PIPELINE_CACHE;
    // Elsewhere it would put tensors into the slow memory that host and device both see.
    if class(&info) != DeviceClass::Discrete {
        features |= wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;
    }
    if loads_elements(&info) {
        features |= wgpu::Features::SHADER_INT64;
    }
    let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
    if cooperative(adapter, wanted).is_some() {
        features |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        // SAFETY: cooperative matrices were asked for, and `EngineDesc::cooperative_matrix` says that wgpu calls them an experiment. The
        // kernels here read and write them within their panels and tiles only.
        experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    }
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("wgconv"),
        required_features: adapter.features() & features,
        required_limits: adapter.limits(),
        experimental_features,
        ..Default::default()
    };
    let (device, queue) = adapter
        .request_device(&descriptor)
        .await
        .map_err(|error| Error::new(ErrorKind::NoAdapter, format!("{} gives no device: {error}", info.name)))?;
    if class(&info) == DeviceClass::Software {
        log::warn!("{} computes on the CPU: no GPU was found, or it was asked for", info.name);
    }
    let limits = limits(&info, device.features(), &device.limits(), cooperative(adapter, wanted), wanted);
    Ok(Gpu::new(device, queue, true, summary(&info), wanted.pipeline_cache.as_deref(), limits))
}

/// A device that the caller opened; its features and limits are what it was opened with.
pub(crate) fn wrap(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, wanted: &Wanted) -> Gpu {
    let info = adapter.get_info();
    let limits = limits(&info, device.features(), &device.limits(), cooperative(adapter, wanted), wanted);
    Gpu::new(device, queue, false, summary(&info), wanted.pipeline_cache.as_deref(), limits)
}

/// The size of an adapter's cooperative matrices of f16 with sums in f32, the largest that WGSL can say, where they are wanted. The
/// feature alone does not tell: it is there for any type.
fn cooperative(adapter: &wgpu::Adapter, wanted: &Wanted) -> Option<u32> {
    let features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
    if !wanted.cooperative_matrix || !adapter.features().contains(features) {
        return None;
    }
    let properties = adapter.cooperative_matrix_properties();
    let fits = |&size: &u32| {
        properties.iter().any(|one| {
            [one.m_size, one.n_size, one.k_size] == [size; 3]
                && one.ab_type == wgpu::CooperativeScalarType::F16
                && one.cr_type == wgpu::CooperativeScalarType::F32
        })
    };
    [16, 8].into_iter().find(fits)
}

/// Whether a driver is a Mesa before 23.3: see [`DeviceLimits::loops_over_lanes`].
fn loops_over_lanes(driver: &str) -> bool {
    let version = driver.strip_prefix("Mesa ").and_then(|rest| {
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
        Some([numbers.next()??, numbers.next()??])
    });
    version.is_some_and(|version| version < [23, 3])
}

/// Whether a driver loads and stores each element of a vector by itself, as Mesa's llvmpipe does.
fn loads_elements(info: &wgpu::AdapterInfo) -> bool {
    info.driver == "llvmpipe"
}

/// What plans may use on a device with these features and limits.
fn limits(
    info: &wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: &wgpu::Limits,
    cooperative: Option<u32>,
    wanted: &Wanted,
) -> DeviceLimits {
    let (own, class) = (class(info), wanted.class.unwrap_or(class(info)));
    let subgroup = (info.subgroup_min_size == info.subgroup_max_size).then_some(info.subgroup_min_size);
    let limits = DeviceLimits {
        class,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroups: limits.max_compute_workgroups_per_dimension,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        storage_binding_bytes: limits.max_storage_buffer_binding_size.min(wanted.binding_bytes),
        buffer_bytes: limits.max_buffer_size.min(wanted.buffer_bytes),
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroup: subgroup.filter(|_| features.contains(wgpu::Features::SUBGROUP)),
        submission_ns: u64::try_from(wanted.submission.as_nanos()).unwrap_or(u64::MAX),
        cooperative_matrix: cooperative.filter(|_| features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)),
        workspace_bytes: wanted.workspace_bytes,
        precision: wanted.precision,
        loops_over_lanes: loops_over_lanes(&info.driver_info),
        wide_words: loads_elements(info) && features.contains(wgpu::Features::SHADER_INT64),
        loop_iterations: if own == DeviceClass::Software { SOFTWARE_ITERATIONS } else { u64::MAX },
        parallelism: match class {
            DeviceClass::Software => std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
            // wgpu does not tell: a small and a middling GPU.
            DeviceClass::Integrated => 16,
            DeviceClass::Discrete => 64,
        },
    };
    if !wanted.webgpu_limits {
        return limits;
    }
    let floor = DeviceLimits::default();
    DeviceLimits {
        workgroup_invocations: limits.workgroup_invocations.min(floor.workgroup_invocations),
        workgroup_bytes: limits.workgroup_bytes.min(floor.workgroup_bytes),
        workgroups: limits.workgroups.min(floor.workgroups),
        storage_buffers: limits.storage_buffers.min(floor.storage_buffers),
        storage_binding_bytes: limits.storage_binding_bytes.min(floor.storage_binding_bytes),
        buffer_bytes: limits.buffer_bytes.min(floor.buffer_bytes),
        f16: false,
        subgroup: None,
        cooperative_matrix: None,
        wide_words: false,
        ..limits
    }
}

#[cfg(test)]
mod tests {
    use super::{chosen, loops_over_lanes};

    #[test]
    fn old_versions_of_mesa_are_known_by_what_the_driver_says() {
        for (driver, old) in [
            ("Mesa 22.3.6 (LLVM 15.0.6)", true),
            ("Mesa 23.2.1-1ubuntu3", true),
            ("Mesa 23.3.0-devel (git-1)", false),
            ("Mesa 25.0.7-2 (LLVM 15.0.6)", false),
            ("Mesa", false),
            ("580.95.05", false),
            ("", false),
        ] {
            assert_eq!(loops_over_lanes(driver), old, "{driver}");
        }
    }

    #[test]
    fn an_adapter_is_meant_by_its_number_or_by_a_part_of_its_name() {
        let names = ["Card 4090", "card 2", "llvmpipe (LLVM 15.0.6, 256 bits)"];
        assert_eq!(chosen("2", &names), [2]);
        assert_eq!(chosen("CARD", &names), [0, 1]);
        assert_eq!(chosen("4090", &names), [0]);
        assert_eq!(chosen("15.0", &names), [2]);
        assert_eq!(chosen("3", &names), [0usize; 0]);
        assert_eq!(chosen("-1", &names), [0usize; 0]);
    }
}
