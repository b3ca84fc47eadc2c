//! Memory that traps where a kernel leaves it.
//!
//! ```text
//!  reserved, no access │ pages that can be written          │ reserved, no access
//!  ────────────────────┼──────────────┬─────────────────────┼──────────────────────
//!                      │ unused       │ the memory's bytes  │ 64 GiB: any 32-bit index
//!                      │              └ aligned             │ of 16-byte elements ends here
//! ```
//!
//! The last byte lies at the end of a page, or less than the alignment before it.

use std::{ffi::c_void, io, ops::Range, ptr};

/// Stretch after a memory: a u32 index times the largest element, 16 bytes.
const AFTER: usize = 1 << 36;
/// Stretch before a memory.
const BEFORE: usize = 1 << 30;
/// Alignment of buffers: that of the largest element.
const ALIGNMENT: usize = 16;

/// Bytes that a kernel can be given, guarded on both sides.
#[derive(Debug)]
pub struct Memory {
    reserved: *mut u8,
    reserved_len: usize,
    start: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and may be used from whichever thread has it.
unsafe impl Send for Memory {}

impl Memory {
    /// Zeroed memory of so many bytes, aligned to 16.
    pub fn new(bytes: usize) -> io::Result<Self> {
        Self::aligned(bytes, ALIGNMENT)
    }

    pub(crate) fn aligned(bytes: usize, alignment: usize) -> io::Result<Self> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let pages = bytes.next_multiple_of(alignment).next_multiple_of(page);
        let reserved_len = BEFORE + pages + AFTER;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping wherever there is room touches no other memory.
        let reserved = unsafe { libc::mmap(ptr::null_mut(), reserved_len, libc::PROT_NONE, flags, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let reserved = reserved.cast::<u8>();
        // SAFETY: the range lies within the mapping made above.
        let first = unsafe { reserved.add(BEFORE) };
        // SAFETY: as above; `start` is at most the end of the pages.
        let start = unsafe { first.add(pages - bytes.next_multiple_of(alignment)) };
        let memory = Self { reserved, reserved_len, start, len: bytes };
        if pages > 0 {
            // SAFETY: the pages lie within the mapping, which nobody else has seen.
            let done = unsafe { libc::mprotect(first.cast(), pages, libc::PROT_READ | libc::PROT_WRITE) };
            if done != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(memory)
    }

    /// Its size.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the pages are mapped, initialized and borrowed with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Copies bytes from an offset on.
    ///
    /// # Panics
    /// Where they end past the memory's.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(offset <= self.len && into.len() <= self.len - offset, "read past the end of a memory");
        // SAFETY: the range was checked; a kernel never runs at the same time on a `&Memory` of this thread.
        unsafe { ptr::copy_nonoverlapping(self.start.add(offset), into.as_mut_ptr(), into.len()) }
    }

    /// Replaces bytes from an offset on.
    ///
    /// # Panics
    /// Where they end past the memory's.
    pub fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset <= self.len && from.len() <= self.len - offset, "write past the end of a memory");
        // SAFETY: the range was checked; no reference to the bytes lives while `self` is shared.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.start.add(offset), from.len()) }
    }

    /// The bytes as words; the last, incomplete word is left out.
    pub fn to_words(&self) -> Vec<u32> {
        let mut bytes = vec![0; self.len / 4 * 4];
        self.read(0, &mut bytes);
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
    }

    /// Fills it with a repeated word.
    pub(crate) fn fill(&mut self, word: u32) {
        let (pattern, (words, rest)) = (word.to_ne_bytes(), self.bytes().as_chunks_mut::<4>());
        words.fill(pattern);
        rest.copy_from_slice(&pattern[..rest.len()]);
    }

    pub(crate) fn address(&self) -> *mut c_void {
        self.start.cast()
    }

    /// Every address that a faulty index into it may reach.
    pub(crate) fn reach(&self) -> Range<usize> {
        let start = self.reserved as usize;
        start..start + self.reserved_len
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.reserved.cast(), self.reserved_len) };
    }
}
