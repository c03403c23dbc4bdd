//! The bundled data: the trained weights and the 450 test digits, compiled into the program, so that it needs no other file.
//!
//! Nothing is computed here beyond the network's input; reading a user's own pictures is `picture`.

use wgconv::{Data, Error, Value, safetensors};

use crate::Result;

/// The trained LeNet-5. Source and licence of both files: `examples/data/NOTICE`.
const WEIGHTS: &[u8] = include_bytes!("../data/lenet5.safetensors");
const TEST: &[u8] = include_bytes!("../data/lenet5_test.safetensors");

/// A digit is so many cells high and wide.
pub const SIDE: usize = 8;
/// What a cell that is all ink holds; an empty one holds 0.
pub const FULL: u8 = 16;
/// The network wants each cell as so many pixels, high and wide.
const REPEAT: usize = 4;
/// The classes: the digits 0 to 9.
pub const CLASSES: usize = 10;

/// One digit as the network sees it: row-major cells, 0 (paper) to [`FULL`] (ink).
pub type Cells = [u8; SIDE * SIDE];

/// A digit to be read.
pub struct Digit {
    /// `#17` of a test digit, the file's name of a user's.
    pub name: String,
    /// The picture.
    pub cells: Cells,
    /// What it shows, where that is known.
    pub label: Option<usize>,
}

/// The test digits, with what another program made of them.
pub struct TestSet {
    /// The digits in the file's order.
    pub digits: Vec<Digit>,
    /// The logits of a float64 run in PyTorch, `[n, CLASSES]`; the file keeps them rounded to f32.
    pub logits: Vec<f32>,
}

/// A .safetensors file whose tensors are asked for by name and type.
pub struct Tensors(safetensors::Tensors);

impl Tensors {
    /// The trained weights.
    pub fn weights() -> Result<Self> {
        Self::parse(WEIGHTS, "lenet5.safetensors")
    }

    fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        Ok(Self(safetensors::read(bytes).map_err(|error| format!("examples/data/{name} is damaged: {error}"))?))
    }

    fn elements<'a, T>(&'a self, name: &str) -> Result<(&'a [T], &'a Value)>
    where
        &'a [T]: TryFrom<&'a Data, Error = Error>,
    {
        let tensor = self.0.tensor(name)?;
        Ok((tensor.as_slice().map_err(|error| format!("tensor `{name}`: {error}"))?, tensor))
    }

    /// The elements and the shape of an f32 tensor.
    pub fn f32(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
        let (elements, tensor) = self.elements(name)?;
        Ok((elements.to_vec(), tensor.shape().to_vec()))
    }
}

/// The 450 test digits.
pub fn test_set() -> Result<TestSet> {
    let file = Tensors::parse(TEST, "lenet5_test.safetensors")?;
    let (images, _) = file.elements::<u8>("images_u8")?;
    let (labels, _) = file.elements::<i64>("labels")?;
    let (cells, _) = images.as_chunks::<{ SIDE * SIDE }>();
    let digits: Vec<Digit> = cells
        .iter()
        .zip(labels)
        .enumerate()
        .map(|(index, (&cells, &label))| {
            let label = usize::try_from(label).ok().filter(|&label| label < CLASSES);
            Digit { name: format!("#{index}"), cells, label }
        })
        .collect();
    let (logits, _) = file.f32("logits_f64")?;
    if logits.len() != digits.len() * CLASSES {
        return Err(format!("the test file has {} logits for {} digits", logits.len(), digits.len()).into());
    }
    Ok(TestSet { digits, logits })
}

/// The network's input, `[n, 1, 32, 32]` in 0 to 1, each cell repeated as in training.
pub fn network_input(digits: &[Digit]) -> Vec<f32> {
    let side = SIDE * REPEAT;
    let pixel = |cells: &Cells, at: usize| f32::from(cells[at / side / REPEAT * SIDE + at % side / REPEAT]) / f32::from(FULL);
    digits.iter().flat_map(|digit| (0..side * side).map(move |at| pixel(&digit.cells, at))).collect()
}

/// The shape of [`network_input`] for `n` digits.
pub fn input_shape(n: usize) -> Vec<usize> {
    vec![n, 1, SIDE * REPEAT, SIDE * REPEAT]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_the_first_digits_is_that_of_training() {
        let expected = Tensors::parse(TEST, "test").and_then(|file| file.f32("input_first8")).expect("bundled file").0;
        let digits = test_set().expect("bundled file").digits;
        assert_eq!(digits.len(), 450);
        assert!(digits.iter().all(|digit| digit.label.is_some()));
        assert_eq!(network_input(&digits[..8]), expected);
    }
}
