//! Runs an imported model: on the CPU reference, or on a device.

use wgconv::{Bindings, Engine, Error, Graph, Network, NetworkDesc, Value};

/// Results by the reference alone: with all inputs known, binding the graph computes it.
///
/// # Errors
/// Those of [`Graph::bind`].
pub fn by_reference(graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>, Error> {
    let names = graph.input_names();
    let fixed = names.iter().zip(inputs).map(|(name, value)| (name.to_string(), value.clone())).collect();
    let bound = graph.bind(&Bindings { fixed, ..Default::default() })?;
    let results = bound.output_names().into_iter().map(|name| bound.constant_output(name).cloned());
    Ok(results.map(|value| value.expect("a graph without inputs is computed when it is bound")).collect())
}

/// Results by a device. Inputs that a shape depends on are fixed when the network is planned, and as few of them as will do: the
/// rest is given when it runs.
///
/// # Errors
/// Those of the network.
pub fn on_device(engine: &Engine, graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>, Error> {
    let names: Vec<String> = graph.input_names().into_iter().map(String::from).collect();
    let bindings = |fixed: &[usize]| {
        let of = |at: &usize| (names[*at].clone(), inputs[*at].clone());
        let shapes =
            (0..inputs.len()).filter(|at| !fixed.contains(at)).map(|at| (names[at].clone(), inputs[at].shape().to_vec()));
        Bindings { shapes: shapes.collect(), fixed: fixed.iter().map(of).collect(), ..Default::default() }
    };
    let fixed = fixed_inputs(graph, inputs, &bindings)?;
    let desc = NetworkDesc { bindings: bindings(&fixed), ..Default::default() };
    let network = Network::new(engine, graph, &desc)?;
    let free: Vec<Value> = (0..inputs.len()).filter(|at| !fixed.contains(at)).map(|at| inputs[at].clone()).collect();
    network.run_values(&free)
}

/// The inputs that must be fixed: integers first, then those with the fewest elements, until the shapes are known.
fn fixed_inputs(graph: &Graph, inputs: &[Value], bindings: &dyn Fn(&[usize]) -> Bindings) -> Result<Vec<usize>, Error> {
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|&at| (inputs[at].element().is_float(), at == 0, inputs[at].len()));
    let mut fixed = Vec::new();
    loop {
        match graph.bind(&bindings(&fixed)) {
            Ok(_) => break,
            Err(error) => {
                let next = order.get(fixed.len()).filter(|_| error.message().contains("NetworkDesc::fixed"));
                fixed.push(*next.ok_or(error)?);
            }
        }
    }
    for at in fixed.clone() {
        let fewer: Vec<usize> = fixed.iter().copied().filter(|&other| other != at).collect();
        if graph.bind(&bindings(&fewer)).is_ok() {
            fixed = fewer;
        }
    }
    Ok(fixed)
}
