//! [`Value`]: a tensor on the host, of any element type that networks use.
//!
//! Devices hold f32, f16 and i32 ([`Tensor`](crate::Tensor)); shapes, masks and constants of a network may be of other types, and
//! the reference computes on all of them. Arithmetic stands in `graph::ops`: here are only the elements.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::spatial::write_dims;

macro_rules! element_types {
    ($($variant:ident $type:ty, $name:literal, $onnx:literal, $doc:literal;)*) => {
        /// The type of a value's elements: ONNX's numeric types.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ElementType {
            $(#[doc = $doc] $variant,)*
        }

        impl ElementType {
            /// All of them.
            pub(crate) const ALL: &'static [ElementType] = &[$(ElementType::$variant),*];

            /// The name, as in Rust: `f32`, `i64`, `bool`.
            pub fn name(self) -> &'static str {
                match self { $(ElementType::$variant => $name,)* }
            }

            /// The number in ONNX's `TensorProto.DataType`.
            pub(crate) fn onnx(self) -> i32 {
                match self { $(ElementType::$variant => $onnx,)* }
            }

            /// Bytes of one element.
            pub fn bytes(self) -> usize {
                match self { $(ElementType::$variant => size_of::<$type>(),)* }
            }
        }

        /// The elements of a [`Value`], in row-major order.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Data {
            $(#[doc = $doc] $variant(Vec<$type>),)*
        }

        impl Data {
            /// Their type.
            pub fn element(&self) -> ElementType {
                match self { $(Data::$variant(_) => ElementType::$variant,)* }
            }

            /// How many.
            pub fn len(&self) -> usize {
                match self { $(Data::$variant(list) => list.len(),)* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The elements with these indices, and the type's zero for each `None`.
            fn select(&self, indices: &[Option<usize>]) -> Data {
                match self {
                    $(Data::$variant(list) => {
                        Data::$variant(indices.iter().map(|index| index.map_or(<$type>::default(), |index| list[index])).collect())
                    })*
                }
            }

            /// The elements of a range.
            fn part(&self, range: std::ops::Range<usize>) -> Data {
                match self { $(Data::$variant(list) => Data::$variant(list[range].to_vec()),)* }
            }

            /// `len` zeros.
            fn zeros(element: ElementType, len: usize) -> Data {
                match element { $(ElementType::$variant => Data::$variant(vec![<$type>::default(); len]),)* }
            }

            /// Appends elements of the same type.
            fn extend(&mut self, more: &Data) -> bool {
                match (self, more) {
                    $((Data::$variant(list), Data::$variant(more)) => list.extend_from_slice(more),)*
                    _ => return false,
                }
                true
            }
        }

        $(impl From<Vec<$type>> for Data {
            fn from(list: Vec<$type>) -> Self {
                Data::$variant(list)
            }
        }

        impl<'a> TryFrom<&'a Data> for &'a [$type] {
            type Error = Error;
            fn try_from(data: &'a Data) -> Result<Self> {
                match data {
                    Data::$variant(list) => Ok(list),
                    _ => Err(Error::invalid("value", format!("has elements of {}, but {} is asked for", data.element(), $name))),
                }
            }
        })*
    };
}

element_types! {
    F32 f32, "f32", 1, "32-bit IEEE float.";
    F64 f64, "f64", 11, "64-bit IEEE float.";
    F16 f16, "f16", 10, "16-bit IEEE float.";
    Bf16 bf16, "bf16", 16, "The upper half of an f32.";
    I8 i8, "i8", 3, "8-bit signed integer.";
    I16 i16, "i16", 5, "16-bit signed integer.";
    I32 i32, "i32", 6, "32-bit signed integer.";
    I64 i64, "i64", 7, "64-bit signed integer.";
    U8 u8, "u8", 2, "8-bit unsigned integer.";
    U16 u16, "u16", 4, "16-bit unsigned integer.";
    U32 u32, "u32", 12, "32-bit unsigned integer.";
    U64 u64, "u64", 13, "64-bit unsigned integer.";
    Bool bool, "bool", 9, "A truth value.";
}

impl ElementType {
    /// The type with this number in ONNX's `TensorProto.DataType`.
    pub(crate) fn from_onnx(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|element| element.onnx() == number)
    }

    /// Whether this is one of the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, ElementType::F32 | ElementType::F64 | ElementType::F16 | ElementType::Bf16)
    }

    /// The least and the greatest value of an integer type or bool.
    pub(crate) fn range(self) -> Option<(i128, i128)> {
        let signed = |bits: u32| Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1));
        let unsigned = |bits: u32| Some((0, (1i128 << bits) - 1));
        match self {
            ElementType::I8 => signed(8),
            ElementType::I16 => signed(16),
            ElementType::I32 => signed(32),
            ElementType::I64 => signed(64),
            ElementType::U8 => unsigned(8),
            ElementType::U16 => unsigned(16),
            ElementType::U32 => unsigned(32),
            ElementType::U64 => unsigned(64),
            ElementType::Bool => unsigned(1),
            _ => None,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor on the host: a shape and its elements in row-major order.
///
/// # Examples
/// ```
/// use wgconv::Value;
/// let value = Value::new(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0])?;
/// assert_eq!(value.to_string(), "2x2 f32");
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    shape: Vec<usize>,
    data: Data,
}

/// The product of a shape's sizes, where it is a number of elements that memory can hold.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).filter(|&product| product <= isize::MAX as usize)
}

/// The product of a shape's sizes with 1 for those that are 0, saturated: what is gone through, or kept in lists, where a tensor without
/// elements is taken apart by some of its axes.
pub(crate) fn extent(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product: usize, &size| product.saturating_mul(size.max(1)))
}

/// A number that rounds to 16-bit floats as `value` does. The conversions of `half` see only the upper half of an f64; one bit there
/// for all of the lower half, far below what they keep, tells a tie from more than a tie.
fn upper_half(value: f64) -> f64 {
    let bits = value.to_bits();
    f64::from_bits(bits | u64::from(bits & 0xffff_ffff != 0) << 32)
}

impl Value {
    /// Elements of a shape.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the number of elements is not the shape's.
    pub fn new(shape: &[usize], data: impl Into<Data>) -> Result<Self> {
        let data = data.into();
        if elements(shape) != Some(data.len()) {
            return Err(Error::invalid("value", format!("data has {} elements, but the shape is {shape:?}", data.len())));
        }
        Ok(Self { shape: shape.to_vec(), data })
    }

    /// A value without axes.
    pub fn scalar<T>(value: T) -> Self
    where
        Data: From<Vec<T>>,
    {
        Self { shape: Vec::new(), data: vec![value].into() }
    }

    /// A list of int64, as shapes and axes are given.
    pub fn list(numbers: &[i64]) -> Self {
        Self { shape: vec![numbers.len()], data: Data::I64(numbers.to_vec()) }
    }

    /// Zeros.
    pub(crate) fn zeros(element: ElementType, shape: &[usize]) -> Self {
        let len = elements(shape).expect("shapes are checked where they are inferred");
        Self { shape: shape.to_vec(), data: Data::zeros(element, len) }
    }

    /// Floats rounded to nearest in a floating-point type.
    ///
    /// # Panics
    /// Where the length is not the shape's, or the type is not a float: both are checked where types are inferred.
    pub(crate) fn from_floats(element: ElementType, shape: &[usize], list: Vec<f64>) -> Self {
        assert_eq!(elements(shape), Some(list.len()), "a result has the elements of its inferred shape {shape:?}");
        let data = match element {
            ElementType::F64 => Data::F64(list),
            ElementType::F32 => Data::F32(list.into_iter().map(|value| value as f32).collect()),
            ElementType::F16 => Data::F16(list.into_iter().map(|value| f16::from_f64(upper_half(value))).collect()),
            ElementType::Bf16 => Data::Bf16(list.into_iter().map(|value| bf16::from_f64(upper_half(value))).collect()),
            _ => panic!("{element} is not a floating-point type"),
        };
        Self { shape: shape.to_vec(), data }
    }

    /// Integers wrapped into an integer type; for bool, whether they are not 0.
    ///
    /// # Panics
    /// As [`from_floats`](Self::from_floats).
    pub(crate) fn from_ints(element: ElementType, shape: &[usize], list: Vec<i128>) -> Self {
        assert_eq!(elements(shape), Some(list.len()), "a result has the elements of its inferred shape {shape:?}");
        // `as` between integers keeps the low bits: the wrapping that is wanted.
        let data = match element {
            ElementType::I8 => Data::I8(list.into_iter().map(|value| value as i8).collect()),
            ElementType::I16 => Data::I16(list.into_iter().map(|value| value as i16).collect()),
            ElementType::I32 => Data::I32(list.into_iter().map(|value| value as i32).collect()),
            ElementType::I64 => Data::I64(list.into_iter().map(|value| value as i64).collect()),
            ElementType::U8 => Data::U8(list.into_iter().map(|value| value as u8).collect()),
            ElementType::U16 => Data::U16(list.into_iter().map(|value| value as u16).collect()),
            ElementType::U32 => Data::U32(list.into_iter().map(|value| value as u32).collect()),
            ElementType::U64 => Data::U64(list.into_iter().map(|value| value as u64).collect()),
            ElementType::Bool => Data::Bool(list.into_iter().map(|value| value != 0).collect()),
            _ => panic!("{element} is not an integer type"),
        };
        Self { shape: shape.to_vec(), data }
    }

    /// The sizes of the axes, in elements.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The type of the elements.
    pub fn element(&self) -> ElementType {
        self.data.element()
    }

    /// The elements, where they are of this type.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where they are of another one.
    ///
    /// # Examples
    /// ```
    /// use wgconv::Value;
    /// let value = Value::new(&[2], vec![1i64, 2])?;
    /// assert_eq!(value.as_slice::<i64>()?, [1, 2]);
    /// assert!(value.as_slice::<f32>().is_err());
    /// # Ok::<(), wgconv::Error>(())
    /// ```
    pub fn as_slice<'a, T>(&'a self) -> Result<&'a [T]>
    where
        &'a [T]: TryFrom<&'a Data, Error = Error>,
    {
        (&self.data).try_into()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements as f64, exact for every type but 64-bit integers; bools are 0 and 1.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F64(list) => list.clone(),
            Data::F32(list) => list.iter().map(|&value| f64::from(value)).collect(),
            Data::F16(list) => list.iter().map(|value| value.to_f64()).collect(),
            Data::Bf16(list) => list.iter().map(|value| value.to_f64()).collect(),
            _ => self.to_i128().into_iter().map(|value| value as f64).collect(),
        }
    }

    /// The elements as f32, rounded to nearest.
    pub fn to_f32(&self) -> Vec<f32> {
        self.as_f32().into_owned()
    }

    /// [`to_f32`](Self::to_f32) that gives the list itself where the elements are f32.
    pub fn into_f32(self) -> Vec<f32> {
        match self.data {
            Data::F32(list) => list,
            _ => self.to_f32(),
        }
    }

    /// [`to_f32`](Self::to_f32) without a copy where they are f32 already.
    pub(crate) fn as_f32(&self) -> Cow<'_, [f32]> {
        match &self.data {
            Data::F32(list) => list.into(),
            Data::F16(list) => list.iter().map(|value| value.to_f32()).collect(),
            _ => self.to_f64().into_iter().map(|value| value as f32).collect(),
        }
    }

    /// The elements as integers: floats towards zero and held in the range, NaN as 0; bools are 0 and 1.
    pub fn to_i128(&self) -> Vec<i128> {
        match &self.data {
            Data::I8(list) => list.iter().map(|&value| value.into()).collect(),
            Data::I16(list) => list.iter().map(|&value| value.into()).collect(),
            Data::I32(list) => list.iter().map(|&value| value.into()).collect(),
            Data::I64(list) => list.iter().map(|&value| value.into()).collect(),
            Data::U8(list) => list.iter().map(|&value| value.into()).collect(),
            Data::U16(list) => list.iter().map(|&value| value.into()).collect(),
            Data::U32(list) => list.iter().map(|&value| value.into()).collect(),
            Data::U64(list) => list.iter().map(|&value| value.into()).collect(),
            Data::Bool(list) => list.iter().map(|&value| value.into()).collect(),
            _ => self.to_f64().into_iter().map(|value| value as i128).collect(),
        }
    }

    /// The elements as int64, saturated: what shapes, axes and indices are read as.
    pub(crate) fn to_i64(&self) -> Vec<i64> {
        let saturate = |value: i128| value.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.to_i128().into_iter().map(saturate).collect()
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn reshape(mut self, shape: &[usize]) -> Result<Self> {
        if elements(shape) != Some(self.len()) {
            return Err(Error::invalid("shape", format!("{shape:?} has not as many elements as {:?}", self.shape)));
        }
        self.shape = shape.to_vec();
        Ok(self)
    }

    /// The elements with these flat indices as a value of `shape`; the type's zero for each `None`.
    ///
    /// # Panics
    /// Where an index is beyond the elements or their number is not the shape's.
    pub(crate) fn select(&self, shape: &[usize], indices: &[Option<usize>]) -> Self {
        assert_eq!(elements(shape), Some(indices.len()), "a result has the elements of its inferred shape {shape:?}");
        Self { shape: shape.to_vec(), data: self.data.select(indices) }
    }

    /// Items of the first axis.
    ///
    /// # Panics
    /// Where there is no such axis, or it has fewer items.
    pub(crate) fn rows(&self, rows: std::ops::Range<usize>) -> Self {
        let item: usize = self.shape[1..].iter().product();
        let shape = [&[rows.len()], &self.shape[1..]].concat();
        Self { shape, data: self.data.part(rows.start * item..rows.end * item) }
    }

    /// Appends another value's elements and gives the result this shape.
    ///
    /// # Panics
    /// Where the types differ or the shape does not hold the sum.
    pub(crate) fn append(mut self, more: &Value, shape: &[usize]) -> Self {
        assert!(self.data.extend(&more.data), "only values of one type are appended");
        assert_eq!(elements(shape), Some(self.len()), "a result has the elements of its inferred shape {shape:?}");
        self.shape = shape.to_vec();
        self
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dims(f, &self.shape)?;
        write!(f, "{}{}", if self.shape.is_empty() { "scalar " } else { " " }, self.element())
    }
}
