//! `recipe.json`: the weights and the input of a model as seeds, so that networks of any size lie in the folder as a few numbers.
//!
//! Each tensor's numbers come from a splitmix64 stream that starts at `fnv1a64(name) XOR seed`: `u = (output >> 40) / 2^24`, and the
//! value is `lo + (hi - lo) * u` in f64, rounded to f32.

use std::collections::HashMap;

use serde_json::Value as Json;
use wgconv::Value;

/// A tensor of the recipe.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    stream: String,
    shape: Vec<usize>,
    lo: f64,
    hi: f64,
}

/// The recipe of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    seed: u64,
    input: Entry,
    parameters: HashMap<String, Entry>,
}

/// The most elements of one tensor.
const MAX_ELEMENTS: usize = 1 << 30;

impl Recipe {
    /// Reads the JSON.
    ///
    /// # Errors
    /// A text that names the field.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let seed = json.get("seed").and_then(Json::as_str).and_then(|seed| seed.parse().ok());
        let seed = seed.ok_or("seed is not a number in a string")?;
        let input = json.get("input").ok_or("input is missing")?;
        let stream = format!("input:{}", name(input)?);
        let input = Entry::read(input, stream)?;
        let list = json.get("parameters").and_then(Json::as_array).ok_or("parameters are missing")?;
        let mut parameters = HashMap::new();
        for parameter in list {
            let name = name(parameter)?;
            parameters.insert(name.to_string(), Entry::read(parameter, name.into())?);
        }
        Ok(Self { seed, input, parameters })
    }

    /// The values of a parameter, where it is one of the recipe's.
    pub fn parameter(&self, name: &str) -> Option<Value> {
        self.parameters.get(name).map(|entry| entry.fill(self.seed))
    }

    /// The values of the network's input.
    pub fn input(&self) -> Value {
        self.input.fill(self.seed)
    }
}

fn name(json: &Json) -> Result<&str, String> {
    json.get("name").and_then(Json::as_str).ok_or_else(|| "a tensor has no name".into())
}

impl Entry {
    fn read(json: &Json, stream: String) -> Result<Self, String> {
        let about = |what: &str| format!("{stream}: {what}");
        let number = |field: &str| json.get(field).and_then(Json::as_f64).ok_or_else(|| about(&format!("{field} is no number")));
        let (lo, hi) = (number("lo")?, number("hi")?);
        let sizes = json.get("shape").and_then(Json::as_array).ok_or_else(|| about("shape is no list"))?;
        let sizes: Option<Vec<usize>> = sizes.iter().map(|size| size.as_u64().and_then(|size| size.try_into().ok())).collect();
        let shape = sizes.ok_or_else(|| about("shape has an entry that is no size"))?;
        let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
            return Err(about(&format!("shape {shape:?} has more than {MAX_ELEMENTS} elements")));
        }
        Ok(Self { stream, shape, lo, hi })
    }

    fn fill(&self, seed: u64) -> Value {
        let mut state = fnv1a64(self.stream.as_bytes()) ^ seed;
        let count = self.shape.iter().product();
        let value = |_| {
            let unit = (splitmix64(&mut state) >> 40) as f64 / f64::from(1 << 24);
            (self.lo + (self.hi - self.lo) * unit) as f32
        };
        let list: Vec<f32> = (0..count).map(value).collect();
        Value::new(&self.shape, list).expect("as many numbers as the shape has")
    }
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = *state;
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
