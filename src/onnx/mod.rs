//! Models in ONNX's format become [`Graph`]s.
//!
//! Opsets 1 to 28 of ONNX's own operators are read, all numeric element types, tensors in the model or in files beside it, and
//! functions of the model, which are put in the place of their calls. Subgraphs (`If`, `Loop`), sequences, strings and sparse tensors are
//! not. What cannot be imported is one error that names every node, its operator and opset, and the attribute; a file that is broken is
//! an error too. Shapes are looked at by [`Graph::bind`] only.

mod attribute;
mod external;
mod functions;
mod import;
mod importer;
mod node;
mod operators;

mod proto;
mod tensor;
mod weigh;

use std::collections::HashMap;
use std::path::Path;

use prost::Message;
use prost::bytes::Bytes;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::value::Value;
use external::Folder;

/// The operators of ONNX that can be imported, in alphabetical order, and the opset that each came with. Not every attribute of each is
/// supported: what is not, an import names.
///
/// # Examples
/// ```
/// assert!(wgconv::onnx::supported().any(|(name, since)| name == "Conv" && since == 1));
/// ```
pub fn supported() -> impl Iterator<Item = (&'static str, i64)> {
    operators::names()
}

/// The graph of the model in a file; tensor data may be in other files in its folder.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with a line for each thing in the model that is not supported;
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the file cannot be read, or is wrong.
///
/// # Examples
/// ```no_run
/// let graph = wgconv::onnx::load("model.onnx")?;
/// println!("{graph}");
/// # Ok::<(), wgconv::Error>(())
/// ```
pub fn load(path: impl AsRef<Path>) -> Result<Graph> {
    load_with(path, |_| None)
}

/// [`load`] with values in place of the file's: whatever the function gives for the name of an initialiser or of a node's result. What
/// computed only values that are replaced is left out.
///
/// # Errors
/// As [`load`].
///
/// # Examples
/// ```no_run
/// use wgconv::{Value, onnx};
/// let graph = onnx::load_with("model.onnx", |name| (name == "bias").then(|| Value::scalar(1.0f32)))?;
/// # Ok::<(), wgconv::Error>(())
/// ```
pub fn load_with(path: impl AsRef<Path>, mut replace: impl FnMut(&str) -> Option<Value>) -> Result<Graph> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|error| Error::invalid("file", format!("{}: {error}", path.display())))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    import(bytes.into(), &Folder::at(folder), &mut replace)
}

/// The graph of a model that is in memory as a whole.
///
/// # Errors
/// As [`load`]; tensor data in other files is an error too.
///
/// # Examples
/// ```
/// let error = wgconv::onnx::from_bytes(b"no model").unwrap_err();
/// assert_eq!(error.kind(), wgconv::ErrorKind::Invalid);
/// ```
pub fn from_bytes(bytes: &[u8]) -> Result<Graph> {
    import(Bytes::copy_from_slice(bytes), &Folder::None, &mut |_| None)
}

/// The value in a file that holds one tensor, such as `input_0.pb` of ONNX's tests.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the bytes are no tensor or its data is not as long as its shape says,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for tensors of strings and of types below 8 bits.
///
/// # Examples
/// ```
/// use wgconv::{Value, onnx};
/// // Field 1: dims = [1]; field 2: data type 2, which is u8; field 9: one byte.
/// let value = onnx::tensor(&[0x08, 1, 0x10, 2, 0x4a, 1, 7])?;
/// assert_eq!(value, Value::new(&[1], vec![7u8])?);
/// # Ok::<(), wgconv::Error>(())
/// ```
pub fn tensor(bytes: &[u8]) -> Result<Value> {
    let tensor = proto::Tensor::decode(Bytes::copy_from_slice(bytes)).map_err(|error| undecodable("tensor", &error))?;
    tensor::value(&tensor, &Folder::None)
}

/// The operators in a model, each with how many nodes it has, in the order of their first; nothing of it is imported.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the bytes are no model.
///
/// # Examples
/// ```no_run
/// let operators = wgconv::onnx::operators(&std::fs::read("model.onnx").unwrap())?;
/// assert_eq!(operators[0], ("Conv".to_string(), 26));
/// # Ok::<(), wgconv::Error>(())
/// ```
pub fn operators(bytes: &[u8]) -> Result<Vec<(String, usize)>> {
    let model = decode(Bytes::copy_from_slice(bytes))?;
    let mut places = HashMap::new();
    let mut list: Vec<(String, usize)> = Vec::new();
    for node in model.graph.iter().flat_map(|graph| &graph.node) {
        let at = *places.entry(node.op_type.as_str()).or_insert(list.len());
        match list.get_mut(at) {
            Some((_, count)) => *count += 1,
            None => list.push((node.op_type.clone(), 1)),
        }
    }
    Ok(list)
}

fn import(bytes: Bytes, folder: &Folder, replace: &mut importer::Replace) -> Result<Graph> {
    let model = decode(bytes)?;
    importer::import_model(&model, folder, replace)
}

fn decode(bytes: Bytes) -> Result<proto::Model> {
    weigh::check(&bytes)?;
    proto::Model::decode(bytes).map_err(|error| undecodable("model", &error))
}

fn undecodable(what: &'static str, error: &prost::DecodeError) -> Error {
    Error::invalid(what, format!("is not in ONNX's format: {error}"))
}
