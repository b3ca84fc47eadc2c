//! `model.safetensors.index.json`: which shard holds which tensor, checked against the shards.
//!
//! Shards are plain file names beside the index, so an index cannot name a file elsewhere. A shard
//! may be a symlink: model hub caches consist of them.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{INDEX_NAME, MAX_INDEX_BYTES, Safetensors};
use crate::{Error, Tensors, source};

#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

/// Tensor name to shard name in the order of the file, duplicates kept.
struct WeightMap(Vec<(String, String)>);

pub(super) fn open(dir: &Path) -> Result<Safetensors, Error> {
    let path = dir.join(INDEX_NAME);
    let file = path.display().to_string();
    let bytes = source::read(&path, MAX_INDEX_BYTES)?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        file: file.clone(),
        what: "index",
        source,
    })?;
    let entries = index.weight_map.0;
    let shards = shard_names(&file, &entries)?;

    let mut all = Safetensors {
        tensors: Tensors::new(dir.display().to_string()),
        metadata: Default::default(),
        formats: HashMap::new(),
        len_bytes: 0,
    };
    let mut home: HashMap<String, &str> = HashMap::new();
    for (shard, tensors) in &shards {
        let path = dir.join(shard);
        if !path.is_symlink() && !path.exists() {
            let shard = (*shard).to_owned();
            return Err(Error::ShardMissing { file, shard, tensors: *tensors });
        }
        let part = Safetensors::open(&path)?;
        for tensor in &part.tensors {
            if let Some(first) = home.insert(tensor.name.clone(), shard) {
                let (tensor, first) = (tensor.name.clone(), first.to_owned());
                return Err(Error::ShardsShare { file, tensor, first, second: (*shard).to_owned() });
            }
            all.tensors.push(tensor.clone());
        }
        all.tensors.adopt(&part.tensors);
        if all.metadata.is_empty() {
            all.metadata = part.metadata;
        }
        all.formats.extend(part.formats);
        all.len_bytes += part.len_bytes;
    }
    for (tensor, shard) in &entries {
        if home.get(tensor).copied() != Some(shard) {
            return Err(Error::ShardLacks { file, shard: shard.clone(), tensor: tensor.clone() });
        }
    }
    Ok(all)
}

/// The shards in order of first mention, each with the number of tensors the index puts in it.
fn shard_names<'a>(file: &str, entries: &'a [(String, String)]) -> Result<Vec<(&'a str, usize)>, Error> {
    let mut shards: Vec<(&str, usize)> = Vec::new();
    let mut at: HashMap<&str, usize> = HashMap::new();
    let mut seen: HashMap<&str, ()> = HashMap::with_capacity(entries.len());
    for (tensor, shard) in entries {
        if seen.insert(tensor, ()).is_some() {
            let (file, name) = (file.to_owned(), tensor.clone());
            return Err(Error::Duplicate { file, what: "weight_map entry", name });
        }
        let plain = !shard.contains(['/', '\\', ':', '\0']) && !shard.starts_with('.');
        if !plain || !shard.ends_with(".safetensors") {
            let (shard, tensor) = (shard.clone(), tensor.clone());
            return Err(Error::ShardName { file: file.to_owned(), shard, tensor });
        }
        let slot = *at.entry(shard).or_insert(shards.len());
        if slot == shards.len() {
            shards.push((shard, 0));
        }
        shards[slot].1 += 1;
    }
    Ok(shards)
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WeightMapVisitor)
    }
}

struct WeightMapVisitor;

impl<'de> Visitor<'de> for WeightMapVisitor {
    type Value = WeightMap;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of tensor name to shard name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(WeightMap(entries))
    }
}
