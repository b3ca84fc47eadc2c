//! The journal of a run that can be continued: what it is a run of, and what it has done.
//!
//! ```text
//!  .journal/facts   one line of JSON for the facts of the run, then one for each note
//!  .journal/...     working files
//! ```
//!
//! A line counts when it is whole: a note is on the disk, and what it speaks of before it, or it is
//! not there.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::partial::sync_dir;
use crate::{Error, source};

const DIR_NAME: &str = ".journal";
const FILE_NAME: &str = "facts";
/// Far above what a model of a million tensors notes.
const MAX_JOURNAL_BYTES: u64 = 1 << 30;

/// The first fact in which what was `found` is not what was `expected`: its name, and both in words.
pub fn differing_fact(
    found: &Map<String, Value>,
    expected: &Map<String, Value>,
) -> Option<(String, String, String)> {
    let differs = |key: &&String| found.get(*key) != expected.get(*key);
    let key = found.keys().chain(expected.keys()).find(differs)?;
    let text = |facts: &Map<String, Value>| facts.get(key).map_or("nothing".to_owned(), Value::to_string);
    Some((key.clone(), text(found), text(expected)))
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    facts: Map<String, Value>,
    notes: Vec<Value>,
}

impl Journal {
    /// Begins one in the directory `partial`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(partial: &Path, facts: &Map<String, Value>) -> Result<Journal, Error> {
        let dir = partial.join(DIR_NAME);
        fs::create_dir(&dir).map_err(|source| Error::io("create", &dir, source))?;
        let path = dir.join(FILE_NAME);
        let file = File::create_new(&path).map_err(|source| Error::io("create", &path, source))?;
        let mut journal = Journal { dir, file, facts: facts.clone(), notes: Vec::new() };
        journal.line(&Value::Object(facts.clone()))?;
        sync_dir(&journal.dir)?;
        sync_dir(partial)?;
        Ok(journal)
    }

    /// The one in the directory `partial`; `None` if there is none, or its first line is not whole.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Limit`], or [`Error::Json`] for a whole line that is not what we write.
    pub fn find(partial: &Path) -> Result<Option<Journal>, Error> {
        let dir = partial.join(DIR_NAME);
        let path = dir.join(FILE_NAME);
        let bytes = match source::read(&path, MAX_JOURNAL_BYTES) {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let wrap = |source| Error::Json { file: path.display().to_string(), what: "journal", source };
        let mut lines = bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let Some(first) = lines.next() else { return Ok(None) };
        let facts = serde_json::from_slice(first).map_err(wrap)?;
        let notes = lines.map(serde_json::from_slice).collect::<Result<_, _>>().map_err(wrap)?;
        let file = OpenOptions::new().append(true).open(&path);
        // What was half written goes, so that the next line starts where a line starts.
        let file = file.and_then(|file| file.set_len(whole as u64).map(|()| file));
        let file = file.map_err(|source| Error::io("open", &path, source))?;
        Ok(Some(Journal { dir, file, facts, notes }))
    }

    /// Removes the one in `partial` with all working files.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(partial: &Path) -> Result<(), Error> {
        let dir = partial.join(DIR_NAME);
        fs::remove_dir_all(&dir).map_err(|source| Error::io("remove", &dir, source))
    }

    /// Whether it is one of a run of these facts.
    ///
    /// # Errors
    /// [`Error::OtherRun`] with the first fact that differs.
    pub fn check(&self, partial: &Path, run: Option<&Map<String, Value>>) -> Result<(), Error> {
        match differing_fact(&self.facts, run.unwrap_or(&Map::new())) {
            None => Ok(()),
            Some((what, found, expected)) => {
                Err(Error::OtherRun { partial: partial.to_owned(), what, found, expected })
            }
        }
    }

    /// All notes, in order.
    pub fn notes(&self) -> &[Value] {
        &self.notes
    }

    /// Adds a note.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note(&mut self, note: Value) -> Result<(), Error> {
        sync_dir(&self.dir)?;
        self.line(&note)?;
        self.notes.push(note);
        Ok(())
    }

    /// The path of a working file.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn line(&mut self, value: &Value) -> Result<(), Error> {
        let written = self.file.write_all(format!("{value}\n").as_bytes());
        let written = written.and_then(|()| self.file.sync_all());
        written.map_err(|source| Error::io("write", &self.dir.join(FILE_NAME), source))
    }
}
