//! The directory in which a model grows until it is whole: beside the target, hidden, locked.
//!
//! ```text
//!  parent/.NAME.partial-PID/           while writing; the directory itself is locked
//!  parent/.NAME.partial-PID/.journal/  of a run that can be continued: see `journal.rs`
//!  parent/NAME/                        after the rename, which is the only step that others can see
//!  parent/NAME                         a model of one file, moved out of the directory
//! ```
//!
//! A directory whose lock nobody holds was left by an interrupted run. The next run continues it if
//! it has a journal of the same facts, and removes it otherwise. Where directories cannot be locked
//! (Windows), open files cannot be removed either, so a living run is safe there too.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::journal::Journal;
use crate::Error;

/// A directory being filled. Dropped before it has its name, it is removed, unless its journal says
/// that there is something to continue.
#[derive(Debug)]
pub struct Partial {
    target: PathBuf,
    dir: PathBuf,
    /// Held as long as the value lives; it stays with the directory through the rename.
    _lock: Option<File>,
    published: bool,
    journal: Option<Journal>,
    leftovers: Vec<PathBuf>,
}

impl Partial {
    /// Makes the directory beside `target`, after removing what interrupted runs left there.
    ///
    /// With the facts of a `run` (source, options: all that decides the result) it keeps a journal, and
    /// takes over the directory of an interrupted run of the same facts. One of other facts is an
    /// error, unless `restart` says to remove it.
    ///
    /// # Errors
    /// [`Error::Target`], [`Error::Exists`], [`Error::Busy`], [`Error::OtherRun`] or [`Error::Io`].
    pub fn open(target: &Path, run: Option<Map<String, Value>>, restart: bool) -> Result<Self, Error> {
        let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::Target { path: target.to_owned() });
        };
        if target.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: target.to_owned() });
        }
        let parent = parent(target);
        fs::create_dir_all(parent).map_err(|source| Error::io("create", parent, source))?;
        let prefix = format!(".{name}.partial-");
        let mut leftovers = Vec::new();
        for (dir, lock) in abandoned(target, parent, &prefix)? {
            if let Some(journal) = Journal::find(&dir)?.filter(|_| !restart) {
                journal.check(&dir, run.as_ref())?;
                let (target, journal) = (target.to_owned(), Some(journal));
                return Ok(Partial { target, dir, _lock: lock, published: false, journal, leftovers });
            }
            fs::remove_dir_all(&dir).map_err(|source| Error::io("remove", &dir, source))?;
            leftovers.push(dir);
        }
        let dir = parent.join(format!("{prefix}{}", std::process::id()));
        fs::create_dir(&dir).map_err(|source| Error::io("create", &dir, source))?;
        // Only from here on is there a directory that an error may remove.
        let mut partial = Partial {
            target: target.to_owned(),
            dir,
            _lock: None,
            published: false,
            journal: None,
            leftovers,
        };
        partial._lock = lock(&partial.dir)?;
        partial.journal = run.map(|facts| Journal::create(&partial.dir, &facts)).transpose()?;
        Ok(partial)
    }

    /// Where the files go.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the directory will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Directories that interrupted runs had left and that were removed.
    pub fn leftovers(&self) -> &[PathBuf] {
        &self.leftovers
    }

    /// What the journal holds, in order; nothing for a run that begins, or has none.
    pub fn notes(&self) -> &[Value] {
        self.journal.as_ref().map_or(&[], Journal::notes)
    }

    /// Adds a note to the journal, on the disk before this returns. Panics if there is no journal.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note(&mut self, note: Value) -> Result<(), Error> {
        sync_dir(&self.dir)?;
        self.journal.as_mut().expect("a partial directory opened with a run has a journal").note(note)
    }

    /// The path of a working file that goes when the model is whole. Panics if there is no journal.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.journal.as_ref().expect("a partial directory opened with a run has a journal").scratch(name)
    }

    /// Gives the directory, whose files are synced, its name.
    ///
    /// # Errors
    /// [`Error::Exists`] if the target has appeared meanwhile, or [`Error::Io`].
    pub(super) fn publish(mut self) -> Result<(), Error> {
        sync_dir(&self.dir)?;
        if self.target.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: self.target.clone() });
        }
        // Renaming onto a file or a filled directory fails, so a race loses nothing.
        let renamed = fs::rename(&self.dir, &self.target);
        renamed.map_err(|source| Error::io("rename to its name", &self.dir, source))?;
        self.published = true;
        if self.journal.is_some() {
            // Last: until the model has its name, an interrupted run needs it.
            Journal::remove(&self.target)?;
        }
        sync_dir(parent(&self.target))
    }

    /// Gives the one file in the directory, which is synced, the name; the directory goes.
    ///
    /// # Errors
    /// As [`Partial::publish`].
    pub(super) fn publish_file(self, file: &str) -> Result<(), Error> {
        let (from, target) = (self.dir.join(file), &self.target);
        // A link is never made over a file that appeared meanwhile. Not every file system has links.
        let linked = fs::hard_link(&from, target);
        if target.symlink_metadata().is_ok() {
            linked.map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => Error::Exists { path: target.clone() },
                _ => Error::io("link to its name", &from, source),
            })?;
        } else {
            fs::rename(&from, target).map_err(|source| Error::io("rename to its name", &from, source))?;
        }
        sync_dir(parent(target))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published && self.notes().is_empty() {
            // Nothing can be done about a failure here; the next run finds the directory and says so.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Directories of runs that no longer live, with their locks; a living one is an error.
fn abandoned(target: &Path, parent: &Path, prefix: &str) -> Result<Vec<(PathBuf, Option<File>)>, Error> {
    let mut found = Vec::new();
    let entries = fs::read_dir(parent).map_err(|source| Error::io("list", parent, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::io("list", parent, source))?;
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if !ours.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let dir = entry.path();
        let lock = lock(&dir)?;
        if cfg!(unix) && lock.is_none() {
            return Err(Error::Busy { path: target.to_owned(), partial: dir });
        }
        found.push((dir, lock));
    }
    Ok(found)
}

/// Locks a directory; `None` if another process has, or where the system cannot lock directories.
fn lock(dir: &Path) -> Result<Option<File>, Error> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let file = File::open(dir).map_err(|source| Error::io("open", dir, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", dir, source)),
    }
}

/// The directory that `path` is in; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a directory durable, where the system has a way to.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| Error::io("sync", dir, source))?;
    }
    Ok(())
}
