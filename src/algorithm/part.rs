//! The steps of a layer in parts: which ranges of the buffers each is bound to, and what is moved through the workspace.

use std::ops::Range;

use super::plan::{Plan, Step, View, fold};
use super::split::StepBindings;
use crate::desc::IndexOrder;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Slot};
use crate::layout::Layout;
use crate::limits::{ALIGNMENT, Ranges};
use crate::tensor_desc::DType;

/// Invocations of a workgroup.
const WORKGROUP: u32 = 64;

/// A part of a layer.
pub(super) struct Piece<'a> {
    /// Of the part as a layer.
    pub plan: &'a Plan,
    /// Its set of weights.
    pub weights: usize,
    pub items: Range<usize>,
    /// Channels of the input.
    pub inputs: Range<usize>,
    /// Channels of the output.
    pub outputs: Range<usize>,
    /// Rows of the input, on `row_axis`.
    pub input_rows: Range<usize>,
    /// Rows of the output.
    pub rows: Range<usize>,
    pub row_axis: usize,
    /// The numbering that the whole layer's positions have.
    pub indices: Option<IndexOrder>,
}

/// A block of a dense tensor: items, some lines of each, a run of each line. With channels first a line is a channel's plane, with
/// channels last the channels of a position.
struct Region {
    dtype: DType,
    /// Lines of an item of the whole tensor, and elements of a line.
    lines: usize,
    line: usize,
    items: Range<usize>,
    part: Range<usize>,
    run: Range<usize>,
}

/// A copy of runs that lie at equal distances, bound to a range of the tensor.
struct Move {
    /// Bytes of the tensor that are bound.
    offset: u64,
    bytes: u64,
    /// Elements from there to the first, and from run to run.
    first: usize,
    stride: usize,
    rows: usize,
    run: usize,
    /// Lines of the block before the first, and elements of that before the run.
    line: usize,
    at: usize,
    /// Elements that lie before these in the block.
    before: usize,
}

impl Region {
    /// A block of channels and a run of positions, in a tensor of so many of both.
    fn new(dtype: DType, layout: Layout, [channels, plane]: [usize; 2], [items, part, run]: [Range<usize>; 3]) -> Self {
        match layout {
            Layout::ChannelsFirst => Self { dtype, lines: channels, line: plane, items, part, run },
            Layout::ChannelsLast => Self { dtype, lines: plane, line: channels, items, part: run, run: part },
        }
    }

    fn elements(&self) -> usize {
        self.items.len() * self.part.len() * self.run.len()
    }

    fn bytes(&self) -> u64 {
        (self.elements() as u64 * self.dtype.bytes() as u64).next_multiple_of(4)
    }

    /// The first element.
    fn start(&self) -> usize {
        (self.items.start * self.lines + self.part.start) * self.line + self.run.start
    }

    /// Whether the elements lie behind each other.
    fn is_run(&self) -> bool {
        let whole_lines = self.run.len() == self.line;
        let whole_items = whole_lines && self.part.len() == self.lines;
        whole_items || (self.items.len() == 1 && (whole_lines || self.part.len() == 1))
    }

    /// The range that can be bound as it lies.
    fn view(&self, slot: Slot, ranges: Ranges) -> Option<View> {
        let (offset, bytes) = (self.start() as u64 * self.dtype.bytes() as u64, self.bytes());
        (self.is_run() && ranges.hold(offset, bytes)).then_some(View { slot, offset, bytes })
    }

    /// The copies of all elements, each within a binding; line by line if `by_line`.
    fn moves(&self, ranges: Ranges, by_line: bool) -> Vec<Move> {
        let element = self.dtype.bytes() as u64;
        let lines = self.items.len() * self.part.len();
        let (rows, run) = if self.is_run() && !by_line { (1, self.elements()) } else { (lines, self.run.len()) };
        let room = |first: usize| usize::try_from(ranges.room(first as u64 * element) / element).unwrap_or(usize::MAX);
        let one = |row: usize, at: usize, rows: usize, length: usize| {
            let first = self.start() + row * self.line + at;
            let byte = first as u64 * element;
            let offset = byte / ALIGNMENT * ALIGNMENT;
            let end = byte + ((rows - 1) * self.line + length) as u64 * element;
            Move {
                offset,
                bytes: (end - offset).next_multiple_of(4),
                first: ((byte - offset) / element) as usize,
                stride: self.line,
                rows,
                run: length,
                line: row,
                at,
                before: row * run + at,
            }
        };
        let mut list = Vec::new();
        let mut row = 0;
        while row < rows {
            let room_of_row = room(self.start() + row * self.line);
            if let Some(spare) = room_of_row.checked_sub(run) {
                let count = (spare / self.line + 1).min(rows - row);
                list.push(one(row, 0, count, run));
                row += count;
                continue;
            }
            // A row that no binding holds, or that lies in two buffers.
            let mut at = 0;
            while at < run {
                let length = room(self.start() + row * self.line + at).clamp(1, run - at);
                list.push(one(row, at, 1, length));
                at += length;
            }
            row += 1;
        }
        list
    }
}

/// Steps as they are put together.
pub(super) struct Assembly<'a> {
    whole: &'a Geometry,
    dtype: DType,
    ranges: Ranges,
    /// Workgroups on each dimension of a dispatch.
    workgroups: u32,
    steps: Vec<Step>,
    bindings: Vec<StepBindings>,
    workspace: Vec<u64>,
}

impl<'a> Assembly<'a> {
    pub fn new(whole: &'a Geometry, dtype: DType, ranges: Ranges, workgroups: u32) -> Self {
        Self { whole, dtype, ranges, workgroups, steps: Vec::new(), bindings: Vec::new(), workspace: Vec::new() }
    }

    /// Steps, what each is bound to, bytes of the workspace.
    pub fn finish(self) -> (Vec<Step>, Vec<StepBindings>, Vec<u64>) {
        (self.steps, self.bindings, self.workspace)
    }

    /// Elements of one row, and of the plane.
    fn run(sizes: [u32; 3], axis: usize, rows: &Range<usize>) -> (Range<usize>, usize) {
        let plane: usize = sizes.iter().map(|&size| size as usize).product();
        let row = plane / sizes[axis] as usize;
        (rows.start * row..rows.end * row, plane)
    }

    /// Adds the steps of a part, and the copies before and behind them.
    pub fn add(&mut self, piece: &Piece) -> Result<()> {
        let Piece { plan, row_axis, .. } = *piece;
        let (input_run, input_plane) = Self::run(self.whole.input, row_axis, &piece.input_rows);
        let (output_run, output_plane) = Self::run(self.whole.output, row_axis, &piece.rows);
        let (channels, items) = (self.whole.in_channels as usize, piece.items.clone());
        let blocks = [items.clone(), piece.inputs.clone(), input_run];
        let input = Region::new(self.dtype, self.whole.input_layout, [channels, input_plane], blocks);
        let output = |dtype: DType| {
            let channels = self.whole.out_channels as usize;
            let blocks = [items.clone(), piece.outputs.clone(), output_run.clone()];
            Region::new(dtype, self.whole.output_layout, [channels, output_plane], blocks)
        };
        let (output, positions) = (output(self.dtype), output(DType::I32));
        let own = plan.workspace.len();
        for (number, &bytes) in plan.workspace.iter().enumerate() {
            self.reserve(number, bytes);
        }
        // What each of the layer's slots becomes in this part.
        let mut views: Vec<View> =
            (0..own).map(|number| View { slot: Slot::Workspace(number), offset: 0, bytes: plan.workspace[number] }).collect();
        let mut moved: Vec<(Slot, Slot)> = Vec::new();
        let uses = |slot: Slot| plan.steps.iter().any(|step| step.kernel.bindings.iter().any(|binding| binding.slot == slot));
        let numbered = piece.indices.is_some_and(|order| order != IndexOrder::Plane) || piece.input_rows.start > 0;
        let slots = [(Slot::Input, &input), (Slot::Residual, &output), (Slot::Output, &output), (Slot::Indices, &positions)];
        for (number, (slot, region)) in (own..).zip(slots) {
            if !uses(slot) {
                continue;
            }
            match region.view(slot, self.ranges).filter(|_| slot != Slot::Indices || !numbered) {
                Some(view) => views.push(view),
                None => {
                    let staged = Slot::Workspace(number);
                    self.reserve(number, region.bytes());
                    views.push(View { slot: staged, offset: 0, bytes: region.bytes() });
                    moved.push((slot, staged));
                }
            }
        }
        let staged = |slot: Slot| moved.iter().find(|(from, _)| *from == slot).map(|(_, to)| *to);
        for (slot, region) in [slots[0], slots[1]] {
            if let Some(to) = staged(slot) {
                self.copies(piece, region, slot, to)?;
            }
        }
        for step in &plan.steps {
            let mut step = step.clone();
            for binding in &mut step.kernel.bindings {
                binding.slot = staged(binding.slot).unwrap_or(binding.slot);
            }
            self.push(step, piece, views.clone(), Vec::new());
        }
        if let Some(from) = staged(Slot::Output) {
            self.copies(piece, &output, from, Slot::Output)?;
        }
        if let Some(from) = staged(Slot::Indices) {
            self.copies(piece, &positions, from, Slot::Indices)?;
        }
        Ok(())
    }

    fn reserve(&mut self, number: usize, bytes: u64) {
        let count = self.workspace.len().max(number + 1);
        self.workspace.resize(count, 4);
        self.workspace[number] = self.workspace[number].max(bytes);
    }

    fn push(&mut self, step: Step, piece: &Piece, views: Vec<View>, parameters: Vec<[i32; 4]>) {
        self.steps.push(step);
        self.bindings.push(StepBindings { weights: piece.weights, views, parameters });
    }

    /// Copies between a tensor's region and the workspace; positions are numbered on the way.
    fn copies(&mut self, piece: &Piece, region: &Region, from: Slot, to: Slot) -> Result<()> {
        let to_tensor = !matches!(to, Slot::Workspace(_));
        let positions = to == Slot::Indices;
        let (workspace, tensor) = if to_tensor { (from, to) } else { (to, from) };
        let word =
            |value: usize| i32::try_from(value).map_err(|_| Error::unsupported("output", "has more than 2^31 - 1 elements"));
        for one in region.moves(self.ranges, positions) {
            let (inside, outside) = ([word(one.before)?, word(one.run)?], [word(one.first)?, word(one.stride)?]);
            let ([from_first, from_step], [to_first, to_step]) = if to_tensor { (inside, outside) } else { (outside, inside) };
            let mut parameters =
                vec![[word(one.rows * one.run)?, word(one.run)?, from_first, from_step], [to_first, to_step, 0, 0]];
            if positions {
                let channels = self.whole.out_channels as usize;
                // A line is a plane, or has an element of each of the part's planes.
                let (planes, positions) = match self.whole.output_layout {
                    Layout::ChannelsFirst => (piece.items.start * channels + piece.outputs.start + one.line, 0),
                    Layout::ChannelsLast => (piece.items.start * channels + piece.outputs.start + one.at, region.part.len()),
                };
                let (shift, plane) = Self::run(self.whole.input, piece.row_axis, &piece.input_rows);
                let order = piece.indices.map_or(0, IndexOrder::number);
                let [depth, height, width] = self.whole.input.map(|size| size as usize);
                parameters[1] = [to_first, to_step, word(planes)?, word(shift.start)?];
                parameters.push([word(plane)?, order, word(positions)?, word(channels)?]);
                parameters.push([word(depth)?, word(height)?, word(width)?, word(one.line)?]);
            }
            let kernel = mover(region.dtype, &mut parameters, from, to);
            let grid = fold((one.rows * one.run).div_ceil(WORKGROUP as usize) as u64, self.workgroups)?;
            let views = vec![
                View { slot: tensor, offset: one.offset, bytes: one.bytes },
                View { slot: workspace, offset: 0, bytes: region.bytes() },
            ];
            self.push(Step { kernel, grid }, piece, views, parameters);
        }
        Ok(())
    }
}

/// The kernel that copies runs: positions are integers.
fn mover(dtype: DType, parameters: &mut Vec<[i32; 4]>, from: Slot, to: Slot) -> Kernel {
    let ty = match dtype {
        DType::F32 => "array<f32>",
        DType::F16 => "array<f16>",
        DType::I32 => "array<i32>",
    };
    let number = if dtype == DType::I32 {
        include_str!("../../shaders/lib/position.wgsl")
    } else {
        "fn number(value: Elem, row: i32, at: i32) -> Elem {\n    return value;\n}"
    };
    Kernel::new(format!("move {dtype}"), dtype, WORKGROUP)
        .binding("input", ty, from)
        .written("output", ty, to)
        .for_each(1, parameters)
        .with_parameters(parameters.len())
        .fragment(include_str!("../../shaders/move.wgsl"))
        .fragment(number)
}
