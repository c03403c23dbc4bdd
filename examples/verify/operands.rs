//! Numbers for the operands of a config, with whatever the config says about their lengths, shapes and values.

use serde_json::Value;
use wgconv::reference::ConvOperands;
use wgconv::{BatchNorm, Geometry, Layer, Problem, Residual, TensorDesc, Weights};

use crate::json::{Fields, Refused, float, missing, size, word};

/// The most elements that an operand is filled with.
const LARGEST: usize = 1 << 24;

/// The operands of a layer, as a user of the library would hold them: maybe of the wrong lengths.
pub struct Operands {
    input: Vec<f32>,
    weight: Vec<f32>,
    weight_shape: Option<Vec<usize>>,
    bias: Option<Vec<f32>>,
    slope: Option<Vec<f32>>,
    residual: Option<(TensorDesc, Vec<f32>)>,
    norm: Option<Norm>,
}

struct Norm {
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    epsilon: f32,
}

/// Lengths as the config has them, read before anything is allocated.
pub struct Lengths {
    input: usize,
    weight: usize,
    weight_shape: Option<Vec<usize>>,
    bias: Option<usize>,
    slope: Option<usize>,
    residual: Option<TensorDesc>,
    norm: Option<usize>,
}

impl Lengths {
    /// Reads what overrides the lengths that follow from the layer.
    pub fn read(fields: &Fields, problem: &Problem) -> Result<Self, Refused> {
        let geometry = Geometry::new(problem)?;
        let input = fields.size_of("input", "data_len")?.map_or_else(|| problem.input.elements(), Ok)?;
        let mut lengths = Self { input, weight: 0, weight_shape: None, bias: None, slope: None, residual: None, norm: None };
        let Layer::Conv(desc) = &problem.layer else { return Ok(lengths) };
        lengths.weight_shape = fields.list("weight")?;
        let product = |shape: &[usize]| shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let shape = lengths.weight_shape.clone().map_or_else(|| desc.weight_shape(), Ok)?;
        lengths.weight = fields.size_of("weight", "weight_data_len")?.or_else(|| product(&shape)).unwrap_or(usize::MAX);
        let channels = desc.out_channels;
        lengths.bias = fields.size_of("bias", "bias_len")?.or(desc.epilogue.bias.then_some(channels));
        lengths.slope = fields.size_of("slope", "slope_len")?.or(desc.epilogue.activation.has_slope().then_some(channels));
        let residual = fields.list("residual_shape").map_err(|refused| Refused::new("residual", refused))?;
        let residual = residual.or((desc.epilogue.residual != Residual::None).then(|| geometry.output_shape()));
        lengths.residual = residual.map(|shape| TensorDesc::new(&shape, problem.input.dtype()));
        if let Some(norm) = fields.get("batch_norm") {
            lengths.norm = Some(Fields::new("batch_norm", norm)?.size_of("batch_norm", "len")?.unwrap_or(channels));
        }
        Ok(lengths)
    }

    /// Refuses an operand that is too large to be made here, and is not what the layer needs anyway.
    pub fn check_large(&self, problem: &Problem) -> Result<(), Refused> {
        let large = |field: &str, length: usize, needed: Option<usize>| match needed {
            Some(needed) if length > LARGEST && length != needed => {
                Err(Refused::new(field, format!("has {length} elements, but the layer needs {needed}")))
            }
            _ => Ok(()),
        };
        large("input", self.input, problem.input.elements().ok())?;
        let Layer::Conv(desc) = &problem.layer else { return Ok(()) };
        large("weight", self.weight, desc.weight_shape()?.iter().try_fold(1usize, |product, &size| product.checked_mul(size)))?;
        for (field, length) in [("bias", self.bias), ("slope", self.slope), ("batch_norm", self.norm)] {
            large(field, length.unwrap_or_default(), Some(desc.out_channels))?;
        }
        let output = Geometry::new(problem)?.output_elements() as usize;
        self.residual.as_ref().map_or(Ok(()), |desc| large("residual", desc.elements().unwrap_or(usize::MAX), Some(output)))
    }

    /// Whether all of it is small enough to be made.
    pub fn are_small(&self) -> bool {
        let residual = self.residual.as_ref().map_or(0, |desc| desc.elements().unwrap_or(usize::MAX));
        let others = [self.bias, self.slope, self.norm].map(Option::unwrap_or_default);
        [self.input, self.weight, residual].into_iter().chain(others).all(|length| length <= LARGEST)
    }
}

/// Numbers between -1 and 1, none of them 0: a product of two is a zero only where the config asks for one.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let number = |index: u64| {
        let mixed = (index ^ (seed << 40)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
        ((mixed % 2000) as f32 - 999.5) / 1000.0
    };
    (0..count as u64).map(number).collect()
}

impl Operands {
    pub fn read(fields: &Fields, lengths: Lengths) -> Result<Self, Refused> {
        let filled = |count: usize, seed: u64, fill: &str| {
            let fill = fields.float(fill)?;
            Ok::<_, Refused>(fill.map_or_else(|| numbers(count, seed), |value| vec![value as f32; count]))
        };
        let norm = fields.get("batch_norm").zip(lengths.norm);
        let mut operands = Self {
            input: filled(lengths.input, 1, "input_fill")?,
            weight: filled(lengths.weight, 2, "weight_fill")?,
            weight_shape: lengths.weight_shape,
            bias: lengths.bias.map(|count| filled(count, 3, "bias_fill")).transpose()?,
            slope: lengths.slope.map(|count| filled(count, 4, "slope_fill")).transpose()?,
            residual: match lengths.residual {
                Some(desc) => Some((desc.clone(), filled(desc.elements()?, 5, "residual_fill")?)),
                None => None,
            },
            norm: norm.map(|(value, length)| Norm::read(value, length)).transpose()?,
        };
        if let Some(poke) = fields.get("poke") {
            operands.poke(poke)?;
        }
        Ok(operands)
    }

    /// Replaces one number; an index beyond the end begins again at the front.
    fn poke(&mut self, poke: &Value) -> Result<(), Refused> {
        let fields = Fields::new("poke", poke)?;
        let needed = |name: &str| fields.get(name).ok_or_else(|| missing(&format!("poke.{name}")));
        let index = size("poke", needed("index")?)?;
        let value = float("poke", needed("value")?)? as f32;
        let list = match word("poke", needed("tensor")?)? {
            "input" => Some(&mut self.input),
            "weight" => Some(&mut self.weight),
            "bias" => self.bias.as_mut(),
            "slope" => self.slope.as_mut(),
            "residual" => self.residual.as_mut().map(|(_, data)| data),
            _ => None,
        };
        fields.check_all_read()?;
        match list {
            Some(list) if !list.is_empty() => {
                let length = list.len();
                list[index % length] = value;
                Ok(())
            }
            _ => Err(Refused::new("poke", format!("{poke} is of a tensor that the layer has not"))),
        }
    }

    pub fn input(&self) -> &[f32] {
        &self.input
    }

    pub fn residual_desc(&self) -> Option<&TensorDesc> {
        self.residual.as_ref().map(|(desc, _)| desc)
    }

    pub fn norm(&self) -> Option<BatchNorm<'_>> {
        let norm = self.norm.as_ref()?;
        let Norm { scale, shift, mean, variance, epsilon } = norm;
        Some(BatchNorm { scale, shift, mean, variance, epsilon: *epsilon })
    }

    pub fn conv(&self) -> ConvOperands<'_> {
        let weights = Weights {
            kernel: &self.weight,
            kernel_shape: self.weight_shape.as_deref(),
            bias: self.bias.as_deref(),
            slope: self.slope.as_deref(),
        };
        ConvOperands { input: &self.input, weights, residual: self.residual.as_ref().map(|(_, data)| &data[..]) }
    }

    /// Whether a NaN or an infinity goes in.
    pub fn all_finite(&self) -> bool {
        let lists = [&self.bias, &self.slope].into_iter().flatten().chain(self.residual.as_ref().map(|(_, data)| data));
        lists.chain([&self.input, &self.weight]).flatten().all(|value| value.is_finite())
    }

    /// A tensor's shape belongs to it, and a reference's slice has none: checked as an engine checks it.
    pub fn check_residual(&self, problem: &Problem) -> Result<(), Refused> {
        let expected = TensorDesc::new(&Geometry::new(problem)?.output_shape(), problem.input.dtype());
        match self.residual_desc() {
            Some(desc) if *desc != expected => Err(Refused::new("residual", format!("is {desc}, but the output is {expected}"))),
            _ => Ok(()),
        }
    }
}

impl Norm {
    /// `{"len": 4, "var": 1.0, "eps": 0.0, ..}`: every channel has the same statistics.
    fn read(value: &Value, length: usize) -> Result<Self, Refused> {
        let about = |refused: Refused| Refused::new("batch_norm", refused);
        let fields = Fields::new("batch_norm", value)?;
        let list = |names: [&str; 2], default: f64| {
            let value = fields.float(names[0]).map_err(about)?.or(fields.float(names[1]).map_err(about)?);
            Ok::<_, Refused>(vec![value.unwrap_or(default) as f32; length])
        };
        let norm = Self {
            scale: list(["scale", "gamma"], 1.0)?,
            shift: list(["shift", "beta"], 0.0)?,
            mean: list(["mean", "mean"], 0.0)?,
            variance: list(["var", "variance"], 1.0)?,
            epsilon: fields.float("eps").map_err(about)?.or(fields.float("epsilon").map_err(about)?).unwrap_or(1e-5) as f32,
        };
        fields.get("len");
        fields.check_all_read().map_err(about)?;
        Ok(norm)
    }
}
