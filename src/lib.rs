//! wgconv
pub mod activation;
pub mod desc;
pub mod error;
pub mod geometry;
pub mod problem;
pub mod spatial;
pub mod tensor_desc;
pub mod weights;

pub use activation::Activation;
pub use desc::{ConvDesc, Epilogue, IndexOrder, Padding, PaddingMode, PoolDesc, PoolKind, PoolWindow, Residual};
pub use error::{Error, ErrorKind, Result};
pub use geometry::Geometry;
pub use problem::{Layer, Problem};
pub use spatial::Spatial;
pub use tensor_desc::{DType, TensorDesc};
pub use weights::{BatchNorm, Folded, Weights};
