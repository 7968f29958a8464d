//! `cargo xtask vendor --update` and `cargo xtask outdated`: other patch releases of the
//! pinned Wasmtime.
//!
//! 1. Copy vendor/upstream into a directory inside it, and change the versions there.
//! 2. Let [`vendor`] pin and lay out what that directory asks for.
//! 3. Replace vendor/upstream by it, and change the versions in our own manifests.
//! 4. Update our lock files, and save the patches.
//!
//! Before step 2 succeeds, nothing that is in use is touched. If a run is killed between
//! steps 2 and 3, the next `cargo xtask vendor` lays out the old release again.

use crate::fetch::WORKSPACES;
use crate::files::{Batch, TEMPORARY};
use crate::manifest::change_versions;
use crate::pin::Pin;
use crate::release::{Release, newest};
use crate::root::{Root, capture, cargo, explain_full_disk};
use crate::{git, patches, vendor};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The files of vendor/upstream that a move changes.
const PINNING: [&str; 3] = ["Cargo.toml", "Cargo.lock", "pin.toml"];

/// Texts that name the pinned version, for a person to read again after a move.
const TEXTS: [&str; 3] = [
    "README.md",
    "benches/src/paper/doc.rs",
    "docs/advisories.md",
];

#[derive(Clone, Copy)]
pub struct Options {
    pub force: bool,
    /// Also pin a release that the series does not apply to.
    pub repin: bool,
}

/// # Errors
///
/// If the registry has a newer patch release than the pinned one.
pub fn outdated(root: &Root) -> Result<()> {
    let _lock = vendor::lock(root)?;
    let pinned: Release = Pin::read(root)?.version.parse()?;
    let newest = newest(root, pinned)?;
    if newest > pinned {
        bail!(
            "Wasmtime {newest} is in the crate registry, and {pinned} is pinned: `cargo xtask \
             vendor --update` moves to it"
        );
    }
    if newest < pinned {
        println!(
            "Wasmtime {pinned} is pinned, and {newest} is the newest that the crate registry \
             offers: {pinned} was withdrawn, or this registry is a mirror that lacks it"
        );
    } else {
        println!("Wasmtime {pinned} is pinned, and the crate registry has no newer patch release");
    }
    Ok(())
}

/// Moves to `version`, or to the newest patch release.
pub fn update(root: &Root, version: Option<&str>, options: Options) -> Result<()> {
    git::require()?;
    let lock = vendor::lock(root)?;
    let from: Release = Pin::read(root)?.version.parse()?;
    let to = match version {
        Some(version) => version.parse()?,
        None => newest(root, from)?,
    };
    if to == from || version.is_none() && to < from {
        println!("Wasmtime {from} is pinned already: there is nothing to move to");
        return Ok(());
    }
    if !to.same_minor(from) || to < from {
        bail!(
            "Wasmtime {to} is no newer patch release of {from}, which is pinned: `--update` moves \
             to no others; see \"Moving to another version\" in vendor/README.md"
        );
    }
    eprintln!("vendor: moving from Wasmtime {from} to {to}");
    move_to(root, from, to, options).map_err(explain_full_disk)?;
    update_lock_files(root, to)?;
    drop(lock);
    vendor::ensure(root)?;
    patches::save(root, false).with_context(|| {
        format!("Wasmtime {to} is pinned, but `cargo xtask patches save` has still to be run")
    })?;
    for text in TEXTS {
        let names = |text: String| text.contains(&from.to_string());
        if fs::read_to_string(root.path.join(text)).is_ok_and(names) {
            println!("{text} still names {from}: read again what it says about it");
        }
    }
    println!("Wasmtime {to} is pinned; `cargo xtask lint && cargo xtask test` tests it");
    Ok(())
}

/// Steps 1 to 3.
fn move_to(root: &Root, from: Release, to: Release, options: Options) -> Result<()> {
    let staged = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(root.upstream())
        .context("cannot create a directory in vendor/upstream")?;
    let pinned = stage(root, staged.path(), from, to)?;
    let mut batch = Batch::default();
    for (dir, _) in WORKSPACES {
        let path = root.path.join(dir).join("Cargo.toml");
        if path.is_file() {
            let changed = change_versions(&read(&path)?, |name, version| {
                let same = pinned.get(name).filter(|(old, _)| old == version);
                Ok(same.map(|(_, new)| new.clone()))
            });
            let changed = changed.with_context(|| format!("in {}", path.display()))?;
            batch.write(&path, changed.as_bytes())?;
        }
    }

    let there = root.pinning(staged.path());
    let made = vendor::ensure_locked(
        &there,
        vendor::Options {
            force: options.force,
            repin: true,
            only_if_patched: !options.repin,
        },
    );
    // The pin is written last, and with `--repin` also before an error that asks for a rebase.
    if Pin::read(&there)?.version == to.to_string() {
        for file in PINNING {
            let bytes = read(&staged.path().join(file))?;
            batch.write(&root.upstream().join(file), bytes.as_bytes())?;
        }
        batch.commit()?;
    }
    made.with_context(|| match options.repin {
        true => format!("moving to Wasmtime {to}"),
        false => format!(
            "Wasmtime {from} stays pinned, as {to} cannot be moved to (if a patch does not apply: \
             `cargo xtask vendor --update {to} --repin` moves to it all the same, and says how to \
             rebase the series)"
        ),
    })
}

/// Writes to `dir` what pins `to`. Returns each crate's old and new version.
fn stage(
    root: &Root,
    dir: &Path,
    from: Release,
    to: Release,
) -> Result<BTreeMap<String, (String, String)>> {
    let mut versions = BTreeMap::new();
    let manifest = root.upstream().join("Cargo.toml");
    let changed = change_versions(&read(&manifest)?, |name, version| {
        let exact = version.strip_prefix('=').and_then(|v| v.parse().ok());
        // All crates of a release have the same number in this place.
        let Some(old) = exact.filter(|old: &Release| old.patch == from.patch) else {
            bail!(
                "`{name}` is pinned to `{version}`, which is not a patch release {} as that of \
                 Wasmtime {from}",
                from.patch
            );
        };
        let new = format!(
            "={}",
            Release {
                patch: to.patch,
                ..old
            }
        );
        versions.insert(name.to_string(), (version.to_string(), new.clone()));
        Ok(Some(new))
    });
    let changed = changed.with_context(|| format!("in {}", manifest.display()))?;
    let write = |name: &str, text: &str| {
        fs::write(dir.join(name), text)
            .with_context(|| format!("cannot write {}", dir.join(name).display()))
    };
    write("Cargo.toml", &changed)?;
    for file in ["Cargo.lock", "pin.toml"] {
        write(file, &read(&root.upstream().join(file))?)?;
    }
    fs::create_dir(dir.join("src"))?;
    write("src/lib.rs", "")?;
    // Leaves the versions of other crates as they are, where possible.
    let updated = capture(cargo(dir).args(["update", "--workspace", "--quiet"]))?;
    if !updated.ok {
        bail!(
            "cargo cannot pin the crates of Wasmtime {to}: the crate registry does not have them, \
             or cannot be reached. It said: {}",
            updated.stderr
        );
    }
    Ok(versions)
}

fn update_lock_files(root: &Root, to: Release) -> Result<()> {
    for (dir, whose) in WORKSPACES {
        let dir = root.path.join(dir);
        if !dir.join("Cargo.lock").is_file() {
            continue;
        }
        let updated = capture(cargo(&dir).args(["update", "--workspace", "--quiet"]))?;
        if !updated.ok {
            bail!(
                "Wasmtime {to} is pinned, but {whose} Cargo.lock could not be updated: run `cargo \
                 update --workspace` in {} and `cargo xtask patches save`. Cargo said: {}",
                dir.display(),
                updated.stderr
            );
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
