//! Resampling, in its four forms: Upsample and Resize of opset 10 know scales and two modes, later ones everything.

use crate::graph::{AspectPolicy, Coordinates, Nearest, Op, Resize, ResizeMode, ValueId, Variadic};
use crate::onnx::node::Node;
use crate::value::Value;

pub(super) fn import(node: &mut Node) -> Option<Vec<ValueId>> {
    match node.op {
        "Resize" if node.opset >= 11 => {
            let op = resize(node);
            Some(node.apply(Op::Resize(op)))
        }
        "Resize" | "Upsample" => Some(upsample(node)),
        _ => None,
    }
}

fn resize(node: &mut Node) -> Resize {
    let mode =
        node.word("mode", &[("nearest", ResizeMode::Nearest), ("linear", ResizeMode::Linear), ("cubic", ResizeMode::Cubic)]);
    let coordinates = [
        ("half_pixel", Coordinates::HalfPixel),
        ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
        ("align_corners", Coordinates::AlignCorners),
        ("asymmetric", Coordinates::Asymmetric),
        ("tf_half_pixel_for_nn", Coordinates::TfHalfPixelForNn),
        ("tf_crop_and_resize", Coordinates::TfCropAndResize),
        ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
    ];
    let nearest = [
        ("round_prefer_floor", Nearest::RoundPreferFloor),
        ("round_prefer_ceil", Nearest::RoundPreferCeil),
        ("floor", Nearest::Floor),
        ("ceil", Nearest::Ceil),
    ];
    let policies =
        [("stretch", AspectPolicy::Stretch), ("not_larger", AspectPolicy::NotLarger), ("not_smaller", AspectPolicy::NotSmaller)];
    let known = if node.opset >= 19 { &coordinates[..] } else { &coordinates[..6] };
    let modern = node.opset >= 18;
    Resize {
        mode,
        coordinates: node.word("coordinate_transformation_mode", known),
        nearest: node.word("nearest_mode", &nearest),
        cubic_a: node.float("cubic_coeff_a", -0.75),
        exclude_outside: node.flag("exclude_outside", false),
        extrapolation: node.float("extrapolation_value", 0.0),
        antialias: modern && node.flag("antialias", false),
        axes: if modern { node.ints("axes").unwrap_or_default() } else { Vec::new() },
        aspect: if modern { node.word("keep_aspect_ratio_policy", &policies) } else { AspectPolicy::Stretch },
    }
}

/// The old forms: output `o` lies at `o / scale`, rounded down where an axis grows and up where it shrinks.
///
/// Axes are independent of each other, so both ways of rounding are two operations: the first shrinks and leaves alone what grows.
fn upsample(node: &mut Node) -> Vec<ValueId> {
    let (nearest, linear) = (ResizeMode::Nearest, ResizeMode::Linear);
    // "bilinear" is what Upsample was first called with.
    let mode = node.word("mode", &[("nearest", nearest), ("linear", linear), ("bilinear", linear)]);
    let x = node.input(0);
    let scales = match (node.op, node.opset) {
        ("Upsample", ..7) => {
            let [height, width] = ["height_scale", "width_scale"].map(|name| needed_float(node, name));
            scale_list(node, vec![1.0, 1.0, height, width])
        }
        ("Upsample", ..9) => {
            if !node.attributes.has("scales") {
                node.invalid("attribute scales is missing");
            }
            let scales = node.floats("scales").unwrap_or_default();
            scale_list(node, scales)
        }
        _ => node.input(1),
    };
    let with = |mode, nearest| Op::Resize(Resize { mode, coordinates: Coordinates::Asymmetric, nearest, ..Resize::default() });
    if mode == linear || node.op == "Upsample" {
        return node.apply_to(with(mode, Nearest::Floor), &[Some(x), None, Some(scales)]);
    }
    let one = node.graph.constant("", Value::scalar(1.0f32));
    let down = node.step(Op::Variadic(Variadic::Min), &[scales, one]);
    let up = node.step(Op::Variadic(Variadic::Max), &[scales, one]);
    let smaller = node.graph.apply_many(node.name, with(mode, Nearest::Ceil), &[Some(x), None, Some(down)], 1)[0];
    node.apply_to(with(mode, Nearest::Floor), &[Some(smaller), None, Some(up)])
}

fn needed_float(node: &mut Node, name: &str) -> f32 {
    node.optional_float(name).unwrap_or_else(|| {
        node.invalid(format!("attribute {name} is missing"));
        1.0
    })
}

fn scale_list(node: &mut Node, scales: Vec<f32>) -> ValueId {
    match Value::new(&[scales.len()], scales) {
        Ok(value) => node.graph.constant("", value),
        Err(error) => {
            node.invalid(error.message().to_string());
            node.list(&[])
        }
    }
}
