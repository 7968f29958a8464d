//! What `vendor/wasmtime` was made from, to tell whether it is up to date.

use crate::files::write_if_changed;
use crate::git::Git;
use crate::pin::Pin;
use crate::root::Root;
use crate::series::{self, Patch};
use crate::tamper;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;

/// What `vendor/wasmtime` was made from: `.git/xtask.json` there.
#[derive(Serialize, Deserialize, Clone)]
pub struct Stamp {
    /// A hash of the pin, the lock file and the patches.
    pub inputs: String,
    /// The last patch's commit.
    pub head: String,
    /// Overlay files are copies, not links.
    pub copies: bool,
    /// An update to these inputs and this commit has begun.
    pub updating: Option<(String, String)>,
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

pub fn inputs(root: &Root, pin: &Pin, patches: &[Patch]) -> Result<String> {
    let lock = root.upstream().join("Cargo.lock");
    let lock = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(&lock));
    hash.update(format!(
        "{} {} {} {} ",
        pin.version, pin.commit, pin.base, pin.patched
    ));
    hash.update(series::hash(patches));
    Ok(tamper::hex(&hash.finalize()))
}
