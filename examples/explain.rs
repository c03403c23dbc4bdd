//! Shows how a layer is computed and why: the chosen algorithm and tile, what stands behind it, what was rejected and for which
//! reason, grid, memory and work; on request the WGSL text. It runs nothing.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use wgconv::kernel::GeometryMode;
use wgconv::{Algorithm, DeviceClass, DeviceLimits, Engine, EngineDesc, Explanation, Problem};

/// Explain how a layer is computed
///
/// Examples:
///   explain conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu
///   explain --limits webgpu --wgsl conv 1x96x27x27 o256 k5x5 p2x2 g2 f32
///   explain --algorithm 'gemm(64x64x16,8x4)' conv_transpose 1x128x64x64 o64 k2x2 s2x2 f32
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Arguments {
    /// The problem line: operation, input shape, and then tokens in any order (o64 k3x3 s2x2 p1x1 d1x1 g1 f32 bias relu ..)
    #[arg(required = true)]
    problem: Vec<String>,
    /// Plan for these limits instead of the adapter's
    #[arg(long)]
    limits: Option<Limits>,
    /// A part of the adapter's name
    #[arg(long)]
    adapter: Option<String>,
    /// Explain this algorithm instead of the best one, such as direct or gemm(64x64x16,8x4)
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// Print the kernels' WGSL too
    #[arg(long)]
    wgsl: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Limits {
    /// What every WebGPU device has
    Webgpu,
    /// Mesa's lavapipe: subgroups of 8, f16
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

fn main() -> ExitCode {
    env_logger::init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("explain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> wgconv::Result<()> {
    let problem: Problem = arguments.problem.join(" ").parse()?;
    let explanation = match arguments.limits {
        Some(limits) => on_paper(&problem, &limits.limits())?,
        None => {
            let engine = Engine::new(&EngineDesc { adapter: arguments.adapter.clone(), ..Default::default() })?;
            println!("adapter    {}", engine.adapter());
            match &arguments.algorithm {
                None => engine.explain(&problem)?,
                Some(algorithm) => {
                    Explanation { plan: engine.plan(&problem, algorithm)?, candidates: engine.candidates(&problem)? }
                }
            }
        }
    };
    let explanation = match (&arguments.algorithm, arguments.limits) {
        (Some(algorithm), Some(limits)) => Explanation { plan: algorithm.plan(&problem, &limits.limits())?, ..explanation },
        _ => explanation,
    };
    println!("{explanation}");
    if arguments.wgsl {
        for step in &explanation.plan.steps {
            println!("\n{}", step.kernel.wgsl());
        }
    }
    Ok(())
}

/// The same without a device.
fn on_paper(problem: &Problem, limits: &DeviceLimits) -> wgconv::Result<Explanation> {
    let candidates = Algorithm::candidates(problem, limits)?;
    let best = candidates.algorithms.first().expect("candidates() gives an error where there is none");
    let plan = best.plan_as(problem, limits, GeometryMode::Constant)?;
    Ok(Explanation { plan, candidates })
}
