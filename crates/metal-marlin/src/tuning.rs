//! Tunings of this machine's devices, kept in the user's cache directory, a file for each device and
//! driver: `<cache>/metal-marlin/tuning/<device>-<hash>.json`. `MARLIN_CACHE` stands for
//! `<cache>/metal-marlin` where it is set.
//!
//! A file is only ever replaced as a whole. One that is damaged, or was measured for another version,
//! device or driver, is as good as none.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use marlin_gpu::{GpuInfo, Tuning, tuning::fingerprint};
use serde::{Deserialize, Serialize};

use crate::output::Output;

/// Bytes of a file at most; one takes about 1000.
const MOST_BYTES: u64 = 64 << 10;

/// A tuning with what it was measured for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// The program's version.
    program: String,
    /// [`Tuning::fingerprint`], in hexadecimal.
    variants: String,
    device: String,
    backend: String,
    driver: String,
    tuning: Tuning,
}

/// What there is for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was measured.
    Tuned(Tuning),
    /// There is no file.
    None,
    /// There is one that does not hold, for this reason.
    Unusable(String),
}

impl Record {
    fn new(info: &GpuInfo, tuning: Tuning) -> Record {
        Record {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            variants: format!("{:016x}", Tuning::fingerprint()),
            device: info.name.clone(),
            backend: info.backend.to_owned(),
            driver: info.driver.clone(),
            tuning,
        }
    }

    /// The tuning, if it holds for a device.
    ///
    /// # Errors
    /// What it was measured for instead, or the value that no kernel has.
    fn tuning_for(&self, info: &GpuInfo) -> Result<Tuning, String> {
        let expected = Record::new(info, self.tuning);
        let pairs = [
            ("version", &self.program, &expected.program),
            ("table of kernels", &self.variants, &expected.variants),
            ("device", &self.device, &expected.device),
            ("backend", &self.backend, &expected.backend),
            ("driver", &self.driver, &expected.driver),
        ];
        if let Some((what, found, expected)) = pairs.iter().find(|(_, found, expected)| found != expected) {
            return Err(format!("was measured with {what} {found}, expected {expected}"));
        }
        self.tuning.check().map_err(|error| error.to_string())?;
        Ok(self.tuning)
    }
}

/// The directory of tunings; `None` where the system has none for caches.
pub fn directory() -> Option<PathBuf> {
    let own = std::env::var_os("MARLIN_CACHE").filter(|value| !value.is_empty());
    let base = own.map(PathBuf::from).or_else(|| Some(dirs::cache_dir()?.join("metal-marlin")))?;
    Some(base.join("tuning"))
}

/// The file of a device, in a directory of tunings.
pub fn path(directory: &Path, info: &GpuInfo) -> PathBuf {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = info.name.chars().take(48).map(letter).collect();
    let hash = fingerprint(&format!("{}\n{}\n{}", info.name, info.backend, info.driver));
    directory.join(format!("{name}-{hash:016x}.json"))
}

/// What there is for a device in a directory of tunings.
pub fn read(directory: &Path, info: &GpuInfo) -> State {
    let path = path(directory, info);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
    let unusable = |reason: String| State::Unusable(format!("{}: {reason}", path.display()));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return State::None,
        Err(error) => return unusable(error.to_string()),
        Ok(_) => {}
    }
    let record = serde_json::from_str::<Record>(&text).map_err(|error| error.to_string());
    match record.and_then(|record| record.tuning_for(info)) {
        Ok(tuning) => State::Tuned(tuning),
        Err(reason) => unusable(reason),
    }
}

/// Keeps a device's tuning in a directory of tunings, which is made if need be.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &Path, info: &GpuInfo, tuning: Tuning) -> anyhow::Result<PathBuf> {
    let path = path(directory, info);
    let keep = || -> anyhow::Result<()> {
        fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(serde_json::to_string_pretty(&Record::new(info, tuning))?.as_bytes())?;
        file.persist(&path)?;
        Ok(())
    };
    keep().with_context(|| path.display().to_string())?;
    Ok(path)
}

/// What there is for a device in the user's cache directory.
pub fn state(info: &GpuInfo) -> State {
    directory().map_or(State::None, |directory| read(&directory, info))
}

/// The tuning to play with on a device: what was measured, else the default, with a note where there is
/// a file that does not hold.
pub fn load(info: &GpuInfo, output: Output) -> Tuning {
    match state(info) {
        State::Tuned(tuning) => tuning,
        State::None => Tuning::default(),
        State::Unusable(reason) => {
            output.note(format!("tuning ignored: {reason}; `metal-marlin tune` measures it again"));
            Tuning::default()
        }
    }
}

#[cfg(test)]
mod tests;
