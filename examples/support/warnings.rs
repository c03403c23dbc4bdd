//! What the library warns of, for the user to see.

use env_logger::{Builder, Env};

/// What is shown where `RUST_LOG` says nothing: all warnings but that the adapter is a software one, which the programs say themselves.
const SHOWN: &str = "warn,wgconv::gpu::adapter=error";

/// Prints warnings on standard error from now on.
pub fn show() {
    Builder::from_env(Env::default().default_filter_or(SHOWN)).init();
}
