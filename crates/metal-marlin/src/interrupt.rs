//! Ctrl-C as a flag that long work looks at.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The flag: set by the first Ctrl-C; a second one while it is set ends the program.
///
/// # Errors
/// When the handler cannot be installed.
pub fn flag() -> anyhow::Result<Arc<AtomicBool>> {
    if let Some(flag) = FLAG.get() {
        return Ok(flag.clone());
    }
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    ctrlc::set_handler(move || {
        const INTERRUPTED: i32 = 130;
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    })?;
    Ok(FLAG.get_or_init(|| flag).clone())
}
