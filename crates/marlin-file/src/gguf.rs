//! GGUF versions 2 and 3 (little endian), one file or a split set, to typed metadata and checked tensors.
//!
//! A file is accepted only if every tensor lies inside it, on its alignment, and overlaps no other.
//!
//! ```text
//!  | "GGUF" | version u32 | tensors u64 | keys u64 | keys and values | tensor infos | pad | data |
//!  tensor info: name, n_dims u32, dims u64 (fastest first), type u32, offset u64 from `data`
//! ```
//!
//! Source of the layout: ggml's docs/gguf.md.

mod cursor;
pub(crate) mod encode;
mod metadata;
mod split;
mod value;

use std::path::Path;

use bytes::Bytes;

pub use metadata::Metadata;
pub use value::{Array, Strings, Value};

use crate::dtype::{self, Dtype};
use crate::source::Mapping;
use crate::{Error, TensorView, Tensors};
use cursor::Cursor;

/// Most bytes of header, metadata and tensor infos together that are read.
pub const MAX_GGUF_HEADER_BYTES: u64 = 128 << 20;
/// Most dimensions of a tensor.
const MAX_DIMS: u32 = 4;
/// Alignment of the tensor data where `general.alignment` does not say.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// Fewest bytes of a metadata entry: key length, type, one-byte value.
const MIN_KEY_BYTES: usize = 8 + 4 + 1;
/// Fewest bytes of a tensor info: name length, n_dims, one dim, type, offset.
const MIN_INFO_BYTES: usize = 8 + 4 + 8 + 4 + 8;

/// An opened GGUF model.
#[derive(Clone, Debug)]
pub struct Gguf {
    metadata: Metadata,
    tensors: Tensors,
    len_bytes: u64,
}

/// A tensor info, unchecked against the length of the file.
struct Info {
    name: String,
    /// Where the info stands in the file.
    at: u64,
    dtype: Dtype,
    /// Outermost first.
    shape: Vec<usize>,
    /// From the start of the data.
    offset: u64,
    len_bytes: u64,
}

impl Gguf {
    /// Opens a file, or the whole set of which it is the first (`-00001-of-00003.gguf`).
    ///
    /// # Errors
    /// Any error about files, metadata, tensors and splits.
    pub fn open(path: &Path) -> Result<Self, Error> {
        split::open(path)
    }

    /// Opens one file and nothing else.
    fn open_one(path: &Path) -> Result<Self, Error> {
        let mapping = Mapping::open(path)?;
        let mut model = Self::from_bytes(&path.display().to_string(), mapping.bytes())?;
        model.tensors.own(mapping);
        Ok(model)
    }

    /// Checks the bytes of one file; `name` stands for it in errors.
    ///
    /// # Errors
    /// Any error about metadata and tensors.
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Self, Error> {
        let mut cursor = Cursor::new(name, &bytes);
        check_magic_and_version(&mut cursor)?;
        let tensors = cursor.u64("tensor count")?;
        let keys = cursor.u64("key count")?;
        let keys = cursor.check_count("key count", keys, MIN_KEY_BYTES)?;
        let metadata = Metadata::parse(&mut cursor, keys)?;
        let tensors = cursor.check_count("tensor count", tensors, MIN_INFO_BYTES)?;
        let infos = (0..tensors).map(|_| read_info(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
        let alignment = alignment(&metadata)?;
        let data_start = cursor.offset().next_multiple_of(alignment);
        let tensors = place(name, &bytes, infos, data_start, alignment)?;
        Ok(Gguf { metadata, tensors, len_bytes: bytes.len() as u64 })
    }

    /// The keys and values; of the first file where there are several.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, shapes outermost first, in the order of their infos.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Bytes of all files.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

fn check_magic_and_version(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    let magic = cursor.take("magic", 4)?;
    if magic != b"GGUF" {
        let found = magic.escape_ascii().to_string();
        return Err(Error::Magic { file: cursor.file(), found });
    }
    let found = cursor.u32("version")?;
    if !(2..=3).contains(&found) {
        let big_endian = (1..=3).contains(&found.swap_bytes());
        return Err(Error::Version { file: cursor.file(), found, big_endian });
    }
    Ok(())
}

fn alignment(metadata: &Metadata) -> Result<u64, Error> {
    const KEY: &str = "general.alignment";
    if metadata.get(KEY).is_none() {
        return Ok(DEFAULT_ALIGNMENT);
    }
    let found = metadata.u32(KEY)?;
    if !found.is_power_of_two() {
        return Err(Error::KeyType {
            file: metadata.file().to_owned(),
            key: KEY.to_owned(),
            found: found.to_string(),
            expected: "a power of two",
        });
    }
    Ok(u64::from(found))
}

fn read_info(cursor: &mut Cursor<'_>) -> Result<Info, Error> {
    let at = cursor.offset();
    let name = cursor.string("tensor name")?.to_owned();
    let dims_at = cursor.offset();
    let count = cursor.u32("n_dims")?;
    if !(1..=MAX_DIMS).contains(&count) {
        let what = format!("tensor {name}: number of dimensions");
        return Err(cursor.field(what, dims_at, count, "1 to 4"));
    }
    let mut shape = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let dim_at = cursor.offset();
        let dim = cursor.u64("dimension")?;
        match usize::try_from(dim) {
            Ok(dim) if dim > 0 => shape.push(dim),
            _ => {
                let what = format!("tensor {name}: dimension");
                return Err(cursor.field(what, dim_at, dim, "1 or more, within the address space"));
            }
        }
    }
    shape.reverse();
    let id = cursor.u32("tensor type")?;
    let Some(dtype) = Dtype::from_gguf(id) else {
        return Err(Error::UnknownDtype {
            file: cursor.file(),
            tensor: name,
            found: dtype::unread_gguf_name(id),
            expected: dtype::names(true),
        });
    };
    let offset = cursor.u64("tensor offset")?;
    let (cols, multiple) = (shape[shape.len() - 1], dtype.block_values());
    if !cols.is_multiple_of(multiple) {
        return Err(Error::Columns { file: cursor.file(), tensor: name, cols, dtype, multiple });
    }
    let Some(len) = dtype.len_bytes(&shape) else {
        return Err(Error::Overflow { file: cursor.file(), tensor: name, dtype, shape });
    };
    Ok(Info { name, at, dtype, shape, offset, len_bytes: len as u64 })
}

/// Turns infos into views: each aligned, inside the file, and apart from the others.
fn place(
    name: &str,
    bytes: &Bytes,
    infos: Vec<Info>,
    data_start: u64,
    alignment: u64,
) -> Result<Tensors, Error> {
    let file_len = bytes.len() as u64;
    let mut tensors = Tensors::new(name.to_owned());
    let mut ranges = Vec::with_capacity(infos.len());
    for Info { name: tensor, at, dtype, shape, offset, len_bytes } in infos {
        if !offset.is_multiple_of(alignment) {
            return Err(Error::Field {
                file: name.to_owned(),
                what: format!("tensor {tensor}: data offset in the info"),
                offset: at,
                found: offset.to_string(),
                expected: "a multiple of general.alignment",
            });
        }
        let start = data_start.saturating_add(offset);
        let end = start.saturating_add(len_bytes);
        if end > file_len {
            let file = name.to_owned();
            return Err(Error::Range { file, tensor, start, end, start_of_data: data_start, len: file_len });
        }
        ranges.push((start, end, tensors.len()));
        let data = bytes.slice(start as usize..end as usize);
        if !tensors.push(TensorView { name: tensor.clone(), dtype, shape, data }) {
            return Err(Error::Duplicate { file: name.to_owned(), what: "tensor", name: tensor });
        }
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let ((_, other_end, other), (offset, _, tensor)) = (pair[0], pair[1]);
        if offset < other_end {
            let called = |at: usize| tensors.at(at).name.clone();
            return Err(Error::Overlap {
                file: name.to_owned(),
                tensor: called(tensor),
                offset,
                other: called(other),
                other_end,
            });
        }
    }
    Ok(tensors)
}
