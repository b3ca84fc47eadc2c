//! Checked views of tensors, and the list of them that every container ends up as.
//!
//! A [`TensorView`] exists only if its bytes are exactly what its dtype and shape need.

use std::collections::HashMap;

use bytes::Bytes;

use crate::source::Mapping;
use crate::{Dtype, Error};

/// One tensor of a file: its bytes are a window of the mapped file.
#[derive(Clone, Debug)]
pub struct TensorView {
    /// Name in the file.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Dimensions, outermost first (a matrix is `[rows, cols]`), for GGUF too.
    pub shape: Vec<usize>,
    /// Exactly `dtype.len_bytes(shape)` bytes, little endian.
    pub data: Bytes,
}

/// The tensors of a checkpoint in file order, found by name.
#[derive(Clone, Debug)]
pub struct Tensors {
    /// Where they come from, for errors.
    source: String,
    list: Vec<TensorView>,
    index: HashMap<String, usize>,
    /// The files the bytes are windows of; none for bytes in memory.
    mappings: Vec<Mapping>,
}

impl Tensors {
    pub(crate) fn new(source: String) -> Self {
        Tensors { source, list: Vec::new(), index: HashMap::new(), mappings: Vec::new() }
    }

    /// Adds a tensor; false if the name is taken.
    pub(crate) fn push(&mut self, tensor: TensorView) -> bool {
        let free = !self.index.contains_key(&tensor.name);
        if free {
            self.index.insert(tensor.name.clone(), self.list.len());
            self.list.push(tensor);
        }
        free
    }

    /// Takes note of a file that tensors are windows of.
    pub(crate) fn own(&mut self, mapping: Mapping) {
        self.mappings.push(mapping);
    }

    /// Takes note of the files of `other`, whose tensors were pushed here.
    pub(crate) fn adopt(&mut self, other: &Tensors) {
        self.mappings.extend_from_slice(&other.mappings);
    }

    /// Lets the system take back the memory that reading the tensor `name` took. It can be read again.
    pub fn release(&self, name: &str) {
        if let Some(tensor) = self.find(name) {
            self.mappings.iter().for_each(|mapping| mapping.release(&tensor.data));
        }
    }

    pub(crate) fn at(&self, at: usize) -> &TensorView {
        &self.list[at]
    }

    /// What the tensors were read from: a path.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All tensors, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, TensorView> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The tensor called `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<&TensorView> {
        self.index.get(name).map(|&at| &self.list[at])
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::NoTensor`].
    pub fn get(&self, name: &str) -> Result<&TensorView, Error> {
        self.find(name).ok_or_else(|| self.missing(name))
    }

    /// The error that says that `name` is not here.
    pub(crate) fn missing(&self, name: &str) -> Error {
        let (file, tensor) = (self.source.clone(), name.to_owned());
        Error::NoTensor { file, tensor, tensors: self.list.len() }
    }
}

impl<'a> IntoIterator for &'a Tensors {
    type Item = &'a TensorView;
    type IntoIter = std::slice::Iter<'a, TensorView>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
