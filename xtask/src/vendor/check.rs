//! `cargo xtask vendor --check`.

use super::{existing, lock};
use crate::pin::Pin;
use crate::root::Root;
use crate::stamp::inputs;
use crate::{git, local_work, overlay, series};
use anyhow::{Result, bail};
use std::io::ErrorKind;

/// Verifies all of `vendor/wasmtime`, file by file, and changes nothing.
pub fn check(root: &Root) -> Result<()> {
    git::require()?;
    let _lock = match lock(root) {
        // On a read-only file system, nobody can change anything.
        Err(error) if is_read_only(&error) => None,
        lock => Some(lock?),
    };
    let pin = Pin::read(root)?;
    let patches = series::read(root)?;
    let Some((git, stamp)) = existing(root)? else {
        bail!("there is no vendor/wasmtime: `cargo xtask vendor` makes it");
    };
    if stamp.updating.is_some() {
        bail!("an update of vendor/wasmtime was interrupted: `cargo xtask vendor` completes it");
    }
    let mut problems = Vec::new();
    let base = git.tree_of(&git.root_commit()?)?;
    if base != pin.base {
        problems.push(format!(
            "upstream's files are tree {base}, and {} is pinned",
            pin.base
        ));
    }
    let patched = git.tree_of("HEAD")?;
    if patched != pin.patched {
        problems.push(format!(
            "the patched files are tree {patched}, and {} is pinned",
            pin.patched
        ));
    }
    if stamp.made.inputs != inputs(root, &pin, &patches)? {
        problems.push("vendor/upstream or patches/ has changed since it was made".to_string());
    }
    for (state, file) in git.changes(true)? {
        problems.push(format!("{} {file}", local_work::describe(&state)));
    }
    problems.extend(overlay::problems(root, &git, stamp.copies)?);
    if !problems.is_empty() {
        bail!(
            "vendor/wasmtime is not what vendor/upstream, overlay/ and patches/ make:\n  {}",
            problems.join("\n  ")
        );
    }
    println!(
        "vendor/wasmtime is Wasmtime {} with {} patches: tree {patched}",
        pin.version,
        patches.len()
    );
    Ok(())
}

fn is_read_only(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
        )
    })
}
