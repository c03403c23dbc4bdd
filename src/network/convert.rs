//! Between values of the host, of any element type, and tensors of the device.

use std::sync::Arc;

use super::program::Content;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::tensor::{Tensor, elements, to_bytes};
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::{ElementType, Value};

/// A constant as a new tensor.
pub(super) fn constant(gpu: &Arc<Gpu>, content: &Content, desc: &TensorDesc) -> Result<Tensor> {
    match content {
        Content::Value(value) => value_to_tensor(gpu, value, desc, None),
        Content::Bytes(bytes) => {
            let tensor = Tensor::uninitialised(gpu, desc.clone(), 0)?;
            if !bytes.is_empty() {
                tensor.write(bytes)?;
            }
            Ok(tensor)
        }
    }
}

/// A value of the host as a new tensor. Integers that 32 bits do not hold, and indices out of their axis, are errors.
pub(super) fn value_to_tensor(gpu: &Arc<Gpu>, value: &Value, desc: &TensorDesc, indices_below: Option<usize>) -> Result<Tensor> {
    let tensor = Tensor::uninitialised(gpu, desc.clone(), 0)?;
    if value.is_empty() {
        return Ok(tensor);
    }
    if desc.dtype() != DType::I32 {
        tensor.write(&to_bytes(&value.as_f32(), desc.dtype()))?;
        return Ok(tensor);
    }
    let fit = |number: i64| {
        let inside = indices_below.is_none_or(|size| (-(size as i64)..size as i64).contains(&number));
        if !inside {
            let size = indices_below.unwrap_or_default();
            return Err(Error::invalid("indices", format!("{number} is outside an axis of {size} elements")));
        }
        i32::try_from(number)
            .map_err(|_| Error::unsupported("input", format!("has the number {number}, but a device holds 32 bits")))
    };
    let words = value.to_i64().into_iter().map(fit).collect::<Result<Vec<i32>>>()?;
    tensor.write(bytemuck::cast_slice(&words))?;
    Ok(tensor)
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
