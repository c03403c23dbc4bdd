//! Functions of elements behind each other in one node: what each stage means, the family of functions of elements says.

use std::sync::Arc;

use super::{Fact, Inputs};
use crate::error::{Error, Result};
use crate::graph::{Stage, StageInput};
use crate::value::Value;

/// The facts of all stages, of which the last is the node's.
pub(crate) fn stage_facts(stages: &[Stage], inputs: &Inputs) -> Result<Vec<Fact>> {
    let mut facts: Vec<Fact> = Vec::new();
    for stage in stages {
        let operands: Vec<Option<Fact>> = stage
            .inputs
            .iter()
            .map(|input| match *input {
                StageInput::Input(number) => inputs.get(number).cloned().map(Some),
                StageInput::Stage(number) => {
                    let fact = facts.get(number).cloned();
                    fact.map(Some).ok_or_else(|| Error::invalid("stage", format!("{number} does not stand before its use")))
                }
                StageInput::Absent => Ok(None),
            })
            .collect::<Result<_>>()?;
        facts.extend(super::infer(&stage.op, &Inputs::new(&operands, 1))?.into_iter().take(1));
    }
    Ok(facts)
}

pub(super) fn infer(stages: &[Stage], inputs: &Inputs) -> Result<Vec<Fact>> {
    let last = stage_facts(stages, inputs)?.pop();
    last.map(|fact| vec![fact]).ok_or_else(|| Error::invalid("stages", "are none"))
}

pub(super) fn evaluate(stages: &[Stage], inputs: &Inputs) -> Result<Vec<Value>> {
    let mut values: Vec<Arc<Value>> = Vec::new();
    for stage in stages {
        let operands = stage.inputs.iter().map(|input| match *input {
            StageInput::Input(number) => inputs.optional(number).and_then(|fact| fact.constant.clone()),
            StageInput::Stage(number) => values.get(number).cloned(),
            StageInput::Absent => None,
        });
        let result = super::evaluate(&stage.op, &operands.collect::<Vec<_>>(), 1)?;
        values.extend(result.into_iter().take(1).map(Arc::new));
    }
    let last = values.pop().ok_or_else(|| Error::invalid("stages", "are none"))?;
    Ok(vec![Arc::unwrap_or_clone(last)])
}
