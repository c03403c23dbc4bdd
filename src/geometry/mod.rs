//! [`Geometry`]: the numbers of a layer, checked. The only validation of descriptions and the only output-size formula.
//!
//! There are always three spatial axes; layers of rank 1 and 2 get leading axes of length 1. All sizes fit an `i32`, so that
//! kernels can compute coordinates in 32 bits.
//!
//! A transposed convolution becomes an ordinary one over an input with `stride - 1` zeros between its elements, with a flipped
//! kernel and the padding `dilation*(kernel-1) - padding` (Dumoulin and Visin, 2016, section 4). Kernels never meet those
//! zeros: output `o` of *phase* `o mod input_dilation` uses only every so-manieth tap ([`Geometry::phases`]).
//!
//! Numbers that cannot matter are normalised: dilation of a 1-tap kernel, stride of an axis with one output; but a section of a layer has
//! the strides of the whole.

mod axis;
mod build;
mod section;
mod window;

pub(crate) use section::{Section, axis_cut, section};
pub(crate) use window::gcd;

use crate::desc::{PaddingMode, PoolDesc, PoolWindow};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::problem::{Layer, Problem};
use crate::tensor_desc::TensorDesc;

/// The checked numbers of a layer, on three spatial axes `[d, h, w]`.
///
/// Output `o` and tap `t` of an axis meet input `(o*stride + t*dilation - pad_begin) / input_dilation`, where that is a whole
/// number inside the input; elsewhere padding.
///
/// # Examples
/// ```
/// use wgconv::{Geometry, Problem};
/// let problem: Problem = "conv 1x3x224x224 o64 k7x7 s2x2 p3x3 f32".parse()?;
/// let geometry = Geometry::new(&problem)?;
/// assert_eq!(geometry.output, [1, 112, 112]);
/// assert_eq!(geometry.output_shape(), [1, 64, 112, 112]);
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Spatial axes of the layer as described: 1, 2 or 3.
    pub rank: usize,
    /// Batch items.
    pub batch: u32,
    /// Channels of the input.
    pub in_channels: u32,
    /// Channels of the output.
    pub out_channels: u32,
    /// Groups of channels; a pooling has as many as channels.
    pub groups: u32,
    /// Input size.
    pub input: [u32; 3],
    /// Output size.
    pub output: [u32; 3],
    /// Taps, or the window; of an adaptive pooling a bound of its windows.
    pub kernel: [u32; 3],
    /// Step of the kernel over the (dilated) input.
    pub stride: [u32; 3],
    /// Distance of two taps.
    pub dilation: [u32; 3],
    /// Distance of two inputs: the stride of a transposed convolution, else 1.
    pub input_dilation: [u32; 3],
    /// Elements before the input; negative where a transposed convolution crops.
    pub pad_begin: [i32; 3],
    /// Elements behind the input.
    pub pad_end: [i32; 3],
    /// What the padding holds.
    pub padding_mode: PaddingMode,
    /// Whether the weights are those of a transposed convolution: flipped, input channels first.
    pub transposed: bool,
    /// Whether windows follow the adaptive rule instead of stride and padding.
    pub adaptive: bool,
    /// How the input lies in memory.
    pub input_layout: Layout,
    /// How the output lies in memory, and with it residual and indices.
    pub output_layout: Layout,
}

impl Geometry {
    /// Checks a problem and computes its numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the field at fault, for everything that a layer cannot be.
    pub fn new(problem: &Problem) -> Result<Self> {
        let input = &problem.input;
        let rank = build::check_input(input)?;
        let (mut geometry, output_layout) = match &problem.layer {
            Layer::Conv(desc) => (build::conv(desc, input, rank)?, desc.output_layout),
            Layer::Pool(desc) => (build::pool(desc, input, rank)?, desc.output_layout),
        };
        geometry.output_layout = output_layout.unwrap_or(geometry.input_layout);
        geometry.check_elements(&problem.layer)?;
        Ok(geometry)
    }

    fn check_elements(&self, layer: &Layer) -> Result<()> {
        let output = TensorDesc::f32(&self.output_shape());
        // The output is the product of many fields: blame the one that made it large.
        let field = match layer {
            Layer::Conv(desc) if desc.transposed && !desc.stride.all(1) => "stride",
            Layer::Conv(desc) if desc.out_channels > self.output.iter().map(|&v| v as usize).product() => "out_channels",
            Layer::Pool(PoolDesc { window: PoolWindow::Adaptive(_), .. }) => "output_size",
            _ => "padding",
        };
        let too_large = |error: Error| Error::invalid(field, format!("the output is too large: {}", error.message()));
        output.elements_of(field).map_err(too_large)?;
        match layer {
            Layer::Conv(desc) => TensorDesc::f32(&desc.weight_shape()?).elements_of("weight")?,
            // Padding lets a window be as large on each axis as a tensor may be as a whole.
            Layer::Pool(_) => TensorDesc::f32(&self.kernel.map(|size| size as usize)).elements_of("kernel")?,
        };
        Ok(())
    }

    /// The output's shape, with the rank of the input's.
    pub fn output_shape(&self) -> Vec<usize> {
        let spatial = &self.output[3 - self.rank..];
        [self.batch, self.out_channels].iter().chain(spatial).map(|&v| v as usize).collect()
    }

    /// Taps of the kernel, or elements of the (largest) window.
    pub fn taps(&self) -> u64 {
        product(self.kernel)
    }

    /// Elements of one channel of the input.
    pub fn input_plane(&self) -> u64 {
        product(self.input)
    }

    /// Elements of one channel of the output.
    pub fn output_plane(&self) -> u64 {
        product(self.output)
    }

    /// Input channels of a group.
    pub fn group_in(&self) -> u32 {
        self.in_channels / self.groups
    }

    /// Output channels of a group: the `m` of its matrix product.
    pub fn group_out(&self) -> u32 {
        self.out_channels / self.groups
    }

    /// Terms of each output's sum: the `k` of a group's matrix product.
    pub fn reduction(&self) -> u64 {
        u64::from(self.group_in()) * self.taps()
    }

    /// Elements of the input.
    pub fn input_elements(&self) -> u64 {
        u64::from(self.batch) * u64::from(self.in_channels) * self.input_plane()
    }

    /// Elements of the output.
    pub fn output_elements(&self) -> u64 {
        u64::from(self.batch) * u64::from(self.out_channels) * self.output_plane()
    }

    /// Elements of the weights.
    pub fn weight_elements(&self) -> u64 {
        u64::from(self.out_channels) * self.reduction()
    }

    /// The phases of a transposed convolution on each axis: outputs `phase + input_dilation*q` use the same taps.
    pub fn phases(&self) -> [u32; 3] {
        std::array::from_fn(|axis| self.input_dilation[axis].min(self.output[axis]))
    }

    /// Outputs of the first phase, which has the most.
    pub fn phase_output(&self) -> [u32; 3] {
        std::array::from_fn(|axis| self.output[axis].div_ceil(self.input_dilation[axis]))
    }

    /// Whether outputs are of phases, which a stride of a transposed convolution makes.
    pub fn is_phased(&self) -> bool {
        self.input_dilation != [1; 3]
    }

    /// Taps that a kernel tries at most to find the first of a phase on each axis.
    pub fn first_taps(&self) -> u64 {
        self.input_dilation.iter().map(|&gap| u64::from(gap)).sum()
    }

    /// Distance of two taps that one phase uses.
    pub fn tap_step(&self) -> [u32; 3] {
        std::array::from_fn(|axis| self.input_dilation[axis] / self.common(axis))
    }

    /// Distance of the inputs that two such taps meet.
    pub fn source_step(&self) -> [u32; 3] {
        std::array::from_fn(|axis| self.dilation[axis] / self.common(axis))
    }

    /// The most taps that a phase uses.
    pub fn phase_taps(&self) -> [u32; 3] {
        let step = self.tap_step();
        std::array::from_fn(|axis| self.kernel[axis].div_ceil(step[axis]))
    }

    /// The fewest taps that a phase uses, where each meets inputs at some.
    pub fn least_phase_taps(&self) -> [u32; 3] {
        let step = self.tap_step();
        std::array::from_fn(|axis| self.kernel[axis] / step[axis])
    }

    fn common(&self, axis: usize) -> u32 {
        gcd(i64::from(self.input_dilation[axis]), i64::from(self.dilation[axis])) as u32 // a divisor of two u32 is one
    }

    /// Floating-point operations of a convolution: two for each product of an input (or its zero padding) and a weight.
    pub fn flop(&self) -> u64 {
        let positions = if self.transposed { self.input_plane() } else { self.output_plane() };
        2 * u64::from(self.batch) * u64::from(self.out_channels) * positions * self.reduction()
    }

    /// The inputs, from first to one past the last, that output `o` of an axis of an adaptive pooling sees.
    pub fn adaptive_window(&self, axis: usize, o: u32) -> (u32, u32) {
        window::adaptive(u64::from(self.input[axis]), u64::from(self.output[axis]), u64::from(o))
    }

    /// The input coordinate that output `o` and tap `t` of an axis meet, through the padding mode; `None` for a zero.
    pub fn source(&self, axis: usize, o: u32, t: u32) -> Option<u32> {
        let at = i64::from(o) * i64::from(self.stride[axis]) + i64::from(t) * i64::from(self.dilation[axis])
            - i64::from(self.pad_begin[axis]);
        let gap = i64::from(self.input_dilation[axis]);
        let size = i64::from(self.input[axis]);
        if at.rem_euclid(gap) != 0 {
            return None;
        }
        let at = at.div_euclid(gap);
        let inside = match self.padding_mode {
            PaddingMode::Zeros => at,
            PaddingMode::Replicate => at.clamp(0, size - 1),
            PaddingMode::Circular => at.rem_euclid(size),
            PaddingMode::Reflect if at < 0 => -at,
            PaddingMode::Reflect if at >= size => 2 * (size - 1) - at,
            PaddingMode::Reflect => at,
        };
        // A stride may leave part of the end padding unread, so only the zeros are ever outside.
        u32::try_from(inside).ok().filter(|&at| at < self.input[axis])
    }
}

fn product(sizes: [u32; 3]) -> u64 {
    sizes.iter().map(|&size| u64::from(size)).product()
}
