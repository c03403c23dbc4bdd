//! Every kernel that the planner can emit is valid WGSL for a device of those limits, and its bindings are those of the plan.
//! No GPU is needed: naga parses and validates, with the target's capabilities and no others.

#[path = "support/languages.rs"]
mod languages;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgconv::kernel::{GeometryMode, Kernel};
use wgconv::{Algorithm, DType, DeviceClass, DeviceLimits, ImageDesc, ImageFormat, Precision, Problem};

/// Parses, validates, translates; gives naga's annotated message otherwise.
fn validate(kernel: &Kernel, limits: &DeviceLimits) -> Result<naga::Module, String> {
    let text = kernel.wgsl();
    let module = naga::front::wgsl::parse_str(&text).map_err(|error| error.emit_to_string(&text))?;
    let mut capabilities = Capabilities::empty();
    if limits.f16 {
        capabilities |= Capabilities::SHADER_FLOAT16;
    }
    if limits.subgroup.is_some() {
        capabilities |= Capabilities::SUBGROUP;
    }
    if limits.wide_words {
        capabilities |= Capabilities::SHADER_INT64 | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    }
    if limits.cooperative_matrix.is_some() {
        capabilities |= Capabilities::COOPERATIVE_MATRIX;
    }
    let info =
        Validator::new(ValidationFlags::all(), capabilities).validate(&module).map_err(|error| error.emit_to_string(&text))?;
    languages::translate(&module, &info, kernel.cooperative)?;
    Ok(module)
}

/// The bindings, as naga sees them, against the plan's.
fn check_bindings(kernel: &Kernel, module: &naga::Module) {
    let mut found: Vec<(u32, String)> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| variable.binding.map(|binding| (binding.binding, variable.name.clone().unwrap_or_default())))
        .collect();
    found.sort();
    let declared: Vec<(u32, String)> = (0..).zip(kernel.bindings.iter().map(|binding| binding.name.to_string())).collect();
    assert_eq!(found, declared, "{}", kernel.label);
}

fn devices() -> Vec<DeviceLimits> {
    let software = DeviceLimits {
        class: DeviceClass::Software,
        f16: true,
        subgroup: Some(8),
        cooperative_matrix: Some(8),
        precision: Precision::Half,
        wide_words: true,
        parallelism: 2,
        ..Default::default()
    };
    let nvidia = DeviceLimits {
        f16: true,
        subgroup: Some(32),
        cooperative_matrix: Some(16),
        precision: Precision::Half,
        workgroup_bytes: 48 << 10,
        workgroup_invocations: 1024,
        parallelism: 132,
        ..Default::default()
    };
    let older = DeviceLimits {
        f16: false,
        loops_over_lanes: true,
        wide_words: false,
        subgroup: Some(4),
        cooperative_matrix: None,
        ..software
    };
    let mesa_22 = DeviceLimits { f16: true, wide_words: true, subgroup: Some(8), ..older };
    vec![DeviceLimits::default(), software, older, mesa_22, nvidia]
}

const LINES: &[&str] = &[
    "conv 1x3x32x32 o8 k3x3 p1x1 f32 bias relu",
    "conv 2x8x17 o12 k3 s2 d2 g4 p1:2 f32 bias residual=before leaky_relu(0.1)",
    "conv 1x3x40x33 o70 k7x7 s2x2 p3x3 f32 bias relu",
    "conv 1x2x3x7x50 o9 k3x3x4 s1x1x3 d1x1x2 p1x1x3 reflect f32 nhwc",
    "conv 1x6x5x6x7 o9 k3x2x1 g3 p1x0x0 f32 residual=after gelu",
    "conv 1x4x8x8 o8 k1x1 f32 clamp(-inf,0.5)",
    "conv 2x8x9x9 o12 k3x3 f32 nhwc bias prelu residual=before",
    "avg_pool 1x8x9x9 k3x3 s2x2 p1x1 f32 nhwc",
    "conv 1x4x8x8 o8 k3x3 p1x1 reflect f32 prelu",
    "conv 1x4x8x8 o8 k3x3 p1x1 replicate f32 selu",
    "conv 1x4x8x8 o8 k3x3 p1x1 circular f32 mish",
    "conv 1x4x8x8 o8 k8x8 f32 celu(1e-40)",
    "conv 1x3x9x9 o3 k3x3 p1x1 f32 bias residual=after",
    "conv 1x4x8x8 o4 k1x1 f32 prelu",
    "conv 1x3x9x7 o1 k3x3 p1x1 f32",
    "conv 1x4x8x8 o4 k3x3 p1x1 f32 out=nhwc",
    "conv 1x6x16x16 o12 k3x3 s2x2 d3x1 g6 p1x1 f32 silu",
    "conv 1x512x3x3 o16 k3x3 p1x1 f32 bias prelu",
    "conv 1x9000x1 o3 k1 f32 residual=before",
    "conv_transpose 1x6x9x9 o4 k3x3 s2x2 p1x1 op1x1 g2 f32 bias hard_swish",
    "conv_transpose 1x2x3x4x5 o4 k2x3x4 s1x2x3 d2x1x1 f32 elu(1)",
    "max_pool 1x3x9x9 k3x3 s2x2 p1x1 f32 indices=plane",
    "max_pool 1x3x9x9 k3x3 s2x2 p1x1 ceil f32 indices=tensor_column_major",
    "avg_pool 1x3x9x9 k3x3 s2x2 p1x1 f32 exclude_pad",
    "avg_pool 1x3x9x9x3 k3x3x2 f32 divisor=3",
    "lp_pool 1x3x9 k3 d2 f32 norm=2.5",
    "max_pool 1x3x40x33 k3x5 s1x3 d1x2 p1x2 f32 indices=tensor",
    "avg_pool 1x3x40x33 k2x2 s3x3 ceil f32",
    "lp_pool 1x3x9x40x33 k2x3x3 s2x1x2 p1x1x1 f32 norm=2",
    "adaptive_avg_pool 1x3x32x18 to4x3 f32",
    "adaptive_avg_pool 1x3x31x17 to4x3 f32",
    "global_max_pool 1x3x31x17 f32 indices=tensor",
    "global_lp_pool 1x3x31 f32 norm=1",
    "conv 1x8x9x9 o12 k3x3 s2x2 g2 f32 nhwc bias relu",
    "conv 1x8x9x9 o12 k3x3 p1x1 f32 nhwc out=nchw residual=before",
    "conv 1x8x9x9 o12 k1x1 f32 nhwc",
    "conv 1x4x8x8 o8 k8x8 f32 nhwc",
    "conv 1x8x9x9 o8 k3x3 p1x1 g8 f32 nhwc",
    "conv_transpose 1x8x9x9 o4 k3x3 s2x2 f32 out=nhwc",
    "max_pool 1x8x20x20 k9x9 s4x4 p4x4 f32 nhwc indices=tensor",
    "avg_pool 1x8x9x9x3 k3x3x2 f32 nhwc",
];

/// What was checked: kernels, algorithms that multiply in f16, plans that read pictures, and that write them.
#[derive(Clone, Copy, Default)]
struct Checked {
    kernels: usize,
    halves: usize,
    images: usize,
    targets: usize,
}

/// Every kernel of every plan of a problem on a device.
fn check_plans(problem: &Problem, limits: &DeviceLimits) -> Checked {
    let image = ImageDesc { mean: [0.5, 0.25, 0.0, 1.0], std: [0.1; 4], ..ImageDesc::new(ImageFormat::Rgba8Unorm) };
    let mut checked = Checked::default();
    for algorithm in Algorithm::candidates(problem, limits).unwrap().algorithms {
        assert_eq!(algorithm.to_string().parse::<Algorithm>().unwrap(), algorithm);
        checked.halves += usize::from(algorithm.to_string().contains(",h"));
        for mode in [GeometryMode::Uniform, GeometryMode::Constant] {
            let plan = algorithm.plan_as(problem, limits, mode).unwrap();
            let of_an_image = plan.reading_image(&image);
            let to_an_image = plan.writing_image(&image);
            let both = of_an_image.as_ref().and_then(|plan| plan.writing_image(&image));
            checked.images += usize::from(of_an_image.is_some());
            checked.targets += usize::from(to_an_image.is_some());
            let with_images = [of_an_image, to_an_image, both];
            for step in plan.steps.iter().chain(with_images.iter().flatten().flat_map(|plan| &plan.steps)) {
                let module = validate(&step.kernel, limits)
                    .unwrap_or_else(|error| panic!("{problem} by {algorithm}, {mode:?}:\n{error}\n{}", step.kernel.wgsl()));
                check_bindings(&step.kernel, &module);
                checked.kernels += 1;
            }
        }
    }
    checked
}

#[test]
fn every_kernel_of_every_plan_is_valid_wgsl_with_the_bindings_of_its_plan() {
    let problems: Vec<Problem> = LINES.iter().map(|line| line.parse().unwrap()).collect();
    let mut work = Vec::new();
    for limits in devices() {
        let dtypes: &[DType] = if limits.f16 { &[DType::F32, DType::F16] } else { &[DType::F32] };
        work.extend(problems.iter().flat_map(|problem| dtypes.iter().map(move |&dtype| (problem.with_dtype(dtype), limits))));
    }
    // Minutes, on a thread for each core: the largest kernels are not all of one device or line.
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Checked::default()));
    let worker = || {
        while let Some((problem, limits)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Checked { kernels, halves, images, targets } = check_plans(problem, limits);
            let mut all = all.lock().unwrap();
            all.kernels += kernels;
            all.halves += halves;
            all.images += images;
            all.targets += targets;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    let Checked { kernels, halves, images, targets } = all.into_inner().unwrap();
    println!("{kernels} kernels");
    assert!(kernels > 1000 && images > 100 && targets > 50, "only {kernels} kernels, {images} of images, {targets} to images");
    assert!(halves > 100, "only {halves} algorithms that multiply in f16");
}

#[test]
fn the_kernels_of_layers_in_parts_are_valid_too() {
    let limits = DeviceLimits { storage_binding_bytes: 4096, f16: true, ..Default::default() };
    for line in [
        "conv 1x2x40x33 o2 k3x3 p1x1 f32 residual=before",
        "conv 1x2x40x33 o2 k3x3 p1x1 f16 residual=before",
        "max_pool 1x1x50x41 k3x3 s2x2 p1x1 f32 indices=tensor_column_major",
        "max_pool 1x1x80x41 k3x3 s2x2 p1x1 f16 indices=plane",
    ] {
        let problem: Problem = line.parse().unwrap();
        let algorithms = Algorithm::candidates(&problem, &limits).unwrap_or_else(|error| panic!("{line}: {error}")).algorithms;
        let plan = algorithms[0].plan(&problem, &limits).unwrap();
        assert!(plan.split.is_some() && plan.steps.iter().any(|step| step.kernel.label.starts_with("move")), "{plan}");
        for step in &plan.steps {
            let module = validate(&step.kernel, &limits).unwrap_or_else(|error| panic!("{error}\n{}", step.kernel.wgsl()));
            check_bindings(&step.kernel, &module);
        }
    }
}
