//! A network's file and what lies beside it: the recipe of its weights, inputs, the outputs that they must give.
//!
//! It runs nothing; `network` does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use half::f16;
use wgconv::{Bindings, Data, Dim, ElementType, Graph, Value, onnx};

use crate::case::Random;
use crate::recipe::Recipe;

/// A graph, and inputs to run it on.
pub struct Model {
    pub name: String,
    pub graph: Graph,
    /// From the file to the graph, the recipe's weights included.
    pub load: Duration,
    /// In the order of the graph's inputs.
    pub inputs: Vec<Value>,
    /// What the graph must give on them, where a file says so.
    pub expected: Option<Vec<Value>>,
}

impl Model {
    /// Reads `FILE.onnx`, and `recipe.json` and `test_data_set_0` beside it where they are.
    ///
    /// # Errors
    /// A text that names the file, or the input of which not enough is known.
    pub fn load(path: &Path, seed: u64) -> Result<Self, String> {
        let start = Instant::now();
        let beside = path.with_file_name("recipe.json");
        let recipe = match std::fs::read(&beside) {
            Ok(bytes) => Some(Recipe::read(&bytes).map_err(|error| format!("{}: {error}", beside.display()))?),
            Err(_) => None,
        };
        let graph = onnx::load_with(path, |name| recipe.as_ref()?.parameter(name)).map_err(|error| {
            let (text, name) = (error.to_string(), path.display().to_string());
            if text.contains(&name) { text } else { format!("{name}: {text}") }
        })?;
        let load = start.elapsed();
        let set = path.with_file_name("test_data_set_0");
        let about = |error: String| format!("{}: {error}", path.display());
        let (inputs, expected) = inputs(&graph, recipe.as_ref(), &set, seed).map_err(about)?;
        Ok(Self { name: name(path), graph, load, inputs, expected })
    }

    /// The shapes of these inputs; inputs that shapes depend on are fixed, and then no longer inputs.
    pub fn bindings(&self, inputs: &[Value]) -> (Bindings, Vec<Value>) {
        let names = self.graph.input_names();
        let named = |fixed: bool| {
            let pairs = names.iter().zip(inputs);
            pairs.filter(move |(_, value)| fixed != value.element().is_float()).map(|(name, value)| (name.to_string(), value))
        };
        let shapes = |(name, value): (String, &Value)| (name, value.shape().to_vec());
        let free = Bindings {
            shapes: names.iter().map(|name| name.to_string()).zip(inputs).map(shapes).collect(),
            ..Default::default()
        };
        match self.graph.bind(&free) {
            Err(error) if error.message().contains("NetworkDesc::fixed") => {
                let fixed = named(true).map(|(name, value)| (name, value.clone())).collect();
                let bindings = Bindings { shapes: named(false).map(shapes).collect(), fixed, ..Default::default() };
                (bindings, named(false).map(|(_, value)| value.clone()).collect())
            }
            _ => (free, inputs.to_vec()),
        }
    }

    /// The items that the inputs hold: their common first axis, or 1.
    pub fn batch(&self) -> usize {
        let first = |value: &Value| value.shape().first().copied();
        let sizes: Vec<_> = self.inputs.iter().filter(|value| value.element().is_float()).map(first).collect();
        match sizes.first() {
            Some(&Some(batch)) if sizes.iter().all(|&size| size == Some(batch)) => batch.max(1),
            _ => 1,
        }
    }

    /// The inputs so many times over on their first axis.
    ///
    /// # Errors
    /// The reason why the model takes no such batch.
    pub fn batched(&self, times: usize) -> Result<Vec<Value>, String> {
        let repeat = |(name, value): (&str, &Value)| {
            let first = self.graph.input_dims(name).and_then(|(_, dims)| dims.first());
            if let Some(Dim::Known(size)) = first {
                return Err(format!("the model fixes the batch of its input `{name}` at {size}"));
            }
            let mut shape = value.shape().to_vec();
            let axis = shape.first_mut().ok_or_else(|| format!("the model's input `{name}` has no axes"))?;
            *axis *= times;
            let data = match value.data() {
                Data::F32(list) => Data::F32(list.repeat(times)),
                Data::F16(list) => Data::F16(list.repeat(times)),
                other => return Err(format!("the model's input `{name}` is of {}", other.element())),
            };
            Value::new(&shape, data).map_err(|error| error.to_string())
        };
        self.graph.input_names().into_iter().zip(&self.inputs).map(repeat).collect()
    }
}

/// All that [`Model::load`] may read.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let set = std::fs::read_dir(path.with_file_name("test_data_set_0"));
    let set = set.into_iter().flatten().flatten().map(|entry| entry.path());
    [path.into(), path.with_file_name("recipe.json")].into_iter().chain(set).collect()
}

/// That of the folder for the file of a test case, which is always called model.onnx.
pub fn name(path: &Path) -> String {
    let part = |part: Option<&std::ffi::OsStr>| part.map_or(String::new(), |text| text.to_string_lossy().into_owned());
    let stem = part(path.file_stem());
    if stem != "model" {
        return stem;
    }
    let folder = part(path.parent().and_then(Path::file_name));
    if folder.is_empty() { stem } else { folder }
}

/// Inputs, and the outputs that are expected of them.
fn inputs(graph: &Graph, recipe: Option<&Recipe>, set: &Path, seed: u64) -> Result<(Vec<Value>, Option<Vec<Value>>), String> {
    let names = graph.input_names();
    let mut given = tensors(set, "input")?;
    if let (Some(recipe), [_]) = (recipe, names.as_slice()) {
        given = vec![recipe.input()];
    }
    if given.len() == names.len() && !given.is_empty() {
        let expected = tensors(set, "output")?;
        return Ok((given, (expected.len() == graph.output_names().len()).then_some(expected)));
    }
    if !given.is_empty() {
        return Err(format!("the graph's inputs are {}, but {} has {}", names.join(", "), set.display(), given.len()));
    }
    let mut random = Random(seed);
    let list = names.into_iter().map(|name| random_input(graph, name, &mut random));
    Ok((list.collect::<Result<_, String>>()?, None))
}

/// Random numbers of the shape that the graph says, of one item where it says nothing of the first axis.
fn random_input(graph: &Graph, name: &str, random: &mut Random) -> Result<Value, String> {
    let hint = "put input_0.pb, .. into a folder test_data_set_0 beside the model";
    let (element, dims) = graph.input_dims(name).ok_or_else(|| format!("nothing is known of the input `{name}`: {hint}"))?;
    let size = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Known(size) => Ok(*size),
        _ if axis == 0 => Ok(1),
        _ => Err(format!("the model leaves axis {axis} of its input `{name}` open: {hint}")),
    };
    let shape = dims.iter().enumerate().map(size).collect::<Result<Vec<usize>, String>>()?;
    let len = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).filter(|&len| len < 1 << 31);
    let len = len.ok_or_else(|| format!("the model's input `{name}` of {shape:?} has more than 2^31 - 1 elements"))?;
    let numbers = random.list(len, wgconv::DType::F32);
    let data = match element {
        ElementType::F32 => Data::F32(numbers),
        ElementType::F16 => Data::F16(numbers.into_iter().map(f16::from_f32).collect()),
        other => {
            return Err(format!("the model's input `{name}` is of {other}, of which no random numbers would make sense: {hint}"));
        }
    };
    Value::new(&shape, data).map_err(|error| error.to_string())
}

/// `input_0.pb`, `input_1.pb`, .. of a folder, none where it is not there.
fn tensors(set: &Path, what: &str) -> Result<Vec<Value>, String> {
    let file = |number: usize| -> PathBuf { set.join(format!("{what}_{number}.pb")) };
    let read = |number: usize| std::fs::read(file(number)).ok().map(|bytes| (number, bytes));
    let tensor =
        |(number, bytes): (usize, Vec<u8>)| onnx::tensor(&bytes).map_err(|error| format!("{}: {error}", file(number).display()));
    (0..).map_while(read).map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_by_its_file_or_where_that_says_nothing_by_its_folder() {
        for (path, expected) in [("a/squeezenet/model.onnx", "squeezenet"), ("a/b.onnx", "b"), ("model.onnx", "model")] {
            assert_eq!(name(Path::new(path)), expected);
        }
    }

    #[test]
    fn inputs_are_made_up_where_the_graph_says_enough() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", &["N".into(), 2.into()]);
        graph.output("y", x);
        let (inputs, expected) = inputs(&graph, None, Path::new("/nowhere"), 1).expect("only the batch is open");
        assert_eq!((inputs[0].shape(), expected), ([1, 2].as_slice(), None));
        let model = Model { name: "g".into(), graph: graph.clone(), load: Duration::ZERO, inputs, expected: None };
        assert_eq!(model.batched(8).expect("any batch is taken")[0].shape(), [8, 2]);
        graph.input("z", &[1.into(), "L".into()]);
        let error = super::inputs(&graph, None, Path::new("/nowhere"), 1).expect_err("a length is open");
        assert!(error.contains("axis 1 of its input `z`"), "{error}");
    }

    #[test]
    fn a_fixed_batch_is_a_reason() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", &[1.into(), 2.into()]);
        graph.output("y", x);
        let inputs = vec![Value::new(&[1, 2], vec![0.0f32; 2]).expect("two numbers")];
        let model = Model { name: "g".into(), graph, load: Duration::ZERO, inputs, expected: None };
        assert_eq!(model.batched(8), Err("the model fixes the batch of its input `x` at 1".into()));
    }
}
