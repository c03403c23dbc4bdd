//! What a kernel does with a finished sum: bias, residual and activation, and where the result goes.

use std::fmt::Write as _;

use super::image::OUTPUT_BUFFER;
use super::{Kernel, Slot, float, vectors};
use crate::activation::Activation;
use crate::desc::{Epilogue, Residual};

/// How a kernel stores its sums. On devices that check and mask each store by itself, one of four takes half as long as four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stores {
    /// One by one.
    One,
    /// Four neighbours of a channel, which begin at a multiple of 4.
    Columns,
    /// Four channels of a place, the same.
    Channels,
}

impl Kernel {
    /// Adds `store(sum, channel, index)`, which finishes a sum and writes it, and the bindings that it needs; for fours
    /// `store_4(sums, channel, index)`, where these are the first one's.
    pub(crate) fn with_epilogue(self, epilogue: &Epilogue, output: Slot, stores: Stores) -> Self {
        match stores {
            Stores::One => self.with_epilogue_of_one(epilogue, output),
            Stores::Columns | Stores::Channels => self.with_epilogue_of_4(epilogue, output, stores == Stores::Channels),
        }
    }

    fn with_epilogue_of_one(self, epilogue: &Epilogue, output: Slot) -> Self {
        let (kernel, lines) = self.finishing(epilogue, ["array<Elem>", "array<f32>"], "f32(residual[index])");
        let (loads, _) = of_channel(epilogue, |array| format!("{array}[channel]"));
        kernel.written("output", "array<Elem>", output).fragment(format!(
            "fn store(sum: f32, channel: i32, index: i32) {{\n{loads}    var value = sum;\n{lines}    {OUTPUT_BUFFER}\n}}\n"
        ))
    }

    fn with_epilogue_of_4(self, epilogue: &Epilogue, output: Slot, channels: bool) -> Self {
        let ty = vectors(self.dtype);
        // What belongs to channels is loaded once where it is one number: a driver may not see that four loads are one.
        let listed = if channels { "array<vec4<f32>>" } else { "array<f32>" };
        let (kernel, lines) = self.finishing(epilogue, [ty, listed], "kept");
        let kept = match epilogue.residual {
            Residual::None => "vec4<f32>()",
            _ => "vec4<f32>(residual_4(u32(index) / 4))",
        };
        let load = if channels {
            |array: &str| format!("{array}_4(u32(channel) / 4)")
        } else {
            |array: &str| format!("{array}[channel]")
        };
        let (loads, names) = of_channel(epilogue, load);
        let parameters: String = names.iter().map(|name| format!(", {name}: f32")).collect();
        let arguments = |lane: &str| names.iter().map(|name| format!(", {name}{lane}")).collect::<String>();
        let lanes = [".x", ".y", ".z", ".w"].map(|lane| {
            let arguments = arguments(if channels { lane } else { "" });
            format!("finished(sums{lane}, kept{lane}{arguments})")
        });
        let lanes = lanes.join(", ");
        kernel.written("output", ty, output).fragment(format!(
            "fn finished(sum: f32, kept: f32{parameters}) -> f32 {{\n    var value = sum;\n{lines}    return value;\n}}\n\n\
             fn store_4(sums: vec4<f32>, channel: i32, index: i32) {{\n{loads}    let kept = {kept};\n    \
             put_output_4(u32(index) / 4, vec4<Elem>(vec4<f32>({lanes})));\n}}\n"
        ))
    }

    /// The bindings of an epilogue, of these types that of the residual and those of channels, and the statements that finish `value`,
    /// where `kept` is the residual's element.
    fn finishing(mut self, epilogue: &Epilogue, [residual, channels]: [&'static str; 2], kept: &str) -> (Self, String) {
        let mut lines = String::new();
        let mut line = |text: &str| {
            let _ = writeln!(lines, "    {text}"); // writing to a String cannot fail
        };
        if epilogue.bias {
            self = self.binding("bias", channels, Slot::Bias);
            line("value += bias_c;");
        }
        if epilogue.residual != Residual::None {
            self = self.binding("residual", residual, Slot::Residual);
        }
        if epilogue.residual == Residual::BeforeActivation {
            line(&format!("value += {kept};"));
        }
        for call in activation_calls(&epilogue.activation) {
            line(&format!("value = {call};"));
        }
        if epilogue.activation.has_slope() {
            self = self.binding("slope", channels, Slot::Slope);
        }
        if epilogue.residual == Residual::AfterActivation {
            line(&format!("value += {kept};"));
        }
        (self.fragment(include_str!("../../shaders/lib/activations.wgsl")), lines)
    }
}

/// The statements that load what an epilogue has for each channel, each from an array, and the names of it.
fn of_channel(epilogue: &Epilogue, load: impl Fn(&str) -> String) -> (String, Vec<&'static str>) {
    let mut names = Vec::new();
    let mut loads = String::new();
    for (array, name, needed) in [("bias", "bias_c", epilogue.bias), ("slope", "slope_c", epilogue.activation.has_slope())] {
        if needed {
            names.push(name);
            let _ = writeln!(loads, "    let {name} = {};", load(array)); // writing to a String cannot fail
        }
    }
    if names.is_empty() {
        loads += "    _ = channel;\n";
    }
    (loads, names)
}

/// An activation of an argument as one WGSL expression.
pub(crate) fn activation_text(activation: &Activation, argument: &str) -> String {
    activation_calls(activation).into_iter().fold(argument.to_string(), |inner, call| call.replacen("value", &inner, 1))
}

/// The calls of `shaders/lib/activations.wgsl` that make an activation of `value`.
fn activation_calls(activation: &Activation) -> Vec<String> {
    let call = |name: &str, parameters: &[f32]| {
        let list: String = parameters.iter().map(|&parameter| format!(", {}", float(parameter))).collect();
        vec![format!("{name}(value{list})")]
    };
    match *activation {
        Activation::Identity => Vec::new(),
        Activation::Relu6 => [call("relu", &[]), call("at_most", &[6.0])].concat(),
        // An open side has no call: WGSL has no literal for infinity.
        Activation::Clamp { min, max } => {
            let low = if min == f32::NEG_INFINITY { Vec::new() } else { call("at_least", &[min.clamp(f32::MIN, f32::MAX)]) };
            let high = if max == f32::INFINITY { Vec::new() } else { call("at_most", &[max.clamp(f32::MIN, f32::MAX)]) };
            [low, high].concat()
        }
        Activation::Prelu => vec!["leaky_relu(value, slope_c)".into()],
        Activation::Quantize { zero, min, max } => {
            [vec![format!("round(value * slope_c) + {}", float(zero))], call("at_least", &[min]), call("at_most", &[max])]
                .concat()
        }
        Activation::Tanh => call("safe_tanh", &[]),
        _ => call(activation.name(), &activation.parameters()),
    }
}
