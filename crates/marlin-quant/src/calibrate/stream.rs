//! The residual stream of all tokens between two stages, in a file beside the model being written.
//!
//! Little-endian f32, a row a token. The system keeps the file in memory while there is room, so a
//! small stream never waits for the disk and a large one needs no memory of ours; and whoever
//! continues an interrupted run finds it.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use marlin_file::Error;

/// A stream being written.
#[derive(Debug)]
pub(super) struct StreamWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl StreamWriter {
    /// Begins a file, in the place of what may be left of one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: PathBuf) -> Result<StreamWriter, Error> {
        match File::create(&path) {
            Ok(file) => Ok(StreamWriter { path, file: BufWriter::new(file) }),
            Err(source) => Err(Error::Io { doing: "create", path, source }),
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn push(&mut self, values: &[f32]) -> Result<(), Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let written = self.file.write_all(&bytes);
        written.map_err(|source| Error::Io { doing: "write", path: self.path.clone(), source })
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<(), Error> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|source| Error::Io { doing: "sync", path: self.path, source })
    }
}

/// Removes a stream that nobody needs any more. A failure to do so is no failure of the run.
pub(super) fn discard(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// A stream being read from its start.
#[derive(Debug)]
pub(super) struct StreamReader {
    path: PathBuf,
    file: BufReader<File>,
}

impl StreamReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<StreamReader, Error> {
        match File::open(path) {
            Ok(file) => Ok(StreamReader { path: path.to_owned(), file: BufReader::new(file) }),
            Err(source) => Err(Error::Io { doing: "open", path: path.to_owned(), source }),
        }
    }

    /// Goes to value `at` of the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn seek(&mut self, at: usize) -> Result<(), Error> {
        let sought = self.file.seek(SeekFrom::Start(4 * at as u64));
        sought.map(drop).map_err(|source| Error::Io { doing: "seek", path: self.path.clone(), source })
    }

    /// The next `count` values.
    ///
    /// # Errors
    /// [`Error::Io`], also when the file ends before.
    pub fn next(&mut self, count: usize) -> Result<Vec<f32>, Error> {
        let mut bytes = vec![0; 4 * count];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(|source| Error::Io { doing: "read", path: self.path.clone(), source })?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }
}
