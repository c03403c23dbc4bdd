//! The GPU as the program sees it: which algorithms are to be judged, and what one of them makes of a layer.

use std::str::FromStr;

use wgconv::reference::ConvOperands;
use wgconv::{
    Algorithm, Candidates, ConvInputs, Engine, EngineDesc, Error, ErrorKind, Layer, PoolKind, Precision, Problem, Refusal,
    Result, TensorDesc,
};

/// The algorithms that the user wants to see.
#[derive(Debug, Clone)]
pub enum Only {
    /// Every tile's family by its name; the tile that is the best guess stands for it.
    Family(&'static str),
    /// One with its tile.
    One(Algorithm),
}

impl FromStr for Only {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let family = Algorithm::names().iter().find(|&&name| name == text);
        family.map_or_else(|| text.parse().map(Only::One), |name| Ok(Only::Family(name)))
    }
}

/// An engine and the choice of what to judge on it.
pub struct Device {
    pub engine: Engine,
    pub only: Option<Only>,
    /// Judge every tile, not only the best guess of each family.
    pub every_tile: bool,
}

impl Device {
    /// Opens an adapter by its number or a part of its name.
    pub fn open(adapter: Option<String>, precision: Precision, only: Option<Only>, every_tile: bool) -> Result<Self> {
        let engine = Engine::new(&EngineDesc { adapter, precision, ..Default::default() })?;
        Ok(Self { engine, only, every_tile })
    }

    /// What is to compute this layer, and who refuses and why.
    pub fn choose(&self, problem: &Problem) -> Result<Candidates> {
        if let Some(Only::One(algorithm)) = &self.only {
            let (algorithms, refusals) = match algorithm.plan(problem, self.engine.limits()) {
                Ok(_) => (vec![*algorithm], vec![]),
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    (vec![], vec![Refusal { algorithm: algorithm.name(), reason: error.message().into() }])
                }
                Err(error) => return Err(error),
            };
            return Ok(Candidates { algorithms, refusals });
        }
        let mut candidates = self.engine.candidates(problem)?;
        if let Some(Only::Family(name)) = &self.only {
            candidates.algorithms.retain(|algorithm| algorithm.name() == *name);
            candidates.refusals.retain(|refusal| refusal.algorithm == *name);
        }
        if !self.every_tile {
            let mut seen = Vec::new();
            candidates.algorithms.retain(|algorithm| {
                let new = !seen.contains(&algorithm.name());
                seen.push(algorithm.name());
                new
            });
        }
        Ok(candidates)
    }

    /// The layer's output, and indices where its description asks for them.
    ///
    /// `residual` comes with its shape, which an operand of the reference has not.
    pub fn run(
        &self,
        problem: &Problem,
        operands: &ConvOperands,
        residual: Option<&TensorDesc>,
        algorithm: &Algorithm,
    ) -> Result<(Vec<f32>, Option<Vec<i32>>)> {
        let input = self.engine.upload(operands.input, &problem.input)?;
        match &problem.layer {
            Layer::Conv(desc) => {
                let conv = self.engine.conv_with(desc, &problem.input, operands.weights, algorithm)?;
                let residual = operands.residual.map(|data| self.engine.upload(data, residual.unwrap_or(conv.output_desc())));
                let residual = residual.transpose()?;
                let output = conv.run(ConvInputs { input: (&input).into(), residual: residual.as_ref() })?;
                Ok((output.to_vec()?, None))
            }
            Layer::Pool(desc) => {
                let pool = self.engine.pool_with(desc, &problem.input, algorithm)?;
                if !matches!(desc.kind, PoolKind::Max { indices: Some(_) }) {
                    return Ok((pool.run(&input)?.to_vec()?, None));
                }
                let (output, indices) = pool.run_with_indices(&input)?;
                Ok((output.to_vec()?, Some(indices.to_vec()?)))
            }
        }
    }
}
