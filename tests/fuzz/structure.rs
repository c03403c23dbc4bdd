//! Mutations that leave a model decodable: other operators, attributes, shapes, opsets and connections. They reach what bytes that are
//! changed at random do not.

use crate::Random;
use crate::proto::{Attribute, Model, Node};

/// Numbers that are hard on whoever counts, and some that are not.
const INTS: [i64; 14] = [0, 1, -1, 2, 3, 4, 7, -2, 100, 1 << 20, 1 << 31, -(1 << 40), i64::MAX, i64::MIN];
const FLOATS: [f32; 9] = [0.0, 1.0, -1.0, 0.5, 1e9, 1e-30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// The parts of a corpus that are put together anew.
pub struct Parts {
    nodes: Vec<Node>,
}

impl Parts {
    pub fn of(models: &[Model]) -> Self {
        Self { nodes: models.iter().flat_map(|model| model.graph.iter().flat_map(|graph| graph.node.clone())).collect() }
    }
}

/// One to six changes.
pub fn mutate(model: &mut Model, parts: &Parts, random: &mut Random) {
    for _ in 0..=random.below(6) {
        change(model, parts, random);
    }
}

fn pick<'l, T>(list: &'l mut [T], random: &mut Random) -> Option<&'l mut T> {
    if list.is_empty() { None } else { Some(&mut list[random.below(list.len())]) }
}

fn int(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => random.below(12) as i64 - 3,
        1 => random.draw() as i64,
        _ => INTS[random.below(INTS.len())],
    }
}

fn change(model: &mut Model, parts: &Parts, random: &mut Random) {
    let other = &parts.nodes[random.below(parts.nodes.len())];
    let opset = pick(&mut model.opset_import, random);
    let Some(graph) = &mut model.graph else { return };
    match random.below(10) {
        0 => opset.into_iter().for_each(|opset| opset.version = 1 + (random.draw() % 29) as i64),
        1 => pick(&mut graph.node, random).into_iter().for_each(|node| node.op_type.clone_from(&other.op_type)),
        2 => {
            // The operator with its attributes, between the same values.
            if let Some(node) = pick(&mut graph.node, random) {
                node.op_type.clone_from(&other.op_type);
                node.attribute.clone_from(&other.attribute);
            }
        }
        3 => {
            if let Some(attribute) = pick(&mut graph.node, random).and_then(|node| pick(&mut node.attribute, random)) {
                change_attribute(attribute, random);
            }
        }
        4 => {
            if let (Some(node), false) = (pick(&mut graph.node, random), other.attribute.is_empty()) {
                node.attribute.push(other.attribute[random.below(other.attribute.len())].clone());
            }
        }
        5 => change_connections(&mut graph.node, random),
        6 => {
            let dims =
                pick(&mut graph.input, random).and_then(|input| input.r#type.as_mut()?.tensor_type.as_mut()?.shape.as_mut());
            if let Some(dims) = dims {
                match (random.below(4), pick(&mut dims.dim, random)) {
                    (0, _) => drop(dims.dim.pop()),
                    (1, Some(dim)) => {
                        let dim = dim.clone();
                        dims.dim.push(dim);
                    }
                    (_, Some(dim)) => dim.dim_value = Some(int(random)),
                    _ => {}
                }
            }
        }
        7 => {
            if let Some(tensor) = pick(&mut graph.input, random).and_then(|input| input.r#type.as_mut()?.tensor_type.as_mut()) {
                tensor.elem_type = random.below(20) as i32;
            }
        }
        8 => {
            if let Some(tensor) = pick(&mut graph.initializer, random) {
                if let Some(raw) = tensor.raw_data.as_ref().filter(|raw| !raw.is_empty()) {
                    let mut bytes = raw.to_vec();
                    let at = random.below(bytes.len());
                    bytes[at] = random.draw() as u8;
                    tensor.raw_data = Some(bytes.into());
                }
                if random.below(3) == 0 {
                    pick(&mut tensor.dims, random).into_iter().for_each(|dim| *dim = int(random));
                }
            }
        }
        _ => {
            if let Some(node) = pick(&mut graph.node, random) {
                node.attribute.pop();
            }
        }
    }
}

fn change_attribute(attribute: &mut Attribute, random: &mut Random) {
    match attribute.kind {
        1 => attribute.f = Some(FLOATS[random.below(FLOATS.len())]),
        2 => attribute.i = Some(int(random)),
        7 => match random.below(4) {
            0 => drop(attribute.ints.pop()),
            1 => attribute.ints.push(int(random)),
            _ => pick(&mut attribute.ints, random).into_iter().for_each(|value| *value = int(random)),
        },
        4 => {
            if let Some(tensor) = &mut attribute.t {
                tensor.data_type = random.below(20) as i32;
            }
        }
        _ => attribute.kind = random.below(8) as i32,
    }
}

fn change_connections(nodes: &mut [Node], random: &mut Random) {
    let outputs: Vec<String> = nodes.iter().flat_map(|node| node.output.iter().chain(&node.input)).cloned().collect();
    let Some(node) = pick(nodes, random) else { return };
    match random.below(5) {
        0 => drop(node.input.pop()),
        1 => node.output.push(format!("more{}", random.below(100))),
        2 => node.input.push(outputs.first().cloned().unwrap_or_default()),
        3 => pick(&mut node.input, random).into_iter().for_each(|input| input.clear()),
        _ => {
            if let Some(input) = pick(&mut node.input, random)
                && !outputs.is_empty()
            {
                input.clone_from(&outputs[random.below(outputs.len())]);
            }
        }
    }
}
