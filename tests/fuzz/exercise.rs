//! What is done with bytes that may be anything: every way into the importer, and then the shapes and numbers of whatever came out.
//! Nothing may panic, hang or take much memory; errors are what is expected.

use wgconv::{Bindings, Data, Dim, ElementType, Graph, Value, onnx};

/// Bytes that constants may take.
const FOLD_LIMIT: usize = 1 << 20;
/// Elements of an input up to which the model is computed and not only checked.
const MAX_ELEMENTS: usize = 1 << 12;

/// Imports the bytes as a model and as a tensor; binds a model to small shapes, and computes it by the reference where it is small.
pub fn exercise(bytes: &[u8]) {
    let _ = onnx::tensor(bytes);
    let _ = onnx::operators(bytes);
    let Ok(graph) = onnx::from_bytes(bytes) else { return };
    let _ = graph.to_string();
    let dims = graph.symbols().into_iter().map(|symbol| (symbol, 2)).collect();
    let shapes: Vec<_> = graph.input_names().into_iter().map(|name| (name.to_string(), shape(&graph, name))).collect();
    let mut bindings = Bindings { dims, shapes, fold_limit: Some(FOLD_LIMIT), ..Default::default() };
    let _ = graph.bind(&bindings);
    for (name, shape) in &bindings.shapes {
        let element = graph.input_dims(name).map_or(ElementType::F32, |(element, _)| element);
        if let Some(value) = ones(element, shape) {
            bindings.fixed.push((name.clone(), value));
        }
    }
    let _ = graph.bind(&bindings);
}

/// The shape that an input says, with 2 for what it does not say.
fn shape(graph: &Graph, name: &str) -> Vec<usize> {
    let Some((_, dims)) = graph.input_dims(name) else { return vec![2, 2] };
    let size = |dim: &Dim| if let Dim::Known(size) = dim { *size } else { 2 };
    dims.iter().map(size).collect()
}

/// A value of ones, where it is small.
fn ones(element: ElementType, shape: &[usize]) -> Option<Value> {
    let count =
        shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).filter(|&count| count <= MAX_ELEMENTS)?;
    let data: Data = match element {
        ElementType::F64 => vec![1.0f64; count].into(),
        ElementType::I8 => vec![1i8; count].into(),
        ElementType::I16 => vec![1i16; count].into(),
        ElementType::I32 => vec![1i32; count].into(),
        ElementType::I64 => vec![1i64; count].into(),
        ElementType::U8 => vec![1u8; count].into(),
        ElementType::U16 => vec![1u16; count].into(),
        ElementType::U32 => vec![1u32; count].into(),
        ElementType::U64 => vec![1u64; count].into(),
        ElementType::Bool => vec![true; count].into(),
        _ => vec![1.0f32; count].into(),
    };
    Value::new(shape, data).ok()
}
