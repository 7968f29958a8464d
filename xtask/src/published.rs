//! One of upstream's published crates, as cargo unpacked it.

use crate::files::files_below;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// What cargo adds to a package, besides the manifest that it rewrites. The root's
/// Cargo.lock is not upstream's either, since cargo reduces it to what that one package
/// needs.
const ADDED_BY_CARGO: [&str; 3] = [".cargo_vcs_info.json", "Cargo.lock", ".cargo-ok"];

pub struct Crate {
    pub name: String,
    pub version: String,
    /// Where cargo unpacked it.
    pub dir: PathBuf,
    /// Its directory in upstream's repository; empty for the root package.
    pub path: String,
}

impl Crate {
    /// Copies the crate to its place below `to`.
    pub fn lay_out(&self, to: &Path) -> Result<()> {
        let to = to.join(&self.path);
        for file in files_below(&self.dir)? {
            let Some(name) = self.name_upstream(&file) else {
                continue;
            };
            if !is_plain(name) {
                bail!(
                    "`{}` {} has been tampered with: {file} cannot be part of it; remove {}, \
                     and cargo unpacks it anew",
                    self.name,
                    self.version,
                    self.dir.display()
                );
            }
            copy(&self.dir.join(&file), &to.join(name)).with_context(|| {
                format!("cannot lay out {file} of `{}` {}", self.name, self.version)
            })?;
        }
        Ok(())
    }

    /// The path in upstream's repository of a file of the package, if it is there at all.
    pub fn name_upstream<'a>(&self, file: &'a str) -> Option<&'a str> {
        match file {
            "Cargo.toml" => None,
            "Cargo.toml.orig" => Some("Cargo.toml"),
            _ if ADDED_BY_CARGO.contains(&file) => None,
            _ => Some(file),
        }
    }
}

/// Whether this path stays inside the tree and out of git's own directory. It is not
/// verified yet, and is about to be written to.
pub fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| {
        !["", ".", ".."].contains(&part)
            && !part.eq_ignore_ascii_case(".git")
            && !part.contains(['\\', ':'])
    })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // Gives the file a new time, unlike the one that cargo gives to unpacked files: what
    // was built from another version of it must look out of date.
    std::fs::copy(from, to)?;
    Ok(())
}
