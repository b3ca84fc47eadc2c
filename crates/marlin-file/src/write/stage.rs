//! The directory in which a model grows until it is whole: beside the target, hidden, locked.
//!
//! ```text
//!  parent/.NAME.partial-PID/     while writing; the directory itself is locked
//!  parent/NAME/                  after the rename, which is the only step that others can see
//! ```
//!
//! A directory whose lock nobody holds was left by an interrupted run; the next run removes it.
//! Where directories cannot be locked (Windows), open files cannot be removed either, so a living
//! run is safe there too.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::Error;

/// A directory being filled; removed when dropped before [`Stage::publish`].
#[derive(Debug)]
pub(super) struct Stage {
    target: PathBuf,
    dir: PathBuf,
    /// Held as long as the stage lives; it stays with the directory through the rename.
    _lock: Option<File>,
    published: bool,
    /// What interrupted runs had left, removed.
    pub leftovers: Vec<PathBuf>,
}

impl Stage {
    /// Makes the directory beside `target`, after removing what interrupted runs left there.
    ///
    /// # Errors
    /// [`Error::Target`], [`Error::Exists`], [`Error::Busy`] or [`Error::Io`].
    pub fn create(target: &Path) -> Result<Self, Error> {
        let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::Target { path: target.to_owned() });
        };
        if target.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: target.to_owned() });
        }
        let parent = parent(target);
        fs::create_dir_all(parent).map_err(|source| Error::io("create", parent, source))?;
        let prefix = format!(".{name}.partial-");
        let leftovers = remove_leftovers(target, parent, &prefix)?;

        let dir = parent.join(format!("{prefix}{}", std::process::id()));
        fs::create_dir(&dir).map_err(|source| Error::io("create", &dir, source))?;
        let lock = lock(&dir)?;
        Ok(Stage { target: target.to_owned(), dir, _lock: lock, published: false, leftovers })
    }

    /// Where the files go.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the directory will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the directory, whose files are synced, its name.
    ///
    /// # Errors
    /// [`Error::Exists`] if the target has appeared meanwhile, or [`Error::Io`].
    pub fn publish(mut self) -> Result<(), Error> {
        sync_dir(&self.dir)?;
        if self.target.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: self.target.clone() });
        }
        // Renaming onto a file or a filled directory fails, so a race loses nothing.
        let renamed = fs::rename(&self.dir, &self.target);
        renamed.map_err(|source| Error::io("rename to its name", &self.dir, source))?;
        self.published = true;
        sync_dir(parent(&self.target))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.published {
            // Nothing can be done about a failure here; the next run finds the directory and says so.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Removes directories of runs that no longer live; a living one is an error.
fn remove_leftovers(target: &Path, parent: &Path, prefix: &str) -> Result<Vec<PathBuf>, Error> {
    let mut leftovers = Vec::new();
    let entries = fs::read_dir(parent).map_err(|source| Error::io("list", parent, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::io("list", parent, source))?;
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if !ours.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let dir = entry.path();
        if cfg!(unix) && lock(&dir)?.is_none() {
            return Err(Error::Busy { path: target.to_owned(), partial: dir });
        }
        fs::remove_dir_all(&dir).map_err(|source| Error::io("remove", &dir, source))?;
        leftovers.push(dir);
    }
    Ok(leftovers)
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
fn sync_dir(dir: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| Error::io("sync", dir, source))?;
    }
    Ok(())
}
