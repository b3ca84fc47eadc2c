//! From an instruction back to the line of the kernel's text.

use std::mem;

use addr2line::Loader;

use crate::kernel::Code;

/// The name that the text has for the compiler.
pub const TEXT: &str = "kernel.metal";

/// The line of the text that an instruction was made of: the innermost one, where the instruction is of
/// a function of the library.
pub fn line_of(code: &Code, pc: usize) -> Option<u32> {
    // SAFETY: an all-zero record is valid, and filled in by the call.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    // SAFETY: the anchor is an address within the loaded library.
    if unsafe { libc::dladdr(code.anchor, &mut info) } == 0 {
        return None;
    }
    let inside = pc.checked_sub(info.dli_fbase as usize)?;
    let loader = Loader::new(&code.object).ok()?;
    let mut frames = loader.find_frames(inside as u64).ok()?;
    while let Ok(Some(frame)) = frames.next() {
        let Some(place) = frame.location else { continue };
        if place.file.is_some_and(|file| file.ends_with(TEXT)) {
            return place.line;
        }
    }
    None
}
