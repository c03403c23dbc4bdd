//! Shows how a layer is computed and why: the chosen algorithm and tile, what stands behind it, what was rejected and for which
//! reason, grid, memory and work; on request the WGSL text. It runs nothing, but for `--tuning measure`.

#[path = "support/ending.rs"]
mod ending;
#[path = "support/warnings.rs"]
mod warnings;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, ValueEnum};
use wgconv::kernel::GeometryMode;
use wgconv::{Algorithm, Candidates, DeviceClass, DeviceLimits, Engine, EngineDesc, Explanation, Precision, Problem, Tuning};

/// Explain how a layer is computed
///
/// Examples:
///   explain conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu
///   explain --limits webgpu --wgsl conv 1x96x27x27 o256 k5x5 p2x2 g2 f32
///   explain --adapters
///   explain --tuning measure=5 conv 1x64x56x56 o64 k3x3 p1x1 f32
///   explain --algorithm 'gemm(64x64x16,8x4)' conv_transpose 1x128x64x64 o64 k2x2 s2x2 f32
#[derive(Parser)]
#[command(verbatim_doc_comment, version, after_long_help = include_str!("../src/problem/grammar.txt"))]
struct Arguments {
    /// The problem line: operation, input shape, and then tokens in any order (o64 k3x3 s2x2 p1x1 f32 bias relu ..); --help lists all
    #[arg(required_unless_present = "adapters")]
    problem: Vec<String>,
    /// List the adapters that there are, with their features and limits, and explain nothing
    #[arg(long, conflicts_with_all = ["problem", "limits", "adapter", "algorithm", "tuning", "precision", "wgsl"])]
    adapters: bool,
    /// Plan for these limits instead of the adapter's
    #[arg(long, conflicts_with = "adapter")]
    limits: Option<Limits>,
    /// The adapter, by its number or a part of its name; `explain --adapters` lists them
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    adapter: Option<String>,
    /// Explain this algorithm instead of the best one: a name such as gemm, or one with its tile such as gemm(64x64x16,8x4)
    #[arg(long)]
    algorithm: Option<Choice>,
    /// Where the best one comes from: heuristic, cached, measure, or measure=SECONDS
    #[arg(long, default_value = "heuristic", conflicts_with_all = ["limits", "algorithm"])]
    tuning: Tuning,
    /// How exact results must be: exact; fast, which allows Winograd's F(4, 3) too; half, which also allows products of f16 in f16
    #[arg(long, value_name = "exact|fast|half", default_value_t)]
    precision: Precision,
    /// Print the kernels' WGSL too
    #[arg(long)]
    wgsl: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Limits {
    /// What every WebGPU device has
    Webgpu,
    /// Mesa's lavapipe: subgroups of 8, f16, words of 64 bits
    Lavapipe,
    /// A large GPU: subgroups of 32, f16, 48 KiB of workgroup memory
    Discrete,
}

impl Limits {
    fn limits(self) -> DeviceLimits {
        let webgpu = DeviceLimits::default();
        match self {
            Limits::Webgpu => webgpu,
            Limits::Lavapipe => DeviceLimits {
                class: DeviceClass::Software,
                workgroup_bytes: 32 << 10,
                f16: true,
                subgroup: Some(8),
                wide_words: true,
                parallelism: 2,
                ..webgpu
            },
            Limits::Discrete => DeviceLimits {
                workgroup_bytes: 48 << 10,
                workgroup_invocations: 1024,
                f16: true,
                subgroup: Some(32),
                parallelism: 128,
                ..webgpu
            },
        }
    }
}

/// The algorithm that the user wants explained.
#[derive(Clone, Copy)]
enum Choice {
    /// The best guess of this name.
    Family(&'static str),
    /// One with its tile.
    One(Algorithm),
}

impl FromStr for Choice {
    type Err = wgconv::Error;
    fn from_str(text: &str) -> wgconv::Result<Self> {
        let family = Algorithm::names().iter().find(|&&name| name == text);
        family.map_or_else(|| text.parse().map(Choice::One), |name| Ok(Choice::Family(name)))
    }
}

fn main() -> ExitCode {
    warnings::show();
    ending::of(run(&Arguments::parse(), &mut io::stdout()))
}

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    if arguments.adapters {
        let adapters = Engine::adapters();
        for adapter in &adapters {
            writeln!(out, "{adapter}")?;
        }
        if adapters.is_empty() {
            // Its error says how to get one.
            Engine::new(&EngineDesc::default())?;
        }
        return Ok(());
    }
    let problem: Problem = arguments.problem.join(" ").parse()?;
    let explanation = match arguments.limits {
        Some(limits) => {
            let limits = DeviceLimits { precision: arguments.precision, ..limits.limits() };
            let candidates = Algorithm::candidates(&problem, &limits)?;
            let plan = |algorithm: &Algorithm| algorithm.plan_as(&problem, &limits, GeometryMode::Constant);
            explain(candidates, arguments.algorithm, &limits, plan)?
        }
        None => {
            let (adapter, tuning, precision) = (arguments.adapter.clone(), arguments.tuning, arguments.precision);
            let engine = Engine::new(&EngineDesc { adapter, tuning, precision, ..Default::default() })?;
            writeln!(out, "adapter    {}", engine.adapter())?;
            match arguments.algorithm {
                None => engine.explain(&problem)?,
                choice => {
                    explain(engine.candidates(&problem)?, choice, engine.limits(), |algorithm| engine.plan(&problem, algorithm))?
                }
            }
        }
    };
    writeln!(out, "{explanation}")?;
    if arguments.wgsl {
        for step in &explanation.plan.steps {
            writeln!(out, "\n{}", step.kernel.wgsl())?;
        }
    }
    Ok(())
}

/// The plan of the choice, or of the best algorithm, with the others besides.
fn explain(
    candidates: Candidates,
    choice: Option<Choice>,
    limits: &DeviceLimits,
    plan: impl Fn(&Algorithm) -> wgconv::Result<wgconv::Plan>,
) -> Result<Explanation, Box<dyn Error>> {
    let Candidates { algorithms, refusals } = &candidates;
    let family = match choice {
        Some(Choice::Family(name)) => Some(name),
        _ => None,
    };
    let wanted = |name: &str| family.is_none_or(|family| family == name);
    let found = match choice {
        Some(Choice::One(algorithm)) => Some(algorithm),
        _ => algorithms.iter().copied().find(|algorithm| wanted(algorithm.name())),
    };
    let Some(algorithm) = found else {
        let reasons: Vec<_> = refusals.iter().filter(|refusal| wanted(refusal.algorithm)).map(ToString::to_string).collect();
        return Err(format!("nothing computes this layer here: {}", reasons.join("; ")).into());
    };
    let plan = plan(&algorithm)?;
    Ok(Explanation { submissions: plan.submissions(limits), plan, candidates })
}
