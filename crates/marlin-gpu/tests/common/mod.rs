//! The GPU that tests run on.

use std::{env, sync::Arc};

use marlin_gpu::{Gpu, Opening};

/// The GPU, or `None` with a printed reason; with `MARLIN_REQUIRE_GPU=1` that is a failure.
pub fn gpu(opening: &Opening) -> Option<Arc<Gpu>> {
    match Gpu::open(opening) {
        Ok(gpu) => Some(gpu),
        Err(error) if env::var_os("MARLIN_REQUIRE_GPU").is_none_or(|value| value != "1") => {
            println!("skipped: {error}; MARLIN_REQUIRE_GPU=1 makes this a failure");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
