//! The network's file, and what it says about the pictures that it takes.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use wgconv::{Bindings, Dim, ElementType, Engine, Graph, Network, NetworkDesc, Value, onnx};

use crate::Result;
use crate::numbers::counted;
use crate::recipe::Recipe;

/// A small trained network for digits; source and licence: `examples/data/NOTICE`.
const BUNDLED: &[u8] = include_bytes!("../data/dsnet.onnx");

/// The order of a picture's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Channels before rows, as PyTorch has it
    Nchw,
    /// Channels last, as TensorFlow has it
    Nhwc,
}

pub struct Model {
    graph: Graph,
    recipe: Option<Recipe>,
}

/// What the network takes.
pub struct Input {
    pub name: String,
    pub element: ElementType,
    pub layout: Layout,
    /// Pictures at once; `None` where any number is taken.
    pub batch: Option<usize>,
    pub channels: usize,
    pub width: usize,
    pub height: usize,
}

/// Where the seeds of a model's weights may be.
pub fn recipe_beside(model: &Path) -> PathBuf {
    model.with_file_name("recipe.json")
}

impl Model {
    /// Reads a file, or takes the bundled one.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { graph: onnx::from_bytes(BUNDLED)?, recipe: None }) };
        let beside = recipe_beside(path);
        let recipe = match std::fs::read(&beside) {
            Ok(bytes) => Some(Recipe::read(&bytes).map_err(|error| format!("{}: {error}", beside.display()))?),
            Err(_) => None,
        };
        let graph = onnx::load_with(path, |name| recipe.as_ref()?.parameter(name));
        let graph = graph.map_err(|error| {
            let (text, name) = (error.to_string(), path.display().to_string());
            if text.contains(&name) { text } else { format!("{name}: {text}") }
        })?;
        Ok(Self { graph, recipe })
    }

    /// Whether there is an input to run on without a picture.
    pub fn has_recipe_input(&self) -> bool {
        self.recipe.is_some()
    }

    pub fn recipe_input(&self) -> Option<Value> {
        self.recipe.as_ref().map(Recipe::input)
    }

    /// The one input, as pictures.
    pub fn picture_input(&self, layout: Option<Layout>, size: Option<[usize; 2]>) -> Result<Input> {
        let names = self.graph.input_names();
        let [name] = names.as_slice() else {
            return Err(format!(
                "the model has {} ({}), but one is expected",
                counted(names.len(), "input", "inputs"),
                names.join(", ")
            )
            .into());
        };
        let Some((element, dims)) = self.graph.input_dims(name) else {
            return Err(format!("the model does not say what its input `{name}` is").into());
        };
        let known = |dim: &Dim| if let Dim::Known(size) = dim { Some(*size) } else { None };
        let [batch, axes @ ..] = dims else { return Err(no_picture(name, dims)) };
        let &[a, b, c] = axes.iter().map(known).collect::<Vec<_>>().as_slice() else { return Err(no_picture(name, dims)) };
        let channels_last = matches!(c, Some(1 | 3)) && !matches!(a, Some(1 | 3));
        let layout = layout.unwrap_or(if channels_last { Layout::Nhwc } else { Layout::Nchw });
        let (channels, height, width) = match layout {
            Layout::Nchw => (a, b, c),
            Layout::Nhwc => (c, a, b),
        };
        let channels = channels.unwrap_or(3);
        if channels != 1 && channels != 3 {
            return Err(format!("the model's input `{name}` has {channels} channels: a picture has 1 or 3").into());
        }
        let side = |axis: usize, fixed: Option<usize>| match (fixed, size.map(|size| size[axis])) {
            (Some(fixed), Some(size)) if fixed != size => Err(format!("--size: is {size}, but the model's input has {fixed}")),
            (Some(size), _) | (None, Some(size)) => Ok(size),
            (None, None) => Err(format!("the model takes pictures of any size (input `{name}`): say which with --size WxH")),
        };
        let (width, height) = (side(0, width)?, side(1, height)?);
        Ok(Input { name: name.to_string(), element, layout, batch: known(batch), channels, width, height })
    }

    /// Made ready for so many pictures at once.
    pub fn network(&self, engine: &Engine, input: &Input, batch: usize) -> Result<Network> {
        let shapes = vec![(input.name.clone(), input.shape(batch))];
        let bindings = Bindings { shapes, ..Default::default() };
        Ok(Network::new(engine, &self.graph, &NetworkDesc { bindings, ..Default::default() })?)
    }
}

fn no_picture(name: &str, dims: &[Dim]) -> Box<dyn std::error::Error> {
    format!("the model's input `{name}` has {}: a batch of pictures has 4", counted(dims.len(), "axis", "axes")).into()
}

impl Input {
    /// Of so many pictures.
    pub fn shape(&self, batch: usize) -> Vec<usize> {
        match self.layout {
            Layout::Nchw => vec![batch, self.channels, self.height, self.width],
            Layout::Nhwc => vec![batch, self.height, self.width, self.channels],
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Input { name, element, channels, width, height, .. } = self;
        let colours = if *channels == 1 { "grey" } else { "colour" };
        let layout = if self.layout == Layout::Nhwc { ", channels last" } else { "" };
        write!(f, "`{name}`: {colours} pictures of {width}x{height}, {element}{layout}")
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = if self.recipe.is_some() { ", weights from recipe.json" } else { "" };
        let ops: Vec<String> = self.graph.op_counts().iter().take(4).map(|(name, count)| format!("{count} {name}")).collect();
        let more = if self.graph.op_counts().len() > 4 { ", .." } else { "" };
        let nodes = counted(self.graph.node_count(), "node", "nodes");
        write!(f, "{}: {nodes} ({}{more}){weights}", self.graph.name(), ops.join(", "))
    }
}
