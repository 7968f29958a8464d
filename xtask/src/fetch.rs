//! Makes cargo download everything that is not in its cache yet, all at once, so that
//! nothing needs a network afterwards.

use crate::git::Git;
use crate::root::{Root, capture, cargo};
use crate::stamp::Stamp;
use crate::text::hex;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::path::Path;

#[derive(PartialEq)]
pub enum Fetched {
    All,
    /// Nothing, because the lock file must be changed first. Holds cargo's reason.
    Unfit(String),
}

/// Downloads what the lock file in `dir` lists. An error says `whose` it is.
pub fn fetch(dir: &Path, whose: &str) -> Result<Fetched> {
    let offline = capture(cargo(dir).args(["fetch", "--locked", "--offline", "--quiet"]))?;
    if offline.ok {
        return Ok(Fetched::All);
    }
    if offline.stderr.contains("--locked") {
        return Ok(Fetched::Unfit(offline.stderr));
    }
    eprintln!("vendor: downloading {whose} crates and what they depend on");
    let status = cargo(dir).args(["fetch", "--locked"]).status()?;
    if !status.success() {
        bail!(
            "{whose} crates are not all in cargo's cache and cannot be downloaded \
             (cargo's reason is above). Run `cargo xtask vendor` once with access to the crate \
             registry; from then on no network is needed"
        );
    }
    Ok(Fetched::All)
}

/// The workspaces to build besides upstream's, and whose they are.
pub const WORKSPACES: [(&str, &str); 5] = [
    ("", "the workspace's"),
    ("benches/stock", "benches/stock's"),
    ("tests/kernel", "tests/kernel's"),
    (COMMAND, "wasmtime-cli's"),
    (FUZZ, "fuzz's"),
];

/// Needed for `cargo xtask wasmtime` only, which downloads a hundred crates more for it.
const COMMAND: &str = "wasmtime-cli";

/// Needed for `cargo xtask fuzz` only, which downloads libFuzzer.
const FUZZ: &str = "fuzz";

/// Downloads what our own workspaces need, once per change of their lock files. They can be
/// read only once `vendor/wasmtime` is there.
pub fn workspaces(root: &Root, git: &Git, mut stamp: Stamp) -> Result<()> {
    let mut hash = Sha256::new();
    let mut there = Vec::new();
    for (dir, whose) in WORKSPACES
        .into_iter()
        .filter(|(dir, _)| ![COMMAND, FUZZ].contains(dir))
    {
        let dir = root.path.join(dir);
        let lock = dir.join("Cargo.lock");
        if lock.is_file() {
            let bytes =
                std::fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
            hash.update(Sha256::digest(&bytes));
            there.push((dir, whose));
        }
    }
    let locks = hex(&hash.finalize());
    if stamp.fetched.as_ref() == Some(&locks) {
        return Ok(());
    }
    for (dir, whose) in there {
        // A manifest is being changed. The build that follows changes the lock file, or
        // says why it cannot.
        if fetch(&dir, whose)? != Fetched::All {
            return Ok(());
        }
    }
    stamp.fetched = Some(locks);
    stamp.write(git)
}
