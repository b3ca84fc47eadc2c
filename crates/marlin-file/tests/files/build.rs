//! Builders of files, right and wrong: they write what they are told and check nothing.

use bytes::Bytes;
use marlin_file::Error;

/// The text of an error that must have happened.
pub fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.expect_err("this must be refused").to_string()
}

/// A safetensors file of this header and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// A safetensors file of tensors that lie one after the other: name, dtype, shape, bytes.
pub fn tensors(list: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
    tensors_with(list, "")
}

/// As [`tensors`], with text such as `"__metadata__":{},` at the head of the header.
pub fn tensors_with(list: &[(&str, &str, &[usize], &[u8])], head: &str) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in list {
        let (start, end) = (data.len(), data.len() + bytes.len());
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
        data.extend_from_slice(bytes);
    }
    safetensors(&format!("{{{head}{}}}", entries.join(",")), &data)
}

/// Little-endian f32 bytes.
pub fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A GGUF file being built. Fields may be set to lies before [`GgufFile::bytes`].
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub key_count: Option<u64>,
    pub alignment: usize,
    keys: Vec<Vec<u8>>,
    infos: Vec<Vec<u8>>,
    data: Vec<u8>,
}

pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl GgufFile {
    pub fn new() -> Self {
        GgufFile {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            alignment: 32,
            keys: Vec::new(),
            infos: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Adds a key whose value is these bytes of type number `kind`.
    pub fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&string(name)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    /// Adds a tensor info; dims fastest first.
    pub fn info(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let mut info = string(name);
        info.extend_from_slice(&(dims.len() as u32).to_le_bytes());
        info.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        info.extend_from_slice(&kind.to_le_bytes());
        info.extend_from_slice(&offset.to_le_bytes());
        self.infos.push(info);
        self
    }

    /// Adds a tensor info and its data, aligned.
    pub fn tensor(self, name: &str, dims: &[u64], kind: u32, data: &[u8]) -> Self {
        let offset = self.data.len().next_multiple_of(self.alignment);
        let mut file = self.info(name, dims, kind, offset as u64);
        file.data.resize(offset, 0);
        file.data.extend_from_slice(data);
        file
    }

    /// Adds data that no info describes.
    pub fn data(mut self, data: &[u8]) -> Self {
        self.data.extend_from_slice(data);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.tensor_count.unwrap_or(self.infos.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.infos.concat());
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend_from_slice(&self.data);
        bytes
    }

    pub fn parse(&self) -> Result<marlin_file::Gguf, Error> {
        parse_gguf(self.bytes())
    }
}

pub fn parse_gguf(bytes: Vec<u8>) -> Result<marlin_file::Gguf, Error> {
    marlin_file::Gguf::from_bytes("f.gguf", Bytes::from(bytes))
}

pub fn parse_safetensors(bytes: Vec<u8>) -> Result<marlin_file::Safetensors, Error> {
    marlin_file::Safetensors::from_bytes("f.safetensors", Bytes::from(bytes))
}
