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
mod gemm;
mod half;
mod pack;
mod part;
mod patch;
mod picture;
mod plan;
mod pool;
mod pool_patch;
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
pub use depthwise::DepthwiseTile;
pub use gemm::GemmTile;
pub use plan::{Packing, Plan, Step, Work};
pub(crate) use plan::{View, fold};
pub use pool_patch::PoolTile;
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
    /// x, but transposed ones with a stride.
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
    /// Register patches over the rows of a channel: one input channel to a group.
    Depthwise(DepthwiseTile),
    /// Register patches over the rows of a plane: poolings with sliding windows.
    PoolPatch(PoolTile),
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

/// The variants without their tiles; of equal guesses the first here wins, and so the one with less arithmetic on addresses.
const FAMILIES: [&str; 13] = [
    "coop_matmul",
    "subgroup_matmul",
    "matmul",
    "coop_gemm",
    "subgroup_gemm",
    "subgroup_strip",
    "gemm",
    "winograd",
    "depthwise",
    "direct",
    "pool_patch",
    "pool",
    "pool_tree",
];

impl Algorithm {
    /// The name without the tile.
    pub fn name(&self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Gemm(_) => "gemm",
            Algorithm::SubgroupGemm(_) => "subgroup_gemm",
            Algorithm::SubgroupStrip(_) => "subgroup_strip",
            Algorithm::Matmul(_) => "matmul",
            Algorithm::SubgroupMatmul(_) => "subgroup_matmul",
            Algorithm::CoopGemm(_) => "coop_gemm",
            Algorithm::CoopMatmul(_) => "coop_matmul",
            Algorithm::Winograd(_) => "winograd",
            Algorithm::Depthwise(_) => "depthwise",
            Algorithm::PoolPatch(_) => "pool_patch",
            Algorithm::Pool => "pool",
            Algorithm::PoolTree => "pool_tree",
        }
    }

    /// The names of all algorithms.
    pub fn names() -> &'static [&'static str] {
        &FAMILIES
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
        for name in FAMILIES {
            let mut reason = None;
            match family(&context, name) {
                Err(refused) => reason = Some(refused),
                Ok(tiles) => {
                    let before = accepted.len();
                    for (cost, algorithm) in tiles {
                        match algorithm.plan(problem, limits) {
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
            refusals.extend(reason.map(|reason| Refusal { algorithm: name, reason }));
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
        let tiles = family(&context, self.name()).map_err(|reason| refused(&reason))?;
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
        let whole = self.whole(problem, limits, mode)?;
        whole.check(limits)?;
        let part = |problem: &Problem| {
            let plan = self.whole(problem, limits, mode)?;
            plan.check(limits).and_then(|()| plan.check_bindings(limits)).map(|()| plan)
        };
        let short = |problem: &Problem| part(problem).and_then(|plan| plan.check_length(limits).map(|()| plan));
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

    /// The plan of a layer whatever its tensors' sizes.
    fn whole(&self, problem: &Problem, limits: &DeviceLimits, mode: GeometryMode) -> Result<Plan> {
        let geometry = Geometry::new(problem)?;
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
            Algorithm::Pool => pool::plan(&context),
            Algorithm::PoolTree => pool::plan_tree(&context),
        }?;
        let nanoseconds = self.nanoseconds(&context);
        Ok(Plan { problem: problem.clone(), algorithm: *self, steps, packing, workspace, nanoseconds, geometry, split: None })
    }

    /// About how long the layer takes; of a tile that the planner does not choose among, by its products alone.
    fn nanoseconds(&self, context: &Context) -> u64 {
        let tiles = family(context, self.name()).unwrap_or_default();
        let mine = tiles.iter().find(|(_, algorithm)| algorithm == self).map(|(operations, _)| *operations);
        mine.unwrap_or_else(|| Operations::products(context.limits, context.geometry.flop() / 2)).nanoseconds(context.limits)
    }

    fn supports(&self, context: &Context) -> Result<(), String> {
        match self {
            Algorithm::Direct => direct::supports(context),
            Algorithm::Gemm(tile) => tile.supports(&Product::new(context, Operands::Implicit)?, context.limits),
            Algorithm::Matmul(tile) => tile.supports(&Product::new(context, Operands::Plain)?, context.limits),
            Algorithm::SubgroupGemm(tile) => tile.supports(&Product::new(context, Operands::Implicit)?, context.limits),
            Algorithm::SubgroupMatmul(tile) => tile.supports(&Product::new(context, Operands::Plain)?, context.limits),
            Algorithm::SubgroupStrip(tile) => strip::supports_tile(context, tile),
            Algorithm::CoopGemm(tile) => tile.supports(Product::new(context, Operands::Implicit)?.dtype, context.limits),
            Algorithm::CoopMatmul(tile) => tile.supports(Product::new(context, Operands::Plain)?.dtype, context.limits),
            Algorithm::Winograd(tile) => winograd::supports_tile(context, tile),
            Algorithm::Depthwise(_) => depthwise::supports(context),
            Algorithm::PoolPatch(_) => pool_patch::supports(context),
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
        packing: operands.packing([tile.block_m, tile.block_k(&product.geometry)]),
        workspace: split_k::workspace(&product, tile.split_k),
    })
}

fn coop_parts(context: &Context, operands: Operands, tile: &CoopTile) -> Result<Parts> {
    let product = Product::new(context, operands).expect("the layer was accepted");
    let step = cooperative::step(&product, context.limits, tile)?;
    Ok(Parts { steps: vec![step], packing: operands.packing([tile.block_m, tile.block_k]), workspace: Vec::new() })
}

/// The tiles of one family with what they do, or why it does not take the layer.
fn family(context: &Context, name: &'static str) -> Result<Vec<(Operations, Algorithm)>, String> {
    fn all<T>(tiles: Vec<(Operations, T)>, algorithm: fn(T) -> Algorithm) -> Vec<(Operations, Algorithm)> {
        tiles.into_iter().map(|(cost, tile)| (cost, algorithm(tile))).collect()
    }
    let tiles = match name {
        "direct" => direct::supports(context).map(|()| vec![(direct::cost(context), Algorithm::Direct)])?,
        "gemm" => all(gemm::tiles(&Product::new(context, Operands::Implicit)?, context.limits), Algorithm::Gemm),
        "matmul" => all(gemm::tiles(&Product::new(context, Operands::Plain)?, context.limits), Algorithm::Matmul),
        "subgroup_gemm" => {
            let product = Product::new(context, Operands::Implicit)?;
            subgroup::supports(context.limits)?;
            all(subgroup::tiles(&product, context.limits), Algorithm::SubgroupGemm)
        }
        "subgroup_strip" => {
            strip::supports(context).and_then(|()| strip::tiles(context)).map(|t| all(t, Algorithm::SubgroupStrip))?
        }
        "subgroup_matmul" => {
            let product = Product::new(context, Operands::Plain)?;
            subgroup::supports(context.limits)?;
            all(subgroup::tiles(&product, context.limits), Algorithm::SubgroupMatmul)
        }
        "coop_gemm" => all(cooperative::tiles(&Product::new(context, Operands::Implicit)?, context.limits)?, Algorithm::CoopGemm),
        "coop_matmul" => {
            all(cooperative::tiles(&Product::new(context, Operands::Plain)?, context.limits)?, Algorithm::CoopMatmul)
        }
        "winograd" => all(winograd::tiles(context)?, Algorithm::Winograd),
        "depthwise" => depthwise::supports(context).map(|()| all(depthwise::tiles(context), Algorithm::Depthwise))?,
        "pool_patch" => pool_patch::supports(context).map(|()| all(pool_patch::tiles(context), Algorithm::PoolPatch))?,
        "pool" => pool::supports(context).map(|()| vec![(pool::cost(context), Algorithm::Pool)])?,
        "pool_tree" => pool::supports_tree(context).map(|()| vec![(pool::tree_cost(context), Algorithm::PoolTree)])?,
        _ => unreachable!("FAMILIES lists no other"),
    };
    if tiles.is_empty() {
        return Err("no tile fits the device's limits".into());
    }
    Ok(tiles)
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
        }
    }
}

/// A tile of each algorithm that has tiles, for messages.
const EXAMPLES: [(&str, &str); 10] = [
    ("coop_matmul", "32x32x16,8,32"),
    ("subgroup_matmul", "32x4,8"),
    ("matmul", "64x64x16,8x4"),
    ("coop_gemm", "32x32x16,8,32"),
    ("subgroup_gemm", "32x4,8"),
    ("subgroup_strip", "32x7,8"),
    ("gemm", "64x64x16,8x4"),
    ("winograd", "2,subgroup,32x4,8"),
    ("depthwise", "14x4"),
    ("pool_patch", "14x4"),
];

/// Of a text that is no algorithm: what is wrong with it.
fn no_algorithm(text: &str) -> Error {
    let (name, tile) = text.split_once('(').map_or((text, None), |(name, tile)| (name, Some(tile.trim_end_matches(')'))));
    let known = FAMILIES.contains(&name);
    let example = EXAMPLES.iter().find(|(other, _)| *other == name).map(|(name, tile)| format!("{name}({tile})"));
    let message = match (example, tile) {
        _ if !known => format!("`{name}` is not one of {}", FAMILIES.join(", ")),
        (None, _) => format!("`{text}`: {name} has no tile"),
        (Some(example), None) => format!("{name} needs a tile, such as {example}"),
        (Some(example), Some(tile)) => format!("`{tile}` is not a tile that {name}'s kernel can have, as in {example}"),
    };
    Error::invalid("algorithm", message)
}

impl FromStr for Algorithm {
    type Err = Error;

    /// Parses what `Display` prints.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none, and for a tile that its kernel cannot have.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || no_algorithm(text);
        let (name, tile) = match text.split_once('(') {
            None => (text, ""),
            Some((name, rest)) => (name, rest.strip_suffix(')').ok_or_else(bad)?),
        };
        let with_slices = match name {
            "winograd" => Some(WinogradTile::parse(tile).map(Algorithm::Winograd)),
            "gemm" => Some(GemmTile::parse(tile).map(Algorithm::Gemm)),
            "matmul" => Some(GemmTile::parse(tile).map(Algorithm::Matmul)),
            "subgroup_gemm" => Some(SubgroupTile::parse(tile).map(Algorithm::SubgroupGemm)),
            "subgroup_matmul" => Some(SubgroupTile::parse(tile).map(Algorithm::SubgroupMatmul)),
            _ => None,
        };
        if let Some(algorithm) = with_slices {
            return algorithm.ok_or_else(bad);
        }
        let numbers: Result<Vec<u32>, _> = tile.split(['x', ',']).filter(|_| !tile.is_empty()).map(str::parse).collect();
        let numbers = numbers.map_err(|_| bad())?;
        let algorithm = match name {
            "direct" if numbers.is_empty() => Some(Algorithm::Direct),
            "pool" if numbers.is_empty() => Some(Algorithm::Pool),
            "pool_tree" if numbers.is_empty() => Some(Algorithm::PoolTree),
            "subgroup_strip" => SubgroupTile::from_numbers(&numbers).map(Algorithm::SubgroupStrip),
            "coop_gemm" => CoopTile::from_numbers(&numbers).map(Algorithm::CoopGemm),
            "coop_matmul" => CoopTile::from_numbers(&numbers).map(Algorithm::CoopMatmul),
            "depthwise" => DepthwiseTile::from_numbers(&numbers).map(Algorithm::Depthwise),
            "pool_patch" => PoolTile::from_numbers(&numbers).map(Algorithm::PoolPatch),
            _ => None,
        };
        algorithm.ok_or_else(bad)
    }
}
