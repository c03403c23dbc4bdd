//! The sheet of the hand-made filters: from brightness over edges and textures to shapes, as a network's layers go.

use wgconv::{Activation, ConvDesc, Epilogue, PoolDesc, Tensor};

use crate::Result;
use crate::device::{Device, same_size};
use crate::filters::{self, ANGLES, Filter, SHAPE_SIDE, WAVELENGTHS};
use crate::plane::Plane;
use crate::sheet::{Example, Kernel, Paint, Section, Tile};

/// Layers that run, for the progress bar.
pub const LAYERS: u64 = 4 + 3 + 2 + 8 + 2 + 2;
/// The pooling's window, in pixels.
const POOL: usize = 4;
/// Side of all filters of the bank, so that they are one layer.
const BANK_SIDE: usize = 15;
/// Channels of the bank for each direction: both wavelengths, each as it is and negated.
const EACH_WAY: usize = 2 * WAVELENGTHS.len();
/// Answers of the bank are cut off here, so that a faint outline of the right form counts as much as stark stripes.
const ENOUGH: f32 = 0.15;
/// The bell that gathers a texture, in elements of the pooled maps.
const TEXTURE: (usize, f32) = (13, 2.6);

/// Maps of small pictures are drawn larger, to about so many pixels.
const DRAWN: usize = 256;

/// Runs all filters over a picture.
pub fn sections(device: &mut Device, picture: &Plane) -> Result<(Example, Vec<Section>)> {
    let input = device.upload(picture)?;
    let magnify = (DRAWN / picture.width.max(picture.height)).max(1);
    let brightness = single(device, &input, filters::pictures(), Paint::Grey)?;
    let edges = edges(device, &input)?;
    let example = Example::new(picture, &edges[0]);
    let mut sections = vec![
        Section {
            title: "Brightness",
            caption:
                "A filter whose numbers sum to 1 gives a picture again. Blur: the mean of a neighbourhood. Sharpen: a pixel \
                      minus its neighbours. Emboss: light from the lower right."
                    .into(),
            tiles: brightness,
            dense: false,
        },
        Section {
            title: "Edges",
            caption:
                "Numbers that sum to 0 see differences only. Sobel x: dark to bright from left to right. Sobel y: from top to \
                      bottom. Laplacian: points and thin lines. Strength: both Sobels, either sign."
                    .into(),
            tiles: edges,
            dense: false,
        },
    ];
    let sides = [9, BANK_SIDE];
    let notes = ["Fine stripes", "Coarse stripes"];
    for ((wavelength, side), title) in WAVELENGTHS.into_iter().zip(sides).zip(notes) {
        sections.push(Section {
            title,
            caption: format!(
                "Gabor filters: waves of {wavelength} pixels under a bell, in four directions. Each sees lines and edges in its own \
                 direction, and fills wherever stripes have its spacing."
            ),
            tiles: single(device, &input, filters::stripes(wavelength, side), Paint::Signed)?,
            dense: false,
        });
    }
    sections.extend(deeper(device, &input)?);
    sections.iter_mut().flat_map(|section| &mut section.tiles).for_each(|tile| tile.magnify *= magnify);
    Ok((example, sections))
}

/// Filters of one channel, each a layer of its own.
fn single(device: &mut Device, input: &Tensor, filters: Vec<Filter>, paint: Paint) -> Result<Vec<Tile>> {
    let tile = |Filter { name, kernel }: Filter| {
        let output = device.conv(&same_size(1, 1, kernel.width), input, kernel.values.as_slice().into())?;
        let map = device.planes(&output)?.swap_remove(0);
        Ok(Tile { name, kernel: Some(Kernel { planes: vec![kernel], columns: 1 }), map, paint, magnify: 1 })
    };
    filters.into_iter().map(tile).collect()
}

/// The edge filters, and what two layers make of them: rectified in both signs, and added up.
fn edges(device: &mut Device, input: &Tensor) -> Result<Vec<Tile>> {
    let filters = filters::edges();
    let [x, y] = [&filters[0].kernel.values, &filters[1].kernel.values];
    let negated = |kernel: &[f32]| kernel.iter().map(|value| -value).collect::<Vec<_>>();
    let kernel = [x.clone(), negated(x), y.clone(), negated(y)].concat();
    let steps = device.conv(&activated(same_size(1, 4, 3), Activation::Relu), input, kernel.as_slice().into())?;
    let strength = device.conv(&ConvDesc::new(4, 1, [1, 1]), &steps, [1.0; 4].as_slice().into())?;
    let map = device.planes(&strength)?.swap_remove(0);
    let mut tiles = single(device, input, filters.into(), Paint::Signed)?;
    tiles.push(Tile { name: "strength".into(), kernel: None, map, paint: Paint::Signed, magnify: 1 });
    Ok(tiles)
}

fn activated(desc: ConvDesc, activation: Activation) -> ConvDesc {
    ConvDesc { epilogue: Epilogue { activation, ..Default::default() }, ..desc }
}

/// Pooling, textures and shapes, which stand on the whole bank at once.
fn deeper(device: &mut Device, input: &Tensor) -> Result<Vec<Section>> {
    let bank: Vec<Vec<Plane>> = WAVELENGTHS
        .iter()
        .map(|&wavelength| filters::stripes(wavelength, BANK_SIDE).into_iter().map(|filter| filter.kernel).collect())
        .collect();
    let mut kernel = Vec::new();
    for direction in 0..ANGLES.len() {
        for wavelength in &bank {
            kernel.extend(&wavelength[direction].values);
            kernel.extend(wavelength[direction].values.iter().map(|value| -value));
        }
    }
    let channels = ANGLES.len() * EACH_WAY;
    let desc = activated(same_size(1, channels, BANK_SIDE), Activation::Clamp { min: 0.0, max: ENOUGH });
    let found = device.conv(&desc, input, kernel.as_slice().into())?;
    let pooled = device.pool(&PoolDesc::max([POOL, POOL]), &found)?;
    // The coarse one with its own sign, of each direction.
    let maps = device.planes(&pooled)?.into_iter().skip(EACH_WAY - 2).step_by(EACH_WAY);
    let tile = |(name, map): (String, Plane), kernel| Tile { name, kernel, map, paint: Paint::Peak, magnify: POOL };
    let names = || ANGLES.iter().map(|angle| format!("direction {angle}°"));
    let coarse = bank.into_iter().next_back().unwrap_or_default();
    let pool_tiles =
        names().zip(maps).zip(coarse).map(|(map, kernel)| tile(map, Some(Kernel { planes: vec![kernel], columns: 1 })));
    let pooling = Section {
        title: "Max pooling",
        caption: format!(
            "The coarse maps again, held between 0 and {ENOUGH} by an activation, then the greatest number of each {POOL}x{POOL} window. \
             The maps are {} times smaller and keep what was found, no longer exactly where.",
            POOL * POOL
        ),
        tiles: pool_tiles.collect(),
        dense: false,
    };

    let bell = filters::gaussian(TEXTURE.0, TEXTURE.1);
    let gather = ConvDesc { groups: ANGLES.len(), ..same_size(channels, ANGLES.len(), TEXTURE.0) };
    let textures = device.conv(&gather, &pooled, bell.values.repeat(channels).as_slice().into())?;
    let texture_tiles = names().zip(device.planes(&textures)?);
    let texture = Section {
        title: "Textures",
        caption: "All filters of one direction, fine and coarse, of either sign, blurred: how much of this direction there is around a \
                  place. A layer of four groups, each with the same bell on its four channels."
            .into(),
        tiles: texture_tiles.map(|map| tile(map, Some(Kernel { planes: vec![bell.clone()], columns: 1 }))).collect(),
        dense: false,
    };

    let shapes = filters::shapes();
    let every = |plane: &Plane| plane.values.repeat(EACH_WAY);
    let kernel: Vec<f32> = shapes.iter().flat_map(|shape| shape.kernel.iter().flat_map(every)).collect();
    let desc = activated(same_size(channels, shapes.len(), SHAPE_SIDE), Activation::Relu);
    let output = device.conv(&desc, &pooled, kernel.as_slice().into())?;
    let shape_tiles = shapes.into_iter().zip(device.planes(&output)?);
    let shape = Section {
        title: "Shapes",
        caption: "Filters over the pooled maps of all directions, one small grid for each (0°, 45°; 90°, 135°), which says where edges \
                  of that direction belong (red) and where they speak against it (blue): around a centre, along two sides of a corner, \
                  across each other; and grain, which is edges of all directions."
            .into(),
        tiles: shape_tiles
            .map(|(shape, map)| tile((shape.name.into(), map), Some(Kernel { planes: shape.kernel, columns: 2 })))
            .collect(),
        dense: false,
    };
    Ok(vec![pooling, texture, shape])
}
