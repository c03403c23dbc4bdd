//! The operators that can be imported: since which opset they exist, and how many inputs and outputs they take over all opsets.
//!
//! What an operator's attributes mean stands in `import/`.

/// No bound.
const MANY: usize = usize::MAX;

/// What is known of an operator without looking at its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operator {
    /// The first opset that has it.
    pub since: i64,
    /// The least number of inputs.
    pub least: usize,
    /// The greatest number of inputs.
    pub most: usize,
    /// The greatest number of outputs.
    pub outputs: usize,
}

/// The operator of this name.
pub(super) fn operator(name: &str) -> Option<Operator> {
    let at = OPERATORS.binary_search_by_key(&name, |(name, ..)| name).ok()?;
    let (_, since, least, most, outputs) = OPERATORS[at];
    Some(Operator { since, least, most, outputs })
}

/// The names of all operators with the first opset of each, by name.
pub(super) fn names() -> impl Iterator<Item = (&'static str, i64)> {
    OPERATORS.iter().map(|&(name, since, ..)| (name, since))
}

/// Why an operator is not supported, where there is more to say than that.
pub(super) fn refusal(name: &str) -> &'static str {
    match name {
        "If" | "Loop" | "Scan" | "SequenceMap" => "is not supported: it runs subgraphs, and control flow cannot be planned",
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli" | "Multinomial" => {
            "is not supported: its results are random"
        }
        "NonZero" | "NonMaxSuppression" | "Unique" | "Compress" => {
            "is not supported: the shape of its result depends on the input's numbers"
        }
        "SplitToSequence" | "ConcatFromSequence" => "is not supported: values are tensors",
        name if name.starts_with("Sequence") || name.starts_with("Optional") => "is not supported: values are tensors",
        name if name.starts_with("String") || name.starts_with("Regex") => "is not supported: it works on strings",
        _ => "is not supported",
    }
}

/// Name, first opset, least and most inputs, most outputs; sorted by name.
#[rustfmt::skip]
const OPERATORS: &[(&str, i64, usize, usize, usize)] = &[
    ("Abs", 1, 1, 1, 1),
    ("Acos", 7, 1, 1, 1),
    ("Acosh", 9, 1, 1, 1),
    ("Add", 1, 2, 2, 1),
    ("And", 1, 2, 2, 1),
    ("ArgMax", 1, 1, 1, 1),
    ("ArgMin", 1, 1, 1, 1),
    ("Asin", 7, 1, 1, 1),
    ("Asinh", 9, 1, 1, 1),
    ("Atan", 7, 1, 1, 1),
    ("Atanh", 9, 1, 1, 1),
    ("AveragePool", 1, 1, 1, 1),
    ("BatchNormalization", 1, 5, 5, 5),
    ("Cast", 1, 1, 1, 1),
    ("CastLike", 15, 2, 2, 1),
    ("CausalConvWithState", 27, 2, 4, 2),
    ("Ceil", 1, 1, 1, 1),
    ("Celu", 12, 1, 1, 1),
    ("CenterCropPad", 18, 2, 2, 1),
    ("Clip", 1, 1, 3, 1),
    ("Col2Im", 18, 3, 3, 1),
    ("Concat", 1, 1, MANY, 1),
    ("Constant", 1, 0, 0, 1),
    ("ConstantOfShape", 9, 1, 1, 1),
    ("Conv", 1, 2, 3, 1),
    ("ConvInteger", 10, 2, 4, 1),
    ("ConvTranspose", 1, 2, 3, 1),
    ("Cos", 7, 1, 1, 1),
    ("Cosh", 9, 1, 1, 1),
    ("DeformConv", 19, 3, 5, 1),
    ("DepthToSpace", 1, 1, 1, 1),
    ("DequantizeLinear", 10, 2, 3, 1),
    ("Div", 1, 2, 2, 1),
    ("Dropout", 1, 1, 3, 2),
    ("DynamicQuantizeLinear", 11, 1, 1, 3),
    ("Elu", 1, 1, 1, 1),
    ("Equal", 1, 2, 2, 1),
    ("Erf", 9, 1, 1, 1),
    ("Exp", 1, 1, 1, 1),
    ("Expand", 8, 2, 2, 1),
    ("Flatten", 1, 1, 1, 1),
    ("Floor", 1, 1, 1, 1),
    ("Gather", 1, 2, 2, 1),
    ("Gelu", 20, 1, 1, 1),
    ("Gemm", 1, 2, 3, 1),
    ("GlobalAveragePool", 1, 1, 1, 1),
    ("GlobalLpPool", 1, 1, 1, 1),
    ("GlobalMaxPool", 1, 1, 1, 1),
    ("Greater", 1, 2, 2, 1),
    ("GreaterOrEqual", 12, 2, 2, 1),
    ("GridSample", 16, 2, 2, 1),
    ("GroupNormalization", 18, 3, 3, 1),
    ("HardSigmoid", 1, 1, 1, 1),
    ("HardSwish", 14, 1, 1, 1),
    ("Hardmax", 1, 1, 1, 1),
    ("Identity", 1, 1, 1, 1),
    ("InstanceNormalization", 1, 3, 3, 1),
    ("IsInf", 10, 1, 1, 1),
    ("IsNaN", 9, 1, 1, 1),
    ("LRN", 1, 1, 1, 1),
    ("LayerNormalization", 17, 2, 3, 3),
    ("LeakyRelu", 1, 1, 1, 1),
    ("Less", 1, 2, 2, 1),
    ("LessOrEqual", 12, 2, 2, 1),
    ("Log", 1, 1, 1, 1),
    ("LogSoftmax", 1, 1, 1, 1),
    ("LpNormalization", 1, 1, 1, 1),
    ("LpPool", 1, 1, 1, 1),
    ("MatMul", 1, 2, 2, 1),
    ("MatMulInteger", 10, 2, 4, 1),
    ("Max", 1, 1, MANY, 1),
    ("MaxPool", 1, 1, 1, 2),
    ("MaxUnpool", 9, 2, 3, 1),
    ("Mean", 1, 1, MANY, 1),
    ("MeanVarianceNormalization", 1, 1, 1, 1),
    ("Min", 1, 1, MANY, 1),
    ("Mish", 18, 1, 1, 1),
    ("Mod", 10, 2, 2, 1),
    ("Mul", 1, 2, 2, 1),
    ("Neg", 1, 1, 1, 1),
    ("Not", 1, 1, 1, 1),
    ("Or", 1, 2, 2, 1),
    ("PRelu", 1, 2, 2, 1),
    ("Pad", 1, 1, 4, 1),
    ("Pow", 1, 2, 2, 1),
    ("QLinearConv", 10, 8, 9, 1),
    ("QLinearMatMul", 10, 8, 8, 1),
    ("QuantizeLinear", 10, 2, 3, 1),
    ("RMSNormalization", 23, 2, 2, 1),
    ("Range", 11, 3, 3, 1),
    ("Reciprocal", 1, 1, 1, 1),
    ("ReduceL1", 1, 1, 2, 1),
    ("ReduceL2", 1, 1, 2, 1),
    ("ReduceLogSum", 1, 1, 2, 1),
    ("ReduceLogSumExp", 1, 1, 2, 1),
    ("ReduceMax", 1, 1, 2, 1),
    ("ReduceMean", 1, 1, 2, 1),
    ("ReduceMin", 1, 1, 2, 1),
    ("ReduceProd", 1, 1, 2, 1),
    ("ReduceSum", 1, 1, 2, 1),
    ("ReduceSumSquare", 1, 1, 2, 1),
    ("Relu", 1, 1, 1, 1),
    ("Reshape", 1, 1, 2, 1),
    ("Resize", 10, 1, 4, 1),
    ("RoiAlign", 10, 3, 3, 1),
    ("Round", 11, 1, 1, 1),
    ("Selu", 1, 1, 1, 1),
    ("Shape", 1, 1, 1, 1),
    ("Shrink", 9, 1, 1, 1),
    ("Sigmoid", 1, 1, 1, 1),
    ("Sign", 9, 1, 1, 1),
    ("Sin", 7, 1, 1, 1),
    ("Sinh", 9, 1, 1, 1),
    ("Size", 1, 1, 1, 1),
    ("Slice", 1, 1, 5, 1),
    ("Softmax", 1, 1, 1, 1),
    ("Softplus", 1, 1, 1, 1),
    ("Softsign", 1, 1, 1, 1),
    ("SpaceToDepth", 1, 1, 1, 1),
    ("Split", 1, 1, 2, MANY),
    ("Sqrt", 1, 1, 1, 1),
    ("Squeeze", 1, 1, 2, 1),
    ("Sub", 1, 2, 2, 1),
    ("Sum", 1, 1, MANY, 1),
    ("Swish", 24, 1, 1, 1),
    ("Tan", 7, 1, 1, 1),
    ("Tanh", 1, 1, 1, 1),
    ("ThresholdedRelu", 1, 1, 1, 1),
    ("Tile", 1, 2, 3, 1),
    ("Transpose", 1, 1, 1, 1),
    ("Unsqueeze", 1, 1, 2, 1),
    ("Upsample", 1, 1, 2, 1),
    ("Where", 9, 3, 3, 1),
    ("Xor", 1, 2, 2, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(OPERATORS.is_sorted_by_key(|(name, ..)| *name));
        assert_eq!(operator("Conv"), Some(Operator { since: 1, least: 2, most: 3, outputs: 1 }));
        assert_eq!(operator("Loop"), None);
    }
}
