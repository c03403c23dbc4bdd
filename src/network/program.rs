//! [`Program`]: a network as steps on device values, before any buffer exists. Plain data, made by `lower`.

use std::sync::Arc;

use crate::algorithm::Plan;
use crate::graph::ValueId;
use crate::image::ImageDesc;
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::tensor_desc::TensorDesc;
use crate::value::Value;

/// A tensor on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DeviceId(pub usize);

/// Where the elements of a device value come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// A step computes them, or an upload brings them.
    Steps,
    /// The graph's input of this number.
    Input(usize),
    /// The texture of an input, read by the steps themselves: no buffer has them.
    Texture,
    /// They never change.
    Constant(Content),
}

/// What a constant buffer holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A value of the graph, in the device's element type.
    Value(Arc<Value>),
    /// Bytes as they are.
    Bytes(Arc<Vec<u8>>),
}

/// What is known of a device value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    pub desc: TensorDesc,
    /// The value whose buffer this is a view of; itself where it has one of its own.
    pub root: DeviceId,
    /// The byte of that buffer at which it begins.
    pub begin: u64,
    pub source: Source,
}

/// The learned numbers of a layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LayerWeights {
    /// A pooling has none.
    None,
    /// Known when the network is built: packed on the host.
    Constant { kernel: Arc<Value>, bias: Option<Arc<Value>>, slope: Option<Arc<Value>> },
    /// Computed by the network: packed on the device. One of each for each set of weights of the plan.
    Computed { packed: Vec<DeviceId>, bias: Vec<DeviceId>, slope: Vec<DeviceId> },
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Work {
    /// A convolution, matrix product or pooling by the planner's choice.
    Layer {
        plan: Box<Plan>,
        weights: LayerWeights,
        input: DeviceId,
        residual: Option<DeviceId>,
        output: DeviceId,
        indices: Option<DeviceId>,
        workspace: Vec<DeviceId>,
    },
    /// One of the kernels around layers.
    Operation { operation: Box<Operation>, operands: Vec<DeviceId>, output: DeviceId },
    /// Copies a host value to the device; indices into an axis of so many elements are checked.
    Upload { value: ValueId, to: DeviceId, indices_below: Option<usize> },
    /// Copies a device value to the host.
    Download { from: DeviceId, value: ValueId },
    /// Computes a node on the host.
    Host,
}

/// A step and the node that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub node: usize,
    pub work: Work,
}

impl Work {
    /// The device values that a step reads.
    pub fn reads(&self) -> Vec<DeviceId> {
        match self {
            Work::Layer { plan, weights, input, residual, .. } => {
                let computed = match weights {
                    LayerWeights::Computed { packed, bias, slope } => [packed.as_slice(), bias, slope].concat(),
                    _ => Vec::new(),
                };
                let input = (!plan.reads_image()).then_some(*input);
                [input, *residual].into_iter().flatten().chain(computed).collect()
            }
            Work::Operation { operands, .. } => operands.clone(),
            Work::Download { from, .. } => vec![*from],
            Work::Upload { .. } | Work::Host => Vec::new(),
        }
    }

    /// The device values that a step writes, workspace included.
    pub fn writes(&self) -> Vec<DeviceId> {
        match self {
            Work::Layer { output, indices, workspace, .. } => {
                [Some(*output), *indices].into_iter().flatten().chain(workspace.iter().copied()).collect()
            }
            Work::Operation { output, .. } => vec![*output],
            Work::Upload { to, .. } => vec![*to],
            Work::Download { .. } | Work::Host => Vec::new(),
        }
    }

    /// Whether the host takes part.
    pub fn is_host(&self) -> bool {
        matches!(self, Work::Upload { .. } | Work::Download { .. } | Work::Host)
    }
}

/// A result of the graph.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Device(DeviceId),
    Host(ValueId),
}

/// An input that is a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageInput {
    /// Its number among the graph's inputs.
    pub input: usize,
    /// Its value on the device, where a step reads it.
    pub device: Option<DeviceId>,
    pub desc: ImageDesc,
    /// Height and width.
    pub size: [u32; 2],
    /// Why a step of its own makes a tensor of it, where the layers do not read it themselves.
    pub converted: Option<String>,
}

/// A result that can be written to a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageOutput {
    /// Its number among the graph's outputs.
    pub output: usize,
    pub tensor: DeviceId,
    pub desc: ImageDesc,
    /// Height and width.
    pub size: [u32; 2],
    /// The dispatch that writes it from the tensor.
    pub operation: Box<Operation>,
    /// The layer that can write it itself; or why none can.
    pub fused: Result<FusedOutput, String>,
}

/// A step whose kernel can write a picture in place of its tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FusedOutput {
    pub step: usize,
    /// Of one dispatch, with the weights of the step's own plan.
    pub plan: Box<Plan>,
}

/// Steps on device values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Program {
    pub devices: Vec<Device>,
    pub steps: Vec<Step>,
    /// Where each of the graph's values is on the device, of those that are.
    pub placed: Vec<(ValueId, DeviceId)>,
    /// The graph's results, in order.
    pub outcomes: Vec<Outcome>,
    /// Inputs of the graph that are indices into axes, by their numbers, with the sizes of these: checked where they come from the host.
    pub indices: Vec<(usize, usize)>,
    /// Inputs of the graph that host steps read.
    pub host_inputs: Vec<ValueId>,
    /// Copies that are left out, as what they copied lies where it belongs.
    pub left_out: usize,
    pub image_inputs: Vec<ImageInput>,
    pub image_outputs: Vec<ImageOutput>,
}

impl Program {
    pub fn device(&self, id: DeviceId) -> &Device {
        &self.devices[id.0]
    }

    pub fn root(&self, id: DeviceId) -> DeviceId {
        self.devices[id.0].root
    }

    /// The graph's input whose texture a kernel of this step reads.
    pub fn image_of(&self, step: usize, kernel: &Kernel) -> Option<usize> {
        kernel.bindings.iter().find(|binding| binding.image.is_some() && !binding.written)?;
        let device = match &self.steps[step].work {
            Work::Layer { input, .. } => *input,
            Work::Operation { output, .. } => *output,
            _ => return None,
        };
        self.image_inputs.iter().find(|image| image.device == Some(device)).map(|image| image.input)
    }

    /// The graph's outputs that this step can write to a texture itself, and how.
    pub fn fused_into(&self, step: usize) -> impl Iterator<Item = (usize, &Plan)> {
        let fused = self.image_outputs.iter().filter_map(|image| Some((image.output, image.fused.as_ref().ok()?)));
        fused.filter(move |(_, fused)| fused.step == step).map(|(output, fused)| (output, &*fused.plan))
    }

    /// Bytes that a value takes in a buffer.
    pub fn bytes(&self, id: DeviceId) -> u64 {
        self.device(id).desc.bytes().expect("device values are of checked sizes").next_multiple_of(4).max(4)
    }
}
