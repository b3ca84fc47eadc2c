//! From an instruction back to the line of the kernel's text.

use std::mem;

use addr2line::Loader;

use crate::kernel::Code;

/// The name that the text has for the compiler.
pub const TEXT: &str = "kernel.metal";

/// The line of the text that the first of these instructions was made of which was made of any.
pub fn line_of(code: &Code, places: impl Iterator<Item = usize>) -> Option<u32> {
    // SAFETY: an all-zero record is valid, and filled in by the call.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    // SAFETY: the anchor is an address within the loaded library.
    if unsafe { libc::dladdr(code.anchor, &mut info) } == 0 {
        return None;
    }
    let loader = Loader::new(&code.object).ok()?;
    let base = info.dli_fbase as usize;
    places.filter_map(|place| place.checked_sub(base)).find_map(|inside| line_in(&loader, inside as u64))
}

/// The innermost line of the text, where a function of the library was inlined there.
fn line_in(loader: &Loader, inside: u64) -> Option<u32> {
    let mut frames = loader.find_frames(inside).ok()?;
    while let Ok(Some(frame)) = frames.next() {
        let Some(place) = frame.location else { continue };
        if place.file.is_some_and(|file| file.ends_with(TEXT)) {
            return place.line;
        }
    }
    None
}
