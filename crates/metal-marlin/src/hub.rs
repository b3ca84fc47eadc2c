//! From what the user calls a model to a path: a local one, the built-in miniature, or a download.
//!
//! Downloads go to the hub's usual cache and resume where they broke off.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        Progress,
        sync::{ApiBuilder, ApiRepo},
    },
};
use indicatif::ProgressBar;

use crate::{
    miniature,
    output::{Output, Unit},
};

/// Side files a model may have; those it lacks are skipped.
const SIDE_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// Times a broken download is taken up again before it is an error.
const RETRIES: usize = 3;

/// A model on the local disk.
#[derive(Debug)]
pub struct Resolved {
    /// A directory or a file.
    pub path: PathBuf,
    /// Keeps a temporary directory alive.
    pub guard: Option<tempfile::TempDir>,
}

/// Finds `model`: an existing path first, then the miniature's name, then a hub id such as
/// `owner/name`, `owner/name@revision` or `owner/name:file.gguf`.
///
/// # Errors
/// When it is none of these, or cannot be downloaded.
pub fn resolve(model: &str, output: Output) -> anyhow::Result<Resolved> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(Resolved { path: path.to_owned(), guard: None });
    }
    if model == miniature::NAME {
        let guard = miniature::unpack()?;
        return Ok(Resolved { path: guard.path().to_owned(), guard: Some(guard) });
    }
    let Some(id) = HubId::parse(model) else {
        bail!("model {model}: no such file or directory, and no hub id (owner/name)");
    };
    let path = download(&id, output)
        .with_context(|| format!("model {model}: no such file or directory, and as a hub id"))?;
    Ok(Resolved { path, guard: None })
}

/// `owner/name`, optionally with a revision and one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HubId {
    repo: String,
    revision: String,
    file: Option<String>,
}

impl HubId {
    fn parse(text: &str) -> Option<HubId> {
        let (text, file) = match text.split_once(':') {
            Some((text, file)) => (text, Some(file.to_owned())),
            None => (text, None),
        };
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
        };
        let (owner, name) = repo.split_once('/')?;
        let good = part(owner) && part(name) && part(revision) && file.as_deref().is_none_or(part);
        good.then(|| HubId { repo: repo.to_owned(), revision: revision.to_owned(), file })
    }
}

fn download(id: &HubId, output: Output) -> anyhow::Result<PathBuf> {
    let repo = Repo::with_revision(id.repo.clone(), RepoType::Model, id.revision.clone());
    let cache = Cache::from_env().repo(repo.clone());
    let api = ApiBuilder::from_env().with_progress(false).with_retries(RETRIES).build()?.repo(repo);
    let listed = match api.info() {
        Ok(listed) => listed,
        // Without a network, what an earlier run fetched still serves.
        Err(error) => match cache.get(id.file.as_deref().unwrap_or(SIDE_FILES[0])) {
            Some(path) => return model_path(path, id.file.is_some()),
            None => return Err(error).context("listing its files"),
        },
    };
    let names: BTreeSet<String> = listed.siblings.into_iter().map(|file| file.rfilename).collect();
    let wanted = wanted(&names, id.file.as_deref())?;
    let mut first = None;
    for name in &wanted {
        let path = match cache.get(name) {
            Some(path) => path,
            None => fetch(&api, name, output).with_context(|| name.clone())?,
        };
        first.get_or_insert(path);
    }
    model_path(first.context("nothing to download")?, wanted.len() == 1)
}

/// A single file is the model itself; of several, their directory is.
fn model_path(first: PathBuf, single: bool) -> anyhow::Result<PathBuf> {
    if single {
        return Ok(first);
    }
    Ok(first.parent().context("a cached file has no directory")?.to_owned())
}

/// The files of a repository that make up a model: one GGUF, or safetensors with their side files.
fn wanted(names: &BTreeSet<String>, file: Option<&str>) -> anyhow::Result<Vec<String>> {
    if let Some(file) = file {
        if !names.contains(file) {
            bail!("file {file}: not in the repository");
        }
        return Ok(vec![file.to_owned()]);
    }
    let is_shard = |name: &&String| name.ends_with(".safetensors") && !name.contains('/');
    let shards: Vec<String> = names.iter().filter(is_shard).cloned().collect();
    if shards.is_empty() {
        let gguf: Vec<&String> = names.iter().filter(|name| name.ends_with(".gguf")).collect();
        return match gguf.as_slice() {
            [one] => Ok(vec![(*one).clone()]),
            [] => bail!("found neither .safetensors nor .gguf among its {} files", names.len()),
            many => {
                bail!("found {} .gguf files, expected one: name it as owner/name:{}", many.len(), many[0])
            }
        };
    }
    let side = SIDE_FILES.iter().map(|name| (*name).to_owned()).filter(|name| names.contains(name));
    let index = names.get("model.safetensors.index.json").cloned();
    Ok(side.chain(index).chain(shards).collect())
}

fn fetch(repo: &ApiRepo, name: &str, output: Output) -> anyhow::Result<PathBuf> {
    let bar = output.progress(name, 0, Unit::Bytes);
    let path = repo.download_with_progress(name, Bar(bar.clone()))?;
    bar.finish_and_clear();
    Ok(path)
}

/// Shows a download on our progress bar.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn init(&mut self, size: usize, _file: &str) {
        self.0.set_length(size as u64);
        self.0.set_position(0);
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn hub_ids_are_told_from_paths() {
        let id = |repo: &str, revision: &str, file: Option<&str>| {
            Some(HubId { repo: repo.into(), revision: revision.into(), file: file.map(str::to_owned) })
        };
        assert_eq!(HubId::parse("zai-org/GLM-4.7-Flash"), id("zai-org/GLM-4.7-Flash", "main", None));
        assert_eq!(HubId::parse("a/b@v1:m.gguf"), id("a/b", "v1", Some("m.gguf")));
        for path in ["model", "./a/b", "../x", "a/b/c", "a/", "a/b:../c", "a/.b", "a b/c"] {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_model_is_its_shards_or_its_only_gguf() {
        let full =
            names(&["README.md", "config.json", "model.safetensors", "tokenizer.json", "x/y.safetensors"]);
        assert_eq!(wanted(&full, None).unwrap(), ["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(wanted(&names(&["a.gguf", "README.md"]), None).unwrap(), ["a.gguf"]);
        let error = wanted(&names(&["a.gguf", "b.gguf"]), None).unwrap_err().to_string();
        assert_eq!(error, "found 2 .gguf files, expected one: name it as owner/name:a.gguf");
        assert!(wanted(&names(&["a.gguf"]), Some("c.gguf")).is_err());
    }
}
