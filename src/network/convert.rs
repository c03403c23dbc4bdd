//! Between values of the host, of any element type, and tensors of the device.

use std::sync::Arc;

use super::program::Content;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::tensor::{Tensor, elements};
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::{ElementType, Value};

/// A constant as a new tensor.
pub(super) fn constant(gpu: &Arc<Gpu>, content: &Content, desc: &TensorDesc) -> Result<Tensor> {
    match content {
        Content::Value(value) => Tensor::of_value(gpu, value, desc, None),
        Content::Bytes(bytes) => {
            let tensor = Tensor::uninitialised(gpu, desc.clone(), 0)?;
            if !bytes.is_empty() {
                tensor.write(bytes)?;
            }
            Ok(tensor)
        }
    }
}

/// A tensor's elements as a value of the type that the graph says.
pub(super) fn tensor_to_value(tensor: &Tensor, element: ElementType) -> Result<Value> {
    match tensor.desc().elements()? {
        0 => Ok(Value::zeros(element, tensor.desc().shape())),
        _ => tensor.readback()?.wait(tensor.gpu(), |bytes| bytes_to_value(bytes, tensor.desc(), element))?,
    }
}

/// The bytes of a tensor as a value of the type that the graph says.
pub(super) fn bytes_to_value(bytes: &[u8], desc: &TensorDesc, element: ElementType) -> Result<Value> {
    let shape = desc.shape();
    if desc.dtype() == DType::I32 {
        let list = elements::<i32>(desc, bytes)?;
        return Ok(Value::from_ints(element, shape, list.into_iter().map(i128::from).collect()));
    }
    let list = elements::<f32>(desc, bytes)?;
    Ok(match element {
        ElementType::F32 => Value::new(shape, list)?,
        _ if element.is_float() => Value::from_floats(element, shape, list.into_iter().map(f64::from).collect()),
        _ => Value::from_ints(element, shape, list.into_iter().map(|value| value as i128).collect()),
    })
}
