//! `ndarray`'s arrays in and out, views of any strides included. Feature `ndarray`.

use ndarray::{ArrayBase, ArrayD, Data as Storage, Dimension, IxDyn};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::tensor::{Element, Tensor};
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::{Data, Value};

impl Engine {
    /// Copies an array to the device as a tensor of its shape, in row-major order whatever the array's strides are; f16 tensors get the
    /// numbers rounded to nearest.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    ///
    /// # Examples
    /// ```no_run
    /// use ndarray::Array4;
    /// use wgconv::{DType, Engine, EngineDesc};
    /// let engine = Engine::new(&EngineDesc::default())?;
    /// let pictures = Array4::<f32>::zeros((1, 224, 224, 3)); // n h w c
    /// let x = engine.upload_array(&pictures.view().permuted_axes([0, 3, 1, 2]), DType::F32)?;
    /// assert_eq!(x.to_array::<f32>()?.shape(), [1, 3, 224, 224]);
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn upload_array<S, D>(&self, array: &ArrayBase<S, D>, dtype: DType) -> Result<Tensor>
    where
        S: Storage<Elem = f32>,
        D: Dimension,
    {
        let desc = TensorDesc::new(array.shape(), dtype);
        let standard = array.as_standard_layout();
        self.upload(standard.as_slice().expect("an array in standard layout is a slice"), &desc)
    }
}

impl Tensor {
    /// The elements as an array of the tensor's shape; waits as [`to_vec`](Self::to_vec) does.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    pub fn to_array<T: Element>(&self) -> Result<ArrayD<T>> {
        array(self.desc().shape(), self.to_vec()?)
    }

    /// [`to_array`](Self::to_array) without blocking the thread.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    pub async fn to_array_async<T: Element>(&self) -> Result<ArrayD<T>> {
        array(self.desc().shape(), self.to_vec_async().await?)
    }
}

impl<S, D> From<&ArrayBase<S, D>> for Value
where
    S: Storage,
    S::Elem: Clone,
    D: Dimension,
    Data: From<Vec<S::Elem>>,
{
    /// A value of the array's shape, in row-major order whatever the array's strides are.
    fn from(array: &ArrayBase<S, D>) -> Self {
        let list: Vec<S::Elem> = array.iter().cloned().collect();
        Value::new(array.shape(), list).expect("an array has as many elements as its shape says")
    }
}

impl Value {
    /// The elements as an array of the value's shape.
    ///
    /// # Errors
    /// As [`as_slice`](Self::as_slice).
    ///
    /// # Examples
    /// ```
    /// use ndarray::array;
    /// use wgconv::Value;
    /// let matrix = array![[1i64, 2, 3], [4, 5, 6]];
    /// let value = Value::from(&matrix.t());
    /// assert_eq!(value.shape(), [3, 2]);
    /// assert_eq!(value.to_array::<i64>()?, matrix.t().into_dyn());
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn to_array<'a, T: Clone + 'a>(&'a self) -> Result<ArrayD<T>>
    where
        &'a [T]: TryFrom<&'a Data, Error = Error>,
    {
        array(self.shape(), self.as_slice::<T>()?.to_vec())
    }
}

fn array<T>(shape: &[usize], list: Vec<T>) -> Result<ArrayD<T>> {
    // `ndarray` refuses shapes whose sizes other than 0 multiply to more than `isize::MAX`, though there are no elements.
    ArrayD::from_shape_vec(IxDyn(shape), list)
        .map_err(|error| Error::unsupported("shape", format!("{shape:?} is no array: {error}")))
}
