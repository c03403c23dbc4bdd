//! [`Algorithm`]: the ways to compute a layer. A choice is a value that prints, parses, and plans.
//!
//! Each way is one file with the same functions: `supports` (or the reason why not), `tiles` (the cheapest guess first) and
//! `plan`. A new one is a variant here, an arm in each `match` that the compiler then asks for, and a shader.

mod bytes;
mod cooperative;
mod cost;
mod cut;
mod depthwise;
mod direct;
mod family;
mod gemm;
mod half;
mod pack;
mod part;
mod patch;
mod picture;
mod plan;
mod pool;
mod pool_patch;
mod pool_plane;
mod product;
mod split;
mod split_k;
mod strip;
mod subgroup;
mod subgroup_store;
mod tolerance;
mod winograd;
mod winograd_tile;
mod winograd_weights;

use std::fmt;
use std::str::FromStr;

pub(crate) use bytes::{BytePart, ByteProduct};
pub use cooperative::CoopTile;
pub use cost::Operations;
pub use gemm::GemmTile;
pub(crate) use pack::{PackOrder, WeightSource};
pub use patch::PatchTile;
pub(crate) use plan::View;
pub use plan::{Packing, Plan, Step, Work};
pub use pool_plane::PlaneTile;
pub(crate) use split::WeightPart;
pub use split::{Split, SplitAxis};
pub use subgroup::SubgroupTile;
pub use tolerance::Tolerance;
pub use winograd_tile::{ProductTile, WinogradTile};

use crate::desc::Epilogue;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::kernel::GeometryMode;
use crate::limits::DeviceLimits;
use crate::problem::{Layer, Problem};
use crate::tensor_desc::DType;
use family::Family;
use product::{Operands, Product};

/// A way to compute a layer, with its tile.
///
/// # Examples
/// ```
/// use wgconv::Algorithm;
/// let algorithm: Algorithm = "gemm(64x64x16,8x4)".parse()?;
/// assert_eq!(algorithm.name(), "gemm");
/// assert_eq!(algorithm.to_string(), "gemm(64x64x16,8x4)");
/// # Ok::<(), wgconv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// One invocation for each output, by the definition: any convolution.
    Direct,
    /// Implicit matrix product through workgroup memory and register tiles: any convolution.
    Gemm(GemmTile),
    /// Implicit matrix product through subgroup broadcasts: any convolution, where the subgroup size is known.
    SubgroupGemm(SubgroupTile),
    /// Implicit matrix product through subgroup broadcasts, over strips of outputs whose taps share their loads: layers of several taps on
    /// x, of transposed ones with a stride in each phase.
    SubgroupStrip(SubgroupTile),
    /// Plain matrix product through workgroup memory: 1x1 convolutions and fully connected layers.
    Matmul(GemmTile),
    /// Plain matrix product through subgroup broadcasts.
    SubgroupMatmul(SubgroupTile),
    /// Implicit matrix product of cooperative matrices: any convolution in f16, where the device has them and they are asked for.
    CoopGemm(CoopTile),
    /// Plain matrix product of cooperative matrices.
    CoopMatmul(CoopTile),
    /// Winograd's minimal filtering: convolutions with three taps at stride 1, in fewer products.
    Winograd(WinogradTile),
    /// Register patches over the rows of an output channel: one input channel to a group, or few output channels.
    Depthwise(PatchTile),
    /// Register patches over the rows of a plane: poolings with sliding windows.
    PoolPatch(PatchTile),
    /// Whole planes, four elements a load: global poolings.
    PoolPlane(PlaneTile),
    /// One invocation for each output: any pooling.
    Pool,
    /// One workgroup for each output, which it sums as a tree: poolings over large windows.
    PoolTree,
}

/// Why an algorithm does not take a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The algorithm's [name](Algorithm::name).
    pub algorithm: &'static str,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.algorithm, self.reason)
    }
}

/// Everything that can compute a layer on a device, and why the rest cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Best guess first.
    pub algorithms: Vec<Algorithm>,
    /// One for each algorithm that takes no tile of this layer, and one where the precision forbids arithmetic in f16.
    pub refusals: Vec<Refusal>,
}

/// What a plan is made from.
struct Context<'a> {
    problem: &'a Problem,
    geometry: &'a Geometry,
    limits: &'a DeviceLimits,
    mode: GeometryMode,
}

impl Context<'_> {
    fn dtype(&self) -> DType {
        self.problem.input.dtype()
    }

    /// The epilogue of a convolution.
    fn epilogue(&self) -> &Epilogue {
        match &self.problem.layer {
            Layer::Conv(desc) => &desc.epilogue,
            Layer::Pool(_) => unreachable!("a pooling has no epilogue, and no convolution kernel takes it"),
        }
    }
}

/// The part of a plan that an algorithm makes.
struct Parts {
    steps: Vec<Step>,
    packing: Packing,
    workspace: Vec<u64>,
}

impl Algorithm {
    /// The name without the tile.
    pub fn name(&self) -> &'static str {
        self.family().name()
    }

    /// The names of all algorithms.
    pub fn names() -> &'static [&'static str] {
        &Family::NAMES
    }

    /// What can compute a layer on a device, the best guess first, and why the rest cannot.
    ///
    /// # Errors
    /// Those of [`Geometry::new`], and [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where nothing can.
    pub fn candidates(problem: &Problem, limits: &DeviceLimits) -> Result<Candidates> {
        let geometry = Geometry::new(problem)?;
        let context = Context { problem, geometry: &geometry, limits, mode: GeometryMode::Uniform };
        let mut accepted: Vec<(Operations, Algorithm)> = Vec::new();
        let mut refusals = Vec::new();
        let mut unplanned = None;
        for family in Family::ALL {
            let mut reason = None;
            match family.tiles(&context) {
                Err(refused) => reason = Some(refused),
                Ok(tiles) => {
                    let before = accepted.len();
                    for (cost, algorithm) in tiles {
                        match algorithm.priced_plan(problem, limits, context.mode, Some(cost)) {
                            Ok(_) => accepted.push((cost, algorithm)),
                            Err(error) => {
                                reason = Some(error.to_string());
                                unplanned = Some(error);
                            }
                        }
                    }
                    if accepted.len() > before {
                        reason = None;
                    }
                }
            }
            refusals.extend(reason.map(|reason| Refusal { algorithm: family.name(), reason }));
        }
        if let Some((_, gemm)) = accepted.iter().find(|(_, algorithm)| matches!(algorithm, Algorithm::Gemm(_))) {
            refusals.extend(half::refusal(gemm.name(), context.dtype(), limits));
        }
        let sorted = cost::cheapest_first(limits.class, accepted.into_iter());
        let algorithms: Vec<_> = sorted.into_iter().map(|(_, algorithm)| algorithm).collect();
        match unplanned {
            Some(error) if algorithms.is_empty() => Err(error),
            _ => Ok(Candidates { algorithms, refusals }),
        }
    }

    /// What this algorithm does for a layer on a device: an estimate, whose [time](Operations::time) the candidates are sorted by.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn operations(&self, problem: &Problem, limits: &DeviceLimits) -> Result<Operations> {
        let geometry = Geometry::new(problem)?;
        let context = Context { problem, geometry: &geometry, limits, mode: GeometryMode::Uniform };
        let refused = |reason: &str| Error::unsupported("algorithm", format!("{self} does not take `{problem}`: {reason}"));
        let tiles = self.family().tiles(&context).map_err(|reason| refused(&reason))?;
        let mine = tiles.iter().find(|(_, algorithm)| algorithm == self);
        mine.map(|(operations, _)| *operations).ok_or_else(|| refused("its tile is none that the planner chooses among"))
    }

    /// The plan of a layer by this algorithm on a device.
    ///
    /// # Errors
    /// Those of [`Geometry::new`]; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the algorithm does not take the
    /// layer or the plan passes a limit.
    pub fn plan(&self, problem: &Problem, limits: &DeviceLimits) -> Result<Plan> {
        self.plan_as(problem, limits, GeometryMode::Uniform)
    }

    /// [`plan`](Self::plan), with the layer's sizes as a uniform buffer or as constants of the kernels' text.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_as(&self, problem: &Problem, limits: &DeviceLimits, mode: GeometryMode) -> Result<Plan> {
        self.priced_plan(problem, limits, mode, None)
    }

    /// [`plan_as`](Self::plan_as), where it may be known already what the whole does.
    fn priced_plan(
        &self,
        problem: &Problem,
        limits: &DeviceLimits,
        mode: GeometryMode,
        cost: Option<Operations>,
    ) -> Result<Plan> {
        let whole = self.whole(problem, Geometry::new(problem)?, limits, mode, cost)?;
        whole.check(limits)?;
        let part = |problem: &Problem, geometry: Geometry| {
            let plan = self.whole(problem, geometry, limits, mode, None)?;
            plan.check(limits).and_then(|()| plan.check_bindings(limits)).map(|()| plan)
        };
        let short = |problem: &Problem, geometry: Geometry| {
            let plan = part(problem, geometry)?;
            plan.check_length(limits).map(|()| plan)
        };
        match (whole.check_bindings(limits), whole.check_length(limits)) {
            (Ok(()), Ok(())) => Ok(whole),
            // What cannot be short is long: that is no reason to refuse it.
            (Ok(()), Err(long)) => Ok(split::plan(whole.clone(), limits, &short, long).unwrap_or(whole)),
            (Err(refusal), Ok(())) => split::plan(whole, limits, &part, refusal),
            (Err(refusal), Err(long)) => {
                let in_short_parts = split::plan(whole.clone(), limits, &short, long);
                in_short_parts.or_else(|_| split::plan(whole, limits, &part, refusal))
            }
        }
    }

    /// The plan of a layer of such numbers whatever its tensors' sizes.
    fn whole(
        &self,
        problem: &Problem,
        geometry: Geometry,
        limits: &DeviceLimits,
        mode: GeometryMode,
        cost: Option<Operations>,
    ) -> Result<Plan> {
        let context = Context { problem, geometry: &geometry, limits, mode };
        self.supports(&context)
            .map_err(|reason| Error::unsupported("algorithm", format!("{self} does not take `{problem}`: {reason}")))?;
        let Parts { steps, packing, workspace } = match self {
            Algorithm::Direct => direct::plan(&context),
            Algorithm::Gemm(tile) => gemm_parts(&context, Operands::Implicit, tile),
            Algorithm::SubgroupGemm(tile) => subgroup_parts(&context, Operands::Implicit, tile),
            Algorithm::SubgroupStrip(tile) => strip::plan(&context, tile),
            Algorithm::Matmul(tile) => gemm_parts(&context, Operands::Plain, tile),
            Algorithm::SubgroupMatmul(tile) => subgroup_parts(&context, Operands::Plain, tile),
            Algorithm::CoopGemm(tile) => coop_parts(&context, Operands::Implicit, tile),
            Algorithm::CoopMatmul(tile) => coop_parts(&context, Operands::Plain, tile),
            Algorithm::Winograd(tile) => winograd::plan(&context, tile),
            Algorithm::Depthwise(tile) => depthwise::plan(&context, tile),
            Algorithm::PoolPatch(tile) => pool_patch::plan(&context, tile),
            Algorithm::PoolPlane(tile) => pool_plane::plan(&context, tile),
            Algorithm::Pool => pool::plan(&context),
            Algorithm::PoolTree => pool::plan_tree(&context),
        }?;
        let cost = cost.unwrap_or_else(|| self.cost(&context));
        let nanoseconds = cost.nanoseconds(limits);
        Ok(Plan { problem: problem.clone(), algorithm: *self, steps, packing, workspace, nanoseconds, geometry, split: None })
    }

    /// What it does for a layer; of a tile that the planner does not choose among, its products alone.
    fn cost(&self, context: &Context) -> Operations {
        let tiles = self.family().tiles(context).unwrap_or_default();
        let mine = tiles.iter().find(|(_, algorithm)| algorithm == self).map(|(operations, _)| *operations);
        mine.unwrap_or_else(|| Operations::products(context.limits, context.geometry.flop() / 2))
    }

    fn supports(&self, context: &Context) -> Result<(), String> {
        match self {
            Algorithm::Direct => direct::supports(context),
            Algorithm::Gemm(tile) => tile.supports(&Product::new(context, Operands::Implicit)?, context.limits),
            Algorithm::Matmul(tile) => tile.supports(&Product::new(context, Operands::Plain)?, context.limits),
            Algorithm::SubgroupGemm(tile) => tile.supports(&Product::new(context, Operands::Implicit)?, context.limits),
            Algorithm::SubgroupMatmul(tile) => tile.supports(&Product::new(context, Operands::Plain)?, context.limits),
            Algorithm::SubgroupStrip(tile) => strip::supports_tile(context, tile),
            Algorithm::CoopGemm(tile) => tile.supports(&Product::new(context, Operands::Implicit)?, context.limits),
            Algorithm::CoopMatmul(tile) => tile.supports(&Product::new(context, Operands::Plain)?, context.limits),
            Algorithm::Winograd(tile) => winograd::supports_tile(context, tile),
            Algorithm::Depthwise(_) => depthwise::supports(context),
            Algorithm::PoolPatch(_) => pool_patch::supports(context),
            Algorithm::PoolPlane(_) => pool_plane::supports(context),
            Algorithm::Pool => pool::supports(context),
            Algorithm::PoolTree => pool::supports_tree(context),
        }
    }
}

fn gemm_parts(context: &Context, operands: Operands, tile: &GemmTile) -> Result<Parts> {
    let product = Product::new(context, operands).expect("the layer was accepted");
    Ok(Parts {
        steps: gemm::steps(&product, context.limits, tile)?,
        packing: operands.packing(tile.panel()),
        workspace: split_k::workspace(&product, tile.split_k),
    })
}

fn subgroup_parts(context: &Context, operands: Operands, tile: &SubgroupTile) -> Result<Parts> {
    let product = Product::new(context, operands).expect("the layer was accepted");
    Ok(Parts {
        steps: subgroup::steps(&product, context.limits, tile)?,
        packing: operands.packing([tile.block_m, tile.turn(&product.geometry)]),
        workspace: split_k::workspace(&product, tile.split_k),
    })
}

fn coop_parts(context: &Context, operands: Operands, tile: &CoopTile) -> Result<Parts> {
    let product = Product::new(context, operands).expect("the layer was accepted");
    Ok(Parts {
        steps: cooperative::steps(&product, context.limits, tile)?,
        packing: operands.packing(tile.panel()),
        workspace: split_k::workspace(&product, tile.split_k),
    })
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Algorithm::Direct | Algorithm::Pool | Algorithm::PoolTree => Ok(()),
            Algorithm::Gemm(tile) | Algorithm::Matmul(tile) => write!(f, "({tile})"),
            Algorithm::SubgroupGemm(tile) | Algorithm::SubgroupStrip(tile) | Algorithm::SubgroupMatmul(tile) => {
                write!(f, "({tile})")
            }
            Algorithm::CoopGemm(tile) | Algorithm::CoopMatmul(tile) => write!(f, "({tile})"),
            Algorithm::Winograd(tile) => write!(f, "({tile})"),
            Algorithm::Depthwise(tile) => write!(f, "({tile})"),
            Algorithm::PoolPatch(tile) => write!(f, "({tile})"),
            Algorithm::PoolPlane(tile) => write!(f, "({tile})"),
        }
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    /// Parses what `Display` prints.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none, and for a tile that its kernel cannot have.
    fn from_str(text: &str) -> Result<Self> {
        Family::parse(text)
    }
}
