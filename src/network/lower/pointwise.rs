//! Functions of elements as maps.

use super::{Done, Lowering};
use crate::error::Result;
use crate::graph::ops::Fact;
use crate::graph::{Binary, Node, Op, Unary, Variadic};
use crate::kernel::activation_text;
use crate::network::program::DeviceId;
use crate::tensor_desc::DType;
use crate::value::ElementType;

/// Whether a map computes on elements of this type: in f32, with truth values as 0 and 1.
fn computes(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::F16 | ElementType::Bool)
}

impl Lowering<'_> {
    pub(super) fn pointwise(&mut self, node: &Node, facts: &[Option<Fact>], results: &[Fact]) -> Result<Done> {
        if !facts.iter().flatten().chain(results).all(|fact| computes(fact.element)) {
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
            op => {
                let function = function(op);
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

/// The expression of a function of one, two or three numbers `a`, `b`, `c`.
fn function(op: &Op) -> String {
    match op {
        Op::Activation(activation) => activation_text(activation, "a"),
        Op::Where => "select(c, b, a != 0.0)".into(),
        Op::Unary(unary) => match unary {
            Unary::Neg => "-a",
            Unary::Abs => "abs(a)",
            Unary::Sign => "sign(a)",
            Unary::Exp => "exp(a)",
            Unary::Log => "log(a)",
            Unary::Sqrt => "sqrt(a)",
            Unary::Reciprocal => "1.0 / a",
            Unary::Floor => "floor(a)",
            Unary::Ceil => "ceil(a)",
            Unary::Round => "nearest(a)",
            Unary::Erf => "error_function(a)",
            Unary::Sin => "sin(a)",
            Unary::Cos => "cos(a)",
            Unary::Tan => "tan(a)",
            Unary::Asin => "safe_asin(a)",
            Unary::Acos => "safe_acos(a)",
            Unary::Atan => "atan(a)",
            Unary::Sinh => "safe_sinh(a)",
            Unary::Cosh => "cosh(a)",
            Unary::Asinh => "safe_asinh(a)",
            Unary::Acosh => "safe_acosh(a)",
            Unary::Atanh => "safe_atanh(a)",
            Unary::Not => "1.0 - a",
            Unary::IsNan => "truth(is_nan(a))",
            Unary::IsInf => "truth(is_inf(a))",
        }
        .into(),
        Op::Binary(binary) => match binary {
            Binary::Add => "a + b",
            Binary::Sub => "a - b",
            Binary::Mul => "a * b",
            Binary::Div => "a / b",
            Binary::Pow => "power(a, b)",
            Binary::Mod => "floor_mod(a, b)",
            Binary::Fmod => "trunc_mod(a, b)",
            Binary::Prelu => "leaky_relu(a, b)",
            Binary::Equal => "truth(a == b)",
            Binary::Greater => "truth(a > b)",
            Binary::GreaterOrEqual => "truth(a >= b)",
            Binary::Less => "truth(a < b)",
            Binary::LessOrEqual => "truth(a <= b)",
            Binary::And => "a * b",
            Binary::Or => "max(a, b)",
            Binary::Xor => "abs(a - b)",
        }
        .into(),
        _ => unreachable!("{op:?} is not a function of elements"),
    }
}
