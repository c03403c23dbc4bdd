//! [`Engine`]: the front door. Opens a device, uploads tensors, plans layers and makes them ready.

mod layers;
mod recover;
mod share;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use layers::Explanation;

use crate::error::{Error, Result};
use crate::gpu::{self, Adapter, AdapterReport, AdapterSummary, Buffer, BufferStats, Current, Device, Gpu, Queue};
use crate::limits::{DeviceClass, DeviceLimits, Precision, SUBMISSION};
use crate::tensor::{Element, Tensor, storage_of_input};
use crate::tensor_desc::{DType, TensorDesc};
use crate::tune::{Tuner, Tuning};
use crate::value::Value;

/// What engine is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineDesc {
    /// The adapter's number in [`Engine::adapters`], or a part of its name in any case; `None` takes `WGPU_ADAPTER_NAME`, or the best
    /// there is.
    pub adapter: Option<String>,
    /// Plan within what every WebGPU device has, whatever this one has: what runs here then runs anywhere.
    pub webgpu_limits: bool,
    /// Plan as for a device of this class, where the adapter says another or says it wrongly, as virtual ones do. On a software adapter plans
    /// for GPUs are right and slow. `None` is what the adapter says.
    pub class: Option<DeviceClass>,
    /// How exact results must be.
    pub precision: Precision,
    /// Whether layers in f16 may be multiplied as cooperative matrices, with sums in f32, where the adapter has them (tensor cores). They
    /// are an experiment of wgpu's, and no GPU has run the kernels here yet: so they must be asked for. Winograd's transformed inputs and
    /// weights are rounded to f16 then, an error of about that of rounding results to f16.
    pub cooperative_matrix: bool,
    /// Bytes of workspace that one layer may ask for; an algorithm that needs more is refused. `None` is 256 MiB.
    pub workspace_bytes: Option<u64>,
    /// The most bytes that the engine's buffers may take of the device, those in use and those that wait to be used again together.
    /// Before an allocation would break it the latter are freed; what then still does not fit is
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory). `None` leaves it to the device.
    pub memory_budget: Option<u64>,
    /// Plan as if one binding held at most so many bytes, where the device's hold more: larger tensors are then worked on in parts.
    pub max_binding_bytes: Option<u64>,
    /// Plan as if one buffer had at most so many bytes, where the device's have more: larger tensors then lie in several.
    pub max_buffer_bytes: Option<u64>,
    /// How long the work of one submission may take, as predicted from its operations
    /// ([`Operations::nanoseconds`](crate::Operations::nanoseconds)): what is predicted to take longer goes to the device in several
    /// submissions, and what is too long by itself is computed in parts, with the same results to the bit, so that no watchdog of the
    /// system takes the device for hung. `None` is 200 ms.
    pub submission_bound: Option<Duration>,
    /// Whether kernels have the layers' sizes as constants of their text.
    pub specialise: Specialise,
    /// Where the choice among algorithms comes from.
    pub tuning: Tuning,
    /// The user's tuning table; `None` takes the path in `WGCONV_TUNING_TABLE`, where an empty one is no table, or
    /// `wgconv/tuning.txt` in the platform's folder for caches.
    pub tuning_table: Option<PathBuf>,
    /// A file in which to keep what the driver makes of kernels, so that a later process need not compile them again: read when the
    /// engine opens, written when its last clone is dropped or by [`Engine::save_pipelines`]. `None` keeps nothing. Most desktop
    /// drivers do this by themselves; those of phones do not. Only Vulkan devices can; on others it does nothing.
    pub pipeline_cache: Option<PathBuf>,
}

impl EngineDesc {
    fn wanted(&self) -> gpu::Wanted {
        let workspace_bytes = self.workspace_bytes.unwrap_or(DeviceLimits::default().workspace_bytes);
        gpu::Wanted {
            webgpu_limits: self.webgpu_limits,
            class: self.class,
            workspace_bytes,
            precision: self.precision,
            submission: self.submission_bound.unwrap_or(SUBMISSION),
            cooperative_matrix: self.cooperative_matrix,
            pipeline_cache: self.pipeline_cache.clone(),
            binding_bytes: self.max_binding_bytes.unwrap_or(u64::MAX),
            buffer_bytes: self.max_buffer_bytes.unwrap_or(u64::MAX),
        }
    }
}

/// Whether kernels are made for one shape or for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Specialise {
    /// For one shape where the layer is so large that the faster kernel pays for its compilation; in a network on a software adapter, which
    /// compiles kernels one after the other, only where no other of its layers could use the kernel for all shapes or where that would be
    /// much slower.
    #[default]
    Large,
    /// For all shapes of a kind: the fewest compilations. Kinds differ in what leaves tests out of all of a kernel's loads, such as channels
    /// that are a multiple of a step's.
    Never,
    /// For each shape.
    Always,
}

/// A device that runs layers. Cheap to clone: clones share everything. All its methods may be called from several threads at once.
///
/// # Examples
/// ```no_run
/// use wgconv::{Activation, ConvDesc, Engine, EngineDesc, Epilogue, TensorDesc, Weights};
/// # let (image, w, b) = (vec![0.0; 3 * 224 * 224], vec![0.0; 64 * 3 * 7 * 7], vec![0.0; 64]);
/// let engine = Engine::new(&EngineDesc::default())?;
/// let x = engine.upload(&image, &TensorDesc::f32(&[1, 3, 224, 224]))?;
/// let stem = ConvDesc {
///     stride: [2, 2].into(),
///     padding: [3, 3].into(),
///     epilogue: Epilogue { bias: true, activation: Activation::Relu, ..Default::default() },
///     ..ConvDesc::new(3, 64, [7, 7])
/// };
/// let stem = engine.conv(&stem, x.desc(), Weights { kernel: &w, bias: Some(&b), ..Default::default() })?;
/// let y: Vec<f32> = stem.run(&x)?.to_vec()?;
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    current: Arc<Current>,
    desc: Arc<EngineDesc>,
    tuner: Arc<Tuner>,
}

impl Engine {
    /// Opens the best adapter: discrete, then integrated, then software, about which it warns (crate `log`).
    ///
    /// Honours `WGPU_BACKEND`, `WGPU_ADAPTER_NAME` and `WGPU_POWER_PREF`.
    ///
    /// # Errors
    /// [`ErrorKind::NoAdapter`](crate::ErrorKind::NoAdapter) with a hint how to get one, or with the names that there are.
    pub fn new(desc: &EngineDesc) -> Result<Self> {
        pollster::block_on(Self::new_async(desc))
    }

    /// [`new`](Self::new) without blocking the thread.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn new_async(desc: &EngineDesc) -> Result<Self> {
        Ok(Self::over(gpu::open(desc.adapter.as_deref(), &desc.wanted()).await?, desc))
    }

    fn over(gpu: Gpu, desc: &EngineDesc) -> Self {
        gpu.buffers.set_budget(desc.memory_budget);
        let plans = format!("{:?}", desc.specialise);
        let tuner = Tuner::new(desc.tuning, desc.tuning_table.clone(), &gpu.adapter, &gpu.limits, &plans);
        let current = Arc::new(Current::new(Arc::new(gpu)));
        Self { current, desc: Arc::new(desc.clone()), tuner: Arc::new(tuner) }
    }

    /// An engine on a caller's device, beside whatever else runs there. The features and limits that the device was opened with
    /// decide what can run; `desc.adapter` is not used.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) where the device is gone already.
    pub fn from_wgpu(adapter: &Adapter, device: Device, queue: Queue, desc: &EngineDesc) -> Result<Self> {
        let engine = Self::over(gpu::wrap(adapter, device, queue, &desc.wanted()), desc);
        engine.gpu().scoped(|| Ok(()))?;
        Ok(engine)
    }

    /// The adapters that there are, the one that [`new`](Self::new) takes first.
    ///
    /// # Examples
    /// ```no_run
    /// for adapter in wgconv::Engine::adapters() {
    ///     println!("{adapter}");
    /// }
    /// ```
    pub fn adapters() -> Vec<AdapterReport> {
        pollster::block_on(Self::adapters_async())
    }

    /// [`adapters`](Self::adapters) without blocking the thread.
    pub async fn adapters_async() -> Vec<AdapterReport> {
        gpu::list(&EngineDesc::default().wanted()).await
    }

    /// The adapter that runs this engine.
    pub fn adapter(&self) -> &AdapterSummary {
        &self.current.adapter
    }

    /// The adapter's name.
    pub fn adapter_name(&self) -> &str {
        &self.current.adapter.name
    }

    /// Whether the adapter computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.current.adapter.class == DeviceClass::Software
    }

    /// What the engine's buffers take of the device: those in use, and those that dropped tensors gave back.
    pub fn buffers(&self) -> BufferStats {
        self.gpu().buffers.stats()
    }

    /// Gives the buffers that wait to be used again back to the device, after a phase that needed many. Results are never touched.
    ///
    /// # Examples
    /// ```no_run
    /// # let engine = wgconv::Engine::new(&Default::default())?;
    /// engine.trim();
    /// assert_eq!(engine.buffers().cached, 0);
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn trim(&self) {
        self.trim_to(0);
    }

    /// [`trim`](Self::trim) until no more than so many bytes wait; the longest unused buffers go first.
    pub fn trim_to(&self, cached_bytes: u64) {
        self.gpu().buffers.trim_to(cached_bytes);
    }

    /// Writes [`EngineDesc::pipeline_cache`] now, for programs that run for long; does nothing where there is none or nothing is new.
    /// A file that cannot be written is a warning (crate `log`): what it would have held is compiled again.
    pub fn save_pipelines(&self) {
        self.gpu().pipelines.save();
    }

    /// What plans may use.
    pub fn limits(&self) -> &DeviceLimits {
        &self.current.limits
    }

    /// The device, for a caller's own work beside the engine's. It is another one after [`recover`](Self::recover).
    pub fn device(&self) -> Device {
        self.gpu().device.clone()
    }

    /// The device's queue.
    pub fn queue(&self) -> Queue {
        self.gpu().queue.clone()
    }

    pub(crate) fn gpu(&self) -> Arc<Gpu> {
        self.current.gpu()
    }

    pub(crate) fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// Copies numbers to the device as the elements of a tensor; f16 tensors get them rounded to nearest. The numbers are in row-major
    /// order of the shape, and are brought into the order of the description's layout.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the length is not the shape's,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for i32, [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn upload(&self, data: &[f32], desc: &TensorDesc) -> Result<Tensor> {
        desc.check_len("input", data.len())?;
        if desc.dtype() == DType::I32 {
            return Err(Error::unsupported("input", "has elements of type i32: Engine::upload_elements takes those"));
        }
        Tensor::uploaded(&self.gpu(), data, desc)
    }

    /// [`upload`](Self::upload) of elements of any type that a tensor may have: f32, f16, i32.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the length is not the shape's or the type not the description's,
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    ///
    /// # Examples
    /// ```no_run
    /// # let engine = wgconv::Engine::new(&wgconv::EngineDesc::default())?;
    /// use wgconv::{DType, TensorDesc};
    /// let words = engine.upload_elements(&[101, 7592, 102], &TensorDesc::new(&[1, 3], DType::I32))?;
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn upload_elements<T: Element>(&self, data: &[T], desc: &TensorDesc) -> Result<Tensor> {
        desc.check_len("input", data.len())?;
        Tensor::uploaded(&self.gpu(), data, desc)
    }

    /// A value as the tensor that a [`Network`](crate::Network) takes for an input of its type: i64 and bool are stored as i32, small integers
    /// as f32, f16 as f32 where the device has no 16-bit floats.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for types that no tensor has and for integers beyond 32 bits,
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    ///
    /// # Examples
    /// ```no_run
    /// # let engine = wgconv::Engine::new(&wgconv::EngineDesc::default())?;
    /// use wgconv::Value;
    /// let words = engine.upload_value(&Value::new(&[1, 3], vec![101i64, 7592, 102])?)?;
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn upload_value(&self, value: &Value) -> Result<Tensor> {
        let gpu = self.gpu();
        let dtype = storage_of_input(value.element(), gpu.limits.f16)?;
        Tensor::of_value(&gpu, value, &TensorDesc::new(value.shape(), dtype), None)
    }

    /// A tensor of zeros, to run into.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn zeros(&self, desc: &TensorDesc) -> Result<Tensor> {
        if desc.elements()? == 0 {
            return Tensor::uninitialised(&self.gpu(), desc.clone(), 0);
        }
        Tensor::filled(&self.gpu(), desc, 0, &[0; 4])
    }

    /// A tensor over a range of a caller's buffer, from byte `offset` on: nothing is copied, and what the caller puts there is what layers
    /// read. The range is as long as the elements, rounded up to 4 bytes.
    ///
    /// Networks copy their inputs and outputs, so there the buffer needs `COPY_SRC` or `COPY_DST` besides `STORAGE`; [`Tensor::to_vec`] needs
    /// `COPY_SRC`. One dispatch cannot read and write ranges of one buffer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the offset is not a multiple of the device's
    /// `min_storage_buffer_offset_alignment`, the range is beyond the buffer's end, or the buffer has not the usage `STORAGE`;
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where it belongs to another device of the same `wgpu::Instance`, which all engines
    /// have that [`Engine::new`] made. Resources of another instance must not be given: wgpu takes them for its own of the same number, or
    /// panics.
    ///
    /// # Examples
    /// ```no_run
    /// # let engine = wgconv::Engine::new(&wgconv::EngineDesc::default())?;
    /// use wgconv::{TensorDesc, wgpu};
    /// let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    /// let descriptor = wgpu::BufferDescriptor { label: None, size: 4096, usage, mapped_at_creation: false };
    /// let buffer = engine.device().create_buffer(&descriptor);
    /// let x = engine.tensor_from_buffer(&buffer, 1024, &TensorDesc::f32(&[1, 3, 8, 8]))?;
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn tensor_from_buffer(&self, buffer: &Buffer, offset: u64, desc: &TensorDesc) -> Result<Tensor> {
        Tensor::foreign(&self.gpu(), buffer, offset, desc)
    }

    /// Blocks until everything submitted so far is done.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost).
    pub fn wait(&self) -> Result<()> {
        self.gpu().wait(None)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.current.adapter)
    }
}
