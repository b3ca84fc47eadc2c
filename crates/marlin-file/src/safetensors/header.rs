//! The header of one safetensors file: read, and held against the length of the file.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::{FORMATS_KEY, MAX_HEADER_BYTES, Safetensors};
use crate::dtype::{self, Dtype};
use crate::{Error, TensorView, Tensors};

/// Bytes of the length that precedes the header.
const LENGTH_BYTES: u64 = 8;

/// The header as it stands in the file: unchecked, duplicates kept.
#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, Entry)>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// A tensor whose dtype is known and whose range lies in the data, offsets from the start of it.
struct Checked {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    end: u64,
}

pub(super) fn parse(name: &str, bytes: Bytes) -> Result<Safetensors, Error> {
    let file_len = bytes.len() as u64;
    let (header, data_start) = read_header(name, &bytes)?;
    let checked = header.entries.into_iter().map(|(tensor, entry)| {
        let file = File { name, data_start, len: file_len };
        file.check_entry(tensor, entry)
    });
    let mut checked = checked.collect::<Result<Vec<_>, _>>()?;
    checked.sort_by_key(|tensor| (tensor.start, tensor.end));
    check_cover(name, &checked, data_start, file_len)?;

    let mut tensors = Tensors::new(name.to_owned());
    for Checked { name: tensor, dtype, shape, start, end } in checked {
        let range = (data_start + start) as usize..(data_start + end) as usize;
        let view = TensorView { name: tensor.clone(), dtype, shape, data: bytes.slice(range) };
        if !tensors.push(view) {
            return Err(Error::Duplicate { file: name.to_owned(), what: "tensor", name: tensor });
        }
    }
    let formats = match header.metadata.get(FORMATS_KEY) {
        None => Default::default(),
        Some(text) => serde_json::from_str(text).map_err(|source| Error::Json {
            file: name.to_owned(),
            what: "metadata marlin.formats",
            source,
        })?,
    };
    Ok(Safetensors { tensors, metadata: header.metadata, formats, len_bytes: file_len })
}

/// The header and the offset at which the data begins.
fn read_header(name: &str, bytes: &[u8]) -> Result<(Header, u64), Error> {
    let file = || name.to_owned();
    let truncated = |what, offset, needed| Error::Truncated {
        file: file(),
        what,
        offset,
        needed,
        left: bytes.len() as u64 - offset,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(truncated("header length", 0, LENGTH_BYTES));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        let limit = MAX_HEADER_BYTES;
        return Err(Error::Limit { file: file(), what: "header length in bytes", found: length, limit });
    }
    let Some(text) = rest.get(..length as usize) else {
        return Err(truncated("header", LENGTH_BYTES, length));
    };
    let text = std::str::from_utf8(text).map_err(|error| Error::Utf8 {
        file: file(),
        what: "header",
        offset: LENGTH_BYTES + error.valid_up_to() as u64,
    })?;
    let header = serde_json::from_str(text);
    let header = header.map_err(|source| Error::Json { file: file(), what: "header", source })?;
    Ok((header, LENGTH_BYTES + length))
}

/// What a tensor's entry is held against.
struct File<'a> {
    name: &'a str,
    data_start: u64,
    len: u64,
}

impl File<'_> {
    fn check_entry(&self, tensor: String, entry: Entry) -> Result<Checked, Error> {
        let file = self.name.to_owned();
        let Some(dtype) = Dtype::from_safetensors(&entry.dtype) else {
            let expected = dtype::names(false);
            return Err(Error::UnknownDtype { file, tensor, found: entry.dtype, expected });
        };
        let (shape, (start, end)) = (entry.shape, entry.data_offsets);
        let Some(needed) = dtype.len_bytes(&shape) else {
            return Err(Error::Overflow { file, tensor, dtype, shape });
        };
        if start > end || end > self.len - self.data_start {
            return Err(Error::Range {
                file,
                tensor,
                start: self.data_start.saturating_add(start),
                end: self.data_start.saturating_add(end),
                start_of_data: self.data_start,
                len: self.len,
            });
        }
        let (found, expected) = (end - start, needed as u64);
        if found != expected {
            let offset = self.data_start + start;
            return Err(Error::Size { file, tensor, offset, found, dtype, shape, expected });
        }
        Ok(Checked { name: tensor, dtype, shape, start, end })
    }
}

/// Refuses overlaps and holes; `tensors` is sorted by range.
fn check_cover(name: &str, tensors: &[Checked], data_start: u64, file_len: u64) -> Result<(), Error> {
    let hole = |start, end| Error::Hole { file: name.to_owned(), start, end };
    let mut covered = 0;
    for (at, tensor) in tensors.iter().enumerate() {
        if tensor.start > covered {
            return Err(hole(data_start + covered, data_start + tensor.start));
        }
        if tensor.start < covered {
            return Err(Error::Overlap {
                file: name.to_owned(),
                tensor: tensor.name.clone(),
                offset: data_start + tensor.start,
                other: tensors[at - 1].name.clone(),
                other_end: data_start + covered,
            });
        }
        covered = tensor.end;
    }
    if data_start + covered < file_len {
        return Err(hole(data_start + covered, file_len));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Keeps every entry in order, where a map type would drop duplicates silently.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of tensor name to dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        let mut seen_metadata = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != "__metadata__" {
                let entry = map.next_value()?;
                header.entries.push((key, entry));
            } else if seen_metadata {
                return Err(A::Error::custom("__metadata__ appears twice"));
            } else {
                seen_metadata = true;
                header.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
            }
        }
        Ok(header)
    }
}
