//! The files that an adoption changes: what they were, for `--undo` and for a failure.

use crate::text::hex;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// In the workspace's root.
const RECORD: &str = ".wasmtime-preempt.json";

/// Is on disk from before the first change on: an adoption that was killed can be undone.
#[derive(Serialize, Deserialize)]
pub struct Changes {
    /// The workspace's root.
    #[serde(skip)]
    root: PathBuf,
    files: Vec<Changed>,
}

#[derive(Serialize, Deserialize)]
struct Changed {
    /// Below the root, if it is there: a workspace may be moved.
    path: PathBuf,
    /// `None` if there was no such file.
    before: Option<String>,
    /// A hash of what it was changed to, once that is final.
    after: Option<String>,
}

impl Changes {
    /// # Errors
    ///
    /// If there is a record of an adoption already.
    pub fn of(workspace: &Path, files: Vec<PathBuf>) -> Result<Changes> {
        if workspace.join(RECORD).exists() {
            bail!(
                "{} has been adopted already, says {RECORD} there: undo that first, with `cargo \
                 xtask adopt {} --undo`",
                workspace.display(),
                workspace.display()
            );
        }
        let mut changes = Changes {
            root: workspace.to_path_buf(),
            files: Vec::new(),
        };
        for path in files {
            changes.files.push(Changed {
                before: read(&path)?,
                path: path.strip_prefix(workspace).unwrap_or(&path).to_path_buf(),
                after: None,
            });
        }
        changes.write()?;
        Ok(changes)
    }

    /// The record of an earlier adoption.
    pub fn recorded(workspace: &Path) -> Result<Changes> {
        let record = workspace.join(RECORD);
        let Some(text) = read(&record)? else {
            bail!(
                "{} has not been adopted: there is no {RECORD}",
                workspace.display()
            );
        };
        let changes: Changes = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", record.display()))?;
        Ok(Changes {
            root: workspace.to_path_buf(),
            ..changes
        })
    }

    /// From now on, other changes to these files are somebody's work. Returns which ones differ
    /// from what they were.
    pub fn finish(&mut self) -> Result<Vec<PathBuf>> {
        for file in &mut self.files {
            file.after = Some(hash(read(&self.root.join(&file.path))?.as_deref()));
        }
        self.write()?;
        let changed = self.files.iter();
        let changed = changed.filter(|f| f.after != Some(hash(f.before.as_deref())));
        Ok(changed.map(|file| self.root.join(&file.path)).collect())
    }

    /// # Errors
    ///
    /// If a file was changed since the adoption: nothing is restored then.
    pub fn refuse_edited(&self) -> Result<()> {
        let mut edited = Vec::new();
        for file in &self.files {
            let now = hash(read(&self.root.join(&file.path))?.as_deref());
            // It may also have been restored by other means.
            if file.after.as_ref().is_some_and(|after| *after != now)
                && now != hash(file.before.as_deref())
            {
                edited.push(file.path.display().to_string());
            }
        }
        if !edited.is_empty() {
            bail!(
                "changed since it was adopted, so that `--undo` would lose work: {}. Take out the \
                 lines in [patch.crates-io] and the feature by hand and remove {}, which has what \
                 these files were",
                edited.join(", "),
                self.root.join(RECORD).display()
            );
        }
        Ok(())
    }

    /// Makes every file what it was. Returns which ones were something else, and whether they
    /// are still there.
    pub fn restore(self) -> Result<Vec<(PathBuf, bool)>> {
        let mut restored = Vec::new();
        for file in self.files {
            let path = self.root.join(&file.path);
            if read(&path)? == file.before {
                continue;
            }
            match &file.before {
                Some(text) => write(&path, text)?,
                None => remove(&path)?,
            }
            restored.push((path, file.before.is_some()));
        }
        remove(&self.root.join(RECORD))?;
        Ok(restored)
    }

    fn write(&self) -> Result<()> {
        write(&self.root.join(RECORD), &serde_json::to_string(self)?)
    }
}

fn hash(text: Option<&str>) -> String {
    match text {
        Some(text) => hex(&Sha256::digest(text)),
        None => "none".to_string(),
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Keeps the file's permissions, and links to it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let dir = path.parent().context("a file needs a directory")?;
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}
