//! [`Kernel`]: a compute kernel as data, and its WGSL text.
//!
//! A text is `enable` lines, one prelude of `alias` and `const`, the bindings, the functions of arrays of
//! fours, the epilogue, and the fragments of `shaders/`.
//! There is no template language: variation is a constant, another fragment, or the few lines written here.
//! Bindings are declared from the same list that the engine binds, so the two cannot disagree.

mod epilogue;
mod fours;
mod image;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

pub(crate) use epilogue::{Stores, activation_text};
pub(crate) use image::TargetShape;

use crate::desc::PaddingMode;
use crate::geometry::Geometry;
use crate::image::ImageFormat;
use crate::layout::Layout;
use crate::tensor_desc::DType;

/// What a binding of a kernel is bound to when a layer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The layer's input.
    Input,
    /// The packed weights.
    Weights,
    /// One f32 for each output channel.
    Bias,
    /// One f32 for each output channel.
    Slope,
    /// A tensor of the output's shape.
    Residual,
    /// The layer's output.
    Output,
    /// The positions that a max pooling gives.
    Indices,
    /// The plan's own buffer of this number.
    Workspace(usize),
    /// The layer's sizes.
    Geometry,
    /// An operand of this number of an operation that is no layer.
    Operand(usize),
    /// A constant table of this number, made with the operation.
    Table(usize),
    /// The operation's sizes and strides.
    Parameters,
}

impl Slot {
    /// Whether a uniform buffer is bound, and not a storage buffer.
    pub fn is_uniform(self) -> bool {
        matches!(self, Slot::Geometry | Slot::Parameters)
    }

    /// Whether it is bound to learned numbers, of which a layer in parts has several sets.
    pub(crate) fn is_weights(self) -> bool {
        matches!(self, Slot::Weights | Slot::Bias | Slot::Slope)
    }
}

/// One binding: its name in the text, its type there, and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The name in the shader.
    pub name: &'static str,
    /// The WGSL type; an array of fours is declared as one of words where the kernel has [`wide_words`](Kernel::wide_words).
    pub ty: &'static str,
    /// What is bound.
    pub slot: Slot,
    /// Whether the kernel writes to it.
    pub written: bool,
    /// The format of the texture that is bound; `None` where it is a buffer.
    pub image: Option<ImageFormat>,
}

impl Binding {
    /// `storage, read`, `storage, read_write` or `uniform`.
    ///
    /// A texture has none.
    pub fn address_space(&self) -> &'static str {
        match self.slot.is_uniform() {
            true => "uniform",
            false if self.written => "storage, read_write",
            false => "storage, read",
        }
    }

    /// The variable's declaration without its number.
    fn declaration(&self, wide_words: bool) -> String {
        match self.image {
            Some(_) => format!("var {}: {};", self.name, self.ty),
            None => format!("var<{}> {}: {};", self.address_space(), self.name, fours::declared(self.ty, wide_words)),
        }
    }
}

/// The value of a `const` of the prelude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Const {
    I32(i64),
    Bool(bool),
    F32(f32),
}

/// Whether the sizes of a layer are constants of the text, or a uniform buffer.
///
/// Constants let the compiler turn divisions into multiplications and unroll loops; the price is one pipeline for each shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GeometryMode {
    /// One pipeline for each shape.
    Constant,
    /// One pipeline for all shapes of a kind.
    Uniform,
}

/// A compute kernel: everything that its text depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// The kernel's configuration, such as `conv_gemm f32 b64x64x16 t8x4`.
    pub label: String,
    /// What is bound, in the order of the binding numbers.
    pub bindings: Vec<Binding>,
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Iterations of all loops that one invocation takes at most, those of short loops over constants left out: compilers unroll them.
    pub iterations: u64,
    pub(crate) dtype: DType,
    pub(crate) constants: Vec<(&'static str, Const)>,
    pub(crate) fragments: Vec<Cow<'static, str>>,
    pub(crate) geometry: Option<GeometryUniform>,
    /// Whether the kernel uses subgroup operations.
    pub subgroups: bool,
    /// Whether the kernel uses cooperative matrices.
    pub cooperative: bool,
    /// Whether its arrays of fours are arrays of words of 64 bits: see [`DeviceLimits::wide_words`](crate::DeviceLimits::wide_words).
    pub wide_words: bool,
}

impl Kernel {
    /// A kernel with the constant `WORKGROUP` and the elements' type, and nothing else yet.
    pub(crate) fn new(label: String, dtype: DType, invocations: u32) -> Self {
        Self {
            label,
            bindings: Vec::new(),
            invocations,
            workgroup_bytes: 0,
            iterations: 0,
            dtype,
            constants: vec![("WORKGROUP", Const::I32(i64::from(invocations)))],
            fragments: vec![include_str!("../shaders/lib/grid.wgsl").into()],
            geometry: None,
            subgroups: false,
            cooperative: false,
            wide_words: false,
        }
    }

    pub(crate) fn constant(mut self, name: &'static str, value: impl Into<i64>) -> Self {
        self.constants.push((name, Const::I32(value.into())));
        self
    }

    pub(crate) fn flag(mut self, name: &'static str, value: bool) -> Self {
        self.constants.push((name, Const::Bool(value)));
        self
    }

    pub(crate) fn float(mut self, name: &'static str, value: f32) -> Self {
        self.constants.push((name, Const::F32(value)));
        self
    }

    /// Adds the entry point that calls the kernel's `each()` for so many elements of each invocation: a number that becomes the last row of
    /// the parameters.
    pub(crate) fn for_each(self, elements: u64, parameters: &mut Vec<[i32; 4]>) -> Self {
        parameters.push([elements as i32, 0, 0, 0]);
        let iterations = elements * (1 + self.iterations);
        self.iterations(iterations).fragment(include_str!("../shaders/lib/each.wgsl"))
    }

    /// Adds the entry point that calls the kernel's `row_of()` for each row and `each()` for so many of its columns, whose count is the first
    /// parameter in the row `axes`. The number becomes the last row of the parameters.
    pub(crate) fn for_rows(self, elements: u64, axes: usize, parameters: &mut Vec<[i32; 4]>) -> Self {
        parameters.push([elements as i32, 0, 0, 0]);
        let iterations = elements * (1 + self.iterations);
        self.constant("AXES", axes as i64).iterations(iterations).fragment(include_str!("../shaders/lib/rows.wgsl"))
    }

    pub(crate) fn iterations(mut self, iterations: u64) -> Self {
        self.iterations = iterations;
        self
    }

    pub(crate) fn fragment(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.fragments.push(text.into());
        self
    }

    pub(crate) fn binding(mut self, name: &'static str, ty: &'static str, slot: Slot) -> Self {
        self.bindings.push(Binding { name, ty, slot, written: false, image: None });
        self
    }

    /// A binding that the kernel writes to.
    pub(crate) fn written(mut self, name: &'static str, ty: &'static str, slot: Slot) -> Self {
        self.bindings.push(Binding { name, ty, slot, written: true, image: None });
        self
    }

    /// Adds `g` and what belongs to it.
    pub(crate) fn with_geometry(mut self, geometry: &Geometry, mode: GeometryMode) -> Self {
        let uniform = GeometryUniform::new(geometry);
        let padding_mode = match geometry.padding_mode {
            PaddingMode::Zeros => 0,
            PaddingMode::Reflect => 1,
            PaddingMode::Replicate => 2,
            PaddingMode::Circular => 3,
        };
        let last = |layout: Layout| layout == Layout::ChannelsLast;
        self = self
            .constant("PADDING_MODE", padding_mode)
            .flag("INPUT_LAST", last(geometry.input_layout))
            .flag("OUTPUT_LAST", last(geometry.output_layout))
            .fragment(include_str!("../shaders/lib/geometry.wgsl"))
            .fragment(include_str!("../shaders/lib/layout.wgsl"));
        match mode {
            GeometryMode::Constant => {
                self.fragments.push(uniform.wgsl_constant().into());
                self = self.fragment(include_str!("../shaders/lib/quotient_constant.wgsl"));
            }
            GeometryMode::Uniform => {
                self = self.binding("g", "Geometry", Slot::Geometry).fragment(include_str!("../shaders/lib/quotient.wgsl"));
            }
        }
        self.geometry = Some(uniform);
        self.fragment(include_str!("../shaders/lib/source.wgsl"))
    }

    /// The kernel with so many rows of numbers, `p`, and what divides by them.
    pub(crate) fn with_parameters(self, rows: usize) -> Self {
        self.constant("PARAMETERS", rows as i64)
            .fragment("alias Parameters = array<vec4<i32>, PARAMETERS>;")
            .binding("p", "Parameters", Slot::Parameters)
            .fragment(include_str!("../shaders/lib/quotient.wgsl"))
    }

    /// The WGSL text.
    pub fn wgsl(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a String cannot fail");
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        if self.dtype == DType::F16 || self.bindings.iter().any(|binding| binding.ty.contains("f16")) {
            writeln!(text, "enable f16;")?;
        }
        if self.cooperative {
            writeln!(text, "enable wgpu_cooperative_matrix;")?;
        }
        // A browser would need `enable subgroups;` here, which naga 30 does not parse: there, the line must be added.
        writeln!(text, "// {}", self.label)?;
        writeln!(text, "alias Elem = {};", self.dtype)?;
        for (name, value) in &self.constants {
            match value {
                Const::I32(value) => writeln!(text, "const {name}: i32 = {value};")?,
                Const::Bool(value) => writeln!(text, "const {name}: bool = {value};")?,
                Const::F32(value) => writeln!(text, "const {name}: f32 = {};", float(*value))?,
            }
        }
        for (number, binding) in self.bindings.iter().enumerate() {
            writeln!(text, "@group(0) @binding({number}) {}", binding.declaration(self.wide_words))?;
        }
        for functions in self.bindings.iter().filter_map(|binding| fours::functions(binding, self.wide_words)) {
            writeln!(text, "\n{functions}")?;
        }
        for fragment in &self.fragments {
            writeln!(text, "\n{}", fragment.trim_end())?;
        }
        Ok(())
    }
}

/// How the main function of a text that is written out begins: with what `workgroup_index()` takes. The other parameters follow.
pub(crate) const MAIN: &str = "\
@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
";

/// What a text is that computes one element at a time, and four.
pub(crate) const ONE: &str = include_str!("../shaders/lib/one.wgsl");
pub(crate) const FOUR: &str = include_str!("../shaders/lib/four.wgsl");

/// How it reads its input, an element or four.
pub(crate) const VALUE_1: &str = include_str!("../shaders/lib/value_1.wgsl");
pub(crate) const VALUE_4: &str = include_str!("../shaders/lib/value_4.wgsl");

/// The WGSL type of an array of such elements, four at a time.
pub(crate) fn vectors(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "array<vec4<f32>>",
        DType::F16 => "array<vec4<f16>>",
        DType::I32 => "array<vec4<i32>>",
    }
}

/// A number as a WGSL literal of type f32 with the same bits.
fn float(value: f32) -> String {
    format!("{value:e}f")
}

/// A [`Geometry`] as kernels see it; mirrors `Geometry` of `shaders/lib/geometry.wgsl` field by field.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct GeometryUniform {
    pub input: [i32; 3],
    pub batch: i32,
    pub output: [i32; 3],
    pub in_channels: i32,
    pub kernel: [i32; 3],
    pub out_channels: i32,
    pub stride: [i32; 3],
    pub groups: i32,
    pub dilation: [i32; 3],
    pub group_in: i32,
    pub input_dilation: [i32; 3],
    pub group_out: i32,
    pub pad_begin: [i32; 3],
    pub input_plane: i32,
    pub phase_output: [i32; 3],
    pub output_plane: i32,
    pub phases: [i32; 3],
    pub columns: i32,
    pub tap_step: [i32; 3],
    pub taps: i32,
    pub source_step: [i32; 3],
    pub outputs: i32,
}

impl GeometryUniform {
    /// The same numbers; all fit, because a [`Geometry`] was checked.
    pub fn new(geometry: &Geometry) -> Self {
        let fit = |value: u64| i32::try_from(value).expect("a checked geometry fits 32 bits");
        let list = |values: [u32; 3]| values.map(|value| fit(u64::from(value)));
        let phase_output = geometry.phase_output();
        let phase_plane: u64 = phase_output.iter().map(|&size| u64::from(size)).product();
        Self {
            input: list(geometry.input),
            batch: fit(u64::from(geometry.batch)),
            output: list(geometry.output),
            in_channels: fit(u64::from(geometry.in_channels)),
            kernel: list(geometry.kernel),
            out_channels: fit(u64::from(geometry.out_channels)),
            stride: list(geometry.stride),
            groups: fit(u64::from(geometry.groups)),
            dilation: list(geometry.dilation),
            group_in: fit(u64::from(geometry.group_in())),
            input_dilation: list(geometry.input_dilation),
            group_out: fit(u64::from(geometry.group_out())),
            pad_begin: geometry.pad_begin,
            input_plane: fit(geometry.input_plane()),
            phase_output: list(phase_output),
            output_plane: fit(geometry.output_plane()),
            phases: list(geometry.phases()),
            columns: fit(u64::from(geometry.batch) * phase_plane),
            tap_step: list(geometry.tap_step()),
            taps: fit(geometry.taps()),
            source_step: list(geometry.source_step()),
            outputs: fit(geometry.output_elements()),
        }
    }

    fn wgsl_constant(&self) -> String {
        let words: &[i32] = bytemuck::cast_slice(std::slice::from_ref(self));
        let fields: Vec<String> =
            words.chunks(4).map(|row| format!("    vec3<i32>({}, {}, {}), {}", row[0], row[1], row[2], row[3])).collect();
        format!("const g = Geometry(\n{}\n);\n", fields.join(",\n"))
    }
}
