//! Bytes of files: mapped for tensors, read whole (within a limit) for the small ones beside them.
//!
//! The only file of this crate with `unsafe`: the mapping itself.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use crate::Error;

/// A regular file mapped read only. Cloning shares the mapping.
#[derive(Clone, Debug)]
pub(crate) struct Mapping(Arc<Mmap>);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapping {
    /// Maps a file.
    ///
    /// The mapping shows the file as it is on disk: a file that another process shortens while it is
    /// open ends the process with SIGBUS, as it does for every program that maps files.
    ///
    /// # Errors
    /// [`Error::NotAFile`], [`Error::Empty`] or [`Error::Io`].
    #[allow(unsafe_code)]
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let len = regular_file_len(path)?;
        if len == 0 {
            return Err(Error::Empty { path: path.to_owned() });
        }
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        // SAFETY: the mapping is private and read only, and everything read from it is checked as
        // untrusted bytes; that nobody shortens the file meanwhile is the documented condition.
        let mapped = unsafe { Mmap::map(&file) }.map_err(|source| Error::io("map", path, source))?;
        Ok(Mapping(Arc::new(mapped)))
    }

    /// The whole file, without a copy.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Lets the system take back the memory behind `window`, if that lies in this mapping. Reading it
    /// again reads the file again, so nothing changes but the memory in use.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    pub(crate) fn release(&self, window: &[u8]) {
        let start = (window.as_ptr() as usize).wrapping_sub(self.0.as_ptr() as usize);
        if start.checked_add(window.len()).is_none_or(|end| end > self.0.len()) {
            return;
        }
        // SAFETY: the pages are those of a private mapping of a file that is never written to, so
        // dropping them loses nothing. Failure is harmless: the memory stays in use.
        let _ =
            unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, window.len()) };
    }

    /// Nothing: this system decides by itself.
    #[cfg(not(unix))]
    pub(crate) fn release(&self, _window: &[u8]) {}
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// [`Error::NotAFile`], [`Error::Limit`] or [`Error::Io`].
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let too_long =
        |found| Error::Limit { file: path.display().to_string(), what: "length in bytes", found, limit };
    let len = regular_file_len(path)?;
    if len > limit {
        return Err(too_long(len));
    }
    let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
    let mut bytes = Vec::with_capacity(len as usize);
    // One byte more than the limit tells a file that grew since its length was asked for.
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| Error::io("read", path, source))?;
    if bytes.len() as u64 > limit {
        return Err(too_long(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The length of a regular file; symlinks are followed, as model hub caches are made of them.
/// Asked before opening, because opening a pipe would wait for a writer.
fn regular_file_len(path: &Path) -> Result<u64, Error> {
    let facts = fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
    if !facts.is_file() {
        let found = if facts.is_dir() { "a directory" } else { "a device or pipe" };
        return Err(Error::NotAFile { path: path.to_owned(), found });
    }
    Ok(facts.len())
}
