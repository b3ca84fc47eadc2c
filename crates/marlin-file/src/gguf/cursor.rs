//! Reads little-endian numbers and strings from untrusted bytes; every read is checked, and no count
//! is believed before the bytes for it are there.

use std::fmt::Display;

use super::MAX_GGUF_HEADER_BYTES;
use crate::Error;

pub(super) struct Cursor<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(file: &'a str, bytes: &'a [u8]) -> Self {
        Cursor { file, bytes, at: 0 }
    }

    /// The file's name, for errors.
    pub fn file(&self) -> String {
        self.file.to_owned()
    }

    /// Where the next read begins.
    pub fn offset(&self) -> u64 {
        self.at as u64
    }

    /// The next `len` bytes.
    pub fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], Error> {
        let left = &self.bytes[self.at..];
        let Some(taken) = left.get(..len) else {
            return Err(Error::Truncated {
                file: self.file(),
                what,
                offset: self.offset(),
                needed: len as u64,
                left: left.len() as u64,
            });
        };
        let end = self.offset() + len as u64;
        if end > MAX_GGUF_HEADER_BYTES {
            let (what, limit) = ("length of metadata and tensor infos", MAX_GGUF_HEADER_BYTES);
            return Err(Error::Limit { file: self.file(), what, found: end, limit });
        }
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(what, N)?);
        Ok(bytes)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A u64 length and that many bytes of UTF-8.
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, Error> {
        let len = self.u64(what)?;
        let offset = self.offset();
        let bytes = self.take(what, usize::try_from(len).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|error| Error::Utf8 {
            file: self.file(),
            what,
            offset: offset + error.valid_up_to() as u64,
        })
    }

    /// `count` things of at least `min_bytes` each: believed only if so many bytes are left.
    pub fn check_count(&self, what: &'static str, count: u64, min_bytes: usize) -> Result<usize, Error> {
        let left = self.bytes.len() - self.at;
        if count > (left / min_bytes) as u64 {
            return Err(Error::Truncated {
                file: self.file(),
                what,
                offset: self.offset(),
                needed: count.saturating_mul(min_bytes as u64),
                left: left as u64,
            });
        }
        Ok(count as usize)
    }

    /// The error for a field that was read at `offset`.
    pub fn field(&self, what: String, offset: u64, found: impl Display, expected: &'static str) -> Error {
        Error::Field { file: self.file(), what, offset, found: found.to_string(), expected }
    }
}
