//! A GPU convolution engine on wgpu and WGSL, verified against a CPU reference.
//!
//! A layer is described ([`ConvDesc`], [`PoolDesc`]), put beside its input as a [`Problem`], checked and computed into a
//! [`Geometry`], planned by an [`Algorithm`] within [`DeviceLimits`] into a [`Plan`] of WGSL kernels, and run by an [`Engine`]:
//!
//! ```no_run
//! use wgconv::{Activation, ConvDesc, Engine, EngineDesc, Epilogue, TensorDesc, Weights};
//!
//! # let (image, w, b) = (vec![0.0; 3 * 224 * 224], vec![0.0; 64 * 3 * 7 * 7], vec![0.0; 64]);
//! let engine = Engine::new(&EngineDesc::default())?;
//! let x = engine.upload(&image, &TensorDesc::f32(&[1, 3, 224, 224]))?;
//! let stem = ConvDesc {
//!     stride: [2, 2].into(),
//!     padding: [3, 3].into(),
//!     epilogue: Epilogue { bias: true, activation: Activation::Relu, ..Default::default() },
//!     ..ConvDesc::new(3, 64, [7, 7])
//! };
//! let stem = engine.conv(&stem, x.desc(), Weights { kernel: &w, bias: Some(&b), ..Default::default() })?;
//! let y: Vec<f32> = stem.run(&x)?.to_vec()?;
//! # Ok::<(), wgconv::Error>(())
//! ```
//!
//! Everything up to the plan is pure: it needs no GPU, and [`mod@reference`] computes every operation in f64 to judge the kernels by.
//! [`mod@verify`] does so for one layer on one device. Whatever a caller passes ends in a result or in an [`Error`],
//! never in a panic but that of [`Spatial::splat`], which says so.

#![warn(missing_docs, missing_debug_implementations)]

mod activation;
mod algorithm;
#[cfg(feature = "ndarray")]
mod array;
mod desc;
mod engine;
mod error;
mod files;
mod geometry;
mod gpu;
mod graph;
mod image;
pub mod kernel;
mod layer;
mod layout;
mod limits;
mod multi;
mod network;
pub mod onnx;
mod operation;
mod parallel;
pub mod passes;
mod problem;
mod problems;
mod recent;
pub mod reference;
#[cfg(feature = "safetensors")]
pub mod safetensors;
mod spatial;
mod tensor;
mod tensor_desc;
mod tiles;
mod trial;
mod tune;
mod value;
pub mod verify;
mod weights;

pub use activation::Activation;
pub use algorithm::{
    Algorithm, Candidates, CoopTile, GemmTile, Operations, Packing, PatchTile, Plan, PlaneTile, ProductTile, Refusal, Split,
    SplitAxis, Step, SubgroupTile, Tolerance, WinogradTile, Work,
};
pub use desc::{ConvDesc, Epilogue, IndexOrder, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Residual};
pub use engine::{Engine, EngineDesc, Explanation, Specialise};
pub use error::{Error, ErrorKind, Result};
pub use geometry::Geometry;
pub use gpu::{AdapterReport, AdapterSummary, BufferStats};
pub use graph::{
    AspectPolicy, Binary, Bindings, ConvOp, Coordinates, Dim, Graph, Nearest, Op, PadMode, Pads, Reduce, Resize, ResizeMode,
    SampleMode, SamplePadding, SoftmaxKind, Stage, StageInput, Unary, ValueId, Variadic,
};
pub use image::{ImageDesc, ImageFormat};
pub use layer::{Conv, ConvImages, ConvInputs, Place, Pool, Timing};
pub use layout::Layout;
pub use limits::{DeviceClass, DeviceLimits, Precision};
pub use multi::{MultiEngine, MultiNetwork};
pub use network::{
    LayerTime, Network, NetworkDesc, Profile, Stream, StreamInput, StreamReceiver, StreamSender, Verification, VerifiedNode,
};
pub use problem::{Layer, Problem};
pub use spatial::Spatial;
pub use tensor::{Element, Tensor};
pub use tensor_desc::{DType, TensorDesc};
pub use tiles::{Region, TileDesc, TileRunner};
pub use tune::Tuning;
pub use value::{Data, ElementType, Value};
pub use weights::{BatchNorm, Folded, Weights};
pub use {half, wgpu};

/// The README's code is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
