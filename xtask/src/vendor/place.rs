//! The repository in `vendor/wasmtime`: finding it, putting a new one in its place, and
//! updating it.

use crate::git::Git;
use crate::root::{Root, explain_full_disk};
use crate::stamp::{Made, Stamp};
use crate::{local_work, overlay};
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use tempfile::TempDir;

/// The repository in `vendor/wasmtime`, if there is one.
pub fn existing(root: &Root) -> Result<Option<(Git, Stamp)>> {
    let dir = root.wasmtime();
    match fs::symlink_metadata(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", dir.display()));
        }
        Ok(_) => {}
    }
    let foreign = || {
        format!(
            "{} was not made by `cargo xtask vendor`, or its .git is damaged: \
             move it away and run the command again",
            dir.display()
        )
    };
    let git = Git::open(&dir).with_context(foreign)?;
    let stamp = Stamp::read(&git).with_context(foreign)?;
    Ok(Some((git, stamp)))
}

/// Like [`existing`], after completing an interrupted update.
pub fn completed(root: &Root) -> Result<Option<(Git, Stamp)>> {
    let Some((git, mut stamp)) = existing(root)? else {
        return Ok(None);
    };
    if let Some(made) = stamp.updating.take() {
        eprintln!("vendor: completing an interrupted update");
        local_work::keep_later_edits(root, &git, &stamp, &made.head)?;
        git.run(&["reset", "--quiet", "--hard", &made.head])
            .map_err(explain_full_disk)?;
        stamp.made = made;
        stamp.write(&git)?;
    }
    Ok(Some((git, stamp)))
}

pub fn fresh(root: &Root, git: &Git, scratch: TempDir, made: Made, copies: bool) -> Result<()> {
    let stamp = Stamp {
        made,
        copies,
        updating: None,
        fetched: None,
    };
    stamp.write(git)?;
    fs::rename(scratch.path(), root.wasmtime())
        .with_context(|| format!("cannot create {}", root.wasmtime().display()))?;
    // Its directory is gone, so there is nothing left to clean up.
    let _ = scratch.keep();
    Ok(())
}

/// Moves the repository to what `new` holds, and writes the files that differ.
pub fn update(
    root: &Root,
    there: &Git,
    mut stamp: Stamp,
    new: &Git,
    made: Made,
    force: bool,
) -> Result<()> {
    there.configure()?;
    there.run_command(
        there
            .command()
            .args(["fetch", "--quiet", "--no-tags"])
            .arg(new.dir())
            .arg("+HEAD:refs/xtask/next"),
    )?;
    let replaced = match force {
        true => local_work::replace(root, there, &stamp)?,
        false => Vec::new(),
    };
    let before = there.head()?;
    stamp.updating = Some(made.clone());
    stamp.write(there)?;
    if let Err(error) = there.run(&["reset", "--quiet", "--hard", &made.head]) {
        if there.run(&["reset", "--quiet", "--hard", &before]).is_ok() {
            stamp.updating = None;
            stamp.write(there)?;
        }
        return Err(error.context("vendor/wasmtime could not be updated"));
    }
    for file in replaced {
        if !there.is_tracked(&file)? {
            overlay::remove(&there.work_tree.join(file))?;
        }
    }
    stamp.made = made;
    stamp.updating = None;
    sync_overlay(root, there, stamp, true)
}

pub fn sync_overlay(root: &Root, git: &Git, mut stamp: Stamp, force: bool) -> Result<()> {
    overlay::sync(root, git, &mut stamp.copies, force)?;
    stamp.write(git)
}
