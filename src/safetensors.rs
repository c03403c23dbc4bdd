//! `.safetensors` files to [`Value`]s by name: the format that PyTorch's and other libraries' weights are kept in.
//!
//! The crate `safetensors` checks the header, which may be anything, against the bytes that there are; here the elements get their types.
//! Nothing is written here, and weights get no meaning: which tensor belongs to which layer is the caller's to say.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::tensor::TensorView;
use ::safetensors::{Dtype, SafeTensors};
use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::value::{Data, Value};

/// What a `.safetensors` file holds.
///
/// # Examples
/// ```no_run
/// use wgconv::{safetensors, Weights};
/// let file = safetensors::load("model.safetensors")?;
/// let kernel = file.tensor("conv1.weight")?;
/// let weights = Weights { kernel: kernel.as_slice()?, kernel_shape: Some(kernel.shape()), ..Default::default() };
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tensors {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Value>,
    /// The texts that the file's writer put beside them.
    pub metadata: BTreeMap<String, String>,
}

impl Tensors {
    /// The tensor of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with names that there are.
    pub fn tensor(&self, name: &str) -> Result<&Value> {
        self.tensors.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.tensors.keys().map(String::as_str).take(NAMES).collect();
            let more = if self.tensors.len() > NAMES { ", .." } else { "" };
            Error::invalid("tensor", format!("`{name}` is not in the file; there is {}{more}", names.join(", ")))
        })
    }
}

/// So many names go into a message.
const NAMES: usize = 20;

/// Reads a file. It takes about twice the file's bytes of memory.
///
/// # Errors
/// As [`read`], with the file's name; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where it cannot be read.
pub fn load(path: impl AsRef<Path>) -> Result<Tensors> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|error| Error::invalid("file", format!("{}: {error}", path.display())))?;
    read(&bytes).map_err(|error| error.within(&path.display().to_string()))
}

/// Reads a file's bytes, which may be anything: what is allocated, they pay for.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where they are damaged or cut short,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the tensor's name for floats of 4 to 8 bits and complex numbers.
pub fn read(bytes: &[u8]) -> Result<Tensors> {
    let damaged = |error: ::safetensors::SafeTensorError| Error::invalid("file", format!("is not .safetensors: {error}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut all = Tensors::default();
    for (key, text) in header.metadata().iter().flatten() {
        all.metadata.insert(key.clone(), text.clone());
    }
    for (name, view) in file.iter() {
        let value = value(&view).map_err(|error| error.within(&format!("tensor `{name}`")))?;
        all.tensors.insert(name.to_string(), value);
    }
    Ok(all)
}

/// Little-endian numbers of a type.
fn words<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Data
where
    Data: From<Vec<T>>,
{
    let (words, _) = bytes.as_chunks();
    words.iter().map(|&word| number(word)).collect::<Vec<T>>().into()
}

fn value(view: &TensorView) -> Result<Value> {
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => words(bytes, f32::from_le_bytes),
        Dtype::F64 => words(bytes, f64::from_le_bytes),
        Dtype::F16 => words(bytes, f16::from_le_bytes),
        Dtype::BF16 => words(bytes, bf16::from_le_bytes),
        Dtype::I8 => words(bytes, i8::from_le_bytes),
        Dtype::I16 => words(bytes, i16::from_le_bytes),
        Dtype::I32 => words(bytes, i32::from_le_bytes),
        Dtype::I64 => words(bytes, i64::from_le_bytes),
        Dtype::U8 => Data::U8(bytes.to_vec()),
        Dtype::U16 => words(bytes, u16::from_le_bytes),
        Dtype::U32 => words(bytes, u32::from_le_bytes),
        Dtype::U64 => words(bytes, u64::from_le_bytes),
        Dtype::BOOL => match bytes.iter().find(|&&byte| byte > 1) {
            Some(byte) => return Err(Error::invalid("file", format!("has a truth value of {byte}, but one is 0 or 1"))),
            None => words(bytes, |[byte]| byte == 1),
        },
        other => return Err(Error::unsupported("file", format!("has elements of {other:?}, for which there is no type here"))),
    };
    Value::new(view.shape(), data)
}
