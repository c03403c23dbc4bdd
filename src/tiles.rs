//! [`TileRunner`]: a convolution network over an input that is larger than memory, tile by tile and without a seam.
//!
//! What a tile needs is worked out from the graph by [`passes`](crate::passes); here tiles are read, run and written. The whole is never
//! in memory, unless the caller has it there.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::graph::{Bindings, Graph};
use crate::network::{Network, NetworkDesc};
use crate::passes::tiles::{AxisTile, Tiling};
use crate::recent::Recent;
use crate::tensor::Tensor;
use crate::tensor_desc::{DType, TensorDesc};
use crate::value::ElementType;

/// How a network is run over tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileDesc {
    /// The shape of the whole input: batch, channels, and 1 to 3 spatial axes. It may have more elements than a tensor.
    pub input: Vec<usize>,
    /// Outputs of a tile on each spatial axis. Rounded up to [`TileRunner::alignment`], so that all tiles inside are alike, and down to
    /// the whole.
    pub tile: Vec<usize>,
    /// How many networks are kept, each with its weights. Tiles at the borders need others than those inside: three on each axis, and as
    /// many as all combinations of them, if tiles are no smaller than the halo and divide the whole. Tiles of one network run one after
    /// the other, so 1 makes each network once in a run; more is for those who run again and again.
    pub keep: usize,
}

impl TileDesc {
    /// Tiles of so many outputs of an input of this shape; one network is kept.
    pub fn new(input: &[usize], tile: &[usize]) -> Self {
        Self { input: input.to_vec(), tile: tile.to_vec(), keep: 1 }
    }
}

/// A block of the spatial axes, of an input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The first element on each axis.
    pub start: Vec<usize>,
    /// Elements on each axis.
    pub size: Vec<usize>,
}

impl Region {
    fn new(axes: &[&AxisTile], range: fn(&AxisTile) -> &std::ops::Range<usize>) -> Self {
        let ranges = || axes.iter().map(|axis| range(axis));
        Self { start: ranges().map(|range| range.start).collect(), size: ranges().map(|range| range.len()).collect() }
    }

    /// Calls with the place of each row of the block, in elements: in a whole of so many planes and these sizes, and in the block.
    fn rows(&self, planes: usize, whole: &[usize], mut call: impl FnMut(usize, usize, usize)) {
        let rank = self.size.len();
        let length = self.size[rank - 1];
        let rows: usize = self.size[..rank - 1].iter().product();
        for plane in 0..planes {
            for row in 0..rows {
                let mut rest = row;
                let (mut at, mut stride) = (self.start[rank - 1], whole[rank - 1]);
                for axis in (0..rank - 1).rev() {
                    at += (self.start[axis] + rest % self.size[axis]) * stride;
                    rest /= self.size[axis];
                    stride *= whole[axis];
                }
                call(plane * stride + at, (plane * rows + row) * length, length);
            }
        }
    }
}

/// A convolution network made ready to run over tiles of a large input.
///
/// The graph may be of convolutions, transposed ones too, poolings with windows, functions of elements, batch normalisation,
/// concatenation of channels, resampling by whole numbers, and what else sees a neighbourhood only. It has one input and one output, of
/// f32 or f16. What depends on the whole (global pooling, normalisation by statistics, matrix products, reshaping) is refused by name.
///
/// Sums are those of the whole network, tap by tap; the planner may choose other kernels for other sizes, which add in another order.
///
/// # Examples
/// ```no_run
/// use wgconv::{Engine, EngineDesc, Error, TileDesc, TileRunner, onnx};
/// let engine = Engine::new(&EngineDesc::default())?;
/// let graph = onnx::load("denoise.onnx")?;
/// // A picture of 40,000 times 30,000 pixels, of which only tiles are ever in memory.
/// let runner = TileRunner::new(&engine, &graph, &TileDesc::new(&[1, 3, 30_000, 40_000], &[1024, 1024]))?;
/// runner.stream_tiles(
///     |region, values| Ok::<_, Error>(values.fill(region.start[0] as f32)), // read the region of all channels
///     |region, values| Ok(println!("{region:?} has {} values", values.len())), // write what came out
///     |done, all| println!("{done} of {all} tiles"),
/// )?;
/// # Ok::<(), Error>(())
/// ```
pub struct TileRunner {
    engine: Engine,
    tiling: Tiling,
    /// On each spatial axis.
    axes: Vec<Axis>,
    input: Vec<usize>,
    output: Vec<usize>,
    dtype: DType,
    keep: usize,
    /// By the classes of a tile on its axes.
    networks: Mutex<Recent<Vec<usize>, Network>>,
}

/// The tiles of an axis.
struct Axis {
    tiles: Vec<AxisTile>,
    /// For each tile the number of its signature.
    class: Vec<usize>,
    classes: usize,
    tile: usize,
    alignment: usize,
}

impl Axis {
    fn new(tiling: &Tiling, axis: usize, wanted: usize) -> Result<Self> {
        let whole = tiling.output_sizes()[axis];
        let alignment = tiling.alignment(axis);
        if wanted == 0 {
            return Err(Error::invalid("tile", format!("axis {axis} has 0 outputs, but a tile has at least 1")));
        }
        let tile = wanted.checked_next_multiple_of(alignment).unwrap_or(whole).min(whole);
        let tiles: Vec<AxisTile> = (0..whole.div_ceil(tile))
            .map(|number| tiling.axis(axis, number * tile..((number + 1) * tile).min(whole)))
            .collect::<Result<_>>()?;
        let mut signatures: Vec<&Vec<usize>> = Vec::new();
        let mut class = Vec::new();
        for tile in &tiles {
            let found = signatures.iter().position(|signature| **signature == tile.signature);
            class.push(found.unwrap_or_else(|| {
                signatures.push(&tile.signature);
                signatures.len() - 1
            }));
        }
        let classes = signatures.len();
        Ok(Self { tiles, class, classes, tile, alignment })
    }

    /// The most inputs that a tile reads.
    fn most_read(&self) -> usize {
        self.tiles.iter().map(|tile| tile.input.len()).max().unwrap_or(0)
    }
}

/// Results that the device is still working on.
struct Pending {
    region: Region,
    result: Tensor,
}

impl TileRunner {
    /// Works out the tiles of a network. Networks are made when tiles need them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the node and the reason where a result depends on the whole input,
    /// and for graphs of more inputs or outputs than one; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for shapes that do not fit.
    pub fn new(engine: &Engine, graph: &Graph, desc: &TileDesc) -> Result<Self> {
        let tiling = Tiling::new(graph, &desc.input)?;
        let rank = desc.input.len() - 2;
        if desc.tile.len() != rank {
            let (given, input) = (desc.tile.len(), &desc.input);
            return Err(Error::invalid("tile", format!("has {given} entries, but the input {input:?} has {rank} spatial axes")));
        }
        let axes = (0..rank).map(|axis| Axis::new(&tiling, axis, desc.tile[axis])).collect::<Result<Vec<_>>>()?;
        let first: Vec<&AxisTile> = axes.iter().map(|axis| &axis.tiles[0]).collect();
        let bound = tiling.graph(&first).bind(&Bindings::default())?;
        let result = bound.fact(bound.outputs[0].1);
        for (what, element) in [("input", tiling.element()), ("output", Some(result.element))] {
            if !matches!(element, Some(ElementType::F32 | ElementType::F16)) {
                let element = element.map_or("unknown", ElementType::name);
                return Err(Error::unsupported(what, format!("has elements of type {element}, but tiles are of f32 or f16")));
            }
        }
        let half = tiling.element() == Some(ElementType::F16) && engine.limits().f16;
        let output = [&result.shape[..2], tiling.output_sizes()].concat();
        let dtype = if half { DType::F16 } else { DType::F32 };
        let (input, keep) = (desc.input.clone(), desc.keep.max(1));
        let networks = Mutex::new(Recent::new(keep));
        Ok(Self { engine: engine.clone(), tiling, axes, input, output, dtype, keep, networks })
    }

    /// The shape of the whole output.
    pub fn output_shape(&self) -> &[usize] {
        &self.output
    }

    /// How many tiles there are.
    pub fn tile_count(&self) -> usize {
        self.axes.iter().map(|axis| axis.tiles.len()).product()
    }

    /// How many different networks the tiles need.
    pub fn network_count(&self) -> usize {
        self.axes.iter().map(|axis| axis.classes).product()
    }

    /// Outputs on each axis of which tiles are multiples: the product of the strides that the network takes back before its end.
    pub fn alignment(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.alignment).collect()
    }

    /// The tiles, what they read, and how many networks they need, as text.
    pub fn explain(&self) -> String {
        let list =
            |value: &dyn Fn(&Axis) -> usize| self.axes.iter().map(|axis| value(axis).to_string()).collect::<Vec<_>>().join("x");
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "input      {:?}, output {:?}", self.input, self.output);
        let _ = writeln!(
            text,
            "tiles      {} ({}) of {} outputs",
            self.tile_count(),
            list(&|axis| axis.tiles.len()),
            list(&|axis| axis.tile)
        );
        let _ = writeln!(text, "reads      at most {} inputs for each", list(&Axis::most_read));
        let _ = writeln!(text, "alignment  {} outputs", list(&|axis| axis.alignment));
        let _ = write!(text, "networks   {} ({}), {} kept", self.network_count(), list(&|axis| axis.classes), self.keep);
        text
    }

    /// The tiles by their numbers on each axis, those of one network one after the other.
    fn order(&self) -> Vec<Vec<usize>> {
        let mut list: Vec<Vec<usize>> = vec![Vec::new()];
        for axis in &self.axes {
            list =
                list.iter().flat_map(|tile| (0..axis.tiles.len()).map(|number| [tile.as_slice(), &[number]].concat())).collect();
        }
        list.sort_by_key(|tile| self.class(tile));
        list
    }

    fn class(&self, tile: &[usize]) -> Vec<usize> {
        self.axes.iter().zip(tile).map(|(axis, &number)| axis.class[number]).collect()
    }

    /// The network of a tile; the one that was used the longest ago makes room.
    fn network(&self, tile: &[usize], axes: &[&AxisTile]) -> Result<Network> {
        let class = self.class(tile);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = networks.find(&class) {
            return Ok(network);
        }
        // Before the new one takes memory.
        networks.make_room();
        let network = Network::new(&self.engine, &self.tiling.graph(axes), &NetworkDesc::default())?;
        networks.keep(class, network.clone());
        Ok(network)
    }

    /// Runs the network over all tiles: `read` fills the input of a region, `[batch, channels, region..]` in row-major order, `write` is
    /// given the output of a region in the same order, `progress` how many tiles of how many are done. Regions that are read overlap;
    /// those that are written do not, and are the whole output. Their order is not that of rows. While the device computes a tile the next
    /// one is read.
    ///
    /// # Errors
    /// Those of `read` and `write`, which end the run; [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost),
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory), and those of [`Network::new`].
    pub fn stream_tiles<E: From<Error>>(
        &self,
        mut read: impl FnMut(&Region, &mut [f32]) -> Result<(), E>,
        mut write: impl FnMut(&Region, &[f32]) -> Result<(), E>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(), E> {
        let order = self.order();
        let mut done = 0;
        let mut finish = |pending: Option<Pending>| -> Result<(), E> {
            let Some(Pending { region, result }) = pending else { return Ok(()) };
            write(&region, &result.to_vec::<f32>()?)?;
            done += 1;
            progress(done, order.len());
            Ok(())
        };
        let mut pending = None;
        let mut values = Vec::new();
        for tile in &order {
            let axes: Vec<&AxisTile> = self.axes.iter().zip(tile).map(|(axis, &number)| &axis.tiles[number]).collect();
            let network = self.network(tile, &axes)?;
            let region = Region::new(&axes, |axis| &axis.input);
            let desc = TensorDesc::new(&[&self.input[..2], &region.size].concat(), self.dtype);
            values.clear();
            values.resize(desc.elements()?, 0.0);
            read(&region, &mut values)?;
            let x = self.engine.upload(&values, &desc)?;
            let result = network.run(&[&x])?.swap_remove(0);
            finish(pending.replace(Pending { region: Region::new(&axes, |axis| &axis.output), result }))?;
        }
        finish(pending)
    }

    /// [`stream_tiles`](Self::stream_tiles) over an input that is in memory.
    ///
    /// # Errors
    /// As [`stream_tiles`](Self::stream_tiles); [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the length is not the shape's.
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>> {
        let count = |shape: &[usize]| shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if count(&self.input) != Some(input.len()) {
            return Err(Error::invalid("input", format!("data has {} elements, but its shape is {:?}", input.len(), self.input)));
        }
        let elements = count(&self.output).ok_or_else(|| Error::invalid("output", "has more elements than memory"))?;
        let mut output = vec![0.0; elements];
        let planes = |shape: &[usize]| shape[0] * shape[1];
        self.stream_tiles(
            |region, values| {
                region.rows(planes(&self.input), self.tiling.input_sizes(), |whole, block, length| {
                    values[block..block + length].copy_from_slice(&input[whole..whole + length]);
                });
                Ok::<_, Error>(())
            },
            |region, values| {
                region.rows(planes(&self.output), self.tiling.output_sizes(), |whole, block, length| {
                    output[whole..whole + length].copy_from_slice(&values[block..block + length]);
                });
                Ok(())
            },
            |_, _| (),
        )?;
        Ok(output)
    }
}

impl std::fmt::Debug for TileRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TileRunner({} tiles of {:?})", self.tile_count(), self.input)
    }
}
