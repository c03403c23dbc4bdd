//! [`Tensor`]: bytes of the device with a shape and an element type.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use half::f16;

use crate::algorithm::View;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{self, Bound, Bounds, Buffer, CommandEncoder, Dispatch, Gpu, Readback, Recorded, Storage};
use crate::kernel::Slot;
use crate::layout::Layout;
use crate::operation::{Arithmetic, Map, Operand, Operation};
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::{ElementType, Value};

/// An array on the device. Cheap to clone: clones share the memory, which goes back to the engine's pool with the last of them. An array
/// of more bytes than a buffer may have lies in several.
#[derive(Clone)]
pub struct Tensor {
    gpu: Arc<Gpu>,
    storage: Arc<Storage>,
    /// The byte of the storage at which the elements begin: 0 but in values of a network that lie inside others.
    begin: u64,
    desc: TensorDesc,
    /// Bytes that kernels may touch; more than the elements only where a check puts a guard zone behind them.
    bound_bytes: u64,
}

mod sealed {
    pub trait Sealed {}
}

/// A type that tensors can be read and written as: `f32` (of f32 and, widened or rounded, of f16), `half::f16` (of f16), `i32` (of i32).
pub trait Element: sealed::Sealed + Copy {
    #[doc(hidden)]
    fn read(dtype: DType, bytes: &[u8]) -> Option<Vec<Self>>;
    #[doc(hidden)]
    fn bytes(dtype: DType, data: &[Self]) -> Option<Cow<'_, [u8]>>;
    #[doc(hidden)]
    const NAME: &'static str;
}

fn words<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    bytemuck::pod_collect_to_vec(bytes)
}

macro_rules! element {
    ($type:ty, $name:literal, $($dtype:pat => $read:expr, $bytes:expr);+) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const NAME: &'static str = $name;
            fn read(dtype: DType, bytes: &[u8]) -> Option<Vec<Self>> {
                match dtype {
                    $($dtype => Some($read(bytes)),)+
                    _ => None,
                }
            }
            fn bytes(dtype: DType, data: &[Self]) -> Option<Cow<'_, [u8]>> {
                match dtype {
                    $($dtype => Some($bytes(data)),)+
                    _ => None,
                }
            }
        }
    };
}
element!(f32, "f32",
    DType::F32 => words, |data| to_bytes(data, DType::F32);
    DType::F16 => |bytes| words::<f16>(bytes).into_iter().map(f16::to_f32).collect(), |data| to_bytes(data, DType::F16));
element!(f16, "f16", DType::F16 => words, |data: &[f16]| whole_words(data.to_vec()));
element!(i32, "i32", DType::I32 => words, |data| Cow::Borrowed(bytemuck::cast_slice(data)));

/// The bytes of 16-bit floats, and then zeros up to a multiple of 4.
fn whole_words(mut halves: Vec<f16>) -> Cow<'static, [u8]> {
    halves.resize(halves.len().next_multiple_of(2), f16::ZERO);
    bytemuck::cast_slice(&halves).to_vec().into()
}

/// The bytes of numbers as elements of a type, and then zeros up to a multiple of 4.
pub(crate) fn to_bytes(data: &[f32], dtype: DType) -> Cow<'_, [u8]> {
    match dtype {
        DType::F32 | DType::I32 => bytemuck::cast_slice(data).into(),
        DType::F16 => whole_words(data.iter().map(|&value| f16::from_f32(value)).collect()),
    }
}

impl Tensor {
    /// A tensor whose content is whatever its memory held, with `guard` more bytes that kernels may touch.
    pub(crate) fn uninitialised(gpu: &Arc<Gpu>, desc: TensorDesc, guard: u64) -> Result<Self> {
        let bytes = desc.bytes()?.next_multiple_of(4);
        let bound_bytes = (bytes + guard).max(4);
        let storage = Arc::new(Storage::take(gpu, bound_bytes, gpu::tensor_usage(gpu))?);
        Ok(Self { gpu: gpu.clone(), storage, begin: 0, desc, bound_bytes })
    }

    /// A tensor of these numbers in row-major order, as many as it has elements; f16 gets those of f32 rounded.
    pub(crate) fn uploaded<T: Element>(gpu: &Arc<Gpu>, data: &[T], desc: &TensorDesc) -> Result<Self> {
        let tensor = Self::uninitialised(gpu, desc.clone(), 0)?;
        tensor.overwrite(data)?;
        Ok(tensor)
    }

    /// A tensor of a value of the host. Integers that 32 bits do not hold, and indices out of an axis of so many elements, are errors.
    pub(crate) fn of_value(gpu: &Arc<Gpu>, value: &Value, desc: &TensorDesc, indices_below: Option<usize>) -> Result<Self> {
        if desc.dtype() != DType::I32 {
            return Self::uploaded(gpu, &value.as_f32(), desc);
        }
        let fit = |number: i64| {
            let outside = |size: &usize| !(-(*size as i64)..*size as i64).contains(&number);
            if let Some(size) = indices_below.filter(outside) {
                return Err(Error::invalid("indices", format!("{number} is outside an axis of {size} elements")));
            }
            i32::try_from(number)
                .map_err(|_| Error::unsupported("input", format!("has the number {number}, but a device holds 32 bits")))
        };
        let words = value.to_i64().into_iter().map(fit).collect::<Result<Vec<i32>>>()?;
        Self::uploaded(gpu, &words, desc)
    }

    /// A tensor of a repeated word, and a guard zone of so many bytes behind it.
    pub(crate) fn filled(gpu: &Arc<Gpu>, desc: &TensorDesc, guard: u64, word: &[u8; 4]) -> Result<Self> {
        let tensor = Self::uninitialised(gpu, desc.clone(), guard)?;
        tensor.fill(word)?;
        Ok(tensor)
    }

    /// Overwrites everything that kernels may touch by a repeated word.
    pub(crate) fn fill(&self, word: &[u8; 4]) -> Result<()> {
        if *word == [0; 4] {
            return gpu::clear(&self.gpu, &self.all());
        }
        self.write(&word.repeat((self.bound_bytes / 4) as usize))
    }

    /// A tensor over memory that others use too, from a byte of it on.
    pub(crate) fn over(gpu: &Arc<Gpu>, storage: Arc<Storage>, begin: u64, desc: TensorDesc) -> Result<Self> {
        let bound_bytes = desc.bytes()?.next_multiple_of(4).max(4);
        Ok(Self { gpu: gpu.clone(), storage, begin, desc, bound_bytes })
    }

    /// A tensor over a range of a caller's buffer, which begins at a byte of it.
    pub(crate) fn foreign(gpu: &Arc<Gpu>, buffer: &Buffer, offset: u64, desc: &TensorDesc) -> Result<Self> {
        let bound_bytes = desc.bytes()?.next_multiple_of(4).max(4);
        gpu::check_range(gpu, buffer, offset, bound_bytes)?;
        let storage = Arc::new(Storage::foreign(buffer, offset));
        Ok(Self { gpu: gpu.clone(), storage, begin: 0, desc: desc.clone(), bound_bytes })
    }

    /// Checks that the elements can be copied: a caller's buffer may lack the usage.
    pub(crate) fn check_usage(&self, field: &'static str, usage: gpu::Usage) -> Result<()> {
        let has = self.storage.usage();
        if has.contains(usage) {
            return Ok(());
        }
        Err(Error::invalid(field, format!("is in a buffer with the usages {has:?}, but {usage:?} is needed")))
    }

    /// The tensor of this description whose elements begin at a byte of this one's memory.
    pub(crate) fn inside(&self, begin: u64, desc: TensorDesc) -> Result<Self> {
        Self::over(&self.gpu, self.storage.clone(), self.begin + begin, desc)
    }

    /// Overwrites everything that kernels may touch.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        gpu::write(&self.gpu, &self.all(), bytes)
    }

    /// Records a copy of the elements to the host; `None` where there are none.
    pub(crate) fn record_readback(&self, encoder: &mut CommandEncoder) -> Result<Option<Recorded>> {
        let bytes = self.desc.bytes()?.next_multiple_of(4);
        let record = || Recorded::new(&self.gpu, encoder, &self.storage.range(self.begin, bytes, bytes));
        (bytes > 0).then(record).transpose()
    }

    /// The elements, to be read where they lie, and the tensor gone. Only of one that has no clones and that host and device share.
    pub(crate) fn into_recorded(self) -> Result<Recorded> {
        let bytes = self.desc.bytes()?.next_multiple_of(4);
        let storage = Arc::into_inner(self.storage).expect("whoever gives a tensor away has no clone of it");
        Ok(Recorded::in_place(storage, bytes))
    }

    /// Everything that kernels may touch.
    pub(crate) fn read_all(&self) -> Result<Vec<u8>> {
        Readback::start(&self.gpu, &self.all())?.wait(&self.gpu, <[u8]>::to_vec)
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Everything that kernels may touch.
    fn all(&self) -> Bounds {
        self.storage.range(self.begin, self.bound_bytes, self.bound_bytes)
    }

    /// What kernels are bound to: the buffers with elements, the last with the guard zone.
    pub(crate) fn bounds(&self) -> Bounds {
        // The bytes were counted when the tensor was made.
        self.storage.range(self.begin, self.desc.bytes().unwrap_or(u64::MAX), self.bound_bytes)
    }

    /// Checks that this is what a layer was made for, on the layer's engine.
    pub(crate) fn check(&self, field: &'static str, gpu: &Arc<Gpu>, desc: &TensorDesc) -> Result<()> {
        if !Arc::ptr_eq(&self.gpu, gpu) {
            // One of the device that this engine had before its recovery.
            if let Some(reason) = self.gpu.loss() {
                let text = format!("{field} is a tensor of a device that is gone ({reason}): upload it again");
                return Err(Error::new(ErrorKind::DeviceLost, text));
            }
            return Err(Error::invalid(field, "is a tensor of another engine"));
        }
        if self.desc != *desc {
            return Err(Error::invalid(field, format!("is {}, but {desc} was planned for", self.desc)));
        }
        Ok(())
    }

    /// The shape, element type and layout.
    pub fn desc(&self) -> &TensorDesc {
        &self.desc
    }

    /// The same elements under another shape. Nothing is copied.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the number of elements differs, or the elements of this shape do not lie
    /// in row-major order.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        let desc = TensorDesc::new(shape, self.desc.dtype());
        if self.desc.layout() != Layout::ChannelsFirst {
            return Err(Error::invalid(
                "shape",
                format!("{} does not lie in row-major order, so that it has no other shape", self.desc),
            ));
        }
        if desc.elements_of("shape")? != self.desc.elements()? {
            return Err(Error::invalid("shape", format!("{desc} has not as many elements as {}", self.desc)));
        }
        Ok(Tensor { desc, ..self.clone() })
    }

    /// The same elements in another layout, copied by the device; itself where that is the layout it has. Submitted, not waited for.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost), [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn to_layout(&self, layout: Layout) -> Result<Tensor> {
        let desc = self.desc.with_layout(layout);
        if desc == self.desc {
            return Ok(self.clone());
        }
        let output = Tensor::uninitialised(&self.gpu, desc, 0)?;
        if self.desc.elements()? == 0 {
            return Ok(output);
        }
        let operand =
            |desc: &TensorDesc| Operand { dtype: desc.dtype(), offset: 0, strides: desc.layout().strides(desc.shape()) };
        let copy = Map {
            name: "layout",
            shape: self.desc.shape(),
            operands: vec![operand(&self.desc)],
            output: operand(&output.desc),
            arithmetic: Arithmetic::Move,
            function: "a",
            scalars: &[],
        };
        let (from, to) = (self.bounds(), output.bounds());
        for operation in copy.operations(&[to.bytes(), from.bytes()], &self.gpu.limits)? {
            let Operation { step, parameters, views, .. } = &operation;
            let bytes: &[u8] = bytemuck::cast_slice(parameters);
            let sizes = self.gpu.buffers.take(&self.gpu, bytes.len() as u64, gpu::UNIFORM)?;
            let sizes_bound = Bounds::from(Bound::first(sizes.raw(), bytes.len() as u64));
            gpu::write(&self.gpu, &sizes_bound, bytes)?;
            let bound = |slot: Slot| {
                let whole = match slot {
                    Slot::Parameters => &sizes_bound,
                    Slot::Output => &to,
                    _ => &from,
                };
                whole.range(views.iter().find(|view| view.slot == slot).map(View::range))
            };
            let bound: Vec<Bound> = step.kernel.bindings.iter().map(|binding| bound(binding.slot)).collect::<Result<_>>()?;
            let pipeline = self.gpu.pipelines.get(&self.gpu, &step.kernel)?;
            let bind_group = gpu::bind(&self.gpu, &pipeline, &bound.iter().collect::<Vec<_>>())?;
            let ns = operation.nanoseconds(bound.iter().map(|bound| bound.bytes).sum(), &self.gpu.limits);
            gpu::run(&self.gpu, &[Dispatch { pipeline, bind_group, grid: step.grid, ns }])?;
        }
        Ok(output)
    }

    /// Overwrites all elements, in row-major order of the shape whatever the layout, after everything submitted before: an input that is
    /// used again and again needs no new tensor. A tensor of f16 gets numbers of f32 rounded.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the length is not the shape's, the elements are not of that type, or a
    /// caller's buffer has not the usage `COPY_DST`; [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost).
    ///
    /// # Examples
    /// ```no_run
    /// # let engine = wgconv::Engine::new(&wgconv::EngineDesc::default())?;
    /// use wgconv::TensorDesc;
    /// let x = engine.zeros(&TensorDesc::f32(&[1, 3, 8, 8]))?;
    /// x.overwrite(&[0.5f32; 192])?;
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn overwrite<T: Element>(&self, data: &[T]) -> Result<()> {
        self.desc.check_len("data", data.len())?;
        self.check_usage("tensor", gpu::Usage::COPY_DST)?;
        let data = self.desc.layout().to_memory(self.desc.shape(), data);
        let bytes = T::bytes(self.desc.dtype(), &data);
        let wrong = || Error::invalid("dtype", format!("elements of {} cannot be written as {}", self.desc, T::NAME));
        let bytes = bytes.ok_or_else(wrong)?;
        if bytes.is_empty() {
            Ok(())
        } else {
            gpu::write(&self.gpu, &self.storage.range(self.begin, bytes.len() as u64, bytes.len() as u64), &bytes)
        }
    }

    /// Copies the elements to the host, in row-major order of the shape whatever the layout, and waits for them, and for everything
    /// submitted before.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the elements are not of that type,
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost).
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.readback()?.wait(&self.gpu, |bytes| self.elements(bytes))?
    }

    /// [`to_vec`](Self::to_vec) without blocking the thread.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>> {
        self.readback()?.wait_async(&self.gpu, |bytes| self.elements(bytes)).await?
    }

    /// [`to_vec`](Self::to_vec) of a tensor that is not needed any more. Where host and device share their memory, and no clone of the
    /// tensor is left, its elements are read where they lie, without a copy on the device.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    pub fn into_vec<T: Element>(self) -> Result<Vec<T>> {
        let (gpu, desc, readback) = self.into_readback()?;
        readback.wait(&gpu, |bytes| elements(&desc, bytes))?
    }

    /// [`into_vec`](Self::into_vec) without blocking the thread.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    pub async fn into_vec_async<T: Element>(self) -> Result<Vec<T>> {
        let (gpu, desc, readback) = self.into_readback()?;
        readback.wait_async(&gpu, |bytes| elements(&desc, bytes)).await?
    }

    fn into_readback(self) -> Result<(Arc<Gpu>, TensorDesc, Readback)> {
        let bytes = self.desc.bytes()?.next_multiple_of(4);
        let Self { gpu, storage, begin, desc, bound_bytes } = self;
        let of = |storage| Self { gpu: gpu.clone(), storage, begin, desc: desc.clone(), bound_bytes };
        let readback = match Arc::try_unwrap(storage) {
            // A caller has handles of its own to its buffer.
            Ok(storage) if bytes > 0 && begin == 0 && storage.is_mappable() => Readback::in_place(&gpu, storage, bytes),
            Ok(storage) => of(Arc::new(storage)).readback(),
            Err(storage) => of(storage).readback(),
        };
        Ok((gpu, desc, readback?))
    }

    pub(crate) fn readback(&self) -> Result<Readback> {
        self.check_usage("tensor", gpu::Usage::COPY_SRC)?;
        let bytes = self.desc.bytes()?.next_multiple_of(4);
        Readback::start(&self.gpu, &self.storage.range(self.begin, bytes, bytes))
    }

    fn elements<T: Element>(&self, bytes: &[u8]) -> Result<Vec<T>> {
        elements(&self.desc, bytes)
    }
}

/// How the device stores elements of a type, where it can: f16 as f32 where it has no 16-bit floats, small integers as f32, which
/// holds them exactly, truth values and indices as i32.
pub(crate) fn storage(element: ElementType, f16: bool) -> Option<DType> {
    match element {
        ElementType::F16 if f16 => Some(DType::F16),
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 => Some(DType::F32),
        ElementType::I8 | ElementType::U8 | ElementType::I16 | ElementType::U16 => Some(DType::F32),
        ElementType::Bool | ElementType::I32 | ElementType::I64 => Some(DType::I32),
        ElementType::F64 | ElementType::U32 | ElementType::U64 => None,
    }
}

/// [`storage`] of the elements of an input.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a type that no device buffer holds.
pub(crate) fn storage_of_input(element: ElementType, f16: bool) -> Result<DType> {
    let none = || Error::unsupported("input", format!("has elements of type {element}, which no device buffer holds"));
    storage(element, f16).ok_or_else(none)
}

/// The elements of a tensor of this description in its bytes, which may be followed by some more.
pub(crate) fn elements<T: Element>(desc: &TensorDesc, bytes: &[u8]) -> Result<Vec<T>> {
    let wrong = || Error::invalid("dtype", format!("elements of {desc} cannot be read as {}", T::NAME));
    let mut list = T::read(desc.dtype(), bytes).ok_or_else(wrong)?;
    list.truncate(desc.elements()?);
    Ok(desc.layout().to_row_major(desc.shape(), list))
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({})", self.desc)
    }
}
