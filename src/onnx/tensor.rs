//! From `TensorProto` to [`Value`]: the length of the data is compared with the shape before anything of the shape's size is made.

use half::{bf16, f16};
use prost::bytes::Bytes;

use super::external::Folder;
use super::proto;
use crate::error::{Error, Result};
use crate::value::{Data, ElementType, Value, elements};

/// The names of ONNX's element types that are not in [`ElementType`].
const OTHER_TYPES: [(i32, &str); 14] = [
    (0, "undefined"),
    (8, "string"),
    (14, "complex64"),
    (15, "complex128"),
    (17, "float8e4m3fn"),
    (18, "float8e4m3fnuz"),
    (19, "float8e5m2"),
    (20, "float8e5m2fnuz"),
    (21, "uint4"),
    (22, "int4"),
    (23, "float4e2m1"),
    (24, "float8e8m0"),
    (25, "uint2"),
    (26, "int2"),
];

/// The type with this number.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the name of a type that no value can have,
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a number that no type has.
pub(super) fn element_type(number: i32) -> Result<ElementType> {
    if let Some(element) = ElementType::from_onnx(number) {
        return Ok(element);
    }
    match OTHER_TYPES.iter().find(|(other, _)| *other == number) {
        Some((0, _)) => Err(Error::invalid("type", "is not given")),
        Some((_, name)) => Err(Error::unsupported("type", format!("{name} is not supported"))),
        None => Err(Error::invalid("type", format!("{number} is not an element type of ONNX"))),
    }
}

/// The value of a tensor, whose data may lie in a file of `folder`.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where data and shape do not agree,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for types that are not numeric.
pub(super) fn value(tensor: &proto::Tensor, folder: &Folder) -> Result<Value> {
    let element = element_type(tensor.data_type)?;
    let shape = shape(&tensor.dims)?;
    let count = elements(&shape).ok_or_else(|| Error::invalid("dims", format!("{shape:?} are more than memory can hold")))?;
    if tensor.segment.is_some() {
        return Err(Error::unsupported("segment", "is given, but only whole tensors are supported"));
    }
    let external = tensor.data_location == 1;
    if !external && !tensor.external_data.is_empty() {
        return Err(Error::invalid("external_data", "is given, but data_location says that the data is in the model"));
    }
    let present = [
        ("external_data", external),
        ("raw_data", tensor.raw_data.as_ref().is_some_and(|raw| !raw.is_empty())),
        ("float_data", !tensor.float_data.is_empty()),
        ("int32_data", !tensor.int32_data.is_empty()),
        ("int64_data", !tensor.int64_data.is_empty()),
        ("double_data", !tensor.double_data.is_empty()),
        ("uint64_data", !tensor.uint64_data.is_empty()),
        ("string_data", !tensor.string_data.is_empty()),
    ];
    let fields: Vec<&str> = present.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect();
    let data = match fields.as_slice() {
        [] => {
            check_count("data", 0, count, &shape)?;
            from_raw(element, &[])
        }
        ["external_data"] => {
            let bytes = byte_count(count, element)?;
            from_raw(element, &folder.read(&tensor.external_data, bytes)?)
        }
        ["raw_data"] => raw(element, tensor.raw_data.as_ref(), count, &shape)?,
        [field] => from_lists(tensor, element, field, count, &shape)?,
        [first, second, ..] => {
            return Err(Error::invalid("data", format!("is given twice, in {first} and in {second}")));
        }
    };
    Value::new(&shape, data)
}

fn shape(dims: &[i64]) -> Result<Vec<usize>> {
    let size = |&dim: &i64| usize::try_from(dim).map_err(|_| Error::invalid("dims", format!("{dims:?} have a negative size")));
    dims.iter().map(size).collect()
}

fn byte_count(count: usize, element: ElementType) -> Result<usize> {
    count
        .checked_mul(element.bytes())
        .ok_or_else(|| Error::invalid("dims", format!("{count} elements of {element} are more than memory can hold")))
}

fn check_count(field: &'static str, got: usize, count: usize, shape: &[usize]) -> Result<()> {
    if got == count {
        return Ok(());
    }
    Err(Error::invalid(field, format!("has {got} elements, but the shape {shape:?} has {count}")))
}

fn raw(element: ElementType, raw: Option<&Bytes>, count: usize, shape: &[usize]) -> Result<Data> {
    let raw = raw.map_or(&[] as &[u8], |raw| raw);
    let wanted = byte_count(count, element)?;
    if raw.len() != wanted {
        let message = format!("has {} bytes, but {wanted} bytes are the shape {shape:?} of {element}", raw.len());
        return Err(Error::invalid("raw_data", message));
    }
    Ok(from_raw(element, raw))
}

/// Little-endian elements; of a last one that is cut off nothing is made.
fn from_raw(element: ElementType, raw: &[u8]) -> Data {
    macro_rules! words {
        ($type:ty) => {
            raw.chunks_exact(size_of::<$type>())
                .map(|word| <$type>::from_le_bytes(word.try_into().expect("chunks of this size")))
                .collect::<Vec<_>>()
                .into()
        };
    }
    match element {
        ElementType::F32 => words!(f32),
        ElementType::F64 => words!(f64),
        ElementType::F16 => words!(f16),
        ElementType::Bf16 => words!(bf16),
        ElementType::I8 => words!(i8),
        ElementType::I16 => words!(i16),
        ElementType::I32 => words!(i32),
        ElementType::I64 => words!(i64),
        ElementType::U8 => words!(u8),
        ElementType::U16 => words!(u16),
        ElementType::U32 => words!(u32),
        ElementType::U64 => words!(u64),
        ElementType::Bool => raw.iter().map(|&byte| byte != 0).collect::<Vec<_>>().into(),
    }
}

/// The elements of the one list that this type's elements are in.
fn from_lists(tensor: &proto::Tensor, element: ElementType, field: &str, count: usize, shape: &[usize]) -> Result<Data> {
    let home = match element {
        ElementType::F32 => "float_data",
        ElementType::F64 => "double_data",
        ElementType::I64 => "int64_data",
        ElementType::U32 | ElementType::U64 => "uint64_data",
        _ => "int32_data",
    };
    if field != home {
        return Err(Error::invalid("data", format!("of type {element} is in {field}, but belongs into {home} or raw_data")));
    }
    // Every list was made from the file's bytes: it is as long as it is, and only compared.
    let words = &tensor.int32_data;
    let outside = |word: &dyn std::fmt::Display| Error::invalid("data", format!("has {word}, which is no {element}"));
    macro_rules! narrow {
        ($list:expr, $type:ty) => {
            $list
                .iter()
                .map(|&word| <$type>::try_from(word).map_err(|_| outside(&word)))
                .collect::<Result<Vec<_>>>()
                .map(Data::from)
        };
    }
    let bits = || narrow!(words, u16);
    let data = match element {
        ElementType::F32 => tensor.float_data.clone().into(),
        ElementType::F64 => tensor.double_data.clone().into(),
        ElementType::I64 => tensor.int64_data.clone().into(),
        ElementType::U64 => tensor.uint64_data.clone().into(),
        ElementType::U32 => narrow!(tensor.uint64_data, u32)?,
        ElementType::I32 => words.clone().into(),
        ElementType::I8 => narrow!(words, i8)?,
        ElementType::I16 => narrow!(words, i16)?,
        ElementType::U8 => narrow!(words, u8)?,
        ElementType::U16 => bits()?,
        ElementType::Bool => words.iter().map(|&word| word != 0).collect::<Vec<_>>().into(),
        ElementType::F16 | ElementType::Bf16 => match bits()? {
            Data::U16(list) if element == ElementType::F16 => list.into_iter().map(f16::from_bits).collect::<Vec<_>>().into(),
            Data::U16(list) => list.into_iter().map(bf16::from_bits).collect::<Vec<_>>().into(),
            other => other,
        },
    };
    check_count("data", data.len(), count, shape)?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: i32, dims: &[i64]) -> proto::Tensor {
        proto::Tensor { data_type, dims: dims.to_vec(), ..Default::default() }
    }

    #[test]
    fn halves_come_from_bits_and_from_raw_bytes() {
        let one = f16::from_f32(1.0);
        let listed = proto::Tensor { int32_data: vec![i32::from(one.to_bits())], ..tensor(10, &[1]) };
        let raw = proto::Tensor { raw_data: Some(one.to_le_bytes().to_vec().into()), ..tensor(10, &[1]) };
        for tensor in [listed, raw] {
            assert_eq!(value(&tensor, &Folder::None).unwrap(), Value::new(&[1], vec![one]).unwrap());
        }
    }

    #[test]
    fn shapes_that_the_data_does_not_have_are_refused_without_allocating() {
        for (dims, what) in [
            (vec![1 << 40], "data has 0 elements, but the shape [1099511627776] has 1099511627776"),
            (vec![i64::MAX, i64::MAX], "more than memory can hold"),
            (vec![-1], "negative size"),
        ] {
            let error = value(&tensor(1, &dims), &Folder::None).unwrap_err().to_string().replace("invalid data: ", "data ");
            assert!(error.contains(what), "{error}");
        }
        assert_eq!(value(&tensor(1, &[3, 0]), &Folder::None).unwrap().shape(), [3, 0]);
    }

    #[test]
    fn numbers_outside_of_their_type_and_foreign_lists_are_refused() {
        let wide = proto::Tensor { int32_data: vec![300], ..tensor(2, &[1]) };
        assert_eq!(value(&wide, &Folder::None).unwrap_err().to_string(), "invalid data: has 300, which is no u8");
        let foreign = proto::Tensor { float_data: vec![1.0], ..tensor(7, &[1]) };
        assert!(value(&foreign, &Folder::None).unwrap_err().to_string().contains("belongs into int64_data"));
        let text = proto::Tensor { string_data: vec![Bytes::from_static(b"a")], ..tensor(8, &[1]) };
        assert_eq!(value(&text, &Folder::None).unwrap_err().to_string(), "unsupported type: string is not supported");
    }
}
