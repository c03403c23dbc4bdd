//! [`Family`]: the algorithms without their tiles: their names, their tiles, and texts that say one.

use super::cost::Operations;
use super::product::{Operands, Product};
use super::{
    Algorithm, Context, CoopTile, GemmTile, PatchTile, PlaneTile, SubgroupTile, WinogradTile, cooperative, depthwise, direct,
    gemm, pool, pool_patch, pool_plane, strip, subgroup, winograd,
};
use crate::error::{Error, Result};

/// A variant of [`Algorithm`] without its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    CoopMatmul,
    SubgroupMatmul,
    Matmul,
    CoopGemm,
    SubgroupGemm,
    SubgroupStrip,
    Gemm,
    Winograd,
    Depthwise,
    Direct,
    PoolPatch,
    PoolPlane,
    Pool,
    PoolTree,
}

impl Family {
    /// All of them. Of equal guesses the first here wins, and so the one with less arithmetic on addresses.
    pub const ALL: [Self; 14] = [
        Family::CoopMatmul,
        Family::SubgroupMatmul,
        Family::Matmul,
        Family::CoopGemm,
        Family::SubgroupGemm,
        Family::SubgroupStrip,
        Family::Gemm,
        Family::Winograd,
        Family::Depthwise,
        Family::Direct,
        Family::PoolPatch,
        Family::PoolPlane,
        Family::Pool,
        Family::PoolTree,
    ];

    /// The names of all, in their order.
    pub const NAMES: [&'static str; 14] = {
        let (mut names, mut number) = ([""; 14], 0);
        while number < names.len() {
            names[number] = Self::ALL[number].name();
            number += 1;
        }
        names
    };

    pub const fn name(self) -> &'static str {
        match self {
            Family::CoopMatmul => "coop_matmul",
            Family::SubgroupMatmul => "subgroup_matmul",
            Family::Matmul => "matmul",
            Family::CoopGemm => "coop_gemm",
            Family::SubgroupGemm => "subgroup_gemm",
            Family::SubgroupStrip => "subgroup_strip",
            Family::Gemm => "gemm",
            Family::Winograd => "winograd",
            Family::Depthwise => "depthwise",
            Family::Direct => "direct",
            Family::PoolPatch => "pool_patch",
            Family::PoolPlane => "pool_plane",
            Family::Pool => "pool",
            Family::PoolTree => "pool_tree",
        }
    }

    /// A tile, for messages; none of an algorithm that has no tiles.
    fn example(self) -> Option<&'static str> {
        match self {
            Family::CoopMatmul | Family::CoopGemm => Some("32x32x16,8,32"),
            Family::SubgroupMatmul | Family::SubgroupGemm => Some("32x4,8"),
            Family::Matmul | Family::Gemm => Some("64x64x16,8x4"),
            Family::SubgroupStrip => Some("32x7,8"),
            Family::Winograd => Some("2,subgroup,32x4,8"),
            Family::Depthwise | Family::PoolPatch => Some("14x4"),
            Family::PoolPlane => Some("16"),
            Family::Direct | Family::Pool | Family::PoolTree => None,
        }
    }

    /// The tiles with what they do, or why none takes the layer.
    pub fn tiles(self, context: &Context) -> Result<Vec<(Operations, Algorithm)>, String> {
        fn all<T>(tiles: Vec<(Operations, T)>, algorithm: fn(T) -> Algorithm) -> Vec<(Operations, Algorithm)> {
            tiles.into_iter().map(|(cost, tile)| (cost, algorithm(tile))).collect()
        }
        let tiles = match self {
            Family::Direct => direct::supports(context).map(|()| vec![(direct::cost(context), Algorithm::Direct)])?,
            Family::Gemm => all(gemm::tiles(&Product::new(context, Operands::Implicit)?, context.limits), Algorithm::Gemm),
            Family::Matmul => all(gemm::tiles(&Product::new(context, Operands::Plain)?, context.limits), Algorithm::Matmul),
            Family::SubgroupGemm => {
                let product = Product::new(context, Operands::Implicit)?;
                subgroup::supports(context.limits)?;
                all(subgroup::tiles(&product, context.limits), Algorithm::SubgroupGemm)
            }
            Family::SubgroupStrip => {
                strip::supports(context).and_then(|()| strip::tiles(context)).map(|t| all(t, Algorithm::SubgroupStrip))?
            }
            Family::SubgroupMatmul => {
                let product = Product::new(context, Operands::Plain)?;
                subgroup::supports(context.limits)?;
                all(subgroup::tiles(&product, context.limits), Algorithm::SubgroupMatmul)
            }
            Family::CoopGemm => {
                all(cooperative::tiles(&Product::new(context, Operands::Implicit)?, context.limits)?, Algorithm::CoopGemm)
            }
            Family::CoopMatmul => {
                all(cooperative::tiles(&Product::new(context, Operands::Plain)?, context.limits)?, Algorithm::CoopMatmul)
            }
            Family::Winograd => all(winograd::tiles(context)?, Algorithm::Winograd),
            Family::Depthwise => depthwise::supports(context).map(|()| all(depthwise::tiles(context), Algorithm::Depthwise))?,
            Family::PoolPatch => pool_patch::supports(context).map(|()| all(pool_patch::tiles(context), Algorithm::PoolPatch))?,
            Family::PoolPlane => pool_plane::supports(context).map(|()| all(pool_plane::tiles(context), Algorithm::PoolPlane))?,
            Family::Pool => pool::supports(context).map(|()| vec![(pool::cost(context), Algorithm::Pool)])?,
            Family::PoolTree => pool::supports_tree(context).map(|()| vec![(pool::tree_cost(context), Algorithm::PoolTree)])?,
        };
        if tiles.is_empty() {
            return Err("no tile fits the device's limits".into());
        }
        Ok(tiles)
    }

    /// The algorithm that a text says, in the form that `Display` prints.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none, and for a tile that its kernel cannot have.
    pub fn parse(text: &str) -> Result<Algorithm> {
        let (name, tile) = match text.split_once('(') {
            None => (text, None),
            Some((name, tile)) => (name, Some(tile)),
        };
        let wrong = |message: String| Error::invalid("algorithm", message);
        let family = Family::ALL.into_iter().find(|family| family.name() == name);
        let family = family.ok_or_else(|| wrong(format!("`{text}` is not one of {}", Self::NAMES.join(", "))))?;
        let found = match tile {
            None => family.with_tile(""),
            Some(tile) => tile.strip_suffix(')').and_then(|tile| family.with_tile(tile)),
        };
        found.ok_or_else(|| {
            wrong(match (family.example(), tile) {
                (None, _) => format!("`{text}`: {name} has no tile"),
                (Some(example), None) => format!("{name} needs a tile, such as {name}({example})"),
                (Some(example), Some(_)) => format!("`{text}` has a tile that its kernel cannot have, unlike {name}({example})"),
            })
        })
    }

    /// The algorithm with the tile that a text says, an empty one where it has no tiles.
    fn with_tile(self, tile: &str) -> Option<Algorithm> {
        let numbers = || -> Option<Vec<u32>> { tile.split(['x', ',']).map(|number| number.parse().ok()).collect() };
        match self {
            Family::Direct => tile.is_empty().then_some(Algorithm::Direct),
            Family::Pool => tile.is_empty().then_some(Algorithm::Pool),
            Family::PoolTree => tile.is_empty().then_some(Algorithm::PoolTree),
            Family::Winograd => WinogradTile::parse(tile).map(Algorithm::Winograd),
            Family::Gemm => GemmTile::parse(tile).map(Algorithm::Gemm),
            Family::Matmul => GemmTile::parse(tile).map(Algorithm::Matmul),
            Family::SubgroupGemm => SubgroupTile::parse(tile).map(Algorithm::SubgroupGemm),
            Family::SubgroupMatmul => SubgroupTile::parse(tile).map(Algorithm::SubgroupMatmul),
            Family::SubgroupStrip => SubgroupTile::strip_from_numbers(&numbers()?).map(Algorithm::SubgroupStrip),
            Family::CoopGemm => CoopTile::parse(tile).map(Algorithm::CoopGemm),
            Family::CoopMatmul => CoopTile::parse(tile).map(Algorithm::CoopMatmul),
            Family::Depthwise => PatchTile::from_numbers(&numbers()?, depthwise::MAX_FOURS).map(Algorithm::Depthwise),
            Family::PoolPatch => PatchTile::from_numbers(&numbers()?, pool_patch::MAX_FOURS).map(Algorithm::PoolPatch),
            Family::PoolPlane => PlaneTile::from_numbers(&numbers()?).map(Algorithm::PoolPlane),
        }
    }
}

impl Algorithm {
    pub(super) fn family(&self) -> Family {
        match self {
            Algorithm::Direct => Family::Direct,
            Algorithm::Pool => Family::Pool,
            Algorithm::PoolTree => Family::PoolTree,
            Algorithm::CoopMatmul(_) => Family::CoopMatmul,
            Algorithm::SubgroupMatmul(_) => Family::SubgroupMatmul,
            Algorithm::Matmul(_) => Family::Matmul,
            Algorithm::CoopGemm(_) => Family::CoopGemm,
            Algorithm::SubgroupGemm(_) => Family::SubgroupGemm,
            Algorithm::SubgroupStrip(_) => Family::SubgroupStrip,
            Algorithm::Gemm(_) => Family::Gemm,
            Algorithm::Winograd(_) => Family::Winograd,
            Algorithm::Depthwise(_) => Family::Depthwise,
            Algorithm::PoolPatch(_) => Family::PoolPatch,
            Algorithm::PoolPlane(_) => Family::PoolPlane,
        }
    }
}
