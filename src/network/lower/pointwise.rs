//! Functions of elements as maps.

use super::quant::{dequantize_text, quantize_text};
use super::{Done, Lowering};
use crate::error::Result;
use crate::graph::ops::{Fact, Inputs, stage_facts};
use crate::graph::{Binary, Node, Op, Stage, StageInput, Unary, Variadic};
use crate::kernel::activation_text;
use crate::network::program::DeviceId;
use crate::operation::{Arithmetic, NAMES};
use crate::tensor_desc::DType;
use crate::value::ElementType;

/// Whether a map computes on elements of this type: in f32, with truth values as 0 and 1.
fn computes(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::F16 | ElementType::Bool)
}

impl Lowering<'_> {
    pub(super) fn pointwise(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        let fused = matches!(node.op, Op::Fused(_));
        if !fused && !facts.iter().flatten().chain(results).all(|fact| computes(fact.element)) {
            return Ok(false);
        }
        // A function of a shape is the host's, as long as the host has it.
        let Some(dtype) = self.storage(results[0].element) else { return Ok(false) };
        let name = node.op.name();
        let output = match &node.op {
            Op::Variadic(variadic) => self.variadic(*variadic, node, dtype)?,
            Op::Clip => self.clip(node, dtype)?,
            Op::CastLike | Op::Cast(_) => {
                let x = self.input(node, 0)?;
                let function = if results[0].element == ElementType::Bool { "truth(a != 0.0)" } else { "a" };
                self.elementwise("cast", function, &[x], dtype)?
            }
            Op::Fused(stages) => {
                let Some(fused) = FusedFunction::new(stages, facts) else { return Ok(false) };
                let operands = fused.operands.iter().map(|&index| self.input(node, index)).collect::<Result<Vec<_>>>()?;
                let output = self.map(&name, Arithmetic::Float, (&fused.text, &fused.scalars), &operands, dtype)?;
                self.view(output, &results[0].shape)
            }
            op => {
                let Some(function) = function(op, &["a", "b", "c"].map(String::from)) else { return Ok(false) };
                let operands = (0..node.inputs.len()).map(|index| self.input(node, index)).collect::<Result<Vec<_>>>()?;
                self.elementwise(&name, &function, &operands, dtype)?
            }
        };
        self.set(node, 0, output);
        Ok(true)
    }

    /// One operand after the other, the last step with the final function.
    fn variadic(&mut self, variadic: Variadic, node: &Node, dtype: DType) -> Result<DeviceId> {
        let count = node.inputs.len();
        let step = match variadic {
            Variadic::Sum | Variadic::Mean => "a + b",
            Variadic::Max => "greatest(a, b)",
            Variadic::Min => "least(a, b)",
        };
        let mut sum = self.input(node, 0)?;
        for index in 1..count {
            let operand = self.input(node, index)?;
            // Partial sums are f32, whatever the result is.
            let partial = if index + 1 == count && variadic != Variadic::Mean { dtype } else { DType::F32 };
            sum = self.elementwise("variadic", step, &[sum, operand], partial)?;
        }
        match variadic {
            Variadic::Mean => self.elementwise("mean", &format!("a / {count}.0"), &[sum], dtype),
            _ if count == 1 => self.elementwise("copy", "a", &[sum], dtype),
            _ => Ok(sum),
        }
    }

    fn clip(&mut self, node: &Node, dtype: DType) -> Result<DeviceId> {
        let mut operands = vec![self.input(node, 0)?];
        let mut function = "a".to_string();
        for (index, name) in [(1, "greatest"), (2, "least")] {
            if let Some(bound) = self.optional_input(node, index)? {
                // Of one element, and of a rank that must not show in the result.
                let bound = self.view(bound, &[]);
                operands.push(bound);
                function = format!("{name}({function}, {})", ["a", "b", "c"][operands.len() - 1]);
            }
        }
        self.elementwise("clip", &function, &operands, dtype)
    }
}

/// The expression of stages.
struct FusedFunction {
    text: String,
    /// The inputs that are operands, in the order of their names.
    operands: Vec<usize>,
    /// The known numbers among the inputs.
    scalars: Vec<f32>,
}

impl FusedFunction {
    /// `None` where a stage has no expression.
    ///
    /// Each stage stands where it is used: passes fuse only what is used once.
    fn new(stages: &[Stage], facts: &[Option<Fact>]) -> Option<Self> {
        let types = stage_facts(stages, &Inputs::new(facts, 1)).ok()?;
        let rank = types.last()?.rank();
        let (mut operands, mut scalars, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (index, fact) in facts.iter().enumerate() {
            // One number of a higher rank than the rest shows in the result's.
            let known = fact.as_ref().and_then(|fact| fact.constant.as_ref()).filter(|value| value.len() == 1);
            match known.filter(|value| value.shape().len() <= rank) {
                Some(value) => {
                    names.push(format!("s{}", scalars.len()));
                    scalars.push(value.to_f32()[0]);
                }
                None => {
                    names.push(NAMES.get(operands.len())?.to_string());
                    operands.push(index);
                }
            }
        }
        let mut texts: Vec<String> = Vec::new();
        for (stage, fact) in stages.iter().zip(&types) {
            let operand = |input: &StageInput| match *input {
                StageInput::Input(number) => names.get(number).cloned(),
                StageInput::Stage(number) => texts.get(number).map(|text| format!("({text})")),
                StageInput::Absent => Some(String::new()),
            };
            let list = stage.inputs.iter().map(operand).collect::<Option<Vec<String>>>()?;
            texts.push(stage_text(&stage.op, &list, fact.element)?);
        }
        Some(Self { text: texts.pop()?, operands, scalars })
    }
}

/// The expression of one stage with a result of this type.
fn stage_text(op: &Op, operands: &[String], element: ElementType) -> Option<String> {
    let optional = |index: usize| operands.get(index).map(String::as_str).filter(|operand| !operand.is_empty());
    Some(match op {
        Op::DequantizeLinear { .. } => dequantize_text(&operands[0], &operands[1], optional(2)),
        Op::QuantizeLinear { .. } => quantize_text(&format!("{} / {}", operands[0], operands[1]), optional(2), element),
        _ if !computes(element) => return None,
        Op::Cast(_) if element == ElementType::Bool => format!("truth({} != 0.0)", operands[0]),
        Op::Cast(_) => operands[0].clone(),
        Op::Clip => {
            let bound = |text: String, name: &str, index: usize| match optional(index) {
                Some(bound) => format!("{name}({text}, {bound})"),
                None => text,
            };
            bound(bound(operands[0].clone(), "greatest", 1), "least", 2)
        }
        op => function(op, operands)?,
    })
}

/// The expression of a function of one, two or three numbers; `None` where it is no such function.
fn function(op: &Op, operands: &[String]) -> Option<String> {
    let operand = |index: usize| operands.get(index).map_or("", String::as_str);
    let (a, b, c) = (operand(0), operand(1), operand(2));
    Some(match op {
        Op::Activation(activation) => activation_text(activation, a),
        Op::Where => format!("select({c}, {b}, {a} != 0.0)"),
        Op::Unary(unary) => match unary {
            Unary::Neg => format!("-{a}"),
            Unary::Reciprocal => format!("1.0 / {a}"),
            Unary::Not => format!("1.0 - {a}"),
            Unary::IsNan => format!("truth(is_nan({a}))"),
            Unary::IsInf => format!("truth(is_inf({a}))"),
            _ => format!("{}({a})", unary_name(*unary)),
        },
        Op::Binary(binary) => match binary {
            Binary::Add => format!("{a} + {b}"),
            Binary::Sub => format!("{a} - {b}"),
            Binary::Mul | Binary::And => format!("{a} * {b}"),
            Binary::Div => format!("{a} / {b}"),
            Binary::Pow => format!("power({a}, {b})"),
            Binary::Mod => format!("floor_mod({a}, {b})"),
            Binary::Fmod => format!("trunc_mod({a}, {b})"),
            Binary::Prelu => format!("leaky_relu({a}, {b})"),
            Binary::Equal => format!("truth({a} == {b})"),
            // Two comparisons in one list of arguments could be read as a list of types.
            Binary::Greater => format!("truth(({a} > {b}))"),
            Binary::GreaterOrEqual => format!("truth(({a} >= {b}))"),
            Binary::Less => format!("truth(({a} < {b}))"),
            Binary::LessOrEqual => format!("truth(({a} <= {b}))"),
            Binary::Or => format!("max({a}, {b})"),
            Binary::Xor => format!("abs({a} - {b})"),
        },
        _ => return None,
    })
}

/// The WGSL function, or ours, for a function that is one call.
fn unary_name(unary: Unary) -> &'static str {
    match unary {
        Unary::Abs => "abs",
        Unary::Sign => "safe_sign",
        Unary::Exp => "exp",
        Unary::Log => "log",
        Unary::Sqrt => "sqrt",
        Unary::Floor => "floor",
        Unary::Ceil => "ceil",
        Unary::Round => "nearest",
        Unary::Erf => "error_function",
        Unary::Sin => "sin",
        Unary::Cos => "cos",
        Unary::Tan => "tan",
        Unary::Asin => "safe_asin",
        Unary::Acos => "safe_acos",
        Unary::Atan => "safe_atan",
        Unary::Sinh => "safe_sinh",
        Unary::Cosh => "safe_cosh",
        Unary::Asinh => "safe_asinh",
        Unary::Acosh => "safe_acosh",
        Unary::Atanh => "safe_atanh",
        Unary::Neg | Unary::Reciprocal | Unary::Not | Unary::IsNan | Unary::IsInf => unreachable!("these are no calls"),
    }
}
