//! Laying out `vendor/wasmtime`.
//!
//! 1. Fetch the pinned crates, find them in cargo's cache.
//! 2. Lay them out in a directory beside `vendor/wasmtime`, commit; the tree
//!    id must be the pinned one.
//! 3. Link overlay/.
//! 4. Apply patches/; the tree id must be the pinned one.
//! 5. Put it in place. Where there is one already, only the files that differ
//!    are written: cargo compiles anew what has a new time.
//!
//! 6. Fetch what our own workspaces need, which cannot be read before.
//!
//! Up to step 5 nothing is touched that anybody uses. Local work in
//! `vendor/wasmtime` is looked for before step 1.

use crate::fetch;
use crate::files;
use crate::git::{self, Git};
use crate::local_work;
use crate::overlay;
use crate::pin::Pin;
use crate::root::{Root, explain_full_disk};
use crate::series;
use crate::stamp::{Made, Stamp, inputs};
use crate::tamper;
use crate::upstream::Upstream;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Directories that a killed run leaves behind start with this.
const SCRATCH: &str = ".wasmtime-";

#[derive(Default, Clone, Copy)]
pub struct Options {
    pub force: bool,
    pub repin: bool,
}

/// One run at a time; the lock goes with the process.
pub fn lock(root: &Root) -> Result<fs::File> {
    let path = root.vendor().join(".lock");
    let file = fs::File::create(&path)
        .with_context(|| format!("cannot create {}", path.display()))
        .map_err(explain_full_disk)?;
    if file.try_lock().is_err() {
        eprintln!("vendor: waiting for another `cargo xtask`");
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// Makes sure of an up-to-date `vendor/wasmtime`.
pub fn ensure(root: &Root) -> Result<()> {
    ensure_with(root, Options::default())
}

pub fn ensure_with(root: &Root, options: Options) -> Result<()> {
    git::require()?;
    let _lock = lock(root)?;
    ensure_locked(root, options)
        .and_then(|()| fetch::workspaces(root))
        .map_err(explain_full_disk)
}

fn ensure_locked(root: &Root, options: Options) -> Result<()> {
    remove_leftovers(root)?;
    let patches = series::read(root)?;
    let old = completed(root)?;

    if !options.repin {
        let pin = Pin::read(root)?;
        if let Some((git, stamp)) = &old
            && !options.force
            && stamp.made.inputs == inputs(root, &pin, &patches)?
        {
            return sync_overlay(root, git, stamp.clone(), false);
        }
    }
    if let Some((git, stamp)) = &old
        && !options.force
    {
        local_work::refuse(root, git, stamp, &patches)?;
    }

    let upstream = Upstream::fetch(root)?;
    let scratch = scratch(root)?;
    let (git, pin) = lay_out(root, &upstream, &scratch, options)?;
    let mut copies = false;
    overlay::sync(root, &git, &mut copies, true)?;
    if !patches.is_empty() {
        eprintln!("vendor: applying {} patches", patches.len());
    }
    if let Err(error) = series::apply(&git, &patches, &root.patches()) {
        if options.repin {
            return Err(offer_rebase(root, &git, old.as_ref(), pin, error)?);
        }
        return Err(error);
    }
    let patched = git.tree_of("HEAD")?;
    let pin = match options.repin {
        true => Pin { patched, ..pin },
        false if patched == pin.patched => pin,
        false => bail!(
            "the patches apply, but make tree {patched} and not {}, which is pinned in {}: \
             if patches/ was changed on purpose, `cargo xtask vendor --repin` accepts it",
            pin.patched,
            Pin::path(root).display()
        ),
    };
    let made = Made::from(root, &git, &pin, &patches)?;
    match old {
        None => place_fresh(root, &git, scratch, made, copies)?,
        Some((there, stamp)) => update(root, &there, stamp, &git, made, options.force)?,
    }
    if options.repin {
        pin.write(root)?;
        println!("base    {}\npatched {}", pin.base, pin.patched);
    }
    eprintln!(
        "vendor: vendor/wasmtime is Wasmtime {} with {} patches and {} overlay files",
        pin.version,
        patches.len(),
        overlay::files(root)?.len()
    );
    Ok(())
}

/// Verifies all of `vendor/wasmtime`, file by file, and changes nothing.
pub fn check(root: &Root) -> Result<()> {
    git::require()?;
    let _lock = match lock(root) {
        // Nobody can change anything.
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

/// The same, with an interrupted update completed.
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

fn sync_overlay(root: &Root, git: &Git, mut stamp: Stamp, force: bool) -> Result<()> {
    overlay::sync(root, git, &mut stamp.copies, force)?;
    stamp.write(git)
}

fn lay_out(
    root: &Root,
    upstream: &Upstream,
    scratch: &TempDir,
    options: Options,
) -> Result<(Git, Pin)> {
    let pin = match options.repin {
        true => Pin {
            version: upstream.version.clone(),
            commit: upstream.commit.clone(),
            base: String::new(),
            patched: String::new(),
        },
        false => Pin::read(root)?,
    };
    if (&pin.version, &pin.commit) != (&upstream.version, &upstream.commit) {
        bail!(
            "vendor/upstream/Cargo.toml pins Wasmtime {} (commit {}), and pin.toml beside it is \
             of {} (commit {}): `cargo xtask vendor --repin` moves to the former",
            upstream.version,
            upstream.commit,
            pin.version,
            pin.commit
        );
    }
    eprintln!(
        "vendor: laying out {} crates of Wasmtime {}",
        upstream.crates.len(),
        upstream.version
    );
    upstream.lay_out(scratch.path())?;
    let git = Git::init(scratch.path())?;
    git.run(&["add", "--all", "--force", "."])?;
    let base = git.run(&["write-tree"])?;
    if !options.repin && base != pin.base {
        let found = tamper::find(root, &upstream.crates)?;
        if !found.differing.is_empty() {
            bail!(
                "Wasmtime's crates are not the published ones:\n{}",
                found.differing.join("\n")
            );
        }
        if let Some(unknown) = found.unknown {
            bail!("Wasmtime's crates are not the published ones: {unknown}");
        }
        bail!(
            "the crates are as published, but lay out as tree {base} and not {}, which is pinned \
             in {}: if the list in vendor/upstream/Cargo.toml was changed on purpose, \
             `cargo xtask vendor --repin` accepts it",
            pin.base,
            Pin::path(root).display()
        );
    }
    let subject = format!("Wasmtime {}", upstream.version);
    git.run(&["commit", "--quiet", "--message", &subject])?;
    Ok((git, Pin { base, ..pin }))
}

fn scratch(root: &Root) -> Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix(SCRATCH)
        .tempdir_in(root.vendor())
        .context("cannot create a directory in vendor/")?;
    // Temporary directories are for their owner only; this one will stay.
    #[cfg(unix)]
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    Ok(dir)
}

/// What a killed run has left behind.
fn remove_leftovers(root: &Root) -> Result<()> {
    for (dir, prefix) in [
        (root.vendor(), SCRATCH),
        (root.upstream(), files::TEMPORARY),
        (root.patches(), files::TEMPORARY),
    ] {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list {}", dir.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(prefix) {
                continue;
            }
            let path = entry.path();
            match entry.file_type()?.is_dir() {
                true => remove_leftover(&path)?,
                false => overlay::remove(&path)?,
            }
        }
    }
    Ok(())
}

/// A git command of the killed run may still be writing there.
fn remove_leftover(path: &Path) -> Result<()> {
    for _ in 0..50 {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => return Ok(()),
        }
    }
    bail!(
        "cannot remove {}, where something goes on writing files: a git command of a run that was \
         killed? End it, and run the command again",
        path.display()
    )
}

fn place_fresh(root: &Root, git: &Git, scratch: TempDir, made: Made, copies: bool) -> Result<()> {
    let stamp = Stamp {
        made,
        copies,
        updating: None,
        fetched: None,
    };
    stamp.write(git)?;
    fs::rename(scratch.path(), root.wasmtime())
        .with_context(|| format!("cannot create {}", root.wasmtime().display()))?;
    // Its directory has gone; there is nothing left to clean up.
    let _ = scratch.keep();
    Ok(())
}

fn update(
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

/// After a move to another version the patches may not apply: makes the new
/// base known to the old repository, so that git can rebase them.
fn offer_rebase(
    root: &Root,
    new: &Git,
    old: Option<&(Git, Stamp)>,
    pin: Pin,
    error: anyhow::Error,
) -> Result<anyhow::Error> {
    let Some((there, _)) = old else {
        return Ok(error.context(
            "the series must be rebased, for which the old version is needed: go back to it, \
             run `cargo xtask vendor`, then change the version and repin",
        ));
    };
    let base = new.root_commit()?;
    there.run_command(
        there
            .command()
            .args(["fetch", "--quiet", "--no-tags"])
            .arg(new.dir())
            .arg(format!("+{base}:refs/xtask/base")),
    )?;
    let old_base = there.root_commit()?;
    // Not yet the patched tree: `patches save` writes it after the rebase.
    let old_pin = Pin::read(root)?;
    Pin {
        patched: old_pin.patched,
        ..pin
    }
    .write(root)?;
    Ok(error.context(format!(
        "the new version is pinned, but the series must be rebased by hand:\n  \
         git -C vendor/wasmtime rebase --onto refs/xtask/base {old_base}\n\
         then `cargo xtask patches save`. The first conflict"
    )))
}
