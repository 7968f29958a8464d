//! `cargo xtask adopt`: makes an embedder's workspace use the fork.
//!
//! 1. Note what the files are that will change.
//! 2. Patch every crate of upstream's: one that is left out comes from the registry as soon as
//!    something depends on it, and brings a second `wasmtime-environ` along.
//! 3. Enable the fork's feature of `wasmtime` where a member depends on it.
//! 4. Move the locked crates to the fork's version.
//! 5. Prove the result. If anything failed, make the files what they were.

mod changes;
mod fork;
mod lock;
mod manifests;
mod proof;
mod workspace;

use crate::root::Root;
use crate::vendor;
use anyhow::{Context, Result, bail};
use changes::Changes;
use fork::{FEATURE, Fork, WASMTIME};
use lock::{Lock, Locked};
use proof::Proof;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use workspace::{Package, Workspace};

/// How often cargo may lock something new of Wasmtime that has to be moved too.
const ROUNDS: usize = 4;

pub fn adopt(root: &Root, dir: &Path, config: Option<&Path>) -> Result<()> {
    let workspace = Workspace::find(dir)?;
    workspace.refuse_own(root)?;
    let config = config.map(std::path::absolute).transpose()?;
    vendor::ensure(root)?;
    let fork = Fork::read(root)?;

    let members = workspace.members()?;
    let users = match config {
        Some(_) => Vec::new(),
        None => users(&members)?,
    };
    let patched = config.clone().unwrap_or_else(|| workspace.manifest());
    let mut files = vec![patched.clone(), workspace.lock()];
    files.extend(users.iter().map(|(manifest, _)| manifest.clone()));
    files.sort();
    files.dedup();
    let mut changes = Changes::of(&workspace.root, files)?;
    let workspace = workspace.with_config(config.clone());
    let done = match write(&workspace, &fork, &patched, &users) {
        Ok(done) => done,
        Err(error) => {
            changes.restore().context("in the middle of a failure")?;
            return Err(error.context(format!(
                "{} is as it was, and cannot be adopted",
                workspace.root.display()
            )));
        }
    };

    println!("{} uses {}", workspace.root.display(), fork.dir.display());
    for path in changes.finish()? {
        let mut what = Vec::new();
        if path == patched {
            what.push(format!("{} patches", fork.crates.len()));
        }
        if users.iter().any(|(manifest, _)| *manifest == path) {
            what.push(format!("the feature `{FEATURE}` of `{WASMTIME}`"));
        }
        if path == workspace.lock() {
            what.push(format!("the fork's crates{}", moves(&fork, &done.moved)));
        }
        println!("  {}: {}", workspace.show(&path), what.join(", "));
    }
    println!(
        "`cargo tree` shows {} crates of the fork, and none of them from elsewhere",
        done.proof.crates
    );
    for other in done.lock.others(&fork) {
        println!(
            "  as published, since the fork does not change it: {} {}",
            other.name, other.version
        );
    }
    advise(&workspace, &fork, &members, config.as_deref());
    Ok(())
}

pub fn undo(dir: &Path) -> Result<()> {
    let workspace = Workspace::find(dir)?;
    let changes = Changes::recorded(&workspace.root)?;
    changes.refuse_edited()?;
    for (path, is_there) in changes.restore()? {
        let what = if is_there {
            "is as it was"
        } else {
            "was not there before: removed"
        };
        println!("{} {what}", workspace.show(&path));
    }
    Ok(())
}

/// The manifests of members that depend on `wasmtime`, and the keys of that dependency.
fn users(members: &[Package]) -> Result<Vec<(PathBuf, Vec<&str>)>> {
    let mut users = Vec::new();
    for member in members {
        let mut keys = Vec::new();
        for dependency in member.dependencies.iter().filter(|d| d.name == WASMTIME) {
            if !dependency.is_published() {
                bail!(
                    "`{}` takes `{WASMTIME}` from {}: only what comes from crates.io can be \
                     patched, so ask for a version instead",
                    member.name,
                    dependency.source.as_deref().unwrap_or("a path")
                );
            }
            keys.push(dependency.key());
        }
        if !keys.is_empty() {
            users.push((member.manifest_path.clone(), keys));
        }
    }
    Ok(users)
}

struct Done {
    lock: Lock,
    /// What the lock file had.
    moved: Vec<Locked>,
    proof: Proof,
}

/// Steps 2 to 5.
fn write(
    workspace: &Workspace,
    fork: &Fork,
    patched: &Path,
    users: &[(PathBuf, Vec<&str>)],
) -> Result<Done> {
    let text = match patched.exists() {
        true => read(patched)?,
        false => String::new(),
    };
    let named = |path: &Path| format!("in {}", path.display());
    let text = manifests::add_patches(&text, fork).with_context(|| named(patched))?;
    changes::write(patched, &text)?;
    let (mut lock, moved) = move_lock(workspace, fork)?;
    let mut proof = proof::prove(workspace, fork, &lock, false)?;
    // Only the fork has the feature: cargo would have refused it earlier.
    for (manifest, keys) in users {
        let text =
            manifests::enable_feature(&read(manifest)?, keys).with_context(|| named(manifest))?;
        changes::write(manifest, &text)?;
    }
    if !users.is_empty() {
        workspace.cargo(&["update", "--workspace"])?;
        lock = Lock::parse(&read(&workspace.lock())?)?;
        proof = proof::prove(workspace, fork, &lock, true)?;
    }
    Ok(Done { lock, moved, proof })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// How the versions changed.
fn moves(fork: &Fork, moved: &[Locked]) -> String {
    let mut moves: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for locked in moved {
        let version = &fork.crates[&locked.name].version;
        *moves.entry((&locked.version, version)).or_default() += 1;
    }
    let moves = moves.into_iter();
    moves
        .map(|((from, to), crates)| format!(", {crates} moved from {from} to {to}"))
        .collect()
}

fn move_lock(workspace: &Workspace, fork: &Fork) -> Result<(Lock, Vec<Locked>)> {
    let path = workspace.lock();
    let mut moved: Vec<Locked> = Vec::new();
    if !path.exists() {
        workspace.cargo(&["generate-lockfile"])?;
    }
    for _ in 0..ROUNDS {
        let mut lock = Lock::parse(&read(&path)?)?;
        let now = lock.move_to(fork);
        if now.is_empty() {
            break;
        }
        changes::write(&path, &lock.text())?;
        // Keeps all that it can.
        workspace.cargo(&["update", "--workspace"])?;
        moved.extend(now);
    }
    let lock = Lock::parse(&read(&path)?)?;
    moved.retain(|locked| locked.version != fork.crates[&locked.name].version);
    moved.sort();
    moved.dedup();
    Ok((lock, moved))
}

fn advise(workspace: &Workspace, fork: &Fork, members: &[Package], config: Option<&Path>) {
    let direct = members.iter().find_map(|member| {
        Some((
            member,
            member.dependencies.iter().find(|d| d.name == WASMTIME)?,
        ))
    });
    if let Some(config) = config {
        let feature = match direct {
            Some((member, dependency)) => format!(
                " --package {} --features {}/{FEATURE}",
                member.name,
                dependency.key()
            ),
            None => String::new(),
        };
        println!(
            "use it: cargo --config {} build{feature}",
            workspace.show(config)
        );
    }
    if direct.is_none() {
        println!(
            "no member depends on `{WASMTIME}` itself, so its feature `{FEATURE}`, without which \
             the fork does what Wasmtime does, is not enabled. In a member's manifest: {WASMTIME} \
             = {{ version = \"{}\", default-features = false, features = [\"{FEATURE}\"] }}",
            fork.version
        );
    }
    println!(
        "undo it: cargo xtask adopt {} --undo",
        workspace.root.display()
    );
}
