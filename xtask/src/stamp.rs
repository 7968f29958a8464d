//! What `vendor/wasmtime` was made from, to tell whether it is up to date.

use crate::files::write_if_changed;
use crate::git::Git;
use crate::pin::Pin;
use crate::root::Root;
use crate::series::Patch;
use crate::text::hex;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;

/// A state of `vendor/wasmtime`.
#[derive(Serialize, Deserialize, Clone)]
pub struct Made {
    /// A hash of everything pinned, and of the patches.
    pub inputs: String,
    /// Each patch's file name, with a hash of the file.
    #[serde(default)]
    pub patches: BTreeMap<String, String>,
    /// The last patch's commit.
    pub head: String,
}

impl Made {
    pub fn from(root: &Root, git: &Git, pin: &Pin, patches: &[Patch]) -> Result<Made> {
        let patches_by_name = patches
            .iter()
            .map(|patch| (patch.name.clone(), patch.hash()));
        Ok(Made {
            inputs: inputs(root, pin, patches)?,
            patches: patches_by_name.collect(),
            head: git.head()?,
        })
    }
}

/// What `vendor/wasmtime` was made from: `.git/xtask.json` there.
#[derive(Serialize, Deserialize, Clone)]
pub struct Stamp {
    #[serde(flatten)]
    pub made: Made,
    /// Whether overlay files are copies instead of links.
    pub copies: bool,
    /// Set while an update to this state is in progress.
    pub updating: Option<Made>,
    /// A hash of our workspaces' lock files from when cargo's cache last held all that they
    /// need.
    pub fetched: Option<String>,
}

impl Stamp {
    fn path(git: &Git) -> std::path::PathBuf {
        git.dir().join("xtask.json")
    }

    pub fn read(git: &Git) -> Option<Stamp> {
        serde_json::from_slice(&fs::read(Stamp::path(git)).ok()?).ok()
    }

    pub fn write(&self, git: &Git) -> Result<()> {
        write_if_changed(&Stamp::path(git), &serde_json::to_vec(self)?)
    }
}

/// A hash of vendor/upstream and of the patches.
pub fn inputs(root: &Root, pin: &Pin, patches: &[Patch]) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["Cargo.toml", "Cargo.lock"] {
        let path = root.upstream().join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(Sha256::digest(&bytes));
    }
    hash.update(format!(
        "{} {} {} {} ",
        pin.version, pin.commit, pin.base, pin.patched
    ));
    for patch in patches {
        hash.update(format!("{} {} ", patch.name, patch.hash()));
    }
    Ok(hex(&hash.finalize()))
}
