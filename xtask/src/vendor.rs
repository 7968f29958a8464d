//! Laying out `vendor/wasmtime`.
//!
//! 1. Fetch the pinned crates and find them in cargo's cache.
//! 2. Lay them out in a directory beside `vendor/wasmtime` and commit. The tree id must be
//!    the pinned one.
//! 3. Link overlay/.
//! 4. Apply patches/. The tree id must be the pinned one.
//! 5. Put the result in place. If there already is one, write only the files that differ,
//!    because cargo recompiles whatever has a new time.
//! 6. Fetch what our own workspaces need, which cannot be read earlier.
//!
//! Before step 5, nothing that is in use is touched. Local work in `vendor/wasmtime` is
//! looked for before step 1.

mod check;
mod place;
pub mod scratch;

use crate::fetch;
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
pub use check::check;
pub use place::{completed, existing};
use std::fs;
use tempfile::TempDir;

#[derive(Default, Clone, Copy)]
pub struct Options {
    pub force: bool,
    /// Take other files than the pinned ones, and pin them.
    pub repin: bool,
    /// Pin nothing that the series does not apply to.
    pub only_if_patched: bool,
}

/// Allows one run at a time. The lock ends with the process.
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

/// Makes sure that `vendor/wasmtime` is up to date.
pub fn ensure(root: &Root) -> Result<()> {
    ensure_with(root, Options::default())
}

pub fn ensure_with(root: &Root, options: Options) -> Result<()> {
    git::require()?;
    let _lock = lock(root)?;
    ensure_locked(root, options)
        .and_then(|()| match existing(root)? {
            Some((git, stamp)) => fetch::workspaces(root, &git, stamp),
            None => Ok(()),
        })
        .map_err(explain_full_disk)
}

/// Makes `vendor/wasmtime`, without what our own workspaces need. The caller holds the lock.
pub fn ensure_locked(root: &Root, options: Options) -> Result<()> {
    scratch::remove_leftovers(root)?;
    let patches = series::read(root)?;
    let old = completed(root)?;

    if !options.repin {
        let pin = Pin::read(root)?;
        if let Some((git, stamp)) = &old
            && !options.force
            && stamp.made.inputs == inputs(root, &pin, &patches)?
        {
            return place::sync_overlay(root, git, stamp.clone(), false);
        }
    }
    if let Some((git, stamp)) = &old
        && !options.force
    {
        local_work::refuse(root, git, stamp, &patches)?;
    }

    let upstream = Upstream::fetch(root)?;
    let scratch = scratch::create(root)?;
    let (git, pin) = lay_out(root, &upstream, &scratch, options)?;
    let mut copies = false;
    overlay::sync(root, &git, &mut copies, true)?;
    if !patches.is_empty() {
        eprintln!("vendor: applying {} patches", patches.len());
    }
    if let Err(error) = series::apply(&git, &patches, &root.patches()) {
        if options.repin && !options.only_if_patched {
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
        None => place::fresh(root, &git, scratch, made, copies)?,
        Some((there, stamp)) => place::update(root, &there, stamp, &git, made, options.force)?,
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

/// After a move to another version, the patches may not apply. Makes the new base known to
/// the old repository, so that git can rebase them.
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
    // Still the old patched tree: `patches save` writes the new one after the rebase.
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
