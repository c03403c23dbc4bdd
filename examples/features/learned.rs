//! The sheet of a trained network: a handwritten digit through LeNet-5's first two convolutions, whose filters nobody designed.

use wgconv::{Activation, ConvDesc, Epilogue};

use crate::Result;
use crate::data::{self, Digit};
use crate::device::{Device, Learned};
use crate::model::{Network, Op};
use crate::plane::Plane;
use crate::sheet::{Example, Kernel, Paint, Section, Tile};

/// Layers that run, for the progress bar.
pub const LAYERS: u64 = 5;
/// How many channels the first and the second convolution have.
const CHANNELS: [usize; 2] = [6, 16];
/// A filter whose numbers have this share of one sign is not about a direction.
const ONE_SIDED: f32 = 0.5;

/// The digit as the network sees it, its worked example, and the maps of four layers.
pub fn sections(device: &mut Device, digit: &Digit) -> Result<(Plane, Example, Vec<Section>)> {
    let network = Network::load()?;
    let shape = data::input_shape(1);
    let picture = Plane::new(shape[3], shape[2], data::network_input(std::slice::from_ref(digit)));
    let input = device.upload(&picture)?;

    let [first, second] = [conv(&network, "c1")?, conv(&network, "c3")?];
    // Before ReLU: the first maps show what speaks against a filter too.
    let plain = ConvDesc { epilogue: Epilogue { activation: Activation::Identity, ..first.desc.epilogue }, ..*first.desc };
    let sums = device.conv(&plain, &input, first.learned)?;
    let maps = device.planes(&sums)?;
    let found = device.conv(first.desc, &input, first.learned)?;
    let pooled = device.pool(pool(&network, "s2")?, &found)?;
    let combined = device.conv(second.desc, &pooled, second.learned)?;
    let last = device.pool(pool(&network, "s4")?, &combined)?;

    let kernels = first.kernels(1);
    let named: Vec<String> =
        (1..).zip(&kernels).map(|(number, kernel)| format!("{number}: {}", describe(&kernel.planes[0]))).collect();
    let tiles = |maps: Vec<Plane>, names: &[String], kernels: Vec<Option<Kernel>>, magnify| -> Vec<Tile> {
        let maps = maps.into_iter().zip(names).zip(kernels);
        maps.map(|((map, name), kernel)| Tile { name: name.clone(), kernel, map, paint: Paint::Signed, magnify }).collect()
    };
    let numbered: Vec<String> = (1..=CHANNELS[1]).map(|number| number.to_string()).collect();
    let c1 = tiles(maps, &named, kernels.into_iter().map(Some).collect(), 4);
    // One that looks for a direction says more than one that looks for ink.
    let shown = c1.iter().position(|tile| tile.name.contains("ink ")).unwrap_or(0);
    let example = Example::new(&picture, &c1[shown]).with_bias(first.learned.bias.map_or(0.0, |bias| bias[shown]));
    let sections = vec![
        Section {
            title: "c1: six learned filters of 5x5",
            caption:
                "Learned from 1347 digits, made by nobody, and yet they look for strokes and for edges in a direction. The names \
                      are read off the numbers of each filter."
                    .into(),
            tiles: c1,
            dense: false,
        },
        Section {
            title: "s2: ReLU and max pooling 2x2",
            caption:
                "Negative numbers become 0, and the greatest of each 2x2 window stays: a quarter of the numbers, less of where."
                    .into(),
            tiles: tiles(device.planes(&pooled)?, &named, vec![None, None, None, None, None, None], 8),
            dense: false,
        },
        Section {
            title: "c3: sixteen filters, each over all six maps",
            caption:
                "Each has one 5x5 grid for each map of s2 and sees where edges of several directions meet as they do in digits: \
                      bends, ends, crossings."
                    .into(),
            tiles: tiles(device.planes(&combined)?, &numbered, second.kernels(2).into_iter().map(Some).collect(), 10),
            dense: true,
        },
        Section {
            title: "s4: max pooling 2x2",
            caption:
                "What is left of the digit: 16 maps of 5x5 numbers. The last layers read the digit from these 400 numbers alone."
                    .into(),
            tiles: tiles(device.planes(&last)?, &numbered, numbered.iter().map(|_| None).collect(), 20),
            dense: true,
        },
    ];
    Ok((picture, example, sections))
}

/// A convolution of the network.
struct Layer<'a> {
    desc: &'a ConvDesc,
    learned: Learned<'a>,
}

fn conv<'a>(network: &'a Network, name: &str) -> Result<Layer<'a>> {
    match network.stages.iter().find(|stage| stage.name == name).map(|stage| &stage.op) {
        Some(Op::Conv { desc, kernel, bias, .. }) => Ok(Layer { desc, learned: Learned { kernel, bias: Some(bias) } }),
        _ => Err(format!("the network has no convolution {name}").into()),
    }
}

fn pool<'a>(network: &'a Network, name: &str) -> Result<&'a wgconv::PoolDesc> {
    match network.stages.iter().find(|stage| stage.name == name).map(|stage| &stage.op) {
        Some(Op::Pool(desc)) => Ok(desc),
        _ => Err(format!("the network has no pooling {name}").into()),
    }
}

impl Layer<'_> {
    /// The kernel of each output channel, its planes drawn in so many columns.
    fn kernels(&self, columns: usize) -> Vec<Kernel> {
        let [height, width] = [0, 1].map(|axis| self.desc.kernel.as_slice()[axis]);
        let filters = self.learned.kernel.chunks(self.desc.in_channels * height * width);
        filters.map(|filter| Kernel { planes: Plane::split(width, height, filter), columns }).collect()
    }
}

/// What a filter looks for, in words: where it wants ink more than elsewhere.
fn describe(kernel: &Plane) -> String {
    let centre = (kernel.width as f32 - 1.0) / 2.0;
    let (mut sum, mut magnitude, mut right, mut down) = (0.0, 0.0, 0.0, 0.0);
    for (at, value) in kernel.values.iter().enumerate() {
        let (x, y) = ((at % kernel.width) as f32 - centre, (at / kernel.width) as f32 - centre);
        sum += value;
        magnitude += value.abs();
        right += value * x;
        down += value * y;
    }
    match sum / magnitude {
        ONE_SIDED.. => return "ink".into(),
        share if share < -ONE_SIDED => return "no ink".into(),
        _ => {}
    }
    // Eighths of a turn, clockwise from the right.
    let names = ["right", "lower right", "below", "lower left", "left", "upper left", "above", "upper right"];
    let eighth = (down.atan2(right) / std::f32::consts::FRAC_PI_4).round() as i32;
    format!("ink {}", names[eighth.rem_euclid(8) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_named_by_where_it_wants_ink() {
        let plane = |value: &dyn Fn(f32, f32) -> f32| Plane::from_fn(5, 5, |x, y| value(x as f32 - 2.0, y as f32 - 2.0));
        assert_eq!(describe(&plane(&|x, _| x)), "ink right");
        assert_eq!(describe(&plane(&|x, y| -x - y)), "ink upper left");
        assert_eq!(describe(&plane(&|_, _| 1.0)), "ink");
        assert_eq!(describe(&plane(&|_, _| -1.0)), "no ink");
    }
}
