//! Which tensor goes to which shard and offset: decided before a byte is written, from the list of
//! tensors alone, so the same list always gives the same files.
//!
//! Tensors fill shards in the order of the list; all tensors of a weight stay in one shard. Inside a
//! shard wider dtypes come first, and the data begins on a multiple of 64, so every tensor is aligned
//! to its dtype, as safetensors leaves no room for padding.

use std::collections::HashMap;

use marlin_format::{Format, Layout};
use serde_json::{Map, Value, json};

use crate::safetensors::{FORMATS_KEY, MAX_HEADER_BYTES, SINGLE_NAME};
use crate::stored::{Part, Stored, stored};
use crate::{Dtype, Error};

/// What the data of a shard is aligned to, by spaces after the header.
const DATA_ALIGNMENT: usize = 64;

/// One thing to be written.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Of a matrix: its name without `.weight`. Of a plain tensor: the whole name.
    pub name: String,
    /// What it is.
    pub content: Content,
}

/// What is to be written under a name.
#[derive(Clone, Debug)]
pub enum Content {
    /// A matrix in a weight format.
    Matrix {
        /// The format.
        format: &'static dyn Format,
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
    },
    /// A tensor of any shape, stored as it is.
    Plain {
        /// Type of its elements.
        dtype: Dtype,
        /// Dimensions, outermost first.
        shape: Vec<usize>,
    },
}

impl Planned {
    /// At least the bytes that its entries take in the header.
    fn header_estimate(&self) -> usize {
        const SUFFIX_DTYPE_SHAPE_AND_OFFSETS: usize = 160;
        // Twice the name: the entry's, and the one in the list of formats.
        self.content.tensors().len() * (SUFFIX_DTYPE_SHAPE_AND_OFFSETS + 2 * self.name.len())
    }
}

impl Content {
    /// Bytes in the file, header not counted; `None` where the number overflows.
    pub fn len_bytes(&self) -> Option<usize> {
        match self {
            Content::Plain { dtype, shape } => dtype.len_bytes(shape),
            Content::Matrix { format, rows, cols } => {
                // Eight bytes a value are more than any format needs.
                rows.checked_mul(*cols)?.checked_mul(8)?;
                let tensors = stored(*format, *rows, *cols)?;
                tensors
                    .iter()
                    .try_fold(0usize, |sum, part| sum.checked_add(part.dtype.len_bytes(&part.shape)?))
            }
        }
    }

    /// The tensors it becomes in the file.
    fn tensors(&self) -> Vec<Stored> {
        match self {
            Content::Plain { dtype, shape } => {
                vec![Stored { part: Part::Codes, suffix: "", dtype: *dtype, shape: shape.clone() }]
            }
            Content::Matrix { format, rows, cols } => stored(*format, *rows, *cols).unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Plain { dtype, shape } => write!(out, "{dtype} {shape:?}"),
            Content::Matrix { format, rows, cols } => write!(out, "{} [{rows}, {cols}]", format.name()),
        }
    }
}

/// Where one tensor's bytes go.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub part: Part,
    /// From the start of the shard's file.
    pub offset: u64,
    pub len: usize,
}

/// One thing to be written and where.
#[derive(Debug)]
pub(super) struct Slot {
    pub content: Content,
    pub shard: usize,
    pub places: Vec<Place>,
    pub written: bool,
}

/// One file to be written.
#[derive(Debug)]
pub(super) struct Shard {
    pub name: String,
    /// Length, JSON and padding.
    pub header: Vec<u8>,
    pub len: u64,
}

/// All of a model's tensor files.
#[derive(Debug)]
pub(super) struct Layouts {
    pub shards: Vec<Shard>,
    pub slots: HashMap<String, Slot>,
    /// The index; `None` if there is one shard only.
    pub index: Option<Value>,
}

/// Plans the files of `planned`, none longer than `shard_bytes` unless one weight alone is.
pub(super) fn plan(planned: &[Planned], shard_bytes: u64) -> Result<Layouts, Error> {
    let groups = fill(planned, shard_bytes)?;
    let count = groups.len();
    let name_of = |at: usize| match count {
        1 => SINGLE_NAME.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
    };
    let mut layouts = Layouts { shards: Vec::new(), slots: HashMap::new(), index: None };
    let (mut weight_map, mut total) = (Map::new(), 0u64);
    for (at, group) in groups.into_iter().enumerate() {
        let shard = lay_out(group, at, name_of(at), &mut layouts.slots, &mut weight_map)?;
        total += shard.len - shard.header.len() as u64;
        layouts.shards.push(shard);
    }
    if count > 1 {
        layouts.index = Some(json!({ "metadata": { "total_size": total }, "weight_map": weight_map }));
    }
    Ok(layouts)
}

/// The list cut into shards.
fn fill(planned: &[Planned], shard_bytes: u64) -> Result<Vec<&[Planned]>, Error> {
    let (mut groups, mut start, mut filled) = (Vec::new(), 0, 0u64);
    for (at, item) in planned.iter().enumerate() {
        let bytes = item.content.len_bytes().ok_or_else(|| overflow(item))?;
        let len = (bytes + item.header_estimate()) as u64;
        if at > start && filled.saturating_add(len) > shard_bytes {
            groups.push(&planned[start..at]);
            (start, filled) = (at, 0);
        }
        filled = filled.saturating_add(len);
    }
    groups.push(&planned[start..]);
    Ok(groups)
}

fn overflow(item: &Planned) -> Error {
    let found = item.content.to_string();
    Error::Differs { tensor: item.name.clone(), found, planned: "something that a file can hold".into() }
}

/// Gives every tensor of one shard its offset, and writes the header that says so.
fn lay_out(
    group: &[Planned],
    shard: usize,
    file: String,
    slots: &mut HashMap<String, Slot>,
    weight_map: &mut Map<String, Value>,
) -> Result<Shard, Error> {
    let mut tensors = Vec::new();
    for item in group {
        let slot = Slot { content: item.content.clone(), shard, places: Vec::new(), written: false };
        if slots.insert(item.name.clone(), slot).is_some() {
            return Err(Error::Duplicate { file, what: "planned tensor", name: item.name.clone() });
        }
        tensors.extend(item.content.tensors().into_iter().map(|tensor| (item, tensor)));
    }
    // A stable sort: equal widths stay in the order of the list.
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype.block_bytes()));

    let mut entries = Map::new();
    let formats: Map<String, Value> = group.iter().filter_map(stored_format).collect();
    let mut metadata = Map::new();
    metadata.insert("format".into(), "pt".into());
    if !formats.is_empty() {
        metadata.insert(FORMATS_KEY.into(), Value::Object(formats).to_string().into());
    }
    entries.insert("__metadata__".into(), metadata.into());
    let mut end = 0usize;
    for (item, tensor) in &tensors {
        let start = end;
        let len = tensor.dtype.len_bytes(&tensor.shape).ok_or_else(|| overflow(item))?;
        end = start.checked_add(len).ok_or_else(|| overflow(item))?;
        let name = match tensor.suffix {
            "" => item.name.clone(),
            suffix => format!("{}.{suffix}", item.name),
        };
        let entry = json!({
            "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [start, end]
        });
        if weight_map.insert(name.clone(), file.clone().into()).is_some() {
            return Err(Error::Duplicate { file, what: "planned tensor", name });
        }
        entries.insert(name, entry);
        if let Some(slot) = slots.get_mut(&item.name) {
            slot.places.push(Place { part: tensor.part, offset: start as u64, len });
        }
    }
    let header = header_bytes(&file, &Value::Object(entries))?;
    for item in group {
        for place in slots.get_mut(&item.name).into_iter().flat_map(|slot| &mut slot.places) {
            place.offset += header.len() as u64;
        }
    }
    let len = header.len() as u64 + end as u64;
    Ok(Shard { name: file, header, len })
}

/// Name and format of a quantized matrix; dense ones say enough by their dtype.
fn stored_format(item: &Planned) -> Option<(String, Value)> {
    match &item.content {
        Content::Matrix { format, .. } if !matches!(format.layout(), Layout::Dense { .. }) => {
            Some((item.name.clone(), format.name().into()))
        }
        _ => None,
    }
}

fn header_bytes(file: &str, entries: &Value) -> Result<Vec<u8>, Error> {
    let json = entries.to_string();
    let padded = (json.len() + 8).next_multiple_of(DATA_ALIGNMENT) - 8;
    if padded as u64 > MAX_HEADER_BYTES {
        let (file, what) = (file.to_owned(), "header length in bytes");
        return Err(Error::Limit { file, what, found: padded as u64, limit: MAX_HEADER_BYTES });
    }
    let mut bytes = (padded as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(8 + padded, b' ');
    Ok(bytes)
}
