//! Finds out why the laid-out tree is not the pinned one: which crate, which file.
//!
//! Cargo checks a crate's checksum when it downloads the archive, and never looks at the
//! unpacked files again. The archive is still in its cache.

use crate::files::files_below;
use crate::published::Crate;
use crate::root::Root;
use crate::text::hex;
use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

#[derive(Default)]
pub struct Found {
    /// A sentence for every crate that differs from the published one, with the remedy.
    pub differing: Vec<String>,
    /// A sentence about the crates that could not be checked.
    pub unknown: Option<String>,
}

pub fn find(root: &Root, crates: &[Crate]) -> Result<Found> {
    let path = root.upstream().join("Cargo.lock");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let mut found = Found::default();
    let mut unknown = Vec::new();
    for krate in crates {
        let checksum = lock
            .package
            .iter()
            .find(|p| p.name == krate.name && p.version == krate.version)
            .and_then(|p| p.checksum.as_deref());
        let archive = archive_of(&krate.dir).filter(|archive| archive.is_file());
        match archive {
            Some(archive) => found
                .differing
                .extend(problem_of(krate, &archive, checksum)?),
            None => unknown.push(krate),
        }
    }
    found.unknown = unknown.first().map(|krate| {
        format!(
            "which of {} crates differ cannot be told, as {} is not in a cache of cargo's with \
             archives to compare with. (A directory made by `cargo vendor` lacks some files; let \
             cargo take these crates from a registry.)",
            unknown.len(),
            krate.dir.display()
        )
    });
    Ok(found)
}

fn problem_of(krate: &Crate, archive: &Path, checksum: Option<&str>) -> Result<Option<String>> {
    let name = format!("crate `{}` {}", krate.name, krate.version);
    let dir = krate.dir.display();
    let bytes =
        std::fs::read(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    if checksum.is_some_and(|checksum| checksum != hex(&Sha256::digest(&bytes))) {
        return Ok(Some(format!(
            "{name} has been tampered with: {} does not have the checksum in \
             vendor/upstream/Cargo.lock; remove that file and {dir}, and cargo downloads it anew",
            archive.display()
        )));
    }
    let published = unpack(&bytes).with_context(|| format!("in {}", archive.display()))?;
    let mut differing = Vec::new();
    for (file, contents) in &published {
        match std::fs::read(krate.dir.join(file)) {
            Ok(there) if there == *contents => {}
            Ok(_) => differing.push(format!("{file} differs")),
            Err(_) => differing.push(format!("{file} is missing")),
        }
    }
    for file in files_below(&krate.dir)? {
        if !published.contains_key(&file) && krate.name_upstream(&file).is_some() {
            differing.push(format!("{file} is not part of it"));
        }
    }
    if differing.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!(
        "{name} has been tampered with: {}; remove {dir}, and cargo unpacks it anew",
        differing.join(", ")
    )))
}

/// `registry/src/INDEX/NAME-VERSION` comes from
/// `registry/cache/INDEX/NAME-VERSION.crate`.
fn archive_of(dir: &Path) -> Option<PathBuf> {
    let index = dir.parent()?;
    let registry = index.parent()?.parent()?;
    let mut file = dir.file_name()?.to_os_string();
    file.push(".crate");
    Some(registry.join("cache").join(index.file_name()?).join(file))
}

fn unpack(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.to_string_lossy().into_owned();
        // Everything is in a directory NAME-VERSION.
        let Some((_, file)) = path.split_once('/') else {
            continue;
        };
        let file = file.to_string();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents)?;
        files.insert(file, contents);
    }
    Ok(files)
}
